"""The examples of runners, behind the real server: each where its packages are installed."""

import importlib
import importlib.util
import math
import sys
import tempfile
import unittest

import harness
from runner_support import attached, generate, score, tokens_of

sys.path.insert(0, str(harness.ROOT / "client/python/examples"))


def setUpModule():
    global server
    server = harness.Server()


def tearDownModule():
    server.stop()


def example(name: str, *packages: str):
    """The example as a module; skips the test if a package is missing."""
    for package in packages:
        if importlib.util.find_spec(package) is None:
            raise unittest.SkipTest(f"{package} is not installed")
    return importlib.import_module(name)


def log_prob(row, token: int) -> float:
    row = [float(x) for x in row]
    most = max(row)
    return row[token] - most - math.log(math.fsum(math.exp(x - most) for x in row))


class Examples(unittest.TestCase):
    def check(self, model, name: str, whole):
        """whole(tokens): the row after all of them, evaluated at once by the library itself."""
        context, continuations = [72, 101, 108, 108], [[111, 33], [111, 32, 119], [10]]
        with attached(server, model, name) as (one, channel):
            (item,) = score(channel, name, [(context, continuations)])
            for tokens, scored in zip(continuations, item.continuations):
                want = math.fsum(log_prob(whole(context + tokens[:i]), tokens[i]) for i in range(len(tokens)))
                self.assertAlmostEqual(scored.score.totals.cumulative_model_log_prob, want, delta=1e-3)
            final = generate(channel, name, "Hello", 12)
            tokens = list(b"Hello")
            for token in tokens_of(final.completions[0]):
                row = whole(tokens)
                self.assertAlmostEqual(float(row[token]), float(max(row)), delta=1e-4)
                tokens.append(token)
            # Completions of one prompt go their own ways.
            sampled = generate(channel, name, "Hello", 6, temperature=1, n=3)
            for completion in sampled.completions:
                past = list(b"Hello")
                for record in completion.tokens:
                    self.assertAlmostEqual(record.model_log_prob, log_prob(whole(past), record.token_id), delta=1e-3)
                    past.append(record.token_id)
            self.assertEqual(one.counts.failed_entries, 0)

    def test_numpy(self):
        numpy_rnn = example("numpy_rnn", "numpy")
        model = numpy_rnn.Rnn()
        self.assertEqual(model.model_fingerprint, numpy_rnn.Rnn().model_fingerprint)
        self.check(model, "rnn", lambda tokens: model.append(model.start(), tokens, [len(tokens) - 1])[1][0])

    def test_onnx_runtime(self):
        onnx_runtime = example("onnx_runtime", "numpy", "onnxruntime", "onnx")
        model = onnx_runtime.OnnxModel(onnx_runtime.small_model())
        self.check(model, "onnx", lambda tokens: model.rows(tokens, [len(tokens) - 1])[0])

    def test_transformers(self):
        transformers_model = example("transformers_model", "numpy", "torch", "transformers")
        import torch

        model = transformers_model.tiny_model()

        def whole(tokens):
            with torch.inference_mode():
                return model.model(input_ids=torch.tensor([tokens])).logits[0, -1]

        self.check(model, "transformers", whole)
        # A cut that the server asks for.
        state, _ = model.append(model.start(), [1, 2, 3, 4], [])
        _, rows = model.append(model.trim(model.fork(state), 2), [9], [0])
        torch.testing.assert_close(rows[0], whole([1, 2, 9]), atol=1e-4, rtol=1e-4)

    def test_a_saved_model_with_byte_pairs(self):
        transformers_model = example("transformers_model", "numpy", "torch", "transformers", "tokenizers")
        import tokenizers
        import torch
        import transformers

        pairs = tokenizers.Tokenizer(tokenizers.models.BPE())
        pairs.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
        pairs.decoder = tokenizers.decoders.ByteLevel()
        pairs.train_from_iterator(["the cat sat on the mat, naïve 日本"] * 20, tokenizers.trainers.BpeTrainer(
            vocab_size=300, special_tokens=["<|end|>"], initial_alphabet=tokenizers.pre_tokenizers.ByteLevel.alphabet()))
        fast = transformers.PreTrainedTokenizerFast(tokenizer_object=pairs, eos_token="<|end|>")
        torch.manual_seed(1)
        size = len(fast)
        config = transformers.LlamaConfig(vocab_size=size + 4, hidden_size=32, intermediate_size=64, num_hidden_layers=1,
                                          num_attention_heads=2, num_key_value_heads=2, max_position_embeddings=128)
        with tempfile.TemporaryDirectory() as folder:
            transformers.LlamaForCausalLM(config).save_pretrained(folder)
            fast.save_pretrained(folder)
            model = transformers_model.pretrained(folder)
        tokens = model.tokenizer.vocabulary()
        self.assertEqual([token.kind for token in tokens[size:]], ["unused"] * 4)
        self.assertEqual((tokens[model.eos_token_id].kind, tokens[model.eos_token_id].bytes), ("control", b"<|end|>"))
        for text in ("the cat", " naïve 日本\n", "<|end|> is a name", "\0\x7f"):
            spelled = b"".join(tokens[token_id].bytes for token_id in model.tokenizer.tokenize(text))
            self.assertEqual(spelled, text.encode())
        with attached(server, model, "pairs") as (_, channel):
            final = generate(channel, "pairs", "the cat", 5)
            self.assertEqual(final.completions[0].totals.token_count, 5)


if __name__ == "__main__":
    unittest.main()
