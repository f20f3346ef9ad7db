"""Completions of the real model: deterministic, and their cumulative log-prob is the sum of their tokens'."""

import math
import unittest

import harness

server = None


def setUpModule():
    global server
    server = harness.Server(model=harness.model_path())


def tearDownModule():
    server.stop()


def complete(*flags: object) -> dict:
    return harness.logit("complete", "The capital of France is", *flags, server=server).json()


GREEDY = ("--temperature", 0, "--max-tokens", 16)
DRAWN = ("--temperature", 0.8, "--seed", 7, "-n", 4, "--max-tokens", 32)


class CompletionTest(unittest.TestCase):
    def assert_sums_are_right(self, completion: dict) -> None:
        tokens = completion["tokens"]
        self.assertEqual(completion["totals"]["token_count"], len(tokens))
        for kind in ("model_log_prob", "sampling_log_prob"):
            values = [token[kind] for token in tokens]
            self.assertTrue(all(math.isfinite(value) and value <= 0 for value in values), values)
            self.assertAlmostEqual(completion["totals"][f"cumulative_{kind}"], math.fsum(values), delta=1e-12)
        self.assertEqual([token["position"] for token in tokens], list(range(len(tokens))))

    def test_greedy_is_the_same_on_every_run(self):
        first = complete(*GREEDY)
        self.assertEqual(complete(*GREEDY)["completions"], first["completions"])
        (completion,) = first["completions"]
        self.assertIn("Paris", completion["text"])
        self.assert_sums_are_right(completion)
        # Greedy: each token was certain.
        self.assertEqual({token["sampling_log_prob"] for token in completion["tokens"]}, {0})

    def test_drawn_with_a_seed_is_the_same_on_every_run(self):
        first = complete(*DRAWN)
        self.assertEqual(complete(*DRAWN)["completions"], first["completions"])
        self.assertEqual(len(first["completions"]), 4)
        self.assertEqual(len({completion["text"] for completion in first["completions"]}), 4)
        self.assertEqual([completion["index"] for completion in first["completions"]], [0, 1, 2, 3])
        for completion in first["completions"]:
            self.assert_sums_are_right(completion)
            self.assertLessEqual(len(completion["tokens"]), 32)

    def test_another_seed_draws_another_text(self):
        flags = ("--temperature", 0.8, "--max-tokens", 32)
        self.assertNotEqual(complete(*flags, "--seed", 7)["completions"][0]["text"],
                            complete(*flags, "--seed", 8)["completions"][0]["text"])

    def test_is_the_same_after_the_server_is_started_again(self):
        before = complete(*DRAWN)["completions"]
        other = harness.Server(model=harness.model_path())
        try:
            after = harness.logit("complete", "The capital of France is", *DRAWN, server=other).json()["completions"]
        finally:
            other.stop()
        self.assertEqual(after, before)

    def test_text_is_shown_without_json(self):
        outcome = harness.run("logit", "complete", "The capital of France is", *GREEDY, "--server", server.address)
        self.assertEqual(outcome.status, 0, outcome.stderr)
        self.assertIn("Paris", outcome.stdout)


if __name__ == "__main__":
    unittest.main()
