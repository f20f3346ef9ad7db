"""The shape of a JSON reply: each path with the types that stand there.

    shape({"choices": [{"text": "a", "logprobs": None}]})
        -> {"choices": "list", "choices[]": "object", "choices[].text": "text", "choices[].logprobs": "null"}

Keys that are data (tokens, ids) are not paths: they are one, written {}.
"""

from __future__ import annotations

# Objects whose keys are data. In a chat top_logprobs is a list of entries.
_MAPS = ("logprobs.top_logprobs[]", "prompt_logprobs[]")
_NAMES = {bool: "boolean", int: "number", float: "number", str: "text", type(None): "null", list: "list", dict: "object"}


def shape(reply: object) -> dict[str, str]:
    """Several types at one place are joined by |, in alphabetical order. A stream is a list of events: its paths are those
    of all events together, without the [DONE]."""
    found: dict[str, set[str]] = {}
    if isinstance(reply, list):
        for event in reply:
            if event != "[DONE]":
                _walk(event, "", found)
    else:
        _walk(reply, "", found)
    return {path: "|".join(sorted(types)) for path, types in sorted(found.items())}


def _walk(value: object, path: str, found: dict[str, set[str]]) -> None:
    if path:
        found.setdefault(path, set()).add(_NAMES[type(value)])
    if isinstance(value, list):
        for part in value:
            _walk(part, path + "[]", found)
    elif isinstance(value, dict):
        for key, part in value.items():
            name = "{}" if path.endswith(_MAPS) else key
            _walk(part, f"{path}.{name}" if path else name, found)
