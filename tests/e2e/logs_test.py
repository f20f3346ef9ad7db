"""The log: a line for each event, text or JSON, and never a client's data."""

import datetime
import json
import os
import pathlib
import re
import shutil
import subprocess
import tempfile
import threading
import time
import unittest
from unittest import mock

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
        self.assertLessEqual({"ComputeDistribution", "Generate", "Score", "Rank", "Tokenize"}, {c["method"] for c in calls})
        for call in calls:
            self.assertGreaterEqual(call["duration_ms"], 0)
            self.assertEqual("reason" in call, call["status"] != "OK", call)
        self.assertIn(("ComputeDistribution", "INVALID_ARGUMENT", "NON_FINITE_LOGIT"),
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
            self.assertNotIn("ComputeDistribution", server.log())
        finally:
            server.stop()

    def test_runner_from_elsewhere_that_is_gone(self):
        server = harness.Server(flags=("--log-format", "json"))
        try:
            for number, (end, level, cause) in enumerate([
                    (fake_runner.FakeRunner.stop, "info", "it left"),
                    (fake_runner.FakeRunner.break_off, "warn", "its connection broke")]):
                runner = fake_runner.FakeRunner(server.runner_address)
                self.assertTrue(runner.attached.wait(10))
                end(runner)
                gone = []
                limit = time.monotonic() + 60
                while len(gone) <= number and time.monotonic() < limit:
                    gone = [line for line in map(json.loads, server.log().splitlines())
                            if line["message"] == "runner gone"]
                    threading.Event().wait(0.02)
                self.assertEqual((gone[number]["level"], gone[number]["cause"]), (level, cause))
        finally:
            server.stop()

    def failures(self) -> list[tuple[list[object], dict[str, str], int, str]]:
        """Causes that stop a start: flags, environment, exit status, and words of the message."""
        config = self.folder / "config.textproto"
        config.write_text('log_format: "json"\nrunners: 99\n', encoding="utf-8")
        no_model = self.folder / "no.gguf"
        no_model.write_text("not a model", encoding="utf-8")
        json_flag = ["--log-format", "json"]
        return [
            ([*json_flag, "--modle", "x"], {}, 2, "--modle"),
            (["--runners", "99", "--log-format=json"], {}, 2, "--runners must be in [1, 64], got 99"),
            (["--runners", "many"], {"LOGITD_LOG_FORMAT": "json"}, 2, "many"),
            (["--config", config], {}, 2, "runners must be in [1, 64], got 99"),
            (["--check-config", "--runners", "99"], {"LOGITD_LOG_FORMAT": "json"}, 2, "--runners"),
            ([*json_flag, "--listen", "127.0.0.1:1x"], {}, 2, "127.0.0.1:1x"),
            ([*json_flag, "--listen", self.server.address], {}, 1, self.server.address),
            ([*json_flag, "--log-level", "off", "--listen", self.server.address], {}, 1, self.server.address),
            ([*json_flag, "--model", self.folder / "nothing.gguf"], {}, None, "nothing.gguf"),
            ([*json_flag, "--model", no_model], {}, None, "no.gguf"),
        ]

    def test_failures_are_lines_too(self):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="logitd-e2e-"))
        self.addCleanup(shutil.rmtree, self.folder)
        self.server = harness.Server()
        self.addCleanup(self.server.stop)
        for flags, environment, status, words in self.failures():
            with self.subTest(flags=flags, environment=environment):
                with mock.patch.dict(os.environ, environment):
                    outcome = harness.run("logitd", "--listen", "127.0.0.1:0", "--runner-listen",
                                          f"unix:{self.folder}/r.sock", "--cache-dir", self.folder, *flags,
                                          timeout_s=60)
                self.assertIn(outcome.status, [status] if status else [1, 2])
                lines = [json.loads(line) for line in outcome.stderr.splitlines()]
                for line in lines:
                    self.assertEqual(list(line)[:3], ["time", "level", "message"])
                failed = [line for line in lines if line["message"] == "failed"]
                self.assertEqual([line["level"] for line in failed], ["error"])
                self.assertIn(words, failed[0]["error"])

    def test_failures_are_sentences_in_text(self):
        outcome = harness.run("logitd", "--runners", "99")
        self.assertEqual(outcome.stderr, "logitd: --runners must be in [1, 64], got 99\n")

    def test_text_that_is_not_utf8_prints_nothing(self):
        """libprotobuf says so on standard error unless its handler is replaced."""
        server = harness.Server(flags=("--log-format", "json", "--log-level", "debug"))
        try:
            with wire.connect(server.address) as client:
                # TokenizeRequest{texts: "\xff"}, as bytes.
                call = client.channel.unary_unary("/logitd.v1.ModelService/Tokenize")
                with self.assertRaises(grpc.RpcError):
                    call(b"\x12\x01\xff", timeout=wire.TIMEOUT_S)
            for text in [b"a\xff", b"\xed\xa0\x80"]:
                done = subprocess.run([str(harness.BIN / "logit"), "complete", text, "--server", server.address],
                                      capture_output=True, check=False, timeout=harness.CALL_TIMEOUT_S)
                self.assertNotEqual(done.returncode, 0)
                self.assertNotIn(b"libprotobuf", done.stderr)
            said = [line for line in map(json.loads, server.log().splitlines()) if line["message"] == "protobuf says"]
            self.assertTrue(said, server.log())
            self.assertEqual({line["level"] for line in said}, {"debug"})
        finally:
            server.stop()


if __name__ == "__main__":
    unittest.main()
