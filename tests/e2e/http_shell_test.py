"""The shell of logitd-http: what it refuses and how, queues, limits, clients that leave, and its end."""

import concurrent.futures
import json
import socket
import time
import unittest
from concurrent import futures

import grpc
import harness
import http_case
import process
import transition
from http_case import head, raw, status_of

# Everything that is refused is refused within a second; a busy machine takes longer.
SOON_S = 10


def ask_health(connection: socket.socket) -> None:
    """One whole request and reply on a connection that stays open."""
    connection.sendall(head("GET", "/healthz"))
    reply = b""
    while not reply.endswith(b"}"):
        part = connection.recv(4096)
        assert part, reply
        reply += part
    assert status_of(reply) == 200, reply


class ShellTest(http_case.HttpCase):
    HTTP_FLAGS = ("--max-body-bytes", 1 << 20)

    def test_health(self):
        self.assertEqual(self.get("/healthz"), {"status": "ok"})
        self.assertEqual(self.get("/readyz"), {"status": "ready"})

    def test_models(self):
        models = self.get("/v1/models")
        self.assertEqual(models["object"], "list")
        model, = models["data"]
        self.assertEqual((model["id"], model["object"], model["max_model_len"]), (transition.NAME, "model", 131072))
        self.assertEqual(self.get("/v1/models/transition"), model)
        self.assertEqual(self.error_of(self.http.send("GET", "/v1/models/nobody"), 404)["code"], "model_not_found")

    def test_paths_and_methods(self):
        for method, path, status, code in (("GET", "/inspector/", 404, "not_found"), ("POST", "/", 405, "method_not_allowed"), ("GET", "/v1/completions", 405, "method_not_allowed"),
                                           ("GET", "/v1/models/", 404, "not_found"),
                                           ("OPTIONS", "/v1/completions", 405, "method_not_allowed"),
                                           ("DELETE", "/v1/models/transition", 405, "method_not_allowed")):
            error = self.error_of(self.http.send(method, path), status)
            self.assertEqual((error["code"], error["type"] != ""), (code, True))
        self.assertEqual(self.refused(404, "/v1/rerank", {})["code"], "not_found")
        self.assertEqual(self.http.send("HEAD", "/healthz").body, b"")

    def test_the_query_has_no_unknown_parameters(self):
        for method, path, body, name in (("GET", "/v1/models?limit=5", None, "limit"),
                                         ("POST", "/v1/completions?temperature=0", b"{}", "temperature"),
                                         ("GET", "/tokenizer_info?model=transition&x=1", None, "x"),
                                         ("GET", "/tokenizer_info?model=transition&model=b", None, "model")):
            headers = {} if body is None else {"Content-Type": "application/json"}
            error = self.error_of(self.http.send(method, path, body, headers), 400)
            self.assertEqual(error["param"], name, error)
        # Probes and pages may have any.
        for path in ("/healthz?full", "/readyz?x=1", "/?a=b"):
            self.assertEqual(self.http.send("GET", path).status, 200, path)

    def test_absolute_targets(self):
        for target, host, status in ((b"http://localhost:8000/v1/models", b"evil.example", 200),
                                     (b"HTTP://LOCALHOST/healthz", b"localhost", 200),
                                     (b"http://localhost", b"localhost", 200),
                                     (b"http://evil.example/v1/models", b"localhost", 403),
                                     (b"http://localhost@evil.example/healthz", b"localhost", 403),
                                     (b"http://localhost/nothing", b"localhost", 404)):
            request = b"GET " + target + b" HTTP/1.1\r\nHost: " + host + b"\r\nConnection: close\r\n\r\n"
            self.assertEqual(status_of(raw(self.http, request)), status, target)

    def test_there_is_no_cors(self):
        reply = self.http.post("/v1/completions", {"prompt": "a", "max_tokens": 1}, {"Origin": "http://evil.example"})
        self.assertEqual(reply.status, 200)
        self.assertFalse([name for name in reply.headers if name.startswith("access-control")])

    def test_only_json_is_taken(self):
        body = b'{"prompt": "a", "max_tokens": 1}'
        for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "",
                     "application/jsonp", "application/json; charset=utf-16"):
            reply = self.http.send("POST", "/v1/completions", body, {"Content-Type": kind})
            self.assertEqual(self.error_of(reply, 415)["code"], "unsupported_media_type", kind)
        for kind in ("application/json", "Application/JSON; charset=UTF-8"):
            self.assertEqual(self.http.send("POST", "/v1/completions", body, {"Content-Type": kind}).status, 200, kind)
        reply = self.http.post("/v1/completions", body, {"Content-Encoding": "gzip"})
        self.assertEqual(self.error_of(reply, 415)["code"], "unsupported_content_encoding")

    def test_the_host_must_be_this_machine(self):
        for host in ("localhost", "127.0.0.1:8000", "[::1]:1", "LOCALHOST:5"):
            self.assertEqual(self.http.send("GET", "/healthz", headers={"Host": host}).status, 200, host)
        for host in ("evil.example", "localhost.evil.example", "127.0.0.1.nip.io:8000", ""):
            self.assertEqual(self.error_of(self.http.send("GET", "/healthz", headers={"Host": host}), 403)["code"],
                             "host_not_allowed", host)
        self.assertEqual(status_of(raw(self.http, b"GET /healthz HTTP/1.1\r\n\r\n")), 403)
        two = head("GET", "/healthz", "Host: localhost", "Host: evil.example")
        self.assertEqual(status_of(raw(self.http, two)), 400)

    def test_requests_of_unclear_length(self):
        both = head("POST", "/tokenize", "Content-Type: application/json", "Content-Length: 2", "Transfer-Encoding: chunked")
        for request in (
                both + b"{}",
                head("POST", "/tokenize", "Content-Type: application/json", "Content-Length: 2", "Content-Length: 3") + b"{}x",
                head("POST", "/tokenize", "Content-Type: application/json", "Content-Length: -2"),
                head("POST", "/tokenize", "Content-Type: application/json", "Content-Length: 2x") + b"{}",
                head("POST", "/tokenize", "Content-Type: application/json", "Transfer-Encoding: gzip, chunked"),
                head("GET", "/healthz", "Content-Length: 2") + b"{}",
                b"NONSENSE\r\n\r\n", b"GET /healthz\r\n\r\n", b"GET  /healthz HTTP/9.9\r\n\r\n"):
            reply = raw(self.http, request)
            self.assertEqual(status_of(reply), 400, request)
            self.assertIn(b'"error"', reply)
        self.assertEqual(status_of(raw(self.http, head("POST", "/tokenize", "Content-Type: application/json"))), 411)

    def test_large_bodies_are_refused_at_once(self):
        began = time.monotonic()
        error = self.refused(413, "/v1/completions", b"[" * (4 << 20))
        self.assertEqual(error["code"], "body_too_large")
        # Announced, and never sent.
        huge = head("POST", "/tokenize", "Content-Type: application/json", f"Content-Length: {1 << 40}", "Connection: close")
        self.assertEqual(status_of(raw(self.http, huge)), 413)
        # Not announced.
        chunks = head("POST", "/tokenize", "Content-Type: application/json", "Transfer-Encoding: chunked")
        reply = raw(self.http, chunks + b"10000\r\n" % () + (b" " * 0x10000 + b"\r\n10000\r\n") * 64)
        self.assertEqual(status_of(reply), 413)
        self.assertLess(time.monotonic() - began, 3 * SOON_S)
        # curl asks before it sends.
        ask = head("POST", "/tokenize", "Content-Type: application/json", f"Content-Length: {64 << 20}",
                   "Expect: 100-continue", "Connection: close")
        self.assertEqual(status_of(raw(self.http, ask)), 413)

    def test_a_chunked_body_is_taken(self):
        body = b'{"prompt": "a"}'
        request = head("POST", "/tokenize", "Content-Type: application/json", "Transfer-Encoding: chunked", "Connection: close")
        reply = raw(self.http, request + b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body))
        self.assertEqual(status_of(reply), 200)
        self.assertIn(b'"tokens":[', reply)

    def test_headers_are_bounded(self):
        self.assertEqual(status_of(raw(self.http, b"GET /" + b"a" * 9000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n")), 414)
        for request in (b"GET /" + b"a" * (1 << 20), head("GET", "/healthz", *[f"X-{i}: {'b' * 1000}" for i in range(100)]),
                        b"GET /healthz HTTP/1.1\r\n" + b"A:\r\n" * 40000):
            self.assertEqual(status_of(raw(self.http, request)), 431)

    def test_malformed_json_is_named(self):
        began = time.monotonic()
        for body, code in ((b"", "empty_body"), (b"{", "malformed_json"), (b"[NaN]", "not_a_number"),
                           (b'{"prompt": "a", "prompt": "b"}', "duplicate_key"),
                           (b'{"prompt": "\\ud800"}', "unpaired_surrogate"), (b'{"prompt": "\xff"}', "invalid_utf8"),
                           (b"[" * 10_000 + b"]" * 10_000, "too_deep"), (b'{"temperature": 1e999}', "number_overflow"),
                           (b"[1]", "invalid_type"), (b'{"prompt": "a", "top_q": 1}', "unknown_parameter")):
            error = self.refused(400, "/v1/completions", body)
            self.assertEqual((error["code"], error["type"]), (code, "invalid_request_error"))
        self.assertLess(time.monotonic() - began, SOON_S)

    def test_one_connection_takes_many_requests(self):
        connection = self.http.connect()
        for _ in range(20):
            self.assertEqual(self.http.post("/tokenize", {"prompt": "a"}, connection=connection).status, 200)
            # A handler's refusal leaves the connection open.
            self.assertEqual(self.http.post("/tokenize", {"prompt": 5}, connection=connection).status, 400)
        connection.close()

    def test_ranges_and_compression_do_not_touch_replies(self):
        reply = self.http.post("/tokenize", {"prompt": "a"}, {"Range": "bytes=0-3", "Accept-Encoding": "gzip, br"})
        self.assertEqual(reply.status, 200)
        self.assertNotIn("content-encoding", reply.headers)
        self.assertEqual(reply.json()["count"], 1)

    def test_authorization(self):
        for header in ("Bearer ", "Bearer", "bearer x", "Bearer token"):
            reply = self.http.post("/tokenize", {"prompt": "a"}, {"Authorization": header})
            self.assertEqual(reply.status, 200, header)
        for header in ("Basic eDp5", "Bearer a b", "Bearer \x80"):
            error = self.refused(401, "/tokenize", {"prompt": "a"}, {"Authorization": header})
            self.assertEqual(error["type"], "authentication_error")

    def test_a_stream_of_nobody_ends_the_call(self):
        """A client that leaves frees its place: with all places taken by such clients, others are still served."""
        before = process.thread_count(self.http.pid)
        for _ in range(5):
            with socket.create_connection((self.http.host, self.http.port), timeout=SOON_S) as connection:
                body = json.dumps({"prompt": "a", "max_tokens": 131000, "ignore_eos": True, "stream": True}).encode()
                connection.sendall(head("POST", "/v1/completions", "Content-Type: application/json",
                                        f"Content-Length: {len(body)}") + body)
                self.assertIn(b"200 OK", connection.recv(4096))
        self.assertEqual(self.complete(prompt="a", max_tokens=1)[0]["finish_reason"], "length")
        self.assertLess(process.thread_count(self.http.pid), before + 20)


class SlowClientTest(unittest.TestCase):
    def test_slow_headers_end(self):
        """A byte now and then does not keep a connection for longer than the headers may take."""
        server = http_case.HttpServer("127.0.0.1:1")
        self.addCleanup(server.stop)
        with socket.create_connection((server.host, server.port), timeout=60) as connection:
            began = time.monotonic()
            connection.sendall(b"GET /healthz HTTP/1.1\r\n")
            connection.settimeout(0.5)
            reply = b""
            while time.monotonic() - began < 60:
                try:
                    connection.sendall(b"X-Slow: 1\r\n")
                    reply = connection.recv(4096)
                    break
                except TimeoutError:
                    continue
                except OSError:
                    break
            self.assertEqual(status_of(reply), 408)
            self.assertLess(time.monotonic() - began, 30)

    def test_connections_are_bounded(self):
        server = http_case.HttpServer("127.0.0.1:1", "--max-connections", 4)
        self.addCleanup(server.stop)
        held = [socket.create_connection((server.host, server.port), timeout=SOON_S) for _ in range(4)]
        for connection in held:
            ask_health(connection)
        reply = raw(server, head("GET", "/healthz"))
        self.assertEqual(status_of(reply), 503)
        self.assertIn(b"Retry-After", reply)
        held.pop().close()
        deadline = time.monotonic() + SOON_S
        while status_of(raw(server, head("GET", "/healthz", "Connection: close"))) != 200:
            self.assertLess(time.monotonic(), deadline)
        for connection in held:
            connection.close()


class QueueTest(http_case.HttpCase):
    """Two calls at once to a slow model."""

    RUNNER_FLAGS = ("--us-per-batch", 5000)
    HTTP_FLAGS = ("--max-calls", 2, "--max-queue", 1200)

    def test_many_clients_at_once_are_all_served(self):
        """Harnesses open 999 connections at once."""
        count = 999
        connections = []
        for i in range(count):
            connection = socket.create_connection((self.http.host, self.http.port), timeout=http_case.TIMEOUT_S)
            body = json.dumps({"prompt": [70 + i % 100], "max_tokens": 1, "logprobs": 1, "echo": True}).encode()
            connection.sendall(head("POST", "/v1/completions", "Content-Type: application/json", "Connection: close",
                                    f"Content-Length: {len(body)}") + body)
            connections.append(connection)
        statuses = []
        for connection in connections:
            received = b""
            while part := connection.recv(65536):
                received += part
            connection.close()
            statuses.append(status_of(received))
        self.assertEqual(statuses, [200] * count)


class FullQueueTest(http_case.HttpCase):
    RUNNER_FLAGS = ("--us-per-batch", 2000)
    HTTP_FLAGS = ("--max-calls", 1, "--max-queue", 0)

    def test_beyond_the_queue_it_is_503(self):
        with futures.ThreadPoolExecutor(8) as pool:
            body = {"prompt": "a", "max_tokens": 100, "ignore_eos": True}
            replies = list(pool.map(lambda _: self.http.post("/v1/completions", body), range(8)))
        statuses = sorted(reply.status for reply in replies)
        self.assertEqual(set(statuses), {200, 503})
        for reply in replies:
            if reply.status == 503:
                self.assertGreaterEqual(int(reply.headers["retry-after"]), 1)
                self.assertEqual(reply.json()["error"]["type"], "overloaded_error")


class DrainTest(http_case.HttpCase):
    RUNNER_FLAGS = ("--us-per-batch", 20000)

    def start(self, *flags: object) -> http_case.HttpServer:
        server = http_case.HttpServer(self.server.address, *flags)
        self.addCleanup(lambda: server.process.poll() is None and server.stop())
        return server

    def test_requests_in_work_end_and_idle_connections_do_not_matter(self):
        server = self.start()
        idle = socket.create_connection((server.host, server.port), timeout=SOON_S)
        ask_health(idle)
        body = {"prompt": "a", "max_tokens": 50, "ignore_eos": True}
        with futures.ThreadPoolExecutor(1) as pool:
            whole = pool.submit(server.post, "/v1/completions", body)
            time.sleep(0.3)
            connection = server.connect()
            connection.request("POST", "/v1/completions", json.dumps({**body, "stream": True}),
                               {"Content-Type": "application/json"})
            # The stream has begun, so both requests are in work.
            parts = connection.getresponse()
            server.signal_stop()
            self.assertEqual(whole.result().status, 200)
            self.assertTrue(parts.read().endswith(b"data: [DONE]\n\n"))
            connection.close()
        server.stop()
        self.assertEqual(idle.recv(4096), b"")
        idle.close()

    def test_the_grace_period_ends(self):
        server = self.start("--grace-seconds", 1)
        endless = {"prompt": "a", "max_tokens": 100000, "ignore_eos": True}
        connections = [server.connect(), server.connect()]
        for connection, is_stream in zip(connections, (False, True)):
            self.addCleanup(connection.close)
            connection.request("POST", "/v1/completions", json.dumps({**endless, "stream": is_stream}),
                               {"Content-Type": "application/json"})
        stream = connections[1].getresponse()
        began = time.monotonic()
        server.signal_stop()
        # The client has not left: it is told to come back, also within a stream.
        *_, last = stream.read().decode().split("\n\n")[:-1]
        self.assertEqual(json.loads(last.removeprefix("data: "))["error"]["code"], "overloaded")
        whole = connections[0].getresponse()
        error = json.loads(whole.read())["error"]
        self.assertEqual((whole.status, error["code"], error["type"]), (503, "overloaded", "overloaded_error"))
        self.assertGreaterEqual(int(whole.headers["Retry-After"]), 1)
        server.stop()
        self.assertLess(time.monotonic() - began, SOON_S)


class ServerAwayTest(unittest.TestCase):
    def test_without_a_server_it_is_alive_and_not_ready(self):
        server = http_case.HttpServer("127.0.0.1:1")
        self.addCleanup(server.stop)
        self.assertEqual(server.send("GET", "/healthz").status, 200)
        reply = server.send("GET", "/readyz")
        self.assertEqual((reply.status, reply.json()["error"]["code"]), (503, "server_unreachable"))
        reply = server.post("/v1/completions", {"prompt": "a"})
        self.assertEqual((reply.status, reply.json()["error"]["code"]), (503, "server_unreachable"))
        self.assertIn("retry-after", reply.headers)

    def test_the_token_is_handed_on(self):
        """A stand-in for the server writes down the metadata of each call."""
        seen = []

        class Recorder(grpc.GenericRpcHandler):
            def service(self, details):
                seen.append((details.method, dict(details.invocation_metadata).get("authorization")))
                return grpc.unary_unary_rpc_method_handler(lambda request, context: b"")

        stand_in = grpc.server(concurrent.futures.ThreadPoolExecutor(4), handlers=[Recorder()])
        port = stand_in.add_insecure_port("127.0.0.1:0")
        stand_in.start()
        self.addCleanup(stand_in.stop, None)
        server = http_case.HttpServer(f"127.0.0.1:{port}")
        self.addCleanup(server.stop)
        for header, expected in (("Bearer secret-1", "Bearer secret-1"), ("Bearer ", None), (None, None),
                                 ("bearer  x", "Bearer x")):
            seen.clear()
            reply = server.send("GET", "/v1/models", headers={"Authorization": header} if header else {})
            self.assertEqual(reply.status, 200, reply.body)
            self.assertEqual(seen, [("/logitd.v1.ModelService/ListModels", expected),
                                    ("/logitd.v1.ServerService/GetServerInfo", expected)])


class CommandLineTest(unittest.TestCase):
    def test_help_has_examples_and_mistakes_are_named(self):
        shown = harness.run("logitd-http", "--help")
        self.assertEqual(shown.status, 0)
        for part in ("Examples:", "--listen", "--server", "curl", "lm-eval"):
            self.assertIn(part, shown.stdout)
        for arguments, part in ((("--listen", "8000"), "--listen must be"), (("--listne", "x"), "--listne"),
                                (("--listen", "0.0.0.0:1"), "--allow-plaintext"), (("--server", "nobody"), "--server must be"),
                                (("--max-calls", "0"), "--max-calls")):
            outcome = harness.run("logitd-http", *arguments)
            self.assertEqual(outcome.status, 2, outcome)
            self.assertIn(part, outcome.stderr)

    def test_a_port_in_use_is_a_failure(self):
        with socket.create_server(("127.0.0.1", 0)) as taken:
            # Without SO_REUSEPORT on both sides the second bind fails.
            outcome = harness.run("logitd-http", "--listen", f"127.0.0.1:{taken.getsockname()[1]}")
        self.assertEqual(outcome.status, 1)
        self.assertIn("cannot listen on", outcome.stderr)

    def test_docs_have_the_tables_of_the_code(self):
        tables = harness.run("logitd-http", "--compatibility").stdout
        document = (harness.ROOT / "docs/openai.md").read_text(encoding="utf-8")
        self.assertGreater(tables.count("\n| `"), 60)
        self.assertIn(tables.strip(), document, "renew docs/openai.md with `logitd-http --compatibility`")


if __name__ == "__main__":
    unittest.main()
