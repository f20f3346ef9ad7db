"""Scores of a model whose log-probs are known by hand: the row after token t is row t of a matrix."""

import math
import random
import unittest

import transition
import transition_case
from logitd.v1 import completion_pb2 as completion
from logitd.v1 import scoring_service_pb2 as scoring
from transition_case import ids

# By hand: powers of two, so that every probability is a dyadic fraction.
#            <s>   a     b     ab
HALVES = [[None, 1 / 2, 1 / 4, 1 / 4],    # after <s>
          [None, 1 / 8, 3 / 4, 1 / 8],    # after a
          [None, 1 / 2, 1 / 2, None],     # after b
          [None, 1 / 4, 1 / 4, 1 / 2]]    # after ab
A, B, AB = 1, 2, 3


def by_hand() -> transition.Tables:
    logits = [[None if p is None else math.log(p) for p in row] for row in HALVES]
    return transition.Tables(["<s>", "a", "b", "ab"], logits, [0], bos_token_id=0)


class TransitionTest(transition_case.TransitionCase):
    def test_sums_and_greedy_flags_are_those_of_the_matrix(self):
        self.attach(by_hand())
        given = {(A, B): (3 / 8, True), (B, B): (1 / 8, False), (AB, AB, A): (1 / 32, False), (A, A): (1 / 16, False)}
        item = self.score(scoring.ScoreItem(
            context=completion.Input(tokens=ids(0)),
            continuations=[scoring.Continuation(tokens=ids(*tokens)) for tokens in given]))
        for (tokens, (probability, is_greedy)), scored in zip(given.items(), item.continuations):
            with self.subTest(tokens):
                self.assertAlmostEqual(scored.score.totals.cumulative_model_log_prob, math.log(probability), delta=2e-6)
                self.assertEqual(scored.score.is_greedy, is_greedy)
                self.assertEqual(scored.score.totals.token_count, len(tokens))

    def test_an_impossible_token_leaves_no_sum(self):
        self.attach(by_hand())
        item = self.score(scoring.ScoreItem(context=completion.Input(tokens=ids(B)),
                                            continuations=[scoring.Continuation(tokens=ids(AB, A))]))
        self.assertFalse(item.continuations[0].score.totals.HasField("cumulative_model_log_prob"))

    def test_texts_have_the_tokens_and_the_sums_of_the_reference(self):
        tables = self.attach()
        draw = random.Random(7)
        words = ["the cat", " sat", " on", "\u00e9", "xyz", " and the dog", "\n\n", "123", ": ", "\U0001f600"]
        for _ in range(20):
            text = "".join(draw.choices(words, k=5))
            context, rest = text[:len(text) // 2], text[len(text) // 2:]
            item = self.score(scoring.ScoreItem(context=completion.Input(text=context),
                                                continuations=[scoring.Continuation(text=rest)]),
                              tokenization=completion.TokenizationOptions(boundary=completion.BOUNDARY_SEPARATE))
            before, tokens = tables.tokenize(context), tables.tokenize(rest)
            scored = item.continuations[0].score
            self.assertEqual([record.token_id for record in scored.tokens], tokens)
            self.assertAlmostEqual(scored.totals.cumulative_model_log_prob, tables.sum(before, tokens),
                                   delta=2e-6 * len(tokens))

    def test_a_context_of_100_000_tokens(self):
        tables = self.attach(None, "--context-length", 100_100)
        draw = random.Random(3)
        context = [draw.randrange(2, 320) for _ in range(100_000)]
        item = self.score(scoring.ScoreItem(context=completion.Input(tokens=ids(*context)),
                                            continuations=[scoring.Continuation(tokens=ids(5, 6, 7))]))
        self.assertEqual(item.context_token_count, 100_000)
        self.assertAlmostEqual(item.continuations[0].score.totals.cumulative_model_log_prob,
                               tables.sum(context, [5, 6, 7]), delta=6e-6)


if __name__ == "__main__":
    unittest.main()
