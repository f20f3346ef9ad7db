"""Requests that no client sends: each is refused soon, in one reply, and nobody else notices."""

import concurrent.futures
import contextlib
import json
import socket
import threading
import time
import unittest

import http_case
import process
from http_case import head, raw, status_of

# Everything that is refused is refused within a second; a busy machine takes longer.
SOON_S = 10
# A client beside the hostile ones waits no longer.
PATIENCE_S = 15
# Of a request's headers: ConnectionBounds.header_time, and what a busy machine needs beyond it.
HEADERS_S = 10
MIB = 1 << 20

BODY = b'{"prompt": "a"}'
LENGTH = "Content-Length: %d" % len(BODY)
CHUNKED = "Transfer-Encoding: chunked"
CLOSE = "Connection: close"
# What a smuggler hides: it must not be answered.
HIDDEN = head("GET", "/healthz", CLOSE)
CHUNKS = b"5\r\n%s\r\n%x\r\n%s\r\n0\r\n\r\n" % (BODY[:5], len(BODY) - 5, BODY[5:])


def post(*headers: str, body: bytes = BODY, path: str = "/tokenize") -> bytes:
    return head("POST", path, "Content-Type: application/json", *headers) + body


def get(path: str, *headers: str) -> bytes:
    return head("GET", path, CLOSE, *headers)


def statuses_of(replies: bytes) -> list[int]:
    """Of all replies on one connection."""
    return [int(part[:3]) for part in replies.split(b"HTTP/1.1 ")[1:]]


# Each is answered once, and the connection ends: what comes behind it is not taken for a request.
UNCLEAR = {
    "both": post(LENGTH, CHUNKED, body=CHUNKS),
    "both, the other way": post(CHUNKED, LENGTH, body=CHUNKS),
    "a space before the colon": post("Transfer-Encoding : chunked", LENGTH),
    "a continued header": post("Transfer-Encoding:\r\n chunked", LENGTH),
    "an empty encoding": post("Transfer-Encoding:", LENGTH),
    "a vertical tab": post("Transfer-Encoding: \x0bchunked", LENGTH),
    "another encoding": post("Transfer-Encoding: xchunked", body=CHUNKS),
    "two encodings": post(CHUNKED, "Transfer-Encoding: identity", body=CHUNKS),
    "a list of encodings": post("Transfer-Encoding: identity, chunked", body=CHUNKS),
    "two equal lengths": post(LENGTH, LENGTH),
    "a list of lengths": post("Content-Length: 15, 15"),
    "a signed length": post("Content-Length: +15"),
    "a length with a space": post("Content-Length: 1 5"),
    "a length in other digits": post("Content-Length: ١٥"),
    "a space after the length's name": post("Content-Length : 15"),
    "a line feed alone": post("X: y\nTransfer-Encoding: chunked", LENGTH),
    "a carriage return alone": post("X: y\rTransfer-Encoding: chunked", LENGTH),
    "NUL in a header": post("X: a\0b", LENGTH),
    "a header without a colon": post("garbage", LENGTH),
    "a header without a name": post(": x", LENGTH),
    "a first header that continues": b"GET /healthz HTTP/1.1\r\n X: y\r\nHost: localhost\r\n\r\n",
    "lines without carriage returns": b"GET /healthz HTTP/1.1\nHost: localhost\n\n",
    "an empty line first": b"\r\n" + get("/healthz"),
    "a chunk's size of letters": post(CHUNKED, body=b"zz\r\n" + BODY),
    "a negative chunk": post(CHUNKED, body=b"-1\r\n" + BODY),
    "a chunk's size with a prefix": post(CHUNKED, body=b"0xf\r\n" + BODY + b"\r\n0\r\n\r\n"),
    "a chunk's size with a sign": post(CHUNKED, body=b"+f\r\n" + BODY + b"\r\n0\r\n\r\n"),
    "a chunk's size with a space": post(CHUNKED, body=b" f\r\n" + BODY + b"\r\n0\r\n\r\n"),
    "a chunk's size with more behind it": post(CHUNKED, body=b"fg\r\n" + BODY + b"\r\n0\r\n\r\n"),
    "chunks of line feeds": post(CHUNKED, body=b"f\n" + BODY + b"\n0\n\n"),
    "a chunk that is longer than its size": post(CHUNKED, body=b"f\r\n" + BODY + b"XX0\r\n\r\n"),
    "a trailer": post(CHUNKED, body=b"f\r\n" + BODY + b"\r\n0\r\nContent-Length: 5\r\n\r\n"),
    "no empty line after the chunks": post(CHUNKED, body=b"f\r\n" + BODY + b"\r\n0\r\n"),
    "a body of GET": head("GET", "/healthz", LENGTH) + BODY,
    "chunks of GET": head("GET", "/healthz", CHUNKED) + CHUNKS,
    "two hosts": get("/healthz", "Host: localhost", "Host: localhost"),
    "HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "TLS": bytes.fromhex("16030100f1010000ed0303") + b"\0" * 240 + b"\r\n",
    "a method of no letters": b"\xff\xfeGET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "an unknown method": head("QUERY", "/healthz"),
    "a method in lower case": head("get", "/healthz"),
    "two spaces": b"GET  /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "a space in the target": get("/v1/models/a b"),
    "NUL in the target": get("/healthz\0"),
    "no target": b"GET HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "another version": b"GET /healthz HTTP/9.9\r\nHost: localhost\r\n\r\n",
}

# Of clear framing. The statuses of the replies; each connection ends.
REFUSED = {
    "a chunk of 2^63 bytes": (post(CHUNKED, body=b"7fffffffffffffff\r\n" + BODY), [413]),
    "a chunk's size of 80 bits": (post(CHUNKED, body=b"ffffffffffffffffffff\r\n" + BODY), [413]),
    "a length of 2^40": (post(f"Content-Length: {1 << 40}"), [413]),
    "a long method": (b"A" * 9000 + b" / HTTP/1.1\r\n\r\n", [414]),
    "CONNECT": (head("CONNECT", "evil.example:443", CLOSE), [404]),
    "OPTIONS *": (head("OPTIONS", "*", CLOSE), [404]),
    "TRACE": (head("TRACE", "/healthz", CLOSE), [405]),
    "a target of another host": (get("http://evil.example/healthz"), [403]),
    "dots": (get("/v1/../healthz"), [404]),
    "dots in percent": (get("/v1/%2e%2e/healthz"), [404]),
    "two slashes": (get("//healthz"), [404]),
    "NUL in percent": (get("/healthz%00"), [404]),
    "a file": (get("/v1/models/..%2f..%2f..%2fetc%2fpasswd"), [404]),
    "no numbers in percent": (get("/v1/models/%zz%u0041%d8%00"), [404]),
    "bytes that are no UTF-8": (get("/v1/models/%ff%fe"), [404]),
    "bytes that are no UTF-8 in a query": (get("/tokenizer_info?model=%ff%fe"), [404]),
    "a list of hosts": (get("/healthz", "Host: localhost, evil.example"), [403]),
    "a host with a user": (get("/healthz", "Host: localhost:80@evil.example"), [403]),
    "a host with a path": (get("/healthz", "Host: localhost/evil.example"), [403]),
    "HTTP/1.0 without a host": (b"GET /healthz HTTP/1.0\r\n\r\n", [403]),
    "a range of no bytes": (get("/healthz", "Range: bytes=5-1,0-0,x"), [416]),
    "garbage behind a request": (post(LENGTH) + b"\x00\x01\x02\xff" * 100 + b"\r\n\r\n", [200, 400]),
    "more than the length": (post(LENGTH, body=BODY + b"GARBAGE\r\n\r\n"), [200, 400]),
}

# Unusual, and right.
TAKEN = {
    "letters of any case": (post("tRANSFER-eNCODING:\tChunked ", CLOSE, body=CHUNKS), [200]),
    "zeros before the length": (post("Content-Length: 00015", CLOSE), [200]),
    "a chunk's extension": (post(CHUNKED, CLOSE, body=b"f;a=b\r\n" + BODY + b"\r\n0\r\n\r\n"), [200]),
    "three requests at once": (post(LENGTH) + post(CHUNKED, body=CHUNKS) + HIDDEN, [200, 200, 200]),
    "a path in percent": (get("/%68ealthz"), [200]),
    "a query of nothing": (get("/healthz?" + "a=b&" * 1000), [200]),
    "a fragment": (get("/healthz#x"), [200]),
    "HTTP/1.0": (b"GET /healthz HTTP/1.0\r\nHost: localhost\r\n\r\n", [200]),
}

# Bodies that are no request of /v1/completions, and the codes of their refusals.
BODIES = {
    "10,000 levels": (b"[" * 10_000 + b"]" * 10_000, "too_deep"),
    "10,000 objects": (b'{"a":' * 10_000 + b"1" + b"}" * 10_000, "too_deep"),
    "10,000 levels without an end": (b"[" * 10_000, "too_deep"),
    "levels of a field": (b'{"prompt": ' + b"[" * 100 + b"]" * 100 + b"}", "too_deep"),
    "a key that occurs twice": (b'{"prompt": "a", "max_tokens": 1, "max_tokens": 2}', "duplicate_key"),
    "a key that occurs twice in an object": (b'{"prompt": "a", "logit_bias": {"1": 1, "1": 2}}', "duplicate_key"),
    "a key that occurs twice, in an escape": (b'{"prompt": "a", "pr\\u006fmpt": "b"}', "duplicate_key"),
    "half a pair": (b'{"prompt": "\\ud800"}', "unpaired_surrogate"),
    "the other half": (b'{"prompt": "\\udc00 a"}', "unpaired_surrogate"),
    "half a pair in UTF-8": (b'{"prompt": "\xed\xa0\x80"}', "invalid_utf8"),
    "half a pair in a key": (b'{"\\ud800": 1}', "unpaired_surrogate"),
    "overlong UTF-8": (b'{"prompt": "\xc0\x80"}', "invalid_utf8"),
    "NaN": (b'{"prompt": "a", "temperature": NaN}', "not_a_number"),
    "-Infinity": (b'{"prompt": "a", "temperature": -Infinity}', None),
    "1e400": (b'{"prompt": "a", "temperature": 1e400}', "number_overflow"),
    "a number of 100,000 digits": (b'{"prompt": "a", "top_k": ' + b"9" * 100_000 + b"}", None),
    "2^64": (b'{"prompt": "a", "seed": 18446744073709551616}', None),
    "an exponent of 100,000 digits": (b'{"prompt": "a", "top_p": 1e' + b"9" * 100_000 + b"}", None),
    "100,000 fields": (b"{" + b",".join(b'"f%d":1' % i for i in range(100_000)) + b"}", "unknown_parameter"),
    "a field of 100,000 letters": (b'{"prompt": "a", "' + b"x" * 100_000 + b'": 1}', "unknown_parameter"),
    "100,000 biases": (json.dumps({"prompt": "a", "logit_bias": {str(i): 1 for i in range(100_000)}}).encode(), None),
    "100,000 prompts": (json.dumps({"prompt": ["a"] * 100_000}).encode(), "invalid_value"),
    "100,000 stops": (json.dumps({"prompt": "a", "stop": ["a"] * 100_000}).encode(), None),
    "a mark of order": (b"\xef\xbb\xbf" + BODY, "malformed_json"),
    "UTF-16": ('{"prompt": "a"}'.encode("utf-16"), "malformed_json"),
    "NUL": (b"\0" * 1000, "malformed_json"),
    "NUL behind it": (BODY + b"\0", "malformed_json"),
    "a request behind NUL": (BODY + b"\0" + BODY, "malformed_json"),
    "a comment": (b'{"prompt": "a" /* b */}', "malformed_json"),
    "a comma": (b'{"prompt": "a",}', "malformed_json"),
    "two values": (BODY + BODY, "malformed_json"),
}


class Neighbour:
    """A client that goes on with its small requests, and how long the slowest took.

        with Neighbour(server) as neighbour: ...
        neighbour.check(test)
    """

    def __init__(self, server: http_case.HttpServer):
        self._server = server
        self._ends = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self.count = 0
        self.slowest_s = 0.0
        self.failures: list[object] = []

    def _run(self) -> None:
        connection = self._server.connect()
        while self.count == 0 or not self._ends.is_set():
            began = time.monotonic()
            try:
                reply = self._server.post("/v1/completions", {"prompt": "ab", "max_tokens": 1}, connection=connection)
                if reply.status != 200:
                    self.failures.append(reply)
            except OSError as error:
                self.failures.append(error)
            self.slowest_s = max(self.slowest_s, time.monotonic() - began)
            self.count += 1
        connection.close()

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._ends.set()
        self._thread.join()

    def check(self, test: unittest.TestCase) -> None:
        test.assertEqual(self.failures, [])
        test.assertGreater(self.count, 0)
        test.assertLess(self.slowest_s, PATIENCE_S)


class HostileTest(http_case.HttpCase):
    def setUp(self):
        neighbour = Neighbour(self.http)
        # When it has ended.
        self.addCleanup(neighbour.check, self)
        self.enterContext(neighbour)

    def check_soon(self, request: bytes, statuses: list[int]) -> None:
        began = time.monotonic()
        replies = raw(self.http, request)
        self.assertEqual(statuses_of(replies), statuses, replies[:2000])
        self.assertLess(time.monotonic() - began, SOON_S)
        if statuses[-1] >= 400:
            self.assertIn(b'"code":', replies.rpartition(b"\r\n\r\n")[2])

    def test_a_request_of_unclear_framing_is_refused_once(self):
        for name, request in UNCLEAR.items():
            with self.subTest(name):
                self.check_soon(request + HIDDEN, [400])

    def test_what_is_clear_and_wrong_is_refused(self):
        for name, (request, statuses) in REFUSED.items():
            with self.subTest(name):
                self.check_soon(request, statuses)

    def test_what_is_unusual_and_right_is_taken(self):
        for name, (request, statuses) in TAKEN.items():
            with self.subTest(name):
                self.check_soon(request, statuses)

    def test_bodies_are_refused(self):
        for name, (body, code) in BODIES.items():
            with self.subTest(name):
                began = time.monotonic()
                error = self.refused(400, "/v1/completions", body)
                self.assertLess(time.monotonic() - began, SOON_S)
                self.assertLess(len(json.dumps(error)), 4096)
                if code is not None:
                    self.assertEqual(error["code"], code)

    def test_bodies_of_64_mib_take_no_memory(self):
        process.forget_peak(self.http.pid)
        before = process.resident_bytes(self.http.pid)
        announced = post(f"Content-Length: {64 * MIB}", body=b" " * (64 * MIB))
        began = time.monotonic()
        self.assertEqual(status_of(raw(self.http, announced)), 413)
        self.assertLess(time.monotonic() - began, SOON_S)
        chunk = b"10000\r\n" + b" " * 0x10000 + b"\r\n"
        began = time.monotonic()
        self.assertEqual(status_of(raw(self.http, post(CHUNKED, body=chunk * 1024))), 413)
        self.assertLess(time.monotonic() - began, SOON_S)
        # A chunk of one byte costs the client six.
        self.assertEqual(status_of(raw(self.http, post(CHUNKED, body=b"1\r\n \r\n" * (8 * MIB)))), 413)
        self.assertLess(process.peak_resident_bytes(self.http.pid) - before, 96 * MIB)

    def test_half_a_body_is_no_request(self):
        """A client that ends, or stops sending, in the middle of its body: no reply of 200, and the connection ends."""
        for request in (post("Content-Length: 100"), post(CHUNKED, body=b"f\r\n" + BODY), post(CHUNKED, body=b"ff\r\n" + BODY)):
            with socket.create_connection((self.http.host, self.http.port), timeout=SOON_S) as connection:
                connection.sendall(request)
                connection.shutdown(socket.SHUT_WR)
                received = b""
                while part := connection.recv(65536):
                    received += part
            self.assertIn(status_of(received), (0, 400))

    def test_a_stream_to_http_1_0_has_no_chunks(self):
        body = json.dumps({"prompt": "a", "max_tokens": 3, "stream": True}).encode()
        request = post(f"Content-Length: {len(body)}", "Connection: keep-alive", body=body, path="/v1/completions")
        reply = raw(self.http, request.replace(b"HTTP/1.1", b"HTTP/1.0", 1))
        headers, _, events = reply.partition(b"\r\n\r\n")
        self.assertEqual(status_of(reply), 200)
        self.assertNotIn(b"chunked", headers)
        self.assertTrue(events.startswith(b"data: {") and events.endswith(b"data: [DONE]\n\n"), events)


class CrowdTest(http_case.HttpCase):
    """A thousand connections that never end their requests."""

    def crowd(self, stack: contextlib.ExitStack, count: int, begin: bytes) -> list[socket.socket]:
        connections = []
        for _ in range(count):
            connection = stack.enter_context(socket.create_connection((self.http.host, self.http.port), timeout=PATIENCE_S))
            connection.sendall(begin)
            connections.append(connection)
        return connections

    def test_slow_headers_and_bodies_stall_nobody(self):
        before = process.resident_bytes(self.http.pid)
        with contextlib.ExitStack() as stack:
            neighbour = stack.enter_context(Neighbour(self.http))
            began = time.monotonic()
            headers = self.crowd(stack, 500, b"GET /healthz HTTP/1.1\r\nHost: loc")
            silent = self.crowd(stack, 100, b"")
            bodies = self.crowd(stack, 400, post(f"Content-Length: {MIB}", body=b" " * 1000))
            # The slow headers end with 408, those that never sent anything without a word.
            for connection in headers:
                connection.settimeout(HEADERS_S + PATIENCE_S)
                self.assertEqual(status_of(connection.recv(65536)), 408)
            for connection in silent:
                connection.settimeout(HEADERS_S + PATIENCE_S)
                self.assertEqual(connection.recv(65536), b"")
            self.assertGreater(time.monotonic() - began, HEADERS_S - 1)
            # The bodies still have time, and one that ends is a request.
            bodies[0].sendall(b" " * (MIB - 1000))
            self.assertEqual(status_of(bodies[0].recv(65536)), 400)
            self.assertLess(process.resident_bytes(self.http.pid) - before, 192 * MIB)
        neighbour.check(self)

    def test_refusals_do_not_wait_for_each_other(self):
        """Beyond its connections it refuses at once, though those that are refused do not leave."""
        server = http_case.HttpServer(self.server.address, "--max-connections", 2)
        self.addCleanup(server.stop)
        with contextlib.ExitStack() as stack:
            held = []
            for _ in range(2):
                held.append(stack.enter_context(socket.create_connection((server.host, server.port), timeout=PATIENCE_S)))
                held[-1].sendall(head("GET", "/healthz"))
                self.assertEqual(status_of(held[-1].recv(4096)), 200)
            began = time.monotonic()
            refused = [stack.enter_context(socket.create_connection((server.host, server.port), timeout=PATIENCE_S)) for _ in range(40)]
            for connection in refused:
                self.assertEqual(status_of(connection.recv(4096)), 503)
            self.assertLess(time.monotonic() - began, SOON_S)


class MemoryTest(http_case.HttpCase):
    """All requests share the memory for their bodies and for what is made of them."""

    HTTP_FLAGS = ("--max-bodies-bytes", 4 * MIB, "--max-body-bytes", 2 * MIB)

    def test_bodies_beyond_the_budget_are_503(self):
        large = json.dumps({"prompt": "a", "max_tokens": 1, "user": "x" * MIB}).encode()
        with contextlib.ExitStack() as stack:
            slow = []
            for _ in range(4):
                connection = stack.enter_context(socket.create_connection((self.http.host, self.http.port), timeout=PATIENCE_S))
                # All but the end of a budget: 4 x 15/16 MiB, and each of them goes in steps of 64 KiB.
                connection.sendall(post(f"Content-Length: {2 * MIB}", body=b" " * (MIB - 65536)))
                slow.append(connection)
            deadline = time.monotonic() + PATIENCE_S
            while (reply := self.http.post("/v1/completions", large)).status == 200:
                self.assertLess(time.monotonic(), deadline, "the slow bodies are not counted")
            self.assertEqual(reply.status, 503)
            self.assertEqual((reply.json()["error"]["code"], reply.json()["error"]["type"]), ("overloaded", "overloaded_error"))
            self.assertGreaterEqual(int(reply.headers["retry-after"]), 1)
            # A small body needs none of it.
            self.assertEqual(self.complete(prompt="a", max_tokens=1)[0]["finish_reason"], "length")
        # They have left.
        deadline = time.monotonic() + PATIENCE_S
        while (status := self.http.post("/v1/completions", large).status) != 200:
            self.assertEqual(status, 503)
            self.assertLess(time.monotonic(), deadline, "the budget was not given back")


class ValuesTest(http_case.HttpCase):
    RUNNER_FLAGS = ("--us-per-batch", 2000)
    HTTP_FLAGS = ("--max-bodies-bytes", 32 * MIB, "--max-calls", 1)

    def test_requests_wait_for_memory_before_they_are_parsed(self):
        """48 requests of 512 KiB, each 250,000 numbers, wait for one place: parsed at once, they would take 250 MiB."""
        body = json.dumps({"prompt": "a", "max_tokens": 20, "ignore_eos": True, "metadata": [1] * 250_000}, separators=(",", ":")).encode()
        self.assertEqual(self.http.post("/v1/completions", body).status, 200)
        process.forget_peak(self.http.pid)
        before = process.resident_bytes(self.http.pid)
        with concurrent.futures.ThreadPoolExecutor(48) as pool:
            statuses = list(pool.map(lambda _: self.http.post("/v1/completions", body).status, range(48)))
        self.assertEqual(statuses, [200] * 48)
        self.assertLess(process.peak_resident_bytes(self.http.pid) - before, 160 * MIB)


if __name__ == "__main__":
    unittest.main()
