"""Stands between an HTTP client and a server on this machine, hands everything on, and keeps what was said.

    recorder = http_recorder.Recorder(front.port)        # clients take recorder.port
    ...
    recorder.exchanges[-1].request                       # the JSON of the last request's body
    recorder.stop()

Headers are handed on and not kept, so that no token of a client is.
"""

from __future__ import annotations

import dataclasses
import http.client
import http.server
import json
import threading
import time

TIMEOUT_S = 600
# Those of one connection.
_HOP = {"connection", "keep-alive", "transfer-encoding", "content-length", "host"}


@dataclasses.dataclass(frozen=True)
class Exchange:
    method: str
    path: str
    # None: no body.
    request: object
    status: int
    # The JSON of the body; of a stream the list of its events, the last one "[DONE]".
    reply: object
    seconds: float


def _read(content_type: str, body: bytes) -> object:
    if content_type.startswith("text/event-stream"):
        data = [part.removeprefix("data: ") for part in body.decode().split("\n\n") if part]
        return [part if part == "[DONE]" else json.loads(part) for part in data]
    return json.loads(body) if content_type.startswith("application/json") else body.decode(errors="replace")


class Recorder:
    """`exchanges` grows before the client has the end of its reply."""

    def __init__(self, port: int):
        recorder = self
        self.exchanges: list[Exchange] = []

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def _hand_on(self) -> None:
                begin = time.monotonic()
                size = int(self.headers.get("Content-Length") or 0)
                body = self.rfile.read(size) if size else None
                headers = {name: value for name, value in self.headers.items() if name.lower() not in _HOP}
                upstream = http.client.HTTPConnection("127.0.0.1", port, timeout=TIMEOUT_S)
                try:
                    upstream.request(self.command, self.path, body, headers)
                    response = upstream.getresponse()
                    answer = response.read()
                finally:
                    upstream.close()
                recorder.exchanges.append(Exchange(
                    self.command, self.path, json.loads(body) if body else None, response.status,
                    _read(response.headers.get("Content-Type", ""), answer), time.monotonic() - begin))
                self.send_response(response.status)
                for name, value in response.getheaders():
                    if name.lower() not in _HOP:
                        self.send_header(name, value)
                self.send_header("Content-Length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            do_GET = do_POST = _hand_on  # noqa: N815 - the names are the base class's

            def log_message(self, *_: object) -> None:
                pass

        class Server(http.server.ThreadingHTTPServer):
            daemon_threads = True
            request_queue_size = 1024

        self._server = Server(("127.0.0.1", 0), Handler)
        self.port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()
