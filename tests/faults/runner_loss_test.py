"""kill -9 of a runner while eight generations run: each goes on, or ends with UNAVAILABLE within a second.

What goes on has each position once, and log-probs that `Score` of the result confirms. The server lives, and nothing
leaks. LOGITD_LONG=1 does it 100 times (LOGITD_KILLS) for one runner and for two; otherwise it is done a few times.
"""

import os
import random
import signal
import statistics
import threading
import time
import unittest

import grpc
import harness
import process
import wire
from logitd.v1 import completion_pb2, generation_service_pb2, sampling_pb2, scoring_service_pb2

IS_LONG = os.environ.get("LOGITD_LONG") == "1"
ROUNDS = int(os.environ.get("LOGITD_KILLS", "100")) if IS_LONG else 3
GENERATIONS = 8
TOKENS = 24
# What f32 promises for a token's log-prob, whatever it was batched with; also on another runner.
TOLERANCE = 1e-4
# A client whose generation cannot go on must know by then.
BOUND_S = 1.0


class Generation(threading.Thread):
    """One completion of TOKENS tokens, read as it grows."""

    def __init__(self, client: wire.Client, number: int):
        super().__init__(daemon=True)
        self.prompt = f"Report number {number}: the river was"
        self.started = threading.Event()
        self.failure: grpc.RpcError | None = None
        self.failed_at = 0.0
        self.positions: list[int] = []
        self.final: generation_service_pb2.GenerateFinal | None = None
        self._call = client.generation.Generate(generation_service_pb2.GenerateRequest(
            prompt=completion_pb2.Input(text=self.prompt),
            sampling=sampling_pb2.SamplingParams(temperature=0.8, seed=number),
            stop=sampling_pb2.StopCriteria(max_tokens=TOKENS, ignore_eos=True)), timeout=wire.TIMEOUT_S)
        self.start()

    def run(self) -> None:
        try:
            for message in self._call:
                if message.HasField("delta"):
                    self.positions += [token.position for token in message.delta.tokens]
                    self.started.set()
                elif message.HasField("final"):
                    self.final = message.final
        except grpc.RpcError as failure:
            self.failed_at = time.monotonic()
            self.failure = failure
        self.started.set()


class RunnerLossTest(unittest.TestCase):
    def check_generation(self, generation: Generation, killed_at: float) -> None:
        if generation.failure is not None:
            self.assertEqual(generation.failure.code(), grpc.StatusCode.UNAVAILABLE, generation.failure)
            self.assertLess(generation.failed_at - killed_at, BOUND_S)
            return
        self.assertEqual(generation.positions, list(range(TOKENS)), "each position once")
        self.assertEqual(len(generation.final.completions[0].tokens), TOKENS)

    def check_scores(self, client: wire.Client, generations: list[Generation]) -> float:
        """Scores the completions; the largest difference of a token's log-prob."""
        items = []
        for generation in generations:
            ids = [token.token_id for token in generation.final.completions[0].tokens]
            items.append(scoring_service_pb2.ScoreItem(
                context=completion_pb2.Input(tokens=sampling_pb2.TokenIds(
                    token_ids=client.tokenize(generation.prompt))),
                continuations=[scoring_service_pb2.Continuation(tokens=sampling_pb2.TokenIds(token_ids=ids))]))
        worst = 0.0
        replies = client.scoring.Score(scoring_service_pb2.ScoreRequest(items=items), timeout=wire.TIMEOUT_S)
        for reply in replies:
            scored = reply.item.continuations[0].score.tokens
            completion = generations[reply.item_index].final.completions[0]
            self.assertEqual([t.token_id for t in scored], [t.token_id for t in completion.tokens])
            for then, now in zip(completion.tokens, scored):
                worst = max(worst, abs(then.model_log_prob - now.model_log_prob))
        self.assertLess(worst, TOLERANCE)
        return worst

    def lose_runners(self, runners: int) -> None:
        server = harness.Server(model=harness.model_path(),
                                flags=("--precision", "f32", "--runners", str(runners)))
        try:
            with wire.connect(server.address) as client:
                self.run_rounds(server, client, runners)
        finally:
            server.stop()

    def wait_for_runners(self, client: wire.Client, count: int) -> None:
        """All runners are there again; a call is the event that is waited for."""
        end = time.monotonic() + harness.START_TIMEOUT_S
        while client.runner_count() < count:
            self.assertLess(time.monotonic(), end, "the runner was not started again")
            threading.Event().wait(0.05)

    def run_rounds(self, server: harness.Server, client: wire.Client, runners: int) -> None:
        dice = random.Random(20261122 + runners)
        base = None
        lost = went_on = 0
        worst, slowest = 0.0, []
        for round_number in range(ROUNDS):
            self.wait_for_runners(client, runners)
            generations = [Generation(client, 100 * round_number + i) for i in range(GENERATIONS)]
            # Some time between the first token and shortly before the last.
            for generation in generations[:dice.randint(1, GENERATIONS)]:
                self.assertTrue(generation.started.wait(harness.CALL_TIMEOUT_S))
            threading.Event().wait(dice.uniform(0, 0.5))
            victim = dice.choice(process.children(server.pid))
            process.kill(victim)
            killed_at = time.monotonic()
            for generation in generations:
                generation.join(harness.CALL_TIMEOUT_S)
                self.assertFalse(generation.is_alive(), "a generation hangs")
                self.check_generation(generation, killed_at)
            complete = [g for g in generations if g.final is not None]
            lost += len(generations) - len(complete)
            went_on += len(complete)
            slowest.append(time.monotonic() - killed_at)
            self.assertTrue(server.is_alive())
            if complete:
                self.wait_for_runners(client, runners)
                worst = max(worst, self.check_scores(client, complete))
            if round_number == 1:
                # The first rounds make the threads that the server keeps.
                base = (process.thread_count(server.pid), process.file_count(server.pid))
        self.wait_for_runners(client, runners)
        self.assertGreater(went_on, 0)
        if runners > 1:
            self.assertEqual(lost, 0, "there is another runner to go on on")
        self.assertLessEqual(process.thread_count(server.pid), base[0] + 4)
        self.assertLessEqual(process.file_count(server.pid), base[1] + 4)
        print(f"{runners} runner(s), {ROUNDS} kills: {went_on} generations went on, {lost} ended with UNAVAILABLE; "
              f"largest difference of a log-prob {worst:.1e}; from the kill to the last answer "
              f"{statistics.median(slowest):.1f} s (median), {max(slowest):.1f} s (most); "
              f"threads {base[0]} -> {process.thread_count(server.pid)}, "
              f"files {base[1]} -> {process.file_count(server.pid)}", flush=True)

    def test_generations_go_on_when_the_runner_is_started_again(self):
        self.lose_runners(1)

    def test_generations_go_on_on_the_second_runner(self):
        self.lose_runners(2)

    def test_runner_that_hangs_is_killed_and_started_again(self):
        server = harness.Server(model=harness.model_path(), flags=("--precision", "f32"))
        try:
            with wire.connect(server.address) as client:
                generations = [Generation(client, i) for i in range(2)]
                for generation in generations:
                    self.assertTrue(generation.started.wait(harness.CALL_TIMEOUT_S))
                hung = process.children(server.pid)
                process.kill(hung[0], signal.SIGSTOP)
                for generation in generations:
                    generation.join(harness.CALL_TIMEOUT_S)
                    self.check_generation(generation, time.monotonic())
                    self.assertIsNotNone(generation.final, "it went on on the runner that was started again")
                self.check_scores(client, generations)
                self.assertEqual(len(process.children(server.pid)), 1)
                self.assertNotEqual(process.children(server.pid), hung)
        finally:
            server.stop()


if __name__ == "__main__":
    unittest.main()
