"""/v1/score of logitd-http: probabilities of label tokens, against known log-probs and the gRPC reply."""

import math
import unittest

import http_case
import wire
from logitd.v1 import completion_pb2 as completion
from logitd.v1 import sampling_pb2 as sampling
from logitd.v1 import scoring_service_pb2 as scoring

LABELS = [70, 80, 90]
# Rounding of a log-prob, against float64.
NATS = 5e-6


class ScoreTest(http_case.HttpCase):
    def decided(self, context: list[int], labels: list[int], temperature: float = 1) -> scoring.DecidedItem:
        item = scoring.DecideItem(context=completion.Input(tokens=sampling.TokenIds(token_ids=context)))
        for label in labels:
            item.choice.options.add(tokens=sampling.TokenIds(token_ids=[label]))
        with wire.connect(self.server.address) as client:
            request = scoring.DecideRequest(items=[item], temperature=temperature)
            response, = client.scoring.Decide(request, timeout=wire.TIMEOUT_S)
        return response.item

    def test_probabilities_under_the_model(self):
        items = [[300], [280, 12], [5]]
        reply = self.post("/v1/score", {"query": [7, 8], "items": items, "label_token_ids": LABELS,
                                        "return_token_logprobs": True})
        for item, scores, log_probs, mass in zip(items, reply["scores"], reply["token_logprobs"], reply["label_mass"]):
            expected = self.decided([7, 8, *item], LABELS)
            self.assertEqual(log_probs, [option.log_prob for option in expected.options])
            for score, label in zip(scores, LABELS):
                self.assertAlmostEqual(math.log(score), self.tables.log_prob(item[-1], label), delta=NATS)
            self.assertEqual(mass, expected.label_mass.mass)
            self.assertAlmostEqual(mass, sum(scores), delta=1e-9)

    def test_softmax_over_the_labels(self):
        for temperature in (0.5, 1, 3):
            reply = self.post("/v1/score", {"query": [7], "items": [[300]], "label_token_ids": LABELS,
                                            "apply_softmax": True, "temperature": temperature})
            expected = self.decided([7, 300], LABELS, temperature)
            self.assertEqual(reply["scores"], [[option.probability for option in expected.options]])
            self.assertAlmostEqual(sum(reply["scores"][0]), 1, delta=1e-12)

    def test_labels_of_each_item_and_texts(self):
        reply = self.post("/v1/score", {"query": "the ", "items": ["end", "cat"], "label_token_ids": [[70], [80, 90]]})
        self.assertEqual([len(scores) for scores in reply["scores"]], [1, 2])
        for item, labels, scores in zip(("end", "cat"), ([70], [80, 90]), reply["scores"]):
            last = self.tables.tokenize("the " + item)[-1]
            for label, score in zip(labels, scores):
                self.assertAlmostEqual(math.log(score), self.tables.log_prob(last, label), delta=NATS)
        turned = self.post("/v1/score", {"query": "end", "items": ["the "], "label_token_ids": [70], "item_first": True})
        self.assertEqual(turned["scores"][0], reply["scores"][0])

    def test_refusals(self):
        good = {"query": "a", "items": ["b"], "label_token_ids": [70]}
        for change, code, param in (({"items": []}, "invalid_type", "items"), ({"query": None}, "missing_required_parameter", "query"),
                                    ({"items": [[5]]}, "invalid_type", "items[0]"),
                                    ({"label_token_ids": []}, "invalid_value", "label_token_ids"),
                                    ({"label_token_ids": [[70], [80]]}, "invalid_value", "label_token_ids"),
                                    ({"label_token_ids": [99999]}, "token_id_out_of_range", None),
                                    ({"temperature": 2}, "invalid_value", "temperature"),
                                    ({"text_1": "a"}, "unsupported_parameter", "text_1"),
                                    ({"more": 1}, "unknown_parameter", "more")):
            error = self.refused(400, "/v1/score", {**good, **change})
            self.assertEqual(error["code"], code, error)
            if param:
                self.assertEqual(error["param"], param)
        self.assertEqual(self.http.post("/v1/rerank", good).status, 404)


if __name__ == "__main__":
    unittest.main()
