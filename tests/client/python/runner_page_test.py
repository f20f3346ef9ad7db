"""The programs of runners.md run as they stand, in order, against a real server."""

import contextlib
import io
import re
import unittest
from unittest import mock

import grpc
import harness
import health
from logitd import runner

PAGE = harness.ROOT / "client/python/runners.md"


class Page(unittest.TestCase):
    def test_every_program(self):
        try:
            import numpy  # noqa: F401
        except ImportError:
            self.skipTest("numpy is not installed")
        server = harness.Server()
        self.addCleanup(server.stop)
        stack = contextlib.ExitStack()
        self.addCleanup(stack.close)
        channel = stack.enter_context(grpc.insecure_channel(server.address))

        def serve(model, address, *, name):
            """Goes on while the next programs run."""
            stack.enter_context(runner.Runner(model, address, name=name))
            health.wait_until_serving(channel, f"model/{name}")

        programs = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
        self.assertGreaterEqual(len(programs), 6)
        names: dict = {}
        printed = io.StringIO()
        with mock.patch.object(runner, "serve", serve), contextlib.redirect_stdout(printed):
            for program in programs:
                program = program.replace("unix:/tmp/logitd-runner.sock", server.runner_address)
                exec(compile(program.replace("127.0.0.1:50051", server.address), str(PAGE), "exec"), names)
        self.assertRegex(printed.getvalue(), r"^-\d+\.\d+\n")
        for model in ("bigram", "rnn"):
            with self.subTest(model), names["logitd"].Client(server.address, model=model) as client:
                self.assertEqual(len(client.generate("Hi", max_tokens=3, temperature=0)[0].tokens), 3)

    def test_a_toy_model_is_short(self):
        first = re.search(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL).group(1)
        self.assertLessEqual(len(first.splitlines()), 20)


if __name__ == "__main__":
    unittest.main()
