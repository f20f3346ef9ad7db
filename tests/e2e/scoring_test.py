"""`logit score` gives each token of a completion the log-prob it was generated with, whatever else the server does."""

import threading
import unittest

import harness
import wire
from logitd.v1 import completion_pb2, generation_service_pb2, sampling_pb2

PROMPT = "The capital of France is"
# f32 keeps log-probs within 1e-4 nats for each token, whatever the batch.
TOLERANCE = 1e-4
server = None


def setUpModule():
    global server
    server = harness.Server(model=harness.model_path())


def tearDownModule():
    server.stop()


class Neighbour:
    """A long completion that runs beside the test."""

    def __init__(self, client: wire.Client, number: int):
        self._deltas = client.generation.Generate(generation_service_pb2.GenerateRequest(
            prompt=completion_pb2.Input(text=f"Story number {number}: Once upon a time"),
            sampling=sampling_pb2.SamplingParams(temperature=0.9, seed=number),
            stop=sampling_pb2.StopCriteria(max_tokens=1000, ignore_eos=True)))
        self.running = threading.Event()
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        try:
            for message in self._deltas:
                if message.HasField("delta"):
                    self.running.set()
        except Exception:  # pylint: disable=broad-except
            pass  # Cancelled below, or it failed: then is_active() is false and the test says so.

    def is_active(self) -> bool:
        return self._deltas.is_active()

    def cancel(self) -> None:
        self._deltas.cancel()
        # A thread of gRPC's that is cut off at exit can leave a lock behind that the interpreter then waits for.
        self._thread.join(timeout=harness.CALL_TIMEOUT_S)


class ScoringTest(unittest.TestCase):
    def score_completions(self) -> None:
        with wire.connect(server.address) as client:
            context = ",".join(map(str, client.tokenize(PROMPT)))
        generated = harness.logit("complete", PROMPT, "--temperature", 0.8, "--seed", 7, "-n", 4, "--max-tokens", 32,
                                  server=server).json()
        flags = []
        for completion in generated["completions"]:
            flags += ["--continuation-tokens", ",".join(str(token["token_id"]) for token in completion["tokens"])]
        reply = harness.logit("score", "--context-tokens", context, *flags, server=server).json()
        scored = reply["item"]["continuations"]
        self.assertEqual(len(scored), 4)
        for completion, continuation in zip(generated["completions"], scored):
            tokens = continuation["score"]["tokens"]
            self.assertEqual([t["token_id"] for t in tokens], [t["token_id"] for t in completion["tokens"]])
            for then, now in zip(completion["tokens"], tokens):
                self.assertAlmostEqual(then["model_log_prob"], now["model_log_prob"], delta=TOLERANCE)

    def test_scores_a_completion_as_it_was_generated(self):
        self.score_completions()

    def test_scores_the_same_while_eight_other_requests_run(self):
        with wire.connect(server.address) as client:
            neighbours = [Neighbour(client, number) for number in range(8)]
            try:
                for neighbour in neighbours:
                    self.assertTrue(neighbour.running.wait(timeout=harness.CALL_TIMEOUT_S))
                self.score_completions()
                self.assertTrue(all(neighbour.is_active() for neighbour in neighbours))
            finally:
                for neighbour in neighbours:
                    neighbour.cancel()

    def test_ranking_orders_by_the_scores(self):
        candidates = (" mat", " rug", " floor", " chair")
        scored = harness.logit("score", "The cat sat on the", *candidates, server=server).json()
        sums = [c["score"]["totals"]["cumulative_model_log_prob"]
                for c in scored["item"]["continuations"]]
        ranked = harness.logit("rank", "The cat sat on the", *candidates, server=server).json()
        item = ranked["item"]
        self.assertEqual(item["orderings"][0]["candidate_indices"], sorted(range(4), key=lambda i: -sums[i]))
        for candidate, value in zip(item["candidates"], sums):
            self.assertAlmostEqual(candidate["sum"], value, delta=TOLERANCE)
        self.assertAlmostEqual(sum(candidate["candidate_probability"] for candidate in item["candidates"]), 1, delta=1e-9)


if __name__ == "__main__":
    unittest.main()
