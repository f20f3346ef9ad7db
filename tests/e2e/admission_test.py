"""Idle streams, running calls and busy connections each have a limit; a server always answers questions about itself."""

import asyncio
import os
import pathlib
import subprocess
import sys
import time
import unittest

import fake_runner
import grpc
import harness
import wire
from logitd.v1 import decoding_service_pb2 as decoding
from logitd.v1 import decoding_service_pb2_grpc, generation_service_pb2
from logitd.v1 import server_service_pb2, server_service_pb2_grpc

STREAMS = 1024
PER_CONNECTION = 256
# AddressSanitizer puts room around everything that is allocated.
KIB = 1024 * (4 if "ASAN_OPTIONS" in os.environ else 1)


def status_of(server: harness.Server, key: str) -> int:
    for line in pathlib.Path(f"/proc/{server.pid}/status").read_text(encoding="utf-8").splitlines():
        if line.startswith(key + ":"):
            return int(line.split()[1])
    raise AssertionError(f"no {key}")


def connection(address: str) -> grpc.aio.Channel:
    """One of its own: channels to one address share theirs otherwise."""
    return grpc.aio.insecure_channel(address, options=[("grpc.use_local_subchannel_pool", 1)])


async def open_stream(channel: grpc.aio.Channel) -> grpc.aio.StreamStreamCall:
    """An idle Decode stream: its config is answered."""
    call = decoding_service_pb2_grpc.DecodingServiceStub(channel).Decode(timeout=wire.TIMEOUT_S)
    await call.write(wire.config(4))
    await call.read()
    return call


async def hold(address: str) -> None:
    """Opens the number of streams that the lines of standard input give, and follows their other commands."""
    channels: list[grpc.aio.Channel] = []
    calls: list[grpc.aio.StreamStreamCall] = []
    loop = asyncio.get_running_loop()
    while word := (await loop.run_in_executor(None, sys.stdin.readline)).strip():
        if word == "step":
            await calls[0].write(wire.batch(1, bytes(16), 4, [1]))
            print("chosen" if (await calls[0].read()).result.steps[0].HasField("chosen") else "not chosen", flush=True)
        elif word == "end":
            await calls[-1].done_writing()
            print("ended" if await calls[-1].read() == grpc.aio.EOF else "not ended", flush=True)
        else:
            while len(calls) < int(word):
                if len(calls) % PER_CONNECTION == 0:
                    channels.append(connection(address))
                calls.append(await open_stream(channels[-1]))
            print(f"{len(calls)} open", flush=True)
    os._exit(0)  # Its streams end with it.


class AdmissionTest(unittest.TestCase):
    def start(self, *flags: str) -> harness.Server:
        server = harness.Server(flags=(*flags, "--grace-period", "5s"))
        self.addCleanup(server.stop)
        return server

    def attach(self, server: harness.Server, max_batches: int | None = None) -> fake_runner.FakeRunner:
        runner = fake_runner.FakeRunner(server.runner_address, max_batches=max_batches)
        deadline = time.monotonic() + wire.TIMEOUT_S
        with wire.connect(server.address) as client:
            while client.runner_count() == 0:
                self.assertLess(time.monotonic(), deadline)
        return runner

    def expect_answers(self, server: harness.Server) -> dict:
        """Makes the calls that are never refused; returns the answer of `logit info`."""
        health = harness.run("logit", "health", "--timeout", "60", "--server", server.address)
        self.assertEqual((health.status, health.stdout), (0, f"logitd at {server.address} is serving\n"), health.stderr)
        info = harness.logit("info", server=server).json()
        self.assertEqual([m["model"]["name"] for m in info["models"]], [fake_runner.NAME])
        model = harness.logit("health", fake_runner.NAME, server=server)
        self.assertEqual(model.json(), {"status": "SERVING"})
        return info

    def expect_error(self, failure: grpc.RpcError, reason: str, limit: str) -> None:
        self.assertEqual(failure.code(), grpc.StatusCode.RESOURCE_EXHAUSTED)
        error = wire.error_of(failure)
        self.assertEqual((wire.reason(error), error.limit), (reason, limit), error.message)
        self.assertIn(limit, error.message)
        self.assertEqual(error.HasField("retry_after_ms"), reason == "OVERLOADED")

    def test_1024_idle_streams(self):
        server = self.start("--max-open-streams", str(STREAMS))
        runner = self.attach(server)
        # In a process of its own: this one starts others, which gRPC's event loop does not bear.
        holder = subprocess.Popen([sys.executable, __file__, "--hold", server.address], stdin=subprocess.PIPE,
                                  stdout=subprocess.PIPE, text=True)
        self.addCleanup(holder.communicate)

        def say(word: str, answer: str) -> None:
            print(word, file=holder.stdin, flush=True)
            self.assertEqual(holder.stdout.readline(), answer + "\n")

        # The first one pays for everything that all share.
        say("1", "1 open")
        before = status_of(server, "VmRSS")
        say(str(STREAMS), f"{STREAMS} open")
        each = (status_of(server, "VmRSS") - before) / (STREAMS - 1)
        threads = status_of(server, "Threads")
        print(f"{each:.1f} KiB an idle stream, {threads} threads")
        self.assertLess(each * 1024, 40 * KIB)
        self.assertLess(threads, 200)

        self.assertEqual(self.expect_answers(server)["server"]["limits"]["max_open_streams"], STREAMS)
        with wire.connect(server.address) as client:
            request = generation_service_pb2.GenerateRequest(prompt={"tokens": {"token_ids": [1]}},
                                                             stop={"max_tokens": 3})
            replies = list(client.generation.Generate(request, timeout=wire.TIMEOUT_S))
            self.assertEqual(len(replies[-1].final.completions[0].tokens), 3)
            distribution = harness.logit("distribution", "--logits=0,0", "--temperature", 0.5, server=server)
            self.assertEqual(distribution.json()["probabilities"], [0.5, 0.5])
            with self.assertRaises(grpc.RpcError) as failure:
                client.decode(wire.config(4))
            self.expect_error(failure.exception, "OVERLOADED", "max_open_streams")
            with self.assertRaises(grpc.RpcError) as failure:
                list(client.scoring.ScoreLogits(iter([]), timeout=wire.TIMEOUT_S))
            self.expect_error(failure.exception, "OVERLOADED", "max_open_streams")
            # They live; and one that ends makes room, as soon as the server has heard of it.
            say("step", "chosen")
            say("end", "ended")
            deadline = time.monotonic() + wire.TIMEOUT_S
            while True:
                try:
                    self.assertEqual(len(client.decode(wire.config(4))), 1)
                    break
                except grpc.RpcError:
                    self.assertLess(time.monotonic(), deadline)
        runner.stop()

    def test_as_many_calls_as_may_run(self):
        server = self.start("--max-calls", "2")
        runner = self.attach(server, max_batches=0)
        request = generation_service_pb2.GenerateRequest(prompt={"tokens": {"token_ids": [1]}})
        with wire.connect(server.address) as client:
            running = [client.generation.Generate(request, timeout=wire.TIMEOUT_S) for _ in range(2)]
            self.assertTrue(runner.stuck.wait(10))
            deadline = time.monotonic() + wire.TIMEOUT_S
            while True:
                try:
                    client.decoding.ComputeDistribution(
                        decoding.ComputeDistributionRequest(logits={"float_values": [1, 2]}), timeout=wire.TIMEOUT_S)
                    # The second call has not arrived.
                    self.assertLess(time.monotonic(), deadline)
                except grpc.RpcError as failure:
                    self.expect_error(failure, "OVERLOADED", "max_calls")
                    break
            self.assertEqual(self.expect_answers(server)["server"]["limits"]["max_calls"], 2)
            # Streams are counted apart.
            self.assertEqual(len(client.decode(wire.config(4), wire.batch(1, bytes(16), 4, [1]))), 2)
            for call in running:
                call.cancel()
        runner.break_off()

    def test_the_257th_call_of_a_connection(self):
        server = self.start()
        asyncio.run(self.fill_a_connection(server))

    async def fill_a_connection(self, server: harness.Server) -> None:
        channel = connection(server.address)
        calls = [await open_stream(channel) for _ in range(PER_CONNECTION)]
        with self.assertRaises(grpc.RpcError) as failure:
            await open_stream(channel)
        self.expect_error(failure.exception, "LIMIT_EXCEEDED", "max_streams_per_connection")
        self.assertIn("open another connection", failure.exception.details())
        # However many come at once: none is left waiting without a word.
        stub = decoding_service_pb2_grpc.DecodingServiceStub(channel)
        request = decoding.ComputeDistributionRequest(logits={"float_values": [1, 2]})

        async def end_of_one() -> str:
            try:
                await stub.ComputeDistribution(request, timeout=wire.TIMEOUT_S)
                return ""
            except grpc.RpcError as failure:
                return wire.error_of(failure).limit

        ends = await asyncio.gather(*(end_of_one() for _ in range(2000)))
        self.assertEqual(set(ends), {"max_streams_per_connection"})
        # The server answers questions about itself on that connection, too.
        info = await server_service_pb2_grpc.ServerServiceStub(channel).GetServerInfo(
            server_service_pb2.GetServerInfoRequest(), timeout=wire.TIMEOUT_S)
        self.assertEqual(info.limits.max_streams_per_connection, PER_CONNECTION)
        # A call that ends makes room for the next at once.
        for _ in range(50):
            call = calls.pop()
            await call.done_writing()
            self.assertEqual(await call.read(), grpc.aio.EOF)
            calls.append(await open_stream(channel))
        await channel.close()


if __name__ == "__main__":
    if sys.argv[1:2] == ["--hold"]:
        asyncio.run(hold(sys.argv[2]))
    unittest.main()
