"""A runner states how far a token's log-prob moves with its batch. The bound holds over shapes that the runner did not
try and against libllama alone; it is measured once; and it is in every reply.

LOGITD_LONG=1 adds the default model, as its file is and in f32, and, where LOGITD_GEMMA names a gemma file, that one.
"""

import os
import pathlib
import random
import shutil
import tempfile
import unittest
from concurrent import futures

import harness
import wire
from logitd.v1 import completion_pb2, generation_service_pb2, scoring_service_pb2

# GELU: gemma, gemma3, gpt2, gptneox, phi2, falcon, starcoder2. With ggml's f16 table of it starcoder2 moves by 7e-4 here,
# gpt2 by 2e-4, gemma3 by 8e-5; without it none by more than 4e-6.
ARCHITECTURES = ["llama", "gemma", "gemma3", "qwen2", "gpt2", "gptneox", "phi2", "falcon", "starcoder2",
                 # Without rotations, and with the distances of ALiBi.
                 "mpt"]
# The most that f32 may move by.
F32_TOLERANCE = 1e-4
# Of models of two layers.
SMALL_TOLERANCE = 2e-5
SHAPES = 50
LONG = bool(os.environ.get("LOGITD_LONG"))


def random_model(folder: pathlib.Path, architecture: str, *flags: object) -> pathlib.Path:
    return harness.random_model(harness.vocabulary_path("gpt-2"), folder / f"{architecture}.gguf", "--arch", architecture,
                                "--context", 256, *flags)


def probe(model: pathlib.Path, *flags: object) -> dict:
    return harness.run("batch_tolerance_probe", model, *flags, timeout_s=3600).json()


class Stated(unittest.TestCase):
    """The runner's measurement against fifty other shapes, in libllama alone."""

    def setUp(self):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="logitd-e2e-"))
        self.addCleanup(shutil.rmtree, self.folder)

    def test_every_architecture_in_f32(self):
        for architecture in ARCHITECTURES:
            with self.subTest(architecture):
                result = probe(random_model(self.folder, architecture), "--f32-cache", "--seconds", 5, "--tokens", 64, "--others", 6)
                self.assertEqual(result["shapes"], SHAPES)
                self.assertLessEqual(result["observed"], result["stated"])
                self.assertLessEqual(result["observed"], SMALL_TOLERANCE)
                self.assertEqual(result["left_sequences"], 0)

    def test_one_that_is_given_up_leaves_nothing_behind(self):
        """A slow machine, a large model: the first batch of the server finds an empty context all the same."""
        result = probe(random_model(self.folder, "llama"), "--f32-cache", "--seconds", 0)
        self.assertEqual(result, {"stated": None, "left_sequences": 0})

    def test_f16_weights_and_cache(self):
        for architecture in ["llama", "gpt2"]:
            with self.subTest(architecture):
                model = random_model(self.folder, architecture, "--type", "f16")
                result = probe(model, "--seconds", 5, "--others", 6)
                self.assertLessEqual(result["observed"], result["stated"])
                self.assertGreaterEqual(result["observed"], result["stated"] / 8)

    @unittest.skipUnless(LONG, "LOGITD_LONG=1")
    def test_the_default_model_as_it_is(self):
        result = probe(harness.model_path(), "--others", 4)
        self.assertLessEqual(result["observed"], result["stated"])
        # A bound many times as large as the real differences tells nothing.
        self.assertGreaterEqual(result["observed"], result["stated"] / 4)


class Served(unittest.TestCase):
    """The same through logitd: Score in fifty shapes, beside libllama evaluated alone."""

    def setUp(self):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="logitd-e2e-"))
        self.addCleanup(shutil.rmtree, self.folder)

    def serve(self, model: pathlib.Path, *flags: str, cache_dir: pathlib.Path | None = None) -> harness.Server:
        server = harness.Server(model=model, flags=flags, cache=cache_dir or self.folder)
        self.addCleanup(lambda: server.is_alive() and server.stop())
        return server

    def compare(self, server: harness.Server, weights: pathlib.Path, token_count: int) -> tuple[float, float | None]:
        """Scores one text in fifty shapes; returns (largest difference from libllama, bound that the replies state or None)."""
        dice = random.Random(5)
        tokens = [dice.randrange(1000, 30000) for _ in range(token_count)]
        outcome = harness.run("llama_reference", weights, "--tokens", ",".join(map(str, tokens)))
        expected = [None, *outcome.json()["log_probs"]]
        stated = set()

        def score(client: wire.Client, rng: random.Random) -> float:
            # The text's end after a beginning of any length, among other items.
            begin = rng.randrange(1, token_count)
            items = [scoring_service_pb2.ScoreItem(
                context=prompt(tokens[:begin]), continuations=[continuation(tokens[begin:])])]
            for _ in range(rng.randrange(5)):
                other = [rng.randrange(1000, 30000) for _ in range(rng.randrange(2, 60))]
                items.append(scoring_service_pb2.ScoreItem(
                    context=prompt(other[:1]), continuations=[continuation(other[1:])]))
            place = rng.randrange(len(items))
            items[0], items[place] = items[place], items[0]
            largest = 0.0
            for reply in client.scoring.Score(scoring_service_pb2.ScoreRequest(items=items), timeout=wire.TIMEOUT_S):
                stated.add(reply.provenance.batch_tolerance_nats if reply.provenance.HasField("batch_tolerance_nats") else None)
                if reply.item_index != place:
                    continue
                self.assertFalse(reply.item.HasField("error"), reply.item.error)
                (scored_continuation,) = reply.item.continuations
                self.assertFalse(scored_continuation.HasField("error"), scored_continuation.error)
                scored = scored_continuation.score.tokens
                self.assertEqual(len(scored), token_count - begin)
                for i, token in enumerate(scored):
                    largest = max(largest, abs(token.model_log_prob - expected[begin + i]))
            return largest

        with wire.connect(server.address) as client, futures.ThreadPoolExecutor(4) as pool:
            largest = max(pool.map(lambda seed: score(client, random.Random(seed)), range(SHAPES)))
        self.assertEqual(len(stated), 1)
        return largest, stated.pop()

    def test_score_is_within_what_replies_state(self):
        for architecture in ["gemma3", "starcoder2"]:
            with self.subTest(architecture):
                model = random_model(self.folder, architecture)
                server = self.serve(model)
                largest, stated = self.compare(server, model, 60)
                self.assertLessEqual(largest, stated)
                self.assertLessEqual(largest, SMALL_TOLERANCE)
                server.stop()

    def test_every_reply_info_and_the_log_say_it(self):
        model = random_model(self.folder, "gpt2", "--type", "f16")
        server = self.serve(model)
        info = harness.logit("info", server=server).json()["models"][0]["model"]
        stated = info["batch_tolerance_nats"]
        self.assertGreater(stated, 0)
        shown = f"{stated:.2g} nats"
        self.assertIn(shown, harness.run("logit", "info", "--server", server.address).stdout)
        with wire.connect(server.address) as client:
            text = prompt([5, 6])
            item = {"context": text, "continuations": [continuation([7])]}
            (reply,) = client.scoring.Score(scoring_service_pb2.ScoreRequest(items=[item]), timeout=wire.TIMEOUT_S)
            self.assertEqual(reply.provenance.batch_tolerance_nats, stated)
            (ranked,) = client.scoring.Rank(scoring_service_pb2.RankRequest(
                items=[{"context": text, "candidates": [{"tokens": {"token_ids": [7]}}]}]), timeout=wire.TIMEOUT_S)
            self.assertEqual(ranked.provenance.batch_tolerance_nats, stated)
            started = next(iter(client.generation.Generate(generation_service_pb2.GenerateRequest(
                prompt=text, stop={"max_tokens": 1}), timeout=wire.TIMEOUT_S))).started
            self.assertEqual(started.provenance.batch_tolerance_nats, stated)
        # The runner writes it before it attaches. The server holds a line for up to 250 ms, so "ready" may come first.
        log = server.log()
        notice = (f"serving {model} as it is (f16): a token's log-prob moves by up to {shown} with its batch; "
                  "--precision f32 narrows that")
        self.assertIn(notice, log)

    def test_is_measured_once(self):
        model = random_model(self.folder, "llama")
        stated = []
        stamps = []
        for _ in range(2):
            server = self.serve(model)
            stated.append(harness.logit("info", server=server).json()["models"][0]["model"]["batch_tolerance_nats"])
            stamps.append([path.stat().st_mtime_ns for path in self.folder.glob("*.tolerance")])
            server.stop()
        self.assertEqual(stated[0], stated[1])
        self.assertEqual(len(stamps[0]), 1)
        self.assertEqual(stamps[0], stamps[1])
        # The kept number is stated, and nothing that is no number.
        (path,) = self.folder.glob("*.tolerance")
        for text, expected in [("0.125\n", 0.125), ("nonsense", None), ("-1\n", None), ("inf\n", None)]:
            with self.subTest(text):
                path.write_text(text, encoding="utf-8")
                server = self.serve(model)
                value = harness.logit("info", server=server).json()["models"][0]["model"]["batch_tolerance_nats"]
                if expected is None:
                    self.assertLess(value, F32_TOLERANCE)
                else:
                    self.assertEqual(value, expected)
                server.stop()
        # Another precision, another measurement.
        server = self.serve(model, "--precision", "f16")
        self.assertEqual(len(list(self.folder.glob("*.tolerance"))), 2)
        server.stop()

    def test_an_unwritable_cache_folder_is_no_error(self):
        model = random_model(self.folder, "llama")
        server = self.serve(model, cache_dir=pathlib.Path("/proc/nowhere"))
        self.assertIn("batch_tolerance_nats", harness.logit("info", server=server).json()["models"][0]["model"])
        server.stop()

    @unittest.skipUnless(LONG and os.environ.get("LOGITD_GEMMA"), "LOGITD_LONG=1 and LOGITD_GEMMA=FILE")
    def test_gemma_in_f32(self):
        server = self.serve(pathlib.Path(os.environ["LOGITD_GEMMA"]), "--precision", "f32", "--cache-tokens", "4096")
        (weights,) = self.folder.glob("*-f32.gguf")
        largest, stated = self.compare(server, weights, 40)
        print(f"gemma in f32: the largest difference of {SHAPES} shapes is {largest:.2g} nats, stated are {stated}")
        self.assertLessEqual(largest, F32_TOLERANCE)
        # A machine that is busy, with a vocabulary of 262,144, has no time to measure: nothing is stated then.
        if stated is None:
            self.assertIn("is not known", server.log())
        else:
            self.assertLessEqual(largest, stated)
        server.stop()


def continuation(token_ids: list[int]) -> scoring_service_pb2.Continuation:
    return scoring_service_pb2.Continuation(tokens={"token_ids": token_ids})


def prompt(token_ids: list[int]) -> completion_pb2.Input:
    return completion_pb2.Input(tokens={"token_ids": token_ids})


if __name__ == "__main__":
    unittest.main()
