"""Reproducible scores have the same bits, whatever else runs, was cached, is asked beside them, or is killed.

LOGITD_LONG=1: the file of the last test has 500 rows, and its client is killed 20 times and its server 5 times;
otherwise 40, 4 and 1.
"""

import concurrent.futures
import json
import os
import pathlib
import random
import tempfile
import threading
import unittest

import harness
import killed_run
import wire
from logitd.v1 import completion_pb2, generation_service_pb2, sampling_pb2, scoring_service_pb2

IS_LONG = os.environ.get("LOGITD_LONG") == "1"
ROWS, CLIENT_KILLS, SERVER_KILLS = (500, 20, 5) if IS_LONG else (40, 4, 1)
# Architecture and vocabulary: a SentencePiece one, a sliding window, learned positions, and a recurrent state, which
# cannot be cut.
FAMILIES = [("llama", "llama-spm"), ("gemma3", "llama-bpe"), ("gpt2", "gpt-2"), ("mamba", "gpt-neox")]
WORDS = ("the", "harbour", "was", "quiet", "that", "morning", "and", "nobody", "spoke", "of", "storm", "although")


def token_item(context, candidates):
    def ids(tokens):
        return sampling_pb2.TokenIds(token_ids=tokens)
    return scoring_service_pb2.ScoreItem(
        context=completion_pb2.Input(tokens=ids(context)),
        continuations=[scoring_service_pb2.Continuation(tokens=ids(c)) for c in candidates])


def items(count: int, most_id: int = 200):
    """Contexts of 1 to 140 tokens, which share beginnings, with 3 candidates."""
    rng = random.Random(3)
    book = [rng.randrange(3, most_id) for _ in range(200)]
    result = []
    for i in range(count):
        begin, length = rng.choice([0, 0, 7]), [1, 63, 64, 140][i % 4]
        candidates = [[rng.randrange(3, most_id) for _ in range(rng.randint(1, 9))] for _ in range(3)]
        result.append(token_item(book[begin:begin + length], candidates))
    return result


def score(client, some, **options) -> list[bytes]:
    """The bytes of each item's scores."""
    replies = sorted(client.scoring.Score(scoring_service_pb2.ScoreRequest(
        items=some, record=completion_pb2.RecordOptions(rank=True, entropy=True, top_n=3),
        evaluation=completion_pb2.EvaluationOptions(**options)), timeout=wire.TIMEOUT_S), key=lambda r: r.item_index)
    for reply in replies:
        assert not reply.item.HasField("error"), reply.item.error
        assert reply.provenance.reproducible == options.get("reproducible", False)
    return [reply.item.SerializeToString(deterministic=True) for reply in replies]


class Company:
    """Clients that generate and score while it is open."""

    def __init__(self, server):
        self._stop = threading.Event()
        self._server = server
        self._threads = [threading.Thread(target=work) for work in (self._generate, self._score)]

    def _generate(self):
        with wire.connect(self._server.address) as client:
            while not self._stop.is_set():
                list(client.generation.Generate(generation_service_pb2.GenerateRequest(
                    prompt=completion_pb2.Input(tokens=sampling_pb2.TokenIds(token_ids=range(20, 90))),
                    n=3, stop=sampling_pb2.StopCriteria(max_tokens=12)), timeout=wire.TIMEOUT_S))

    def _score(self):
        with wire.connect(self._server.address) as client:
            while not self._stop.is_set():
                score(client, items(2), no_cache=True)

    def __enter__(self):
        for thread in self._threads:
            thread.start()

    def __exit__(self, *_):
        self._stop.set()
        for thread in self._threads:
            thread.join()


class ReproducibleTest(unittest.TestCase):
    def check(self, start):
        """`start`: starts a server of one model. Returns whether any bit differs between batches without isolation."""
        some = items(4)
        server = start()
        try:
            with wire.connect(server.address) as client:
                alone = [score(client, [one], reproducible=True)[0] for one in some]
                self.assertEqual(score(client, some, reproducible=True), alone, "in one call")
                batched = score(client, some)
                self.assertEqual(score(client, some, reproducible=True), alone, "after it was cached")
                with Company(server), concurrent.futures.ThreadPoolExecutor(2) as pool:
                    calls = [pool.submit(score, client, some[k:] + some[:k], reproducible=True) for k in (0, 3)]
                    for k, call in zip((0, 3), calls):
                        self.assertEqual(call.result(), alone[k:] + alone[:k], "in company")
        finally:
            server.stop()
        server = start()
        try:
            with wire.connect(server.address) as client:
                self.assertEqual(score(client, some[2:] + some[:2], reproducible=True), alone[2:] + alone[:2],
                                 "another process, another order")
                # The numbers of a token depend neither on the other candidates, nor on the tokens after it, nor on the
                # place where the context ends.
                for one, reply in zip(some, alone):
                    tokens = list(one.continuations[2].tokens.token_ids)
                    records = scoring_service_pb2.ScoredItem.FromString(reply).continuations[2].score.tokens
                    for cut in {0, len(tokens) // 2, len(tokens) - 1}:
                        part = token_item([*one.context.tokens.token_ids, *tokens[:cut]], [tokens[cut:cut + 1]])
                        (own,) = score(client, [part], reproducible=True)
                        (record,) = scoring_service_pb2.ScoredItem.FromString(own).continuations[0].score.tokens
                        record.position = cut
                        self.assertEqual(record, records[cut])
        finally:
            server.stop()
        return batched != alone

    def test_the_bits_of_the_default_model(self):
        for precision in ("f32", "native"):
            with self.subTest(precision=precision):
                moved = self.check(lambda: harness.Server(model=harness.model_path(), flags=("--precision", precision)))
                self.assertTrue(moved, "the batch moves nothing, so this test proves nothing")

    def test_the_bits_of_other_families(self):
        for architecture, vocabulary in FAMILIES:
            with self.subTest(architecture=architecture), tempfile.TemporaryDirectory() as folder:
                model = harness.random_model(harness.vocabulary_path(vocabulary), pathlib.Path(folder) / "m.gguf",
                                             "--arch", architecture)
                self.check(lambda: harness.Server(model=model))

    def test_a_file_has_the_same_bytes_whoever_is_killed(self):
        rng = random.Random(8)
        with tempfile.TemporaryDirectory(prefix="logitd-reproducible-") as name:
            folder = pathlib.Path(name)
            rows = []
            for i in range(ROWS):
                def text(count):
                    return {"text": " ".join(rng.choice(WORDS) for _ in range(count))}
                rows.append({"id": f"row-{i}", "context": text(rng.randint(2, 20)),
                             "continuations": [{"text": " " + text(3)["text"]}, {"text": " " + text(2)["text"]}]})
            source = folder / "in.jsonl"
            source.write_text("".join(json.dumps(row) + "\n" for row in rows))

            servers = []

            def start():
                servers.append(harness.Server(model=harness.model_path(), listen=f"unix:{folder}/server.sock"))

            def kill_server():
                servers[-1].kill()
                (folder / "server.sock").unlink(missing_ok=True)
                start()

            def command(out):
                return [harness.BIN / "logit", "score", source, "--out", out, "--reproducible", "--rank", "--resume",
                        "--retry-for", "300", "--server", servers[-1].address, "--json"]

            start()
            try:
                whole = folder / "whole.jsonl"
                undisturbed = harness.run(*command(whole), timeout_s=3600)
                self.assertEqual(undisturbed.json()["failed"], 0, undisturbed.stderr)
                out = folder / "out.jsonl"
                kills = {"client": CLIENT_KILLS, "server": SERVER_KILLS}
                run = killed_run.run(command(out), out, whole.stat().st_size, kills, kill_server, seed=9,
                                     timeout_s=3600)
                self.assertEqual((run.summary["items"], run.kills), (ROWS, kills))
                self.assertEqual(out.read_bytes(), whole.read_bytes())
            finally:
                servers[-1].stop()


if __name__ == "__main__":
    unittest.main()
