"""A client that stops reading, one that opens 10,000 sequences, and one that cancels 5,000 times.

The server's memory stays bounded, what is refused is refused by type, and other clients get at least 0.8 of what they
get while the same client asks for nothing. Figures are printed; LOGITD_LONG=1 takes the full numbers and judges the
rates, otherwise it is a tenth of the cancellations and rates are only shown.
"""

import os
import subprocess
import sys
import threading
import time
import unittest

import grpc
import harness
import process
import wire
from logitd.v1 import completion_pb2, decoding_service_pb2, generation_service_pb2, sampling_pb2

IS_LONG = os.environ.get("LOGITD_LONG") == "1"
SEQUENCES = 10_000
CANCELS = 5_000 if IS_LONG else 500
STALLED_STREAMS = 32
MEASURED_S = 20.0 if IS_LONG else 10.0
LEAST_RATIO = 0.8
# More than the server may grow by, whatever a client does: Limits bounds what it holds for one connection.
MEMORY_BOUND = 512 << 20


def generate_request(number: int, max_tokens: int) -> generation_service_pb2.GenerateRequest:
    return generation_service_pb2.GenerateRequest(
        prompt=completion_pb2.Input(text=f"Letter number {number}: Dear"),
        sampling=sampling_pb2.SamplingParams(temperature=0.8, seed=number),
        stop=sampling_pb2.StopCriteria(max_tokens=max_tokens, ignore_eos=True))


class Victim(threading.Thread):
    """Another client: one completion after the other; counts its tokens."""

    def __init__(self, address: str, number: int):
        super().__init__(daemon=True)
        self._address = address
        self._number = number
        self._stop_event = threading.Event()
        self.tokens = 0
        self.failure: Exception | None = None
        self.start()

    def run(self) -> None:
        try:
            with wire.connect(self._address) as client:
                while not self._stop_event.is_set():
                    call = client.generation.Generate(generate_request(self._number, 64), timeout=wire.TIMEOUT_S)
                    for message in call:
                        if message.HasField("delta"):
                            self.tokens += len(message.delta.tokens)
                        if self._stop_event.is_set():
                            call.cancel()
                            break
        except grpc.RpcError as failure:
            if failure.code() != grpc.StatusCode.CANCELLED:
                self.failure = failure

    def stop(self) -> None:
        self._stop_event.set()
        self.join(harness.CALL_TIMEOUT_S)


# What the abusive client does is a program of its own: its work must not slow down this one.
def main_abuse(kind: str, address: str) -> None:
    # Without the window that grows with what arrives: what is not read stays in the server from the first 64 KiB on.
    options = [("grpc.http2.bdp_probe", 0), ("grpc.http2.lookahead_bytes", 65536)]
    with grpc.insecure_channel(address, options=options) as channel:
        client = wire.Client.on(channel)
        {"wait": wait, "stall": stall, "cancel": cancel, "sequences": open_sequences}[kind](client)


def ready() -> None:
    print("ready", flush=True)


def until_told() -> None:
    sys.stdin.read()


def wait(_: wire.Client) -> None:
    """Is connected and asks for nothing: nobody behaves better."""
    ready()
    until_told()


def stall(client: wire.Client) -> None:
    """Starts long completions with large messages, and reads nothing of them."""
    calls = []
    for number in range(STALLED_STREAMS):
        request = generate_request(number, 512)
        request.record.top_n = 1000
        calls.append(client.generation.Generate(request, timeout=wire.TIMEOUT_S))
    ready()
    until_told()
    for call in calls:
        call.cancel()


def cancel(client: wire.Client) -> None:
    """Begins completions and cancels them: some at once, some after their first message."""
    ready()
    for number in range(CANCELS):
        call = client.generation.Generate(generate_request(number, 64), timeout=wire.TIMEOUT_S)
        try:
            if number % 4 == 0:
                next(call)
        except grpc.RpcError:
            pass
        call.cancel()
    print("done", flush=True)
    until_told()


def open_sequences(client: wire.Client) -> None:
    """Opens sequences in Decode streams, each with a token set of its own, and steps none of them."""
    width = 50_000
    reasons: dict[str, int] = {}
    messages = []
    for first in range(0, SEQUENCES, 1000):
        message = decoding_service_pb2.DecodeRequest(batch=decoding_service_pb2.StepBatch(
            batch_id=first + 1, opens=[decoding_service_pb2.OpenSequence(
                sequence_id=s + 1, sampling=sampling_pb2.SamplingParams(
                    temperature=0.7, allowed_tokens=sampling_pb2.TokenSet(bitmask=b"\xff" * ((width + 7) // 8))))
                for s in range(first, first + 1000)]))
        messages.append(message)
    stopped = threading.Event()

    def requests():
        yield wire.config(width)
        yield from messages
        ready()
        stopped.wait()

    def stop() -> None:
        until_told()
        stopped.set()

    threading.Thread(target=stop, daemon=True).start()
    try:
        for reply in client.decoding.Decode(requests(), timeout=wire.TIMEOUT_S):
            for result in reply.result.opens:
                name = wire.reason(result.error) if result.HasField("error") else "opened"
                reasons[name] = reasons.get(name, 0) + 1
    except grpc.RpcError as failure:
        reasons["status " + wire.reason(wire.error_of(failure))] = 1
    print(repr(reasons), flush=True)


class Abuse:
    """An abusive client at work."""

    def __init__(self, kind: str, address: str):
        self._process = subprocess.Popen([sys.executable, __file__, "--abuse", kind, address], text=True,
                                         stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert self._process.stdout.readline() == "ready\n", f"the abusive client ({kind}) did not start"

    def stop(self) -> str:
        """What it said after it had begun."""
        output, _ = self._process.communicate(timeout=harness.CALL_TIMEOUT_S)
        return output.strip()


class AbusiveClientTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.server = harness.Server(model=harness.model_path(), flags=("--precision", "f32"))

    @classmethod
    def tearDownClass(cls):
        cls.server.stop()

    @classmethod
    def throughput(cls, kind: str) -> tuple[float, int, str]:
        """Tokens a second of two other clients beside that one, the server's memory growth, and what it said."""
        before = process.resident_bytes(cls.server.pid)
        victims = [Victim(cls.server.address, 7000 + i) for i in range(2)]
        abuse = Abuse(kind, cls.server.address)
        start, tokens = time.monotonic(), sum(victim.tokens for victim in victims)
        most = before
        while time.monotonic() - start < MEASURED_S:
            threading.Event().wait(0.1)
            most = max(most, process.resident_bytes(cls.server.pid))
        rate = (sum(victim.tokens for victim in victims) - tokens) / (time.monotonic() - start)
        said = abuse.stop()
        for victim in victims:
            victim.stop()
            assert victim.failure is None, victim.failure
        return rate, most - before, said

    def check(self, kind: str) -> str:
        behaved, _, _ = self.throughput("wait")
        rate, growth, said = self.throughput(kind)
        print(f"{kind}: other clients get {rate:.1f} tokens/s, {rate / behaved:.2f} of the {behaved:.1f} they get "
              f"beside one that asks for nothing; the server grew by {growth / 2**20:.0f} MiB {said}", flush=True)
        self.assertTrue(self.server.is_alive())
        # A rate is only worth a judgement on a quiet machine, which the long run has to itself.
        if IS_LONG:
            self.assertGreaterEqual(rate, LEAST_RATIO * behaved)
        self.assertLess(growth, MEMORY_BOUND)
        return said

    def test_client_that_stops_reading(self):
        self.check("stall")

    def test_client_that_cancels(self):
        self.assertIn("done", self.check("cancel"))

    def test_client_that_opens_ten_thousand_sequences(self):
        said = self.check("sequences")
        self.assertIn("LIMIT_EXCEEDED", said)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--abuse"]:
        main_abuse(*sys.argv[2:])
    else:
        unittest.main()
