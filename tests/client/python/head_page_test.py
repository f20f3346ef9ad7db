"""docs/heads.md: its programs run as they stand, in order, and its commands print what it shows."""

import contextlib
import io
import os
import re
import shlex
import subprocess
import tempfile
import unittest

import harness

PAGE = harness.ROOT / "docs/heads.md"


class Page(unittest.TestCase):
    def test_programs_and_commands(self):
        folder = self.enterContext(tempfile.TemporaryDirectory(prefix="logitd-heads-"))
        self.addCleanup(os.chdir, os.getcwd())
        os.chdir(folder)
        parts = re.findall(r"```python\n(.*?)```|```console\n\$ (.*?)\n(.*?)```", PAGE.read_text(encoding="utf-8"),
                           re.DOTALL)
        self.assertGreaterEqual(len(parts), 12)
        server = None
        names: dict = {}
        printed = io.StringIO()
        for program, command, shown in parts:
            if command:
                done = subprocess.run([harness.BIN / "logitd", "--listen", "127.0.0.1:0", *shlex.split(command)[1:]],
                                      capture_output=True, text=True, timeout=60, check=False)
                self.assertEqual(done.returncode, 1, done.stderr)
                self.assertEqual(done.stderr.splitlines()[-1], shown.strip())
                continue
            if server is not None:
                program = program.replace("127.0.0.1:50051", server.address)
                program = program.replace("unix:/tmp/logitd-runner.sock", server.runner_address)
            with contextlib.redirect_stdout(printed):
                exec(compile(program, str(PAGE), "exec"), names)
            if server is None:
                server = harness.Server(flags=("--head", "lm=head.safetensors"))
                self.addCleanup(server.stop)
        errors = printed.getvalue().splitlines()
        self.assertEqual(len(errors), 2)
        for line in errors:
            self.assertIn("\n    " + line + "\n", PAGE.read_text(encoding="utf-8"))


if __name__ == "__main__":
    unittest.main()
