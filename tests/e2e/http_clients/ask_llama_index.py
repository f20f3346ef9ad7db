"""LlamaIndex's OpenAILike: completions and chat."""

from asked import BASE_URL, CHAT_READS, COMPLETION_READS, MODEL, TEXT, tell
from llama_index.core.llms import ChatMessage
from llama_index.llms.openai_like import OpenAILike

SHARED = {"model": MODEL, "api_base": BASE_URL, "api_key": "EMPTY", "max_tokens": 4, "temperature": 0.0,
          "logprobs": True, "top_logprobs": 2, "max_retries": 0}
reply = OpenAILike(is_chat_model=False, **SHARED).complete(TEXT)
tell("completion", completion=[position[0].logprob for position in reply.logprobs], text=reply.text, reads=COMPLETION_READS)
reply = OpenAILike(is_chat_model=True, **SHARED).chat([ChatMessage(role="user", content="Name a colour.")])
tell("chat", completion=[entry["logprob"] if isinstance(entry, dict) else entry.logprob
                         for entry in reply.raw.choices[0].logprobs.content],
     text=reply.message.content, reads=CHAT_READS)
