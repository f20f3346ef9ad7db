"""Starts the real logitd-http in front of a server under test, and sends it requests.

    class MyTest(http_case.HttpCase):                  # a server, a logitd-http, and a model of known log-probs
        def test_something(self):
            reply = self.post("/v1/completions", {"prompt": "a", "max_tokens": 1})      # 200, or the test fails
            error = self.refused(400, "/v1/completions", {"prompt": 5})                 # the error's object
"""

from __future__ import annotations

import dataclasses
import http.client
import json
import pathlib
import queue
import signal
import socket
import subprocess
import tempfile
import threading
import unittest

import harness
import transition

TIMEOUT_S = 120


@dataclasses.dataclass(frozen=True)
class Reply:
    status: int
    headers: dict[str, str]
    body: bytes

    def json(self):
        return json.loads(self.body)

    def events(self) -> list[str]:
        """The data of server-sent events."""
        parts = self.body.decode().split("\n\n")
        assert parts[-1] == "", self.body
        assert all(part.startswith("data: ") for part in parts[:-1]), self.body
        return [part.removeprefix("data: ") for part in parts[:-1]]


class HttpAddress:
    """Where a logitd-http listens: "HOST:PORT"."""

    def __init__(self, address: str):
        self.host, _, port = address.rpartition(":")
        self.port = int(port)

    def is_alive(self) -> bool:
        return self.process.poll() is None

    def connect(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection(self.host, self.port, timeout=TIMEOUT_S)

    def send(self, method: str, path: str, body: bytes | None = None, headers: dict | None = None,
             connection: http.client.HTTPConnection | None = None) -> Reply:
        own = connection is None
        connection = connection or self.connect()
        try:
            connection.request(method, path, body, headers or {})
            response = connection.getresponse()
            return Reply(response.status, {k.lower(): v for k, v in response.getheaders()}, response.read())
        finally:
            if own:
                connection.close()

    def post(self, path: str, body: object, headers: dict | None = None,
             connection: http.client.HTTPConnection | None = None) -> Reply:
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        return self.send("POST", path, data, {"Content-Type": "application/json", **(headers or {})}, connection)


class HttpServer(HttpAddress):
    """A running logitd-http. `host` and `port` are where it listens."""

    def __init__(self, server_address: str, *flags: object):
        self._log = tempfile.NamedTemporaryFile("w+", encoding="utf-8", prefix="logitd-http-", delete=False)
        self.process = subprocess.Popen(
            [str(harness.BIN / "logitd-http"), "--listen", "127.0.0.1:0", "--server", server_address, *map(str, flags)],
            stdout=subprocess.PIPE, stderr=self._log, stdin=subprocess.DEVNULL, text=True)
        self._log.close()
        self._is_asked_to_stop = False
        lines: queue.SimpleQueue = queue.SimpleQueue()
        threading.Thread(target=lambda: lines.put(self.process.stdout.readline()), daemon=True).start()
        line = lines.get(timeout=TIMEOUT_S).strip()
        assert line.startswith("listening on "), f"logitd-http did not start: {line} {self.log()}"
        super().__init__(line.removeprefix("listening on "))
        self.pid = self.process.pid

    def log(self) -> str:
        return pathlib.Path(self._log.name).read_text(encoding="utf-8", errors="replace")

    def signal_stop(self) -> None:
        """Sends SIGTERM once: a second one would end it at once."""
        if not self._is_asked_to_stop:
            self.process.send_signal(signal.SIGTERM)
        self._is_asked_to_stop = True

    def stop(self) -> None:
        """Asks it to end and waits. A crash or a sanitizer's report is an AssertionError."""
        if self.process.poll() is None:
            self.signal_stop()
        try:
            status = self.process.wait(timeout=TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise AssertionError(f"logitd-http did not stop: {self.log()}") from None
        finally:
            self.process.stdout.close()
            log = self.log()
            pathlib.Path(self._log.name).unlink()
        if status != 0 or "Sanitizer" in log or "runtime error:" in log:
            raise AssertionError(f"logitd-http ended with status {status}: {log}")


def raw(server: HttpServer, data: bytes, timeout_s: float = TIMEOUT_S) -> bytes:
    """Sends bytes and returns everything that comes back until the connection ends."""
    with socket.create_connection((server.host, server.port), timeout=timeout_s) as connection:
        try:
            connection.sendall(data)
        except OSError:
            pass  # It was refused before it was read.
        received = b""
        try:
            while part := connection.recv(65536):
                received += part
        except ConnectionResetError:
            pass
        return received


def status_of(reply: bytes) -> int:
    return int(reply.split(b" ", 2)[1]) if reply else 0


def head(method: str, path: str, *headers: str) -> bytes:
    lines = [f"{method} {path} HTTP/1.1", *headers]
    if not any(header.startswith("Host:") for header in headers):
        lines.append("Host: localhost")
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


class HttpCase(unittest.TestCase):
    """A server with the model "transition", and a logitd-http in front of it."""

    RUNNER_FLAGS: tuple[object, ...] = ()
    HTTP_FLAGS: tuple[object, ...] = ()
    TABLES: transition.Tables | None = None

    @classmethod
    def setUpClass(cls):
        cls.server = harness.Server()
        cls.addClassCleanup(cls.server.stop)
        runner = transition.attach(cls.server, cls.TABLES, cls.RUNNER_FLAGS)
        cls.addClassCleanup(runner.stop)
        cls.tables = runner.tables
        cls.http = HttpServer(cls.server.address, *cls.HTTP_FLAGS)
        cls.addClassCleanup(cls.http.stop)

    def get(self, path: str):
        reply = self.http.send("GET", path)
        self.assertEqual(reply.status, 200, reply.body)
        return reply.json()

    def post(self, path: str, body: object):
        reply = self.http.post(path, body)
        self.assertEqual(reply.status, 200, reply.body)
        return reply.json()

    def complete(self, **fields) -> list[dict]:
        """The choices of /v1/completions, in the order of their index."""
        choices = self.post("/v1/completions", fields)["choices"]
        self.assertEqual([choice["index"] for choice in choices], list(range(len(choices))))
        return choices

    def stream(self, **fields) -> list[dict]:
        """The events of /v1/completions without [DONE]."""
        reply = self.http.post("/v1/completions", {**fields, "stream": True})
        self.assertEqual(reply.status, 200, reply.body)
        self.assertEqual(reply.headers["content-type"], "text/event-stream")
        *events, done = reply.events()
        self.assertEqual(done, "[DONE]")
        return [json.loads(event) for event in events]

    def refused(self, status: int, path: str, body: object, headers: dict | None = None) -> dict:
        reply = self.http.post(path, body, headers)
        return self.error_of(reply, status)

    def error_of(self, reply: Reply, status: int) -> dict:
        self.assertEqual(reply.status, status, reply.body)
        self.assertEqual(reply.headers["content-type"], "application/json")
        error = reply.json()["error"]
        self.assertEqual(set(error), {"message", "type", "param", "code"})
        self.assertTrue(error["message"])
        return error
