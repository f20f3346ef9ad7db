"""The log: a line for what happens, text or JSON, and never a client's data."""

import datetime
import json
import re
import unittest

import fake_runner
import grpc
import harness
import wire
from logitd.v1 import generation_service_pb2, model_service_pb2

CANARY = "canary-7391"
# As ids and as a row: numbers that stand nowhere else.
CANARY_TOKEN = 739117
CANARY_LOGIT = 7.391739


class LogsTest(unittest.TestCase):
    def traffic(self, *flags: str) -> list[str]:
        """The log of a server that was sent the canary in every way, good and bad."""
        server = harness.Server(flags=("--log-level", "debug", *flags))
        log = ""
        try:
            runner = fake_runner.FakeRunner(server.runner_address)
            self.assertTrue(runner.attached.wait(10))
            harness.logit("distribution", f"--logits={CANARY_LOGIT},1", "--temperature", 0.5, server=server).json()
            harness.logit("distribution", f"--logits={CANARY_LOGIT},nan", server=server)
            harness.logit("complete", CANARY, server=server)
            harness.logit("score", CANARY, CANARY, server=server)
            harness.logit("rank", CANARY, CANARY, server=server)
            harness.logit("complete", "a", "--model", CANARY[:3], server=server)
            with wire.connect(server.address) as client:
                for call, request in [
                        (client.models.Tokenize, model_service_pb2.TokenizeRequest(texts=[CANARY])),
                        (client.models.Detokenize, model_service_pb2.DetokenizeRequest(
                            tokens=[{"token_ids": [CANARY_TOKEN]}]))]:
                    with self.assertRaises(grpc.RpcError):
                        call(request, timeout=wire.TIMEOUT_S)
                request = generation_service_pb2.GenerateRequest(prompt={"tokens": {"token_ids": [CANARY_TOKEN]}})
                with self.assertRaises(grpc.RpcError):
                    list(client.generation.Generate(request, timeout=wire.TIMEOUT_S))
                list(client.generation.Generate(generation_service_pb2.GenerateRequest(
                    prompt={"tokens": {"token_ids": [1]}}, stop={"max_tokens": 3}), timeout=wire.TIMEOUT_S))
            runner.stop()
        finally:
            server.signal_stop()
            server.wait()
            log = server.log()
            server.stop()
        self.assertNotIn(CANARY, log)
        self.assertNotIn(str(CANARY_LOGIT), log)
        self.assertNotIn(str(CANARY_TOKEN), log)
        return log.splitlines()

    def test_json_lines(self):
        lines = [json.loads(line) for line in self.traffic("--log-format", "json")]
        for line in lines:
            self.assertEqual(list(line)[:3], ["time", "level", "message"])
            self.assertTrue(line["time"].endswith("Z"))
            datetime.datetime.fromisoformat(line["time"].removesuffix("Z"))
            self.assertIn(line["level"], {"debug", "info", "warn", "error"})
        messages = [line["message"] for line in lines]
        for message in ["starting", "ready", "stopping", "stopped"]:
            self.assertIn(message, messages)
        calls = [line for line in lines if line["message"] == "call"]
        self.assertLessEqual({"Distribution", "Generate", "Score", "Rank", "Tokenize"}, {c["method"] for c in calls})
        for call in calls:
            self.assertGreaterEqual(call["duration_ms"], 0)
            self.assertEqual("reason" in call, call["status"] != "OK", call)
        self.assertIn(("Distribution", "INVALID_ARGUMENT", "NON_FINITE_LOGIT"),
                      {(c["method"], c["status"], c.get("reason")) for c in calls})

    def test_text_lines(self):
        lines = self.traffic()
        for line in lines:
            self.assertRegex(line, r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z (debug|info|warn|error) \w")
        self.assertTrue(any(re.search(r" info ready address=127\.0\.0\.1:\d+$", line) for line in lines), lines)

    def test_calls_are_not_logged_unless_asked_for(self):
        server = harness.Server()
        try:
            harness.logit("distribution", "--logits=1,2", server=server).json()
            self.assertNotIn("Distribution", server.log())
        finally:
            server.stop()


if __name__ == "__main__":
    unittest.main()
