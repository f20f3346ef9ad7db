"""logitd-http with the real model, as lm-evaluation-harness uses it."""

import json
import unittest

import harness
import http_case
import openapi_file
import wire
from logitd.v1 import completion_pb2 as completion
from logitd.v1 import sampling_pb2 as sampling
from logitd.v1 import scoring_service_pb2 as scoring


def setUpModule():
    global server, front
    server = harness.Server(model=harness.model_path())
    front = http_case.HttpServer(server.address)


def tearDownModule():
    front.stop()
    server.stop()


class RealModelTest(unittest.TestCase):
    def post(self, path: str, body: object):
        reply = front.post(path, body)
        self.assertEqual(reply.status, 200, reply.body)
        return reply.json()

    def test_the_harness_learns_the_tokenizer(self):
        info = front.send("GET", "/tokenizer_info").json()
        # The file names <|im_end|>, of three tokens that end a text.
        self.assertEqual((info["eos_token"], info["eos_token_id"], info["end_token_ids"]), ("<|im_end|>", 2, [0, 2, 4]))
        self.assertEqual(info["bos_token"], "<|im_start|>")
        for name in ("eos_token", "bos_token"):
            tokens = self.post("/tokenize", {"prompt": info[name], "add_special_tokens": False})["tokens"]
            self.assertEqual(tokens, [info[f"{name}_id"]])
        self.assertIn("<|im_start|>", info["chat_template"])

    def test_a_loglikelihood_is_the_score(self):
        context = self.post("/tokenize", {"prompt": "The capital of France is", "add_special_tokens": False})["tokens"]
        for text in (" Paris", " Berlin", " a city in the north"):
            whole = self.post("/tokenize", {"prompt": "The capital of France is" + text, "add_special_tokens": False})["tokens"]
            self.assertEqual(whole[: len(context)], context)
            choice, = self.post("/v1/completions", {"model": "smollm2", "prompt": [whole], "temperature": 0, "max_tokens": 1,
                                                    "logprobs": 1, "seed": 1234, "echo": True})["choices"]
            lists = choice["logprobs"]
            log_probs = lists["token_logprobs"][len(context):-1]
            tops = lists["top_logprobs"][len(context):-1]
            item = scoring.ScoreItem(
                context=completion.Input(tokens=sampling.TokenIds(token_ids=context)),
                continuations=[scoring.Continuation(tokens=sampling.TokenIds(token_ids=whole[len(context):]))])
            with wire.connect(server.address) as client:
                response, = client.scoring.Score(scoring.ScoreRequest(items=[item]), timeout=wire.TIMEOUT_S)
            score = response.item.continuations[0].score
            # Another batch may move the last digits, by no more than the model's own tolerance.
            self.assertAlmostEqual(sum(log_probs), score.totals.cumulative_model_log_prob,
                                   delta=max(1e-4, response.provenance.batch_tolerance_nats * len(log_probs)))
            self.assertEqual(all(x == max(top.values()) for x, top in zip(log_probs, tops)), score.is_greedy)

    def test_a_text_and_its_ids_have_equal_numbers(self):
        text = "The cat sat on the mat. \u00dcber \u20ac \U0001F600"
        tokens = self.post("/tokenize", {"prompt": text, "add_special_tokens": False})["tokens"]
        by_text, by_ids = self.post("/v1/completions", {"prompt": [text, tokens], "echo": True, "logprobs": 2, "max_tokens": 0})[
            "choices"]
        self.assertEqual(by_text["logprobs"]["tokens"], by_ids["logprobs"]["tokens"])
        self.assertEqual(by_text["text"], text)
        for token, offset in zip(by_text["logprobs"]["tokens"], by_text["logprobs"]["text_offset"]):
            if not token.startswith("bytes:"):
                self.assertEqual(text[offset: offset + len(token)], token)

    def test_a_chat_in_the_models_own_words_ends_with_its_end_token(self):
        prompt = "<|im_start|>user\nSay yes.<|im_end|>\n<|im_start|>assistant\n"
        choice, = self.post("/v1/completions", {"prompt": prompt, "max_tokens": 64, "temperature": 0, "logprobs": 0})["choices"]
        self.assertEqual(choice["finish_reason"], "stop")
        self.assertEqual(choice["logprobs"]["tokens"][-1], "<|im_end|>")
        self.assertNotIn("<|im_end|>", choice["text"])

    def test_replies_of_chat_fit_the_openapi_file(self):
        """tests/e2e/openapi_test.py for this route: its model has no chat template."""
        document = openapi_file.load()
        path = "/v1/chat/completions"
        base = {"messages": [{"role": "system", "content": "Be short."}, {"role": "user", "content": [{"type": "text", "text": "Hello"}]}],
                "max_completion_tokens": 4, "seed": 1}
        for more in ({}, {"logprobs": True, "top_logprobs": 3, "n": 2, "return_token_ids": True, "prompt_logprobs": 1},
                     {"logprobs": True, "logitd": {"rank": True, "entropy": True, "sampling_log_prob": True}},
                     {"stream": True, "logprobs": True, "return_token_ids": True, "stream_options": {"include_usage": True}}):
            body = {**base, **more}
            with self.subTest(body=body):
                self.assertEqual(openapi_file.faults_of(document, "ChatRequest", body), [])
                reply = front.post(path, body)
                self.assertEqual(reply.status, 200, reply.body)
                if "stream" not in body:
                    self.assertEqual(openapi_file.faults_of(document, "ChatCompletion", reply.json()), [], reply.body)
                    continue
                *events, done = reply.events()
                self.assertEqual(done, "[DONE]")
                for event in events:
                    self.assertEqual(openapi_file.faults_of(document, "ChatEvent", json.loads(event)), [], event)
        tokens = front.post("/tokenize", {"messages": base["messages"], "return_token_strs": True})
        self.assertEqual(openapi_file.faults_of(document, "Tokens", tokens.json()), [], tokens.body)


if __name__ == "__main__":
    unittest.main()
