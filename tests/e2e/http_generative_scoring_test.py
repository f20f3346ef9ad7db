"""/generative_scoring of logitd-http, in vLLM's form, against known log-probs and the gRPC reply; two vocabularies."""

import math
import pathlib
import tempfile
import unittest

import harness
import http_case
import wire
from logitd.v1 import completion_pb2 as completion
from logitd.v1 import sampling_pb2 as sampling
from logitd.v1 import scoring_service_pb2 as scoring

LABELS = [70, 80, 90]
# Rounding of a log-prob, against float64.
NATS = 5e-6


def decided(server: harness.Server, context: list[int], labels: list[int]) -> scoring.DecidedItem:
    item = scoring.DecideItem(context=completion.Input(tokens=sampling.TokenIds(token_ids=context)))
    for label in labels:
        item.choice.options.add(tokens=sampling.TokenIds(token_ids=[label]))
    with wire.connect(server.address) as client:
        response, = client.scoring.Decide(scoring.DecideRequest(items=[item]), timeout=wire.TIMEOUT_S)
    return response.item


class GenerativeScoringTest(http_case.HttpCase):
    def scores(self, **fields) -> list[dict]:
        reply = self.post("/generative_scoring", {"query": [7, 8], "items": [[300], [5]], "label_token_ids": LABELS, **fields})
        self.assertEqual(set(reply), {"id", "object", "created", "model", "data", "usage"})
        self.assertEqual(reply["object"], "list")
        self.assertEqual([(one["index"], one["object"]) for one in reply["data"]],
                         [(i, "score") for i in range(len(reply["data"]))])
        return reply["data"]

    def test_the_first_label_among_the_labels(self):
        for item, data in zip(([300], [5]), self.scores()):
            expected = decided(self.server, [7, 8, *item], LABELS)
            self.assertEqual(data["score"], expected.options[0].probability)
            self.assertEqual(data["label_mass"], expected.label_mass.mass)
            total = math.fsum(math.exp(self.tables.log_prob(item[-1], label)) for label in LABELS)
            self.assertAlmostEqual(math.log(data["score"] * total), self.tables.log_prob(item[-1], LABELS[0]), delta=NATS)

    def test_the_first_label_under_the_model(self):
        for item, data in zip(([300], [5]), self.scores(apply_softmax=False)):
            self.assertAlmostEqual(math.log(data["score"]), self.tables.log_prob(item[-1], LABELS[0]), delta=NATS)

    def test_labels_are_a_set(self):
        self.assertEqual(self.scores(label_token_ids=[70, 80, 70, 90, 80]), self.scores())

    def test_query_and_item_become_tokens_each_by_itself(self):
        for fields, context in (({"query": "the", "items": [" end"]}, self.tables.tokenize("the") + self.tables.tokenize(" end")),
                                ({"query": "the", "items": [[300]]}, [*self.tables.tokenize("the"), 300]),
                                ({"query": "the", "items": [[300]], "item_first": True}, [300, *self.tables.tokenize("the")])):
            data, = self.scores(add_special_tokens=False, **fields)
            self.assertEqual(data["score"], decided(self.server, context, LABELS).options[0].probability)

    def test_another_vocabulary(self):
        with tempfile.TemporaryDirectory() as folder:
            server = harness.Server(model=harness.random_model(
                harness.vocabulary_path("llama-spm"), pathlib.Path(folder) / "m.gguf", "--arch", "llama"))
            self.addCleanup(server.stop)
            front = http_case.HttpServer(server.address)
            self.addCleanup(front.stop)
            tokens = front.post("/tokenize", {"prompt": "The cat"}).json()["tokens"]
            items = {" sat": None, "nip": None}
            with wire.connect(server.address) as client:
                for text in items:
                    context = completion.Input(segments=[completion.InputSegment(text="The cat"), completion.InputSegment(text=text)])
                    item = scoring.DecideItem(context=context)
                    for label in LABELS:
                        item.choice.options.add(tokens=sampling.TokenIds(token_ids=[label]))
                    items[text], = client.scoring.Decide(scoring.DecideRequest(items=[item]), timeout=wire.TIMEOUT_S)
            reply = front.post("/generative_scoring", {"query": "The cat", "items": list(items), "label_token_ids": LABELS})
            self.assertEqual(reply.status, 200, reply.body)
            for data, expected in zip(reply.json()["data"], items.values()):
                self.assertEqual(data["score"], expected.item.options[0].probability)
                self.assertEqual(data["label_mass"], expected.item.label_mass.mass)
            # The BOS of this vocabulary is counted.
            self.assertGreater(reply.json()["usage"]["prompt_tokens"], 2 * len(tokens))
            bos = front.send("GET", "/tokenizer_info").json()["bos_token_id"]
            self.assertEqual(tokens[0], bos)

    def test_the_id_is_the_clients(self):
        reply = self.post("/generative_scoring", {"query": "a", "items": ["b"], "label_token_ids": [70], "request_id": "17", "priority": 2})
        self.assertEqual(reply["id"], "generative-scoring-17")

    def test_refusals(self):
        good = {"query": "a", "items": ["b"], "label_token_ids": [70]}
        for change, code, param in (({"items": []}, "invalid_type", "items"), ({"query": None}, "missing_required_parameter", "query"),
                                    ({"items": ["b", 5]}, "invalid_type", "items[1]"), ({"query": {}}, "invalid_type", "query"),
                                    ({"items": ["b"] * 4097}, "invalid_value", "items"),
                                    ({"query": "x" * 10_000, "items": [""] * 4096}, "invalid_value", "items"),
                                    ({"label_token_ids": []}, "invalid_value", "label_token_ids"),
                                    ({"label_token_ids": None}, "missing_required_parameter", "label_token_ids"),
                                    ({"label_token_ids": [[70]]}, "invalid_type", "label_token_ids[0]"),
                                    ({"label_token_ids": [70] * 1000, "items": ["b"] * 4096}, "invalid_value", "label_token_ids"),
                                    ({"temperature": 2}, "unknown_parameter", "temperature")):
            error = self.refused(400, "/generative_scoring", {**good, **change})
            self.assertEqual((error["code"], error["param"]), (code, param), error)
        error = self.refused(400, "/generative_scoring", {**good, "label_token_ids": [99999]})
        self.assertEqual(error["code"], "token_id_out_of_range")
        for path in ("/rerank", "/v1/rerank", "/v2/rerank"):
            self.assertEqual(self.http.post(path, good).status, 404)


if __name__ == "__main__":
    unittest.main()
