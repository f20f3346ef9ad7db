"""langchain-openai: completions and chat."""

from asked import BASE_URL, CHAT_READS, COMPLETION_READS, MODEL, TEXT, tell
from langchain_openai import ChatOpenAI, OpenAI

result = OpenAI(base_url=BASE_URL, api_key="EMPTY", model=MODEL, max_tokens=4, temperature=0, logprobs=2).generate([TEXT])
generation = result.generations[0][0]
tell("completion", completion=generation.generation_info["logprobs"]["token_logprobs"], text=generation.text,
     reads=COMPLETION_READS)

chat = ChatOpenAI(base_url=BASE_URL, api_key="EMPTY", model=MODEL, max_tokens=4, temperature=0)
message = chat.bind(logprobs=True, top_logprobs=2).invoke("Name a colour.")
tell("chat", completion=[entry["logprob"] for entry in message.response_metadata["logprobs"]["content"]],
     text=message.content, reads=CHAT_READS)
text = "".join(chunk.content for chunk in chat.stream("Name a colour."))
tell("chat stream", text=text, reads=["choices[].delta.content", "choices[].finish_reason"])
