"""The end of the process: at once when nothing is open, in order whatever sends the signal, and never by SIGHUP.

LOGITD_LONG=1 makes it 100 rounds of each kind; with a runner, 102 in all: 17 of each reply and transport.
"""

import dataclasses
import os
import pathlib
import select
import shutil
import signal
import subprocess
import tempfile
import threading
import time
import unittest

import fake_runner
import grpc
import harness
import process
import wire
from logitd.v1 import completion_pb2, decoding_service_pb2, generation_service_pb2, sampling_pb2, scoring_service_pb2
from logitd.v1 import logits_pb2 as rows

ROUNDS = 100 if os.environ.get("LOGITD_LONG") else 2
# Of each reply and transport; each loads a model.
ROUNDS_WITH_RUNNER = 17 if os.environ.get("LOGITD_LONG") else 1
# From the signal to the process's end, with no call open.
MOST_WITHOUT_MODEL_S = 0.5
MOST_WITH_RUNNER_S = 1.5
# Until then a second signal is the first request once more.
SAME_REQUEST_S = 1.0
GRACE_S = 10
TIMEOUT_S = 120
SANITIZED = "sanitize" in str(harness.BIN)
MIB = 1 << 20


def distribution_of(vocab_size: int) -> bytes:
    """A ComputeDistribution request whose reply has every token: about 27 bytes each."""
    block = rows.LogitsBlock(dtype=rows.LOGITS_DTYPE_F32, row_count=1, width=vocab_size)
    return decoding_service_pb2.ComputeDistributionRequest(
        logits=rows.Logits(values=bytes(4 * vocab_size), block=block)).SerializeToString()


def scores_of(row_count: int) -> list[bytes]:
    """The messages of a ScoreLogits call whose replies have a record of about 120 bytes for each row."""
    record = completion_pb2.RecordOptions(rank=True, entropy=True, kept_set=True, sampling_log_prob=True, top_n=1,
                                          named_token_ids=[0])
    config = scoring_service_pb2.ScoreLogitsConfig(vocab_size=2, record=record,
                                                   sampling=sampling_pb2.SamplingParams(temperature=0.7))
    messages = [scoring_service_pb2.ScoreLogitsRequest(config=config).SerializeToString()]
    for first in range(0, row_count, 1000):
        block = rows.LogitsBlock(dtype=rows.LOGITS_DTYPE_F32, row_count=1000, width=2)
        messages.append(scoring_service_pb2.ScoreLogitsRequest(payload=bytes(8 * 1000), rows=(
            scoring_service_pb2.ScoreLogitsRows(sequence_index=first // 100_000, target_token_ids=[1] * 1000,
                                                blocks=[block]))).SerializeToString())
    return messages


@dataclasses.dataclass
class Reply:
    """A call with a large reply, or several: its bytes are asked for and counted, not parsed."""

    name: str
    least_bytes: int
    method: str
    messages: list[bytes]

    def ask(self, channel: grpc.Channel) -> int:
        if len(self.messages) == 1:
            return len(channel.unary_unary(self.method)(self.messages[0], timeout=TIMEOUT_S))
        return sum(map(len, channel.stream_stream(self.method)(iter(self.messages), timeout=TIMEOUT_S)))


DISTRIBUTION = "/logitd.v1.DecodingService/ComputeDistribution"
REPLIES = [
    Reply("1 MB", 1_000_000, DISTRIBUTION, [distribution_of(40_000)]),
    Reply("10 MB", 10_000_000, DISTRIBUTION, [distribution_of(400_000)]),
    Reply("60 MB", 60_000_000, "/logitd.v1.ScoringService/ScoreLogits", scores_of(520_000)),
]


class Program:
    """logitd, started directly or by another program (`launcher`), with a TCP port and a Unix socket for clients."""

    def __init__(self, *flags: object, launcher: tuple[str, ...] = (), model: pathlib.Path | None = None,
                 grace_s: int = GRACE_S, wait: bool = True):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="logitd-e2e-"))
        command = [*launcher, harness.BIN / "logitd", "--listen", "127.0.0.1:0", "--listen", f"unix:{self.folder}/client",
                   "--runner-listen", f"unix:{self.folder}/runner", "--grace-period", f"{grace_s}s"]
        if model is not None:
            command += ["--model", model, "--model-name", "m", "--cache-dir", harness.cache_dir()]
        self._log = open(self.folder / "log", "w+", encoding="utf-8")
        # A group of its own: like a terminal's keys, its signals reach logitd and every process that logitd starts there.
        self.process = subprocess.Popen([*map(str, command), *map(str, flags)], stdout=subprocess.PIPE,
                                        stderr=self._log, stdin=subprocess.DEVNULL, text=True, start_new_session=True)
        self.tcp = self.unix = ""
        if wait:
            self.wait_until_ready()

    def wait_until_ready(self) -> None:
        prefix = "listening on "
        lines = [self.process.stdout.readline().rstrip("\n") for _ in range(2)]
        if not all(line.startswith(prefix) for line in lines):
            raise AssertionError(f"logitd did not start. Its log:\n{self.log()}")
        self.tcp, self.unix = (line.removeprefix(prefix) for line in lines)

    def log(self) -> str:
        return (self.folder / "log").read_text(encoding="utf-8", errors="replace")

    def wait_for_log(self, text: str, count: int = 1) -> None:
        limit = time.monotonic() + TIMEOUT_S
        while self.log().count(text) < count:
            assert time.monotonic() < limit and self.process.poll() is None, f"no '{text}' in the log:\n{self.log()}"
            threading.Event().wait(0.01)

    def signal_group(self, number: signal.Signals) -> None:
        os.killpg(self.process.pid, number)

    def end(self) -> tuple[float, int]:
        """Seconds from now to the process's end, and its exit status."""
        begun = time.monotonic()
        descriptor = os.pidfd_open(self.process.pid)
        try:
            ended = select.select([descriptor], [], [], TIMEOUT_S)[0]
        finally:
            os.close(descriptor)
        duration = time.monotonic() - begun
        assert ended, f"it did not end within {TIMEOUT_S} s. Its log:\n{self.log()}"
        return duration, self.process.wait()

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        self.process.stdout.close()
        self._log.close()
        shutil.rmtree(self.folder, ignore_errors=True)


def channel_to(address: str) -> grpc.Channel:
    return grpc.insecure_channel(address, [("grpc.max_receive_message_length", -1),
                                           ("grpc.use_local_subchannel_pool", 1)])


class StopTest(unittest.TestCase):
    def start(self, *flags: object, **options) -> Program:
        program = Program(*flags, **options)
        self.addCleanup(program.close)
        return program

    def assert_ended_in_order(self, program: Program, status: int, expected: int = 0) -> None:
        log = program.log()
        self.assertEqual(status, expected, log)
        self.assertNotIn("grace period is over", log)
        self.assertIn(" stopped", log.splitlines()[-1])
        left = {path.name for path in program.folder.iterdir()} - {"log"}
        self.assertEqual(left, set(), "sockets are left")

    def generate(self, program: Program, max_tokens: int):
        """A running Generate call, as its events: the first has come."""
        channel = channel_to(program.tcp)
        self.addCleanup(channel.close)
        request = generation_service_pb2.GenerateRequest(sampling=sampling_pb2.SamplingParams(temperature=0.7, seed=1))
        request.prompt.tokens.token_ids.append(1)
        request.stop.max_tokens = max_tokens
        events = wire.Client.on(channel).generation.Generate(request, timeout=TIMEOUT_S)
        next(events)
        return events

    def idle_stream(self, program: Program) -> grpc.Call:
        """An open Decode stream that waits for its client: the drain ends it."""
        channel = channel_to(program.tcp)
        self.addCleanup(channel.close)
        gate = wire.Gate(iter([wire.config(8)]))
        self.addCleanup(gate.close)
        call = wire.Client.on(channel).decoding.Decode(iter(gate), timeout=TIMEOUT_S)
        next(call)
        return call

    def assert_drained(self, call: grpc.Call) -> None:
        with self.assertRaises(grpc.RpcError) as failure:
            next(call)
        self.assertEqual(wire.reason(wire.error_of(failure.exception)), "DRAINING")

    def time_ends(self, most_s: float, rounds: int, model: pathlib.Path | None) -> None:
        """SIGTERM after large replies, with the connection open and no call on it."""
        for reply in REPLIES:
            for transport in ("tcp", "unix"):
                slowest = 0.0
                for number in range(rounds):
                    with self.subTest(reply=reply.name, transport=transport, round=number):
                        program = self.start(model=model)
                        with channel_to(getattr(program, transport)) as channel:
                            self.assertGreaterEqual(reply.ask(channel), reply.least_bytes)
                            if model is not None:
                                list(self.generate(program, max_tokens=4))
                            program.process.send_signal(signal.SIGTERM)
                            duration, status = program.end()
                        slowest = max(slowest, duration)
                        self.assert_ended_in_order(program, status)
                        if not SANITIZED:
                            self.assertLess(duration, most_s, program.log())
                        program.close()
                print(f"{'with a runner' if model else 'without a model'}, {reply.name} over {transport}: "
                      f"{rounds} rounds, slowest end {slowest * 1000:.0f} ms of {most_s * 1000:.0f} ms", flush=True)

    def test_no_call_open_without_a_model(self):
        self.time_ends(MOST_WITHOUT_MODEL_S, ROUNDS, None)

    @unittest.skipUnless((harness.BIN / "logitd-llama").exists(), "built without llama.cpp")
    def test_no_call_open_with_a_supervised_runner(self):
        self.time_ends(MOST_WITH_RUNNER_S, ROUNDS_WITH_RUNNER, harness.model_path())

    def test_gnu_timeout(self):
        """It sends its signal to its child, and again to its group: the drain takes place, once."""
        for number in range(ROUNDS):
            with self.subTest(round=number):
                program = self.start(launcher=("timeout", "--preserve-status", str(TIMEOUT_S)))
                stream = self.idle_stream(program)
                program.process.send_signal(signal.SIGTERM)
                self.assert_drained(stream)
                _, status = program.end()
                self.assert_ended_in_order(program, status)
                program.close()
        print(f"GNU timeout: {ROUNDS} of {ROUNDS} drained, status 0")

    def test_gnu_timeout_that_runs_out(self):
        program = self.start(launcher=("timeout", "1"), wait=False)
        _, status = program.end()
        # timeout's own status for it; that of logitd is in its log.
        self.assert_ended_in_order(program, status, expected=124)

    def test_signals_soon_after_the_first_are_the_same_request(self):
        program = self.start()
        stream = self.idle_stream(program)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGTERM):
            program.process.send_signal(number)
        self.assert_drained(stream)
        _, status = program.end()
        self.assert_ended_in_order(program, status)

    def test_second_signal_later_ends_it_at_once(self):
        for number in (signal.SIGTERM, signal.SIGINT):
            with self.subTest(signal=number.name):
                program = self.start()
                # It takes the first batch and never answers the second: the drain waits for the call.
                runner = fake_runner.FakeRunner(f"unix:{program.folder}/runner", max_batches=1)
                self.addCleanup(runner.stop)
                program.wait_for_log("runner attached")
                events = self.generate(program, max_tokens=100)
                program.process.send_signal(signal.SIGTERM)
                program.wait_for_log(" stopping")
                # It is about a time that has passed: there is no event to wait for.
                threading.Event().wait(SAME_REQUEST_S + 0.2)
                self.assertIsNone(program.process.poll())
                program.process.send_signal(number)
                duration, status = program.end()
                self.assertLess(duration, 1)
                self.assertEqual(status, -number)
                self.assertIn(f"for the second time signal={number.name}", program.log())
                with self.assertRaises(grpc.RpcError):
                    list(events)

    def test_hang_up_never_ends_it(self):
        program = self.start()
        program.process.send_signal(signal.SIGHUP)
        program.wait_for_log("signal=SIGHUP")
        stream = self.idle_stream(program)
        for count in range(2, 5):
            program.signal_group(signal.SIGHUP)
            program.wait_for_log("signal=SIGHUP", count)
        program.process.send_signal(signal.SIGTERM)
        program.signal_group(signal.SIGHUP)
        self.assert_drained(stream)
        _, status = program.end()
        self.assert_ended_in_order(program, status)

    @unittest.skipUnless((harness.BIN / "logitd-llama").exists(), "built without llama.cpp")
    def test_hang_up_while_the_model_is_loaded(self):
        program = self.start(model=harness.model_path(), wait=False)
        program.wait_for_log(" starting")
        program.signal_group(signal.SIGHUP)
        program.wait_for_log("signal=SIGHUP")
        program.wait_until_ready()
        # To the runner as well, wherever its group is.
        for runner in process.children(program.process.pid):
            os.kill(runner, signal.SIGHUP)
        list(self.generate(program, max_tokens=4))
        self.assertEqual(program.log().count("runner attached"), 1)
        program.process.send_signal(signal.SIGTERM)
        _, status = program.end()
        self.assert_ended_in_order(program, status)

    @unittest.skipUnless((harness.BIN / "logitd-llama").exists(), "built without llama.cpp")
    def test_stop_while_the_model_is_loaded(self):
        program = self.start(model=harness.model_path(), wait=False)
        program.wait_for_log(" starting")
        program.signal_group(signal.SIGINT)
        _, status = program.end()
        self.assert_ended_in_order(program, status)
        self.assertNotIn("listening on", program.process.stdout.read())

    @unittest.skipUnless((harness.BIN / "logitd-llama").exists(), "built without llama.cpp")
    def test_interrupt_of_a_terminal_lets_the_runner_finish(self):
        """Ctrl-C goes to the whole group: a completion that runs still ends in order, by the same runner."""
        # A busy machine may take a while for the tokens.
        program = self.start(model=harness.model_path(), grace_s=TIMEOUT_S)
        events = self.generate(program, max_tokens=64)
        program.signal_group(signal.SIGINT)
        last = list(events)[-1]
        self.assertEqual(len(last.final.completions), 1, last)
        completion = last.final.completions[0]
        self.assertEqual(completion.error.code, 0)
        self.assertEqual(program.log().count("runner attached"), 1)
        _, status = program.end()
        self.assert_ended_in_order(program, status)


if __name__ == "__main__":
    unittest.main()
