"""Rows of logits, from the arrays that models return to the bytes of a message.

    rows = Rows.of(logits, vocab_size=50257)       # a numpy, torch or jax array, [V] or [B, V]
    rows.block(0, 2), rows.pieces(0, 2)            # the layout and the bytes of the first two rows

A row goes over the wire in the type in which it came: float32, float16 or bfloat16. Nothing is rounded unasked.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
import struct
import sys
from collections.abc import Sequence
from typing import Any, Literal

import grpc

from logitd import errors
from logitd._decode import memory
from logitd._decode.head import Head
from logitd.v1 import logits_pb2

# The type to send. "f32" also rounds float64, and "bf16" also takes integers of two bytes for the bits of bfloat16.
Dtype = Literal["f32", "f16", "bf16"]

_WIRE = {"float32": logits_pb2.LOGITS_DTYPE_F32, "float16": logits_pb2.LOGITS_DTYPE_F16,
         "bfloat16": logits_pb2.LOGITS_DTYPE_BF16}
_TAKES = {None: tuple(_WIRE), "f32": ("float32", "float64"), "f16": ("float16",),
          "bf16": ("bfloat16", "uint16", "int16", "void16")}
_CONVERSION = "rows.astype('float32'), in torch rows.float()"
_FIELD = "rows"


def refuse(message: str, *, field: str = _FIELD, value: object = "", bound: object = "",
           reason: str = "") -> errors.InvalidRequestError:
    """The error of an argument that is refused here, before anything is sent."""
    return errors.InvalidRequestError(message, reason=reason, field=field, value=str(value), bound=str(bound),
                                      code=grpc.StatusCode.INVALID_ARGUMENT)


def check_dtype(dtype: str | None) -> None:
    """Raises InvalidRequestError unless it is a Dtype or None."""
    if dtype not in _TAKES:
        raise refuse(f"dtype must be 'f32', 'f16', 'bf16' or None, got {dtype!r}", field="dtype", value=dtype,
                     bound="f32, f16, bf16")


@dataclasses.dataclass(frozen=True)
class Rows:
    """`count` rows of `width` values, in the memory in which they came wherever that has them side by side."""

    dtype: int
    count: int
    width: int
    # The bytes, each piece a whole number of rows.
    _pieces: tuple[memoryview | bytes, ...]
    # The objects that keep the memory of the pieces alive.
    _owner: Any = None
    # The head that makes logits of them; None: they are logits.
    head: Head | None = None

    @classmethod
    def of(cls, source: Any, vocab_size: int | None = None, dtype: Dtype | None = None,
           head: Head | None = None) -> Rows:
        """The rows of an array [V] or [B, V], or of a sequence of B arrays [V].

        source: a numpy array, a torch or jax tensor, or any object with __dlpack__, __array_interface__, __array__ or
          the buffer protocol; strides may be any. A list of floats is a row of float64.
        vocab_size: the width that the rows must have; None: any.
        dtype: None: as the values are, and float64 is refused. "f32": float64 is rounded to the nearest float32.
          "bf16": integers of two bytes are the bits of bfloat16.
        head: the rows are hidden states for it, [d] or [B, d].

        Raises InvalidRequestError, which says what to do.
        """
        check_dtype(dtype)
        if isinstance(source, (list, tuple)):
            rows = cls._of_sequence(source, dtype)
        else:
            rows = cls._of_array(_array(source, dtype), dtype)
        if head is not None:
            head.check_width(rows.count, rows.width)
            return dataclasses.replace(rows, head=head)
        if vocab_size is not None and rows.width != vocab_size:
            raise refuse(f"a row must have vocab_size = {vocab_size} values, got {rows.width}", value=rows.width,
                         bound=vocab_size, reason="ROW_LENGTH_MISMATCH")
        return rows

    @classmethod
    def _of_sequence(cls, source: Sequence[Any], dtype: Dtype | None) -> Rows:
        if not source:
            raise refuse("there are no rows: the list is empty")
        if all(isinstance(value, (float, int)) for value in source):
            return cls._of_floats(source, dtype)
        return cls.joined([cls.of(row, dtype=dtype) for row in source])

    @classmethod
    def joined(cls, parts: Sequence[Rows]) -> Rows:
        """The rows of all parts, which must have one width and one type. REQUIRES: a part."""
        for i, part in enumerate(parts):
            if part.width != parts[0].width:
                raise refuse(f"all rows must have one width: row 0 has {parts[0].width} values, "
                             f"row {i} has {part.width}", value=part.width, bound=parts[0].width,
                             reason="ROW_LENGTH_MISMATCH")
            if part.dtype != parts[0].dtype:
                raise refuse(f"all rows must have one type: row 0 is {_name(parts[0].dtype)}, "
                             f"row {i} is {_name(part.dtype)}", value=_name(part.dtype), bound=_name(parts[0].dtype))
        return cls(parts[0].dtype, sum(part.count for part in parts), parts[0].width,
                   tuple(itertools.chain.from_iterable(part._pieces for part in parts)),
                   [part._owner for part in parts], parts[0].head)

    @classmethod
    def _of_floats(cls, values: Sequence[float], dtype: Dtype | None) -> Rows:
        if dtype != "f32":
            raise refuse("a list of Python's floats is float64: give dtype='f32', which rounds each to the nearest "
                         "float32, or an array", value="float64", bound="float32, float16, bfloat16")
        return cls(logits_pb2.LOGITS_DTYPE_F32, 1, len(values), (_rounded(struct.pack(f"<{len(values)}d", *values)),))

    @classmethod
    def _of_array(cls, array: memory.Array, dtype: Dtype | None) -> Rows:
        shape = array.shape
        if len(shape) not in (1, 2):
            hint = ": take the last position, rows[:, -1]" if len(shape) == 3 else ""
            raise refuse(f"rows must have the shape [V] or [B, V], got {_shown(shape)}{hint}", value=_shown(shape),
                         bound="[V] or [B, V]")
        if 0 in shape:
            raise refuse(f"the shape {_shown(shape)} has no values", value=_shown(shape), bound="[V] or [B, V]")
        _check_type(array.type, dtype)
        pieces = array.rows()
        if array.type == "float64":
            return cls(logits_pb2.LOGITS_DTYPE_F32, _count(shape), shape[-1],
                       tuple(_rounded(bytes(piece)) for piece in pieces))
        wire = _WIRE.get(array.type, logits_pb2.LOGITS_DTYPE_BF16)
        return cls(wire, _count(shape), shape[-1], tuple(pieces), array)

    @property
    def row_bytes(self) -> int:
        return self.width * (4 if self.dtype == logits_pb2.LOGITS_DTYPE_F32 else 2)

    def block(self, begin: int, end: int) -> logits_pb2.LogitsBlock:
        """The layout of the rows [begin, end)."""
        return logits_pb2.LogitsBlock(dtype=self.dtype, row_count=end - begin,  # type: ignore[arg-type]
                                      width=self.width,
                                      hidden=None if self.head is None else self.head.message)

    def pieces(self, begin: int, end: int) -> list[memoryview | bytes]:
        """The bytes of the rows [begin, end), in pieces. They are those of the array, and change with it."""
        found, row = [], 0
        for piece in self._pieces:
            rows = len(piece) // self.row_bytes
            first, last = max(begin, row), min(end, row + rows)
            if first < last:
                part = memoryview(piece)[(first - row) * self.row_bytes:(last - row) * self.row_bytes]
                found.append(piece if first == row and last == row + rows else part)
            row += rows
        return found


def _array(source: Any, dtype: Dtype | None) -> memory.Array:
    """The object's memory, brought to the host if need be."""
    if sys.byteorder != "little":
        raise refuse("rows are little endian, and this machine is not")
    if hasattr(source, "__array_interface__"):
        return memory.from_interface(source)
    if hasattr(source, "detach") and hasattr(source, "cpu"):
        # A torch tensor: without its graph, and on the host. A tensor that is there already is not copied.
        source = source.detach().cpu()
        source = source.resolve_neg() if hasattr(source, "resolve_neg") else source
    if hasattr(source, "block_until_ready"):
        # jax may still be computing the values.
        source.block_until_ready()
    if hasattr(source, "__dlpack__") and memory.is_on_host(source):
        try:
            return memory.from_dlpack(source)
        except BufferError as failure:
            raise refuse(f"rows cannot be read by DLPack: {failure}") from failure
    try:
        view = memoryview(source)
    except (TypeError, BufferError, ValueError):
        return _by_numpy(source, dtype)
    return memory.from_buffer(view)


def _by_numpy(source: Any, dtype: Dtype | None) -> memory.Array:
    if not hasattr(source, "__array__"):
        where = " on the host" if hasattr(source, "__dlpack__") else ""
        raise refuse(f"rows must be an array{where} (numpy, torch, jax, or with __dlpack__, __array__ or the buffer "
                     f"protocol), got {type(source).__name__}", value=type(source).__name__)
    try:
        import numpy
    except ImportError as failure:
        raise ImportError(f"rows of {type(source).__name__} need numpy: pip install 'logitd[numpy]'") from failure
    return memory.from_interface(numpy.asarray(source))


def _check_type(type_name: str, dtype: Dtype | None) -> None:
    if type_name in _TAKES[dtype]:
        return
    allowed = "float32, float16 or bfloat16" if dtype is None else " or ".join(_TAKES[dtype])
    if type_name == "float64" and dtype is None:
        todo = f"give dtype='f32', which rounds each value to the nearest float32, or convert them: {_CONVERSION}"
    elif type_name in _TAKES["bf16"] and dtype is None:
        todo = "if these are the bits of bfloat16, give dtype='bf16'"
    elif type_name.startswith("big-endian float"):
        todo = f"swap the bytes: rows.astype('<f{int(type_name.removeprefix('big-endian float')) // 8}')"
    elif dtype is not None and type_name in _WIRE:
        todo = "leave dtype out"
    else:
        todo = f"convert them: {_CONVERSION}"
    given = "" if dtype is None else f" with dtype={dtype!r}"
    raise refuse(f"rows{given} must be {allowed}, got {type_name}: {todo}", value=type_name, bound=allowed)


def _rounded(doubles: bytes) -> bytes:
    """float64 as float32, each value the nearest. Raises InvalidRequestError for a finite one that float32 cannot
    hold."""
    if "numpy" in sys.modules:
        import numpy

        wide = numpy.frombuffer(doubles, "<f8")
        with numpy.errstate(over="ignore", invalid="ignore"):
            narrow = wide.astype("<f4")
        if not bool((numpy.isinf(narrow) & ~numpy.isinf(wide)).any()):
            return bytes(narrow.tobytes())
    else:
        values = struct.unpack(f"<{len(doubles) // 8}d", doubles)
        try:
            return struct.pack(f"<{len(values)}f", *values)
        except OverflowError:
            pass
    raise refuse("rows hold a finite value beyond 3.4028235e38, which float32 cannot hold",
                 bound="[-3.4028235e38, 3.4028235e38]")


def _count(shape: Sequence[int]) -> int:
    return math.prod(shape[:-1])


def _shown(shape: Sequence[int]) -> str:
    return f"[{', '.join(map(str, shape))}]"


def _name(dtype: int) -> str:
    return next(name for name, value in _WIRE.items() if value == dtype)
