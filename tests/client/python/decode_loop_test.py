"""logitd.decode: a numpy model in one loop, its state in another process, and what becomes of failures."""

import importlib.util
import json
import math
import pathlib
import re
import subprocess
import sys
import tempfile
import unittest

import harness
import numpy

import logitd
from logitd import errors

V, HIDDEN = 50, 16
PROMPTS = [[1], [2, 9], [3], [], [4, 5, 6]]
OPTIONS = {"top_p": 0.9, "repetition_penalty": 1.2, "stop_token_ids": [0], "max_tokens": 25, "seed": 3}
server = None


def setUpModule():
    global server
    server = harness.Server()


def tearDownModule():
    server.stop()


class Rnn:
    """A model that keeps a state for each sequence, and checks what it is told."""

    def __init__(self):
        rng = numpy.random.default_rng(0)
        self._embedding, self._recurrent, self._out = (
            rng.normal(0, 0.7, shape).astype("f4") for shape in ((V, HIDDEN), (HIDDEN, HIDDEN), (HIDDEN, V)))
        self.states: dict[int, numpy.ndarray] = {}
        self.contexts: dict[int, list[int]] = {}
        self.batches: list[logitd.DecodeBatch] = []

    def __call__(self, batch: logitd.DecodeBatch) -> numpy.ndarray:
        self.batches.append(batch)
        for index in batch.ended:
            del self.states[index], self.contexts[index]
        for index, tokens, position in zip(batch.indices, batch.new_tokens, batch.positions):
            context = self.contexts.setdefault(index, [])
            assert len(context) == position
            context.extend(tokens)
            state = self.states.get(index, numpy.zeros(HIDDEN, "f4"))
            for token in tokens:
                state = numpy.tanh(self._embedding[token] + state @ self._recurrent)
            self.states[index] = state
        assert batch.contexts == [self.contexts[index] for index in batch.indices]
        assert set(self.states) == set(batch.indices) and len(batch) == len(batch.indices)
        # Row by row, so that a row's bits do not depend on its neighbours.
        return numpy.stack([self.states[index] @ self._out for index in batch.indices])


class DecodeTest(unittest.TestCase):
    def decode(self, step, prompts=None, **options):
        run = logitd.decode(step, prompts, server=server.address, **options)
        self.addCleanup(run.close)
        return run

    def test_yields_the_tokens_of_each_step(self):
        model = Rnn()
        run = self.decode(model, PROMPTS, **OPTIONS)
        turns = list(run)
        for completion, prompt in zip(run.completions, PROMPTS):
            index = completion.index
            self.assertEqual(completion.tokens, tuple(turn[index] for turn in turns if index in turn))
            self.assertEqual(completion.prompt, tuple(prompt))
            self.assertIn(completion.finish_reason, ("stop_token", "max_tokens"))
            self.assertEqual(completion.finish_reason == "stop_token", completion.tokens[-1] == 0)
            self.assertEqual((completion.seed, completion.sequence_key, completion.error), (3, index, None))
        self.assertGreater(len({completion.tokens for completion in run.completions}), 1)
        self.assertEqual(list(turns[0]), list(range(len(PROMPTS))))
        self.assertEqual(list(run), [])
        # Sequences drop out, and the model is told.
        sizes = [len(batch) for batch in model.batches]
        self.assertEqual(sizes, sorted(sizes, reverse=True))
        self.assertEqual(sum(len(batch.ended) for batch in model.batches) + sizes[-1], len(PROMPTS))

    def test_numbers_are_those_of_the_rows(self):
        seen: dict[int, float] = {}
        model = Rnn()

        def step(batch):
            self.rows = model(batch)
            return self.rows

        run = self.decode(step, PROMPTS[:3], **OPTIONS)
        for turn in run:
            for row, done in zip(self.rows.astype("f8"), run.steps):
                log_prob = row[done.token_id] - row.max() - math.log(numpy.exp(row - row.max()).sum())
                self.assertAlmostEqual(done.record.model_log_prob, log_prob, delta=1e-6)
                index = next(index for index, token in turn.items() if run.completions[index].tokens == tuple(
                    done.sequence.tokens) and token == done.token_id)
                seen[index] = seen.get(index, 0) + log_prob
        for completion in run.completions:
            self.assertAlmostEqual(completion.cumulative_model_log_prob, seen[completion.index], delta=1e-5)
            self.assertLess(completion.cumulative_sampling_log_prob, 0)

    def test_its_state_goes_on_in_another_process(self):
        whole = self.decode(Rnn(), PROMPTS, **OPTIONS)
        list(whole)
        for turns in (0, 1, 9, 24):
            run = self.decode(Rnn(), PROMPTS, **OPTIONS)
            for _ in range(turns):
                next(run)
            state = json.dumps(run.state)
            again = self.decode(Rnn(), state=json.loads(state))
            list(again)
            self.assertEqual(again.completions, whole.completions)
            # A state of a state is one too; that of the end has nothing to do.
            self.assertEqual(again.state, whole.state)
            ended = self.decode(lambda batch: self.fail("nothing runs"), state=again.state)
            self.assertEqual((list(ended), ended.completions), ([], whole.completions))
        program = ("import json, sys; sys.path[:0] = [sys.argv[1]]; import logitd, decode_loop_test\n"
                   "run = logitd.decode(decode_loop_test.Rnn(), state=json.load(sys.stdin), server=sys.argv[2])\n"
                   "for tokens in run: pass\n"
                   "print([(c.tokens, c.cumulative_model_log_prob) for c in run.completions])")
        other = subprocess.run([sys.executable, "-c", program, pathlib.Path(__file__).parent, server.address],
                               input=state, capture_output=True, text=True, check=True, timeout=300)
        self.assertEqual(other.stdout.strip(),
                         str([(c.tokens, c.cumulative_model_log_prob) for c in whole.completions]))

    def test_a_seed_that_the_server_drew_is_in_the_state(self):
        run = self.decode(Rnn(), PROMPTS, max_tokens=8)
        next(run)
        again = self.decode(Rnn(), state=run.state)
        self.assertEqual(list(run), list(again))
        self.assertEqual(run.completions, again.completions)

    def test_more_prompts_than_run_at_once(self):
        whole = self.decode(Rnn(), PROMPTS * 4, **OPTIONS)
        list(whole)
        model = Rnn()
        run = self.decode(model, PROMPTS * 4, max_running=3, **OPTIONS)
        for turn in run:
            self.assertLessEqual(len(turn), 3)
            if len(model.batches) == 30:
                state = run.state
        self.assertEqual(run.completions, whole.completions)
        again = self.decode(Rnn(), state=json.loads(json.dumps(state)), max_running=7)
        list(again)
        self.assertEqual(again.completions, whole.completions)

    def test_the_width_is_that_of_the_first_rows_unless_it_is_given(self):
        run = self.decode(lambda batch: numpy.zeros((len(batch), 7), "f4"), [[1]], max_tokens=1)
        self.assertIsNone(run.state["vocab_size"])
        list(run)
        self.assertEqual(run.state["vocab_size"], 7)
        run = self.decode(lambda batch: numpy.zeros((len(batch), 7), "f4"), [[1]], vocab_size=8)
        with self.assertRaisesRegex(errors.InvalidRequestError, "vocab_size = 8 values, got 7"):
            next(run)
        self.assertEqual(run.completions[0].tokens, ())
        # A server that is not there is noticed at once if the width is known.
        with self.assertRaises(errors.UnavailableError):
            logitd.decode(Rnn(), [[1]], server="127.0.0.1:1", vocab_size=V, retry_for=0)

    def test_a_row_that_fails_ends_its_sequence_and_is_raised(self):
        def broken(model, index, turn):
            def step(batch):
                rows = model(batch)
                if len(model.batches) == turn and index in batch.indices:
                    rows[batch.indices.index(index), 2] = math.nan
                return rows
            return step

        whole = self.decode(Rnn(), PROMPTS, **OPTIONS)
        list(whole)
        run = self.decode(broken(Rnn(), 1, 4), PROMPTS, **OPTIONS)
        with self.assertRaises(errors.InvalidRequestError) as caught:
            list(run)
        self.assertEqual(caught.exception.reason, "NON_FINITE_LOGIT")
        state = run.state
        list(run)
        others = [completion for completion in run.completions if completion.index != 1]
        self.assertEqual(others, [completion for completion in whole.completions if completion.index != 1])
        failed = run.completions[1]
        self.assertEqual((failed.tokens, failed.finish_reason, failed.error.reason),
                         (whole.completions[1].tokens[:3], None, "NON_FINITE_LOGIT"))
        # It is tried again from its last token.
        for kept in (state, run.state):
            again = self.decode(Rnn(), state=json.loads(json.dumps(kept)))
            list(again)
            self.assertEqual(again.completions, whole.completions)
        quiet = self.decode(broken(Rnn(), 1, 4), PROMPTS, on_error="return", **OPTIONS)
        list(quiet)
        self.assertEqual(quiet.completions[1].error.reason, "NON_FINITE_LOGIT")

    def test_a_model_that_raises_loses_nothing(self):
        model, fails = Rnn(), [True]

        def step(batch):
            if len(model.batches) == 3 and fails.pop(0):
                raise RuntimeError("out of memory")
            return model(batch)

        run = self.decode(step, PROMPTS, **OPTIONS)
        with self.assertRaisesRegex(RuntimeError, "out of memory"):
            list(run)
        fails.append(False)
        list(run)
        whole = self.decode(Rnn(), PROMPTS, **OPTIONS)
        list(whole)
        self.assertEqual(run.completions, whole.completions)

    def test_wrong_arguments(self):
        model = Rnn()
        for options, error, words in (
                ({}, TypeError, "needs prompts"),
                ({"prompts": [1, 2]}, TypeError, r"prompts\[0\] must be a list of token ids"),
                ({"prompts": "text"}, TypeError, "lists of token ids"),
                ({"prompts": [[1]], "topp": 1}, TypeError, r"decode\(\) has no option 'topp'"),
                ({"prompts": [[1]], "max_running": 0}, ValueError, "max_running"),
                ({"prompts": [[1]], "on_error": "ignore"}, ValueError, "on_error"),
                ({"prompts": [[1]], "dtype": "float32"}, errors.InvalidRequestError, "dtype"),
                ({"state": {}}, errors.InvalidRequestError, "what Decoding.state was"),
                ({"prompts": [[1]], "state": {}, "top_p": 1}, TypeError, "state or prompts, top_p")):
            with self.assertRaisesRegex(error, words):
                logitd.decode(model, **options)
        with self.assertRaisesRegex(TypeError, "must be a function"):
            logitd.decode([[1]], model)
        with self.assertRaises(errors.InvalidRequestError) as caught:
            next(self.decode(model, [[1]], temperature=-1))
        self.assertEqual(caught.exception.reason, "FIELD_OUT_OF_RANGE")
        with self.assertRaises(errors.InvalidRequestError) as caught:
            next(self.decode(lambda batch: numpy.zeros((1, V), "f4"), [[V]]))
        self.assertEqual(caught.exception.reason, "TOKEN_ID_OUT_OF_RANGE")
        self.assertEqual(list(self.decode(model, [])), [])

    def test_a_loop_that_is_left_early(self):
        with self.decode(Rnn(), PROMPTS, **OPTIONS) as run:
            for turn in run:
                break
        self.assertEqual(list(run), [])
        self.assertEqual([completion.tokens for completion in run.completions], [(token,) for token in turn.values()])


class PageTest(unittest.TestCase):
    """The programs of decoding.md run as they stand."""

    def test_every_program(self):
        page = (harness.ROOT / "client/python/decoding.md").read_text(encoding="utf-8")
        programs = re.findall(r"```python(?: (\w+))?\n(.*?)```", page, flags=re.DOTALL)
        self.assertGreater(len(programs), 5)
        for library, program in programs:
            with self.subTest(program=program), tempfile.TemporaryDirectory() as folder:
                if library and importlib.util.find_spec(library) is None:
                    continue
                path = pathlib.Path(folder) / "program.py"
                path.write_text(program.replace("127.0.0.1:50051", server.address), encoding="utf-8")
                done = subprocess.run([sys.executable, path], capture_output=True, text=True, timeout=300, cwd=folder)
                self.assertEqual(done.returncode, 0, done.stderr)
                self.assertGreater(len(done.stdout), 4)

    def test_the_first_program_is_short_enough_for_a_newcomer(self):
        page = (harness.ROOT / "client/python/decoding.md").read_text(encoding="utf-8")
        first = re.search(r"```python\n(.*?)```", page, flags=re.DOTALL)[1]
        lines = [line for line in first.splitlines() if line.strip() and not line.lstrip().startswith("#")]
        self.assertLessEqual(len(lines), 12)
        for word in ("top_p", "penalty", "stop_token_ids", "state"):
            self.assertIn(word, first)


if __name__ == "__main__":
    unittest.main()
