"""Texts that crash, stop or slow llama.cpp's tokenizer: the runner lives, other clients go on, each text gets its answer.

The vocabularies are llama.cpp's, the weights random. What the tokens should be says tests/testing/large_stack_tokenizer,
which is llama.cpp alone on a stack of 8 GiB. LOGITD_LONG=1: 100 texts of one class of characters, up to 4,000,000 bytes,
against six vocabularies, and how long other clients' short texts wait meanwhile.
"""

import contextlib
import os
import pathlib
import random
import statistics
import subprocess
import tempfile
import threading
import time
import unittest

import grpc
import harness
import process
import wire
from logitd.v1 import completion_pb2, error_pb2, generation_service_pb2, model_service_pb2, sampling_pb2

IS_LONG = os.environ.get("LOGITD_LONG") == "1"
CONTEXT = 8192
PROSE = "The cat sat on the mat, and 12 dogs looked at it. "
# Issues of llama.cpp (21113, 14655, 26965, 27783, 15594, 21420) and vLLM, and each class that a pre-tokenizer knows.
CLASSES = {
    "letters": "a", "capitals": "A", "both cases": "aA", "digits": "1", "spaces": " ", "newlines": "\n", "crlf": "\r\n",
    "blank lines": " \n", "tabs": "\t", "marks": "!", "equals": "=", "dots": ".", "apostrophes": "'", "brackets": "[[]]",
    "cjk": "中", "kana": "か", "hangul": "가", "emoji": "😀", "joined emoji": "👩\u200d", "combining": "\u0301",
    "accented": "e\u0301", "cyrillic": "ж", "greek": "λ", "thai": "ก", "devanagari": "क्", "arabic": "م", "hebrew": "א",
    "no-break": "\u00a0", "ideographic space": "\u3000", "arabic digits": "٣", "control": "\x01", "symbols": "∑",
    "private": "\ue000", "words": "a ", "mixed": "1a", "contractions": "'s", "control names": "<|im_end|>",
    "underlines": "_", "slashes": "/", "byte names": "<0x0A>", "prose": PROSE,
}
VOCABULARIES = ("deepseek-llm", "deepseek-coder", "llama-spm", "llama-bpe", "falcon", "gpt-2")


def make_text(unit: str, size: int) -> str:
    """At most `size` bytes of it."""
    return unit * (size // len(unit.encode()))


def reason(failure: grpc.RpcError) -> str:
    return error_pb2.ErrorReason.Name(wire.error_of(failure).reason).removeprefix("ERROR_REASON_")


def nice_of(pid: int) -> int:
    return int(pathlib.Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rsplit(")", 1)[1].split()[16])


class ServedVocabulary:
    """A server whose one runner has one thread, and a model with random weights."""

    def __init__(self, name: str, context: int = CONTEXT):
        self.folder = tempfile.TemporaryDirectory(prefix="logitd-tokenizer-")
        self.vocabulary = harness.vocabulary_path(name)
        model = harness.random_model(self.vocabulary, pathlib.Path(self.folder.name) / "model.gguf", "--context", context)
        self.server = harness.Server(model=model, flags=("--threads", "1"))
        # Millions of tokens are more than gRPC's 4 MiB.
        self.client = wire.Client.on(grpc.insecure_channel(self.server.address,
                                                           options=[("grpc.max_receive_message_length", -1)]))
        (self.runner,) = process.children(self.server.pid)

    def stop(self) -> None:
        self.client.channel.close()
        self.server.stop()
        self.folder.cleanup()

    def tokenize(self, *texts: str, timeout_s: float = wire.TIMEOUT_S) -> model_service_pb2.TokenizeResponse:
        return self.client.models.Tokenize(
            model_service_pb2.TokenizeRequest(texts=texts, token_bytes=True,
                                              tokenization=completion_pb2.TokenizationOptions(add_special_tokens=False)),
            timeout=timeout_s)

    def generate(self, text: str, max_tokens: int = 1):
        return self.client.generation.Generate(generation_service_pb2.GenerateRequest(
            prompt=completion_pb2.Input(text=text), sampling=sampling_pb2.SamplingParams(temperature=0),
            stop=sampling_pb2.StopCriteria(max_tokens=max_tokens, ignore_eos=True)), timeout=wire.TIMEOUT_S)

    def right_tokens(self, text: str) -> list[int]:
        file = pathlib.Path(self.folder.name) / "text"
        file.write_bytes(text.encode())
        done = subprocess.run([harness.BIN / "large_stack_tokenizer", "--vocab", self.vocabulary, file], check=True,
                              stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        return [int(line) for line in done.stdout.split()]

    def vocabulary_process(self) -> int:
        (child,) = process.children(self.runner)
        return child

    def workers(self) -> list[int]:
        return process.children(self.vocabulary_process())

    def busy_worker(self, but: int = 0) -> int:
        """The worker of the longest texts, once it has one. Another than `but`."""
        deadline = time.monotonic() + wire.TIMEOUT_S
        while time.monotonic() < deadline:
            for pid in self.workers():
                with contextlib.suppress(OSError):
                    if pid != but and nice_of(pid) >= min(19, nice_of(self.runner) + 10):
                        return pid
        raise AssertionError("no worker has begun")


def in_background(call) -> tuple[threading.Thread, list]:
    outcome = []

    def run() -> None:
        try:
            outcome.append(call())
        except grpc.RpcError as failure:
            outcome.append(failure)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    return thread, outcome


def setUpModule():
    global served
    served = ServedVocabulary("deepseek-llm")


def tearDownModule():
    served.stop()


class TokenizerTest(unittest.TestCase):
    def setUp(self):
        self.pid = served.runner

    def tearDown(self):
        self.assertEqual(process.children(served.server.pid), [self.pid], "the runner has lived")

    def test_letters_that_overflow_a_stack(self):
        completion = served.generate("Once", max_tokens=512)
        next(completion)
        text = "a" * 60_000
        ids = list(served.tokenize(text).texts[0].token_ids)
        self.assertEqual(ids, served.right_tokens(text))
        final = list(completion)[-1].final
        self.assertEqual(len(final.completions[0].tokens), 512, "the other client's completion has gone on")

    def test_the_classes_that_pre_tokenizers_know(self):
        for name, unit in CLASSES.items():
            with self.subTest(name):
                text = make_text(unit, 60_000)
                reply = served.tokenize(text).texts[0]
                self.assertEqual(b"".join(reply.token_bytes), text.encode())
                self.assertEqual(list(reply.token_ids), served.right_tokens(text))

    def test_the_longest_text_is_let_in(self):
        text = "a" * (4 << 20)
        reply = served.tokenize(text).texts[0]
        self.assertEqual(b"".join(reply.token_bytes), text.encode())

    def test_a_worker_that_is_killed_is_replaced_and_the_text_tried_again(self):
        text = make_text(PROSE, 4_000_000)
        thread, outcome = in_background(lambda: served.tokenize(text))
        process.kill(served.busy_worker())
        thread.join()
        self.assertIsInstance(outcome[0], model_service_pb2.TokenizeResponse, outcome[0])
        self.assertEqual(b"".join(outcome[0].texts[0].token_bytes), text.encode())

    def test_a_text_whose_worker_ends_twice_is_refused(self):
        text = make_text(PROSE, 4_000_000)
        thread, outcome = in_background(lambda: served.tokenize(text, "short"))
        first = served.busy_worker()
        process.kill(first)
        process.kill(served.busy_worker(but=first))
        thread.join()
        self.assertIsInstance(outcome[0], grpc.RpcError)
        self.assertEqual(outcome[0].code(), grpc.StatusCode.INVALID_ARGUMENT)
        self.assertEqual(reason(outcome[0]), "TOKENIZER_FAILED")
        error = wire.error_of(outcome[0])
        self.assertEqual(error.field, "texts[0]")
        self.assertIn(f"{len(text)} bytes", error.message)
        self.assertEqual(served.client.tokenize("short"), served.client.tokenize("short"), "the next text is answered")

    def test_the_vocabulary_process_is_replaced(self):
        before = served.client.tokenize(PROSE)
        process.kill(served.vocabulary_process())
        self.assertEqual(served.client.tokenize(PROSE), before)

    def test_a_text_of_quadratic_time_is_refused_while_others_pass(self):
        # `\s+$` looks from each space to the end: 49 s. It leaves its lane after a second.
        thread, outcome = in_background(lambda: served.tokenize(" " * 60_000 + "1"))
        waits = []
        while thread.is_alive():
            begin = time.monotonic()
            served.client.tokenize("short")
            waits.append(time.monotonic() - begin)
        self.assertEqual(reason(outcome[0]), "TOKENIZER_FAILED")
        self.assertLess(statistics.median(waits), 0.1)

    def test_a_call_that_is_given_up_leaves_its_lane(self):
        thread, outcome = in_background(lambda: served.tokenize("a" * (4 << 20), timeout_s=1))
        worker = served.busy_worker()
        thread.join()
        self.assertEqual(outcome[0].code(), grpc.StatusCode.DEADLINE_EXCEEDED)
        deadline = time.monotonic() + 10
        while worker in served.workers():
            self.assertLess(time.monotonic(), deadline, "the worker goes on for nobody")

    def test_a_text_that_cannot_fit_is_refused_before_it_is_tokenised(self):
        longest = max(len(piece) for piece in served.tokenize(" " * 60_000).texts[0].token_bytes)
        self.assertEqual(longest, 128, "the vocabulary's longest token: 128 spaces")
        before = set(served.workers())
        text = "a" * (4 << 20)
        with self.assertRaises(grpc.RpcError) as failure:
            list(served.generate(text))
        self.assertEqual(reason(failure.exception), "CONTEXT_LENGTH_EXCEEDED")
        error = wire.error_of(failure.exception)
        self.assertEqual(error.field, "prompt.text")
        self.assertIn("at least 32768 tokens", error.message)  # 4 MiB / 128
        self.assertIn(f"at most {CONTEXT} tokens", error.message)
        self.assertEqual(set(served.workers()), before, "no worker has begun")

    def test_the_processes_hold_nothing_of_the_runner(self):
        served.client.tokenize("short")
        for pid in [served.vocabulary_process(), *served.workers()]:
            links = [os.readlink(entry) for entry in pathlib.Path(f"/proc/{pid}/fd").iterdir()]
            self.assertLessEqual(sum(link.startswith("socket:") for link in links), 2, links)
            self.assertFalse([link for link in links if "model.gguf" in link], links)


class SentencePieceTest(unittest.TestCase):
    """It takes U+2581, three bytes, for a space, one: what a text spells is shorter than the text."""

    CONTEXT = 64

    def setUp(self):
        self.other = ServedVocabulary("llama-spm", self.CONTEXT)
        self.addCleanup(self.other.stop)

    def refusal(self, text: str) -> error_pb2.Error:
        with self.assertRaises(grpc.RpcError) as failure:
            list(self.other.generate(text))
        self.assertEqual(reason(failure.exception), "CONTEXT_LENGTH_EXCEEDED")
        return wire.error_of(failure.exception)

    def test_a_text_that_cannot_fit_is_refused_before_it_is_tokenised(self):
        longest = max(len(piece) for piece in self.other.tokenize(" " * 1000).texts[0].token_bytes)
        self.assertEqual(longest, 16, "the vocabulary has longer ones than this, of letters or spaces")
        before = set(self.other.workers())
        message = self.refusal("a" * (4 << 20)).message
        self.assertRegex(message, r"got 4194304 bytes, at least \d+ tokens")
        # Each counts as a byte: 3 x 400,000 bytes that spell 400,000.
        self.assertRegex(self.refusal("▁" * 400_000).message, r"got 1200000 bytes, at least \d+ tokens")
        self.assertEqual(set(self.other.workers()), before, "no worker has begun")

    def test_no_text_that_fits_is_refused(self):
        draw = random.Random(11)
        units = ["▁", " ", "  ", "▁" * 16, " " * 16, "▁ ", "a", "the", " the", "中", "\n", "▂", "é"]
        texts = ["▁" * size for size in range(1, 16 * self.CONTEXT, 13)]
        texts += ["".join(draw.choices(draw.sample(units, 3), k=draw.randint(1, 100))) for _ in range(200)]
        reply = self.other.client.models.Tokenize(model_service_pb2.TokenizeRequest(texts=texts),
                                                  timeout=wire.TIMEOUT_S)
        outcomes = {True: 0, False: 0}
        for text, tokens in zip(texts, reply.texts, strict=True):
            fits = len(tokens.token_ids) <= self.CONTEXT
            outcomes[fits] += 1
            if fits:
                self.assertTrue(list(self.other.generate(text)), text)
            else:
                self.refusal(text)
        self.assertGreater(min(outcomes.values()), 20, outcomes)
        # As dense as can be: the longest tokens alone, spelled with three bytes for each of theirs.
        dense = max((text for text, tokens in zip(texts, reply.texts, strict=True)
                     if len(tokens.token_ids) <= self.CONTEXT), key=lambda text: len(text.encode()))
        self.assertGreater(len(dense.encode()), 2 * 16 * self.CONTEXT, "the bytes alone would have refused it")


class EndTest(unittest.TestCase):
    def test_the_processes_end_with_a_runner_that_is_killed(self):
        other = ServedVocabulary("gpt-2")
        try:
            in_background(lambda: other.tokenize("a" * (4 << 20)))
            family = [other.vocabulary_process(), other.busy_worker()]
            process.kill(other.runner)
            deadline = time.monotonic() + 10
            while any(pathlib.Path(f"/proc/{pid}/cmdline").exists() and
                      pathlib.Path(f"/proc/{pid}/cmdline").read_bytes() for pid in family):
                self.assertLess(time.monotonic(), deadline, "a process of the tokenizer outlives its runner")
        finally:
            other.stop()


@unittest.skipUnless(IS_LONG, "LOGITD_LONG=1")
class LongTest(unittest.TestCase):
    def test_a_hundred_texts_against_six_vocabularies(self):
        sizes = (60_000, 250_000, 1_000_000, 4_000_000)
        texts = [(name, make_text(unit, size)) for size in sizes for name, unit in CLASSES.items()][:100]
        texts += [(name, make_text(unit, 4_000_000)) for name, unit in list(CLASSES.items())[:19]]
        for vocabulary in VOCABULARIES:
            other = ServedVocabulary(vocabulary)
            try:
                refused, slowest = [], 0.0
                for name, text in texts:
                    begin = time.monotonic()
                    try:
                        other.tokenize(text)
                    except grpc.RpcError as failure:
                        refused.append((name, len(text), reason(failure)))
                    slowest = max(slowest, time.monotonic() - begin)
                self.assertEqual(process.children(other.server.pid), [other.runner], vocabulary)
                self.assertFalse([one for one in refused if one[2] != "TOKENIZER_FAILED"], refused)
                print(f"{vocabulary}: {len(texts)} texts, slowest {slowest:.1f} s, refused: {refused}", flush=True)
            finally:
                other.stop()

    def probe(self, count: int) -> list[float]:
        waits = []
        for number in range(count):
            begin = time.monotonic()
            list(served.generate(f"Report number {number}: the river was"))
            waits.append(time.monotonic() - begin)
        return waits

    def test_probes_beside_long_texts(self):
        p95 = lambda waits: statistics.quantiles(waits, n=20)[-1]
        alone = p95(self.probe(200))
        for at_once in (1, 4):
            stop = threading.Event()

            def send() -> None:
                units = list(CLASSES.values())
                while not stop.is_set():
                    unit = units.pop(0)
                    units.append(unit)
                    with contextlib.suppress(grpc.RpcError):
                        served.tokenize(make_text(unit, 4_000_000))

            threads = [threading.Thread(target=send, daemon=True) for _ in range(at_once)]
            for thread in threads:
                thread.start()
            served.busy_worker()
            waits = self.probe(200)
            stop.set()
            for thread in threads:
                thread.join()
            print(f"{at_once} texts at once: p95 {p95(waits) * 1e3:.1f} ms (alone {alone * 1e3:.1f}), "
                  f"longest {max(waits) * 1e3:.1f} ms", flush=True)
            if at_once == 1:
                self.assertLessEqual(p95(waits), 3 * alone)
            self.assertLess(max(waits), 1.0)


if __name__ == "__main__":
    unittest.main()
