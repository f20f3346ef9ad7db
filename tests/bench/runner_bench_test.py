"""runner_bench: each figure finds its bound, and a missed one is reported."""

import unittest

import runner_bench


class VerdictTest(unittest.TestCase):
    def test_says_whether_the_bound_holds(self):
        self.assertEqual(runner_bench.verdict("1000 / 64 tokens/s", 0.85), "holds: at least 0.85")
        self.assertEqual(runner_bench.verdict("1000 / 64 tokens/s", 0.849), "MISSED: at least 0.85")
        self.assertEqual(runner_bench.verdict("1000 / 64 server CPU", 1.3), "MISSED: less than 1.3")
        self.assertEqual(runner_bench.verdict("runner's CPU for a row sent, 4 clients, us", 80), "holds: at most 80")

    def test_many_rows_of_a_large_vocabulary_have_a_bound_of_their_own(self):
        name = "V={} clients={} step / (10 ms + rows x step_bench)"
        self.assertEqual(runner_bench.verdict(name.format(131072, 60), 1.2), "holds: at most 1.3")
        self.assertEqual(runner_bench.verdict(name.format(131072, 16), 1.2), "MISSED: at most 1.15")
        self.assertEqual(runner_bench.verdict(name.format(49152, 60), 1.2), "MISSED: at most 1.15")

    def test_is_empty_without_a_bound(self):
        self.assertEqual(runner_bench.verdict("clients=64 tokens/s", 1), "")


if __name__ == "__main__":
    unittest.main()
