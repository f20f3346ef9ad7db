"""A server whose model is a table: the row after each token. Its log-probs can be computed by hand.

    backend = table_model.Backend()
    ... harness.logit("score", "--context-tokens", "1", "--continuation-tokens", "2,3", server=backend) ...
    table_model.log_prob(1, [2, 3])
    backend.stop()
"""

import math

import fake_runner
import harness
import numpy

VOCAB_SIZE = fake_runner.VOCAB_SIZE
TABLE = numpy.random.default_rng(4).normal(0, 2, (VOCAB_SIZE, VOCAB_SIZE)).astype("<f4")


def log_prob(last: int, tokens: list[int]) -> float:
    """The sum of the log-probs of `tokens` after the token `last`, in double."""
    total = 0.0
    for token in tokens:
        row = TABLE[last].astype(numpy.float64)
        total += row[token] - row.max() - math.log(numpy.exp(row - row.max()).sum())
        last = token
    return total


class Backend:
    """A server on an address of its own, with the table as its model; it can be killed and started again."""

    def __init__(self, fingerprint: bytes = b"table"):
        self._fingerprint = fingerprint
        self._start("127.0.0.1:0")

    def _start(self, address: str) -> None:
        self._server = harness.Server(listen=address)
        self._runner = fake_runner.FakeRunner(self._server.runner_address, table=[row.tobytes() for row in TABLE],
                                              fingerprint=self._fingerprint)
        assert self._runner.attached.wait(timeout=60)
        self.address = self._server.address

    def kill(self) -> None:
        self._server.kill()
        self._runner.break_off()

    def restart(self, fingerprint: bytes = b"table") -> None:
        self._fingerprint = fingerprint
        self._start(self.address)

    def stop(self) -> None:
        self._runner.stop()
        self._server.stop()
