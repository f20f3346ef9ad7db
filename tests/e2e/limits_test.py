"""Clients that misbehave: memory stays bounded, refusals are typed, and everybody else is served."""

import os
import pathlib
import threading
import time
import unittest

import fake_runner
import grpc
import harness
import wire
from logitd.v1 import decoding_service_pb2 as decoding
from logitd.v1 import generation_service_pb2

VOCAB_SIZE = 131_072
ROWS = 32
# AddressSanitizer puts room around everything that is allocated.
MIB = (1 << 20) * (2 if "ASAN_OPTIONS" in os.environ else 1)


class LimitsTest(unittest.TestCase):
    def setUp(self):
        self.server = harness.Server(flags=("--max-stall", "1s", "--grace-period", "5s"))
        self.addCleanup(self.server.stop)

    def memory(self) -> int:
        """Bytes of the server's memory."""
        for line in pathlib.Path(f"/proc/{self.server.pid}/status").read_text(encoding="utf-8").splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) * 1024
        raise AssertionError("no VmRSS")

    def files(self) -> int:
        return len(list(pathlib.Path(f"/proc/{self.server.pid}/fd").iterdir()))

    def serve_somebody_else(self) -> None:
        reply = harness.logit("distribution", "--logits=0,0", "--temperature", 0.5, server=self.server).json()
        self.assertEqual(reply["probabilities"], [0.5, 0.5])

    def test_idle_streams_hold_no_messages(self):
        payload = bytes(4 * VOCAB_SIZE * ROWS)  # 16 MiB
        with wire.connect(self.server.address) as client:
            calls = []
            peak = 0
            for _ in range(20):
                requests = iter([wire.config(VOCAB_SIZE),
                                 wire.batch(1, payload, VOCAB_SIZE, list(range(1, ROWS + 1)))])
                gate = wire.Gate(requests)
                call = client.decoding.Decode(iter(gate), timeout=wire.TIMEOUT_S)
                next(call)
                self.assertEqual(len(next(call).result.steps), ROWS)
                calls.append((call, gate))
                peak = max(peak, self.memory())
            # 320 MiB were sent; two messages of 16 MiB, and the allocator's reserve, are in memory at a time.
            self.assertLess(peak, 250 * MIB)
            self.serve_somebody_else()
            for call, gate in calls:
                gate.close()
                self.assertEqual(list(call), [])

    def test_idle_streams_hold_no_working_space(self):
        width = 1 << 20
        # Penalties change a copy of the row, typical looks at all of it: some 45 MiB for a step.
        sampling = {"temperature": 0.7, "seed": 1, "repetition_penalty": 2, "typical_p": 0.9}
        with wire.connect(self.server.address) as client:
            calls = []
            memory = []
            for _ in range(30):
                gate = wire.Gate(iter([wire.config(width, sampling=sampling),
                                       wire.batch(1, bytes(4 * width), width, [1],
                                                  fresh={"prompt_token_ids": [1, 2, 3]})]))
                call = client.decoding.Decode(iter(gate), timeout=wire.TIMEOUT_S)
                next(call)
                self.assertTrue(next(call).result.steps[0].HasField("chosen"))
                calls.append((call, gate))
                memory.append(self.memory())
            # As many workspaces as there are steps at once, and these come one after the other.
            self.assertLess(memory[-1] - memory[4], 40 * MIB, memory)
            self.serve_somebody_else()
            for call, gate in calls:
                gate.close()
                self.assertEqual(list(call), [])

    def test_sequences_that_are_opened_without_end(self):
        with wire.connect(self.server.address) as client:
            def requests():
                yield wire.config(VOCAB_SIZE)
                for batch_id in range(1, 11):
                    yield decoding.DecodeRequest(batch=decoding.StepBatch(
                        batch_id=batch_id,
                        opens=[decoding.OpenSequence(sequence_id=1000 * batch_id + i) for i in range(1000)]))

            opened = [o for reply in client.decoding.Decode(requests(), timeout=wire.TIMEOUT_S)
                      for o in reply.result.opens]
            self.assertEqual(len(opened), 10_000)
            refused = [o for o in opened if o.HasField("error")]
            self.assertEqual(len(refused), 10_000 - 1024)
            self.assertEqual({(wire.reason(o.error), o.error.limit) for o in refused},
                             {("LIMIT_EXCEEDED", "max_sequences_per_stream")})
        self.serve_somebody_else()

    def test_calls_that_are_cancelled_at_once(self):
        runner = fake_runner.FakeRunner(self.server.runner_address)
        self.assertTrue(runner.attached.wait(10))
        request = generation_service_pb2.GenerateRequest(prompt={"tokens": {"token_ids": [1]}},
                                                         stop={"max_tokens": 1000})
        self.serve_somebody_else()
        files, memory = self.files(), self.memory()
        with wire.connect(self.server.address) as client:
            for _ in range(5000):
                client.generation.Generate(request, timeout=wire.TIMEOUT_S).cancel()
            # All are gone when one that needs the runner's whole room is through. Until the server has heard of the
            # cancels, it or the connection may be full of them, and says so.
            request.stop.max_tokens = 3
            deadline = time.monotonic() + wire.TIMEOUT_S
            while True:
                try:
                    self.assertGreater(len(list(client.generation.Generate(request, timeout=wire.TIMEOUT_S))), 0)
                    break
                except grpc.RpcError as failure:
                    error = wire.error_of(failure)
                    self.assertIn(wire.reason(error), ("OVERLOADED", "LIMIT_EXCEEDED"))
                    self.assertIn(error.limit, ("max_calls", "max_bytes_in_work", "max_streams_per_connection"))
                    self.assertLess(time.monotonic(), deadline)
        self.serve_somebody_else()
        self.assertLess(self.memory() - memory, 150 * MIB)
        self.assertLess(self.files(), files + 10)
        runner.stop()

    def test_client_that_stops_reading(self):
        record = {"top_n": 1024}
        with wire.connect(self.server.address) as client:
            def requests():
                yield wire.config(4096, record=record)
                for position in range(1000):
                    yield wire.batch(position + 1, bytes(4 * 4096), 4096, [1], position, opens=position == 0)

            call = client.decoding.Decode(requests(), timeout=wire.TIMEOUT_S)
            next(call)
            # Reads nothing for longer than the limit (that nothing happens is the event), then all there is.
            threading.Event().wait(2.5)
            with self.assertRaises(grpc.RpcError) as failure:
                list(call)
            self.assertEqual(failure.exception.code(), grpc.StatusCode.RESOURCE_EXHAUSTED)
            self.assertIn("max_stall_ms", failure.exception.details())
        self.serve_somebody_else()


if __name__ == "__main__":
    unittest.main()
