"""The commands that a document shows, run again and compared with the output that it shows.

    console_examples.check(self, harness.ROOT / "docs/compare.md", server)

A block that begins with "```console" holds one command behind "$ " and its output. Commands run in order, in one temporary
folder: a file that one of them writes is there for the next. `logit` asks `server`.
"""

from __future__ import annotations

import pathlib
import re
import shlex
import subprocess
import tempfile
import unittest

import harness

# Numbers are printed rounded; f32 keeps a log-prob within 1e-4 nats, whatever its batch.
TOLERANCE = 2e-4
NUMBER = re.compile(r"-?\d+\.\d+")


def examples(document: pathlib.Path) -> list[tuple[list[str], str]]:
    """Each command of the document with the output shown below it."""
    blocks = re.findall(r"```console\n\$ (.*?)\n(.*?)```", document.read_text(encoding="utf-8"), flags=re.DOTALL)
    return [(shlex.split(command), output) for command, output in blocks]


def _words(text: str) -> str:
    """Words and layout, without the numbers and the widths that depend on them."""
    return re.sub(r"[ ─-]+", " ", NUMBER.sub("N", text)).strip()


def check(test: unittest.TestCase, document: pathlib.Path, server: harness.Server) -> None:
    with tempfile.TemporaryDirectory(prefix="logitd-e2e-doc-") as folder:
        for arguments, shown in examples(document):
            with test.subTest(arguments=arguments):
                command = [str(harness.BIN / arguments[0]) if arguments[0] == "logit" else "/usr/bin/python3",
                           *arguments[1:]]
                if arguments[0] == "logit":
                    command += ["--server", server.address]
                done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False,
                                      timeout=harness.CALL_TIMEOUT_S)
                test.assertEqual(done.returncode, 0, done.stderr)
                test.assertEqual(_words(done.stdout), _words(shown))
                for printed, written in zip(NUMBER.findall(done.stdout), NUMBER.findall(shown)):
                    tolerance = TOLERANCE * max(1, abs(float(written)))
                    test.assertAlmostEqual(float(printed), float(written), delta=tolerance)
