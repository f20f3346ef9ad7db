"""The openai client, newest and a year old."""

from asked import ASKED, BASE_URL, CHAT_READS, CHAT_STREAM_READS, COMPLETION_READS, MODEL, TEXT, tell

import openai

client = openai.OpenAI(base_url=BASE_URL, api_key="EMPTY", max_retries=0)

models = client.models.list()
assert [model.id for model in models.data] == [MODEL], models
tell("models", reads=["object", "data[].id", "data[].object", "data[].created", "data[].owned_by"])

reply = client.completions.create(model=MODEL, prompt=TEXT, echo=True, logprobs=3, max_tokens=4, seed=1, temperature=0)
lists = reply.choices[0].logprobs
assert reply.choices[0].text.startswith(TEXT)
# One list: the prompt's tokens, the first of them without a number, and those of the completion.
assert lists.token_logprobs[0] is None and len(lists.tokens) == reply.usage.total_tokens
assert all(top[token] == value for token, value, top in list(
    zip(lists.tokens, lists.token_logprobs, lists.top_logprobs))[1:])
tell("echo", prompt=lists.token_logprobs[1:reply.usage.prompt_tokens],
     completion=lists.token_logprobs[reply.usage.prompt_tokens:], text=reply.choices[0].text,
     reads=[*COMPLETION_READS, "usage.prompt_tokens", "usage.completion_tokens", "usage.total_tokens"])

reply = client.completions.create(model=MODEL, prompt=["One, two,", "Red, green"], max_tokens=3, n=2, seed=3,
                                  stop=["\n"], temperature=0.7)
assert [choice.index for choice in reply.choices] == [0, 1, 2, 3]
tell("several prompts", reads=["choices[].index", "choices[].text", "choices[].finish_reason"])

reply = client.completions.create(model=MODEL, prompt=[504, 2642, 282], echo=True, logprobs=1, max_tokens=0)
lists = reply.choices[0].logprobs
tell("token ids", prompt=lists.token_logprobs[1:], completion=[], text=reply.choices[0].text, reads=COMPLETION_READS)

values, text, usage = [], "", None
for event in client.completions.create(model=MODEL, prompt=TEXT, max_tokens=4, temperature=0, logprobs=1, stream=True,
                                       stream_options={"include_usage": True}):
    for choice in event.choices:
        text += choice.text
        values += choice.logprobs.token_logprobs if choice.logprobs else []
    usage = event.usage or usage
assert usage.completion_tokens == len(values) == 4
tell("stream", completion=values, text=text, reads=["choices[].index", "choices[].text",
                                                    "choices[].logprobs.token_logprobs[]", "usage.completion_tokens"])

reply = client.completions.create(model=MODEL, prompt=TEXT, max_tokens=1, temperature=0,
                                  extra_body={"prompt_logprobs": 1, "return_token_ids": True, "add_special_tokens": False})
choice = reply.choices[0]
entries = choice.model_extra["prompt_logprobs"]
assert entries[0] is None and len(entries) == len(choice.model_extra["prompt_token_ids"])
# The actual token is first.
assert [int(next(iter(entry))) for entry in entries[1:]] == choice.model_extra["prompt_token_ids"][1:]
tell("prompt_logprobs", prompt=[next(iter(entry.values()))["logprob"] for entry in entries[1:]],
     reads=["choices[].prompt_logprobs[]", "choices[].prompt_token_ids[]"])

try:
    client.completions.create(model=MODEL, prompt=TEXT, max_tokens=1, suffix="end")
    raise SystemExit("suffix was not refused")
except openai.BadRequestError as error:
    assert (error.code, error.param, error.type) == ("unsupported_parameter", "suffix", "invalid_request_error"), error
    tell("refused", refused=error.status_code, reads=["error.message", "error.type", "error.param", "error.code"])

try:
    client.responses.create(model=MODEL, input="hi", max_output_tokens=4)
    raise SystemExit("/v1/responses was not refused")
except openai.NotFoundError as error:
    tell("responses", refused=error.status_code, reads=["error.message"])

if hasattr(client, "decisions"):
    reply = client.decisions.create(model=MODEL, input="The sky is blue.", questions=[
        {"type": "predicate", "name": "blue", "instructions": "The sky is blue."}])
    assert 0 < reply.answers[0].probability < 1
    tell("decisions", reads=["answers[].name", "answers[].probability"])

reply = client.chat.completions.create(model=MODEL, messages=ASKED, max_completion_tokens=4, temperature=0, logprobs=True,
                                       top_logprobs=2)
content = reply.choices[0].logprobs.content
assert all(len(entry.top_logprobs) == 2 for entry in content)
tell("chat", completion=[entry.logprob for entry in content], text=reply.choices[0].message.content,
     reads=[*CHAT_READS, "usage.total_tokens"])

values, text = [], ""
for event in client.chat.completions.create(model=MODEL, messages=ASKED, max_tokens=4, temperature=0, logprobs=True,
                                            top_logprobs=2, stream=True):
    for choice in event.choices:
        text += choice.delta.content or ""
        values += [entry.logprob for entry in choice.logprobs.content] if choice.logprobs else []
tell("chat stream", completion=values, text=text, reads=CHAT_STREAM_READS)
