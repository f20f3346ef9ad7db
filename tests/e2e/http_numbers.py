"""The log-probs that gRPC gives for a request of /v1/completions or /v1/chat/completions, made from the request's JSON by
this file's own rules."""

from __future__ import annotations

import dataclasses
import re

import wire
from logitd.v1 import completion_pb2 as completion
from logitd.v1 import generation_service_pb2 as generation
from logitd.v1 import model_service_pb2
from logitd.v1 import sampling_pb2 as sampling


@dataclasses.dataclass(frozen=True)
class Numbers:
    # Of the prompts' tokens except the first, one prompt after the other; nats.
    prompt: list[float]
    # Of the generated tokens.
    completion: list[float]
    texts: list[str]
    # Of each generated token its text, and the texts and log-probs of the most likely tokens.
    alternatives: list[tuple[str, list[tuple[str, float]]]]


def is_defined(request: dict) -> bool:
    """Nothing in it is drawn at random."""
    return request.get("temperature", 1) == 0


def chat_ml(template: str, messages: list[dict]) -> str:
    """SmolLM2's template by hand; its own words for a system are taken out of it."""
    own = re.search(r"{{ '(<\|im_start\|>system.*?)' }}", template, re.DOTALL)[1]
    text = "" if messages[0]["role"] == "system" else own.replace("\\n", "\n")
    text += "".join(f"<|im_start|>{message['role']}\n{_text(message['content'])}<|im_end|>\n" for message in messages)
    return text + "<|im_start|>assistant\n"


def _text(content: str | list[dict]) -> str:
    return content if isinstance(content, str) else "".join(part["text"] for part in content)


def _prompts(client: wire.Client, request: dict) -> list[completion.Input]:
    if "messages" in request:
        (status,) = client.models.ListModels(model_service_pb2.ListModelsRequest(), timeout=wire.TIMEOUT_S).models
        return [completion.Input(text=chat_ml(status.model.chat_template, request["messages"]))]
    prompt = request["prompt"]
    several = prompt if isinstance(prompt, list) and not isinstance(prompt[0], int) else [prompt]
    return [completion.Input(text=one) if isinstance(one, str)
            else completion.Input(tokens=sampling.TokenIds(token_ids=one)) for one in several]


def numbers_of(client: wire.Client, request: dict) -> Numbers:
    """REQUIRES: is_defined(request), or nothing is generated."""
    found = Numbers([], [], [], [])
    limit = next((request[name] for name in ("max_tokens", "max_completion_tokens") if request.get(name) is not None),
                 None if "messages" in request else 16)
    stop = request.get("stop") or []
    depth = request.get("top_logprobs") or 0
    for prompt in _prompts(client, request):
        sent = generation.GenerateRequest(
            prompt=prompt, stream=False, sampling=sampling.SamplingParams(temperature=0),
            tokenization=completion.TokenizationOptions(parse_special_tokens=True),
            record=completion.RecordOptions(top_n=depth), prompt_record=completion.RecordOptions(top_n=depth),
            stop=sampling.StopCriteria(max_tokens=limit, stop_strings=[stop] if isinstance(stop, str) else stop))
        *_, last = client.generation.Generate(sent, timeout=wire.TIMEOUT_S)
        found.prompt.extend(record.model_log_prob for record in last.final.prompt.tokens[1:])
        for made in last.final.completions:
            found.completion.extend(record.model_log_prob for record in made.tokens)
            found.texts.append(made.text)
            found.alternatives.extend(
                (record.token_bytes.decode(errors="replace"),
                 [(text.decode(errors="replace"), log_prob)
                  for text, log_prob in zip(record.top.token_bytes, record.top.model_log_probs)]) for record in made.tokens)
    return found
