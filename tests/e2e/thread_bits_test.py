"""Whether a model's rows depend on the number of threads, which the default changes from batch to batch. In f32 they never
do. Else only the row of a token does that is evaluated alone with at least 512 tokens in the cache, within the stated bound.

LOGITD_LONG=1 adds the default model as its file is (10 minutes), and, where LOGITD_GEMMA names a gemma file, that one.
"""

import os
import pathlib
import shutil
import tempfile
import unittest

import harness

LONG = bool(os.environ.get("LOGITD_LONG"))


def probe(model: pathlib.Path, *flags: object) -> dict:
    return harness.run("thread_bits_probe", model, *flags, timeout_s=3600).json()


class ThreadBits(unittest.TestCase):
    """One thread against two and three: 1 to `sizes` tokens of one sequence, and of as many sequences."""

    def setUp(self):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="logitd-e2e-"))
        self.addCleanup(shutil.rmtree, self.folder)

    def model(self, architecture: str) -> pathlib.Path:
        return harness.random_model(harness.vocabulary_path("gpt-2"), self.folder / f"{architecture}.gguf", "--arch",
                                    architecture, "--context", 2048)

    def test_in_f32_every_row_is_the_same(self):
        for architecture in ["llama", "gemma3"]:
            for prefix, sizes in [(40, 16), (600, 2)]:
                with self.subTest(architecture, prefix=prefix):
                    result = probe(self.model(architecture), "--f32", "--prefix", prefix, "--sizes", sizes)
                    self.assertEqual(result, {"shapes": sizes * 2 * 2, "differing": 0, "largest": 0})

    def check(self, model: pathlib.Path, sizes: int):
        """With a cache of f16, and flash attention."""
        self.assertEqual(probe(model, "--prefix", 40, "--sizes", sizes), {"shapes": sizes * 2 * 2, "differing": 0, "largest": 0})
        beyond = probe(model, "--prefix", 600, "--sizes", 2)
        # A single token, as one sequence's and as one of one sequence, with two threads and with three.
        self.assertLessEqual(beyond["differing"], 4)
        stated = harness.run("batch_tolerance_probe", model, "--seconds", 5, "--tokens", 12, "--others", 1, timeout_s=3600).json()
        print(f"{model.name}: a token alone moves by {beyond['largest']:.2g} nats with the threads, stated are {stated['stated']}")
        self.assertLessEqual(beyond["largest"], stated["stated"])

    def test_with_an_f16_cache_only_a_token_alone_in_a_long_cache_differs(self):
        for architecture in ["llama", "gemma3"]:
            with self.subTest(architecture):
                self.check(self.model(architecture), 16)

    @unittest.skipUnless(LONG, "LOGITD_LONG=1: minutes")
    def test_the_default_model(self):
        self.check(harness.model_path(), 64)

    @unittest.skipUnless(LONG and os.environ.get("LOGITD_GEMMA"), "LOGITD_LONG=1 and LOGITD_GEMMA=FILE: minutes")
    def test_gemma(self):
        self.check(pathlib.Path(os.environ["LOGITD_GEMMA"]), 64)


if __name__ == "__main__":
    unittest.main(verbosity=2)
