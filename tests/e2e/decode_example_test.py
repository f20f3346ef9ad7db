"""The Python program of docs/decode-in-python.md: it runs as it stands, and its sums are those of its own model."""

import re
import subprocess
import sys
import unittest

import harness
import numpy as np

EXAMPLE = harness.ROOT / "docs/examples/decode_bigram.py"
server = None


def setUpModule():
    global server
    server = harness.Server()


def tearDownModule():
    server.stop()


def run_example() -> str:
    return subprocess.run([sys.executable, EXAMPLE, server.address], check=True, stdout=subprocess.PIPE, text=True,
                          timeout=60).stdout


class DecodeExampleTest(unittest.TestCase):
    def test_is_at_most_forty_lines(self):
        self.assertLessEqual(len(EXAMPLE.read_text(encoding="utf-8").splitlines()), 40)

    def test_stands_in_the_document_as_it_is(self):
        document = (harness.ROOT / "docs/decode-in-python.md").read_text(encoding="utf-8")
        blocks = re.findall(r"```python\n(.*?)```", document, flags=re.DOTALL)
        self.assertEqual(blocks, [EXAMPLE.read_text(encoding="utf-8")])

    def test_document_shows_what_it_prints(self):
        document = (harness.ROOT / "docs/decode-in-python.md").read_text(encoding="utf-8")
        self.assertIn(run_example(), document)

    def test_completes_two_sequences_with_the_sum_of_their_log_probs(self):
        lines = run_example().splitlines()
        self.assertEqual(len(lines), 2)
        self.assertNotEqual(lines[0], lines[1])
        # The same model, in double precision and without the server.
        corpus = re.search(r'corpus = "([^"]*)"', EXAMPLE.read_text(encoding="utf-8"))[1].split()
        words = sorted(set(corpus))
        counts = np.full((len(words), len(words)), 0.05)
        for before, after in zip(corpus, corpus[1:]):
            counts[words.index(before), words.index(after)] += 1
        log_probs = np.log(counts / counts.sum(axis=1, keepdims=True))
        for line in lines:
            *text, total = line.split()
            self.assertIn(text[0], ("a", "the"))
            self.assertTrue(text[-1] == "." or len(text) == 13, line)
            expected = sum(log_probs[words.index(a), words.index(b)] for a, b in zip(text, text[1:]))
            self.assertAlmostEqual(float(total), expected, delta=1e-6 * len(text) + 0.5e-6)

    def test_prints_the_same_on_every_run(self):
        self.assertEqual(run_example(), run_example())


if __name__ == "__main__":
    unittest.main()
