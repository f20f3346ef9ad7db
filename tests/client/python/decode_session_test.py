"""DecodeSession against the real server: whatever it gives to a sequence and to a step, in the server's own numbers."""

import asyncio
import json
import math
import subprocess
import sys
import unittest

import harness
import numpy

import logitd
from logitd import errors
from logitd.v1 import decoding_service_pb2 as decoding
from logitd.v1 import decoding_service_pb2_grpc, logits_pb2, sampling_pb2

V = 40
server = None


def setUpModule():
    global server
    server = harness.Server()


def tearDownModule():
    server.stop()


def rows(count: int, seed: int = 1, width: int = V) -> numpy.ndarray:
    return numpy.random.default_rng(seed).normal(0, 3, (count, width)).astype(numpy.float32)


def log_softmax(row: numpy.ndarray) -> numpy.ndarray:
    row = row.astype(numpy.float64)
    return row - row.max() - math.log(math.fsum(numpy.exp(row - row.max())))


class DecodeSessionTest(unittest.TestCase):
    def session(self, **options) -> logitd.DecodeSession:
        session = logitd.DecodeSession(server.address, vocab_size=V, **options)
        self.addCleanup(session.cancel)
        return session

    def test_gives_what_raw_messages_give(self):
        """The same batches through the generated stubs: equal tokens, records and sums."""
        import grpc

        values = [rows(3, seed) for seed in range(6)]
        with self.session(seed=5, temperature=0.8, repetition_penalty=1.2, max_tokens=5,
                          record=logitd.Record(rank=True, top_n=2)) as session:
            for prompt in ([1], [2, 3], []):
                session.open(prompt)
            mine = [step for array in values[:5] for step in session.step(array)]
        self.assertEqual(session.running, [])

        def requests():
            yield decoding.DecodeRequest(config=decoding.DecodeConfig(
                vocab_size=V, sampling=sampling_pb2.SamplingParams(seed=5, temperature=0.8, repetition_penalty=1.2),
                stop=sampling_pb2.StopCriteria(max_tokens=5), record={"rank": True, "top_n": 2}))
            block = logits_pb2.LogitsBlock(dtype=logits_pb2.LOGITS_DTYPE_F32, row_count=3, width=V)
            for position, array in enumerate(values[:5]):
                opens = [decoding.OpenSequence(sequence_id=i + 1, fresh=decoding.SequenceStart(prompt_token_ids=prompt))
                         for i, prompt in enumerate(([1], [2, 3], []))]
                yield decoding.DecodeRequest(payload=array.tobytes(), batch=decoding.StepBatch(
                    batch_id=position + 1, opens=opens if position == 0 else [], blocks=[block],
                    steps=[decoding.SequenceStep(sequence_id=i + 1, position=position) for i in range(3)]))

        with grpc.insecure_channel(server.address) as channel:
            replies = decoding_service_pb2_grpc.DecodingServiceStub(channel).Decode(requests())
            raw = [step for reply in replies for step in reply.result.steps]
        self.assertEqual(len(mine), len(raw))
        for step, reply in zip(mine, raw):
            record, token = step.record, reply.chosen.tokens[0]
            self.assertEqual((step.token_id, step.position), (token.token_id, token.position))
            self.assertEqual((record.model_log_prob, record.sampling_log_prob, record.rank),
                             (token.model_log_prob, token.sampling_log_prob, token.rank))
            self.assertEqual(record.top.token_ids, tuple(token.top.token_ids))
            self.assertEqual(step.cumulative_model_log_prob, reply.chosen.totals.cumulative_model_log_prob)
            self.assertEqual(step.cumulative_sampling_log_prob, reply.chosen.totals.cumulative_sampling_log_prob)
            if step.position == 4:
                self.assertEqual(step.sequence.cumulative_model_log_prob, step.cumulative_model_log_prob)
                self.assertEqual(step.sequence.cumulative_sampling_log_prob, step.cumulative_sampling_log_prob)
                self.assertEqual((step.finish_reason, step.sequence.finish_reason), ("max_tokens", "max_tokens"))

    def test_numbers_are_those_of_the_rows(self):
        session = self.session(
            record=logitd.Record(entropy=True, kept_set=True, draw=True, named_token_ids=[7]), top_k=3)
        sequence = session.open()
        for seed in range(5):
            row = rows(1, seed)[0]
            step, = session.step(row)
            expected = log_softmax(row)
            self.assertIn(step.token_id, numpy.argsort(-row)[:3])
            self.assertAlmostEqual(step.record.model_log_prob, expected[step.token_id], delta=1e-6)
            self.assertAlmostEqual(step.record.named.model_log_probs[0], expected[7], delta=1e-6)
            self.assertAlmostEqual(step.record.model_entropy, -(numpy.exp(expected) * expected).sum(), delta=1e-6)
            self.assertEqual((step.record.kept_count, step.record.origin, step.position), (3, "chosen", seed))
            self.assertGreater(step.record.draw.weight, 0)
        self.assertEqual(sequence.tokens, sequence.state()["tokens"])
        self.assertEqual((sequence.token_count, sequence.finish_reason, sequence.error), (5, None, None))

    def test_seeds_and_keys_are_told_and_replay(self):
        values = [rows(2, seed) for seed in range(8)]
        first = self.session()
        sequences = [first.open(), first.open(seed=2**64 - 1, sequence_key=2**56 - 1, temperature=2.0)]
        self.assertEqual([sequence.seed for sequence in sequences], [None, None])
        first.flush()
        self.assertEqual([(sequence.seed, sequence.sequence_key) for sequence in sequences],
                         [(first.seed, 1), (2**64 - 1, 2**56 - 1)])
        for array in values:
            first.step(array)
        again = self.session(seed=first.seed)
        replayed = again.open(sequence_key=1)
        other = again.open(seed=2**64 - 1, sequence_key=2**56 - 1, temperature=2.0)
        for array in values:
            again.step(array)
        self.assertEqual([replayed.tokens, other.tokens], [sequence.tokens for sequence in sequences])

    def test_options_of_a_sequence_take_the_place_of_the_sessions_by_name(self):
        session = self.session(temperature=0, max_tokens=3, banned_tokens=[4], record=logitd.Record(rank=True))
        row = numpy.zeros(V, numpy.float32)
        row[4], row[5] = 9, 8
        default = session.open()
        hot = session.open(temperature=1.0, top_k=1)
        free = session.open(banned_tokens=None, max_tokens=None, record=None)
        steps = {step.sequence: step for step in session.step({default: row, hot: row, free: row})}
        # The session's temperature 0 and ban hold for `default`; its ban still does for `hot`.
        self.assertEqual([steps[sequence].token_id for sequence in (default, hot, free)], [5, 5, 4])
        self.assertEqual(steps[default].record.sampling_log_prob, 0)
        self.assertEqual((steps[hot].record.rank, steps[free].record.rank), (2, None))
        for _ in range(3):
            session.step({sequence: row for sequence in session.running})
        self.assertEqual([default.finish_reason, hot.finish_reason, free.finish_reason], ["max_tokens"] * 2 + [None])

    def test_unknown_options_and_wrong_values_are_refused(self):
        with self.assertRaisesRegex(TypeError, r"DecodeSession\(\) has no option 'temprature'; did you mean 'temper"):
            self.session(temprature=1)
        with self.assertRaisesRegex(TypeError, "has no option 'stop'"):
            self.session(stop=["\n"])
        session = self.session()
        with self.assertRaisesRegex(TypeError, r"DecodeSession.open\(\) has no option 'topp'"):
            session.open(topp=0.5)
        with self.assertRaises(errors.InvalidRequestError) as caught:
            self.session(top_p=1.5)
        self.assertEqual((caught.exception.reason, caught.exception.bound), ("FIELD_OUT_OF_RANGE", "[0, 1]"))
        with self.assertRaises(errors.InvalidRequestError) as caught:
            session.open([3, V])
        self.assertEqual((caught.exception.reason, caught.exception.value), ("TOKEN_ID_OUT_OF_RANGE", str(V)))
        self.assertEqual(session.running, [])

    def test_rows_that_do_not_fit_are_refused_before_anything_is_sent(self):
        session = self.session()
        first, second = session.open(), session.open()
        for wrong, words in ((rows(2, width=V + 1), f"vocab_size = {V} values, got {V + 1}"),
                             (rows(3), "one row for each of 2 sequences, got 3"), (rows(1), "got 1"),
                             (rows(2).astype("f8"), "float64"), ({first: rows(2)}, "takes one row, got 2"),
                             ({first: rows(1)[0], second: rows(1, width=3)[0]}, "got 3")):
            with self.assertRaisesRegex(errors.InvalidRequestError, words):
                session.send(wrong)
        self.assertEqual(session.pending_count, 0)
        self.assertEqual(len(session.step(rows(2))), 2)

    def test_wrong_uses_are_refused(self):
        session, other = self.session(), self.session()
        sequence, foreign = session.open(), other.open()
        row = rows(1)[0]
        for call, error, words in (
                (lambda: session.step({}), ValueError, "no sequence to step"),
                (lambda: session.step({foreign: row}), ValueError, "no sequence of this session"),
                (lambda: session.step({"a": row}), ValueError, "no sequence of this session"),
                (lambda: session.step(rows(2), [sequence, sequence]), ValueError, "there twice"),
                (lambda: session.step({sequence: row}, [sequence]), TypeError, "not both"),
                (lambda: session.step(row, given_token_id={foreign: 1}), ValueError, "takes no row in this batch"),
                (lambda: session.step(row, given_token_id=3), TypeError, "must be a dict"),
                (lambda: session.receive(), ValueError, "nothing was sent"),
                (lambda: session.open([1], state=sequence.state()), TypeError, "prompt or state")):
            with self.assertRaisesRegex(error, words):
                call()
        session.send(row)
        with self.assertRaisesRegex(ValueError, "one batch at a time"):
            session.step(row)

    def test_a_bad_row_ends_its_sequence_alone(self):
        session = self.session()
        good, bad = session.open(), session.open()
        session.step(rows(2))
        array = rows(2, 2)
        array[1, 3] = math.nan
        steps = session.step(array)
        self.assertIsNone(steps[0].error)
        self.assertIsInstance(steps[1].error, errors.InvalidRequestError)
        self.assertEqual((steps[1].error.reason, steps[1].error.token_id, steps[1].error.row),
                         ("NON_FINITE_LOGIT", 3, 1))
        self.assertIs(bad.error, steps[1].error)
        self.assertEqual((steps[1].token_id, steps[1].record, bad.token_count, bad.is_running), (None, None, 1, False))
        self.assertEqual(session.running, [good])
        with self.assertRaisesRegex(ValueError, "has ended"):
            session.step(rows(2), [good, bad])
        # It goes on from its last token with a row that is right.
        again = session.open(state=bad.state())
        steps = session.step(rows(2, 2), [good, again])
        self.assertEqual((steps[1].position, again.tokens[0]), (1, bad.tokens[0]))

    def test_a_sequence_that_cannot_be_opened_has_its_error(self):
        session = self.session(max_tokens=2)
        good = session.open()
        bad = session.open(min_tokens=5)
        steps = session.step(rows(2))
        self.assertIsNone(steps[0].error)
        self.assertEqual(steps[1].error.reason, "FIELD_OUT_OF_RANGE")
        self.assertIs(steps[1].error, bad.error)
        self.assertEqual(session.running, [good])

    def test_masks_given_tokens_and_named_tokens_of_a_step(self):
        session = self.session(temperature=0)
        a, b, c = (session.open() for _ in range(3))
        array = rows(3)
        mask = numpy.zeros(V, bool)
        mask[[8, 11]] = True
        bits = numpy.packbits(mask, bitorder="little").tobytes()
        steps = session.step(array, allowed_tokens={a: [3, 9], b: bits}, given_token_id={c: 12},
                             named_token_ids={a: numpy.array([0, 39]), c: [1]})
        self.assertEqual(steps[0].token_id, 3 if array[0, 3] >= array[0, 9] else 9)
        self.assertEqual(steps[1].token_id, 8 if array[1, 8] >= array[1, 11] else 11)
        self.assertEqual((steps[2].token_id, steps[2].record.origin), (12, "given"))
        self.assertEqual(steps[0].record.named.token_ids, (0, 39))
        self.assertIsNone(steps[1].record.named)
        for step, row in zip(steps, array):
            self.assertAlmostEqual(step.record.model_log_prob, log_softmax(row)[step.token_id], delta=1e-6)
        with self.assertRaisesRegex(TypeError, "packbits"):
            session.step(array, allowed_tokens={a: mask})

    def test_steps_ahead_of_tokens_that_are_given(self):
        """Forced decoding: the rows do not depend on the tokens, so that all of them can be on their way."""
        array, tokens = rows(30), numpy.random.default_rng(3).integers(0, V, 30).tolist()
        with self.session() as session:
            sequence = session.open()
            for row, token in zip(array, tokens):
                session.send({sequence: row}, given_token_id={sequence: token})
            steps = [step for _ in tokens for step in session.receive()]
        self.assertEqual(sequence.tokens, tokens)
        self.assertEqual([step.position for step in steps], list(range(30)))
        expected = math.fsum(log_softmax(row)[token] for row, token in zip(array, tokens))
        self.assertAlmostEqual(sequence.cumulative_model_log_prob, expected, delta=1e-5)

    def test_steps_on_their_way_behind_the_end_choose_nothing(self):
        session = self.session(max_tokens=2)
        sequence, other = session.open(), session.open(max_tokens=9)
        for seed in range(4):
            session.send(rows(2, seed))
        ends = [session.receive()[0] for _ in range(4)]
        self.assertEqual([step.token_id is None for step in ends], [False, False, True, True])
        self.assertEqual([step.finish_reason for step in ends], [None] + ["max_tokens"] * 3)
        self.assertTrue(all(step.error is None for step in ends))
        self.assertEqual((sequence.token_count, other.token_count), (2, 4))

    def test_sequences_share_a_row(self):
        session = self.session(seed=4)
        samples = [session.open() for _ in range(50)]
        row = rows(1)[0]
        steps = session.step({sequence: row for sequence in samples})
        self.assertGreater(len({step.token_id for step in steps}), 3)
        apart = self.session(seed=4)
        for _ in samples:
            apart.open()
        self.assertEqual([step.token_id for step in apart.step(numpy.tile(row, (50, 1)))],
                         [step.token_id for step in steps])

    def test_a_step_of_many_rows_goes_in_several_messages(self):
        width = 20_000
        with logitd.DecodeSession(server.address, vocab_size=width, temperature=0) as session:
            array = rows(300, width=width)
            sequences = [session.open() for _ in range(300)]
            for turn in range(3):
                steps = session.step(array)
                self.assertEqual([step.token_id for step in steps], array.argmax(axis=1).tolist())
                self.assertEqual([step.sequence for step in steps], sequences)
        with logitd.DecodeSession(server.address, vocab_size=5, temperature=0) as session:
            sequences = [session.open() for _ in range(1024)]
            array = rows(1024, width=5)
            self.assertEqual([step.token_id for step in session.step(array)], array.argmax(axis=1).tolist())
            one_more = session.open()
            session.flush()
            self.assertEqual(one_more.error.limit, "max_sequences_per_stream")

    def test_long_prompts_are_opened_in_several_messages(self):
        session = self.session(repetition_penalty=1.5, temperature=0)
        prompts = [[i % V] * 100_000 for i in range(40)]
        sequences = [session.open(prompt) for prompt in prompts]
        row = numpy.full(V, 1.0, numpy.float32)
        steps = session.step({sequence: row for sequence in sequences})
        # The penalty moves everything but the prompt's token to the front.
        self.assertEqual([step.token_id for step in steps], [1 if i == 0 else 0 for i in range(40)])

    def test_types_of_rows_give_the_tokens_of_their_values(self):
        array = rows(1)[0]
        for given, dtype in ((array, None), (array.astype("f2"), None), (array.astype("f8"), "f32"),
                             ((array.view("u4") >> 16).astype("u2"), "bf16")):
            session = self.session(dtype=dtype, record=logitd.Record(entropy=True))
            session.open()
            step, = session.step(given)
            exact = given if dtype != "bf16" else (given.astype("u4") << 16).view("f4")
            expected = log_softmax(exact.astype("f4"))[step.token_id]
            self.assertAlmostEqual(step.record.model_log_prob, expected, delta=1e-6)

    def test_a_state_goes_on_elsewhere(self):
        values = [rows(2, seed) for seed in range(12)]
        for options in ({"temperature": 0.7},
                        {"frequency_penalty": 0.5, "repetition_penalty": 1.1, "temperature": 1.3}):
            whole = self.session(seed=6, **options)
            first, second = whole.open([1, 2]), whole.open([3], temperature=2.0, seed=8)
            for i, array in enumerate(values):
                if i == 5:
                    states = json.loads(json.dumps([first.state(), second.state()]))
                whole.step(array)
            # The other session has another seed, and other sequences before these.
            other = self.session(seed=1, **options)
            other.open()
            other.step(rows(1))
            resumed = [other.open(state=states[0]), other.open(state=states[1], temperature=2.0)]
            self.assertEqual(resumed[0].cumulative_model_log_prob is None, False)
            for array in values[5:]:
                other.step(array, resumed)
            for sequence, same in zip((first, second), resumed):
                self.assertEqual(sequence.state(), same.state())
            # A branch draws other tokens.
            branch = other.open(state=states[0], sequence_key=1234)
            for array in values[5:]:
                other.step({branch: array[0]})
            self.assertEqual(branch.tokens[:5], first.tokens[:5])
            self.assertNotEqual(branch.tokens, first.tokens)

    def test_states_that_cannot_go_on_are_refused(self):
        session = self.session(max_tokens=1)
        sequence = session.open()
        state = sequence.state()
        session.step(rows(1))
        with self.assertRaisesRegex(errors.InvalidRequestError, r"has ended \(max_tokens\)"):
            session.open(state=sequence.state())
        with self.assertRaises(errors.PreconditionError) as caught:
            session.open(state={**state, "numerics_version": 99})
        self.assertEqual(caught.exception.reason, "NUMERICS_VERSION_MISMATCH")
        for wrong in ({}, [], {**state, "version": 2}, {**state, "more": 1}, {**state, "resume_state": {"x": 1}}):
            with self.assertRaises(errors.InvalidRequestError):
                session.open(state=wrong)
        with self.assertRaises(errors.InvalidRequestError):
            session.open(state={**state, "tokens": [V]})

    def test_closing_a_sequence(self):
        session = self.session()
        a, b, c = (session.open() for _ in range(3))
        b.close()
        self.assertEqual((b.finish_reason, session.running), ("cancelled", [a, c]))
        session.step(rows(2))
        a.close()
        a.close()
        self.assertTrue(a.is_running)
        self.assertEqual(session.running, [c])
        with self.assertRaisesRegex(ValueError, "has ended"):
            session.step(rows(2), [a, c])
        session.step(rows(1))
        self.assertEqual((a.finish_reason, a.token_count, c.token_count), ("cancelled", 1, 2))
        c.close()
        session.flush()
        self.assertEqual((c.finish_reason, session.running), ("cancelled", []))
        c.close()
        session.flush()

    def test_no_admissible_token_ends_a_sequence_in_order(self):
        session = self.session()
        sequence = session.open()
        row = rows(1)[0]
        row[4] = -math.inf
        step, = session.step(row, allowed_tokens={sequence: [4]})
        self.assertEqual((step.token_id, step.record, step.finish_reason), (None, None, "no_admissible_token"))
        self.assertIsNone(sequence.cumulative_model_log_prob)

    def test_records_without_tokens(self):
        session = self.session(record=logitd.Record(layout="none"))
        session.open()
        step, = session.step(rows(1))
        self.assertIsNone(step.record.model_log_prob)
        self.assertIsNotNone(step.cumulative_model_log_prob)
        session = self.session(record={"model_log_prob": False})
        session.open()
        step, = session.step(rows(1))
        self.assertIsNone(step.cumulative_model_log_prob)
        self.assertIsNotNone(step.cumulative_sampling_log_prob)

    def test_a_program_that_leaves_a_session_open_ends(self):
        program = ("import sys, logitd\n"
                   "session = logitd.DecodeSession(sys.argv[1], vocab_size=5)\n"
                   "session.open()\n"
                   "session.send(memoryview(bytearray(20)).cast('f'))\n"
                   "run = logitd.decode(lambda batch: [memoryview(bytearray(20)).cast('f')], [[1]], server=sys.argv[1])\n"
                   "next(run)\n")
        subprocess.run([sys.executable, "-c", program, server.address], check=True, timeout=60)

    def test_asyncio(self):
        async def decode():
            async with logitd.AsyncDecodeSession(server.address, vocab_size=V, seed=9, max_tokens=6) as session:
                sequences = [session.open(), session.open()]
                while session.running:
                    await session.step(rows(2, sequences[0].token_count))
                extra = session.open()
                await session.send({extra: rows(1)[0]})
                await session.flush()
                self.assertEqual((await session.receive())[0].token_id, extra.tokens[0])
            return [sequence.tokens for sequence in sequences]

        session = self.session(seed=9, max_tokens=6)
        sequences = [session.open(), session.open()]
        while session.running:
            session.step(rows(2, sequences[0].token_count))
        self.assertEqual(asyncio.run(decode()), [sequence.tokens for sequence in sequences])

        async def fails():
            async with logitd.AsyncDecodeSession(server.address, vocab_size=V):
                raise RuntimeError("the model failed")

        with self.assertRaisesRegex(RuntimeError, "the model failed"):
            asyncio.run(fails())
        with self.assertRaisesRegex(ValueError, "not started"):
            logitd.AsyncDecodeSession(server.address, vocab_size=V).open()


if __name__ == "__main__":
    unittest.main()
