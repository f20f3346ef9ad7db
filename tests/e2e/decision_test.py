"""Decide: typed questions over options of any number of tokens, with a model whose log-probs are known by hand."""

import math
import unittest

import grpc
import ranking_test
import transition_case
import wire
from logitd.v1 import completion_pb2 as completion
from logitd.v1 import scoring_service_pb2 as scoring
from transition_case import context, ids

NATS = 5e-6


def option(text: str, **fields) -> scoring.DecisionOption:
    return scoring.DecisionOption(text=text, **fields)


def choice(*texts: str, **fields) -> scoring.DecideItem:
    return scoring.DecideItem(context=completion.Input(text="C"),
                              choice=scoring.ChoiceQuestion(options=map(option, texts)), **fields)


def softmax(*values: float) -> list[float]:
    weights = [math.exp(x - max(values)) for x in values]
    return [weight / sum(weights) for weight in weights]


class DecisionTest(transition_case.TransitionCase):
    def setUp(self):
        self.attach(ranking_test.by_hand(), "--context-length", 8)

    def assert_probabilities(self, item: scoring.DecidedItem, expected: list[float]) -> None:
        self.assertEqual(len(item.options), len(expected))
        for found, probability in zip(item.options, expected):
            self.assertAlmostEqual(found.probability, probability, delta=NATS)

    def test_a_choice_between_options_of_several_tokens(self):
        item, = self.decide([choice("q", "xyz", "banana")])
        self.assert_probabilities(item, softmax(-4, -1.5, -1.8))
        self.assertEqual(item.chosen_index, 1)
        self.assertTrue(item.HasField("chosen_index"))
        self.assertFalse(item.tied)
        self.assertEqual(item.confidence, item.options[1].probability)
        self.assertFalse(item.HasField("expected_value"))
        self.assertEqual(item.label_mass.kind, scoring.CLOSED_SET_KIND_EXACT)
        self.assertAlmostEqual(item.label_mass.mass, math.exp(-4) + math.exp(-1.5) + math.exp(-1.8), delta=NATS)
        self.assertEqual(item.options[1].score.totals.token_count, 3)

    def test_a_predicate_with_calibration_and_temperature(self):
        items = [scoring.DecideItem(context=context(1), predicate=scoring.PredicateQuestion(
            if_true=option("q", log_offset=offset), if_false=option("a"))) for offset in (0, 3.5)]
        first, second = self.decide(items, temperature=2)
        self.assert_probabilities(first, softmax(-4 / 2, -1 / 2))
        self.assertEqual(first.chosen_index, 1)
        self.assert_probabilities(second, softmax(-0.5 / 2, -1 / 2))
        self.assertEqual(second.chosen_index, 0)
        # The model's own mass does not know of offsets.
        self.assertEqual(first.label_mass, second.label_mass)

    def test_levels_have_an_expected_value(self):
        levels = {"a": 1, "xyz": 5, "q": -2.5}
        item, = self.decide([scoring.DecideItem(context=context(1), score=scoring.ScoreQuestion(levels=[
            scoring.DecisionLevel(option=option(text), value=value) for text, value in levels.items()]))])
        probabilities = softmax(-1, -1.5, -4)
        self.assert_probabilities(item, probabilities)
        expected = sum(p * v for p, v in zip(probabilities, levels.values()))
        self.assertAlmostEqual(item.expected_value, expected, delta=NATS)

    def test_temperature_zero_and_ties(self):
        item, = self.decide([choice("q", "a", "a")], temperature=0)
        self.assert_probabilities(item, [0, 1, 0])
        self.assertEqual(item.chosen_index, 1)
        self.assertTrue(item.tied)

    def test_options_that_begin_with_each_other(self):
        item, = self.decide([scoring.DecideItem(context=context(1), choice=scoring.ChoiceQuestion(options=[
            scoring.DecisionOption(tokens=ids(4)), scoring.DecisionOption(tokens=ids(4, 5))]))])
        self.assertEqual(item.label_mass.kind, scoring.CLOSED_SET_KIND_PREFIXES)
        self.assertAlmostEqual(item.label_mass.mass, math.exp(-1.4), delta=NATS)
        self.assert_probabilities(item, softmax(-1.4, -1.45))

    def test_an_option_that_is_not_possible(self):
        item, none = self.decide([choice("y", "a"), choice("y", "z")])
        self.assert_probabilities(item, [0, 1])
        self.assertFalse(item.options[0].HasField("log_prob"))
        self.assertFalse(none.HasField("chosen_index"))
        self.assertEqual(none.label_mass.mass, 0)

    def test_nothing_is_decided_without_all_options(self):
        item, other = self.decide([choice("a", ""), choice("a", id="kept")])
        self.assertEqual(wire.reason(item.options[1].error), "EMPTY_CONTINUATION")
        self.assertEqual(item.options[1].error.field, "items[0].choice.options[1].text")
        self.assertAlmostEqual(item.options[0].log_prob, -1, delta=NATS)
        self.assertFalse(item.HasField("chosen_index"))
        self.assertFalse(item.options[0].HasField("probability"))
        self.assert_probabilities(other, [1])

    def test_bad_questions_are_errors_of_their_items(self):
        level = scoring.DecisionLevel(option=option("a"), value=1)
        bad = {
            "items[0].question": scoring.DecideItem(),
            "items[1].choice.options": scoring.DecideItem(choice=scoring.ChoiceQuestion()),
            "items[2].score.levels[1].value": scoring.DecideItem(score=scoring.ScoreQuestion(
                levels=[level, scoring.DecisionLevel(option=option("a"))])),
            "items[3].score.levels[0].value": scoring.DecideItem(score=scoring.ScoreQuestion(
                levels=[scoring.DecisionLevel(option=option("a"), value=math.nan)])),
            "items[4].predicate.if_false": scoring.DecideItem(predicate=scoring.PredicateQuestion(if_true=option("a"))),
            "items[5].choice.options[0].log_offset": scoring.DecideItem(choice=scoring.ChoiceQuestion(
                options=[option("a", log_offset=1000.5)])),
            "items[6].context.tokens": choice("a"),
        }
        items = list(bad.values())
        items[6].context.CopyFrom(context(*[1] * 9))
        items.append(choice("a"))
        *errors, good = self.decide(items)
        self.assertEqual([item.error.field for item in errors], list(bad))
        self.assert_probabilities(good, [1])

    def test_bad_requests(self):
        for fields, name in (({"temperature": 5e-5}, "temperature"), ({"temperature": math.nan}, "temperature"),
                             ({"temperature": -1}, "temperature")):
            with self.subTest(fields), self.assertRaises(grpc.RpcError) as refused:
                self.decide([choice("a")], **fields)
            self.assertEqual(refused.exception.code(), grpc.StatusCode.INVALID_ARGUMENT)
            self.assertIn(name, refused.exception.details())
        refused, other = self.decide([choice(*["a"] * 10_001), choice("a")])
        self.assertEqual(refused.error.limit, "max_candidates")
        self.assertFalse(other.HasField("error"))


if __name__ == "__main__":
    unittest.main()
