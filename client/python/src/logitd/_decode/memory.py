"""Arrays of other libraries as memory: an address, a shape and strides, without numpy and without a copy.

DLPack capsules, numpy's array interface and the buffer protocol are read here. Nothing here knows what the values mean.
"""

from __future__ import annotations

import ctypes
import dataclasses
import math
from collections.abc import Iterator
from typing import Any, Literal

_CPU = 1
# Memory of the host that a CUDA or ROCm device reads too.
_HOST_DEVICES = (_CPU, 3, 11)
_INTEGER_FORMATS: dict[int, Literal["B", "H", "I", "Q"]] = {1: "B", 2: "H", 4: "I", 8: "Q"}
# The kinds of the buffer protocol's formats.
_FORMATS = {letter: kind for kind, letters in
            {"float": "efdg", "int": "bhilqn", "uint": "BHILQN", "bool": "?"}.items() for letter in letters}


class _DLTensor(ctypes.Structure):
    _fields_ = [("data", ctypes.c_void_p), ("device_type", ctypes.c_int32), ("device_id", ctypes.c_int32),
                ("ndim", ctypes.c_int32), ("code", ctypes.c_uint8), ("bits", ctypes.c_uint8),
                ("lanes", ctypes.c_uint16), ("shape", ctypes.POINTER(ctypes.c_int64)),
                ("strides", ctypes.POINTER(ctypes.c_int64)), ("byte_offset", ctypes.c_uint64)]


class _Versioned(ctypes.Structure):
    """DLManagedTensorVersioned."""

    _fields_ = [("major", ctypes.c_uint32), ("minor", ctypes.c_uint32), ("context", ctypes.c_void_p),
                ("deleter", ctypes.c_void_p), ("flags", ctypes.c_uint64), ("tensor", _DLTensor)]


# DLPack's type codes, by the name of the types that they make.
_CODES = {0: "int", 1: "uint", 2: "float", 4: "bfloat", 5: "complex", 6: "bool"}
# The kinds of numpy's array interface.
_KINDS = {"i": "int", "u": "uint", "f": "float", "c": "complex", "b": "bool", "V": "void"}


@dataclasses.dataclass(frozen=True)
class Array:
    """An array in the memory of this process.

    type: "float32", "bfloat16", "uint16"; with "big-endian " before it if its bytes are in that order.
    shape: the size of each dimension; strides: the bytes from one index of it to the next, of any sign.
    address: of the element at index 0 of every dimension. owner: keeps the memory alive.
    """

    type: str
    item_bytes: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    address: int
    owner: Any

    def rows(self) -> list[memoryview | bytes]:
        """The bytes of the array in C order, in pieces: one if they lie together, else one for each row, which is
        copied only if its values lie apart."""
        if 0 in self.shape:
            return []
        if self._is_contiguous():
            return [_view(self.address, math.prod(self.shape) * self.item_bytes)]
        width = self.shape[-1]
        if width == 1 or self.strides[-1] == self.item_bytes:
            return [_view(address, width * self.item_bytes) for address in self._row_addresses()]
        return [self._gather(address, width) for address in self._row_addresses()]

    def _is_contiguous(self) -> bool:
        """Whether the values lie side by side in C order. The stride of a dimension of size 1 does not matter."""
        return all(size == 1 or stride == dense
                   for size, stride, dense in zip(self.shape, self.strides, _c_strides(self.shape, self.item_bytes)))

    def _row_addresses(self) -> Iterator[int]:
        index = [0] * max(0, len(self.shape) - 1)
        address = self.address
        while True:
            yield address
            # The next row, the last dimension first.
            for d in reversed(range(len(index))):
                address += self.strides[d]
                index[d] += 1
                if index[d] < self.shape[d]:
                    break
                address -= self.shape[d] * self.strides[d]
                index[d] = 0
            else:
                return

    def _gather(self, address: int, width: int) -> bytes:
        """The values of one row, which lie apart, side by side."""
        step, rest = divmod(self.strides[-1], self.item_bytes)
        if step == 0 and rest == 0:
            return bytes(_view(address, self.item_bytes)) * width
        letter = _INTEGER_FORMATS.get(self.item_bytes)
        if rest or letter is None:
            return b"".join(bytes(_view(address + i * self.strides[-1], self.item_bytes)) for i in range(width))
        span = (width - 1) * abs(step) + 1
        if step > 0:
            return _view(address, span * self.item_bytes).cast(letter)[::step].tobytes()
        lowest = address + (width - 1) * self.strides[-1]
        return _view(lowest, span * self.item_bytes).cast(letter)[::step].tobytes()


def _view(address: int, size: int) -> memoryview:
    return memoryview((ctypes.c_ubyte * size).from_address(address)).cast("B")


def _type_name(kind: str, item_bytes: int) -> str:
    return kind if kind == "bool" else f"{kind}{8 * item_bytes}"


def _c_strides(shape: tuple[int, ...], item_bytes: int) -> tuple[int, ...]:
    strides = []
    for size in reversed(shape):
        strides.append(item_bytes)
        item_bytes *= size
    return tuple(reversed(strides))


def is_on_host(source: Any) -> bool:
    """Whether this process can read the memory of an object with __dlpack_device__."""
    return int(source.__dlpack_device__()[0]) in _HOST_DEVICES


def from_dlpack(source: Any) -> Array:
    """An object with __dlpack__ in host memory. Raises BufferError if its capsule is none that is known."""
    capsule = source.__dlpack__()
    is_valid = ctypes.pythonapi.PyCapsule_IsValid
    is_valid.argtypes, is_valid.restype = [ctypes.py_object, ctypes.c_char_p], ctypes.c_int
    pointer = ctypes.pythonapi.PyCapsule_GetPointer
    pointer.argtypes, pointer.restype = [ctypes.py_object, ctypes.c_char_p], ctypes.c_void_p
    # The capsule is not consumed: it frees the tensor when the Array is gone.
    if is_valid(capsule, b"dltensor"):
        tensor = _DLTensor.from_address(pointer(capsule, b"dltensor"))
    elif is_valid(capsule, b"dltensor_versioned"):
        versioned = _Versioned.from_address(pointer(capsule, b"dltensor_versioned"))
        if versioned.major != 1:
            raise BufferError(f"DLPack version {versioned.major}.{versioned.minor} is not known")
        tensor = versioned.tensor
    else:
        raise BufferError(f"__dlpack__ of {type(source).__name__} returned no DLPack tensor")
    shape = tuple(tensor.shape[d] for d in range(tensor.ndim))
    item_bytes = tensor.bits // 8 * tensor.lanes
    strides = (tuple(tensor.strides[d] * item_bytes for d in range(tensor.ndim)) if tensor.strides
               else _c_strides(shape, item_bytes))
    code = _CODES.get(tensor.code)
    name = _type_name(code, tensor.bits // 8) if code else f"DLPack type {tensor.code} of {tensor.bits} bits"
    return Array(name if tensor.lanes == 1 else f"{name} x {tensor.lanes}", item_bytes, shape, strides,
                 (tensor.data or 0) + tensor.byte_offset, (source, capsule))


def from_interface(source: Any) -> Array:
    """A numpy array, or whatever has __array_interface__."""
    interface = source.__array_interface__
    order, kind, item_bytes = interface["typestr"][0], interface["typestr"][1], int(interface["typestr"][2:])
    # The kind says little of a type that numpy learned, such as ml_dtypes.bfloat16: it tells its name by itself.
    name = str(getattr(getattr(source, "dtype", None), "name", _type_name(_KINDS.get(kind, kind), item_bytes)))
    if order == ">" and item_bytes > 1:
        name = f"big-endian {name}"
    shape = tuple(interface["shape"])
    strides = interface.get("strides")
    return Array(name, item_bytes, shape, tuple(strides) if strides else _c_strides(shape, item_bytes),
                 interface["data"][0], source)


def from_buffer(view: memoryview) -> Array:
    """An object of the buffer protocol. Its bytes are copied unless they lie in C order in memory that can be
    written."""
    kind = _FORMATS.get(view.format.lstrip("@=<>!"))
    name = _type_name(kind, view.itemsize) if kind else f"format {view.format!r}"
    if view.format[0] in ">!" and view.itemsize > 1:
        name = f"big-endian {name}"
    shape = view.shape or ()
    if view.nbytes == 0:
        return Array(name, view.itemsize, shape, view.strides or (), 0, view)
    owner: Any = view.tobytes() if view.readonly or not view.c_contiguous else view
    memory = (ctypes.c_char_p(owner) if isinstance(owner, bytes)
              else (ctypes.c_ubyte * view.nbytes).from_buffer(view.cast("B")))
    address = ctypes.cast(memory, ctypes.c_void_p).value or 0
    return Array(name, view.itemsize, shape, _c_strides(shape, view.itemsize), address, (owner, memory))
