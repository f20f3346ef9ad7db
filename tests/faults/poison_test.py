"""A request that kills its runner must not take the model from everybody, and the log says how runners ended.

LOGITD_LONG=1 sends twenty such requests instead of one, each another one.
"""

import contextlib
import json
import os
import pathlib
import shutil
import tempfile
import threading
import time
import unittest
from collections.abc import Iterator
from unittest import mock

import grpc
import harness
import mortal_runner
import wire
from logitd.v1 import completion_pb2, error_pb2, generation_service_pb2, model_service_pb2, sampling_pb2

GENERATIONS = 8
TOKENS = 1500
# What the poison costs. In each of them all others wait for the restart.
DEATHS = 3
# Poisonous requests, each another one, with LOGITD_LONG.
ROUNDS = 20 if os.environ.get("LOGITD_LONG") == "1" else 1
# Bytes that no line of a log may have, except at its end.
CONTROLS = "[\x00-\x09\x0b-\x1f\x7f\u0080-\u009f\u2028]"


def request(prompt: list[int], count: int) -> generation_service_pb2.GenerateRequest:
    return generation_service_pb2.GenerateRequest(
        prompt=completion_pb2.Input(tokens=sampling_pb2.TokenIds(token_ids=prompt)),
        sampling=sampling_pb2.SamplingParams(temperature=0),
        stop=sampling_pb2.StopCriteria(max_tokens=count, ignore_eos=True))


class Generation(threading.Thread):
    """A completion of `count` tokens, read as it grows."""

    def __init__(self, client: wire.Client, prompt: list[int], count: int = TOKENS):
        super().__init__(daemon=True)
        self.prompt, self.count = prompt, count
        self.has_begun = threading.Event()
        self.tokens: list[int] = []
        self.failure: grpc.RpcError | None = None
        self._call = client.generation.Generate(request(prompt, count), timeout=wire.TIMEOUT_S)
        self.start()

    def cancel(self) -> None:
        self._call.cancel()

    def run(self) -> None:
        try:
            for message in self._call:
                if message.HasField("delta"):
                    self.tokens += [token.token_id for token in message.delta.tokens]
                    self.has_begun.set()
        except grpc.RpcError as failure:
            self.failure = failure
        self.has_begun.set()


class PoisonTest(unittest.TestCase):
    def setUp(self):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="logitd-e2e-"))
        self.addCleanup(shutil.rmtree, self.folder)

    @contextlib.contextmanager
    def start(self, *flags: str, log_format: str = "json", death: str = "SEGV",
              says: bytes = b"") -> Iterator[harness.Server]:
        with mock.patch.dict(os.environb, {b"MORTAL_RUNNER_DEATH": death.encode(), b"MORTAL_RUNNER_SAYS": says,
                                           b"PYTHONPATH": os.pathsep.join(os.sys.path).encode()}):
            server = harness.Server(model=harness.model_path(), flags=("--log-format", log_format, *flags),
                                    program=mortal_runner.program_folder(self.folder))
        try:
            yield server
        finally:
            server.stop()

    def complete(self, client: wire.Client, prompt: list[int], count: int = 3) -> list[int]:
        return [token.token_id for message in client.generation.Generate(request(prompt, count), timeout=wire.TIMEOUT_S)
                for token in message.delta.tokens]

    def assert_fails(self, client: wire.Client, prompt: list[int], code: grpc.StatusCode, reason: str) -> str:
        with self.assertRaises(grpc.RpcError) as raised:
            self.complete(client, prompt)
        self.assertEqual((raised.exception.code(), wire.error_of(raised.exception).reason),
                         (code, error_pb2.ErrorReason.Value("ERROR_REASON_" + reason)), raised.exception)
        return raised.exception.details()

    def log(self, server: harness.Server) -> list[dict]:
        return [json.loads(line) for line in server.log().splitlines()]

    def gone(self, server: harness.Server, count: int = 1) -> list[dict]:
        """The first `count` lines of runners that are gone."""
        end = time.monotonic() + harness.START_TIMEOUT_S
        while len(lines := [line for line in self.log(server) if line["message"] == "runner gone"]) < count:
            self.assertLess(time.monotonic(), end)
            threading.Event().wait(0.02)
        return lines

    def poison_once(self, client: wire.Client, round_number: int, runners: int) -> None:
        poison = [*divmod(round_number, 7), mortal_runner.POISON]
        generations = [Generation(client, [number % 7, 3, 5]) for number in range(GENERATIONS)]
        for generation in generations:
            self.assertTrue(generation.has_begun.wait(harness.CALL_TIMEOUT_S))
        # Calls that come all the while wait for the runner, and are answered.
        is_over = threading.Event()
        asked: list[Generation] = []

        def ask() -> None:
            while not is_over.wait(0.01):
                asked.append(Generation(client, [len(asked) % 7, 1], count=2))

        asker = threading.Thread(target=ask)
        asker.start()
        began = time.monotonic()
        details = self.assert_fails(client, poison, grpc.StatusCode.INTERNAL, "RUNNER_KILLED")
        took = time.monotonic() - began
        self.assertIn("SIGSEGV", details)
        self.assertIn(True, [generation.is_alive() for generation in generations], "nothing was disturbed")
        for generation in generations:
            generation.join(harness.CALL_TIMEOUT_S)
        is_over.set()
        asker.join()
        for generation in generations + asked:
            generation.join(harness.CALL_TIMEOUT_S)
            self.assertFalse(generation.is_alive(), "a generation hangs")
            self.assertIsNone(generation.failure)
            self.assertEqual(generation.tokens, mortal_runner.completion(generation.prompt, generation.count))
        # The same request again, and again: no runner dies any more.
        for _ in range(5):
            self.assert_fails(client, poison, grpc.StatusCode.INTERNAL, "RUNNER_KILLED")
        self.assertEqual(self.complete(client, [1, 2]), mortal_runner.completion([1, 2], 3))
        print(f"{runners} runner(s): refused after {DEATHS} deaths and {took:.1f} s; {GENERATIONS} generations of "
              f"{TOKENS} tokens and {len(asked)} short ones are right", flush=True)

    def check_poison(self, runners: int) -> None:
        with self.start("--runners", str(runners)) as server, wire.connect(server.address) as client:
            for round_number in range(ROUNDS):
                self.poison_once(client, round_number, runners)
            gone = self.gone(server, DEATHS * ROUNDS)
            self.assertEqual([(line["level"], line["cause"]) for line in gone],
                             [("warn", "signal SIGSEGV (Segmentation fault)")] * DEATHS * ROUNDS)

    def test_poisonous_request_alone_is_refused(self):
        self.check_poison(runners=1)

    def test_poisonous_request_alone_is_refused_with_two_runners(self):
        self.check_poison(runners=2)

    def test_poison_is_refused_also_while_texts_become_tokens_all_the_time(self):
        with self.start() as server, wire.connect(server.address) as client:
            is_over = threading.Event()
            has_begun = threading.Barrier(5)
            failures: list[grpc.RpcError] = []

            def tokenize() -> None:
                has_begun.wait(harness.CALL_TIMEOUT_S)
                while not is_over.is_set():
                    try:
                        reply = client.models.Tokenize(model_service_pb2.TokenizeRequest(texts=["abc"]),
                                                       timeout=wire.TIMEOUT_S)
                        self.assertEqual(list(reply.texts[0].token_ids), [byte % 7 for byte in b"abc"])
                    except grpc.RpcError as failure:
                        failures.append(failure)

            threads = [threading.Thread(target=tokenize, daemon=True) for _ in range(4)]
            for thread in threads:
                thread.start()
            generation = Generation(client, [1, 3, 5])
            self.assertTrue(generation.has_begun.wait(harness.CALL_TIMEOUT_S))
            has_begun.wait(harness.CALL_TIMEOUT_S)
            self.assert_fails(client, [1, mortal_runner.POISON], grpc.StatusCode.INTERNAL, "RUNNER_KILLED")
            generation.join(harness.CALL_TIMEOUT_S)
            is_over.set()
            for thread in threads:
                thread.join(harness.CALL_TIMEOUT_S)
            self.assertEqual([failure for failure in failures
                              if wire.error_of(failure).reason != error_pb2.ERROR_REASON_RUNNER_LOST], [])
            self.assertEqual(generation.tokens, mortal_runner.completion([1, 3, 5], TOKENS))
            # Two to be alone, at most one in doubt, one that is sure.
            self.assertLessEqual(len(self.gone(server, DEATHS)), DEATHS + 1)

    def test_deaths_that_are_no_fault_of_a_request(self):
        # Four runners are lost, then the request is told to come again later: as before.
        for death, level, cause in [("KILL", "warn", "signal SIGKILL (Killed)"),
                                    ("TERM", "warn", "signal SIGTERM (Terminated)"),
                                    ("5", "warn", "exit status 5"), ("leave", "info", "exit status 0")]:
            with self.subTest(death=death), self.start(death=death) as server, wire.connect(server.address) as client:
                self.assert_fails(client, [mortal_runner.POISON], grpc.StatusCode.UNAVAILABLE, "RUNNER_LOST")
                self.assertEqual(self.complete(client, [1, 2]), mortal_runner.completion([1, 2], 3))
                self.assertEqual([(line["level"], line["cause"]) for line in self.gone(server, 4)],
                                 [(level, cause)] * 4)

    def test_silence_is_told(self):
        with self.start(death="hang") as server, wire.connect(server.address) as client:
            generation = Generation(client, [mortal_runner.POISON], count=1)
            line = self.gone(server)[0]
            self.assertEqual(line["level"], "warn")
            self.assertRegex(line["cause"], r"^it was silent for \d+ ms$")
            # Else it would go on to the next runner, and so on.
            generation.cancel()
            self.assertEqual(self.complete(client, [1, 2]), mortal_runner.completion([1, 2], 3))

    def test_runners_lines_are_in_the_log(self):
        says = (b'two words="quoted"\n\x1b[31mred\x7f \xff\xfe \xe2\x80\xa8 \xc2\x85\r\n' + b"x" * 5000 +
                b"\n\n" + b"y" * 100_000)
        with self.start(says=says) as server:
            lines = [line for line in self.log(server) if line["message"] == "runner says"]
            self.assertEqual([line["line"] for line in lines[:3]],
                             ['two words="quoted"', "\x1b[31mred\x7f \ufffd\ufffd \u2028 \u0085",
                              "x" * 2000 + " [3000 bytes more]"])
            self.assertEqual({line["level"] for line in lines}, {"info"})
            self.assertRegex(lines[0]["name"], "^smollm2#1-")
            # Escaped: nothing reaches a terminal, and a line is one line for every reader.
            self.assertNotRegex(server.log(), CONTROLS)
        warnings = b"logitd-llama: warning: a small cache\nwarning: another\nlogitd-llama: no warning: here\nforewarning: x\n"
        with self.start(says=warnings) as server:
            self.assertEqual([(line["line"], line["level"]) for line in self.log(server)
                              if line["message"] == "runner says"],
                             [("logitd-llama: warning: a small cache", "warn"), ("warning: another", "warn"),
                              ("logitd-llama: no warning: here", "info"), ("forewarning: x", "info")])
        with self.start(log_format="text", says=says) as server:
            self.assertNotRegex(server.log(), CONTROLS)
            for line in server.log().splitlines():
                self.assertRegex(line, r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z (info|warn) \w")
            self.assertIn(r'runner says name=smollm2#1-', server.log())
            self.assertIn(r'line="two words=\"quoted\""', server.log())


if __name__ == "__main__":
    unittest.main()
