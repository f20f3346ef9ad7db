"""A server that cannot start says why, names what it was given, and ends."""

import pathlib
import shutil
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

    def test_port_in_use(self):
        server = harness.Server()
        try:
            self.assert_refused(self.start("--listen", server.address), server.address)
            self.assertTrue(server.is_alive())
            reply = harness.logit("distribution", "--logits=0,0", server=server).json()
            self.assertEqual(reply["probabilities"], [0.5, 0.5])
        finally:
            server.stop()

    def test_flag_that_does_not_exist(self):
        outcome = self.start("--modle", "x")
        self.assertEqual(outcome.status, 2)
        self.assert_refused(outcome, "--modle")


if __name__ == "__main__":
    unittest.main()
