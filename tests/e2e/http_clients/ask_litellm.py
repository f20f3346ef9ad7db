"""LiteLLM: text completions with echo, and chat, by both names of such a server."""

from asked import ASKED, BASE_URL, CHAT_READS, COMPLETION_READS, MODEL, TEXT, tell

import litellm

litellm.num_retries = 0
reply = litellm.text_completion(model=f"text-completion-openai/{MODEL}", api_base=BASE_URL, api_key="EMPTY", prompt=TEXT,
                                max_tokens=1, logprobs=1, echo=True, temperature=0)
lists = reply.choices[0].logprobs
lists = lists if isinstance(lists, dict) else lists.model_dump()
tell("echo", prompt=lists["token_logprobs"][1:-1], completion=lists["token_logprobs"][-1:], text=reply.choices[0].text,
     reads=COMPLETION_READS)
for provider in ("openai", "hosted_vllm"):
    reply = litellm.completion(model=f"{provider}/{MODEL}", api_base=BASE_URL, api_key="EMPTY", messages=ASKED,
                               max_tokens=2, logprobs=True, top_logprobs=2, temperature=0)
    content = reply.choices[0].logprobs.content
    tell(f"chat by {provider}", completion=[entry["logprob"] if isinstance(entry, dict) else entry.logprob for entry in content],
         text=reply.choices[0].message.content, reads=CHAT_READS)
