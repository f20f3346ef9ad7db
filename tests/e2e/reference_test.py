"""`logit score` against libllama itself: a program that shares no line with logitd agrees to 1e-4 nats a token."""

import hashlib
import json
import unittest

import harness
import wire

# The bound in f32: a token's log-prob stays within 1e-4 nats, whatever its batch.
TOLERANCE = 1e-4
TEXTS = [
    ("The cat sat on the", " mat."),
    ("The capital of France is", " Paris, and the capital of Germany is Berlin."),
    ("def fibonacci(n):\n", "    if n < 2:\n        return n\n    return fibonacci(n - 1) + fibonacci(n - 2)\n"),
    ("Grüße aus", " Köln: 1 € = 100 ¢, 你好 🙂"),
]
server = None


def setUpModule():
    global server
    server = harness.Server(model=harness.model_path())


def tearDownModule():
    server.stop()


def converted_model() -> str:
    """The f32 file that the server's runner has made of the model: it lies in the cache under the model's hash."""
    sha256 = hashlib.sha256(harness.model_path().read_bytes()).hexdigest()
    (path,) = harness.cache_dir().glob(f"{sha256}-llama.cpp-*-f32.gguf")
    return str(path)


class ReferenceTest(unittest.TestCase):
    def test_agrees_with_libllama(self):
        for context, continuation in TEXTS:
            with self.subTest(context=context), wire.connect(server.address) as client:
                given, scored = client.tokenize(context), client.tokenize(continuation)
                tokens = ",".join(map(str, given + scored))
                outcome = harness.run("llama_reference", converted_model(), "--tokens", tokens)
                self.assertEqual(outcome.status, 0, outcome.stderr)
                # Entry i is the log-prob of token i + 1.
                expected = json.loads(outcome.stdout)["log_probs"][len(given) - 1:]
                reply = harness.logit("score", "--context-tokens", ",".join(map(str, given)),
                                      "--continuation-tokens", ",".join(map(str, scored)), server=server).json()
                (result,) = reply["item"]["continuations"]
                actual = [token["model_log_prob"] for token in result["score"]["tokens"]]
                self.assertEqual(len(actual), len(expected))
                for value, wanted in zip(actual, expected):
                    self.assertAlmostEqual(value, wanted, delta=TOLERANCE)


if __name__ == "__main__":
    unittest.main()
