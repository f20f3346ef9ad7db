"""Messages as lines of JSON, exactly as `logit` writes and reads them, so that both can go on with each other's files.

- Names as in the .proto files; zeros are written out, unset optional fields are left out.
- Doubles have as many digits as it takes to read back the same bits; -inf is "-Infinity".
- 64-bit integers are strings, bytes are base64.
"""

from __future__ import annotations

import base64
import json
import math
import re
from typing import Any

from google.protobuf import json_format, message as message_lib

from logitd.v1 import error_pb2

# The characters that protobuf's C++ library escapes besides those that JSON demands.
_ESCAPED = re.compile("[<>\x7f-\x9f\xad\u0600-\u0603\u06dd\u070f\u17b4\u17b5\u200b-\u200f\u2028-\u202e\u2060-\u2064"
                      "\u206a-\u206f\ufeff\ufff9-\ufffb\U0001d173-\U0001d17a\U000e0001\U000e0020-\U000e007f]")
_MAX_LINE_BYTES = 64 << 20


def _text(value: str) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return _ESCAPED.sub(lambda match: json.dumps(match[0])[1:-1] if match[0] > "\x9f" else f"\\u{ord(match[0]):04x}",
                        text)


def _double(value: float) -> str:
    if math.isinf(value):
        return '"Infinity"' if value > 0 else '"-Infinity"'
    if math.isnan(value):
        return '"NaN"'
    short = f"{value:.15g}"
    return short if float(short) == value else f"{value:.17g}"


def _scalar(field: Any, value: Any) -> str:
    kind = field.cpp_type
    if kind == field.CPPTYPE_STRING:
        return _text(value) if isinstance(value, str) else f'"{base64.b64encode(value).decode()}"'
    if kind == field.CPPTYPE_BOOL:
        return "true" if value else "false"
    if kind in (field.CPPTYPE_DOUBLE, field.CPPTYPE_FLOAT):
        return _double(value)
    if kind in (field.CPPTYPE_INT64, field.CPPTYPE_UINT64):
        return f'"{value}"'
    if kind == field.CPPTYPE_ENUM:
        named = field.enum_type.values_by_number.get(value)
        return str(value) if named is None else f'"{named.name}"'
    return str(value)


def _is_repeated(field: Any, value: Any) -> bool:
    return not isinstance(value, (str, bytes, int, float, message_lib.Message))


def _value(field: Any, value: Any, with_zeros: bool) -> str:
    if _is_repeated(field, value):
        return f"[{','.join(_value(field, one, with_zeros) for one in value)}]"
    if isinstance(value, message_lib.Message):
        return to_json(value, with_zeros)
    return _scalar(field, value)


def to_json(message: message_lib.Message, with_zeros: bool = True) -> str:
    """The message on one line, without its end. `with_zeros` false: only the fields that are set."""
    given = {field.number: (field, value) for field, value in message.ListFields()}
    if with_zeros:
        # Fields that can be unset come last.
        first = [(field, given[field.number][1] if field.number in given else getattr(message, field.name))
                 for field in message.DESCRIPTOR.fields if field.containing_oneof is None
                 and (field.number in given or not field.has_presence)]
        fields = first + [pair for pair in given.values() if pair[0].containing_oneof is not None]
    else:
        fields = list(given.values())
    parts = (f'"{field.name}":{_value(field, value, with_zeros)}' for field, value in fields)
    return f"{{{','.join(parts)}}}"


def malformed(number: int, place: str, words: str) -> error_pb2.Error:
    """The error of line `number` of `place`."""
    return error_pb2.Error(code=3, reason=error_pb2.ERROR_REASON_MALFORMED_MESSAGE, field="in",
                           value=f"line {number}", message=f"line {number} of {place} {words}")


def from_line(line: bytes, number: int, place: str, message: Any) -> error_pb2.Error | None:
    """Reads `message` from line `number`, which comes without its end. Returns the error of a line that is none; the
    message may have its id then."""
    name = message.DESCRIPTOR.name
    if len(line) > _MAX_LINE_BYTES:
        return error_pb2.Error(
            code=8, reason=error_pb2.ERROR_REASON_LIMIT_EXCEEDED, field="in", value=str(len(line)),
            bound=f"[0, {_MAX_LINE_BYTES}]", limit="max_message_bytes",
            message=f"line {number} of {place} must have at most {_MAX_LINE_BYTES} bytes, got {len(line)}")
    if not line.strip(b" \t\r"):
        return malformed(number, place, f"is blank: it must hold a {name} in JSON")
    try:
        json_format.Parse(line.removeprefix(b"\xef\xbb\xbf") if number == 1 else line, message)
    except (json_format.ParseError, UnicodeDecodeError) as error:
        message.Clear()
        message.id = _id_of(line)
        return malformed(number, place, f"is not a {name} in JSON: {_on_one_line(str(error))}")
    return None


def _id_of(line: bytes) -> str:
    try:
        found = json.loads(line)
        return found["id"] if isinstance(found, dict) and isinstance(found.get("id"), str) else ""
    except ValueError:
        return ""


def _on_one_line(text: str, most: int = 200) -> str:
    text = " ".join(text.split())
    return text if len(text) <= most else f"{text[:most]}..."
