"""Hidden states from Python: DecodeSession, decode, score_logits and runners with a head, against the same logits
computed in double."""

import asyncio
import math
import pathlib
import tempfile
import unittest

import grpc
import harness
import health
import numpy
import safetensors_file

import logitd
import logitd.mock
import logitd.runner
from logitd import errors

V, D = 300, 24
random = numpy.random.default_rng(5)
WEIGHT = random.normal(0, 2 / math.sqrt(D), (V, D)).astype("f4")
NORM = random.uniform(0.5, 2, D).astype("f4")
STATES = random.normal(0, 1, (V, D)).astype("f4")
HIDDEN = random.normal(0, 1, (9, D)).astype("f4")
server = None


def setUpModule():
    global server
    folder = pathlib.Path(tempfile.mkdtemp(prefix="logitd-head-test-"))
    path = safetensors_file.write(folder / "m.safetensors", lm_head__weight=WEIGHT, norm=NORM)
    server = harness.Server(flags=("--head", f"lm={path},norm=norm,norm_eps=1e-5"))


def tearDownModule():
    server.stop()


def log_probs(hidden: numpy.ndarray, before_output_norm: bool = False) -> numpy.ndarray:
    h = hidden.astype("f8")
    if before_output_norm:
        h = h / numpy.sqrt((h * h).mean(axis=1, keepdims=True) + 1e-5) * NORM.astype("f8")
    logits = h @ WEIGHT.astype("f8").T
    logits -= logits.max(axis=1, keepdims=True)
    return logits - numpy.log(numpy.exp(logits).sum(axis=1, keepdims=True))


class Tail:
    """Its state is a function of the last token. It has no cache."""

    vocab_size, hidden_size, head = V, D, "lm"

    def __init__(self, **facts):
        for name, value in facts.items():
            setattr(self, name, value)

    def rows(self, tokens, wanted):
        return STATES[[tokens[i] for i in wanted]][:, :self.hidden_size]


class ClientTest(unittest.TestCase):
    def test_score_logits(self):
        targets = [int(t) for t in random.integers(0, V, len(HIDDEN))]
        for before in (False, True):
            (score,) = logitd.score_logits(HIDDEN, targets, server=server.address, head="lm", before_output_norm=before)
            self.assertEqual(score.provenance.head, "lm")
            for token, row, target in zip(score.tokens, log_probs(HIDDEN, before), targets):
                self.assertAlmostEqual(token.model_log_prob, row[target], delta=1e-5)
        # The head's V is the target's bound; "" is the only head.
        (score,) = logitd.score_logits(HIDDEN[:1], [V - 1], server=server.address, head="")
        self.assertIsNone(score.error)

    def test_sessions_and_loops_choose_from_the_heads_logits(self):
        expected = [int(row.argmax()) for row in log_probs(HIDDEN)]
        with logitd.DecodeSession(server.address, head="lm", temperature=0) as session:
            self.assertEqual(session.vocab_size, V)
            sequences = [session.open() for _ in HIDDEN]
            self.assertEqual([step.token_id for step in session.step(HIDDEN)], expected)
            one = session.step({sequences[0]: HIDDEN[3]})[0]
            self.assertEqual(one.token_id, expected[3])

        def model(batch):
            return STATES[[tokens[-1] for tokens in batch.contexts]]

        run = logitd.decode(model, [[17], [18]], server=server.address, head="lm", temperature=0, max_tokens=4)
        for _ in run:
            pass
        for start, completion in zip((17, 18), run.completions):
            tokens = [start]
            for _ in range(4):
                tokens.append(int(log_probs(STATES[tokens[-1]][None, :])[0].argmax()))
            self.assertEqual(list(completion.tokens), tokens[1:])

        async def in_asyncio():
            async with logitd.AsyncDecodeSession(server.address, head="lm", temperature=0) as session:
                session.open()
                return (await session.step(HIDDEN[:1]))[0].token_id

        self.assertEqual(asyncio.run(in_asyncio()), expected[0])

    def test_a_subset(self):
        ids = [3, 50, 299]
        with logitd.DecodeSession(server.address, head="lm", head_token_ids=ids, temperature=0) as session:
            session.open()
            (step,) = session.step(HIDDEN[:1])
            row = log_probs(HIDDEN[:1])[0]
            self.assertEqual(step.token_id, max(ids, key=lambda token: row[token]))
            among = row[ids] - math.log(sum(math.exp(row[i]) for i in ids))
            self.assertAlmostEqual(step.record.model_log_prob, max(among), delta=1e-5)

    def test_wrong_arguments_are_refused_before_anything_is_sent(self):
        with self.assertRaises(errors.InvalidRequestError) as caught:
            logitd.score_logits(HIDDEN[:, :20], [1] * 9, server=server.address, head="lm")
        self.assertEqual((caught.exception.reason, caught.exception.field), ("HEAD_SHAPE_MISMATCH", "rows"))
        self.assertIn("axis d of rows [9, 20] and head 'lm' (W [V = 300, d = 24])", str(caught.exception))
        with self.assertRaises(errors.NotFoundError) as missing:
            logitd.DecodeSession(server.address, head="no")
        self.assertIn("it has lm", str(missing.exception))
        with self.assertRaises(errors.InvalidRequestError) as other:
            logitd.DecodeSession(server.address, head="lm", vocab_size=V + 1)
        self.assertEqual((other.exception.reason, other.exception.field), ("HEAD_SHAPE_MISMATCH", "vocab_size"))
        with self.assertRaisesRegex(TypeError, "need head"):
            logitd.score_logits(HIDDEN, [1] * 9, server=server.address, before_output_norm=True)
        with self.assertRaisesRegex(TypeError, "vocab_size"):
            logitd.DecodeSession(server.address)
        with logitd.DecodeSession(server.address, head="lm") as session:
            session.open()
            with self.assertRaises(errors.InvalidRequestError):
                session.step(numpy.zeros((1, V), "f4"))

    def test_info_lists_heads(self):
        with logitd.Client(server.address) as client:
            (head,) = client.info().heads
        self.assertEqual((head.name, head.vocab_size, head.hidden_size, head.source_dtype, head.weight_name),
                         ("lm", V, D, "F32", "lm_head.weight"))
        self.assertEqual((head.has_output_norm, head.has_bias, head.soft_cap, len(head.fingerprint)),
                         (True, False, None, 32))

    def test_the_mock_refuses_hidden_states_by_name(self):
        with logitd.mock.MockServer({"a": {"b": 0.0}}) as mock:
            with self.assertRaises(errors.NotFoundError):
                logitd.DecodeSession(mock.address, head="lm")


class RunnerTest(unittest.TestCase):
    def serve(self, model, name):
        runner = logitd.runner.Runner(model, server.runner_address, name=name).start()
        self.addCleanup(runner.stop)
        with grpc.insecure_channel(server.address) as channel:
            health.wait_until_serving(channel, f"model/{name}")
        client = logitd.Client(server.address, model=name)
        self.addCleanup(client.close)
        return client

    def test_it_serves_generate_and_score(self):
        for before in (False, True):
            client = self.serve(Tail(before_output_norm=before), f"tail-{before}".lower())
            (completion,) = client.generate([17], max_tokens=4, temperature=0)
            tokens = [17]
            for token in completion.tokens:
                row = log_probs(STATES[tokens[-1]][None, :], before)[0]
                self.assertEqual(token.token_id, int(row.argmax()))
                self.assertAlmostEqual(token.model_log_prob, row.max(), delta=1e-5)
                tokens.append(token.token_id)
            (item,) = client.score([([17, 5], [[7, 8, 9], [7, 10]])])
            for continuation, given in zip(item.continuations, ([7, 8, 9], [7, 10])):
                expected, last = 0.0, 5
                for token in given:
                    expected += log_probs(STATES[last][None, :], before)[0][token]
                    last = token
                self.assertAlmostEqual(continuation.cumulative_model_log_prob, expected, delta=1e-4)

    def test_a_runner_that_does_not_fit_is_refused_with_both_shapes(self):
        for facts, words in (({"head": "no"}, "there is no head"),
                             ({"hidden_size": 20}, "axis d of rows"),
                             ({"vocab_size": V - 1}, "axis V of logits [299]")):
            with self.subTest(facts=facts), self.assertRaises(errors.LogitdError) as caught:
                logitd.runner.Runner(Tail(**facts), server.runner_address, name="bad", reconnect=False).start()
            self.assertIn(words, str(caught.exception))

    def test_facts_that_need_each_other(self):
        for facts, words in (({"head": None}, "hidden_size is 24; it needs head"),
                             ({"hidden_size": None}, "head is 'lm'; it needs hidden_size"),
                             ({"head": None, "hidden_size": None, "before_output_norm": True}, "needs head"),
                             ({"hidden_size": 0}, "must be in"), ({"head": 3}, "must be str")):
            with self.subTest(facts=facts), self.assertRaisesRegex((ValueError, TypeError), words):
                logitd.runner.Runner(Tail(**facts), server.runner_address, name="bad")

    def test_states_that_are_not_finite_are_the_models_fault(self):
        class Broken(Tail):
            def rows(self, tokens, wanted):
                states = super().rows(tokens, wanted).copy()
                states[-1, 3] = -numpy.inf
                return states

        client = self.serve(Broken(), "broken")
        (item,) = client.score([([17], [[7]])])
        self.assertEqual(item.continuations[0].error.reason, "MODEL_OUTPUT_INVALID")
        self.assertIn("hidden[3]", str(item.continuations[0].error))

    def test_a_wrong_width_is_named_where_it_was_made(self):
        class Narrow(Tail):
            def rows(self, tokens, wanted):
                return super().rows(tokens, wanted)[:, :5]

        client = self.serve(Narrow(), "narrow")
        (item,) = client.score([([17], [[7]])])
        self.assertIn("the shape must be [1, 24]", str(item.continuations[0].error))


if __name__ == "__main__":
    unittest.main()
