"""Requests that schemathesis makes from docs/openapi.yaml, valid and invalid ones, against the real logitd-http, the real
server and a model of 320 tokens: no 5xx but 503, no hang, no crash, every reply as the file says, memory bounded.

Run by scripts/test-openapi, which installs schemathesis:

    LOGITD_SCHEMATHESIS=.../bin/schemathesis LOGITD_OPENAPI_REQUESTS=10000 /usr/bin/python3 openapi_requests.py
"""

import collections
import json
import os
import pathlib
import subprocess
import tempfile
import unittest
import urllib.parse

import harness
import http_case
import openapi_file
import process
import transition

REQUESTS = int(os.environ.get("LOGITD_OPENAPI_REQUESTS", "10000"))
SEED = os.environ.get("LOGITD_OPENAPI_SEED", "1")
# Everything that has an effect is in the first requests; what is left is growth.
MAX_GROWTH_BYTES = 96 << 20
CONFIG = """
[checks]
# A value may be one that the model cannot serve: hooks look at the code of the error.
positive_data_acceptance.expected-statuses = ["2xx", 400, 404, 503]
# There are no resources that a client makes or deletes, and no access control without a token on the server.
use_after_free.enabled = false
ensure_resource_availability.enabled = false
ignored_auth.enabled = false

[phases.coverage]
# Not QUERY, which cpp-httplib does not know: it is 400.
unexpected-methods = ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"]

[phases.stateful]
enabled = false
"""


def kind_of(entry: dict) -> str:
    """Of a request with its reply: method, path, status, and the error's code."""
    text = entry["response"]["content"].get("text") or ""
    code = json.loads(text)["error"]["code"] if text.startswith('{"error"') else ""
    path = urllib.parse.urlsplit(entry["request"]["url"]).path
    return f"{entry['request']['method']} {path if not path.startswith('/v1/models/') else '/v1/models/*'} {entry['response']['status']} {code}"


class OpenApiRequests(http_case.HttpCase):
    # A prompt and its completion fill the context before they take long.
    RUNNER_FLAGS = ("--context-length", 256)

    def run_requests(self, folder: pathlib.Path, document: pathlib.Path, name: str, requests: int, seed: str) -> collections.Counter:
        """The statuses of the replies."""
        (folder / "schemathesis.toml").write_text(CONFIG, encoding="utf-8")
        report = folder / f"{name}.har"
        # A route without fields has few different requests.
        count = sum(method == "POST" for method, _ in openapi_file.operations(openapi_file.load()))
        outcome = subprocess.run(
            [os.environ["LOGITD_SCHEMATHESIS"], "--config-file", str(folder / "schemathesis.toml"), "run", str(document),
             "--url", f"http://{self.http.host}:{self.http.port}", "--seed", seed, "--max-examples", str(-(-requests // count)),
             "--request-timeout", "60", "--max-response-time", "30", "--checks", "all", "--continue-on-failure", "--workers", "1",
             "--report", "har", "--report-har-path", str(report), "--no-shrink", "--suppress-health-check", "all"],
            cwd=folder, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False,
            env={**os.environ, "SCHEMATHESIS_HOOKS": str(pathlib.Path(__file__).with_name("openapi_hooks.py")),
                 "LOGITD_OPENAPI": str(document), "PYTHONPATH": str(pathlib.Path(__file__).parent)})
        print(outcome.stdout, flush=True)
        self.assertEqual(outcome.returncode, 0, "schemathesis found what is above")
        entries = json.loads(report.read_text())["log"]["entries"]
        for (kind, count) in sorted(collections.Counter(map(kind_of, entries)).items()):
            print(f"{count:7d}  {kind}")
        return collections.Counter(entry["response"]["status"] for entry in entries)

    def test_requests_made_from_the_file(self):
        with tempfile.TemporaryDirectory() as name:
            folder = pathlib.Path(name)
            document = folder / "openapi.json"
            document.write_text(json.dumps(openapi_file.for_model(openapi_file.load(), transition.NAME, len(self.tables.tokens))),
                                encoding="utf-8")
            self.run_requests(folder, document, "first", REQUESTS // 10, SEED)
            before = process.resident_bytes(self.http.pid)
            process.forget_peak(self.http.pid)
            statuses = self.run_requests(folder, document, "all", REQUESTS, SEED + "0")
            after = process.resident_bytes(self.http.pid)
            print(f"{sum(statuses.values())} requests: {dict(sorted(statuses.items()))}; resident "
                  f"{before >> 20} MiB before, {after >> 20} MiB after, {process.peak_resident_bytes(self.http.pid) >> 20} MiB at most")
        self.assertGreaterEqual(sum(statuses.values()), REQUESTS)
        self.assertGreater(statuses[200], REQUESTS // 20)
        self.assertGreater(statuses[400], REQUESTS // 20)
        self.assertFalse([status for status in statuses if status == 0 or status >= 500 and status not in (501, 503)])
        self.assertLess(after - before, MAX_GROWTH_BYTES)
        # It still serves.
        self.assertEqual(len(self.complete(prompt="a", max_tokens=2)), 1)
        self.assertIsNone(self.http.process.poll())


if __name__ == "__main__":
    unittest.main()
