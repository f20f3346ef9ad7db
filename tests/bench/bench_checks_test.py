"""bench_checks: right results pass, and each kind of wrong one is found."""

import dataclasses
import unittest

import numpy as np

import bench_checks
import bench_rows
from bench_samplers import CONTENTS, LOG_PROB, RECORD, SAMPLERS, TOKEN, Result, Sampler

# docs/numerics.md, section 2: at temperature 2 p = 0.740200, 0.165161, 0.047319, 0.047319.
EXAMPLE = np.array([6, 3, 0.5, 0.5], dtype=np.float32)


def sorted_double(row: np.ndarray) -> np.ndarray:
    return np.sort(row.astype(np.float64))[::-1]


def right_result(row: np.ndarray, sampler: Sampler, kept_count: int) -> Result:
    """The first token's, by other steps than those of bench_checks: in f80, the sum from the smallest on."""
    x = np.sort(row.astype(np.longdouble))
    temperature = np.longdouble(sampler.temperature or 1)
    kept = (x[len(x) - kept_count:] - x[-1]) / temperature
    return Result(1, int(row.argmax()), kept_count, float(-np.log(np.exp(kept).sum())),
                  float(-np.log(np.exp(x - x[-1]).sum())))


class KeptCountsTest(unittest.TestCase):
    def test_are_what_the_example_of_the_numerics_keeps(self):
        for sampler, count in (
                (Sampler("off", temperature=2), 4),
                (Sampler("greedy", temperature=0), 1),
                (Sampler("top-k", temperature=2, top_k=3), 3),
                (Sampler("top-k above the vocabulary", temperature=2, top_k=50), 4),
                (Sampler("top-p", temperature=2, top_p=0.74), 1),
                (Sampler("top-p, one more", temperature=2, top_p=0.75), 2),
                (Sampler("top-p at temperature 1", top_p=0.995), 3),
                (Sampler("top-p 0", temperature=2, top_p=0), 1),
                # 0.8176 and 0.1824 of the mass that top-k left.
                (Sampler("top-k and top-p", temperature=2, top_k=2, top_p=0.81), 1),
                (Sampler("min-p", temperature=2, min_p=0.2), 2),
                (Sampler("min-p, one less", temperature=2, min_p=0.23), 1),
                (Sampler("min-p after top-k", temperature=2, top_k=1, min_p=0.2), 1)):
            with self.subTest(sampler=sampler.name):
                self.assertEqual(bench_checks.kept_counts(sorted_double(EXAMPLE), sampler), (count, count))

    def test_leave_a_choice_only_where_the_mass_is_the_target(self):
        # Two of four equal tokens have the mass 0.5: a weight that is a little too small makes it three.
        equal = np.full(4, 1.5)
        self.assertEqual(bench_checks.kept_counts(equal, Sampler("p", top_p=0.5)), (2, 3))
        self.assertEqual(bench_checks.kept_counts(equal, Sampler("p", top_p=0.5 + 2e-6)), (3, 3))
        self.assertEqual(bench_checks.kept_counts(equal, Sampler("p", top_p=0.5 - 2e-6)), (2, 2))


class CheckLogitdTest(unittest.TestCase):
    def setUp(self):
        self.row = bench_rows.make_rows("N(0,3)", 1000, 1)[0]

    def check(self, sampler: Sampler, content: str, result: Result) -> None:
        bench_checks.check_logitd(self.row[None, :], [(0, sampler, content, result)])

    def right(self, sampler: Sampler) -> Result:
        return right_result(self.row, sampler, bench_checks.kept_counts(sorted_double(self.row), sampler)[0])

    def test_takes_right_results(self):
        for kind in ("peaky", "N(0,3)", "N(0,1)", "equal"):
            self.row = bench_rows.make_rows(kind, 1000, 1)[0]
            for sampler in SAMPLERS:
                for content in CONTENTS:
                    with self.subTest(kind=kind, sampler=sampler.name, content=content):
                        self.check(sampler, content, self.right(sampler))

    def test_finds_a_set_that_is_too_small_or_too_large(self):
        for sampler in SAMPLERS:
            right = self.right(sampler)
            for more in (-1, 1):
                count = right.kept_count + more
                if not 1 <= count <= len(self.row):
                    continue
                # All numbers of it fit each other: the set alone is wrong.
                wrong = right_result(self.row, sampler, count)
                for content in CONTENTS:
                    with self.subTest(sampler=sampler.name, content=content, kept_count=count):
                        with self.assertRaisesRegex(bench_checks.CheckError, f"keeps {count} tokens, should be"):
                            self.check(sampler, content, wrong)

    def test_finds_a_set_that_the_contender_does_not_tell(self):
        sampler = Sampler("temperature", temperature=0.8)
        with self.assertRaisesRegex(bench_checks.CheckError, "keeps -1 tokens"):
            self.check(sampler, TOKEN, dataclasses.replace(self.right(sampler), kept_count=-1))

    def test_finds_a_wrong_token_or_number(self):
        sampler = Sampler("min-p", temperature=0.8, min_p=0.05)
        last = int(self.row.argmin())
        for content, wrong, message in (
                (TOKEN, {"token_id": -1}, "no token"),
                (TOKEN, {"token_id": last}, f"token {last} is not among"),
                (LOG_PROB, {"sampling_log_prob": self.right(sampler).sampling_log_prob + 2e-6}, "sampling_log_prob"),
                (LOG_PROB, {"sampling_log_prob": float("nan")}, "sampling_log_prob nan"),
                (RECORD, {"model_log_prob": self.right(sampler).model_log_prob - 2e-6}, "model_log_prob")):
            with self.subTest(wrong=wrong):
                with self.assertRaisesRegex(bench_checks.CheckError, message):
                    self.check(sampler, content, dataclasses.replace(self.right(sampler), **wrong))
        greedy = Sampler("greedy", temperature=0)
        with self.assertRaisesRegex(bench_checks.CheckError, "is not the argmax"):
            self.check(greedy, TOKEN, dataclasses.replace(self.right(greedy), token_id=last))

    def test_looks_at_every_result_and_at_its_own_row(self):
        rows = bench_rows.make_rows("N(0,1)", 300, 3)
        sampler = Sampler("top-p", temperature=0.8, top_p=0.95)
        results = []
        for row in (2, 0, 1, 2):
            count = bench_checks.kept_counts(sorted_double(rows[row]), sampler)[0]
            results.append((row, sampler, RECORD, right_result(rows[row], sampler, count)))
        bench_checks.check_logitd(rows, results)
        for i, (row, _, _, result) in enumerate(results):
            wrong = list(results)
            wrong[i] = (row, sampler, RECORD, dataclasses.replace(result, kept_count=result.kept_count + 1))
            with self.subTest(result=i), self.assertRaises(bench_checks.CheckError):
                bench_checks.check_logitd(rows, wrong)

    def test_the_same_is_the_same_but_for_its_time(self):
        nan = float("nan")
        result = Result(5, 7, 3, -0.25, nan)
        bench_checks.check_same("a", result, dataclasses.replace(result, ns=9))
        for wrong in ({"token_id": 8}, {"kept_count": 4}, {"sampling_log_prob": -0.25 - 2**-54}, {"model_log_prob": 0.0}):
            with self.subTest(wrong=wrong), self.assertRaisesRegex(bench_checks.CheckError, "a: "):
                bench_checks.check_same("a", result, dataclasses.replace(result, **wrong))


if __name__ == "__main__":
    unittest.main()
