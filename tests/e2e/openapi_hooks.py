"""Loaded by schemathesis (SCHEMATHESIS_HOOKS): what it cannot know of logitd-http's replies by itself.

A request that fits its schema may be refused for its values (a prompt beyond the model's context), and not for its form. A
refusal has Retry-After if, and only if, it is 503. A stream's events fit their schema.
"""

import json
import os
import pathlib

import jsonschema_rs
import schemathesis
from schemathesis.generation import GenerationMode

# What a request is refused with whose form is wrong.
FORM = {"unknown_parameter", "unsupported_parameter", "missing_required_parameter", "invalid_type", "malformed_json",
        "empty_body", "duplicate_key", "not_a_number", "number_overflow", "number_underflow",
        "unpaired_surrogate", "invalid_utf8", "too_deep",
        "malformed_request", "unknown_field", "unknown_enum_value", "malformed_message", "field_out_of_range"}
# The events of a stream.
EVENTS = {"/v1/completions": "CompletionEvent", "/v1/chat/completions": "ChatEvent"}

_document = json.loads(pathlib.Path(os.environ["LOGITD_OPENAPI"]).read_text(encoding="utf-8"))


def _is_whole(value, least, most):
    # 3.0 too.
    return isinstance(value, (int, float)) and not isinstance(value, bool) and least <= value <= most and value == int(value)


def _distinct(options, name):
    """Options of a question whose texts differ."""
    texts = set()
    for i, option in enumerate(options if isinstance(options, list) else ()):
        if isinstance(option, dict) and isinstance(option.get(name), (str, bool)) and option[name] != "":
            text = option[name] if isinstance(option[name], str) else json.dumps(option[name])
            if text in texts:
                option[name] = text = f"{text} {i}"
            texts.add(text)


@schemathesis.hook
def map_body(context, body):
    """What a schema cannot say of two fields is made true, where both are in order; or hardly a request would be served."""
    if not isinstance(body, dict):
        return body
    if _is_whole(body.get("max_tokens"), 0, 131072) and _is_whole(body.get("max_completion_tokens"), 0, 131072):
        body["max_completion_tokens"] = body["max_tokens"]
    if _is_whole(body.get("best_of"), 1, 128) and _is_whole(body.get("n"), 1, body["best_of"]) is False:
        body["best_of"] = body["n"] if _is_whole(body.get("n"), 1, 128) else body["best_of"]
    if _is_whole(body.get("min_tokens"), 0, 131072):
        given = [body[name] for name in ("max_tokens", "max_completion_tokens") if _is_whole(body.get(name), 0, 131072)]
        # Nothing given: 16 of /v1/completions, 1 at least of /v1/chat/completions.
        body["min_tokens"] = min(body["min_tokens"], *given or [16 if "prompt" in body else 1])
    if body.get("prompt") == "":
        body["prompt"] = "a"
    if isinstance(body.get("prompt"), list):
        body["prompt"] = ["a" if prompt in ("", []) and not isinstance(prompt, bool) else prompt for prompt in body["prompt"]]
    for question in body["questions"] if isinstance(body.get("questions"), list) else ():
        if isinstance(question, dict):
            _distinct(question.get("choices"), "value")
            _distinct(question.get("levels"), "label")
    return body


def _validator(name):
    return jsonschema_rs.Draft202012Validator(
        {"$ref": f"#/components/schemas/{name}", "components": _document["components"]})


def _code(response):
    try:
        return response.json()["error"]["code"]
    except (ValueError, KeyError, TypeError):
        return None


@schemathesis.check
def refused_for_its_form(ctx, response, case):
    """A request that fits its schema is not refused for its form."""
    if case.meta is None or case.meta.generation.mode != GenerationMode.POSITIVE or response.status_code != 400:
        return
    code = _code(response)
    assert code not in FORM, f"a request that fits the schema is refused with {code}: {response.text[:300]}"


@schemathesis.check
def has_retry_after(ctx, response, case):
    """503, and nothing else, says when to come back."""
    assert ("retry-after" in response.headers) == (response.status_code == 503), response.headers


@schemathesis.check
def never_a_failure(ctx, response, case):
    """No status of 5xx but 503, and 501 for what this server does not offer."""
    assert response.status_code < 500 or response.status_code in (501, 503), response.text[:300]


@schemathesis.check
def events_fit(ctx, response, case):
    """Each event of a stream fits its schema; the last one may be [DONE] or an error. schemathesis reads the first events only."""
    if not response.headers.get("content-type", [""])[0].startswith("text/event-stream"):
        return
    parts = response.content.decode().split("\n\n")[:-1]
    assert parts and all(part.startswith("data: ") for part in parts), response.text[:300]
    events = [part.removeprefix("data: ") for part in parts]
    if events[-1] == "[DONE]":
        events.pop()
    elif "error" in json.loads(events[-1]):
        _validator("Error").validate(json.loads(events.pop()))
    validator = _validator(EVENTS[case.operation.path])
    for event in events:
        validator.validate(json.loads(event))
