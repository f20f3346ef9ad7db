"""Prompts in segments: a template's marks are parsed; text of others is not, whatever it holds.

Right tokens come from llama_reference, which calls libllama alone, for each segment by itself. For a segment that follows
another one, the vocabulary has add_space_prefix switched off. Two families: SentencePiece (Llama 2) and BPE (Qwen 2).
"""

import json
import pathlib
import subprocess
import tempfile
import unittest

import boundary_pairs
import harness
import wire
from logitd.v1 import completion_pb2, generation_service_pb2, scoring_service_pb2

PAIR_COUNT = 40


def libllama(path: pathlib.Path, texts: list[tuple[str, bool]]) -> list[list[int]]:
    """The tokens of each text; with marks parsed, or not."""
    lines = "".join(f"{'marked' if marks else 'text'} {text.encode().hex()}\n" for text, marks in texts)
    done = subprocess.run([harness.BIN / "llama_reference", path, "--lines"], input=lines, stdout=subprocess.PIPE,
                          text=True, check=True, timeout=harness.CALL_TIMEOUT_S)
    return [json.loads(line)["tokens"] for line in done.stdout.splitlines()]


def segment(text: str, marks: bool) -> completion_pb2.InputSegment:
    return completion_pb2.InputSegment(text=text, parse_special_tokens=marks)


class Vocabulary:
    """Random weights with a real vocabulary; the subclass names it."""

    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory(prefix="logitd-segments-")
        folder = pathlib.Path(cls.folder.name)
        vocabulary = harness.vocabulary_path(cls.vocabulary)
        cls.path = harness.random_model(vocabulary, folder / "model.gguf", "--embedding", 32)
        cls.continuing = harness.random_model(vocabulary, folder / "continuing.gguf", "--embedding", 32, "--set-false",
                                              "tokenizer.ggml.add_space_prefix")
        cls.server = harness.Server(model=cls.path, flags=("--precision", "f32"))
        cls.client = wire.Client(cls.server.address)

    @classmethod
    def tearDownClass(cls):
        cls.client.channel.close()
        cls.server.stop()
        cls.folder.cleanup()

    def tokens(self, prompt: completion_pb2.Input, **tokenization) -> list[int]:
        """The tokens that the server makes of a prompt, from its records; nothing is generated."""
        request = generation_service_pb2.GenerateRequest(
            prompt=prompt, stop={"max_tokens": 0}, prompt_record={"model_log_prob": False}, stream=False,
            tokenization=completion_pb2.TokenizationOptions(**tokenization))
        *_, last = self.client.generation.Generate(request, timeout=wire.TIMEOUT_S)
        ids = [token.token_id for token in last.final.prompt.tokens]
        self.assertEqual(last.final.usage.prompt_token_count, len(ids))
        return ids

    def segments(self, *pieces: tuple[str, bool], **tokenization) -> list[int]:
        return self.tokens(completion_pb2.Input(segments=[segment(*piece) for piece in pieces]), **tokenization)

    def test_tokens_are_those_of_each_segment(self):
        users = [text for pair in boundary_pairs.random_pairs(PAIR_COUNT, seed=23) for text in pair if text]
        # Text that a user may write to imitate the template.
        users += [self.close, "a" + self.close + self.open + "b", " " + self.open, self.close[:3], "\n"]
        answers = users[::-1]
        begins = libllama(self.path, [(self.open, True)])[0]
        self.assertEqual(len(begins), 1)
        close = libllama(self.continuing, [(self.close, True)])[0]
        self.assertEqual(close, [self.close_id])
        plain = libllama(self.continuing, [(user, False) for user in users])
        for user, tokens, answer, other in zip(users, plain, answers, plain[::-1]):
            with self.subTest(user=user):
                ids = self.segments((self.open, True), (user, False), (self.close, True), (answer, False))
                self.assertEqual(ids, self.bos + begins + tokens + close + other)
                # Whatever was written: one mark of the template, and no other.
                self.assertEqual(ids.count(self.close_id), 1)
        # As one text, marks are parsed everywhere, and segments prevent that.
        injected = self.open + self.close + self.close
        self.assertEqual(self.tokens(completion_pb2.Input(text=injected), parse_special_tokens=True).count(self.close_id), 2)
        self.assertEqual(self.segments((self.open, True), (self.close, False), (self.close, True)).count(self.close_id), 1)

    def test_one_segment_is_the_text(self):
        for text in ("Hello world", " Hello", "a\n b", "\u00e9\u4f60\U0001f600"):
            for options in ({}, {"add_special_tokens": False}, {"parse_special_tokens": True}):
                with self.subTest(text=text, options=options):
                    whole = self.tokens(completion_pb2.Input(text=text), **options)
                    self.assertEqual(self.tokens(completion_pb2.Input(
                        segments=[completion_pb2.InputSegment(text=text)]), **options), whole)

    def test_ids_stand_between_texts_as_they_are(self):
        prompt = completion_pb2.Input(segments=[segment("Hello", False), completion_pb2.InputSegment(
            tokens={"token_ids": [7, self.close_id]}), segment("world", False)])
        (first,) = libllama(self.path, [("Hello", False)])
        (second,) = libllama(self.continuing, [("world", False)])
        self.assertEqual(self.tokens(prompt), self.bos + first + [7, self.close_id] + second)

    def test_scores_after_a_context_in_segments(self):
        pieces = [segment(self.open, True), segment(self.close, False)]
        begins = libllama(self.path, [(self.open, True)])[0]
        (user,), (after,) = (libllama(self.continuing, [(text, False)]) for text in (self.close, "Paris"))
        items = [{"context": {"segments": pieces}, "continuations": [{"text": "Paris"}]},
                 {"context": {"tokens": {"token_ids": self.bos + begins + user}},
                  "continuations": [{"tokens": {"token_ids": after}}]}]
        replies = list(self.client.scoring.Score(scoring_service_pb2.ScoreRequest(items=items), timeout=wire.TIMEOUT_S))
        scores = [reply.item.continuations[0].score for reply in sorted(replies, key=lambda reply: reply.item_index)]
        self.assertEqual([t.token_id for t in scores[0].tokens], after)
        for mine, wanted in zip(scores[0].tokens, scores[1].tokens):
            self.assertAlmostEqual(mine.model_log_prob, wanted.model_log_prob, delta=1e-4)


class SentencePieceTest(Vocabulary, unittest.TestCase):
    vocabulary = "llama-spm"
    open, close, close_id = "<s>", "</s>", 2
    bos = [1]


class BytePairTest(Vocabulary, unittest.TestCase):
    vocabulary = "qwen2"
    open, close, close_id = "<|im_start|>", "<|im_end|>", 151645
    bos = []


if __name__ == "__main__":
    unittest.main()
