"""Configuration: flags, environment and file; --check-config; and docs/operations.md, which lists all of it."""

import os
import pathlib
import re
import shutil
import subprocess
import tempfile
import unittest

import harness
from logitd.v1 import server_service_pb2

OPERATIONS = (harness.ROOT / "docs/operations.md").read_text(encoding="utf-8")


def logitd(*arguments: object, **variables: str) -> harness.Outcome:
    done = subprocess.run([str(harness.BIN / "logitd"), *map(str, arguments)], capture_output=True, text=True,
                          stdin=subprocess.DEVNULL, env={**os.environ, **variables}, timeout=60, check=False)
    return harness.Outcome(done.returncode, done.stdout, done.stderr)


class ConfigTest(unittest.TestCase):
    def setUp(self):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="logitd-e2e-"))
        self.addCleanup(shutil.rmtree, self.folder)

    def file(self, text: str) -> pathlib.Path:
        path = self.folder / "logitd.textproto"
        path.write_text(text, encoding="utf-8")
        return path

    def test_flag_over_variable_over_file(self):
        path = self.file('runners: 2 threads: 2 grace_period: "2s"')
        outcome = logitd("--config", path, "--grace-period", "4s", "--check-config", LOGITD_THREADS="3",
                         LOGITD_GRACE_PERIOD="3s")
        self.assertEqual(outcome.status, 0, outcome.stderr)
        self.assertRegex(outcome.stdout, r"(?m)^runners: 2$")
        self.assertRegex(outcome.stdout, r"(?m)^threads: 3$")
        self.assertRegex(outcome.stdout, r'(?m)^grace_period: "4s"$')
        self.assertNotIn("listening on", outcome.stdout)

    def test_what_is_printed_can_be_given_back(self):
        first = logitd("--check-config", "--listen", "127.0.0.1:0", "--listen", "unix:/tmp/x", "--allow-plaintext",
                       "--max-idle", "90s", "--log-format", "json", "--kernel-target", "scalar")
        self.assertEqual(first.status, 0, first.stderr)
        second = logitd("--check-config", LOGITD_CONFIG=str(self.file(first.stdout)))
        self.assertEqual(second.status, 0, second.stderr)
        self.assertEqual(second.stdout, first.stdout)
        self.assertIn("allow_plaintext: true", first.stdout)

    def test_switch_can_be_turned_off(self):
        path = self.file("allow_plaintext: true")
        outcome = logitd("--config", path, "--allow-plaintext=false", "--check-config")
        self.assertEqual(outcome.status, 0, outcome.stderr)
        self.assertIn("allow_plaintext: false", outcome.stdout)

    def assert_wrong(self, outcome: harness.Outcome, *words: object) -> None:
        self.assertEqual(outcome.status, 2, outcome)
        self.assertEqual(outcome.stdout, "")
        for word in words:
            self.assertIn(str(word), outcome.stderr)

    def test_errors_name_file_line_and_field(self):
        path = self.file("threads: 1\nrunner: 2\n")
        for flags in [(), ("--check-config",)]:
            self.assert_wrong(logitd("--config", path, *flags), f"{path}:2:", '"runner"')
        path = self.file("threads: 1\n\nrunners: 99\n")
        self.assert_wrong(logitd("--config", path), f"{path}:3: runners", "[1, 64]", "99")
        self.assert_wrong(logitd("--config", self.folder / "none"), "--config", self.folder / "none")
        self.assert_wrong(logitd("--check-config", LOGITD_RUNNERS="two"), "LOGITD_RUNNERS", "two")

    def test_check_does_what_the_start_does(self):
        missing = self.folder / "none.gguf"
        self.assert_wrong(logitd("--check-config", "--model", missing), "--model", missing)
        self.assert_wrong(logitd("--check-config", "--listen", "0.0.0.0:1"), "--listen", "--allow-plaintext")
        self.assert_wrong(logitd("--check-config", "--runner-listen", "0.0.0.0:1"), "--runner-listen")
        self.assert_wrong(logitd("--check-config", "--kernel-target", "mmx"), "--kernel-target", "scalar")
        self.assert_wrong(logitd("--check-config", "--precision", "f64"), "--precision", "native")
        self.assert_wrong(logitd("--check-config", "--model-name", "m"), "--model-name")

    def test_server_that_is_started_from_a_file(self):
        server = harness.Server(flags=("--config", str(self.file('log_format: "json" kernel_target: "scalar"'))))
        try:
            info = harness.logit("info", server=server).json()["server"]
            self.assertEqual(info["kernel_target"], "SCALAR")
            self.assertEqual(info["available_kernel_targets"][-1], "SCALAR")
        finally:
            server.stop()


class OperationsTest(unittest.TestCase):
    """docs/operations.md is complete."""

    def test_every_option_is_listed(self):
        flags = re.findall(r"^ +(?:-\w,)?(--[a-z-]+)", logitd("--help").stdout, re.MULTILINE)
        self.assertGreater(len(flags), 15)
        for flag in flags:
            with self.subTest(flag=flag):
                self.assertRegex(OPERATIONS, rf"(?m)^\|.*`{flag}`")
        fields = re.findall(r"^(\w+):", logitd("--check-config").stdout, re.MULTILINE)
        self.assertGreaterEqual(len(set(fields)), 15)
        for field in fields:
            with self.subTest(field=field):
                flag, variable = f"--{field.replace('_', '-')}", f"LOGITD_{field.upper()}"
                self.assertIn(f"| `{flag}` | `{variable}` | `{field}` |", OPERATIONS)

    def test_every_limit_is_listed(self):
        for field in server_service_pb2.Limits.DESCRIPTOR.fields:
            with self.subTest(limit=field.name):
                self.assertRegex(OPERATIONS, rf"(?m)^\| `{field.name}` \|")

    def test_limits_have_the_values_that_are_listed(self):
        server = harness.Server()
        try:
            limits = harness.logit("info", server=server).json()["server"]["limits"]
        finally:
            server.stop()
        units = {"MiB": 1 << 20, "GiB": 1 << 30, "KiB": 1 << 10, "": 1}
        listed = re.findall(r"(?m)^\| `(max_\w+)` \| ([\d,]+) ?(\w*) \|", OPERATIONS)
        self.assertGreater(len(listed), 20)
        for name, number, unit in listed:
            self.assertEqual(int(limits[name]), int(number.replace(",", "")) * units[unit], name)


if __name__ == "__main__":
    unittest.main()
