"""Rows of any library become the bytes that go onto the wire.

A row is checked here, so that a wrong one fails where it was made, with the names of the model and of both shapes.
"""

from __future__ import annotations

import array
import dataclasses
import sys
from collections.abc import Sequence
from typing import Any

from logitd import _failures, errors
from logitd.v1 import logits_pb2

_INF = float("inf")
_MOST_F32 = 3.4028234663852886e38


@dataclasses.dataclass(frozen=True, slots=True)
class WireType:
    """The type in which a model's rows are sent."""

    name: str
    proto: logits_pb2.LogitsDtype
    bytes: int


WIRE_TYPES = {
    "f32": WireType("f32", logits_pb2.LOGITS_DTYPE_F32, 4),
    "f16": WireType("f16", logits_pb2.LOGITS_DTYPE_F16, 2),
    "bf16": WireType("bf16", logits_pb2.LOGITS_DTYPE_BF16, 2),
}
# The types of arrays that each type on the wire takes. All are exact, except that float64 is rounded once to f32.
_TAKES = {"f32": ("float32", "float16", "bfloat16", "float64"), "f16": ("float16",), "bf16": ("bfloat16",)}


def to_wire(rows: Any, count: int, width: int, wire: WireType, source: str) -> memoryview:
    """The bytes of `rows`, of shape [count, width]: row-major, little endian.

    width: vocab_size, or hidden_size of a model with a head.

    rows: an array of numpy, of torch, or with `__dlpack__` or `__array__`; or a sequence of rows, each an array or a
      sequence of floats. Any strides, any device that its library can copy from.
    source: the name of the function that made it, for messages: "Bigram.rows".
    Raises MODEL_OUTPUT_INVALID: another shape; a type that the wire's does not hold; NaN, +inf, or a row without a
    finite value; a finite value that f32 cannot hold.
    """
    if isinstance(rows, (list, tuple)) and all(_is_list_of_floats(row) for row in rows):
        return _lists_to_wire(rows, count, width, wire, source)
    values, name = _array_of(rows, source)
    return _array_to_wire(values, name, count, width, wire, source)


def _invalid(source: str, text: str, **details: Any) -> errors.LogitdError:
    return _failures.failure("MODEL_OUTPUT_INVALID", f"{source} returned {text}", **details)


def _wrong_shape(source: str, shape: Sequence[int], count: int, width: int) -> errors.LogitdError:
    return _invalid(source, f"an array of shape {list(shape)}; the shape must be [{count}, {width}]: one row for each "
                            "wanted token, and in it one logit for each token of the vocabulary (with `head`: one "
                            "value for each of hidden_size)")


def _wrong_value(source: str, value: float, row: int, token_id: int | None) -> errors.LogitdError:
    if token_id is None:
        return _invalid(source, f"row {row} without a finite logit: every token of it is excluded")
    name = "NaN" if value != value else "+inf"
    if abs(value) < _INF:
        name = f"{value}, which f32 cannot hold (-inf excludes a token),"
    return _invalid(source, f"{name} in row {row}, token {token_id}", token_id=token_id)


def _is_list_of_floats(row: Any) -> bool:
    return isinstance(row, (list, tuple)) and (not row or isinstance(row[0], (float, int)))


def _lists_to_wire(rows: Sequence[Sequence[float]], count: int, width: int, wire: WireType,
                   source: str) -> memoryview:
    """Plain Python needs no numpy."""
    widths = {len(row) for row in rows}
    if len(rows) != count or widths - {width}:
        raise _wrong_shape(source, [len(rows), next(iter(widths - {width}), width)], count, width)
    if wire.name != "f32":
        raise _invalid(source, f"floats, although the model says dtype {wire.name!r}: it must be 'f32' for them")
    values = array.array("f")
    for i, row in enumerate(rows):
        # Most rows hold ordinary numbers only, and their sum shows it.
        is_plain = abs(sum(row)) < _INF and -_MOST_F32 <= min(row) and max(row) <= _MOST_F32
        for token_id, value in enumerate(() if is_plain else row):
            if value != value or value == _INF or (abs(value) > _MOST_F32 and value != -_INF):
                raise _wrong_value(source, value, i, token_id)
        if max(row) == -_INF:
            raise _wrong_value(source, -_INF, i, None)
        values.extend(row)
    if sys.byteorder == "big":
        values.byteswap()
    return memoryview(values).cast("B")


def _numpy() -> Any:
    try:
        import numpy
    except ImportError:
        raise ImportError("rows that are arrays need numpy: pip install 'logitd[numpy]'") from None
    return numpy


def _array_of(rows: Any, source: str) -> tuple[Any, str]:
    """A numpy array of the same values, and the name of their type. Those of bfloat16 are uint16: numpy has no such
    type."""
    is_array = any(hasattr(rows, name) for name in ("detach", "__array__", "__dlpack__"))
    is_list = isinstance(rows, (list, tuple))
    if not (rows if is_list else is_array):
        what = "no row" if is_list else f"a {type(rows).__name__}"
        raise _invalid(source, f"{what}; it must be an array of shape [wanted, vocab_size]")
    np = _numpy()
    if is_list:
        parts = [_array_of(np.asarray(row, np.float64) if _is_list_of_floats(row) else row, source) for row in rows]
        if len({(part.shape, name) for part, name in parts}) > 1:
            raise _invalid(source, f"rows of different shapes or types: {[(list(p.shape), name) for p, name in parts]}")
        return np.stack([part for part, _ in parts]), parts[0][1]
    if hasattr(rows, "detach"):
        tensor = rows.detach().cpu()
        if str(tensor.dtype) != "torch.bfloat16":
            return _array_of(tensor.numpy(), source)
        import torch

        return tensor.contiguous().view(torch.int16).numpy().view(np.uint16), "bfloat16"
    values = np.asarray(rows) if hasattr(rows, "__array__") else np.from_dlpack(rows)
    name = values.dtype.name
    return (np.ascontiguousarray(values).view(np.uint16), name) if name == "bfloat16" else (values, name)


def _array_to_wire(values: Any, name: str, count: int, width: int, wire: WireType, source: str) -> memoryview:
    np = _numpy()
    if values.shape != (count, width):
        raise _wrong_shape(source, values.shape, count, width)
    if name not in _TAKES[wire.name]:
        raise _invalid(source, f"an array of {name}; a model of dtype {wire.name!r} returns "
                               f"{' or '.join(_TAKES[wire.name])}")
    if name == "bfloat16":
        wide = (values.astype(np.uint32) << 16).view(np.float32)
    else:
        with np.errstate(over="ignore"):
            wide = values.astype(np.float32, copy=False)
    _check(values if name == "float64" else None, wide, source)
    sent = wide if wire.name == "f32" else values
    contiguous = np.ascontiguousarray(sent, dtype=sent.dtype.newbyteorder("<"))
    return memoryview(contiguous.reshape(-1).view(np.uint8))


def _check(wider: Any, rows: Any, source: str) -> None:
    """Refuses rows that are not numbers. `wider`: the float64 values from which `rows` were rounded; None: none."""
    np = _numpy()
    # NaN and +inf are the largest of their row, if there are any; -inf is if there is no other value.
    if not np.isfinite(rows.max(axis=1, initial=-_INF)).all():
        for i, row in enumerate(rows):
            wrong = np.flatnonzero(np.isnan(row) | (row == _INF))
            if wrong.size:
                value = row[wrong[0]] if wider is None else wider[i, wrong[0]]
                raise _wrong_value(source, float(value), i, int(wrong[0]))
            if not np.isfinite(row).any():
                raise _wrong_value(source, -_INF, i, None)
    if wider is None:
        return
    lost = np.argwhere(np.isneginf(rows) & ~np.isneginf(wider))
    if lost.size:
        i, token_id = map(int, lost[0])
        raise _wrong_value(source, float(wider[i, token_id]), i, token_id)
