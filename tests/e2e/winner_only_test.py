"""Rank with winner_only: the winner of a complete evaluation, for fewer tokens."""

import random
import unittest

import grpc
import transition_case
from logitd.v1 import completion_pb2 as completion
from logitd.v1 import scoring_service_pb2 as scoring
from transition_case import context, ids

SUM, TOKEN, BYTE, CHARACTER, GNMT, PMI, COMBINED = range(1, 8)
NO_CACHE = completion.EvaluationOptions(no_cache=True)


def random_items(count: int) -> list[scoring.RankItem]:
    draw = random.Random(17)
    items = []
    for _ in range(count):
        # Few tokens, so that many candidates share beginnings, and some are equal.
        few = draw.sample(range(2, 320), 6)
        items.append(scoring.RankItem(context=context(draw.randrange(2, 320)), candidates=[
            scoring.Candidate(tokens=ids(*draw.choices(few, k=draw.randint(1, 10))), byte_count=draw.randint(1, 30),
                              character_count=draw.randint(1, 30)) for _ in range(draw.randint(2, 20))]))
    return items


class WinnerOnlyTest(transition_case.TransitionCase):
    def winners(self, response: scoring.RankResponse) -> list[int]:
        ordering = response.item.orderings[0]
        return [i for i, place in zip(ordering.candidate_indices, ordering.places) if place == 1]

    def check(self, *flags: object) -> None:
        self.attach(None, *flags)
        items = random_items(200)
        for by in (SUM, TOKEN, BYTE, CHARACTER, GNMT):
            with self.subTest(completion.Normalization.Name(by)):
                fields = {"order_by": by, "evaluation": NO_CACHE} | ({"gnmt_alpha": 0.6} if by == GNMT else {})
                complete = self.rank_responses(items, **fields)
                pruned = self.rank_responses(items, winner_only=True, **fields)
                self.assertEqual([self.winners(r) for r in pruned], [self.winners(r) for r in complete])
                for whole, part in zip(complete, pruned):
                    self.assertEqual(len(part.item.orderings), 1)
                    self.assertEqual(set(part.item.orderings[0].places), {1})
                    for i, (a, b) in enumerate(zip(whole.item.candidates, part.item.candidates)):
                        self.assertEqual(b.place, 1 if i in self.winners(part) else 0)
                        self.assertEqual(b.HasField("sum"), not b.pruned)
                        if not b.pruned:
                            self.assertAlmostEqual(b.sum, a.sum, delta=1e-12)
                tokens = [sum(r.usage.evaluated_token_count for r in some) for some in (complete, pruned)]
                print(completion.Normalization.Name(by), "evaluated", tokens[1], "of", tokens[0], "tokens")
                self.assertLess(tokens[1], tokens[0])

    def test_the_winners_of_1000_random_sets(self):
        self.check()

    def test_with_a_runner_that_sends_rows(self):
        self.check("--rows-only")

    def test_with_a_runner_that_cannot_copy(self):
        self.check("--no-fork", "--no-trim")

    def test_given_sums_prune_too(self):
        self.attach()
        item = scoring.RankItem(context=context(5), candidates=[
            scoring.Candidate(tokens=ids(*range(2, 30))),
            scoring.Candidate(sums=scoring.CandidateSums(sum_model_log_prob=-0.5, token_count=28))])
        response, = self.rank_responses([item], winner_only=True, evaluation=NO_CACHE)
        self.assertEqual(self.winners(response), [1])
        self.assertTrue(response.item.candidates[0].pruned)
        self.assertLess(response.usage.evaluated_token_count, 10)

    def test_refused_by_name(self):
        self.attach()
        item = scoring.RankItem(context=context(5), candidates=[scoring.Candidate(tokens=ids(7))])
        for fields, name in (({"order_by": PMI, "unconditional_context": context(4)}, "NORMALIZATION_PMI"),
                             ({"order_by": COMBINED}, "NORMALIZATION_COMBINED"),
                             ({"inverse_temperature": 1}, "inverse_temperature"),
                             ({"unconditional_context": context(4)}, "unconditional_context"),
                             ({"order_by": GNMT}, "gnmt_alpha")):
            with self.subTest(name), self.assertRaises(grpc.RpcError) as refused:
                self.rank([item], winner_only=True, **fields)
            self.assertEqual(refused.exception.code(), grpc.StatusCode.INVALID_ARGUMENT)
            self.assertIn(name, refused.exception.details())
        item.candidates[0].alternative_tokenizations.add(token_ids=[7])
        ranked, = self.rank([item], winner_only=True)
        self.assertEqual(ranked.error.field, "items[0].candidates[0].alternative_tokenizations")
        for alpha in (-1, 10.5, float("nan")):
            with self.subTest(alpha), self.assertRaises(grpc.RpcError) as refused:
                self.rank([item], gnmt_alpha=alpha)
            self.assertIn("gnmt_alpha", refused.exception.details())


if __name__ == "__main__":
    unittest.main()
