"""Tokens chosen by logitd-llama, of several families of models: the log-probs of each are those of Score."""

import pathlib
import tempfile
import unittest

import harness
import wire
from logitd.v1 import completion_pb2, generation_service_pb2, sampling_pb2, scoring_service_pb2

# Architecture, vocabulary.
FAMILIES = [("gemma3", "llama-bpe"), ("llama", "llama-spm"), ("gpt2", "gpt-2")]
CONTEXT = "The cat sat"
TOKENS = 40


class ChoiceFamiliesTest(unittest.TestCase):
    def test_chosen_tokens_have_the_log_probs_of_score(self):
        sampling = sampling_pb2.SamplingParams(temperature=0.8, top_p=0.95, seed=7, repetition_penalty=1.2,
                                               no_repeat_ngram_size=3)
        request = generation_service_pb2.GenerateRequest(
            prompt=completion_pb2.Input(text=CONTEXT), n=3, sampling=sampling, stream=False,
            stop=sampling_pb2.StopCriteria(max_tokens=TOKENS, ignore_eos=True))
        for architecture, vocabulary in FAMILIES:
            with self.subTest(architecture=architecture), tempfile.TemporaryDirectory() as folder:
                model = harness.random_model(harness.vocabulary_path(vocabulary), pathlib.Path(folder) / "m.gguf",
                                             "--arch", architecture)
                server = harness.Server(model=model)
                try:
                    with wire.connect(server.address) as client:
                        final = list(client.generation.Generate(request))[-1].final
                        for completion in final.completions:
                            self.assertEqual(len(completion.tokens), TOKENS)
                            ids = sampling_pb2.TokenIds(token_ids=[token.token_id for token in completion.tokens])
                            item = scoring_service_pb2.ScoreItem(
                                context=completion_pb2.Input(text=CONTEXT),
                                continuations=[scoring_service_pb2.Continuation(tokens=ids)])
                            reply = next(iter(client.scoring.Score(scoring_service_pb2.ScoreRequest(items=[item]))))
                            scored = reply.item.continuations[0].score.tokens
                            for chosen, given in zip(completion.tokens, scored):
                                self.assertAlmostEqual(chosen.model_log_prob, given.model_log_prob,
                                                       delta=final.provenance.batch_tolerance_nats)
                finally:
                    server.stop()


if __name__ == "__main__":
    unittest.main()
