"""Rankings of a model whose log-probs are known by hand."""

import math
import random
import unittest

import transition
import transition_case
import wire
from logitd.v1 import completion_pb2 as completion
from logitd.v1 import scoring_service_pb2 as scoring
from transition_case import context, ids

SUM, TOKEN, BYTE, CHARACTER, GNMT, PMI, COMBINED = range(1, 8)
# Rounding of a log-prob, and of a sum of a few.
NATS = 5e-6

TOKENS = ["<s>", "C", "U", "a", "x", "y", "z", "\U0001f600", "\U0001f603", "banana", "q", "_"]
FILLER = len(TOKENS) - 1
# ln P(token | row); the filler has what is left.
ROWS = {"C": {"a": -1, "x": -1.4, "\U0001f600": -1.9, "banana": -1.8, "q": -4},
        "U": {"a": -1, "x": -1.4, "\U0001f600": -1.9, "banana": -1.8, "q": -12},
        "x": {"y": -0.05},
        "y": {"z": -0.05},
        "\U0001f600": {"\U0001f603": -0.1}}
# The texts, and the normalisation under which each wins.
TEXTS = {"a": SUM, "xyz": TOKEN, "\U0001f600\U0001f603": BYTE, "banana": CHARACTER, "q": PMI}
SUMS = {"a": -1, "xyz": -1.5, "\U0001f600\U0001f603": -2, "banana": -1.8, "q": -4}


def by_hand() -> transition.Tables:
    logits = []
    for token in TOKENS:
        row: list[float | None] = [None] * len(TOKENS)
        for name, log_prob in ROWS.get(token, {}).items():
            row[TOKENS.index(name)] = log_prob
        row[FILLER] = math.log(1 - sum(math.exp(x) for x in row if x is not None))
        logits.append(row)
    return transition.Tables(TOKENS, logits, [0], bos_token_id=0)


def tokens_of(*names: str) -> list[int]:
    return [TOKENS.index(name) for name in names]


def candidates(texts) -> list[scoring.Candidate]:
    return [scoring.Candidate(text=text) for text in texts]


class RankingTest(transition_case.TransitionCase):
    def test_every_normalisation_has_a_winner_of_its_own(self):
        self.attach(by_hand())
        item, = self.rank([scoring.RankItem(context=completion.Input(text="C"), candidates=candidates(TEXTS),
                                            unconditional_context=completion.Input(text="U"))],
                          order_by=BYTE, gnmt_alpha=2, inverse_temperature=3)
        winners = {ordering.by: list(TEXTS)[ordering.candidate_indices[0]] for ordering in item.orderings}
        for text, by in TEXTS.items():
            self.assertEqual(winners[by], text)
        self.assertEqual(winners[GNMT], "xyz")
        self.assertNotIn(COMBINED, winners)
        self.assertEqual(item.orderings[0].by, BYTE)
        weights = {text: math.exp(3 * s / len(text.encode())) for text, s in SUMS.items()}
        for text, candidate in zip(TEXTS, item.candidates):
            with self.subTest(text):
                s, length = SUMS[text], {"xyz": 3, "\U0001f600\U0001f603": 2}.get(text, 1)
                self.assertAlmostEqual(candidate.sum, s, delta=NATS)
                self.assertAlmostEqual(candidate.per_token, s / length, delta=NATS)
                self.assertAlmostEqual(candidate.per_byte, s / len(text.encode()), delta=NATS)
                self.assertAlmostEqual(candidate.per_character, s / len(text), delta=NATS)
                self.assertAlmostEqual(candidate.gnmt, s / ((5 + length) / 6) ** 2, delta=NATS)
                self.assertAlmostEqual(candidate.pmi, 8 if text == "q" else 0, delta=2 * NATS)
                self.assertAlmostEqual(candidate.unconditional_sum, -12 if text == "q" else s, delta=NATS)
                self.assertAlmostEqual(candidate.bits_per_byte, -s / len(text.encode()) / math.log(2), delta=NATS)
                self.assertAlmostEqual(candidate.perplexity, math.exp(-s / length), delta=1e-3)
                self.assertAlmostEqual(candidate.candidate_probability, weights[text] / sum(weights.values()),
                                       delta=NATS)
                self.assertEqual(candidate.score.is_greedy, text == "a")
        self.assertEqual(item.closed_set.kind, scoring.CLOSED_SET_KIND_EXACT)
        self.assertAlmostEqual(item.closed_set.mass, sum(map(math.exp, SUMS.values())), delta=NATS)
        self.assertAlmostEqual(math.exp(item.closed_set.log_mass), item.closed_set.mass, delta=1e-15)
        self.assertEqual(item.closed_set.sequence_count, 5)
        self.assertEqual(item.unconditional_context_token_count, 1)

    def test_the_unconditional_context_changes_no_other_number(self):
        self.attach(by_hand())
        # A long context: no length of it gets into a normalisation.
        bare = [scoring.RankItem(context=context(*[2] * 40, 1), candidates=candidates(TEXTS)) for _ in range(3)]
        mixed = [scoring.RankItem(), scoring.RankItem(), scoring.RankItem()]
        for item, source in zip(mixed, bare):
            item.CopyFrom(source)
        mixed[1].unconditional_context.tokens.token_ids.append(2)
        expected = self.rank(bare, order_by=GNMT, gnmt_alpha=1)
        found = self.rank(mixed, order_by=GNMT, gnmt_alpha=1)
        self.assertAlmostEqual(found[1].candidates[1].gnmt, -1.5 / (8 / 6), delta=NATS)
        self.assertAlmostEqual(found[1].candidates[4].pmi, 8, delta=2 * NATS)
        for candidate in found[1].candidates:
            candidate.ClearField("pmi")
            candidate.ClearField("unconditional_sum")
        found[1].unconditional_context_token_count = 0
        del found[1].orderings[-1]
        self.assertEqual(found, expected)

    def test_pmi_of_the_request_of_given_sums_and_where_there_is_none(self):
        self.attach(by_hand())
        own = scoring.RankItem(context=context(1), candidates=candidates(["a", "q"]), unconditional_context=context(1))
        others = scoring.RankItem(context=context(1), candidates=[
            scoring.Candidate(text="q"), scoring.Candidate(text="y"), scoring.Candidate(sums=scoring.CandidateSums(
                sum_model_log_prob=-1, token_count=1, sum_unconditional_log_prob=-10))])
        first, second = self.rank([own, others], order_by=PMI, unconditional_context=context(2))
        self.assertEqual([candidate.pmi for candidate in first.candidates], [0, 0])
        self.assertAlmostEqual(second.candidates[0].pmi, 8, delta=2 * NATS)
        # y is not possible after C: it has no sum, and no place.
        self.assertFalse(second.candidates[1].HasField("pmi"))
        self.assertEqual(second.candidates[2].pmi, 9)
        self.assertEqual(list(second.orderings[0].candidate_indices), [2, 0])
        self.assertEqual(second.closed_set.kind, scoring.CLOSED_SET_KIND_TOKENS_UNKNOWN)
        # y is possible after x only, so there is no unconditional sum.
        item, = self.rank([scoring.RankItem(context=context(4), candidates=candidates(["y"]))], order_by=SUM,
                          unconditional_context=context(2))
        self.assertFalse(item.candidates[0].HasField("pmi"))
        self.assertNotIn(PMI, [ordering.by for ordering in item.orderings])
        item, = self.rank([scoring.RankItem(context=context(4), candidates=candidates(["y"]))], order_by=PMI,
                          unconditional_context=context(2))
        self.assertEqual(wire.reason(item.error), "NORMALIZATION_UNDEFINED")

    def test_errors_of_the_unconditional_context_name_it(self):
        self.attach(by_hand(), "--context-length", 4)
        good = scoring.RankItem(context=context(1), candidates=candidates(["a"]))
        bad = scoring.RankItem(context=context(1), candidates=candidates(["a"]), unconditional_context=context(99))
        long = scoring.RankItem(context=context(1), candidates=candidates(["xyz"]),
                                unconditional_context=context(1, 2, 1))
        items = self.rank([good, bad, long], order_by=SUM)
        self.assertAlmostEqual(items[0].candidates[0].sum, -1, delta=NATS)
        self.assertEqual(items[1].error.field, "items[1].unconditional_context.tokens.token_ids[0]")
        self.assertEqual(wire.reason(items[1].error), "TOKEN_ID_OUT_OF_RANGE")
        self.assertAlmostEqual(items[2].candidates[0].sum, -1.5, delta=NATS)
        self.assertEqual(wire.reason(items[2].candidates[0].unconditional_error), "CONTEXT_LENGTH_EXCEEDED")
        item, = self.rank([good], order_by=PMI)
        self.assertEqual(item.error.field, "items[0].unconditional_context")

    def test_a_candidate_that_begins_with_another_is_part_of_it(self):
        self.attach(by_hand())
        item, = self.rank([scoring.RankItem(context=context(1), candidates=[
            scoring.Candidate(tokens=ids(*tokens_of(*names))) for names in ("xy", "x", "xyz", "a", "x")])])
        self.assertEqual(item.closed_set.kind, scoring.CLOSED_SET_KIND_PREFIXES)
        self.assertAlmostEqual(item.closed_set.mass, math.exp(-1.4) + math.exp(-1), delta=NATS)
        self.assertEqual(item.closed_set.sequence_count, 2)
        # Equal candidates share a place.
        self.assertEqual(item.candidates[1].place, item.candidates[4].place)

    def test_what_is_not_possible_has_no_mass(self):
        self.attach(by_hand())
        item, = self.rank([scoring.RankItem(context=context(1), candidates=candidates(["y", "z"]))])
        self.assertEqual(item.closed_set.mass, 0)
        self.assertTrue(item.closed_set.HasField("mass"))
        self.assertFalse(item.closed_set.HasField("log_mass"))

    def test_tokenisations_of_one_text_are_combined(self):
        words = ["<s>", "C", "a", "b", "ab", "<e>", "_"]
        rows = {1: {2: 0.25, 4: 0.5, 6: 0.25}, 2: {3: 0.5, 2: 0.5}}
        logits = [[math.log(rows[t][i]) if i in rows.get(t, {}) else (0 if t not in rows else None)
                   for i in range(len(words))] for t in range(len(words))]
        self.attach(transition.Tables(words, logits, [0, 5], bos_token_id=0))

        def candidate(*alternatives, **fields):
            return scoring.Candidate(alternative_tokenizations=alternatives, **fields)

        item, = self.rank([scoring.RankItem(context=context(1), candidates=[
            candidate(ids(2, 3), ids(4), ids(2, 3), text="ab"), candidate(text="a"),
            candidate(ids(2, 2), text="ab"), candidate(ids(2, 3, 5), text="ab"), candidate(ids(), text="ab"),
            candidate(ids(2, 99), text="ab")])], order_by=COMBINED)
        both, single, other_text, control, empty, unknown = item.candidates
        self.assertAlmostEqual(both.sum, math.log(0.5), delta=NATS)
        self.assertAlmostEqual(both.combined_log_prob, math.log(0.625), delta=NATS)
        self.assertAlmostEqual(both.alternative_tokenizations[0].sum, math.log(0.125), delta=NATS)
        self.assertEqual(len(both.alternative_tokenizations), 3)
        self.assertFalse(single.HasField("combined_log_prob"))
        self.assertEqual(item.orderings[0].by, COMBINED)
        self.assertEqual(list(item.orderings[0].candidate_indices), [0, 1])
        # "a" is the beginning of "a", "b".
        self.assertEqual(item.closed_set.kind, scoring.CLOSED_SET_KIND_PREFIXES)
        self.assertAlmostEqual(item.closed_set.mass, 0.75, delta=NATS)
        for wrong, reason in ((other_text, "FIELD_OUT_OF_RANGE"), (control, "FIELD_OUT_OF_RANGE"),
                              (empty, "EMPTY_CONTINUATION"), (unknown, "TOKEN_ID_OUT_OF_RANGE")):
            self.assertEqual(wire.reason(wrong.error), reason)
            self.assertIn("alternative_tokenizations[0]", wrong.error.field)

    def test_10_000_candidates_in_one_call(self):
        tables = self.attach()
        draw = random.Random(1)
        pairs = draw.sample([(a, b) for a in range(2, 320) for b in range(2, 320)], 10_000)
        item = scoring.RankItem(context=context(9), candidates=[scoring.Candidate(tokens=ids(*pair)) for pair in pairs])
        response, = self.rank_responses([item])
        sums = [tables.sum([9], list(pair)) for pair in pairs]
        self.assertEqual(response.item.orderings[0].candidate_indices[0], sums.index(max(sums)))
        self.assertAlmostEqual(response.item.closed_set.mass, math.fsum(map(math.exp, sums)), delta=NATS)
        self.assertEqual(response.item.closed_set.kind, scoring.CLOSED_SET_KIND_EXACT)
        # The context, and every first token once.
        self.assertEqual(response.usage.evaluated_token_count + response.usage.cached_token_count,
                         1 + len({a for a, _ in pairs}))
        item.candidates.add(tokens=ids(2))
        refused, other = self.rank([item, scoring.RankItem(context=context(9), candidates=item.candidates[:2])])
        self.assertEqual((wire.reason(refused.error), refused.error.limit), ("LIMIT_EXCEEDED", "max_candidates"))
        self.assertEqual(len(other.candidates), 2)

    def test_a_candidate_with_an_error_is_not_in_the_set(self):
        self.attach(by_hand())
        item, = self.rank([scoring.RankItem(context=context(1), candidates=[
            scoring.Candidate(), scoring.Candidate(text=""), scoring.Candidate(text="a")])])
        self.assertEqual([wire.reason(candidate.error) for candidate in item.candidates[:2]],
                         ["FIELD_REQUIRED", "EMPTY_CONTINUATION"])
        self.assertEqual(item.closed_set.kind, scoring.CLOSED_SET_KIND_EXACT)
        self.assertAlmostEqual(item.closed_set.mass, math.exp(-1), delta=NATS)

    def test_equal_ids_are_told_apart_by_their_index(self):
        self.attach(by_hand())
        items = [scoring.RankItem(id="same", context=context(1), candidates=candidates([text])) for text in ("a", "q")]
        responses = self.rank_responses(items)
        self.assertEqual([(r.item_index, r.id) for r in responses], [(0, "same"), (1, "same")])
        self.assertAlmostEqual(responses[1].item.candidates[0].sum, -4, delta=NATS)


if __name__ == "__main__":
    unittest.main()
