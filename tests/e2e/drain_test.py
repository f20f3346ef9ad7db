"""SIGTERM with 200 open streams: readiness off first, one terminal status each, exit 0 within the grace period.

LOGITD_LONG=1 makes it 50 rounds instead of 3.
"""

import collections
import dataclasses
import os
import queue
import random
import threading
import time
import unittest

import fake_runner
import grpc
import harness
import health
import wire
from logitd.v1 import completion_pb2, generation_service_pb2, sampling_pb2, scoring_service_pb2
from logitd.v1 import scoring_service_pb2_grpc
from logitd.v1 import logits_pb2 as rows

ROUNDS = 50 if os.environ.get("LOGITD_LONG") else 3
GRACE_S = 5
# Of streams that were read: statuses that came without their details, because this machine was too busy to read in time.
MOST_CUT_SHORT = 0.02
# Of all streams: those that gRPC answered itself, while it closed.
MOST_TOO_LATE = 0.001
STREAM_TIMEOUT_S = 60
VOCAB_SIZE = 2048
# Kinds of streams, and how many of each.
IDLE, STEPPING, DEAF, SCORING, GENERATING, WATCHING = 60, 50, 10, 30, 30, 20


@dataclasses.dataclass
class Stream:
    """One open stream. `ends` are its terminal statuses, (code, reason): there must be one."""

    kind: str
    established: bool = False
    ends: list = dataclasses.field(default_factory=list)


def details(failure: grpc.RpcError) -> str:
    try:
        return wire.reason(wire.error_of(failure))
    except (AssertionError, KeyError):
        return ""


class Round:
    """One server with its streams."""

    def __init__(self):
        self.server = harness.Server(flags=("--grace-period", f"{GRACE_S}s"))
        self.runner = fake_runner.FakeRunner(self.server.runner_address)
        assert self.runner.attached.wait(10)
        # Several connections, none shared.
        self.channels = [grpc.insecure_channel(self.server.address, [("grpc.use_local_subchannel_pool", 1)])
                         for _ in range(4)]
        health.wait_until_serving(self.channels[0], "model/fake")
        self.streams: list[Stream] = []
        self.threads: list[threading.Thread] = []
        self.ready_after_end: list[str] = []
        self.stop_deaf = threading.Event()

    def open_all(self) -> None:
        kinds = ([("idle", self.idle)] * IDLE + [("stepping", self.stepping)] * STEPPING + [("deaf", self.deaf)] * DEAF +
                 [("scoring", self.scoring)] * SCORING + [("generating", self.generating)] * GENERATING +
                 [("watching", self.watching)] * WATCHING)
        random.shuffle(kinds)
        for number, (kind, run) in enumerate(kinds):
            stream = Stream(kind)
            self.streams.append(stream)
            channel = self.channels[number % len(self.channels)]
            thread = threading.Thread(target=self._follow, args=(stream, run, channel), daemon=True)
            thread.start()
            self.threads.append(thread)

    def _follow(self, stream: Stream, run, channel: grpc.Channel) -> None:
        try:
            run(stream, channel)
            stream.ends.append((grpc.StatusCode.OK, ""))
        except grpc.RpcError as failure:
            stream.ends.append((failure.code(), details(failure)))
        # When a stream has ended, readiness is off already (or the server is gone).
        try:
            status = health.check(channel, "")
        except grpc.RpcError:
            return
        if status == health.SERVING:
            self.ready_after_end.append(stream.kind)

    def idle(self, stream: Stream, channel: grpc.Channel) -> None:
        requests: queue.SimpleQueue = queue.SimpleQueue()
        requests.put(wire.config(VOCAB_SIZE))
        for _ in wire.Client.on(channel).decoding.Decode(iter(requests.get, None), timeout=STREAM_TIMEOUT_S):
            stream.established = True

    def stepping(self, stream: Stream, channel: grpc.Channel) -> None:
        replies = threading.Semaphore(0)

        def requests():
            yield wire.config(VOCAB_SIZE)
            payload = bytes(4 * VOCAB_SIZE)
            for position in range(1 << 20):
                replies.acquire()
                yield wire.batch(position + 1, payload, VOCAB_SIZE, [1], position, opens=position == 0)

        for _ in wire.Client.on(channel).decoding.Decode(requests(), timeout=STREAM_TIMEOUT_S):
            stream.established = True
            replies.release()

    def deaf(self, stream: Stream, channel: grpc.Channel) -> None:
        """Sends steps with large replies, and reads only after the server has gone."""
        record = completion_pb2.RecordOptions(top_n=1024)

        def requests():
            yield wire.config(VOCAB_SIZE, record=record)
            payload = bytes(4 * VOCAB_SIZE)
            for position in range(200):
                yield wire.batch(position + 1, payload, VOCAB_SIZE, [1], position, opens=position == 0)
            self.stop_deaf.wait(STREAM_TIMEOUT_S)

        call = wire.Client.on(channel).decoding.Decode(requests(), timeout=STREAM_TIMEOUT_S)
        next(call)
        stream.established = True
        self.stop_deaf.wait(STREAM_TIMEOUT_S)
        for _ in call:
            pass

    def scoring(self, stream: Stream, channel: grpc.Channel) -> None:
        def requests():
            yield scoring_service_pb2.ScoreLogitsRequest(
                config=scoring_service_pb2.ScoreLogitsConfig(vocab_size=VOCAB_SIZE))
            stream.established = True
            yield scoring_service_pb2.ScoreLogitsRequest(payload=bytes(4 * VOCAB_SIZE), rows=(
                scoring_service_pb2.ScoreLogitsRows(target_token_ids=[3], blocks=[
                    rows.LogitsBlock(dtype=rows.LOGITS_DTYPE_F32, row_count=1, width=VOCAB_SIZE)])))
            self.stop_deaf.wait(STREAM_TIMEOUT_S)

        for _ in scoring_service_pb2_grpc.ScoringServiceStub(channel).ScoreLogits(requests(), timeout=STREAM_TIMEOUT_S):
            pass

    def generating(self, stream: Stream, channel: grpc.Channel) -> None:
        request = generation_service_pb2.GenerateRequest(sampling=sampling_pb2.SamplingParams(temperature=0.7))
        request.prompt.tokens.token_ids.append(1)
        request.stop.max_tokens = 90_000
        for _ in wire.Client.on(channel).generation.Generate(request, timeout=STREAM_TIMEOUT_S):
            stream.established = True

    def watching(self, stream: Stream, channel: grpc.Channel) -> None:
        name = random.choice(["", "model/fake", "model/none"])
        for _ in health.watch(channel, name, timeout=STREAM_TIMEOUT_S):
            stream.established = True

    def stop(self, opener: threading.Thread) -> float:
        """SIGTERM; how long the server took to end, in seconds."""
        begun = time.monotonic()
        self.server.signal_stop()
        self.server.stop()  # Raises if the status is not 0.
        duration = time.monotonic() - begun
        self.stop_deaf.set()
        opener.join()
        for thread in self.threads:
            thread.join(timeout=STREAM_TIMEOUT_S)
        self.runner.stop()
        for channel in self.channels:
            channel.close()
        return duration


class DrainTest(unittest.TestCase):
    def test_open_streams_end_with_one_status_each(self):
        seed = random.randrange(1 << 32)
        random.seed(seed)
        slowest = 0.0
        cut_short = came_too_late = 0
        ends: collections.Counter = collections.Counter()
        for number in range(ROUNDS):
            with self.subTest(round=number, seed=seed):
                trial = Round()
                opener = threading.Thread(target=trial.open_all)
                opener.start()
                # The moment is the point: most streams are in the middle of something, some are only being opened.
                threading.Event().wait(random.uniform(0, random.choice([0.3, 3])))
                duration = trial.stop(opener)
                slowest = max(slowest, duration)
                self.assertLess(duration, GRACE_S)
                self.assertEqual(trial.ready_after_end, [])
                for stream in trial.streams:
                    self.assertEqual(len(stream.ends), 1, stream)
                    code, reason = stream.ends[0]
                    # One that arrives while gRPC itself closes, after the drain, may get CANCELLED from it.
                    too_late = not stream.established and code == grpc.StatusCode.CANCELLED
                    came_too_late += too_late
                    if not too_late:
                        self.assertEqual(code, grpc.StatusCode.UNAVAILABLE, stream)
                    # A stream that was not open yet may find no server; a client that does not read its end, or not
                    # in time because this machine is busy, gets the status without details.
                    if stream.established and stream.kind != "deaf":
                        self.assertIn(reason, ("DRAINING", ""), stream)
                        cut_short += reason != "DRAINING"
                    ends[stream.kind, stream.established, code.name, reason] += 1
        self.assertLessEqual(came_too_late, max(1, MOST_TOO_LATE * ROUNDS * len(trial.streams)))
        self.assertLessEqual(cut_short, MOST_CUT_SHORT * ROUNDS * len(trial.streams))
        print(f"{ROUNDS} rounds of {len(trial.streams)} streams, slowest end {slowest:.2f} s of {GRACE_S} s")
        for (kind, established, code, reason), count in sorted(ends.items()):
            print(f"  {count:6} {kind:12} {'open' if established else 'opening':8} {code} {reason}")


if __name__ == "__main__":
    unittest.main()
