"""A DecodeSession whose servers are killed again and again while it decodes a numpy RNN: every token, record and sum
comes once, in order, and has the bytes of a run without a loss.

LOGITD_LONG=1: 100 kills; otherwise 10.
"""

import dataclasses
import os
import queue
import random
import threading
import unittest

import grpc
import harness
import numpy

import logitd
from logitd import _channel

IS_LONG = os.environ.get("LOGITD_LONG") == "1"
KILLS = 100 if IS_LONG else 10
ROUNDS = 1500 if IS_LONG else 200
VOCAB_SIZE, HIDDEN = 48, 24
# Four groups of sequences, each with parameters of its own and with a batch on its way.
GROUPS = (
    # The session's own parameters, and no stage that looks at tokens.
    {},
    {"repetition_penalty": 1.3, "frequency_penalty": 0.2, "temperature": 0.8, "max_tokens": 25,
     "record": logitd.Record(rank=True, entropy=True, draw=True)},
    {"dry": {"multiplier": 0.8}, "no_repeat_ngram_size": 4, "top_p": 0.95, "max_tokens": 60},
    {"temperature": 0, "record": logitd.Record(top_n=2)},
)
PER_GROUP = 6


class Rnn:
    """A recurrent network, whose state of each sequence is kept here."""

    def __init__(self):
        rng = numpy.random.default_rng(5)
        self._embedding, self._recurrent, self._out = (
            rng.normal(0, scale, shape).astype(numpy.float32)
            for scale, shape in ((1, (VOCAB_SIZE, HIDDEN)), (0.3, (HIDDEN, HIDDEN)), (1, (HIDDEN, VOCAB_SIZE))))
        self._states: dict[logitd.Sequence, numpy.ndarray] = {}

    def feed(self, sequence: logitd.Sequence, token: int) -> None:
        state = self._states.get(sequence, numpy.zeros(HIDDEN, numpy.float32))
        self._states[sequence] = numpy.tanh(self._embedding[token] + state @ self._recurrent)

    def forget(self, sequence: logitd.Sequence) -> None:
        del self._states[sequence]

    def rows(self, sequences: list[logitd.Sequence]) -> numpy.ndarray:
        return numpy.stack([self._states[sequence] for sequence in sequences]) @ self._out


def decode(session: logitd.DecodeSession, on_batch) -> list[str]:
    """A line for each step and for each sequence that ended. `on_batch` is called before each result is received."""
    rnn, rng = Rnn(), random.Random(7)
    groups: list[list[logitd.Sequence]] = [[] for _ in GROUPS]
    lines = []

    def send(group: int) -> None:
        # A sequence that its caller gives up.
        if len(groups[group]) == PER_GROUP and rng.random() < 0.1:
            groups[group][0].close()
            rnn.forget(groups[group].pop(0))
        while len(groups[group]) < PER_GROUP:
            prompt = [3, 1, 4, 1, 5, rng.randrange(VOCAB_SIZE)] if rng.random() < 0.5 else [7]
            sequence = session.open(prompt, **GROUPS[group])
            for token in prompt:
                rnn.feed(sequence, token)
            groups[group].append(sequence)
        session.send(rnn.rows(groups[group]), groups[group])

    for turn in range((ROUNDS + 1) * len(GROUPS)):
        group = turn % len(GROUPS)
        if turn >= len(GROUPS):
            on_batch(turn - len(GROUPS))
            for step in session.receive():
                assert step.error is None, step.error
                lines.append(f"{step!r} {step.record!r} {step._proto.SerializeToString(deterministic=True).hex()} "
                             f"{step.cumulative_model_log_prob!r} {step.cumulative_sampling_log_prob!r}")
                if step.sequence.is_running:
                    if step.sequence in groups[group]:
                        rnn.feed(step.sequence, step.token_id)
                else:
                    groups[group].remove(step.sequence)
                    rnn.forget(step.sequence)
                    lines.append(f"{step.sequence!r} {step.sequence.state()}")
        if turn < ROUNDS * len(GROUPS):
            send(group)
    return lines


def start(addresses: list[str], **options) -> logitd.DecodeSession:
    return logitd.DecodeSession(addresses, vocab_size=VOCAB_SIZE, end_token_ids=[VOCAB_SIZE - 1], temperature=0.9,
                                max_tokens=40, **options)


@dataclasses.dataclass
class Killer:
    """Kills the server that the session is connected to, and starts it again, on a thread of its own."""

    servers: list[harness.Server]
    current: int = 0
    kill_count: int = 0

    def __post_init__(self):
        self.addresses = [server.address for server in self.servers]
        self._orders: queue.SimpleQueue = queue.SimpleQueue()
        self._is_idle = threading.Event()
        self._is_idle.set()
        self._thread = threading.Thread(target=self._work)
        self._thread.start()

    def connect(self, attempt: int) -> grpc.Channel:
        self.current = attempt % len(self.servers)
        return _channel.connect(self.addresses[self.current])

    def order(self) -> None:
        """Waits until the last one is back, then has the next one killed, at whatever moment that happens."""
        self.wait()
        self._is_idle.clear()
        self._orders.put(True)

    def wait(self) -> None:
        self._is_idle.wait()

    def _work(self) -> None:
        while self._orders.get():
            victim = self.current
            self.servers[victim].kill()
            self.kill_count += 1
            self.servers[victim] = harness.Server(listen=self.addresses[victim])
            self._is_idle.set()

    def stop(self) -> None:
        self._orders.put(None)
        self._thread.join()
        for server in self.servers:
            server.stop()


class DecodeKillTest(unittest.TestCase):
    def check(self, replicas: int, seed: int) -> None:
        killer = Killer([harness.Server() for _ in range(replicas)])
        try:
            kills = set(random.Random(seed).sample(range(5, ROUNDS * len(GROUPS) - 50), KILLS))
            # The server draws the seed.
            with start([], connect=killer.connect) as session:
                lines = decode(session, lambda turn: turn in kills and killer.order())
            killer.wait()
            self.assertEqual(killer.kill_count, KILLS)
            print(f"\n{KILLS} kills of {replicas}: {session.reconnect_count} reconnects, {len(lines)} lines",
                  flush=True)
            self.assertGreaterEqual(session.reconnect_count, KILLS * 4 // 5)
        finally:
            killer.stop()
        server = harness.Server()
        self.addCleanup(server.stop)
        with start([server.address], seed=session.seed) as undisturbed:
            whole = decode(undisturbed, lambda turn: None)
        self.assertEqual(undisturbed.reconnect_count, 0)
        self.assertEqual(len(lines), len(whole))
        for line, other in zip(lines, whole):
            self.assertEqual(line, other)

    def test_one_server_is_killed_and_started_again(self):
        self.check(replicas=1, seed=8)

    def test_two_replicas_take_turns_and_are_killed(self):
        self.check(replicas=2, seed=9)

    def test_the_loop_goes_on_while_its_servers_are_killed(self):
        table = numpy.random.default_rng(6).normal(0, 2, (VOCAB_SIZE, VOCAB_SIZE)).astype(numpy.float32)

        def decode_all(on_turn, **server):
            with logitd.decode(lambda batch: table[[context[-1] for context in batch.contexts]], [[i] for i in range(8)],
                               top_p=0.95, dry={"multiplier": 0.5}, max_tokens=KILLS * 20, **server) as run:
                return [on_turn(number) or tokens for number, tokens in enumerate(run)], run.completions, run.state

        killer = Killer([harness.Server(), harness.Server()])
        try:
            tokens, completions, state = decode_all(lambda number: number % 20 == 10 and killer.order(),
                                                    connect=killer.connect)
            killer.wait()
            self.assertEqual(killer.kill_count, KILLS)
        finally:
            killer.stop()
        server = harness.Server()
        self.addCleanup(server.stop)
        seed = int(state["options"]["sampling"]["seed"])
        self.assertEqual(decode_all(lambda number: None, server=server.address, seed=seed), (tokens, completions, state))

    def test_a_server_that_drains_is_left(self):
        first, second = harness.Server(), harness.Server()
        self.addCleanup(second.stop)
        with start([first.address, second.address], seed=3) as session:
            lines = decode(session, lambda turn: turn == 50 and first.signal_stop())
        self.assertEqual(session.reconnect_count, 1)
        first.stop()
        with start([second.address], seed=3) as undisturbed:
            self.assertEqual(lines, decode(undisturbed, lambda turn: None))


if __name__ == "__main__":
    unittest.main()
