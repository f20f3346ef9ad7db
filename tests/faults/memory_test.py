"""What a message costs is bounded before it is parsed, and memory goes back to the system.

Messages of every kind of every method that are made to cost more than their bytes (hostile_messages.py): each is refused
by type, another client's ComputeDistribution calls succeed all the while, and afterwards the server is as small as before. And
a server that has had many calls is as small as one that has had few.

LOGITD_LONG=1: messages of 64 MiB, 16 at once, and 500,000 calls. Otherwise every kind with 1 MiB, a few kinds of each
method with 64 MiB, and 16,000 calls.
"""

import itertools
import os
import pathlib
import subprocess
import sys
import tempfile
import threading
import time
import unittest
from concurrent.futures import ThreadPoolExecutor

import grpc
import harness
import hostile_messages
import process
import wire
from logitd.v1 import decoding_service_pb2

# A sanitizer keeps what is freed: no figure of memory means anything there.
IS_SANITIZED = "sanitize" in str(harness.BIN)
IS_LONG = os.environ.get("LOGITD_LONG") == "1"
AT_ONCE = 16
MIB = 1 << 20
MOST_BYTES = 3 << 30
SETTLED_BYTES = 128 * MIB
SETTLED_S = 5.0
CALLS_BEFORE, CALLS = (10_000, 500_000) if IS_LONG else (4_000, 16_000)
CALLERS = 8
CALLS_BYTES = 64 * MIB
PROBE_S = 0.1
# Of a stream's first message that is well-formed, and no config: FAILED_PRECONDITION.
REFUSED = ("RESOURCE_EXHAUSTED", "INVALID_ARGUMENT", "FAILED_PRECONDITION UNEXPECTED_MESSAGE")
# Identity: the bytes are the message.
RAW = {"request_serializer": None, "response_deserializer": None}


def connect(address: str) -> grpc.Channel:
    # A connection of its own.
    return grpc.insecure_channel(address, options=[("grpc.use_local_subchannel_pool", 1),
                                                   ("grpc.max_receive_message_length", 64 * MIB)])


def status_of(channel: grpc.Channel, method: str, message: bytes) -> str:
    """The end of a call whose only message that is: "OK". (On the wire all kinds of calls are the same.)"""
    try:
        for _ in channel.unary_stream(method, **RAW)(message, timeout=wire.TIMEOUT_S):
            pass
        return "OK"
    except grpc.RpcError as failure:
        code = failure.code().name
        return f"{code} {wire.reason(wire.error_of(failure))}" if code == "FAILED_PRECONDITION" else code


# Programs of their own: the other client, which must not wait for the abusive one's threads, and those that call.
def main_probe(address: str) -> None:
    request = decoding_service_pb2.ComputeDistributionRequest()
    request.logits.block.dtype = 1
    request.logits.block.row_count = 1
    request.logits.block.width = 32_000
    request.logits.values = bytes(4 * 32_000)
    stopped = threading.Event()
    threading.Thread(target=lambda: (sys.stdin.read(), stopped.set()), daemon=True).start()
    count, longest = 0, 0.0
    with connect(address) as channel:
        client = wire.Client.on(channel)
        client.decoding.ComputeDistribution(request, timeout=wire.TIMEOUT_S)
        print("ready", flush=True)
        while not stopped.wait(PROBE_S):
            start = time.monotonic()
            try:
                client.decoding.ComputeDistribution(request, timeout=wire.TIMEOUT_S)
            except grpc.RpcError as failure:
                print(f"{failure.code()}: {failure.details()}", flush=True)
                return
            count += 1
            longest = max(longest, time.monotonic() - start)
    print(f"ok {count} {longest:.3f}", flush=True)


def main_calls(address: str, seed: str, count: str) -> None:
    calls = hostile_messages.Calls(int(seed))
    codes: dict[str, int] = {}
    with connect(address) as channel:
        for _ in range(int(count)):
            code = status_of(channel, *calls.next())
            codes[code] = codes.get(code, 0) + 1
    print(repr(codes), flush=True)


def start(*arguments: object) -> subprocess.Popen:
    return subprocess.Popen([sys.executable, __file__, *map(str, arguments)], text=True, stdin=subprocess.PIPE,
                            stdout=subprocess.PIPE)


class Probe:
    """Another client: one ComputeDistribution call every 100 ms."""

    def __init__(self, address: str):
        self._process = start("--probe", address)
        assert self._process.stdout.readline() == "ready\n"

    def stop(self) -> str:
        output, _ = self._process.communicate(timeout=harness.CALL_TIMEOUT_S)
        return output.strip()


class MemoryTest(unittest.TestCase):
    maxDiff = None

    @classmethod
    def setUpClass(cls):
        cls._folder = tempfile.TemporaryDirectory(prefix="logitd-memory-")
        model = harness.random_model(harness.vocabulary_path("gpt-2"), pathlib.Path(cls._folder.name) / "model.gguf")
        cls.server = harness.Server(model=model)
        cls.pids = [cls.server.pid, *process.children(cls.server.pid)]

    @classmethod
    def tearDownClass(cls):
        cls.server.stop()
        cls._folder.cleanup()

    def peak(self) -> int:
        """The sum of all peaks: not less than the peak of the sum."""
        return sum(process.peak_resident_bytes(pid) for pid in self.pids)

    def settle(self, bound: int) -> tuple[int, float]:
        """The server's size as soon as it is within `bound`, and how long that took; or what it is after 5 s."""
        begun = time.monotonic()
        while True:
            size, waited = process.resident_bytes(self.server.pid), time.monotonic() - begun
            if size <= bound or waited > SETTLED_S:
                return size, waited
            threading.Event().wait(0.05)

    def attack(self, messages: list[tuple[str, str, hostile_messages.Kind, int]]) -> None:
        """Sends them, 16 at once, each on one of 16 connections."""
        with connect(self.server.address) as channel:
            for method in hostile_messages.METHODS:
                status_of(channel, method, b"")
        before = process.resident_bytes(self.server.pid)
        for pid in self.pids:
            process.forget_peak(pid)
        probe = Probe(self.server.address)
        channels = [connect(self.server.address) for _ in range(AT_ONCE)]
        numbers = itertools.count()

        def send(message: tuple[str, str, hostile_messages.Kind, int]) -> str | None:
            method, name, kind, size = message
            code = status_of(channels[next(numbers) % AT_ONCE], method, kind.message(size))
            # Of GetVocabulary nothing but the model's name can be wrong; and a calibration has any name, but is not there.
            is_right = (code in REFUSED or (code == "OK" and kind.may_be_good) or
                        (code == "NOT_FOUND" and (method.endswith("/GetVocabulary") or name.startswith("calibration"))) or
                        # The model has no chat template, which is found last.
                        (code.endswith(" CHAT_TEMPLATE_UNAVAILABLE") and method.endswith("/RenderChat")))
            return None if is_right else f"{method} {name} ({size} bytes): {code}"

        with ThreadPoolExecutor(AT_ONCE) as pool:
            wrong = [said for said in pool.map(send, messages) if said is not None]
        for channel in channels:
            channel.close()
        said = probe.stop()
        after, waited = self.settle(before + SETTLED_BYTES)
        sent = sum(size for *_, size in messages)
        print(f"{len(messages)} messages, {sent / MIB:.0f} MiB: peak {self.peak() / MIB:.0f} MiB with the runner, "
              f"{before / MIB:.0f} MiB before, {after / MIB:.0f} MiB after {waited:.1f} s; the other client: {said}",
              flush=True)
        self.assertTrue(self.server.is_alive())
        self.assertEqual(wrong, [])
        self.assertTrue(said.startswith("ok "), said)
        if IS_SANITIZED:
            return
        self.assertLess(self.peak(), MOST_BYTES)
        self.assertLessEqual(after, before + SETTLED_BYTES)

    def test_every_kind_of_message(self):
        sizes = (64 * MIB, 16 * MIB - 64) if IS_LONG else (MIB, )
        self.attack([(method, name, kind, size) for size in sizes
                     for method, request in hostile_messages.METHODS.items()
                     for name, kind in hostile_messages.kinds(request).items()])

    def test_large_messages(self):
        messages = []
        for method, request in hostile_messages.METHODS.items():
            kinds = hostile_messages.kinds(request)
            for name in ("unknown group", "batch.steps", "rows.blocks", "logits.float_values (packed)",
                         "output_token_ids (packed)", "batch.close_sequence_ids (packed)", "payload (one text)"):
                if name in kinds:
                    messages += [(method, name, kinds[name], 64 * MIB)] * 4
            for name in ("items", "texts", "tokens", "prompt.tokens.token_ids (packed)", "model"):
                if name in kinds:
                    messages.append((method, name, kinds[name], 16 * MIB - 64))
        self.attack(messages)

    def test_many_calls_leave_nothing(self):
        def call(first_seed: int, count: int) -> None:
            callers = [start("--calls", self.server.address, first_seed + i, count // CALLERS) for i in range(CALLERS)]
            for caller in callers:
                said, _ = caller.communicate(timeout=7200)
                self.assertEqual(caller.returncode, 0)
                print(said.strip(), flush=True)

        call(100, CALLS_BEFORE)
        before, _ = self.settle(0)
        begun = time.monotonic()
        call(1000, CALLS)
        after, waited = self.settle(before + CALLS_BYTES)
        print(f"{CALLS} calls in {time.monotonic() - begun:.0f} s: {before / MIB:.0f} MiB after the first "
              f"{CALLS_BEFORE}, {after / MIB:.0f} MiB {waited:.1f} s after the last", flush=True)
        if not IS_SANITIZED:
            self.assertLessEqual(after, before + CALLS_BYTES)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--probe"]:
        main_probe(*sys.argv[2:])
    elif sys.argv[1:2] == ["--calls"]:
        main_calls(*sys.argv[2:])
    else:
        unittest.main()
