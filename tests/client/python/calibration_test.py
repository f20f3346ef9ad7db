"""fit_calibration of both clients, the file of a calibration, and its use by name."""

import math
import os
import pathlib
import tempfile
import unittest

import harness
import numpy

import logitd
from both_clients import Plain, both
from logitd import errors

server = None


def setUpModule():
    global server
    server = harness.Server()


def tearDownModule():
    server.stop()


def planted(count: int, temperature: float, width: int = 3) -> tuple[numpy.ndarray, numpy.ndarray]:
    """Scores, and labels drawn from their softmax at a temperature."""
    rng = numpy.random.default_rng(1)
    scores = rng.normal(0, 4, (count, width))
    p = numpy.exp(scores / temperature)
    p /= p.sum(axis=1, keepdims=True)
    return scores, (p.cumsum(axis=1) > rng.random((count, 1))).argmax(axis=1)


@both
class CalibrationTest(unittest.TestCase):
    make = Plain

    def client(self, address: str | None = None):
        client = self.make(address or server.address)
        self.addCleanup(client.close)
        return client

    def test_a_fit_of_arrays_and_of_lists(self):
        scores, labels = planted(3000, 2.5)
        fitted = self.client().fit_calibration(scores, labels, label_names=["a", "b", "c"], bootstrap_count=200)
        self.assertAlmostEqual(fitted.temperature, 2.5, delta=0.2)
        self.assertEqual((fitted.kind, fitted.input, fitted.score), ("temperature", "scores", "sum"))
        self.assertEqual((fitted.label_names, fitted.sample_count), (("a", "b", "c"), 3000))
        evaluation = fitted.evaluation
        self.assertLess(evaluation.after.nll.value, evaluation.before.nll.lower)
        self.assertLess(evaluation.difference.nll.upper, 0)
        self.assertEqual(sum(b.count for b in evaluation.bins_after), 3000)
        again = self.client().fit_calibration(scores.tolist(), labels.tolist(), label_names=("a", "b", "c"),
                                              bootstrap_count=200)
        self.assertEqual(again, fitted)

    def test_features_and_kinds(self):
        scores, labels = planted(300, 2)
        fitted = self.client().fit_calibration(scores, labels, kind="multinomial", input="features", l2=1.0, folds=0)
        self.assertEqual((len(fitted.weights), len(fitted.offsets), fitted.evaluation), (9, 3, None))
        vector = self.client().fit_calibration(scores, labels, kind="vector-scaling", l2=1.0, score="per_token")
        self.assertEqual((vector.kind, vector.score, len(vector.weights)), ("vector_scaling", "per_token", 3))
        for calibration in (fitted, vector):
            p = calibration.probabilities(scores[0])
            self.assertAlmostEqual(math.fsum(p), 1, delta=1e-12)
        with self.assertRaisesRegex(ValueError, "values must be 3 numbers, got 2"):
            fitted.log_probs([1, 2])

    def test_errors_are_typed(self):
        client = self.client()
        for values, labels, kind, said in (([1, 2], [0], TypeError, "values"), ([[1, 2], [1]], [0, 1], ValueError,
                                           "must have 2 numbers"), (numpy.zeros(3), [0], ValueError, "shape")):
            with self.assertRaisesRegex(kind, said):
                client.fit_calibration(values, labels)
        with self.assertRaisesRegex(ValueError, "kind must be one of temperature, vector_scaling, multinomial"):
            client.fit_calibration([[1, 2]], [0], kind="platt")
        with self.assertRaises(errors.InvalidRequestError) as caught:
            client.fit_calibration([[2, 1], [1, 2]], [0, 1])
        self.assertEqual(caught.exception.reason, "DATA_SEPARABLE")
        with self.assertRaises(errors.InvalidRequestError) as caught:
            client.fit_calibration([[2, 1], [1, 2]], [0, 0])
        self.assertEqual(caught.exception.reason, "LABEL_MISSING")
        with self.assertRaises(errors.InvalidRequestError) as caught:
            client.fit_calibration([[2, 1], [1, math.nan]], [0, 1])
        self.assertEqual(caught.exception.field, "values[3]")

    def test_from_the_file_to_the_answer(self):
        scores, labels = planted(500, 2)
        fitted = self.client().fit_calibration(scores, labels, kind="vector_scaling", l2=1.0)
        with tempfile.TemporaryDirectory() as folder:
            path = pathlib.Path(folder) / "c.json"
            fitted.save(path)
            self.assertEqual(os.listdir(folder), ["c.json"])
            self.assertEqual(logitd.Calibration.load(path), fitted)
            with self.assertRaisesRegex(ValueError, "is no calibration"):
                logitd.Calibration.load(__file__)
            calibrated = harness.Server(flags=("--calibration", f"three={path}"))
        self.addCleanup(calibrated.stop)
        client = self.client(calibrated.address)
        listed, = client.info().calibrations
        self.assertEqual((listed.name, listed.kind, listed.fingerprint),
                         ("three", "vector_scaling", fitted.fingerprint))
        sums = [-3.0, -5.0, -4.5]
        candidates = [logitd.Sums(sum_model_log_prob=x, token_count=1) for x in sums]
        item, = client.rank([logitd.RankItem(None, candidates)], calibration="three")
        for candidate, p in zip(item.candidates, fitted.probabilities(sums)):
            self.assertAlmostEqual(candidate.calibrated_probability, p, delta=1e-12)
            self.assertAlmostEqual(candidate.calibrated_log_prob, math.log(p), delta=1e-12)
        self.assertEqual(item.provenance.calibration, "three")
        short, = client.rank([logitd.RankItem(None, candidates[:2])], calibration="three")
        self.assertEqual(short.error.reason, "CALIBRATION_MISMATCH")
        with self.assertRaises(errors.NotFoundError) as caught:
            client.rank([logitd.RankItem(None, candidates)], calibration="four")
        self.assertEqual(caught.exception.reason, "CALIBRATION_NOT_FOUND")


if __name__ == "__main__":
    unittest.main()
