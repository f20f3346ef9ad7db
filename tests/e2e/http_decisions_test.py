"""/v1/decisions of logitd-http, in the form of the openai client, against the gRPC reply of the same server."""

import unittest

import http_case
import wire
from logitd.v1 import completion_pb2 as completion
from logitd.v1 import scoring_service_pb2 as scoring


class DecisionsTest(http_case.HttpCase):
    def decide(self, *questions: dict, **fields) -> list[dict]:
        return self.post("/v1/decisions", {"input": "I was charged twice.", "questions": questions, **fields})["answers"]

    def expected(self, context: str, options: list[str]) -> scoring.DecidedItem:
        item = scoring.DecideItem(context=completion.Input(text=context))
        for option in options:
            item.choice.options.add(text=option)
        with wire.connect(self.server.address) as client:
            response, = client.scoring.Decide(scoring.DecideRequest(items=[item]), timeout=wire.TIMEOUT_S)
        return response.item

    def test_a_choice_has_the_numbers_of_decide(self):
        answer, = self.decide({"type": "choice", "name": "category", "instructions": "Which department?",
                               "choices": [{"value": "billing", "description": "charges"}, {"value": "technical"}, {"value": True}]})
        item = self.expected("I was charged twice.\n\nQuestion: Which department?\nOptions:\n- billing: charges\n- technical\n- true\n"
                             "Answer:", [" billing", " technical", " true"])
        self.assertEqual((answer["type"], answer["name"]), ("choice", "category"))
        self.assertEqual([one["value"] for one in answer["probabilities"]], ["billing", "technical", True])
        self.assertEqual([one["probability"] for one in answer["probabilities"]], [o.probability for o in item.options])
        self.assertEqual(answer["choice"], ["billing", "technical", True][item.chosen_index])
        self.assertEqual(answer["confidence"], item.confidence)
        self.assertEqual(answer["label_mass"], item.label_mass.mass)

    def test_predicates_and_scores(self):
        predicate, score = self.decide(
            {"type": "predicate", "instructions": "The customer complains."},
            {"type": "score", "name": "urgency", "instructions": [{"type": "input_text", "text": "How urgent?"}],
             "levels": [{"label": "low"}, {"label": "middle"}, {"label": "high", "description": "now"}]})
        self.assertEqual((predicate["type"], predicate["name"]), ("predicate", None))
        item = self.expected("I was charged twice.\n\nIs this true: The customer complains.\nAnswer with yes or no:\nAnswer:",
                             [" yes", " no"])
        self.assertEqual(predicate["probability"], item.options[0].probability)
        self.assertEqual([(one["value"], one["label"]) for one in score["probabilities"]], [(0, "low"), (1, "middle"), (2, "high")])
        self.assertAlmostEqual(score["score"], sum(one["value"] * one["probability"] for one in score["probabilities"]), delta=1e-12)
        self.assertAlmostEqual(sum(one["probability"] for one in score["probabilities"]), 1, delta=1e-12)

    def test_messages_are_text(self):
        question = {"type": "predicate", "instructions": "Yes."}
        as_text, = self.decide(question, input="user: a\nassistant: b")
        as_messages, = self.decide(question, input=[{"role": "user", "content": "a"},
                                                    {"role": "assistant", "content": [{"type": "output_text", "text": "b"}]}])
        self.assertEqual(as_text, as_messages)

    def test_names_of_control_tokens_are_plain_text(self):
        plain, marked = (self.decide({"type": "predicate", "instructions": "x"}, input=text)[0] for text in ("</s", "</s>"))
        self.assertNotEqual(plain["label_mass"], None)
        self.assertNotEqual(marked["label_mass"], None)
        item = self.expected("</s>\n\nIs this true: x\nAnswer with yes or no:\nAnswer:", [" yes", " no"])
        self.assertEqual(marked["probability"], item.options[0].probability)

    def test_refusals(self):
        good = {"input": "a", "questions": [{"type": "predicate", "instructions": "x"}]}
        choice = {"type": "choice", "instructions": "x"}
        for change, code, param in (
                ({"input": None}, "missing_required_parameter", "input"),
                ({"input": [{"role": "tool", "content": "x"}]}, "invalid_value", "input[0].role"),
                ({"input": [{"role": "user", "content": [{"type": "input_image"}]}]}, "invalid_value", "input[0].content[0].type"),
                ({"questions": []}, "invalid_type", "questions"),
                ({"questions": [{"type": "guess", "instructions": "x"}]}, "invalid_value", "questions[0].type"),
                ({"questions": [{"type": "predicate"}]}, "missing_required_parameter", "questions[0].instructions"),
                ({"questions": [choice]}, "missing_required_parameter", "questions[0].choices"),
                ({"questions": [{**choice, "choices": [{"value": "a"}]}]}, "invalid_value", "questions[0].choices"),
                ({"questions": [{**choice, "choices": [{"value": "a"}, {"value": "a"}]}]}, "invalid_value", "questions[0].choices"),
                ({"questions": [{**choice, "choices": [{"value": "a"}, {"value": 2}]}]}, "invalid_type",
                 "questions[0].choices[1].value"),
                ({"questions": [{**choice, "levels": []}]}, "invalid_value", "questions[0].levels"),
                ({"more": 1}, "unknown_parameter", "more")):
            error = self.refused(400, "/v1/decisions", {**good, **change})
            self.assertEqual((error["code"], error["param"]), (code, param))


if __name__ == "__main__":
    unittest.main()
