"""Only language models are served; the refusal says what a bad file is; a key that a file does not have is unset."""

import pathlib
import shutil
import tempfile
import unittest

import harness


class ModelFileTest(unittest.TestCase):
    def setUp(self):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="logitd-e2e-"))
        self.addCleanup(shutil.rmtree, self.folder)

    def model(self, *flags: object, vocabulary: str = "gpt-2") -> pathlib.Path:
        return harness.random_model(harness.vocabulary_path(vocabulary), self.folder / "model.gguf", "--context", 256,
                                    "--layers", 1, "--embedding", 32, "--type", "f16", *flags)

    def assert_refused(self, path: pathlib.Path, *words: str) -> None:
        outcome = harness.run("logitd", "--listen", "127.0.0.1:0", "--model", path, "--cache-dir", self.folder,
                              timeout_s=120)
        self.assertEqual(outcome.status, 1, outcome.stderr)
        self.assertNotIn("listening on", outcome.stdout)
        line = harness.last_words(outcome)
        for word in (f"model file {path} ", *words):
            self.assertIn(word, line)

    def served(self, path: pathlib.Path) -> harness.Server:
        server = harness.Server(model=path)
        self.addCleanup(server.stop)
        return server

    def test_rows_of_zeros_are_refused(self):
        # As a BERT without keys that tell: every token would score -ln V.
        self.assert_refused(self.model("--fill", "output.weight=0"), "gives every token the same logit")

    def test_rows_that_are_not_numbers_are_refused(self):
        self.assert_refused(self.model("--fill", "output.weight=nan"), "not numbers")

    def test_pooled_rows_are_refused(self):
        self.assert_refused(self.model("--set", "llama.pooling_type=1"), "embedding model", "give a language model")

    def test_a_vocabulary_is_no_model(self):
        self.assert_refused(harness.vocabulary_path("gpt-2"), "holds a vocabulary only", "give the model's own file")

    def test_bert_is_refused_by_its_architecture(self):
        self.assert_refused(harness.vocabulary_path("bert-bge"), "embedding model or reranker (architecture bert)")

    def test_an_unknown_architecture_is_named_with_the_version(self):
        path = self.model()
        data = path.read_bytes()
        end = data.index(b"token_embd.weight")
        path.write_bytes(data[:end].replace(b"llama", b"lloma") + data[end:])
        self.assert_refused(path, "architecture 'lloma' is not known to llama.cpp ", "use a newer logitd-llama")

    def test_a_git_lfs_pointer(self):
        path = self.folder / "pointer.gguf"
        path.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n", encoding="utf-8")
        self.assert_refused(path, "is a Git LFS pointer", "git lfs pull")

    def test_a_file_that_does_not_say_how_texts_are_cut_is_served_with_a_warning(self):
        """llama.cpp cuts by a rule of its own then, and everything is a little wrong."""
        for unset, vocabulary in [(True, "gpt-2"), (False, "gpt-2"), (True, "phi-3")]:
            with self.subTest(unset=unset, vocabulary=vocabulary):
                flags = ["--unset", "tokenizer.ggml.pre"] if unset else []
                server = self.served(self.model(*flags, vocabulary=vocabulary))
                # SentencePiece has no such rule.
                self.assertEqual("no key tokenizer.ggml.pre" in server.log(), unset and vocabulary == "gpt-2")

    def test_a_vocabulary_without_bos_and_eos_has_none(self):
        """llama.cpp takes token 11 for both, which is "," in GPT-2's vocabulary; "<|endoftext|>" ends by its text."""
        server = self.served(self.model("--unset", "tokenizer.ggml.bos_token_id",
                                        "--unset", "tokenizer.ggml.eos_token_id"))
        model = harness.logit("info", server=server).json()["models"][0]["model"]
        self.assertNotIn("bos_token_id", model)
        self.assertFalse(model.get("adds_bos", False))
        self.assertEqual(model["end_token_ids"], [50256])
        self.assertNotIn("eos_token_id", model)
        # An empty context has nothing that could stand for it but the one token that ends a text.
        item = harness.logit("score", "", "Paris", server=server).json()
        self.assertEqual(item["item"]["implicit_context_token_id"], 50256)

    def test_a_sentencepiece_vocabulary_without_keys_ends_by_its_text_alone(self):
        server = self.served(self.model("--unset", "tokenizer.ggml.bos_token_id",
                                        "--unset", "tokenizer.ggml.eos_token_id", vocabulary="phi-3"))
        model = harness.logit("info", server=server).json()["models"][0]["model"]
        # SentencePiece: llama.cpp's defaults are 1 and 2. 2 is "</s>", which ends by its text.
        self.assertNotIn("bos_token_id", model)
        self.assertIn(2, model["end_token_ids"])
        self.assertNotIn(1, model["end_token_ids"])

    def test_ids_outside_the_vocabulary_are_unset(self):
        server = self.served(self.model("--unset", "tokenizer.ggml.bos_token_id", "--unset",
                                        "tokenizer.ggml.eos_token_id", "--set",
                                        "tokenizer.ggml.bos_token_id=4294967295", "--set",
                                        "tokenizer.ggml.eos_token_id=60000"))
        model = harness.logit("info", server=server).json()["models"][0]["model"]
        self.assertNotIn("bos_token_id", model)
        self.assertEqual(model["end_token_ids"], [50256])
        self.assertIn("tokenizer.ggml.eos_token_id = 60000", server.log())

    def test_keys_that_are_there_are_kept(self):
        server = self.served(self.model("--unset", "tokenizer.ggml.eos_token_id", "--set",
                                        "tokenizer.ggml.eos_token_id=11"))
        model = harness.logit("info", server=server).json()["models"][0]["model"]
        self.assertEqual(model["end_token_ids"], [11, 50256])
        self.assertEqual(model["eos_token_id"], 11)
        self.assertEqual(model["bos_token_id"], 50256)


if __name__ == "__main__":
    unittest.main()
