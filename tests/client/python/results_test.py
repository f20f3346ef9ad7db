"""Replies as dataclasses: every field of every message arrives, what is unset stays None, and results travel."""

import copy
import dataclasses
import pickle
import sys
import types
import unittest
import unittest.mock

try:
    import numpy
except ImportError:
    numpy = None
try:
    import pandas
except ImportError:
    pandas = None

from google.protobuf import descriptor_pool

import logitd
from fake_server import answer, error
from logitd import calibration, _replies, records, results, server, tables
from logitd.v1 import completion_pb2, generation_service_pb2, model_service_pb2, scoring_service_pb2


def scored(*responses) -> tables.Scores:
    return tables.Scores(tuple(_replies.convert(results.ScoredItem, response) for response in responses))


class ShapeTest(unittest.TestCase):
    LEFT_OUT = {
        # The server keeps no records of such a text, and it has no continuations.
        results.RollingScore: ("tokens",), results.RolledText: ("tokens", "continuations"),
        # There is always one.
        server.ServerInfo: ("limits",),
        calibration.CalibrationMetrics: ("nll", "brier", "ece", "accuracy"),
        calibration.CalibrationEvaluation: ("after",), calibration._Fitted: ("calibration",)}

    def fields_of(self, message, plan) -> dict[str, bool]:
        """The names in the dataclass, and whether the message tells an unset field from a zero."""
        found = {}
        for field in message.fields:
            if field.name in plan.flatten:
                found |= self.fields_of(field.message_type, plan)
            else:
                found[plan.renamed.get(field.full_name, field.name)] = field.has_presence
        return found

    def test_every_field_of_every_message_has_a_place(self):
        pool = descriptor_pool.Default()
        seen = 0
        for cls, plan in _replies._PLANS.items():
            names = [name for name, other in _replies._CLASSES.items() if other is cls] or [{
                results.ScoredItem: "logitd.v1.ScoreResponse", results.RolledText: "logitd.v1.ScoreResponse", results.RankedItem: "logitd.v1.RankResponse",
                results.DecidedItem: "logitd.v1.DecideResponse"}.get(cls)]
            for name in filter(None, names):
                try:
                    message = pool.FindMessageTypeByName(name)
                except KeyError:
                    continue  # An older .proto.
                wanted = self.fields_of(message, plan)
                for field in self.LEFT_OUT.get(cls, ()):
                    wanted.pop(field)
                have = {field.name: field for field in dataclasses.fields(cls)}
                self.assertEqual(set(wanted) - set(have), set(), name)
                for field, has_presence in wanted.items():
                    self.assertEqual(have[field].default is None, has_presence, f"{name}.{field}")
                seen += 1
        self.assertGreater(seen, 25)

    def test_everything_is_frozen(self):
        for cls in _replies._PLANS:
            with self.assertRaises(dataclasses.FrozenInstanceError):
                setattr(cls(), dataclasses.fields(cls)[0].name, 1)


class ScoreTest(unittest.TestCase):
    def test_unset_numbers_are_none(self):
        item = scored(answer(0, -1.5)).items[0]
        continuation = item.continuations[0]
        self.assertEqual((continuation.cumulative_model_log_prob, continuation.sum, continuation.token_count), (-1.5, -1.5, 1))
        for name in ("cumulative_sampling_log_prob", "is_greedy", "byte_count", "per_byte", "bits_per_byte", "error",
                     "boundary"):
            self.assertIsNone(getattr(continuation, name), name)
        self.assertIsNone(results.ScoredContinuation().per_token)
        self.assertIsNone(results.ScoredContinuation(token_count=1, cumulative_model_log_prob=-1e4).perplexity)

    def test_normalised_sums(self):
        continuation = results.ScoredContinuation(token_count=2, cumulative_model_log_prob=-6.0, byte_count=4,
                                                  character_count=3)
        self.assertEqual((continuation.per_token, continuation.per_byte, continuation.per_character), (-3, -1.5, -2))
        self.assertAlmostEqual(continuation.perplexity, 20.085536923187668)
        self.assertAlmostEqual(continuation.bits_per_byte, 2.1640425613334453)

    def test_best(self):
        item = scored(answer(0, -3.0, -1.0, -1.0)).items[0]
        self.assertEqual((item.best, item.best_by("per-token")), (1, 1))
        with self.assertRaisesRegex(ValueError, r"continuations\[0\] has no value per_byte"):
            item.best_by("per_byte")
        with self.assertRaisesRegex(ValueError, "normalization must be one of"):
            item.best_by("per_word")
        impossible = answer(0, -3.0, -1.0)
        for continuation in impossible.item.continuations:
            continuation.score.totals.ClearField("cumulative_model_log_prob")
        self.assertIsNone(scored(impossible).items[0].best)
        self.assertIsNone(results.ScoredItem().best)
        broken = answer(0, -3.0, -1.0)
        broken.item.continuations[0].error.CopyFrom(error(3, "EMPTY_CONTINUATION", message="empty"))
        with self.assertRaisesRegex(logitd.InvalidRequestError, "empty"):
            scored(broken).items[0].best

    def test_a_sequence_of_results(self):
        scores = scored(answer(0, -1.0), answer(1, item_error=error(14, "RUNNER_LOST", message="gone")), answer(2, -2.0))
        self.assertEqual((len(scores), [s.item_index for s in scores[1:]]), (3, [1, 2]))
        self.assertIsInstance(scores[1:], tables.Scores)
        self.assertEqual(scores[-1].item_index, 2)
        self.assertEqual([(i, e.reason) for i, e in scores.errors], [(1, "RUNNER_LOST")])
        self.assertEqual(scores.usage, records.Usage(scored_token_count=2))
        self.assertEqual(len(scores[::2].raise_for_errors()), 2)
        with self.assertRaises(logitd.UnavailableError):
            scores.raise_for_errors()

    def test_results_can_be_pickled_copied_and_compared(self):
        scores = scored(answer(0, -1.0), answer(1, -2.0))
        for again in (pickle.loads(pickle.dumps(scores)), copy.deepcopy(scores)):
            self.assertEqual(again, scores)
        self.assertNotEqual(scores, scored(answer(0, -1.0), answer(1, -2.5)))

    def test_enums_are_words(self):
        message = completion_pb2.TokenRecord(token_id=5, origin=2, log_prob_state=2, token_bytes=b"\xe2\x82")
        record = _replies.convert(records.TokenRecord, message)
        self.assertEqual((record.origin, record.log_prob_state, record.text), ("given", "excluded", "\ufffd"))
        self.assertEqual(records.TokenRecord().log_prob_state, "present")
        # A value of a later server.
        message = completion_pb2.TokenRecord.FromString(b"\x20\x63")
        self.assertEqual(_replies.convert(records.TokenRecord, message).origin, "99")
        completion = completion_pb2.Completion(text="a", finish={"reason": 6, "stop_string_index": 0, "cut_byte_count": 1})
        made = _replies.convert(results.Completion, completion)
        self.assertEqual((made.finish_reason, made.stop_string_index, made.cut_byte_count, made.stop_token_id),
                         ("stop_string", 0, 1, None))

    def test_generations_and_their_errors(self):
        final = generation_service_pb2.GenerateFinal(seed=7)
        final.completions.add(index=0, text="a").finish.reason = 2
        final.completions.add(index=1).error.CopyFrom(error(13, "RUNNER_KILLED", message="dead"))
        generation = _replies.convert(results.Generation, final)
        self.assertEqual((generation.text, generation.finish_reason, generation.seed), ("a", "max_tokens", 7))
        table = tables.Generations((generation, results.Generation(error=logitd.InvalidRequestError("no"))))
        # A prompt that was refused has a row without numbers.
        self.assertEqual([(row["item_index"], row["error"]) for row in table.rows()][-1], (1, "no"))
        found = table.errors
        self.assertEqual([(i, type(e)) for i, e in found], [(0, logitd.ServerError), (1, logitd.InvalidRequestError)])
        with self.assertRaisesRegex(logitd.InvalidRequestError, "no"):
            results.Generation(error=logitd.InvalidRequestError("no")).text

    @unittest.skipIf(numpy is None, "numpy is missing")
    def test_packed_columns(self):
        message = completion_pb2.PackedAlternatives(
            count=3, model_log_probs=numpy.array([-1.0, -numpy.inf, -2.0], "<f8").tobytes(),
            ranks=numpy.array([1, 3, 2], "<i4").tobytes())
        packed = _replies.convert(records.PackedAlternatives, message)
        numpy.testing.assert_array_equal(packed.token_ids, [0, 1, 2])
        numpy.testing.assert_array_equal(packed.model_log_probs, [-1, -numpy.inf, -2])
        numpy.testing.assert_array_equal(packed.ranks, [1, 3, 2])
        self.assertIsNone(packed.sampling_log_probs)
        self.assertEqual((packed.model_log_probs.dtype, packed.ranks.dtype), (numpy.float64, numpy.int32))
        self.assertEqual(pickle.loads(pickle.dumps(packed)), packed)
        message.token_ids = numpy.array([2, 0, 1], "<i4").tobytes()
        numpy.testing.assert_array_equal(_replies.convert(records.PackedAlternatives, message).token_ids, [2, 0, 1])


class TableTest(unittest.TestCase):
    def scores(self) -> tables.Scores:
        return scored(answer(0, -1.0, -2.0), answer(1, item_error=error(3, "NO_CANDIDATES", message="none")))

    def test_rows(self):
        rows = self.scores().rows()
        self.assertEqual([(r["item_index"], r["continuation_index"], r["cumulative_model_log_prob"], r["per_byte"], r["error"])
                          for r in rows], [(0, 0, -1.0, None, None), (0, 1, -2.0, None, None),
                                           (1, None, None, None, "NO_CANDIDATES: none")])

    @unittest.skipIf(pandas is None, "pandas is missing")
    def test_pandas(self):
        table = self.scores().to_pandas()
        self.assertEqual(list(table["cumulative_model_log_prob"][:2]), [-1.0, -2.0])
        self.assertIs(table["cumulative_model_log_prob"][2], pandas.NA)
        self.assertEqual(str(table["per_byte"].dtype), "Float64")
        for empty in (tables.Scores(()), tables.Rankings(()), tables.Decisions(()), tables.Generations(()),
                      tables.RollingScores(())):
            self.assertEqual(len(empty.to_pandas()), 0)
            self.assertIn("error", empty.to_pandas())

    def test_every_column_is_an_attribute(self):
        for table, part in ((tables.Scores, results.ScoredContinuation), (tables.RollingScores, results.RolledText),
                            (tables.Rankings, results.RankedCandidate), (tables.Decisions, results.DecidedOption),
                            (tables.Generations, results.Completion)):
            for name in table._columns:
                self.assertTrue(hasattr(part(), name), f"{part.__name__}.{name}")

    def test_a_missing_package_is_named_with_its_extra(self):
        for name, extra, use in (("pandas", "pandas", lambda: self.scores().to_pandas()),
                                 ("numpy", "numpy", lambda: records.PackedAlternatives(1).token_ids)):
            with unittest.mock.patch.dict(sys.modules, {name: None}):
                with self.assertRaisesRegex(ImportError, rf'pip install "logitd\[{extra}\]"'):
                    use()


class ProgressTest(unittest.TestCase):
    def test_tqdm_counts_items(self):
        from fake_server import FakeServer, score_all

        bars = []

        class Bar:
            def __init__(self, total, initial, unit):
                self.total, self.unit, self.done, self.is_closed = total, unit, 0, False
                bars.append(self)

            def update(self, count):
                self.done += count

            def close(self):
                self.is_closed = True

        fake = types.SimpleNamespace(tqdm=Bar)
        with FakeServer(Score=score_all) as fake_server, logitd.Client(fake_server.address) as client:
            with unittest.mock.patch.dict(sys.modules, {"tqdm": types.SimpleNamespace(auto=fake), "tqdm.auto": fake}):
                client.score([("a", ["-1"])] * 70, progress=True)
                list(client.score_each(iter([("a", ["-1"])] * 3), progress=True))
            with unittest.mock.patch.dict(sys.modules, {"tqdm": None, "tqdm.auto": None}):
                with self.assertRaisesRegex(ImportError, r'pip install "logitd\[progress\]"'):
                    client.score([("a", ["-1"])], progress=True)
        self.assertEqual([(b.total, b.unit, b.done, b.is_closed) for b in bars],
                         [(70, "item", 70, True), (None, "item", 3, True)])


class VocabularyTest(unittest.TestCase):
    def test_a_vocabulary(self):
        tokens = tuple(_replies.convert(server.VocabularyToken, model_service_pb2.VocabularyToken(**fields)) for fields in (
            {"token_id": 0, "kind": 2, "name": "<s>"}, {"token_id": 1, "kind": 1, "token_bytes": b"a"},
            {"token_id": 2, "kind": 1, "token_bytes": b"bc"}))
        vocabulary = server.Vocabulary("m", b"f", tokens)
        self.assertEqual((len(vocabulary), vocabulary[2].token_bytes, vocabulary[0].kind), (3, b"bc", "control"))
        self.assertEqual((vocabulary.spell([0, 2, 1]), vocabulary.named("<s>")), (b"bca", 0))
        with self.assertRaises(IndexError):
            vocabulary.spell([-1])
        with self.assertRaises(KeyError):
            vocabulary.named("<e>")
        self.assertEqual(pickle.loads(pickle.dumps(vocabulary)), vocabulary)


if __name__ == "__main__":
    unittest.main()
