"""What is in a runner's cache changes no number beyond the batch tolerance, whatever the family of the model."""

import pathlib
import tempfile
import unittest

import harness
import wire
from logitd.v1 import completion_pb2, sampling_pb2, scoring_service_pb2

# Architecture, vocabulary: a SentencePiece one, a sliding window, learned positions, and a recurrent state, which cannot
# be cut.
FAMILIES = [("llama", "llama-spm"), ("gemma3", "llama-bpe"), ("gpt2", "gpt-2"), ("mamba", "gpt-neox")]
CONTEXT = list(range(100, 170))


def ids(tokens):
    return sampling_pb2.TokenIds(token_ids=tokens)


class PrefixFamiliesTest(unittest.TestCase):
    def score(self, client, context, candidates, **options):
        item = scoring_service_pb2.ScoreItem(
            context=completion_pb2.Input(tokens=ids(context)),
            continuations=[scoring_service_pb2.Continuation(tokens=ids(candidate)) for candidate in candidates])
        (reply,) = client.scoring.Score(scoring_service_pb2.ScoreRequest(
            items=[item], evaluation=completion_pb2.EvaluationOptions(**options)), timeout=wire.TIMEOUT_S)
        self.assertFalse(reply.item.HasField("error"), reply.item.error)
        return reply

    def test_a_copied_context_gives_the_same_numbers(self):
        candidates = [[7, 8, 9, 10], [7, 8, 11], [12], [13, 14]]
        for architecture, vocabulary in FAMILIES:
            with self.subTest(architecture=architecture), tempfile.TemporaryDirectory() as folder:
                model = harness.random_model(harness.vocabulary_path(vocabulary), pathlib.Path(folder) / "m.gguf",
                                             "--arch", architecture)
                # Without records every row is evaluated from what the runner's cache holds.
                server = harness.Server(model=model, flags=("--record-cache-bytes", "0"))
                try:
                    with wire.connect(server.address) as client:
                        fresh = self.score(client, CONTEXT, candidates, no_cache=True)
                        first = self.score(client, CONTEXT, candidates)
                        again = self.score(client, CONTEXT, candidates)
                        longer = self.score(client, CONTEXT + [7, 8], [[9, 10]])
                        self.assertEqual(first.usage.evaluated_token_count, len(CONTEXT) + 4)
                        self.assertGreaterEqual(again.usage.cached_token_count, len(CONTEXT) - 1)
                        self.assertGreaterEqual(longer.usage.cached_token_count, len(CONTEXT) - 1)
                        tolerance = first.provenance.batch_tolerance_nats
                        for reply in (first, again):
                            for a, b in zip(fresh.item.continuations, reply.item.continuations):
                                for x, y in zip(a.score.tokens, b.score.tokens, strict=True):
                                    self.assertAlmostEqual(x.model_log_prob, y.model_log_prob, delta=tolerance)
                        for x, y in zip(fresh.item.continuations[0].score.tokens[2:],
                                        longer.item.continuations[0].score.tokens, strict=True):
                            self.assertAlmostEqual(x.model_log_prob, y.model_log_prob, delta=tolerance)
                finally:
                    server.stop()


if __name__ == "__main__":
    unittest.main()
