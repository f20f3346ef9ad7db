"""logitd-http with other families than the default model's: their texts, their places and the numbers of gRPC.

Families: Llama 2 (SentencePiece, a BOS and a space before a text), Phi 3 (its marks strip the space behind them), GPT-2 and
Qwen 2 (BPE without a BOS), Llama 3 (BPE with a BOS), Gemma 4. Weights are random.
"""

import json
import pathlib
import tempfile
import unittest

import harness
import http_case
import wire
from logitd.v1 import completion_pb2 as completion
from logitd.v1 import sampling_pb2 as sampling
from logitd.v1 import scoring_service_pb2 as scoring

TEXTS = ["The cat sat on the mat.", " leading", "two\n\n\tlines ", "Caf\u00e9 \u4e16\u754c \U0001f600\u200d \u00dc", "a  b   c", "x"]


class Family:
    """The subclass sets name."""

    name: str

    @classmethod
    def setUpClass(cls):
        folder = tempfile.TemporaryDirectory(prefix="logitd-http-families-")
        cls.addClassCleanup(folder.cleanup)
        path = harness.random_model(harness.vocabulary_path(cls.name), pathlib.Path(folder.name) / "model.gguf",
                                    "--embedding", 32)
        cls.server = harness.Server(model=path, flags=("--precision", "f32"))
        cls.addClassCleanup(cls.server.stop)
        cls.front = http_case.HttpServer(cls.server.address)
        cls.addClassCleanup(cls.front.stop)

    def post(self, path: str, body: object):
        reply = self.front.post(path, body)
        self.assertEqual(reply.status, 200, reply.body)
        return reply.json()

    def tokens(self, text: str, **fields) -> list[int]:
        return self.post("/tokenize", {"prompt": text, **fields})["tokens"]

    def bos(self) -> list[int]:
        info = self.front.send("GET", "/tokenizer_info").json()
        return [info["bos_token_id"]] if info["add_bos_token"] else []

    def check_places(self, text: str, lists: dict) -> None:
        """Each token stands in the text where its offset says, and the tokens follow each other."""
        offsets = lists["text_offset"]
        self.assertEqual(offsets, sorted(offsets), text)
        for token, offset in zip(lists["tokens"], offsets, strict=True):
            # Incomplete characters, control tokens, and the space that SentencePiece puts before a text.
            if not token.startswith("bytes:") and offset + len(token) <= len(text) and "<" not in token:
                self.assertIn(text[offset: offset + len(token)], (token, token[1:] + text[offset + len(token) - 1: offset + len(token)]))

    def test_echo_is_the_prompt_with_the_numbers_of_the_score(self):
        bos = self.bos()
        for text in TEXTS:
            with self.subTest(text):
                choice, = self.post("/v1/completions", {
                    "prompt": text, "echo": True, "logprobs": 2, "max_tokens": 0, "return_token_ids": True})["choices"]
                self.assertEqual(choice["text"], text)
                self.assertEqual(choice["prompt_token_ids"], self.tokens(text))
                lists = choice["logprobs"]
                ids = choice["prompt_token_ids"][len(bos):]
                self.assertEqual(choice["prompt_token_ids"][:len(bos)], bos)
                self.assertEqual(len(lists["tokens"]), len(ids))
                self.check_places(text, lists)
                # With a BOS the first token has a number too.
                self.assertEqual(lists["token_logprobs"][0] is None, not bos)
                given = lists["token_logprobs"][0 if bos else 1:]
                context = bos or ids[:1]
                continuation = ids if bos else ids[1:]
                records = self.score(context, continuation).tokens if continuation else []
                for number, record in zip(given, records, strict=True):
                    self.assertAlmostEqual(number, record.model_log_prob, delta=1e-4)

    def score(self, context: list[int], continuation: list[int]):
        item = scoring.ScoreItem(
            context=completion.Input(tokens=sampling.TokenIds(token_ids=context)),
            continuations=[scoring.Continuation(tokens=sampling.TokenIds(token_ids=continuation))])
        request = scoring.ScoreRequest(items=[item], record=completion.RecordOptions(model_log_prob=True))
        with wire.connect(self.server.address) as client:
            response, = client.scoring.Score(request, timeout=wire.TIMEOUT_S)
        return response.item.continuations[0].score

    def test_texts_come_back(self):
        for text in TEXTS:
            with self.subTest(text):
                self.assertEqual(self.post("/detokenize", {"tokens": self.tokens(text, add_special_tokens=False)})["prompt"], text)

    def test_a_stream_and_a_reply_have_one_text(self):
        for text in TEXTS:
            body = {"prompt": text, "max_tokens": 24, "seed": 7, "temperature": 1.3, "logprobs": 1, "echo": True, "ignore_eos": True}
            whole, = self.post("/v1/completions", body)["choices"]
            reply = self.front.post("/v1/completions", {**body, "stream": True})
            *events, done = reply.events()
            self.assertEqual(done, "[DONE]")
            parts = [json.loads(event)["choices"][0] for event in events]
            self.assertEqual("".join(part["text"] for part in parts), whole["text"])
            lists = {name: sum((part["logprobs"][name] for part in parts if part["logprobs"]), [])
                     for name in ("tokens", "token_logprobs", "text_offset")}
            self.assertEqual((lists["tokens"], lists["text_offset"]), (whole["logprobs"]["tokens"], whole["logprobs"]["text_offset"]))
            # The prompt was evaluated for one of them, and its beginning was there for the other.
            for a, b in zip(lists["token_logprobs"], whole["logprobs"]["token_logprobs"], strict=True):
                self.assertTrue(a is b is None or abs(a - b) <= 1e-4, (a, b))
            self.assertTrue(whole["text"].startswith(text))
            self.check_places(whole["text"], whole["logprobs"])

    def test_a_continuation_as_the_harness_asks_for_it(self):
        """Ids of context and continuation as one prompt, and one token more, which is not looked at."""
        context, continuation = self.tokens("The cat sat on", add_special_tokens=True), self.tokens(" the mat", add_special_tokens=False)
        choice, = self.post("/v1/completions", {"prompt": [context + continuation], "temperature": 0, "max_tokens": 1, "logprobs": 1,
                                                "seed": 1234, "echo": True})["choices"]
        log_probs = choice["logprobs"]["token_logprobs"]
        # Ids get no BOS.
        self.assertEqual(len(log_probs), len(context) + len(continuation) + 1)
        right = self.score(context, continuation)
        self.assertAlmostEqual(sum(log_probs[len(context):-1]), right.totals.cumulative_model_log_prob, delta=1e-4)
        tops = choice["logprobs"]["top_logprobs"][len(context):-1]
        self.assertEqual(all(x == max(top.values()) for x, top in zip(log_probs[len(context):-1], tops, strict=True)), right.is_greedy)


for name in ("llama-spm", "phi-3", "gpt-2", "qwen2", "llama-bpe", "gemma-4"):
    title = name.title().replace("-", "") + "Test"
    globals()[title] = type(title, (Family, unittest.TestCase), {"name": name})
del title


if __name__ == "__main__":
    unittest.main()
