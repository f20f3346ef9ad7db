"""Rows of every library become the right bytes, or an error that says what is wrong; facts and functions of a model."""

import array
import hashlib
import math
import struct
import unittest
import warnings

from logitd import errors, runner
from logitd.runner import _engine, _outbox, _rows, _tokenizer, _work
from runner_support import batch, work

try:
    import numpy as np
except ImportError:
    np = None
try:
    import torch
except ImportError:
    torch = None
try:
    import ml_dtypes
except ImportError:
    ml_dtypes = None


def f32(rows, count, width, dtype="f32"):
    """The values that go onto the wire, as Python floats."""
    data = bytes(_rows.to_wire(rows, count, width, _rows.WIRE_TYPES[dtype], "M.rows"))
    if dtype == "bf16":
        return [struct.unpack("<f", b"\0\0" + data[i:i + 2])[0] for i in range(0, len(data), 2)]
    return list(struct.unpack(f"<{count * width}{'f' if dtype == 'f32' else 'e'}", data))


class Lists(unittest.TestCase):
    def test_lists_need_no_library(self):
        self.assertEqual(f32([[1, 2.5, -math.inf], (0, -1, 3e38)], 2, 3)[:5], [1, 2.5, -math.inf, 0, -1])
        self.assertEqual(f32([[0.1]], 1, 1), list(array.array("f", [0.1])))

    def test_what_is_wrong_is_named(self):
        for rows, words in (([[1.0, 2.0]], r"M.rows returned an array of shape \[1, 2\]; the shape must be \[2, 2\]"),
                            ([[1.0, 2.0], [3.0]], r"shape \[2, 1\]; the shape must be \[2, 2\]"),
                            ([[1.0, math.nan], [0.0, 0.0]], "NaN in row 0, token 1"),
                            ([[1.0, 2.0], [math.inf, 0.0]], r"\+inf in row 1, token 0"),
                            ([[1.0, 2.0], [0.0, -1e39]], "-1e.39, which f32 cannot hold"),
                            ([[1.0, 2.0], [-math.inf, -math.inf]], "row 1 without a finite logit"),
                            ([], r"shape \[0, 2\]"), ("ab", "a str; it must be an array"), (7, "a int; it must be an array")):
            with self.assertRaisesRegex(errors.ServerError, words) as raised:
                f32(rows, 2, 2)
            self.assertEqual(raised.exception.reason, "MODEL_OUTPUT_INVALID")
        with self.assertRaisesRegex(errors.ServerError, "it must be 'f32' for them"):
            f32([[1.0]], 1, 1, "f16")


@unittest.skipIf(np is None, "numpy is not installed")
class Arrays(unittest.TestCase):
    def setUp(self):
        self.values = np.random.default_rng(1).normal(size=(3, 7)).astype(np.float32)

    def check(self, rows, dtype="f32", delta=0.0):
        for got, want in zip(f32(rows, 3, 7, dtype), self.values.reshape(-1).tolist()):
            self.assertAlmostEqual(got, want, delta=delta)

    def test_every_layout(self):
        wide = np.zeros((3, 20), np.float32)
        wide[:, 2:16:2] = self.values
        upside = np.ascontiguousarray(self.values[::-1])
        for rows in (self.values, np.asfortranarray(self.values), wide[:, 2:16:2], upside[::-1], self.values.astype(">f4"),
                     list(self.values), tuple(self.values), [row.tolist() for row in self.values],
                     [self.values[0], self.values[1], self.values[2]]):
            self.check(rows)

    def test_wider_and_narrower_types(self):
        double = self.values.astype(np.float64) + 1e-12
        self.assertEqual(f32(double, 3, 7), double.astype(np.float32).reshape(-1).tolist())
        half = self.values.astype(np.float16)
        self.assertEqual(f32(half, 3, 7), half.astype(np.float32).reshape(-1).tolist())
        self.assertEqual(f32(half, 3, 7, "f16"), half.astype(np.float32).reshape(-1).tolist())

    def test_types_that_lose_digits_or_hold_no_logits(self):
        for rows, dtype, words in ((self.values, "f16", "array of float32; a model of dtype 'f16' returns float16"),
                                   (self.values.astype(int), "f32", "array of int64"), (self.values > 0, "f32", "array of bool"),
                                   (self.values.astype(complex), "f32", "complex128"),
                                   (self.values.astype(object), "f32", "array of object"),
                                   (self.values.astype(np.float16), "bf16", "returns bfloat16")):
            with self.assertRaisesRegex(errors.ServerError, words):
                f32(rows, 3, 7, dtype)

    def test_shapes(self):
        for rows in (self.values[0], self.values[:2], self.values[:, :6], self.values[None]):
            with self.assertRaisesRegex(errors.ServerError, r"shape \[3, 7\]|must be \[3, 7\]"):
                f32(rows, 3, 7)
        with self.assertRaisesRegex(errors.ServerError, "rows of different shapes"):
            f32([self.values[0], self.values[1], self.values[2][:3]], 3, 7)

    def test_values(self):
        for value, words, dtype in ((np.nan, "NaN in row 1, token 2", np.float32), (np.inf, r"\+inf in row 1, token 2", np.float32),
                                    (np.nan, "NaN in row 1, token 2", np.float64), (1e39, r"1e\+39, which f32 cannot hold", np.float64),
                                    (-1e39, r"-1e\+39, which f32 cannot hold \(-inf excludes", np.float64),
                                    (np.nan, "NaN in row 1, token 2", np.float16)):
            rows = self.values.astype(dtype)
            rows[1, 2] = value
            with self.assertRaisesRegex(errors.ServerError, words) as raised:
                f32(rows, 3, 7)
            self.assertEqual(raised.exception.token_id, 2)
        rows = self.values.copy()
        rows[2] = -np.inf
        with self.assertRaisesRegex(errors.ServerError, "row 2 without a finite logit"):
            f32(rows, 3, 7)
        rows[2, 3] = 0
        self.assertEqual(f32(rows, 3, 7)[14:], [-math.inf] * 3 + [0] + [-math.inf] * 3)

    def test_objects_that_are_like_arrays(self):
        class Like:
            def __init__(self, values):
                self.values = values

            def __array__(self, dtype=None, copy=None):
                return self.values

        class Packed:
            def __init__(self, values):
                self.values = values

            def __dlpack__(self, **options):
                return self.values.__dlpack__(**options)

            def __dlpack_device__(self):
                return self.values.__dlpack_device__()

        self.check(Like(self.values))
        self.check(Packed(self.values))

    @unittest.skipIf(ml_dtypes is None, "ml_dtypes is not installed")
    def test_bfloat16_of_ml_dtypes(self):
        rows = self.values.astype(ml_dtypes.bfloat16)
        want = rows.astype(np.float32).reshape(-1).tolist()
        for some in (rows, np.asfortranarray(rows), list(rows)):
            self.assertEqual(f32(some, 3, 7), want)
            self.assertEqual(f32(some, 3, 7, "bf16"), want)
        rows[0, 1] = np.nan
        with self.assertRaisesRegex(errors.ServerError, "NaN in row 0, token 1"):
            f32(rows, 3, 7, "bf16")

    @unittest.skipIf(torch is None, "torch is not installed")
    def test_torch(self):
        tensor = torch.from_numpy(self.values)
        for rows in (tensor, tensor.T.contiguous().T, tensor.clone().requires_grad_(), list(tensor)):
            self.check(rows)
        self.check(tensor.double(), delta=1e-7)
        for narrow, name in ((tensor.half(), "f16"), (tensor.bfloat16(), "bf16"), (tensor.bfloat16().T.contiguous().T, "bf16")):
            want = narrow.float().reshape(-1).tolist()
            self.assertEqual(f32(narrow, 3, 7, name), want)
            self.assertEqual(f32(narrow, 3, 7), want)
            self.assertEqual(f32(list(narrow), 3, 7, name), want)
        with self.assertRaisesRegex(errors.ServerError, "array of int64"):
            f32(tensor.long(), 3, 7)


class Facts(unittest.TestCase):
    def of(self, **facts):
        return runner.Facts.of(type("M", (), {"vocab_size": 10, **facts})())

    def test_defaults(self):
        facts = self.of()
        self.assertEqual((facts.context_length, facts.end_token_ids, facts.dtype, facts.max_sequences), (4096, (), "f32", 256))
        self.assertEqual((facts.max_cached_tokens, facts.max_batch_tokens), (256 * 4096, 4096))
        self.assertEqual(len(facts.model_fingerprint), 16)
        self.assertNotEqual(facts.model_fingerprint, self.of().model_fingerprint)
        # Rows of one batch stay below 256 MiB.
        self.assertEqual(self.of(vocab_size=131_072).max_batch_tokens, 512)
        self.assertEqual(self.of(vocab_size=131_072, dtype="f16").max_batch_tokens, 1024)
        self.assertEqual(self.of(vocab_size=1 << 20).max_batch_tokens, 64)

    def test_ends(self):
        self.assertEqual(self.of(eos_token_id=3).end_token_ids, (3,))
        self.assertEqual(self.of(eos_token_id=3, end_token_ids=[1, 3]).end_token_ids, (1, 3))
        self.assertEqual(self.of(eos_token_id=None, bos_token_id=None).eos_token_id, None)

    def test_wrong_facts_are_named(self):
        for facts, kind, words in (({"vocab_size": 0}, ValueError, r"M.vocab_size is 0; it must be in \[1, 1048576\]"),
                                   ({"vocab_size": "x"}, TypeError, "M.vocab_size is 'x'; it must be int"),
                                   ({"vocab_size": True}, TypeError, "int"), ({"eos_token_id": 10}, ValueError, r"\[0, 10\)"),
                                   ({"end_token_ids": [3, 11]}, ValueError, "has 11"), ({"end_token_ids": "ab"}, TypeError, "sequence"),
                                   ({"eos_token_id": 1, "end_token_ids": [2]}, ValueError, "one of end_token_ids"),
                                   ({"adds_bos": True}, ValueError, "needs bos_token_id"), ({"adds_bos": 1}, TypeError, "bool"),
                                   ({"dtype": "float32"}, ValueError, "'f32', 'f16', 'bf16'"), ({"dtype": 3}, TypeError, "str"),
                                   ({"model_fingerprint": "x"}, TypeError, "bytes"), ({"warnings": [1]}, TypeError, "sequence of str"),
                                   ({"context_length": 0}, ValueError, "context_length"), ({"platform": "x86"}, TypeError, "Platform"),
                                   ({"platform": runner.Platform(threads=1, cpu_target="x"), "max_batch_tokens": 32}, ValueError, "64")):
            with self.assertRaisesRegex(kind, words):
                self.of(**facts)
        with self.assertRaisesRegex(TypeError, "object has no vocab_size"):
            runner.Facts.of(object())

    def test_a_misspelt_attribute_is_reported(self):
        with self.assertWarnsRegex(UserWarning, "M.max_sequence is not read: did you mean max_sequences"):
            self.of(max_sequence=4)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            self.of(max_sequences=4, max_sequence=3, layers=2)

    def test_a_model_has_one_form(self):
        for functions, words in (((), "it has none of them"), (("rows", "append"), "it has rows and append"),
                                 (("append",), r"has append but not start\(\)")):
            model = type("M", (), {name: lambda self: None for name in functions})()
            with self.assertRaisesRegex(TypeError, words):
                _engine.engine_of(model)

    def test_results_of_a_batch(self):
        class M:
            vocab_size = 2

            def __init__(self, result):
                self.result = result

            def rows_batch(self, tokens, wanted):
                return self.result

        one = _engine.Append([], [1], [0])
        for result, words in ((3, r"M.rows_batch returned a int; it must return a list of 2"),
                              ([1], "returned 1 elements; it must return 2")):
            with self.assertRaisesRegex((TypeError, ValueError), words):
                _engine.engine_of(M(result)).append([one, one])

    def test_one_sequence_of_a_batch_that_fails(self):
        class M:
            vocab_size = 2

            def rows_batch(self, tokens, wanted):
                if any(3 in some for some in tokens):
                    raise ValueError("no such token")
                return [[[0.0, 1.0]] for _ in tokens]

        good, bad = _engine.Append([], [1], [0]), _engine.Append([], [3], [0])
        results = _engine.engine_of(M()).append([good, bad, good])
        self.assertEqual([isinstance(result, ValueError) for result in results], [False, True, False])
        self.assertEqual(results[2][1], [[0.0, 1.0]])

    def test_wrong_arguments_of_a_runner(self):
        class M:
            vocab_size = 2

            def rows(self, tokens, wanted):
                return []

        for kind, words, arguments in ((ValueError, "port", {"address": "host:x"}), (ValueError, "abandon_after", {"abandon_after": 0}),
                                       (TypeError, "nam", {"nam": "x"})):
            with self.assertRaisesRegex(kind, words):
                runner.Runner(M(), **{"address": "127.0.0.1:1", "name": "m", **arguments})


class Tokenizers(unittest.TestCase):
    def test_the_fingerprint_is_the_documented_one(self):
        tokens = [runner.Token(b"a"), runner.Token(b"<s>", "control"), runner.Token(b"", "unused")]
        texts = _tokenizer.SpecialTokens(runner.VocabularyTokenizer(tokens), 3)
        self.assertEqual(texts.fingerprint(), hashlib.sha256(
            struct.pack("<iii", 3, 0, 1) + b"a" + struct.pack("<ii", 1, 3) + b"<s>" + struct.pack("<ii", 2, 0)).digest())
        vocabulary = texts.vocabulary()
        self.assertEqual((vocabulary.token_bytes, list(vocabulary.token_lengths), list(vocabulary.control_token_ids),
                          list(vocabulary.unused_token_ids)), (b"a<s>", [1, 3, 0], [1], [2]))

    def test_the_longest_token_wins(self):
        tokenizer = runner.VocabularyTokenizer(["a", "ab", "b", runner.Token(b"ab", "control"), "a"])
        self.assertEqual(tokenizer.tokenize("aabb"), [0, 1, 2])
        with self.assertRaisesRegex(ValueError, "at byte 1 of the text"):
            tokenizer.tokenize("ax")

    def test_names_of_control_tokens(self):
        texts = _tokenizer.SpecialTokens(runner.ByteTokenizer("<|a|>", "<|a|>b"), 258, bos_token_id=256)
        self.assertEqual(texts.tokenize("x<|a|>b<|a|>", parse_special_tokens=True), [120, 257, 256])
        self.assertEqual(texts.tokenize("x", add_special_tokens=True), [256, 120])
        self.assertEqual(texts.detokenize([120, 257], True), b"x<|a|>b")

    def test_a_tokenizer_with_functions_of_its_own(self):
        class Spaced(runner.ByteTokenizer):
            def tokenize(self, text):
                return super().tokenize(" " + text)

            def tokenize_continuing(self, text):
                return super().tokenize(text)

            def detokenize(self, token_ids):
                return bytes(token_ids).removeprefix(b" ")

        texts = _tokenizer.SpecialTokens(Spaced("<s>"), 257)
        self.assertEqual(texts.tokenize("a<s>b", parse_special_tokens=True), [32, 97, 256, 98])
        self.assertEqual(texts.tokenize("a", continues_text=True), [97])
        self.assertEqual(texts.detokenize([32, 97, 256, 98], True), b"a<s>b")
        self.assertEqual(texts.detokenize([32, 97, 256, 98]), b"ab")

    def test_a_vocabulary_that_does_not_fit(self):
        with self.assertRaisesRegex(ValueError, "has 256 tokens; the model's vocab_size is 257"):
            _tokenizer.SpecialTokens(runner.ByteTokenizer(), 257)
        with self.assertRaisesRegex(ValueError, "of kind 'special'"):
            _tokenizer.SpecialTokens(runner.VocabularyTokenizer([runner.Token(b"a", "special")]), 1)


class Parts(unittest.TestCase):
    def test_forks_that_wait(self):
        entries = batch(1, work(1, [1, 2]), work(2, [3], fork_from_sequence_id=1), work(3, [], "none", fork_from_sequence_id=1,
                        keep_prefix_length=6), work(4, [1], fork_from_sequence_id=3), work(5, [1], fork_from_sequence_id=9)).work
        self.assertEqual(_work.forks_that_wait(entries, {1: 5, 9: 2}.get), [-1, -1, 0, 0, -1])

    def test_an_outbox_is_bounded_and_ends(self):
        outbox = _outbox.Outbox()
        self.assertTrue(outbox.put(b"x" * (20 << 20)))
        outbox.close()
        self.assertFalse(outbox.put(b"y"))
        self.assertEqual(len(next(outbox)), 20 << 20)
        self.assertRaises(StopIteration, next, outbox)


if __name__ == "__main__":
    unittest.main()
