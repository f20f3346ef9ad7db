"""README.md's section on OpenAI's clients: its curl command and its Python program, as they stand, with the real model.

The program needs the openai package, in /usr/bin/python3 or in the Python of LOGITD_OPENAI_PYTHON; else its test is skipped.
"""

import json
import os
import re
import shutil
import subprocess
import unittest

import harness

SECTION = (harness.ROOT / "README.md").read_text(encoding="utf-8").partition("## From OpenAI's clients\n")[2].partition("\n## ")[0]
ADDRESS = "127.0.0.1:8000"
# f32 keeps a log-prob within 1e-4 nats, whatever its batch.
TOLERANCE = 2e-4


def setUpModule():
    global server, http
    server = harness.Server(model=harness.model_path(), flags=("--http", "127.0.0.1:0"))
    http = server.http_address()


def tearDownModule():
    server.stop()


def block(language: str, word: str) -> str:
    """The block with that word, with the server's address."""
    text, = (text for text in re.findall(rf"```{language}\n(.*?)```", SECTION, flags=re.DOTALL) if word in text)
    assert ADDRESS in text
    return text.replace(ADDRESS, http)


def openai_python() -> str | None:
    python = os.environ.get("LOGITD_OPENAI_PYTHON", "/usr/bin/python3")
    found = subprocess.run([python, "-c", "import openai"], capture_output=True, check=False)
    return python if found.returncode == 0 else None


class ReadmeTest(unittest.TestCase):
    def expected(self) -> float:
        """As `logit score` says it."""
        scored = harness.logit("score", "The capital of France is", " Paris", server=server).json()
        return scored["item"]["continuations"][0]["score"]["totals"]["cumulative_model_log_prob"]

    @unittest.skipUnless(shutil.which("curl"), "curl is not installed")
    def test_curl(self):
        done = subprocess.run(["bash", "-c", block("sh", "curl")], capture_output=True, text=True, check=False,
                              timeout=harness.CALL_TIMEOUT_S)
        self.assertEqual(done.returncode, 0, done.stderr)
        lists = json.loads(done.stdout)["choices"][0]["logprobs"]
        self.assertEqual(lists["tokens"], ["The", " capital", " of", " France", " is", " Paris"])
        self.assertAlmostEqual(lists["token_logprobs"][-1], self.expected(), delta=TOLERANCE)

    def test_the_flags_start_a_server(self):
        command = re.search(r"```sh\nbuild/release/bin/logitd (.*)\n```", SECTION).group(1)
        words = command.replace('"$(scripts/fetch-model)"', str(harness.model_path())).split()
        checked = harness.run("logitd", "--check-config", *words)
        self.assertEqual(checked.status, 0, checked.stderr)
        self.assertIn(f'http: "{ADDRESS}"', checked.stdout)

    @unittest.skipUnless(openai_python(), "no Python with the openai package: set LOGITD_OPENAI_PYTHON")
    def test_openai(self):
        environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        done = subprocess.run([openai_python(), "-c", block("python", "openai")], capture_output=True, text=True,
                              env=environment, check=False, timeout=harness.CALL_TIMEOUT_S)
        self.assertEqual(done.returncode, 0, done.stderr)
        text, _, log_prob = done.stdout.rstrip("\n").rpartition(" ")
        self.assertEqual(text, " Paris")
        self.assertAlmostEqual(float(log_prob), self.expected(), delta=TOLERANCE)


if __name__ == "__main__":
    unittest.main()
