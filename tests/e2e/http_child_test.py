"""`logitd --http`: logitd-http as a child of the server, from its start to its end."""

import contextlib
import json
import os
import pathlib
import select
import socket
import threading
import time
import unittest

import grpc
import harness
import health
import http_case
import process
import transition

TIMEOUT_S = 120


def child_of(server: harness.Server) -> int:
    """The process id of its logitd-http."""
    child, = (pid for pid in process.children(server.pid)
              if pathlib.Path(f"/proc/{pid}/comm").read_text(encoding="utf-8") == "logitd-http\n")
    return child


def wait_for_end(pid: int) -> None:
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        assert select.select([descriptor], [], [], TIMEOUT_S)[0], f"process {pid} is still there"
    finally:
        os.close(descriptor)


def wait_for_log(server: harness.Server, text: str, count: int = 1) -> None:
    limit = time.monotonic() + TIMEOUT_S
    while server.log().count(text) < count:
        assert time.monotonic() < limit, f"no '{text}' in the log:\n{server.log()}"
        threading.Event().wait(0.01)


class ChildCase(unittest.TestCase):
    def start(self, *flags: str, us_per_batch: int = 0) -> harness.Server:
        """A server with --http, and with the model "transition"."""
        server = harness.Server(flags=("--http", "127.0.0.1:0", *flags))
        self.addCleanup(lambda: server.is_alive() and server.stop())
        self.http = http_case.HttpAddress(server.http_address())
        runner = transition.attach(server, flags=("--us-per-batch", us_per_batch))
        self.addCleanup(runner.kill)
        return server

    def complete(self) -> str:
        reply = self.http.post("/v1/completions", {"prompt": "a", "max_tokens": 3, "temperature": 0, "ignore_eos": True})
        self.assertEqual(reply.status, 200, reply.body)
        return reply.json()["choices"][0]["text"]


class LifeTest(ChildCase):
    def test_a_killed_child_comes_back_on_its_port(self):
        server = self.start()
        first = child_of(server)
        text = self.complete()
        for count in (2, 3):
            process.kill(child_of(server))
            wait_for_log(server, "http ready", count)
            self.assertEqual(self.complete(), text)
        self.assertNotEqual(child_of(server), first)
        log = server.log()
        self.assertEqual(log.count(f"http ready address={self.http.host}:{self.http.port}\n"), 3, log)
        self.assertEqual(log.count('warn http ended cause="signal SIGKILL (Killed)"'), 2, log)
        self.assertEqual(server.stop(), 0)

    def test_it_dies_with_the_server(self):
        server = self.start()
        child = child_of(server)
        server.kill()
        wait_for_end(child)
        with self.assertRaises(ConnectionRefusedError):
            self.http.connect().connect()

    def test_the_server_is_reached_by_a_socket_that_nobody_else_can_enter(self):
        server = self.start()
        words = pathlib.Path(f"/proc/{child_of(server)}/cmdline").read_bytes().decode().split("\0")
        address = words[words.index("--server") + 1]
        self.assertTrue(address.startswith("unix:"), address)
        path = pathlib.Path(address.removeprefix("unix:"))
        self.assertEqual(path.parent.stat().st_mode & 0o777, 0o700)
        # It is not announced, and leaves nothing.
        self.assertNotIn(f"ready address={address}", server.log())
        server.stop()
        self.assertFalse(path.parent.exists())

    def test_the_options_reach_it(self):
        server = self.start("--http-allowed-host", "api.example", "--http-max-queue", "7", "--http-max-wait", "1.5m",
                            "--grace-period", "20s")
        words = pathlib.Path(f"/proc/{child_of(server)}/cmdline").read_bytes().decode().split("\0")
        for flag, value in (("--max-queue", 7), ("--queue-seconds", 90), ("--grace-seconds", 17)):
            self.assertEqual(float(words[words.index(flag) + 1]), value, flag)
        for host, status in (("api.example", 200), ("localhost", 200), ("evil.example", 403)):
            self.assertEqual(self.http.send("GET", "/healthz", headers={"Host": host}).status, status, host)
        self.assertEqual(server.stop(), 0)


class StopTest(ChildCase):
    def begin(self, body: dict):
        """A stream whose first event has come, and a function that returns the rest of its events."""
        connection = self.http.connect()
        self.addCleanup(connection.close)
        connection.request("POST", "/v1/completions", json.dumps({**body, "ignore_eos": True, "stream": True}),
                           {"Content-Type": "application/json"})
        response = connection.getresponse()
        self.assertEqual(response.status, 200)
        self.assertTrue(response.readline().startswith(b"data: "))
        return response

    def test_requests_in_work_end_whole(self):
        """64 prompts are 64 calls, 32 at once: half of them begin after SIGTERM."""
        server = self.start("--grace-period", "100s", us_per_batch=20_000)
        response = self.begin({"prompt": [[70 + i] for i in range(64)], "max_tokens": 10})
        server.signal_stop()
        wait_for_log(server, "requests in work may end")
        # It takes no new ones, and the server is not ready any more.
        with self.assertRaises(ConnectionRefusedError):
            while True:
                # It says so before it closes its port.
                with contextlib.suppress(ConnectionResetError):
                    self.assertEqual(self.http.post("/v1/completions", {"prompt": "a"}).status, 503)
        with grpc.insecure_channel(server.address) as channel:
            self.assertNotEqual(health.check(channel, ""), health.SERVING)
        events = [line for line in response.read().decode().split("\n") if line]
        self.assertEqual(events.pop(), "data: [DONE]")
        reasons = {}
        for event in events:
            choice, = json.loads(event.removeprefix("data: "))["choices"]
            if choice["finish_reason"] is not None:
                reasons[choice["index"]] = choice["finish_reason"]
        self.assertEqual(reasons, {i: "length" for i in range(64)})
        server.wait()
        log = server.log()
        self.assertEqual(server.stop(), 0)
        self.assertNotIn("grace period is over", log)
        self.assertLess(log.index("logitd-http: stopped"), log.index(" info stopped"))

    def test_the_grace_period_bounds_them(self):
        server = self.start("--grace-period", "2s", us_per_batch=20_000)
        response = self.begin({"prompt": "a", "max_tokens": 100_000})
        began = time.monotonic()
        self.assertEqual(server.stop(), 0)
        self.assertLess(time.monotonic() - began, 30)
        *_, last = response.read().decode().split("\n\n")[:-1]
        self.assertEqual(json.loads(last.removeprefix("data: "))["error"]["code"], "overloaded")

    def test_the_child_alone_is_asked_to_end(self):
        """As by a supervisor that signals every process: it ends in order, and comes back."""
        server = self.start(us_per_batch=20_000)
        response = self.begin({"prompt": "a", "max_tokens": 20})
        os.kill(child_of(server), 15)
        self.assertTrue(response.read().endswith(b"data: [DONE]\n\n"))
        wait_for_log(server, "http ready", 2)
        self.assertIn("info http ended cause=", server.log())
        self.complete()


class StartFailureTest(unittest.TestCase):
    def start(self, *flags: object) -> harness.Outcome:
        outcome = harness.run("logitd", "--listen", "127.0.0.1:0", *flags, timeout_s=60)
        self.assertEqual(outcome.stdout, "")
        return outcome

    def test_an_address_that_is_in_use(self):
        with socket.create_server(("127.0.0.1", 0)) as other:
            address = f"127.0.0.1:{other.getsockname()[1]}"
            # Before the model is loaded: its end would otherwise be awaited.
            outcome = self.start("--http", address, "--model", harness.model_path())
        self.assertEqual(outcome.status, 1, outcome.stderr)
        said = outcome.stderr.splitlines()[-1]
        self.assertTrue(said.startswith("logitd: --http: "), said)
        self.assertIn(f"cannot listen on {address}: Address already in use", said)
        self.assertNotIn("runner attached", outcome.stderr)

    def test_addresses_that_are_not_allowed(self):
        for flags, words in ((("--http", "0.0.0.0:0"), ("--http 0.0.0.0:0 is not on loopback", "--allow-plaintext")),
                             (("--http", "unix:/tmp/http"), ("--http must be HOST:PORT",)),
                             (("--http", "nonsense"), ("--http", "HOST:PORT")),
                             (("--http-max-queue", "5"), ("--http-max-queue needs --http ADDRESS",))):
            outcome = self.start(*flags)
            self.assertEqual(outcome.status, 2, flags)
            for word in words:
                self.assertIn(word, outcome.stderr)

    def test_off_loopback_with_permission(self):
        server = harness.Server(flags=("--http", "0.0.0.0:0", "--allow-plaintext"))
        self.addCleanup(server.stop)
        _, _, port = server.http_address().rpartition(":")
        http = http_case.HttpAddress(f"127.0.0.1:{port}")
        self.assertEqual(http.send("GET", "/healthz", headers={"Host": "api.example"}).status, 200)


if __name__ == "__main__":
    unittest.main()
