"""Both wheels in a fresh environment: a server of the wheel's programs answers the wheel's client, its `logit` and HTTP."""

import json
import os
import pathlib
import re
import subprocess
import sys
import unittest
import urllib.request

import logitd
import logitd_server


class Wheels(unittest.TestCase):
    def test_a_server_answers(self):
        environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
        for module in (logitd, logitd_server):
            self.assertTrue(pathlib.Path(module.__file__).is_relative_to(sys.prefix), module.__file__)
        server = subprocess.Popen(["logitd", "--listen", "127.0.0.1:0", "--model", os.environ["LOGITD_TEST_MODEL"],
                                   "--http", "127.0.0.1:0"],
                                  stdout=subprocess.PIPE, text=True, env=environment)
        self.addCleanup(server.stdout.close)
        self.addCleanup(server.wait)
        self.addCleanup(server.terminate)
        address = re.fullmatch(r"listening on (\S+)\n", server.stdout.readline()).group(1)
        http = re.fullmatch(r"http listening on (\S+)\n", server.stdout.readline()).group(1)
        with urllib.request.urlopen(f"http://{http}/v1/models", timeout=60) as reply:
            self.assertEqual(len(json.load(reply)["data"]), 1)
        with logitd.Client(address) as client:
            [item] = client.score([("The capital of France is", [" Paris", " banana"])])
            self.assertEqual(item.best, 0)
            self.assertEqual(len(client.generate("2 + 2 =", max_tokens=3, temperature=0)[0].tokens), 3)
        said = subprocess.run(["logit", "--server", address, "score", "The capital of France is", " Paris"], check=True,
                              stdout=subprocess.PIPE, text=True, env=environment).stdout
        self.assertIn(" Paris", said)

    def test_only_its_programs_are_named(self):
        for program in ("logitd-llama", "logitd-http"):
            self.assertTrue(os.access(logitd_server.path(program), os.X_OK))
        with self.assertRaisesRegex(ValueError, "got 'sh'"):
            logitd_server.path("sh")


if __name__ == "__main__":
    unittest.main()
