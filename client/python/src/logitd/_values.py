"""Values that callers give, checked: a wrong one is a TypeError or ValueError that names the option."""

from __future__ import annotations

import operator
from collections.abc import Iterable, Sequence
from typing import Any, Protocol, SupportsFloat, SupportsIndex, runtime_checkable

_INT32 = (-(1 << 31), (1 << 31) - 1)
_INT64 = (-(1 << 63), (1 << 63) - 1)
_UINT64 = (0, (1 << 64) - 1)
_QUOTED_CHARACTERS = 60


def quote(value: object) -> str:
    """The value for an error message, shortened."""
    text = repr(value)
    return text if len(text) <= _QUOTED_CHARACTERS else f"{text[:_QUOTED_CHARACTERS]}..."


def _wrong_type(where: str, wanted: str, value: object) -> TypeError:
    return TypeError(f"{where} must be {wanted}, got {type(value).__name__} {quote(value)}")


def _index(value: SupportsIndex, where: str, bounds: tuple[int, int]) -> int:
    if isinstance(value, bool) or not hasattr(value, "__index__"):
        raise _wrong_type(where, "an integer", value)
    number = operator.index(value)
    if not bounds[0] <= number <= bounds[1]:
        raise ValueError(f"{where} must be in [{bounds[0]}, {bounds[1]}], got {number}")
    return number


def int32(value: SupportsIndex, where: str) -> int:
    """An int, or a numpy integer."""
    return _index(value, where, _INT32)


def int64(value: SupportsIndex, where: str) -> int:
    return _index(value, where, _INT64)


def uint64(value: SupportsIndex, where: str) -> int:
    return _index(value, where, _UINT64)


def number(value: SupportsFloat, where: str) -> float:
    """A float, an int, or a numpy number."""
    if isinstance(value, (bool, str, bytes)) or not hasattr(value, "__float__"):
        raise _wrong_type(where, "a number", value)
    return float(value)


def boolean(value: object, where: str) -> bool:
    """True or False; numpy's too."""
    if isinstance(value, bool) or type(value).__name__ in ("bool_", "bool"):
        return bool(value)
    raise _wrong_type(where, "True or False", value)


def text(value: object, where: str) -> str:
    """Text that UTF-8 can hold."""
    if isinstance(value, (bytes, bytearray)):
        raise TypeError(f"{where} must be text, got bytes {quote(value)}: decode them first, text.decode('utf-8')")
    if not isinstance(value, str):
        raise _wrong_type(where, "text", value)
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise ValueError(f"{where} has the lone surrogate {value[error.start]!a} at character {error.start}, which "
                         "UTF-8 cannot hold") from None
    return value


@runtime_checkable
class _Array(Protocol):
    def tolist(self) -> Any: ...


def is_array(value: object) -> bool:
    """An array of numpy, torch or jax with at least one dimension, or a pandas series."""
    return hasattr(value, "tolist") and getattr(value, "ndim", 0) > 0


def token_ids(value: Iterable[SupportsIndex], where: str, wanted: str = "a list of token ids") -> list[int]:
    """A list, tuple, range or array of integers with one dimension."""
    if isinstance(value, (str, bytes, bytearray)) or not (is_array(value) or isinstance(value, Iterable)):
        raise _wrong_type(where, wanted, value)
    values: list[Any] = value.tolist() if isinstance(value, _Array) else list(value)
    # The usual case, without a call for each id.
    if all(type(token) is int for token in values) and (
            not values or (_INT32[0] <= min(values) and max(values) <= _INT32[1])):
        return values
    return [int32(token, f"{where}[{i}]") for i, token in enumerate(values)]


def items(value: Iterable[Any], where: str, wanted: str) -> Sequence[Any]:
    """A list of things that are no text; a single text would be taken apart into characters."""
    if isinstance(value, (str, bytes, bytearray)) or not isinstance(value, Iterable):
        raise TypeError(f"{where} must be a list of {wanted}, got {type(value).__name__} {quote(value)}"
                        + (f": write [{quote(value)}]" if isinstance(value, str) else ""))
    return value if isinstance(value, (list, tuple)) else list(value)


def _prefix(enum: Any) -> str:
    first: str = enum.DESCRIPTOR.values[0].name
    return first.removesuffix("UNSPECIFIED")


def enum_names(enum: Any) -> list[str]:
    """The values of a protobuf enum as Python has them, "per_token"; without the unspecified one."""
    prefix = _prefix(enum)
    return [value.name.removeprefix(prefix).lower() for value in enum.DESCRIPTOR.values if value.number != 0]


def enum_value(enum: Any, value: object, where: str) -> int:
    """The number of a value by its name: "lm-eval", "lm_eval" or "BOUNDARY_LM_EVAL"."""
    if isinstance(value, str):
        name = value.upper().replace("-", "_").removeprefix(_prefix(enum))
        if name.lower() in enum_names(enum):
            return int(enum.Value(_prefix(enum) + name))
        raise ValueError(f"{where} must be one of {', '.join(enum_names(enum))}; got {quote(value)}")
    raise _wrong_type(where, f"one of {', '.join(enum_names(enum))}", value)


def enum_name(enum: Any, value: int) -> str:
    """The name of a number; of one that this package does not know, the number."""
    try:
        name: str = enum.Name(value)
    except ValueError:
        return str(value)
    return name.removeprefix(_prefix(enum)).lower()
