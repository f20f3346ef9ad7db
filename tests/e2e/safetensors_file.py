"""Writes safetensors files by the format's description alone."""

from __future__ import annotations

import json
import pathlib
import struct

import numpy

_NAMES = {"float32": "F32", "float16": "F16", "int32": "I32"}


def bfloat16(array: numpy.ndarray) -> numpy.ndarray:
    """The upper halves of float32, cut off, as uint16: what `write` takes for BF16."""
    return (numpy.ascontiguousarray(array, numpy.float32).view(numpy.uint32) >> 16).astype(numpy.uint16)


def write(path: pathlib.Path, **tensors: numpy.ndarray) -> pathlib.Path:
    """Tensors by name, "." written as "__"; uint16 are the bits of bfloat16."""
    header, data = {}, b""
    for name, array in tensors.items():
        dtype = "BF16" if array.dtype == numpy.uint16 else _NAMES[array.dtype.name]
        values = numpy.ascontiguousarray(array).tobytes()
        header[name.replace("__", ".")] = {"dtype": dtype, "shape": list(array.shape),
                                           "data_offsets": [len(data), len(data) + len(values)]}
        data += values
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)
    return path
