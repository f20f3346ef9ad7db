"""score_logits against the same numbers in double, and against servers that are lost."""

import math
import unittest

import grpc
import harness
import numpy

import logitd
from logitd import errors
from logitd.v1 import completion_pb2, scoring_service_pb2

V = 37
server = None


def setUpModule():
    global server
    server = harness.Server()


def tearDownModule():
    server.stop()


def rows(*shape, seed: int = 1) -> numpy.ndarray:
    return numpy.random.default_rng(seed).normal(0, 3, shape).astype("f4")


def ids(*shape, high: int = V, seed: int = 2) -> numpy.ndarray:
    return numpy.random.default_rng(seed).integers(0, high, shape)


def log_probs(matrix: numpy.ndarray, targets, temperature: float = 1) -> list[float]:
    found = []
    for row, target in zip(matrix.astype("f8") / temperature, targets):
        found.append(float(row[target] - row.max() - math.log(math.fsum(numpy.exp(row - row.max())))))
    return found


def score(*arguments, **options):
    return logitd.score_logits(*arguments, server=server.address, **options)


class ScoreLogitsTest(unittest.TestCase):
    def check(self, scored: logitd.ScoredLogits, matrix, targets, temperature=None):
        expected = log_probs(matrix, targets)
        self.assertEqual([token.token_id for token in scored.tokens], list(targets))
        for token, log_prob in zip(scored.tokens, expected):
            self.assertAlmostEqual(token.model_log_prob, log_prob, delta=1e-6)
        self.assertAlmostEqual(scored.cumulative_model_log_prob, math.fsum(expected), delta=1e-6 * len(expected))
        self.assertEqual((scored.token_count, scored.error), (len(expected), None))
        self.assertEqual(scored.is_greedy, matrix.argmax(axis=1).tolist() == list(targets))
        if temperature is None:
            self.assertIsNone(scored.cumulative_sampling_log_prob)
        else:
            self.assertAlmostEqual(scored.cumulative_sampling_log_prob,
                                   math.fsum(log_probs(matrix, targets, temperature)), delta=1e-6 * len(expected))

    def test_one_sequence_and_several(self):
        one, several = rows(6, V), rows(3, 4, V)
        found, = score(one, ids(6))
        self.check(found, one, ids(6))
        for targets in (ids(3, 4), ids(3, 4).tolist(), list(ids(3, 4))):
            scores = score(several, targets, temperature=0.6)
            self.assertEqual([scored.sequence_index for scored in scores], [0, 1, 2])
            for scored, matrix, tokens in zip(scores, several, ids(3, 4)):
                self.check(scored, matrix, tokens, temperature=0.6)
        greedy, = score(one, one.argmax(axis=1))
        self.assertTrue(greedy.is_greedy)
        self.assertEqual(greedy.provenance.numerics_version, 1)

    def test_gradients_are_probability_minus_target(self):
        matrix, targets = rows(5, V), ids(5)
        targets[2] = -100
        for temperature in (1.0, 0.6):
            scored, = score(matrix, targets, gradient=True, **({} if temperature == 1 else {"temperature": 0.6}))
            kept = [i for i in range(5) if targets[i] != -100]
            z = matrix[kept].astype("f8") / temperature
            p = numpy.exp(z - z.max(axis=1, keepdims=True))
            p /= p.sum(axis=1, keepdims=True)
            expected = (p - numpy.eye(V)[targets[kept]]) / temperature
            self.assertEqual((scored.gradient.shape, scored.gradient.dtype), ((4, V), numpy.dtype("f4")))
            numpy.testing.assert_allclose(scored.gradient, expected, atol=1e-6)
            self.assertLess(abs(scored.gradient.astype("f8").sum(axis=1)).max(), 2e-7)
        self.assertIsNone(score(matrix, targets)[0].gradient)
        refused = errors.InvalidRequestError
        with self.assertRaisesRegex(refused, "gradient and sampling.top_p exclude each other"):
            score(matrix, targets, gradient=True, top_p=0.5)

    def test_sequences_of_several_lengths_strides_and_types(self):
        parts = [rows(5, V), rows(1, V)[:, ::-1], rows(2 * V, 3).T[:, ::2], rows(7, V).astype("f2")]
        targets = [ids(len(part), seed=i) for i, part in enumerate(parts)]
        for scored, matrix, tokens in zip(score(parts, targets), parts, targets):
            self.check(scored, numpy.asarray(matrix), tokens)
        with self.assertRaisesRegex(errors.InvalidRequestError, "float64: give dtype='f32'"):
            score(rows(2, V).astype("f8"), [0, 1])
        self.check(score(rows(2, V).astype("f8"), [0, 1], dtype="f32")[0], rows(2, V), [0, 1])

    def test_long_sequences_go_in_several_messages(self):
        matrix, wide = rows(3000, 5), rows(40, 60_000)
        found, = score(matrix, ids(3000, high=5))
        self.check(found, matrix, ids(3000, high=5))
        found, = score(wide, ids(40, high=60_000))
        self.check(found, wide, ids(40, high=60_000))
        many = score([rows(1, V)] * 5000, [[i % V] for i in range(5000)], record=logitd.Record(layout="none"))
        expected = [log_probs(rows(1, V), [token])[0] for token in range(V)]
        self.assertEqual(len(many), 5000)
        for i, scored in enumerate(many):
            self.assertEqual(scored.sequence_index, i)
            self.assertAlmostEqual(scored.cumulative_model_log_prob, expected[i % V], delta=1e-6)

    def test_positions_that_are_not_scored(self):
        matrix = rows(4, V)
        found, = score(matrix, [3, -100, 5, -100])
        self.assertEqual([token.position for token in found.tokens], [0, 2])
        self.check(found, matrix[[0, 2]], [3, 5])
        nothing, = score(matrix, [-100] * 4)
        self.assertEqual((nothing.token_count, nothing.cumulative_model_log_prob, nothing.is_greedy), (0, None, None))

    def test_probability_zero_is_a_state(self):
        matrix = rows(2, V)
        matrix[1, 3] = -math.inf
        found, = score(matrix, [0, 3])
        self.assertEqual((found.tokens[1].log_prob_state, found.tokens[1].model_log_prob), ("excluded", None))
        self.assertIsNone(found.cumulative_model_log_prob)

    def test_records_prompts_and_named_tokens(self):
        matrix = rows(2, 3, V)
        scores = score(matrix, ids(2, 3), record=logitd.Record(rank=True, top_n=2), frequency_penalty=1.0,
                       prompt=[1, 1], named_by_position=[[[0], [1, 2], []], [[3], [4], [5]]])
        self.assertEqual([token.named.token_ids if token.named else () for token in scores[0].tokens],
                         [(0,), (1, 2), ()])
        self.assertEqual(scores[1].tokens[2].named.token_ids, (5,))
        self.assertEqual(len(scores[0].tokens[0].top.token_ids), 2)
        self.assertGreaterEqual(scores[0].tokens[0].rank, 1)
        self.assertIsNotNone(scores[0].cumulative_sampling_log_prob)

    def test_a_wrong_row_is_the_error_of_its_sequence(self):
        several = rows(3, 2, V)
        several[1, 1, 4] = math.nan
        scores = score(several, ids(3, 2))
        self.assertEqual([scored.error is None for scored in scores], [True, False, True])
        self.assertEqual((scores[1].error.reason, scores[1].error.token_id), ("NON_FINITE_LOGIT", 4))
        self.assertIsNone(scores[1].cumulative_model_log_prob)
        out_of_range = score(rows(1, 2, V), [[0, V]])
        self.assertEqual(out_of_range[0].error.reason, "TOKEN_ID_OUT_OF_RANGE")

    def test_wrong_shapes_are_refused_before_anything_is_sent(self):
        matrix = rows(2, 3, V)
        for given, targets, words in (
                (matrix, ids(2, 4), r"targets\[0\] must have one token for each of 3 rows, got 4"),
                (matrix, ids(3, 3), "list of targets for each of 2 sequences, got 3"),
                (matrix[0], [1, 2], "each of 3 rows, got 2"),
                ([matrix[0], rows(3, V + 1)], ids(2, 3), f"vocab_size = {V} values, got {V + 1}"),
                ([], [], "each of 0 sequences"), (matrix[None], [ids(2, 3)], "shape")):
            with self.assertRaisesRegex(errors.InvalidRequestError, words):
                logitd.score_logits(given, targets, server="127.0.0.1:1", retry_for=0)
        with self.assertRaisesRegex(errors.InvalidRequestError, "vocab_size = 5"):
            logitd.score_logits(matrix, ids(2, 3), vocab_size=5, server="127.0.0.1:1")
        with self.assertRaisesRegex(TypeError, "has no option 'temprature'"):
            score(matrix, ids(2, 3), temprature=1)
        with self.assertRaises(errors.InvalidRequestError) as caught:
            score(matrix, ids(2, 3), temperature=0)
        self.assertEqual(caught.exception.reason, "FIELD_OUT_OF_RANGE")
        with self.assertRaises(errors.PreconditionError):
            score(matrix, ids(2, 3), numerics_version=99)
        with self.assertRaises(errors.UnavailableError):
            logitd.score_logits(matrix, ids(2, 3), server="127.0.0.1:1", retry_for=0)

    def test_sequences_without_an_answer_are_sent_again(self):
        """A server that answers two sequences of each call and is gone."""
        import concurrent.futures

        starts = []

        def answer(requests, context):
            next(requests)
            answered = 0
            for request in requests:
                rows_of = request.rows
                if answered == 0:
                    starts.append(rows_of.target_token_ids[0])
                if answered == 2:
                    context.abort(grpc.StatusCode.UNAVAILABLE, "gone")
                answered += 1
                yield scoring_service_pb2.ScoreLogitsResponse(
                    sequence_index=rows_of.sequence_index, score=scoring_service_pb2.ScoredSequence(
                        totals=completion_pb2.SequenceTotals(
                            token_count=1, cumulative_model_log_prob=-float(rows_of.target_token_ids[0]))))

        fake = grpc.server(concurrent.futures.ThreadPoolExecutor(4))
        handler = grpc.stream_stream_rpc_method_handler(
            answer, request_deserializer=scoring_service_pb2.ScoreLogitsRequest.FromString,
            response_serializer=scoring_service_pb2.ScoreLogitsResponse.SerializeToString)
        fake.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("logitd.v1.ScoringService",
                                                                            {"ScoreLogits": handler}),))
        port = fake.add_insecure_port("127.0.0.1:0")
        fake.start()
        self.addCleanup(lambda: fake.stop(0).wait())
        scores = logitd.score_logits([rows(1, V)] * 7, [[i] for i in range(7)], server=f"127.0.0.1:{port}")
        self.assertEqual([scored.cumulative_model_log_prob for scored in scores], [-float(i) for i in range(7)])
        self.assertEqual(starts, [0, 2, 4, 6])


if __name__ == "__main__":
    unittest.main()
