"""DSPy, which has an HTTP client of its own: text and chat."""

from asked import ASKED, BASE_URL, CHAT_READS, MODEL, TEXT, tell

import dspy

SHARED = {"api_base": BASE_URL, "api_key": "EMPTY", "temperature": 0.0, "max_tokens": 8, "cache": False, "num_retries": 0}
(text,) = dspy.LM(f"openai/{MODEL}", model_type="text", **SHARED)(prompt=TEXT)
tell("completion", text=text if isinstance(text, str) else text["text"], reads=["choices[].text", "choices[].finish_reason"])
(answer,) = dspy.LM(f"openai/{MODEL}", logprobs=True, **SHARED)(messages=ASKED)
logprobs = answer["logprobs"]
content = logprobs["content"] if isinstance(logprobs, dict) else logprobs.content
tell("chat", completion=[entry["logprob"] if isinstance(entry, dict) else entry.logprob for entry in content],
     text=answer["text"], reads=CHAT_READS)
