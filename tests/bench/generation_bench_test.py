"""The checks and figures of generation_bench.py find faults."""

import io
import unittest
from contextlib import redirect_stdout

import generation_bench as bench


class Interval(unittest.TestCase):
    def test_of_nine_is_from_the_second_to_the_eighth(self):
        """Outside of them is the median in 2 * (1 + 9) of 512 cases, of the third to the seventh in 2 * (1 + 9 + 36)."""
        self.assertEqual(bench.interval([9, 1, 8, 2, 7, 3, 6, 4, 5]), (2, 8))

    def test_of_few_is_all_there_is(self):
        """Of five, both ends leave out 2 of 32."""
        self.assertEqual(bench.interval([3, 1, 2, 5, 4]), (1, 5))
        self.assertEqual(bench.interval([3]), (3, 3))

    def test_of_six_is_all_there_is_too(self):
        """2 of 64 are outside, and 14 of 64 would be."""
        self.assertEqual(bench.interval([1, 2, 3, 4, 5, 6]), (1, 6))


class Checks(unittest.TestCase):
    RIGHT = {"tokens": 16 * bench.COMPLETIONS[16] * bench.MAX_TOKENS, "seconds": 4.0, "first_ms": 3.0, "step_ms": 1.0}

    def test_a_result_has_its_rate(self):
        self.assertEqual(bench.checked(dict(self.RIGHT), 16)["rate"], self.RIGHT["tokens"] / 4)

    def test_what_is_none_ends_the_program(self):
        for wrong in ({"tokens": self.RIGHT["tokens"] - 1}, {"seconds": 0}, {"first_ms": 0}, {"first_ms": float("nan")}):
            with self.subTest(wrong), self.assertRaises(SystemExit):
                bench.checked(self.RIGHT | wrong, 16)

    def test_a_missed_bound_is_said(self):
        for kept, word in ((True, "holds"), (False, "MISSED")):
            out = io.StringIO()
            with redirect_stdout(out):
                bench.show("ratio", [1.0], "at least 1.0", kept)
            self.assertIn(word, out.getvalue())


if __name__ == "__main__":
    unittest.main()
