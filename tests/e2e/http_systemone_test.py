"""/v1/systemone of logitd-http, in TypeSafe's form, against the gRPC reply of the same server; two vocabularies."""

import math
import pathlib
import tempfile
import unittest

import harness
import http_case
import wire
from logitd.v1 import completion_pb2 as completion
from logitd.v1 import scoring_service_pb2 as scoring

STATE = "I was charged twice."
URGENT = {"type": "noul", "instructions": "Is it urgent?", "criteria": {"true": "money is lost", "false": None}}
DEPARTMENT = {"type": "choice", "instructions": "Which department?",
              "criteria": {"technical": None, "billing": "charges and refunds", "other things": {"z": 1, "a": [2]}}}
LEVELS = ["calm", {"tone": "cross"}, "angry"]
TONE = {"type": "score", "instructions": ["How", "angry?"], "criteria": LEVELS}
# The prompt of each question and its options.
PROMPTS = {
    "urgent": (f"{STATE}\n\nIs this true: Is it urgent?\nAnswer with yes or no:\n- yes: money is lost\nAnswer:", [" yes", " no"]),
    "department": (f"{STATE}\n\nQuestion: Which department?\nOptions:\n- technical\n- billing: charges and refunds\n"
                   '- other things: {"z":1,"a":[2]}\nAnswer:', [" technical", " billing", " other things"]),
    "tone": (f'{STATE}\n\nQuestion: ["How","angry?"]\nOptions:\n- 0: calm\n- 1: {{"tone":"cross"}}\n- 2: angry\nAnswer:',
             [" 0", " 1", " 2"]),
}


def decided(server: harness.Server, temperature: float) -> dict[str, scoring.DecidedItem]:
    """What Decide says to the prompts."""
    request = scoring.DecideRequest(temperature=temperature)
    for context, options in PROMPTS.values():
        item = request.items.add(context=completion.Input(text=context))
        for option in options:
            item.choice.options.add(text=option)
    with wire.connect(server.address) as client:
        replies = {reply.item_index: reply.item for reply in client.scoring.Decide(request, timeout=wire.TIMEOUT_S)}
    return {name: replies[i] for i, name in enumerate(PROMPTS)}


def body(**fields) -> dict:
    return {"state": STATE, "questions": {"urgent": URGENT, "department": DEPARTMENT, "tone": TONE}, **fields}


class SystemoneTest(http_case.HttpCase):
    def check_numbers(self, reply: dict, items: dict[str, scoring.DecidedItem]) -> None:
        answers = reply["answers"]
        self.assertEqual(list(answers), list(PROMPTS))
        for name, item in items.items():
            self.assertEqual(answers[name]["x_label_mass"], item.label_mass.mass)
        p = {name: [option.probability for option in item.options] for name, item in items.items()}
        self.assertEqual(answers["urgent"], {"type": "noul", "noul": p["urgent"][0],
                                             "x_label_mass": items["urgent"].label_mass.mass})
        names = list(DEPARTMENT["criteria"])
        choice = answers["department"]
        self.assertEqual((choice["type"], choice["choice"]), ("choice", names[items["department"].chosen_index]))
        self.assertEqual(list(choice["probabilities"].items()), list(zip(names, p["department"])))
        self.assertAlmostEqual(choice["confidence"], (3 * max(p["department"]) - 1) / 2, delta=1e-12)
        score = answers["tone"]
        self.assertEqual(list(score["probabilities"].items()), list(zip("012", p["tone"])))
        self.assertEqual(score["legend"], dict(zip("012", LEVELS)))
        self.assertAlmostEqual(score["score"], p["tone"][1] + 2 * p["tone"][2], delta=1e-12)
        top = p["tone"].index(max(p["tone"]))
        spread = math.fsum(x * abs(i - top) for i, x in enumerate(p["tone"]))
        self.assertAlmostEqual(score["confidence"], max(0, 1 - spread * 3 / 2), delta=1e-12)

    def test_the_numbers_are_those_of_decide(self):
        for temperature in (0.5, 1, 3):
            with self.subTest(temperature=temperature):
                reply = self.post("/v1/systemone", body(temperature=temperature))
                self.check_numbers(reply, decided(self.server, temperature))
                self.assertEqual(reply["usage"]["output_tokens"], 0)
                self.assertGreater(reply["usage"]["input_tokens"], 0)

    def test_another_vocabulary(self):
        with tempfile.TemporaryDirectory() as folder:
            server = harness.Server(model=harness.random_model(
                harness.vocabulary_path("llama-spm"), pathlib.Path(folder) / "m.gguf", "--arch", "llama"))
            self.addCleanup(server.stop)
            front = http_case.HttpServer(server.address)
            self.addCleanup(front.stop)
            # Reproducible evaluation is not asked for: the same prompts in the same order, both from an empty cache or not,
            # may differ by the model's own tolerance. The second request finds the first one's records.
            items = decided(server, 1)
            reply = front.post("/v1/systemone", body())
            self.assertEqual(reply.status, 200, reply.body)
            self.check_numbers(reply.json(), items)

    def test_the_state_is_what_the_client_wrote(self):
        question = {"q": URGENT}
        as_object, as_text = (self.post("/v1/systemone", {"state": state, "questions": question})["answers"]
                              for state in ({"z": "a", "b": [1.5, None]}, '{"z":"a","b":[1.5,null]}'))
        self.assertEqual(as_object, as_text)

    def test_questions_without_instructions(self):
        self.post("/v1/systemone", body(questions={
            "noul": {"type": "noul", "criteria": {"true": "x"}}, "choice": {"type": "choice", "criteria": {"a": None}},
            "score": {"type": "score", "criteria": ["x"]}}))
        one = self.post("/v1/systemone", body(questions={"a": {"type": "choice", "criteria": {"only": None}}}))
        self.assertEqual((one["answers"]["a"]["choice"], one["answers"]["a"]["confidence"]), ("only", 1))

    def test_fields_of_peers_that_ask_for_nothing(self):
        self.post("/v1/systemone", body(images=[], assets={}, audio=[], videos=None, chat_template_kwargs={}, safety_identifier="x"))

    def test_refusals(self):
        for change, code, param in (
                ({"state": None}, "missing_required_parameter", "state"), ({"state": 5}, "invalid_type", "state"),
                ({"questions": {}}, "invalid_value", "questions"), ({"questions": [URGENT]}, "invalid_type", "questions"),
                ({"questions": {"a\n" + "b" * 100: {"type": "box"}}}, "invalid_value", "questions.a?" + "b" * 62 + ".type"),
                ({"questions": {"q": {"type": "noul"}}}, "invalid_value", "questions.q.criteria"),
                ({"questions": {"q": {**URGENT, "criteria": {"yes": "x"}}}}, "unknown_parameter", "questions.q.criteria.yes"),
                ({"questions": {"q": {"type": "choice"}}}, "missing_required_parameter", "questions.q.criteria"),
                ({"questions": {"q": {"type": "choice", "criteria": {}}}}, "invalid_value", "questions.q.criteria"),
                ({"questions": {"q": {"type": "choice", "criteria": {"": "x"}}}}, "invalid_value", "questions.q.criteria"),
                ({"questions": {"q": {"type": "score", "criteria": ["x"] * 11}}}, "invalid_value", "questions.q.criteria"),
                ({"questions": {"q": {"type": "score", "criteria": ["x", 2]}}}, "invalid_type", "questions.q.criteria[1]"),
                ({"questions": {"q": {**URGENT, "question": "x"}}}, "unknown_parameter", "questions.q.question"),
                ({"images": ["data:image/png;base64,AA=="]}, "unsupported_parameter", "images"),
                ({"state": "x" * 100_000, "questions": {str(i): URGENT for i in range(200)}}, "invalid_value", "questions"),
                ({"input": "x"}, "unknown_parameter", "input")):
            error = self.refused(400, "/v1/systemone", body(**change))
            self.assertEqual((error["code"], error["param"]), (code, param))


if __name__ == "__main__":
    unittest.main()
