"""The probability of an order through the real programs, and what docs/orders.md shows."""

import itertools
import json
import math
import re
import subprocess
import unittest

import harness
import transition_case
import wire
from logitd.v1 import completion_pb2 as completion
from logitd.v1 import plackett_luce_pb2 as plackett_luce
from logitd.v1 import scoring_service_pb2 as scoring
from ranking_test import NATS, SUMS, TEXTS, by_hand, candidates
from transition_case import context

DOCUMENT = harness.ROOT / "docs/orders.md"


def log_prob(strengths: list[float], order, count: int | None = None) -> float:
    """ln P of the first places of an order, straight from the definition."""
    return math.fsum(strengths[i] - math.log(math.fsum(math.exp(strengths[j]) for j in order[place:]))
                     for place, i in enumerate(order[:count]))


def commands() -> list[tuple[str, str]]:
    """Each shell command of the document, with the output that is shown after it."""
    blocks = re.findall(r"```(sh)?\n(.*?)```", DOCUMENT.read_text(encoding="utf-8"), flags=re.DOTALL)
    return [(code, blocks[i + 1][1]) for i, (kind, code) in enumerate(blocks) if kind == "sh"]


class OrdersTest(transition_case.TransitionCase):
    def test_the_returned_order_is_the_most_probable_one(self):
        self.attach(by_hand())
        sums = list(SUMS.values())
        items = [scoring.RankItem(context=completion.Input(text="C"), candidates=candidates(TEXTS), given_order=order)
                 for order in itertools.permutations(range(5))]
        strengths = [0.7 * s for s in sums]
        found = self.rank(items, inverse_temperature=0.7, order=plackett_luce.OrderOptions(top_k=2))
        best = max(found, key=lambda item: item.given_order.log_prob)
        for item, order in zip(found, itertools.permutations(range(5))):
            self.assertEqual(list(item.given_order.candidate_indices), list(order))
            self.assertAlmostEqual(item.given_order.log_prob, log_prob(strengths, order), delta=5 * NATS)
            self.assertAlmostEqual(item.given_order.top_log_prob, log_prob(strengths, order, 2), delta=5 * NATS)
            self.assertEqual(item.returned_order, best.returned_order)
        self.assertEqual(best.given_order, best.returned_order)
        self.assertAlmostEqual(math.fsum(math.exp(item.given_order.log_prob) for item in found), 1, delta=1e-12)

    def test_impossible_candidates_come_last_and_broken_ones_are_left_out(self):
        self.attach(by_hand())

        def probability(*order):
            item, = self.rank([scoring.RankItem(context=context(1), given_order=order, candidates=[
                *candidates(["a", "y", "xyz"]), scoring.Candidate()])], order=plackett_luce.OrderOptions(top_k=1))
            self.assertEqual(list(item.returned_order.candidate_indices), [0, 2])
            return item.given_order

        strengths = [SUMS["a"], None, SUMS["xyz"]]
        # y is not possible after C, and candidate 3 has an error.
        last = probability(3, 2, 0, 1)
        self.assertEqual(list(last.candidate_indices), [2, 0, 1])
        self.assertAlmostEqual(last.log_prob, log_prob(strengths, (2, 0)), delta=2 * NATS)
        between = probability(2, 1, 0, 3)
        self.assertFalse(between.HasField("log_prob"))
        self.assertAlmostEqual(between.top_log_prob, log_prob(strengths, (2, 0), 1), delta=2 * NATS)
        first = probability(1, 2, 0, 3)
        self.assertFalse(first.HasField("log_prob"))
        self.assertFalse(first.HasField("top_log_prob"))

    def test_a_wrong_order_is_an_error_of_its_item_alone(self):
        self.attach(by_hand())
        wrong = [[0], [0, 0], [0, 2], [0, 1, 0], [-1, 0]]
        items = [scoring.RankItem(context=context(1), candidates=candidates(["a", "q"]), given_order=order)
                 for order in [*wrong, [1, 0]]]
        *bad, good = self.rank(items)
        for item in bad:
            self.assertEqual(wire.reason(item.error), "ORDER_INVALID")
            self.assertIn("given_order", item.error.field)
        self.assertAlmostEqual(good.given_order.log_prob, log_prob([-1, -4], (1, 0)), delta=2 * NATS)

    def test_the_document_shows_what_the_programs_print(self):
        self.assertEqual(len(commands()), 2)
        for command, shown in commands():
            with self.subTest(command=command):
                outcome = subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=60, check=False,
                                         env={"PATH": f"{harness.BIN}:/usr/bin:/bin", "LOGITD_SERVER": self.server.address})
                self.assertEqual(outcome.returncode, 0, outcome.stderr)
                self.assertTrue(outcome.stdout.endswith(shown), f"{outcome.stdout}\n{shown}")

    def test_strengths_that_rankings_do_not_determine_are_refused_by_name(self):
        outcome = harness.run("logit", "strengths", "--server", self.server.address, "--json",
                              stdin='["mat", "rug", "floor"]\n["mat", "floor", "rug"]\n')
        error = json.loads(outcome.stderr)["error"]
        self.assertEqual(error["reason"], "ERROR_REASON_STRENGTHS_UNDEFINED")
        self.assertIn('(item 0 is "mat", item 1 is "rug", item 2 is "floor")', error["message"])


if __name__ == "__main__":
    unittest.main()
