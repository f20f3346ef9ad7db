"""Rows of every kind of array: the right bytes without a copy that is not needed, or an error that says what to do.

torch, jax and ml_dtypes are tested where they are installed; small stand-ins have their protocols in any case.
"""

import array
import ctypes
import importlib
import math
import struct
import unittest

import numpy

from logitd import errors
from logitd._decode.rows import Rows
from logitd.v1 import logits_pb2

F32, F16, BF16 = logits_pb2.LOGITS_DTYPE_F32, logits_pb2.LOGITS_DTYPE_F16, logits_pb2.LOGITS_DTYPE_BF16
VALUES = numpy.arange(12, dtype=numpy.float32).reshape(3, 4) - 5


def installed(name):
    try:
        return importlib.import_module(name)
    except ImportError:
        return None


def bfloat16(values) -> numpy.ndarray:
    """The bits of values that bfloat16 holds exactly."""
    return (numpy.ascontiguousarray(values, "<f4").view("<u4") >> 16).astype("<u2")


class Capsule:
    """An object with __dlpack__ over the memory of a numpy array, as another library would make it."""

    class Tensor(ctypes.Structure):
        _fields_ = [("data", ctypes.c_void_p), ("device_type", ctypes.c_int32), ("device_id", ctypes.c_int32),
                    ("ndim", ctypes.c_int32), ("code", ctypes.c_uint8), ("bits", ctypes.c_uint8),
                    ("lanes", ctypes.c_uint16), ("shape", ctypes.c_void_p), ("strides", ctypes.c_void_p),
                    ("byte_offset", ctypes.c_uint64), ("context", ctypes.c_void_p), ("deleter", ctypes.c_void_p)]

    def __init__(self, values, code=2, device=1, name=b"dltensor", has_strides=True, version=1):
        self._values = values
        self._shape = (ctypes.c_int64 * values.ndim)(*values.shape)
        self._strides = (ctypes.c_int64 * values.ndim)(*(stride // values.itemsize for stride in values.strides))
        self._device, self._name = device, name
        # Part of the address as an offset, as libraries do for a view.
        tensor = self.Tensor(values.ctypes.data - 16, device, 0, values.ndim, code, 8 * values.itemsize, 1,
                             ctypes.addressof(self._shape),
                             ctypes.addressof(self._strides) if has_strides else None, 16, None, None)
        head = struct.pack("<IIQQQ", version, 0, 0, 0, 0) if name == b"dltensor_versioned" else b""
        self._memory = ctypes.create_string_buffer(head + bytes(tensor), len(head) + ctypes.sizeof(tensor))

    def __dlpack_device__(self):
        return self._device, 0

    def __dlpack__(self, **options):
        new = ctypes.pythonapi.PyCapsule_New
        new.argtypes, new.restype = [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p], ctypes.py_object
        return new(ctypes.addressof(self._memory), self._name, None)


class OnlyArray:
    """An object with __array__ and nothing else."""

    def __init__(self, values):
        self._values = values

    def __array__(self, dtype=None, copy=None):
        return self._values


class RowsTest(unittest.TestCase):
    def check(self, source, expected, wire=F32, copies=None, **options):
        """The rows are those of `expected`, an array of the bytes on the wire. `copies`: whether values were copied."""
        rows = Rows.of(source, **options)
        expected = numpy.atleast_2d(expected)
        self.assertEqual((rows.dtype, rows.count, rows.width), (wire, *expected.shape))
        whole = expected.tobytes()
        self.assertEqual(b"".join(rows.pieces(0, rows.count)), whole)
        for begin in range(rows.count):
            for end in range(begin + 1, rows.count + 1):
                part = whole[begin * rows.row_bytes:end * rows.row_bytes]
                self.assertEqual(b"".join(rows.pieces(begin, end)), part)
        block = rows.block(0, rows.count)
        self.assertEqual((block.dtype, block.row_count, block.width), (wire, *expected.shape))
        if copies is not None:
            pieces = rows.pieces(0, rows.count)
            self.assertEqual(all(isinstance(piece, bytes) for piece in pieces), copies)

    def refused(self, source, words, field="rows", **options):
        with self.assertRaisesRegex(errors.InvalidRequestError, words) as caught:
            Rows.of(source, **options)
        self.assertEqual(caught.exception.field, field)
        return caught.exception

    def test_types_of_numpy(self):
        self.check(VALUES, VALUES, copies=False)
        self.check(VALUES[1], VALUES[1], copies=False)
        self.check(VALUES.astype("f2"), VALUES.astype("<f2"), F16, copies=False)
        read_only = VALUES.copy()
        read_only.flags.writeable = False
        self.check(read_only, VALUES, copies=False)
        special = numpy.array([0.0, -0.0, math.inf, -math.inf, math.nan, 1e-45], numpy.float32)
        self.check(special, special, copies=False)

    def test_any_strides_of_numpy(self):
        # Rows that are whole are not copied, wherever they lie.
        cube = numpy.random.default_rng(1).normal(size=(3, 5, 4)).astype("f4")
        self.check(cube[:, -1], cube[:, -1].copy(), copies=False)
        self.check(VALUES[::-1], VALUES[::-1].copy(), copies=False)
        self.check(numpy.broadcast_to(VALUES[0], (5, 4)), numpy.tile(VALUES[0], (5, 1)), copies=False)
        self.check(VALUES[:2], VALUES[:2], copies=False)
        for strided in (VALUES.T, numpy.asfortranarray(VALUES), VALUES[:, ::2], VALUES[:, ::-1], VALUES[::-2, ::-3],
                        VALUES[:, 1::2].T, cube[0].T, numpy.broadcast_to(VALUES[:, :1], (3, 6))):
            self.check(strided, strided.copy(), copies=True)
            self.check(strided.astype("f2", order="K"), strided.astype("<f2"), F16)
        self.check(VALUES[:, :1], VALUES[:, :1].copy())
        self.check(VALUES[:, 2], VALUES[:, 2].copy(), copies=True)
        packed = numpy.zeros(3, [("a", "u1"), ("x", "<f4")])
        packed["x"] = [1, 2, 3]
        self.check(packed["x"], numpy.array([1, 2, 3], "<f4"), copies=True)

    def test_float64_is_rounded_only_when_asked_for(self):
        doubles = numpy.random.default_rng(2).normal(size=(3, 4)) * 1e-3
        error = self.refused(doubles, r"got float64: give dtype='f32', which rounds each value to the nearest float32")
        self.assertEqual(error.value, "float64")
        self.refused([0.1, 0.2], "float64: give dtype='f32'")
        self.check(doubles, doubles.astype("<f4"), dtype="f32")
        self.check(doubles.T, doubles.T.astype("<f4"), dtype="f32")
        self.check([0.1, -math.inf], numpy.array([0.1, -math.inf], "<f4"), dtype="f32")
        self.check([[0.1, 2], [3, 0.4]], numpy.array([[0.1, 2], [3, 0.4]], "<f4"), dtype="f32")
        limits = numpy.array([3.4028235e38, math.inf, -math.inf, 1e-320])
        self.check(limits, limits.astype("<f4"), dtype="f32")
        for huge in (numpy.array([1.0, 1e39]), [-1e300, 0.0]):
            self.refused(huge, "finite value beyond 3.4028235e38", dtype="f32")

    def test_bits_of_bfloat16(self):
        bits = bfloat16(VALUES)
        self.refused(bits, "uint16: if these are the bits of bfloat16, give dtype='bf16'")
        for kind in ("<u2", "<i2", "<V2"):
            self.check(bits.view(kind), bits, BF16, dtype="bf16", copies=False)
        self.check(bits.T, bits.T.copy(), BF16, dtype="bf16")
        self.refused(VALUES, "with dtype='bf16' must be", dtype="bf16")
        self.refused(VALUES, "with dtype='f16' must be float16, got float32: leave dtype out", dtype="f16")
        self.refused(VALUES.astype("f2"), "leave dtype out", dtype="f32")
        self.refused(VALUES, "dtype must be", field="dtype", dtype="float32")

    def test_other_types_are_refused(self):
        for kind, name in (("i4", "int32"), ("i8", "int64"), ("c8", "complex64"), ("?", "bool"), ("u1", "uint8"),
                           ("g", "float128")):
            self.refused(VALUES.astype(kind), rf"got {name}: convert them: rows.astype\('float32'\)")
        self.refused(VALUES.astype(">f4"), r"big-endian float32: swap the bytes: rows.astype\('<f4'\)")
        self.refused(VALUES.astype(">f8"), r"rows.astype\('<f8'\)", dtype="f32")
        self.refused(numpy.zeros(3, [("a", "f4")]), "got void32")
        for source in (3.5, "row", b"row", None, object(), {1.0, 2.0}, iter([1.0])):
            self.refused(source, "rows must be")

    def test_shapes(self):
        self.refused(VALUES[None], r"\[V\] or \[B, V\], got \[1, 3, 4\]: take the last position, rows\[:, -1\]")
        self.refused(numpy.zeros((1, 1, 1, 2), "f4"), r"got \[1, 1, 1, 2\]$")
        self.refused(numpy.float32(3), r"got \[\]")
        self.refused(VALUES[:0], "has no values")
        self.refused(VALUES[:, :0], "has no values")
        self.refused([], "the list is empty")
        error = self.refused(VALUES, "a row must have vocab_size = 5 values, got 4", vocab_size=5)
        self.assertEqual((error.reason, error.value, error.bound), ("ROW_LENGTH_MISMATCH", "4", "5"))
        self.check(VALUES, VALUES, vocab_size=4)

    def test_lists_of_rows(self):
        self.check([VALUES[0], VALUES[2]], VALUES[[0, 2]])
        self.check((VALUES[0], VALUES[1:]), VALUES)
        self.check([VALUES.T.copy().T[0], OnlyArray(VALUES[1]), Capsule(VALUES[2])], VALUES)
        self.refused([VALUES[0], VALUES[1, :3]], "row 0 has 4 values, row 1 has 3")
        self.refused([VALUES[0], VALUES[1].astype("f2")], "row 0 is float32, row 1 is float16")
        self.refused([VALUES[0], VALUES[1].astype("f8")], "float64")

    def test_the_buffer_protocol(self):
        self.check(array.array("f", [1, 2, 3]), numpy.array([1, 2, 3], "<f4"), copies=False)
        self.check((ctypes.c_float * 3)(1, 2, 3), numpy.array([1, 2, 3], "<f4"), copies=False)
        self.check(memoryview(VALUES), VALUES)
        self.check(memoryview(VALUES)[::2], VALUES[::2].copy())
        self.check(memoryview(VALUES[1])[::-1], VALUES[1, ::-1].copy())
        self.check(memoryview(VALUES.astype("f2")), VALUES.astype("f2"), F16)
        self.check(memoryview(VALUES.tobytes()).cast("f"), VALUES.ravel())
        self.check(array.array("d", [1, 2]), numpy.array([1, 2], "<f4"), dtype="f32")
        self.check(array.array("H", [0x3f80]), numpy.array([0x3f80], "<u2"), BF16, dtype="bf16")
        self.refused(array.array("d", [1, 2]), "float64")
        self.refused(array.array("l", [1, 2]), "int64")
        self.refused(bytearray(b"1234"), "uint8")
        self.refused(memoryview(VALUES.astype(">f4")), "big-endian float32")

    def test_dlpack(self):
        for name in (b"dltensor", b"dltensor_versioned"):
            self.check(Capsule(VALUES, name=name), VALUES, copies=False)
            self.check(Capsule(VALUES[1], name=name), VALUES[1], copies=False)
            self.check(Capsule(VALUES, has_strides=False, name=name), VALUES, copies=False)
        for strided in (VALUES.T, VALUES[::-1], VALUES[:, ::2], VALUES[:, ::-1], numpy.broadcast_to(VALUES[0], (5, 4)),
                        numpy.broadcast_to(VALUES[:, :1], (3, 6))):
            self.check(Capsule(strided), strided.copy())
        self.check(Capsule(VALUES.astype("<f2")), VALUES.astype("<f2"), F16, copies=False)
        bits = bfloat16(VALUES)
        self.check(Capsule(bits, code=4), bits, BF16, copies=False)
        self.check(Capsule(bits.T, code=4), bits.T.copy(), BF16)
        # Memory that a CUDA device reads too is the host's.
        self.check(Capsule(VALUES, device=3), VALUES)
        doubles = VALUES.astype("f8")
        self.check(Capsule(doubles), VALUES, dtype="f32")
        self.refused(Capsule(doubles), "float64")
        self.refused(Capsule(VALUES.astype("i4"), code=0), "int32")
        self.refused(Capsule(VALUES, code=9), "DLPack type 9 of 32 bits")
        self.refused(Capsule(VALUES, device=2), "rows must be an array on the host")
        self.refused(Capsule(VALUES, name=b"dltensor_versioned", version=2), "DLPack version 2.0")
        self.refused(Capsule(VALUES, name=b"used_dltensor"), "returned no DLPack tensor")

    def test_the_array_method(self):
        self.check(OnlyArray(VALUES), VALUES, copies=False)
        self.check(OnlyArray(VALUES.T), VALUES.T.copy())
        self.refused(OnlyArray(VALUES.astype("f8")), "float64")

    def test_a_tensor_of_a_graph_on_a_device(self):
        class Tensor(Capsule):
            """As torch has it: neither a graph nor a device gives its memory away."""

            def __init__(self, values, device=2, is_detached=False):
                super().__init__(values, device=device)
                self._is_detached = is_detached

            def __dlpack__(self, **options):
                assert self._is_detached and self._device == 1
                return super().__dlpack__()

            def detach(self):
                return Tensor(self._values, self._device, True)

            def cpu(self):
                return Tensor(self._values, 1, self._is_detached)

        self.check(Tensor(VALUES), VALUES)

    @unittest.skipUnless(installed("ml_dtypes"), "ml_dtypes is not installed")
    def test_ml_dtypes(self):
        ml_dtypes = installed("ml_dtypes")
        values = VALUES.astype(ml_dtypes.bfloat16)
        self.check(values, bfloat16(VALUES), BF16, copies=False)
        self.check(values.T, bfloat16(VALUES.T), BF16)
        self.check(values[:, -1], bfloat16(VALUES[:, -1]), BF16)
        self.refused(VALUES.astype(ml_dtypes.float8_e5m2), "float8_e5m2")

    @unittest.skipUnless(installed("torch"), "torch is not installed")
    def test_torch(self):
        torch = installed("torch")
        tensor = torch.from_numpy(VALUES.copy())
        self.check(tensor, VALUES, copies=False)
        self.check(tensor.half(), VALUES.astype("<f2"), F16, copies=False)
        self.check(tensor.bfloat16(), bfloat16(VALUES), BF16, copies=False)
        self.check(tensor.clone().requires_grad_(), VALUES, copies=False)
        self.check(tensor.T, VALUES.T.copy(), copies=True)
        self.check(tensor[:, ::2], VALUES[:, ::2].copy())
        self.check(tensor.flip(1), VALUES[:, ::-1].copy())
        self.check(tensor[0].expand(5, 4), numpy.tile(VALUES[0], (5, 1)), copies=False)
        logits = torch.randn(3, 5, 4, dtype=torch.bfloat16)
        self.check(logits[:, -1], bfloat16(logits[:, -1].float().numpy()), BF16, copies=False)
        self.check([tensor[0], tensor[1]], VALUES[:2])
        self.refused(tensor.double(), "float64: give dtype='f32'.*in torch rows.float()")
        self.check(tensor.double(), VALUES, dtype="f32")
        self.refused(tensor.long(), "int64")
        self.refused(logits, r"\[3, 5, 4\]: take the last position")
        self.check(torch._neg_view(tensor), -VALUES)

    @unittest.skipUnless(installed("jax"), "jax is not installed")
    def test_jax(self):
        jax = installed("jax")
        values = jax.numpy.asarray(VALUES)
        self.check(values, VALUES, copies=False)
        self.check(values.astype("float16"), VALUES.astype("<f2"), F16)
        self.check(values.astype("bfloat16"), bfloat16(VALUES), BF16, copies=False)
        self.check(values.T, VALUES.T.copy())
        self.check(values[:, ::2], VALUES[:, ::2].copy())
        # The values may still be on their way when the rows are asked for.
        product = jax.numpy.full((300, 300), 0.5) @ jax.numpy.full((300, 300), 2.0)
        self.check(product, numpy.full((300, 300), 300, "<f4"))
        self.refused(values.astype("int32"), "int32")


if __name__ == "__main__":
    unittest.main()
