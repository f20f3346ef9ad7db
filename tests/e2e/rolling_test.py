"""A text of 100,000 tokens is scored in windows: the sum is that of the model, and memory grows with its ids alone."""

import math
import pathlib
import random
import re
import unittest

import harness
import transition
import wire
from logitd.v1 import completion_pb2, sampling_pb2, scoring_service_pb2

WINDOW = 1000
SHORT = 10_000
LONG = 100_000
BYTES_A_TOKEN = 200


def peak_kib(pid: int) -> int:
    status = pathlib.Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    return int(re.search(r"VmHWM:\s*(\d+) kB", status).group(1))


class RollingTest(unittest.TestCase):
    def score(self, count: int) -> tuple[float, int, int]:
        """The sum, and the peak memory of server and runner, KiB; both are new."""
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
            peaks = (peak_kib(server.pid), peak_kib(runner.pid))
        finally:
            counts = runner.stop()
            server.stop()
        # Each token is fed once, in windows that do not overlap.
        self.assertEqual(counts["tokens"], count - 1)
        return totals.cumulative_model_log_prob, *peaks

    def test_memory_grows_with_the_ids_alone(self):
        _, server, runner = self.score(SHORT)
        _, long_server, long_runner = self.score(LONG)
        print(f"{SHORT:,} tokens: server {server} KiB, runner {runner} KiB; {LONG:,}: {long_server} and {long_runner} KiB")
        allowed = (LONG - SHORT) * BYTES_A_TOKEN / 1024
        self.assertLessEqual(long_server, server + allowed)
        self.assertLessEqual(long_runner, runner + allowed)


if __name__ == "__main__":
    unittest.main()
