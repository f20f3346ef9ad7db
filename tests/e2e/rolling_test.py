"""A text of 100,000 tokens is scored in windows: the sum is that of the model, and memory grows with its ids alone.

LOGITD_LONG=1: also 10,000 tokens of the real model.
"""

import math
import os
import random
import unittest

import harness
import process
import transition
import wire
from logitd.v1 import completion_pb2, sampling_pb2, scoring_service_pb2

WINDOW = 1000
SHORT = 10_000
LONG = 100_000
BYTES_A_TOKEN = 200


class RollingTest(unittest.TestCase):
    def score(self, count: int) -> tuple[float, int, int]:
        """The sum, and the peak memory of server and runner, bytes; both are new."""
        tables = transition.random_tables(seed=4)
        server = harness.Server()
        runner = transition.attach(server, tables, flags=("--context-length", WINDOW))
        try:
            rng = random.Random(1)
            tokens = [rng.randrange(len(tables.tokens)) for _ in range(count)]
            with wire.connect(server.address) as client:
                (reply,) = client.scoring.Score(scoring_service_pb2.ScoreRequest(items=[scoring_service_pb2.ScoreItem(
                    rolling=scoring_service_pb2.RollingText(
                        input=completion_pb2.Input(tokens=sampling_pb2.TokenIds(token_ids=tokens)),
                        rule=scoring_service_pb2.ROLLING_RULE_STRIDED))]), timeout=10 * wire.TIMEOUT_S)
            self.assertFalse(reply.item.HasField("error"), reply.item.error)
            totals = reply.item.rolling.score.totals
            self.assertEqual(totals.token_count, count - 1)
            wanted = math.fsum(tables.log_prob(a, b) for a, b in zip(tokens, tokens[1:]))
            self.assertAlmostEqual(totals.cumulative_model_log_prob, wanted, delta=1e-6 * count)
            peaks = (process.peak_resident_bytes(server.pid), process.peak_resident_bytes(runner.pid))
        finally:
            counts = runner.stop()
            server.stop()
        # Each token is fed once, in windows that do not overlap, and its row stays in the runner.
        self.assertEqual((counts["tokens"], counts["rows"], counts["logits_rows"]), (count - 1, count - 1, 0))
        return totals.cumulative_model_log_prob, *peaks

    def compare(self, peaks: dict[int, tuple[int, int]]):
        """`peaks`: of a text and of one ten times as long, by their tokens: the peaks of server and runner, bytes,
        perhaps above those of before."""
        short, long = sorted(peaks)
        print("; ".join(f"{count:,} tokens: server {peaks[count][0] >> 10} KiB, runner {peaks[count][1] >> 10} KiB" for count in peaks))
        allowed = (long - short) * BYTES_A_TOKEN
        for before, after in zip(peaks[short], peaks[long]):
            self.assertLessEqual(after, before + allowed)

    def test_memory_grows_with_the_ids_alone(self):
        self.compare({count: self.score(count)[1:] for count in (SHORT, LONG)})

    @unittest.skipUnless(os.environ.get("LOGITD_LONG") == "1", "takes minutes")
    def test_a_real_model(self):
        peaks = {}
        for count in (1_000, 10_000):
            server = harness.Server(model=harness.model_path())
            try:
                rng = random.Random(2)
                runner = process.children(server.pid)[0]
                # Servers differ by half a MiB before they do anything.
                idle = [process.peak_resident_bytes(pid) for pid in (server.pid, runner)]
                with wire.connect(server.address) as client:
                    (reply,) = client.scoring.Score(scoring_service_pb2.ScoreRequest(items=[scoring_service_pb2.ScoreItem(
                        rolling=scoring_service_pb2.RollingText(window=1024, input=completion_pb2.Input(tokens=sampling_pb2.TokenIds(
                            token_ids=[rng.randrange(3, 40_000) for _ in range(count)]))))]), timeout=10 * wire.TIMEOUT_S)
                self.assertFalse(reply.item.HasField("error"), reply.item.error)
                self.assertEqual(reply.item.rolling.score.totals.token_count, count)
                peaks[count] = tuple(process.peak_resident_bytes(pid) - before
                                     for pid, before in zip((server.pid, runner), idle))
            finally:
                server.stop()
        self.compare(peaks)


if __name__ == "__main__":
    unittest.main()
