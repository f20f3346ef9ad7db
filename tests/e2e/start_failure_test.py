"""A server that cannot start says why, names the bad option or file, and ends."""

import os
import pathlib
import pwd
import shutil
import subprocess
import tempfile
import unittest

import harness


class StartFailureTest(unittest.TestCase):
    def setUp(self):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="logitd-e2e-"))
        self.addCleanup(shutil.rmtree, self.folder)

    def start(self, *flags: object) -> harness.Outcome:
        return harness.run("logitd", "--listen", "127.0.0.1:0", "--runner-listen", f"unix:{self.folder}/r.sock",
                           "--cache-dir", self.folder, *flags, timeout_s=60)

    def assert_refused(self, outcome: harness.Outcome, *words: object) -> None:
        self.assertNotEqual(outcome.status, 0)
        self.assertGreater(outcome.status, 0, "ended by a signal")
        self.assertNotIn("listening on", outcome.stdout)
        for word in words:
            self.assertIn(str(word), outcome.stderr)

    def test_model_file_that_is_missing(self):
        path = self.folder / "nothing.gguf"
        self.assert_refused(self.start("--model", path), path)

    def test_model_file_that_is_truncated(self):
        path = self.folder / "truncated.gguf"
        with open(harness.model_path(), "rb") as model:
            path.write_bytes(model.read(1 << 20))
        self.assert_refused(self.start("--model", path), path)

    def test_model_file_that_is_something_else(self):
        path = self.folder / "text.gguf"
        path.write_text("not a model", encoding="utf-8")
        self.assert_refused(self.start("--model", path), path)

    def test_a_runners_failure_is_said_once(self):
        """Only the runner finds this model wrong; the start fails with the runner's sentence."""
        path = self.folder / "model.gguf"
        shutil.copy(harness.model_path(), path)
        # The type of llama.cpp's tokenizer, whose length stays.
        whole = path.read_bytes()
        path.write_bytes(whole.replace(b"\x04\x00\x00\x00\x00\x00\x00\x00gpt2", b"\x04\x00\x00\x00\x00\x00\x00\x00gpx2", 1))
        self.assertNotEqual(path.read_bytes(), whole)
        for flags in ((), ("--log-format", "json")):
            outcome = self.start("--model", path, *flags)
            self.assertEqual(outcome.status, 1, outcome.stderr)
            self.assertEqual(outcome.stderr.count("gpx2"), 1, outcome.stderr)
            lines = outcome.stderr.splitlines()
            self.assertIn("gpx2", lines[-1])
            self.assertTrue('"failed"' in lines[-1] if flags else lines[-1].startswith("logitd: "), outcome.stderr)
            self.assertEqual(["stop" in line for line in lines], [False] * len(lines), "nothing was started")

    def test_port_in_use(self):
        server = harness.Server()
        try:
            self.assert_refused(self.start("--listen", server.address), server.address)
            self.assertTrue(server.is_alive())
            reply = harness.logit("distribution", "--logits=0,0", server=server).json()
            self.assertEqual(reply["probabilities"], [0.5, 0.5])
        finally:
            server.stop()

    def test_addresses_that_cannot_be_listened_on_say_why(self):
        file = self.folder / "file"
        file.touch()
        longest = "x" * (107 - len(f"{self.folder}/"))
        for address, words in [
                (f"unix:{self.folder}/none/x.sock", [f"there is no folder {self.folder}/none"]),
                (f"unix:{file}/x.sock", [f"{file} is not a folder"]),
                (f"unix:{file}/y/x.sock", ["not a folder"]),
                ("unix:/proc/x.sock", ["/proc"]),
                (f"unix:{file}", ["exists and is not a socket"]),
                (f"unix:{self.folder}/{longest}x", ["shorter than 108 bytes"]),
                ("192.0.2.1:0", ["the address is not this machine's"]),
                ("no-such-host.invalid:0", ["the host no-such-host.invalid has no address"])]:
            with self.subTest(address):
                outcome = self.start("--listen", address, "--allow-plaintext")
                self.assert_refused(outcome, address.removeprefix("unix:"), *words)
                self.assertNotIn("port is in use", outcome.stderr)
        server = harness.Server()
        try:
            self.assert_refused(self.start("--listen", server.address), server.address, "the port is in use")
        finally:
            server.stop()
        # The longest path that fits a socket's address.
        server = harness.Server(flags=("--listen", f"unix:{self.folder}/{longest}"))
        server.stop()

    def test_folder_of_a_socket_that_may_not_be_written(self):
        if os.geteuid() != 0:
            self.skipTest("only root can become somebody else")
        user = pwd.getpwnam("nobody")
        program = pathlib.Path(shutil.copy(harness.BIN / "logitd", self.folder))
        self.folder.chmod(0o755)
        done = subprocess.run([program, "--listen", f"unix:{self.folder}/x.sock"], capture_output=True, text=True,
                              stdin=subprocess.DEVNULL, cwd="/", timeout=60, check=False, env={"PATH": "/usr/bin"},
                              user=user.pw_uid, group=user.pw_gid, extra_groups=[])
        self.assertEqual(done.returncode, 1, done)
        self.assertIn(f"this user may not make a socket in {self.folder}", done.stderr)

    def test_flag_that_does_not_exist(self):
        outcome = self.start("--modle", "x")
        self.assertEqual(outcome.status, 2)
        self.assert_refused(outcome, "--modle")


if __name__ == "__main__":
    unittest.main()
