"""`logit perplexity`: a text in windows has the perplexity of the model, whatever the windows are."""

import math
import random
import unittest

import harness
import table_model


class PerplexityTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.backend = table_model.Backend()

    @classmethod
    def tearDownClass(cls):
        cls.backend.stop()

    def run_perplexity(self, *arguments: object) -> harness.Outcome:
        return harness.logit("perplexity", *arguments, "--rule", "strided", server=self.backend)

    def test_windows_change_nothing_for_a_model_that_looks_at_one_token(self):
        rng = random.Random(2)
        tokens = [rng.randrange(table_model.VOCAB_SIZE) for _ in range(500)]
        wanted = table_model.log_prob(tokens[0], tokens[1:])
        for flags in ((), ("--window", 64), ("--window", 64, "--stride", 16), ("--window", 2, "--stride", 1)):
            rolling = self.run_perplexity("--ids", ",".join(map(str, tokens)), *flags).json()["item"]["rolling"]
            totals = rolling["score"]["totals"]
            self.assertEqual(totals["token_count"], 499)
            self.assertAlmostEqual(totals["cumulative_model_log_prob"], wanted, delta=1e-3)
            self.assertAlmostEqual(rolling["perplexity"], math.exp(-wanted / 499), delta=1e-4)
            self.assertEqual(sum(window["token_count"] for window in rolling["windows"]), 499)
        text = harness.run("logit", "perplexity", "--ids", "1,2,3,4,5", "--rule", "strided", "--window", 2, "--windows",
                           "--server", self.backend.address)
        self.assertEqual(text.status, 0, text.stderr)
        self.assertIn("first token", text.stdout)
        self.assertIn("tokens: 4 in 2 windows", text.stdout)

    def test_bad_input_is_named(self):
        outcome = self.run_perplexity("--ids", "99")
        self.assertEqual(outcome.status, 1, outcome.stderr)
        self.assertIn("TOKEN_ID_OUT_OF_RANGE", outcome.stdout)
        self.assertNotIn("items[", outcome.stdout)
        for arguments in (("/nobody",), ("/tmp",), ("a", "b"), ("a", "--ids", "1"), ("--rule", "x", "--ids", "1")):
            self.assertEqual(harness.logit("perplexity", *arguments, server=self.backend).status, 2, arguments)


if __name__ == "__main__":
    unittest.main()
