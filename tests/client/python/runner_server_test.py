"""A model written in Python behind the real server: its numbers, its failures, and what becomes of its requests when it
is killed."""

import contextlib
import math
import pathlib
import random
import signal
import subprocess
import sys
import threading
import unittest
from concurrent import futures

import grpc
import harness
import health
from logitd import errors, runner
from logitd.v1 import completion_pb2, model_service_pb2, model_service_pb2_grpc, sampling_pb2, scoring_service_pb2
from logitd.v1 import scoring_service_pb2_grpc
from runner_support import Bigram, Cached, CachedBatch, attached, generate, ids, score, tokens_of

HERE = pathlib.Path(__file__).resolve().parent

# A runner process of a bigram, which says "attached"; argument 1: the server, 2: the name.
PROCESS = """
import sys, threading
sys.path.insert(0, sys.argv[3])
from logitd import runner
from runner_support import Bigram
class Model(Bigram):
    said = False
    def rows(self, tokens, wanted):
        if not self.said:
            self.said = True
            print("evaluated", flush=True)
        return super().rows(tokens, wanted)
threading.Thread(target=lambda: (sys.stdin.read(), None), daemon=True).start()
print("serving", flush=True)
runner.serve(Model(), sys.argv[1], name=sys.argv[2])
print("ended", flush=True)
"""


def setUpModule():
    global server
    server = harness.Server()


def tearDownModule():
    server.stop()


class Process:
    """A runner in a process of its own."""

    def __init__(self, name: str):
        self._process = subprocess.Popen([sys.executable, "-c", PROCESS, server.runner_address, name, str(HERE)],
                                         stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.expect("serving")

    def expect(self, line: str) -> None:
        said = self._process.stdout.readline().strip()
        assert said == line, f"{said!r} instead of {line!r}"

    def end(self, number: int) -> int:
        self._process.send_signal(number)
        status = self._process.wait(60)
        self.close()
        return status

    def close(self) -> None:
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait()
        self._process.stdin.close()
        self._process.stdout.close()


def failure(call) -> errors.LogitdError:
    try:
        call()
    except grpc.RpcError as failed:
        return errors.from_rpc_error(failed)
    raise AssertionError("it did not fail")


class Numbers(unittest.TestCase):
    def test_score_is_the_reference_in_float64(self):
        model = Bigram()
        numbers = random.Random(2)
        items = [([numbers.randrange(257) for _ in range(numbers.randrange(1, 90))],
                  [[numbers.randrange(257) for _ in range(numbers.randrange(1, 30))] for _ in range(4)]) for _ in range(20)]
        with attached(server, model, "numbers") as (_, channel):
            for (context, continuations), item in zip(items, score(channel, "numbers", items)):
                for tokens, scored in zip(continuations, item.continuations):
                    self.assertAlmostEqual(scored.score.totals.cumulative_model_log_prob, model.sum(context, tokens), delta=1e-6)
                    greedy = [model.table[a].index(max(model.table[a])) == b for a, b in zip([context[-1], *tokens], tokens)]
                    self.assertEqual(scored.score.is_greedy, all(greedy))

    def test_generate_is_greedy(self):
        model = Bigram()
        with attached(server, model, "greedy") as (_, channel):
            final = generate(channel, "greedy", "a", 40)
            self.assertEqual(tokens_of(final.completions[0]), model.greedy(97, 40))
            # Text goes both ways.
            self.assertEqual(final.completions[0].text, bytes(model.greedy(97, 40)).decode("utf-8", "replace"))

    def test_rank_and_list_models(self):
        model = Bigram()
        with attached(server, model, "ranked") as (_, channel):
            request = scoring_service_pb2.RankRequest(model="ranked", items=[scoring_service_pb2.RankItem(
                context=completion_pb2.Input(text="x"), candidates=[scoring_service_pb2.Candidate(text=t) for t in ("ab", "b", "cde")])])
            (answer,) = scoring_service_pb2_grpc.ScoringServiceStub(channel).Rank(request, timeout=60)
            sums = [model.sum(b"x", t) for t in (b"ab", b"b", b"cde")]
            self.assertEqual(list(answer.item.orderings[0].candidate_indices), sorted(range(3), key=lambda i: -sums[i]))
            models = model_service_pb2_grpc.ModelServiceStub(channel).ListModels(model_service_pb2.ListModelsRequest(), timeout=60)
            status = next(m for m in models.models if m.model.name == "ranked")
            self.assertEqual((status.runner_count, status.capabilities.fork, status.capabilities.tokenizer), (1, True, True))

    def test_a_row_of_100000_logits(self):
        class Wide:
            vocab_size = 100_000
            context_length = 64

            def rows(self, tokens, wanted):
                return [self.row(tokens[i]) for i in wanted]

            @staticmethod
            def row(token):
                return [float((token * 31 + i * 7) % 101) / 8 for i in range(100_000)]

        model = Wide()
        with attached(server, model, "wide") as (_, channel):
            (item,) = score(channel, "wide", [([5], [[77_777, 3], [99_999]])])
            for scored, tokens in zip(item.continuations, ([77_777, 3], [99_999])):
                want = 0.0
                for a, b in zip([5, *tokens], tokens):
                    row = model.row(a)
                    most = max(row)
                    want += row[b] - most - math.log(math.fsum(math.exp(x - most) for x in row))
                self.assertAlmostEqual(scored.score.totals.cumulative_model_log_prob, want, delta=1e-5)
            (token,) = tokens_of(generate(channel, "wide", [5], 1).completions[0])
            self.assertEqual(token, model.row(5).index(max(model.row(5))))


class States(unittest.TestCase):
    """Models with states: what is shared is evaluated once, and rows are those of the whole sequence."""

    def log_prob(self, tokens, token):
        row = Cached.row(tokens)
        return row[token] - max(row) - math.log(math.fsum(math.exp(x - max(row)) for x in row))

    def check(self, model, name):
        context, continuations = [1, 2, 3, 4], [[5, 6], [5, 7], [0], [5, 6, 1, 2]]
        with attached(server, model, name) as (one, channel):
            (item,) = score(channel, name, [(context, continuations)])
            for tokens, scored in zip(continuations, item.continuations):
                want = sum(self.log_prob(context + tokens[:i], tokens[i]) for i in range(len(tokens)))
                self.assertAlmostEqual(scored.score.totals.cumulative_model_log_prob, want, delta=1e-5)
            # Each completion goes its own way from the same prompt.
            final = generate(channel, name, [1, 2, 3], 12, temperature=1.5, n=5)
            for completion in final.completions:
                tokens = tokens_of(completion)
                want = sum(self.log_prob([1, 2, 3] + tokens[:i], tokens[i]) for i in range(len(tokens)))
                self.assertAlmostEqual(completion.totals.cumulative_model_log_prob, want, delta=1e-4)
            self.assertGreater(len({tuple(tokens_of(c)) for c in final.completions}), 1)
            return one.counts.tokens

    def test_forks_and_cuts(self):
        model = Cached()
        self.check(model, "cached")
        kinds = {entry[0] for entry in model.log}
        self.assertIn("fork", kinds)
        # The prompt was evaluated once for all five completions.
        self.assertLessEqual(sum(entry[0] == "append" and entry[1:3] == ((), (1, 2, 3)) for entry in model.log), 1)

    def test_several_sequences_at_once(self):
        model = CachedBatch()
        self.check(model, "batched")
        self.assertGreater(max(entry[1] for entry in model.log if entry[0] == "batch"), 1)

    def test_a_model_that_can_neither_copy_nor_cut(self):
        class Simple(Cached):
            fork = trim = None

        self.check(Simple(), "simple")

    def test_reproducible_scores(self):
        class Alone(Cached):
            platform = runner.Platform(threads=1, cpu_target="any")

        model = Alone()
        with attached(server, model, "alone") as (_, channel):
            evaluation = completion_pb2.EvaluationOptions(reproducible=True)
            items = [([1, 2, 3], [[4, 5], [6]])]
            first = score(channel, "alone", items, evaluation=evaluation)
            self.assertEqual(first, score(channel, "alone", items, evaluation=evaluation))
            self.assertAlmostEqual(first[0].continuations[1].score.totals.cumulative_model_log_prob, self.log_prob([1, 2, 3], 6),
                                   delta=1e-5)


class Failures(unittest.TestCase):
    """What is wrong with one request ends that request alone."""

    def check(self, model, reason, words, token=3, **call):
        with self.assertLogs("logitd.runner"), attached(server, model, "wrong", abandon_after=0.5) as (_, channel):
            with futures.ThreadPoolExecutor(4) as pool:
                good = [pool.submit(score, channel, "wrong", [([1, 2], [[2, 4]])]) for _ in range(3)]
                error = failure(lambda: generate(channel, "wrong", [1, token], 5, **call))
                self.assertEqual(error.reason, reason)
                self.assertRegex(error.message, words)
                for one in good:
                    self.assertTrue(one.result()[0].continuations[0].score.is_greedy in (True, False))
            self.assertTrue(score(channel, "wrong", [([1, 2], [[2, 4]])])[0].continuations[0].score.totals.token_count == 2)

    def test_an_exception(self):
        class Raises(Cached):
            def append(self, state, tokens, wanted):
                if 3 in tokens:
                    raise RuntimeError("no threes")
                return super().append(state, tokens, wanted)

        self.check(Raises(), "INTERNAL", "Raises.append raised RuntimeError: no threes")

    def test_nan(self):
        class NaN(Cached):
            def append(self, state, tokens, wanted):
                state, rows = super().append(state, tokens, wanted)
                return state, [[math.nan] * 8 for _ in rows] if 3 in tokens else rows

        self.check(NaN(), "MODEL_OUTPUT_INVALID", "NaN in row 0, token 0")

    def test_a_wrong_shape(self):
        class Narrow(Cached):
            def append(self, state, tokens, wanted):
                state, rows = super().append(state, tokens, wanted)
                return state, [row[:7] for row in rows] if 3 in tokens else rows

        self.check(Narrow(), "MODEL_OUTPUT_INVALID", r"shape \[1, 7\]; the shape must be \[1, 8\]")

    def test_a_model_that_hangs(self):
        class Hangs(Cached):
            free = threading.Event()

            def append(self, state, tokens, wanted):
                if 3 in tokens:
                    self.free.wait(120)
                return super().append(state, tokens, wanted)

        model = Hangs()
        try:
                # The client's own end of the call has no details.
            self.check(model, "", "Deadline", timeout=1)
        finally:
            model.free.set()

    def test_a_slow_model_and_a_cancel(self):
        class Slow(Cached):
            def __init__(self):
                super().__init__()
                self.began, self.unwanted = threading.Event(), threading.Event()

            def append(self, state, tokens, wanted):
                if 3 in tokens:
                    self.began.set()
                    while runner.is_wanted():
                        self.unwanted.wait(0.01)
                    self.unwanted.set()
                    raise TimeoutError("nobody waits")
                return super().append(state, tokens, wanted)

        model = Slow()
        with self.assertLogs("logitd.runner"), attached(server, model, "slow") as (_, channel):
            stub = scoring_service_pb2_grpc.ScoringServiceStub(channel)
            call = stub.Score(scoring_service_pb2.ScoreRequest(model="slow", items=[scoring_service_pb2.ScoreItem(
                context=ids(1, 3), continuations=[scoring_service_pb2.Continuation(tokens=sampling_pb2.TokenIds(token_ids=[2]))])]),
                timeout=60)
            self.assertTrue(model.began.wait(60))
            call.cancel()
            self.assertTrue(model.unwanted.wait(60))
            self.assertEqual(score(channel, "slow", [([1, 2], [[4]])])[0].continuations[0].score.totals.token_count, 1)


class Processes(unittest.TestCase):
    """Runners that come and go."""

    def serving(self, name):
        channel = grpc.insecure_channel(server.address)
        self.addCleanup(channel.close)
        health.wait_until_serving(channel, f"model/{name}")
        return channel

    def test_sigterm_ends_a_runner_in_order(self):
        for number in (signal.SIGTERM, signal.SIGINT):
            one = Process("ended")
            self.serving("ended")
            one._process.send_signal(number)
            one.expect("ended")
            self.assertEqual(one._process.wait(60), 0)
            one.close()

    def test_a_runner_is_killed_and_started_again(self):
        model = Bigram()
        one = Process("killed")
        channel = self.serving("killed")
        with futures.ThreadPoolExecutor(1) as pool:
            call = pool.submit(failure, lambda: generate(channel, "killed", "a", 100_000))
            one.expect("evaluated")
            one.end(signal.SIGKILL)
            self.assertIn(call.result(60).reason, ("RUNNER_LOST", "MODEL_UNAVAILABLE", "MODEL_NOT_FOUND"))
        again = Process("killed")
        self.addCleanup(again.close)
        channel = self.serving("killed")
        self.assertEqual(tokens_of(generate(channel, "killed", "a", 20).completions[0]), model.greedy(97, 20))

    def test_two_runners_of_one_model(self):
        model = Bigram()
        first, second = Process("pair"), Process("pair")
        self.addCleanup(second.close)
        channel = self.serving("pair")
        stub = model_service_pb2_grpc.ModelServiceStub(channel)
        while True:
            models = stub.ListModels(model_service_pb2.ListModelsRequest(), timeout=60).models
            if sum(m.runner_count for m in models if m.model.name == "pair") == 2:
                break
        with futures.ThreadPoolExecutor(4) as pool:
            calls = [pool.submit(generate, channel, "pair", bytes([65 + i]).decode(), 100) for i in range(4)]
            first.expect("evaluated")
            second.expect("evaluated")
            # The requests of the one that dies go on with the other.
            first.end(signal.SIGKILL)
            for i, call in enumerate(calls):
                self.assertEqual(tokens_of(call.result(60).completions[0]), model.greedy(65 + i, 100))

    def test_a_runner_survives_the_server(self):
        other = harness.Server(listen="127.0.0.1:0")
        model = Bigram()
        with self.assertLogs("logitd.runner", "INFO") as logs, runner.Runner(model, other.runner_address, name="back") as one:
            path = other.runner_address
            other.stop()
            folder = pathlib.Path(path.removeprefix("unix:")).parent
            folder.mkdir()
            with contextlib.ExitStack() as stack:
                process = stack.enter_context(subprocess.Popen(
                    [harness.BIN / "logitd", "--listen", "127.0.0.1:0", "--runner-listen", path], stdout=subprocess.PIPE,
                    stderr=subprocess.DEVNULL, text=True))
                stack.callback(process.terminate)
                address = next(line for line in process.stdout if line.startswith("listening on "))
                channel = stack.enter_context(grpc.insecure_channel(address.removeprefix("listening on ").strip()))
                health.wait_until_serving(channel, "model/back")
                self.assertEqual(tokens_of(generate(channel, "back", "a", 9).completions[0]), model.greedy(97, 9))
                self.assertTrue(one.is_attached)
            for left in folder.iterdir():
                left.unlink()
            folder.rmdir()
        self.assertTrue(any("trying again" in line for line in logs.output))

    def test_another_model_of_the_same_name_is_refused(self):
        with attached(server, Bigram(), "taken"):
            with self.assertRaises(errors.PreconditionError) as raised:
                one = runner.Runner(Bigram(seed=2, vocab_size=8, tokenizer=False), server.runner_address, name="taken")
                self.addCleanup(one.stop)
                one.start().wait(60)
            self.assertEqual(raised.exception.reason, "MODEL_MISMATCH")


if __name__ == "__main__":
    unittest.main()
