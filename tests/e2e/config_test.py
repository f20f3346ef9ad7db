"""Configuration: flags, environment and file; --check-config; and docs/operations.md, which lists all of it."""

import hashlib
import json
import os
import pathlib
import pwd
import re
import shutil
import struct
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

    def model(self, start: bytes | None = None) -> pathlib.Path:
        """A file that begins as a model's does, or with `start`."""
        if start is None:
            text = lambda value: struct.pack("<Q", len(value)) + value
            start = (b"GGUF" + struct.pack("<IQQ", 3, 1, 2) + text(b"general.architecture") + struct.pack("<I", 8)
                     + text(b"llama") + text(b"tokenizer.ggml.tokens") + struct.pack("<IIQ", 9, 8, 2) + text(b"a")
                     + text(b"b") + text(b"tensor") + struct.pack("<IQIQ", 1, 1, 0, 0))
            start = start.ljust((len(start) + 31) // 32 * 32, b"\0") + struct.pack("<f", 1)
        path = self.folder / "model.gguf"
        path.write_bytes(start)
        return path

    def test_flag_over_variable_over_file(self):
        path = self.file(f'runners: 2 threads: 2 grace_period: "2s" model: "{self.model()}"')
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
        for flags in (("--runners", 2), ("--threads", 2), ("--precision", "f32")):
            with self.subTest(flags):
                self.assert_wrong(logitd("--check-config", *flags), flags[0], "needs --model FILE")
                self.assertEqual(logitd("--check-config", *flags, "--model", self.model()).status, 0)

    def test_an_empty_model_is_not_no_model(self):
        self.assert_wrong(logitd("--check-config", "--model", ""), "--model", "empty text")

    def test_check_reads_the_start_of_the_model(self):
        for start, what in [(b"<html>", "web page (HTML)"), (b"", "is empty"), (b"GGU", "not a GGUF file")]:
            with self.subTest(start):
                self.assert_wrong(logitd("--check-config", "--model", self.model(start)), self.model(start), what)
        self.assert_wrong(logitd("--check-config", "--model", self.folder), self.folder, "is a folder")
        self.assertEqual(logitd("--check-config", "--model", self.model()).status, 0)

    def test_check_as_a_user_who_may_not_read_or_write(self):
        """Nobody's rights, which root's tests do not have."""
        user = pwd.getpwnam("nobody")
        program = pathlib.Path(shutil.copy(harness.BIN / "logitd", self.folder))
        self.folder.chmod(0o755)

        def check(*flags: object) -> harness.Outcome:
            done = subprocess.run([str(program), "--check-config", *map(str, flags)], capture_output=True, text=True,
                                  stdin=subprocess.DEVNULL, cwd="/", timeout=60, check=False,
                                  env={"PATH": "/usr/bin", "HOME": str(self.folder)},
                                  user=user.pw_uid, group=user.pw_gid, extra_groups=[])
            return harness.Outcome(done.returncode, done.stdout, done.stderr)

        if os.geteuid() != 0:
            self.skipTest("only root can become somebody else")
        model = self.model()
        model.chmod(0o600)
        self.assert_wrong(check("--model", model), model, "Permission denied")
        model.chmod(0o644)
        cache = self.folder / "cache"
        cache.mkdir(mode=0o755)
        self.assert_wrong(check("--model", model, "--precision", "f32", "--cache-dir", cache), cache,
                          "Permission denied", "--precision native")
        self.assert_wrong(check("--model", model, "--precision", "f16"), self.folder / ".cache", "Permission denied")
        self.assertEqual(check("--model", model, "--cache-dir", cache).status, 0)
        # Weights that were converted elsewhere are only read: this model's, whole, in this precision.
        f32 = ("--model", model, "--precision", "f32", "--cache-dir", cache)
        name = hashlib.sha256(model.read_bytes()).hexdigest() + "-llama.cpp-1-f32.gguf"
        for other in ("0123-llama.cpp-1-f32.gguf", name.replace("f32", "f16")):
            (cache / other).write_bytes(model.read_bytes())
            self.assert_wrong(check(*f32), cache, "Permission denied")
            (cache / other).unlink()
        (cache / name).write_bytes(model.read_bytes()[:-1])
        self.assert_wrong(check(*f32), cache, "Permission denied")
        (cache / name).write_bytes(model.read_bytes())
        self.assertEqual(check(*f32).status, 0)
        cache.chmod(0o777)
        (cache / name).unlink()
        self.assertEqual(check(*f32).status, 0)
        self.assertEqual(check("--model", model, "--precision", "f32", "--cache-dir", cache / "new").status, 0)
        self.assertEqual(list(cache.iterdir()), [])

    def test_check_makes_a_file_in_the_cache_folder(self):
        """Root may write everywhere, and in /proc nobody can."""
        model = self.model()
        for cache in ("/proc", "/proc/logitd", "/proc/self/logitd/cache"):
            self.assert_wrong(logitd("--check-config", "--model", model, "--precision", "f32", "--cache-dir", cache),
                              cache, "can be made", "--precision native")
        self.assertEqual(logitd("--check-config", "--model", model, "--cache-dir", "/proc").status, 0)

    def test_check_finds_every_truncation(self):
        """A real model: a byte less than its header describes, and half of it."""
        whole = harness.random_model(harness.vocabulary_path("llama-spm"), self.folder / "whole.gguf")
        self.assertEqual(logitd("--check-config", "--model", whole).status, 0)
        size = whole.stat().st_size
        for left in (size - 1, size // 2):
            os.truncate(whole, left)
            outcome = logitd("--check-config", "--model", whole)
            self.assert_wrong(outcome, whole, "truncated or damaged", f"it has {left} bytes, its header describes {size}")

    def test_check_knows_the_trained_context(self):
        text = lambda value: struct.pack("<Q", len(value)) + value
        model = self.model()
        header = model.read_bytes()
        key = text(b"llama.context_length") + struct.pack("<II", 4, 4096)
        bytes_ = header[:16] + struct.pack("<Q", 3) + header[24:header.index(text(b"tensor") + b"\1\0\0\0")] + key + \
            text(b"tensor") + struct.pack("<IQIQ", 1, 1, 0, 0)
        model.write_bytes(bytes_.ljust((len(bytes_) + 31) // 32 * 32, b"\0") + struct.pack("<f", 1))
        self.assertEqual(logitd("--check-config", "--model", model, "--context-length", 4096).status, 0)
        for flags in (("--check-config",), ("--listen", "127.0.0.1:0")):
            self.assert_wrong(logitd(*flags, "--model", model, "--context-length", 4097),
                              "--context-length must be at most 4096", "got 4097")

    def test_a_stray_word_is_not_the_flags_before_it(self):
        for flags in (("--threads", "2", "stray"), ("--listen", "127.0.0.1:0", "stray"), ("stray",),
                      ("--allow-plaintext", "stray"), ("--precision", "f32", "stray", "--threads", "2")):
            with self.subTest(flags):
                self.assert_wrong(logitd("--check-config", *flags), "logitd: unexpected argument stray;")
        self.assert_wrong(logitd("--check-config", "--threads", 1, "--threads", 2), "--threads must be given once")
        self.assert_wrong(logitd("--bogus", "3"), "logitd: unknown flag --bogus;")

    def test_a_number_that_is_too_large_names_its_bound(self):
        huge = "1" + "0" * 30
        for value in ("1000000000000", huge, "-1"):
            for flag, bound in (("context-length", 1 << 30), ("cache-tokens", 1 << 30), ("threads", 1024)):
                with self.subTest(flag, value=value):
                    field = flag.replace("-", "_")
                    said = f"must be in [0, {bound}], got {value}"
                    self.assert_wrong(logitd("--check-config", f"--{flag}", value), f"--{flag} {said}")
                    self.assert_wrong(logitd("--check-config", **{f"LOGITD_{field.upper()}": value}), said)
                    path = self.file(f'listen: "unix:/tmp/x"\n{field}: {value}\n')
                    self.assert_wrong(logitd("--check-config", "--config", path), f"{path}:2: {field} {said}")
        self.assert_wrong(logitd("--check-config", "--runners", "2.5"), "--runners must be a whole number in [1, 64], got 2.5")

    def test_errors_have_the_form_that_the_file_asks_for(self):
        """As far as it can be known: a line that begins so, of a file that is none; a flag or variable wins."""
        unreadable = 'runners: 2\n  log_format: "json"  # for the collector\nrunner: 3\n'
        fine = 'log_format: "json"\n'
        for text, arguments, variables, is_json in [
                (unreadable, (), {}, True), (unreadable, ("--log-format", "text"), {}, False),
                (unreadable, (), {"LOGITD_LOG_FORMAT": "text"}, False),
                (unreadable.replace("log_format", "# log_format"), (), {}, False),
                (fine, (), {"LOGITD_RUNNERS": "two"}, True), (fine, ("--bogus",), {}, True),
                (fine, ("--runners", "99"), {}, True), ("runners: 99", ("--log-format=json",), {}, True)]:
            with self.subTest(text, arguments=arguments, variables=variables):
                outcome = logitd("--check-config", "--config", self.file(text), *arguments, **variables)
                self.assertEqual(outcome.status, 2)
                if is_json:
                    self.assertEqual(json.loads(outcome.stderr)["message"], "failed")
                else:
                    self.assertTrue(outcome.stderr.startswith("logitd: "), outcome.stderr)

    def test_what_cannot_be_printed_is_an_error(self):
        for flag in ("--help", "--version", "--check-config"):
            with self.subTest(flag), open("/dev/full", "wb") as full:
                done = subprocess.run([str(harness.BIN / "logitd"), flag], stdout=full, stderr=subprocess.PIPE, text=True,
                                      timeout=60, check=False)
                self.assertEqual(done.returncode, 1)
                # (Before it: the tests' own variables are no options.)
                self.assertEqual(done.stderr.splitlines()[-1],
                                 "logitd: cannot write standard output: No space left on device")

    def test_mistyped_variables_are_errors(self):
        for flags in [(), ("--check-config",)]:
            self.assert_wrong(logitd(*flags, LOGITD_LISTNE="127.0.0.1:0"), "LOGITD_LISTNE", "LOGITD_LISTEN?")
        outcome = logitd("--check-config", LOGITD_SERVICE_HOST="10.0.0.1", LOGITD_SERVER="127.0.0.1:1")
        self.assertEqual(outcome.status, 0, outcome)
        self.assertIn("logitd: LOGITD_SERVICE_HOST is not an option of logitd: ignored\n", outcome.stderr)
        self.assertNotIn("LOGITD_SERVER ", outcome.stderr)

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

    def test_help_fits_a_terminal(self):
        lines = logitd("--help", HOME="/home/user", XDG_CACHE_HOME="").stdout.splitlines()
        self.assertGreater(len(lines), 30)
        for line in lines:
            self.assertLessEqual(len(line), 80, line)
            self.assertEqual(line.endswith(" ..."), line.startswith(("  --listen ", "  --http-allowed-host ", "  --head ")),
                             "only these are repeatable, and too long for one line")

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
