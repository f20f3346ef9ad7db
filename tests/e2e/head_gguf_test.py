"""Heads of GGUF files: with llama.cpp's own hidden states they give llama.cpp's log-probs."""

import hashlib
import json
import pathlib
import tempfile
import unittest

import grpc
import harness
import numpy
import wire
from logitd.v1 import logits_pb2, server_service_pb2, server_service_pb2_grpc
from logitd.v1 import scoring_service_pb2 as scoring

# As of logit score against libllama (reference_test).
TOLERANCE = 1e-4
TEXT = "The capital of France is Paris, and the capital of Germany is Berlin."


def head_log_probs(address: str, hidden: numpy.ndarray, targets: list[int], head: str, vocab_size: int) -> list[float]:
    block = logits_pb2.LogitsBlock(dtype=logits_pb2.LOGITS_DTYPE_F32, row_count=len(hidden), width=hidden.shape[1],
                                   hidden=logits_pb2.HiddenRows(head=head))
    requests = [scoring.ScoreLogitsRequest(config=scoring.ScoreLogitsConfig(vocab_size=vocab_size)),
                scoring.ScoreLogitsRequest(
                    rows=scoring.ScoreLogitsRows(blocks=[block], target_token_ids=targets, last=True),
                    payload=hidden.astype(numpy.float32).tobytes())]
    with wire.connect(address) as client:
        (reply,) = client.scoring.ScoreLogits(iter(requests), timeout=wire.TIMEOUT_S)
    assert not reply.HasField("error"), reply.error
    return [token.model_log_prob for token in reply.score.tokens]


def reference(model: object, tokens: list[int]) -> tuple[list[float], numpy.ndarray]:
    """The log-probs of the tokens after the first, and the hidden states before them, of llama.cpp alone."""
    outcome = harness.run("llama_reference", model, "--hidden", ",".join(map(str, tokens)))
    assert outcome.status == 0, outcome.stderr
    found = json.loads(outcome.stdout)
    return found["log_probs"], numpy.array(found["hidden"][:-1], numpy.float32)


def heads_of(address: str) -> list:
    with grpc.insecure_channel(address) as channel:
        stub = server_service_pb2_grpc.ServerServiceStub(channel)
        return list(stub.GetServerInfo(server_service_pb2.GetServerInfoRequest(), timeout=wire.TIMEOUT_S).heads)


class HeadOfGgufTest(unittest.TestCase):
    def test_smollm2_has_the_log_probs_of_logit_score(self):
        model = harness.model_path()
        server = harness.Server(model=model, flags=("--head", f"smol={model}"))
        try:
            (head,) = heads_of(server.address)
            # Tied embeddings, in the type of the file.
            self.assertEqual((head.vocab_size, head.hidden_size, head.weight_name, head.has_output_norm),
                             (49152, 576, "token_embd.weight", True))
            with wire.connect(server.address) as client:
                tokens = client.tokenize(TEXT)
            sha256 = hashlib.sha256(model.read_bytes()).hexdigest()
            (converted,) = harness.cache_dir().glob(f"{sha256}-llama.cpp-*-f32.gguf")
            _, hidden = reference(converted, tokens)
            reply = harness.logit("score", "--context-tokens", str(tokens[0]), "--continuation-tokens",
                                  ",".join(map(str, tokens[1:])), server=server).json()
            expected = [token["model_log_prob"] for token in reply["item"]["continuations"][0]["score"]["tokens"]]
            actual = head_log_probs(server.address, hidden, tokens[1:], "smol", 49152)
            self.assertEqual(len(actual), len(tokens) - 1)
            print(f"SmolLM2: largest difference {max(abs(a - b) for a, b in zip(actual, expected)):.2e} nats")
            for value, wanted in zip(actual, expected, strict=True):
                self.assertAlmostEqual(value, wanted, delta=TOLERANCE)
        finally:
            server.stop()

    def test_other_families_have_llama_cpps_log_probs(self):
        # Soft-capping that bends most logits, tied embeddings; an own matrix in f16, for which llama.cpp itself rounds
        # hidden states to f16; a LayerNorm, which is no norm of the head; a bias.
        families = (("gemma2", "llama-spm", ("--set-float", "gemma2.final_logit_softcapping=0.75"), True, TOLERANCE),
                    ("llama", "llama-bpe", (), True, TOLERANCE),
                    ("llama", "llama-bpe", ("--type", "f16"), True, 2e-3),
                    ("gpt2", "gpt-2", (), False, TOLERANCE),
                    ("phi2", "gpt-2", (), False, TOLERANCE))
        tokens = [100, 200, 7, 300, 5, 400, 17]
        for family, vocabulary, flags, has_norm, tolerance in families:
            with self.subTest(family=family, flags=flags), tempfile.TemporaryDirectory() as folder:
                model = harness.random_model(harness.vocabulary_path(vocabulary), pathlib.Path(folder) / "m.gguf",
                                             "--arch", family, *flags)
                expected, hidden = reference(model, tokens)
                server = harness.Server(flags=("--head", f"m={model}"))
                try:
                    (head,) = heads_of(server.address)
                    self.assertEqual(head.has_output_norm, has_norm)
                    self.assertEqual(head.has_bias, family == "phi2")
                    self.assertEqual(head.HasField("soft_cap"), family == "gemma2")
                    actual = head_log_probs(server.address, hidden, tokens[1:], "m", head.vocab_size)
                    for value, wanted in zip(actual, expected, strict=True):
                        self.assertAlmostEqual(value, wanted, delta=tolerance)
                finally:
                    server.stop()

    def test_a_model_whose_head_is_not_known_is_refused_by_name(self):
        with tempfile.TemporaryDirectory() as folder:
            model = harness.random_model(harness.vocabulary_path("gpt-2"), pathlib.Path(folder) / "m.gguf",
                                         "--arch", "gpt2", "--set-float", "gpt2.final_logit_softcapping=3")
            outcome = harness.run("logitd", "--listen", "127.0.0.1:0", "--head", f"m={model}")
            self.assertEqual(outcome.status, 1)
            self.assertIn("final soft-capping, whose meaning in the architecture 'gpt2' is not known here",
                          harness.last_words(outcome))
            length = b"\4\0\0\0\0\0\0\0"
            data = model.read_bytes().replace(b"gpt2.", b"gptx.").replace(length + b"gpt2", length + b"gptx")
            model.write_bytes(data)
            outcome = harness.run("logitd", "--listen", "127.0.0.1:0", "--head", f"m={model}")
            self.assertEqual(outcome.status, 1)
            self.assertIn("architecture 'gptx', whose head", harness.last_words(outcome))
            model.write_bytes(data[:-1000])
            outcome = harness.run("logitd", "--listen", "127.0.0.1:0", "--head", f"m={model}")
            self.assertEqual(outcome.status, 1)
            self.assertIn("truncated or damaged", harness.last_words(outcome))


if __name__ == "__main__":
    unittest.main()
