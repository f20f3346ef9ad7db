"""logit calibrate, the file that it writes, logitd --calibration, and the probabilities that requests get of it."""

import json
import math
import pathlib
import random
import tempfile
import unittest
import xml.etree.ElementTree

import harness
import worked_regression

server = None


def setUpModule():
    global server
    server = harness.Server()


def tearDownModule():
    server.stop()


def softmax(values):
    most = max(values)
    weights = [math.exp(value - most) for value in values]
    return [weight / math.fsum(weights) for weight in weights]


def planted(count: int, temperature: float, seed: int = 1) -> list[dict]:
    """Scores whose labels are drawn from their softmax at a temperature."""
    rng = random.Random(seed)
    samples = []
    for _ in range(count):
        scores = [rng.gauss(0, 4) for _ in range(4)]
        label, = rng.choices(range(4), softmax([x / temperature for x in scores]))
        samples.append({"scores": scores, "label": label})
    return samples


class CalibrationTest(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)

    def write(self, lines, name: str = "in.jsonl") -> pathlib.Path:
        path = self.folder / name
        path.write_text("".join((line if isinstance(line, str) else json.dumps(line)) + "\n" for line in lines))
        return path

    def calibrate(self, *arguments) -> dict:
        return harness.logit("calibrate", *arguments, server=server).json()

    def refused(self, lines, *arguments) -> dict:
        outcome = harness.logit("calibrate", self.write(lines), *arguments, server=server)
        self.assertNotEqual(outcome.status, 0)
        return outcome.error()

    def test_a_planted_temperature_from_the_samples_to_the_answer(self):
        out, svg = self.folder / "t.json", self.folder / "t.svg"
        answer = self.calibrate(self.write(planted(4000, 2.5)), "--out", out, "--svg", svg)
        calibration = answer["calibration"]
        temperature = 1 / calibration["weights"][0]
        self.assertAlmostEqual(temperature, 2.5, delta=0.15)
        evaluation = calibration["evaluation"]
        self.assertLess(evaluation["after"]["nll"]["value"], evaluation["before"]["nll"]["lower"])
        self.assertLess(evaluation["after"]["ece"]["value"], evaluation["before"]["ece"]["value"] / 3)
        self.assertEqual(json.loads(out.read_text()), calibration)
        picture = xml.etree.ElementTree.parse(svg).getroot()
        self.assertTrue(picture.tag.endswith("svg"))
        self.assertNotIn("http", svg.read_text().replace("http://www.w3.org/2000/svg", ""))

        calibrated = harness.Server(flags=("--calibration", f"mood={out}"))
        self.addCleanup(calibrated.stop)
        listed, = harness.logit("info", server=calibrated).json()["server"]["calibrations"]
        self.assertEqual((listed["name"], listed["label_count"]), ("mood", 4))
        self.assertEqual(listed["fingerprint"], calibration["fingerprint"])
        self.assertIn("mood", harness.run("logit", "info", "--server", calibrated.address).stdout)
        sums = [-4.0, -2.0, -9.5, -3.0]
        item = {"candidates": [{"sums": {"sum_model_log_prob": x, "token_count": 2}} for x in sums]}
        ranked = json.loads(harness.run("logit", "rank", "--calibration", "mood", "--server", calibrated.address,
                                        "--json", stdin=json.dumps(item)).stdout)
        for candidate, p in zip(ranked["item"]["candidates"], softmax([x / temperature for x in sums])):
            self.assertAlmostEqual(candidate["calibrated_probability"], p, delta=1e-12)
        self.assertEqual(ranked["provenance"]["calibration"], "mood")
        shown = harness.run("logit", "rank", "--calibration", "mood", "--server", calibrated.address,
                            stdin=json.dumps(item)).stdout
        self.assertIn("calibrated", shown)
        wrong = harness.run("logit", "rank", "--calibration", "mood", "--server", calibrated.address, "--json",
                            stdin=json.dumps({"candidates": item["candidates"][:3]}))
        self.assertEqual(wrong.status, 1)
        error = json.loads(wrong.stdout)["item"]["error"]
        self.assertEqual(error["reason"], "ERROR_REASON_CALIBRATION_MISMATCH")
        self.assertIn("4 elements", error["message"])
        self.assertIn("got 3", error["message"])

    def test_answers_of_rank_and_a_file_of_labels(self):
        samples = planted(400, 2)
        answers = [{"item_index": i, "item": {"candidates": [{"sum": x, "per_token": x / 2} for x in sample["scores"]]}}
                   for i, sample in enumerate(samples)]
        labels = self.write([str(sample["label"]) for sample in samples], "labels.txt")
        path = self.write(answers, "answers.jsonl")
        own = self.calibrate(self.write(samples))["calibration"]
        self.assertEqual(self.calibrate(path, "--labels", labels)["calibration"], own)
        halved = self.calibrate(path, "--labels", labels, "--score", "per-token")["calibration"]
        self.assertAlmostEqual(halved["weights"][0], 2 * own["weights"][0], delta=1e-9)
        self.assertEqual(halved["score"], "NORMALIZATION_PER_TOKEN")

    def test_names_kinds_and_the_page(self):
        samples = [{**sample, "label": "abcd"[sample["label"]]} for sample in planted(600, 1.5)]
        path = self.write(samples)
        names = [word for name in "abcd" for word in ("--label-names", name)]
        fitted = self.calibrate(path, "--kind", "vector-scaling", "--l2", 1, *names)["calibration"]
        self.assertEqual((len(fitted["weights"]), len(fitted["offsets"])), (4, 4))
        self.assertAlmostEqual(math.fsum(fitted["offsets"]), 0, delta=1e-12)
        page = harness.run("logit", "calibrate", path, *names, "--server", server.address).stdout
        for word in ("temperature:", "NLL", "Brier", "calibration error", "accuracy", "confidence", "--out FILE"):
            self.assertIn(word, page)

    def test_what_is_wrong_is_named(self):
        good = planted(40, 1)
        cases = [
            ([], "has no samples"),
            (["{"], "line 1 of"),
            ([good[0], {"scores": [1, 2], "label": 0}], "line 2 of"),
            ([{"scores": [1, 2]}], "\"label\""),
            ([{"scores": [1, "x"], "label": 0}], "numbers alone"),
            ([{"scores": [1, 2], "label": "yes"}], "an integer"),
            ([{"scores": [1, 2], "label": 0.5}], "an integer"),
            ([{"label": 0}], "\"scores\" or \"features\""),
            ([good[0], {"features": [1, 2, 3, 4], "label": 0}], "all lines with scores"),
        ]
        for lines, said in cases:
            with self.subTest(said=said):
                self.assertIn(said, self.refused(lines)["message"])
        self.assertEqual(self.refused([*good, {"scores": [0, 0, 0, 0], "label": 4}])["reason"],
                         "ERROR_REASON_FIELD_OUT_OF_RANGE")
        separable = [{"features": [x], "label": x // 2} for x in (0, 1, 2, 3)]
        self.assertEqual(self.refused(separable, "--kind", "multinomial")["reason"], "ERROR_REASON_DATA_SEPARABLE")
        self.calibrate(self.write(separable), "--kind", "multinomial", "--l2", 0.1)
        one = [{"scores": [1, 2], "label": 1}] * 3
        self.assertEqual(self.refused(one)["reason"], "ERROR_REASON_LABEL_MISSING")

    def test_a_file_that_is_no_calibration_is_an_error_of_the_start(self):
        out = self.folder / "t.json"
        self.calibrate(self.write(planted(200, 2)), "--out", out)
        changed = json.loads(out.read_text())
        changed["weights"][0] *= 2
        for text, said in ((json.dumps(changed), "fingerprint must be"), ("{", "is no calibration")):
            out.write_text(text)
            done = harness.run("logitd", "--listen", "127.0.0.1:0", "--calibration", f"a={out}")
            self.assertEqual(done.status, 2, done.stderr)
            self.assertIn(said, done.stderr)

    def test_the_worked_examples_of_the_docs(self):
        page = (harness.ROOT / "docs/calibration.md").read_text()
        for line in worked_regression.lines(server.address):
            self.assertIn(line, page)


if __name__ == "__main__":
    unittest.main()
