"""Every method of both clients against a real server, whose model is a table of known log-probs (transition.py)."""

import math
import os
import pathlib
import tempfile
import threading
import unittest

try:
    import numpy
except ImportError:
    numpy = None

import harness
import logitd
import transition
from both_clients import Plain, both

IS_LONG = os.environ.get("LOGITD_LONG") == "1"
# The reference is in float64, and the rows are float32.
DELTA = 1e-6


def softmax(values: list[float]) -> list[float]:
    most = max(values)
    weights = [math.exp(value - most) for value in values]
    return [weight / math.fsum(weights) for weight in weights]


class ServiceCase(unittest.TestCase):
    make = Plain

    @classmethod
    def setUpClass(cls):
        cls.server = harness.Server()
        cls.runner = transition.attach(cls.server)
        cls.tables = cls.runner.tables
        cls.client = cls.make(cls.server.address)

    @classmethod
    def tearDownClass(cls):
        cls.client.close()
        cls.runner.stop()
        cls.server.stop()


@both
class ScoreTest(ServiceCase):
    def test_token_ids(self):
        items = [([5 + i, 6], [[7, 300 - i], [9]]) for i in range(100)]
        scores = self.client.score(items, record=logitd.Record(rank=True, entropy=True, top_n=2, named_token_ids=[3]))
        for (context, continuations), scored in zip(items, scores, strict=True):
            sums = [self.tables.sum(context, c) for c in continuations]
            self.assertEqual(scored.best, sums.index(max(sums)))
            self.assertEqual(scored.context_token_count, 2)
            for ids, found, total in zip(continuations, scored.continuations, sums, strict=True):
                self.assertAlmostEqual(found.cumulative_model_log_prob, total, delta=DELTA)
                self.assertEqual((found.token_count, found.is_greedy), (len(ids), self.tables.is_greedy(context, ids)))
                for token, before, log_prob in zip(found.tokens, [context[-1], *ids],
                                                   self.tables.token_log_probs(context, ids), strict=False):
                    row = self.tables.log_probs[before]
                    self.assertAlmostEqual(token.model_log_prob, log_prob, delta=DELTA)
                    self.assertEqual((token.rank, token.origin), (1 + sum(x > log_prob for x in row), "given"))
                    self.assertAlmostEqual(token.model_entropy, -math.fsum(math.exp(x) * x for x in row), delta=1e-5)
                    self.assertAlmostEqual(token.top.model_log_probs[1], sorted(row)[-2], delta=DELTA)
                    self.assertAlmostEqual(token.named.model_log_probs[0], row[3], delta=DELTA)

    def test_texts_and_their_boundaries(self):
        for boundary in ("separate", "joint", "lm-eval"):
            [scored] = self.client.score([("1 + 1 =", [" 2", " 3"])], boundary=boundary)
            context = self.tables.tokenize("1 + 1 =")
            for found, text in zip(scored.continuations, (" 2", " 3"), strict=True):
                self.assertEqual(found.boundary.rule, boundary.replace("-", "_"))
                self.assertEqual((found.byte_count, found.character_count), (2, 2))
                ids = [token.token_id for token in found.tokens]
                if boundary == "separate":
                    self.assertEqual(ids, self.tables.tokenize(text))
                    self.assertAlmostEqual(found.sum, self.tables.sum(context, ids), delta=DELTA)
                self.assertAlmostEqual(found.per_byte, found.sum / 2)

    def test_a_processed_distribution(self):
        [scored] = self.client.score([([5], [[6, 7]])], sampling={"temperature": 0.5, "top_k": 300})
        [found] = scored.continuations
        total = 0.0
        for token, before in zip(found.tokens, (5, 6), strict=True):
            row = [2 * x for x in sorted(self.tables.logits[before], reverse=True)[:300]]
            value = 2 * self.tables.logits[before][token.token_id]
            expected = value - row[0] - math.log(math.fsum(math.exp(x - row[0]) for x in row))
            if value < row[-1]:
                self.assertEqual((token.log_prob_state, token.sampling_log_prob), ("excluded", None))
                total = math.nan
            else:
                self.assertAlmostEqual(token.sampling_log_prob, expected, delta=1e-5)
                total += expected
        if not math.isnan(total):
            self.assertAlmostEqual(found.cumulative_sampling_log_prob, total, delta=1e-5)

    def test_errors_of_items(self):
        scores = self.client.score([([5], [[6]]), ("a", [""]), ([999], [[6]]), ("a", []), ([5], [[6]])])
        self.assertEqual([(i, e.reason, e.field.split(".")[0]) for i, e in scores.errors],
                         [(1, "EMPTY_CONTINUATION", "items[1]"), (2, "TOKEN_ID_OUT_OF_RANGE", "items[2]"),
                          (3, "NO_CANDIDATES", "items[3]")])
        self.assertEqual(scores[0].continuations, scores[4].continuations)

    def test_equal_ids_of_items(self):
        scores = self.client.score([logitd.ScoreItem([5], [[6]], id="same")] * 3)
        self.assertEqual([(s.item_index, s.id) for s in scores], [(0, "same"), (1, "same"), (2, "same")])

    def test_rolling(self):
        ids = [5, 6, 7, 8, 9, 10, 11]
        [rolled, other] = self.client.rolling([ids, "hello"], window=3)
        total = self.tables.sum([self.tables.bos_token_id], ids)
        self.assertAlmostEqual(rolled.cumulative_model_log_prob, total, delta=DELTA)
        self.assertAlmostEqual(rolled.perplexity, math.exp(-total / 7), delta=1e-3 * rolled.perplexity)
        self.assertEqual([(w.first_token, w.token_count) for w in rolled.windows], [(0, 3), (3, 3), (6, 1)])
        self.assertEqual((other.byte_count, other.token_count), (5, len(self.tables.tokenize("hello"))))
        [strided] = self.client.rolling(ids, window=3, stride=1, rule="strided")
        self.assertAlmostEqual(strided.cumulative_model_log_prob, self.tables.sum(ids[:1], ids[1:]), delta=DELTA)
        self.assertEqual([e.reason for _, e in self.client.rolling(["", "a"]).errors], ["EMPTY_PROMPT"])
        # Such an item may also be among those of `score`.
        [scored] = self.client.score([{"rolling": {"input": {"tokens": {"token_ids": ids}}}}])
        self.assertEqual(scored.rolling.token_count, 7)

    def test_results_one_by_one(self):
        found = self.client.each("score_each", (([5], [[6]]) for _ in range(100)))
        self.assertEqual([score.item_index for score in found], list(range(100)))
        self.assertEqual(len(self.client.each("rank_each", [([5], [[6], [7]])] * 3)), 3)
        self.assertEqual(len(self.client.each("decide_each", [([5], [[6], [7]])] * 3)), 3)
        self.assertEqual(len(self.client.each("generate_each", ["a", "b"], max_tokens=1)), 2)

    @unittest.skipIf(numpy is None, "numpy is missing")
    def test_the_whole_vocabulary_as_columns(self):
        [scored] = self.client.score([(numpy.array([5]), [numpy.array([6])])],
                                     record=logitd.Record(top_n=320, packed_top=True, rank=True))
        packed = scored.continuations[0].tokens[0].packed_top
        numpy.testing.assert_array_equal(packed.token_ids, numpy.arange(320))
        numpy.testing.assert_allclose(packed.model_log_probs, self.tables.log_probs[5], atol=DELTA)

    def test_rank(self):
        contexts = [[5], [6]]
        candidates = [[7], [8, 9], [10]]
        rankings = self.client.rank([(c, candidates) for c in contexts], order_by="per_token", inverse_temperature=0.5)
        for context, ranked in zip(contexts, rankings, strict=True):
            values = [self.tables.sum(context, c) / len(c) for c in candidates]
            order = sorted(range(3), key=lambda i: -values[i])
            self.assertEqual((ranked.best, ranked.orderings[0].by), (order[0], "per_token"))
            self.assertEqual(list(ranked.orderings[0].candidate_indices), order)
            for candidate, value, share in zip(ranked.candidates, values, softmax([v / 2 for v in values]), strict=True):
                self.assertAlmostEqual(candidate.per_token, value, delta=DELTA)
                self.assertAlmostEqual(candidate.candidate_probability, share, delta=DELTA)
        [ranked] = self.client.rank([logitd.RankItem("", [logitd.Sums(-2.5, 2), logitd.Sums(-3, 3)])])
        self.assertEqual((ranked.best, ranked.candidates[1].per_token), (0, -1))

    def test_the_probability_of_an_order(self):
        candidates = [[7], [8, 9], [10]]
        [ranked] = self.client.rank([logitd.RankItem([5], candidates, given_order=[2, 0, 1])], inverse_temperature=0.5,
                                    order_top_k=1)
        sums = [self.tables.sum([5], c) for c in candidates]

        def log_prob(order):
            return math.fsum(0.5 * sums[i] - math.log(math.fsum(math.exp(0.5 * sums[j]) for j in order[place:]))
                             for place, i in enumerate(order))

        best = sorted(range(3), key=lambda i: -sums[i])
        self.assertEqual(ranked.returned_order.candidate_indices, tuple(best))
        self.assertAlmostEqual(ranked.returned_order.log_prob, log_prob(best), delta=DELTA)
        self.assertEqual(ranked.returned_order.top_count, 1)
        self.assertAlmostEqual(ranked.returned_order.top_log_prob,
                               math.log(ranked.candidates[best[0]].candidate_probability), delta=1e-12)
        self.assertEqual(ranked.given_order.candidate_indices, (2, 0, 1))
        self.assertAlmostEqual(ranked.given_order.log_prob, log_prob([2, 0, 1]), delta=DELTA)
        self.assertAlmostEqual(ranked.given_order.probability, math.exp(ranked.given_order.log_prob), delta=1e-15)
        [plain] = self.client.rank([([5], candidates)])
        self.assertEqual((plain.returned_order, plain.given_order), (None, None))
        [doubled, good] = self.client.rank([logitd.RankItem([5], candidates, given_order=[2, 2, 1]), ([5], candidates)],
                                           order=True)
        self.assertEqual((doubled.error.reason, doubled.error.field), ("ORDER_INVALID", "items[0].given_order[1]"))
        self.assertEqual(good.returned_order.candidate_indices, tuple(best))

    def test_fit_strengths(self):
        fit = self.client.fit_strengths([logitd.Ranking(["x", "y"], count=3), ["y", "x"]])
        self.assertEqual((fit.items, fit.order), (("x", "y"), ("x", "y")))
        self.assertAlmostEqual(fit.log_strengths[0], math.log(3) / 2, delta=1e-14)
        self.assertAlmostEqual(fit.strength_of("y"), -math.log(3) / 2, delta=1e-14)
        self.assertAlmostEqual(fit.standard_errors[0], math.sqrt(1 / (4 * 0.75 * 0.25)) / 2, delta=1e-12)
        self.assertAlmostEqual(fit.equal_log_likelihood, 4 * math.log(0.5), delta=1e-13)
        self.assertLessEqual(fit.last_newton_step, 1e-9)
        with self.assertRaisesRegex(logitd.InvalidRequestError, "item 0 wins every comparison with the others; item 2 "
                                    r"loses every one \(item 0 is 'mat', item 2 is 'chair'\)") as caught:
            self.client.fit_strengths([["mat", "rug", "chair"], ["mat", "rug", "chair"]])
        self.assertEqual(caught.exception.reason, "STRENGTHS_UNDEFINED")
        with self.assertRaisesRegex(logitd.InvalidRequestError, "ties are refused"):
            self.client.fit_strengths([["x", "y"], [["y", "x"]]])
        broken = self.client.fit_strengths([["y", "x"], [["y", "x"]]], items=["x", "y"], ties="by_index")
        self.assertEqual(broken.log_strengths, (0.0, 0.0))
        with self.assertRaises(logitd.InvalidRequestError) as caught:
            self.client.fit_strengths([["x", "y", "x"]])
        self.assertEqual((caught.exception.reason, caught.exception.field),
                         ("ORDER_INVALID", "rankings[0].item_indices[2]"))

    def test_decide(self):
        options = [[7], [8, 9], [10]]
        [decided, levels, predicate] = self.client.decide(
            [([5], options), logitd.DecideItem([5], levels=[([7], 1), ([10], 3)]),
             logitd.DecideItem([5], if_true=[7], if_false=[10])], temperature=2)
        sums = [self.tables.sum([5], o) for o in options]
        wanted = softmax([s / 2 for s in sums])
        self.assertEqual((decided.best, decided.chosen_index), (sums.index(max(sums)),) * 2)
        for option, share in zip(decided.options, wanted, strict=True):
            self.assertAlmostEqual(option.probability, share, delta=DELTA)
        self.assertAlmostEqual(decided.label_mass.mass, math.fsum(map(math.exp, sums)), delta=DELTA)
        one, three = softmax([sums[0] / 2, sums[2] / 2])
        self.assertAlmostEqual(levels.expected_value, one + 3 * three, delta=DELTA)
        self.assertAlmostEqual(predicate.options[0].probability, one, delta=DELTA)


@both
class GenerateTest(ServiceCase):
    def greedy(self, token: int, count: int) -> list[int]:
        ids = []
        for _ in range(count):
            row = self.tables.logits[token]
            token = row.index(max(row))
            ids.append(token)
        return ids

    def test_greedy(self):
        generations = self.client.generate([[5], [6], [7]], max_tokens=8, temperature=0, ignore_eos=True)
        for prompt, generation in zip((5, 6, 7), generations, strict=True):
            [completion] = generation.completions
            wanted = self.greedy(prompt, 8)
            self.assertEqual(list(completion.token_ids), wanted)
            self.assertAlmostEqual(completion.cumulative_model_log_prob, self.tables.sum([prompt], wanted), delta=1e-5)
            self.assertEqual((completion.cumulative_sampling_log_prob, completion.finish_reason), (0, "max_tokens"))
            self.assertEqual((completion.raw_bytes or completion.text.encode()), self.tables.spell(wanted))
        self.assertEqual(generations.usage.generated_token_count, 24)

    def test_one_prompt_and_its_options(self):
        for prompt in ("hello", [5, 6], [logitd.Segment("hel"), logitd.Segment([5])]):
            self.assertEqual(len(self.client.generate(prompt, max_tokens=1)), 1)
        self.assertEqual(len(self.client.generate([])), 0)
        [drawn] = self.client.generate([5], n=3, seed=7, max_tokens=4, temperature=0.8, top_p=0.9, ignore_eos=True)
        self.assertEqual([c.sequence_key for c in drawn.completions], [0, 1, 2])
        self.assertEqual(drawn.seed, 7)
        [again] = self.client.generate([5], seed=7, first_sequence_key=2, max_tokens=4, temperature=0.8, top_p=0.9,
                                       ignore_eos=True)
        self.assertEqual(again.completions[0].tokens, drawn.completions[2].tokens)
        [best] = self.client.generate([5], n=1, best_of=4, best_by="sum", seed=7, max_tokens=4)
        self.assertEqual(len(best.completions), 1)
        [scored] = self.client.generate([5, 6, 7], max_tokens=0, prompt_record=logitd.Record())
        self.assertEqual((scored.completions[0].tokens, scored.finish_reason), ((), "max_tokens"))
        self.assertAlmostEqual(scored.prompt.cumulative_model_log_prob, self.tables.sum([5], [6, 7]), delta=DELTA)
        self.assertEqual(scored.prompt.tokens[0].log_prob_state, "first_token")

    def test_stops(self):
        first = self.greedy(5, 1)[0]
        [stopped] = self.client.generate([5], temperature=0, max_tokens=5, stop_token_ids=[first])
        self.assertEqual((stopped.finish_reason, stopped.completions[0].stop_token_id), ("stop_token", first))
        options = {"seed": 1, "max_tokens": 60, "ignore_eos": True}
        [whole] = self.client.generate("a", **options)
        stop = next(token.text for token in whole.tokens if token.token_bytes.isalpha())
        [cut] = self.client.generate("a", stop=["never ever", stop], **options)
        self.assertEqual((cut.finish_reason, cut.completions[0].stop_string_index), ("stop_string", 1))
        self.assertEqual(cut.text, whole.text[:whole.text.index(stop)])

    def test_a_prompt_that_is_refused_has_its_error(self):
        generations = self.client.generate(["a", "", [999], "b" * 200_000], max_tokens=1)
        self.assertEqual([(i, e.reason) for i, e in generations.errors],
                         [(1, "EMPTY_PROMPT"), (2, "TOKEN_ID_OUT_OF_RANGE"), (3, generations[3].error.reason)])
        self.assertIn(generations[3].error.reason, ("CONTEXT_LENGTH_EXCEEDED", "LIMIT_EXCEEDED"))
        with self.assertRaises(logitd.InvalidRequestError):
            generations[1].text
        with self.assertRaises(logitd.InvalidRequestError) as raised:
            self.client.generate(["a", "b"], temperature=-1)
        self.assertEqual(raised.exception.field, "sampling.temperature")

    def test_deltas(self):
        options = {"seed": 3, "max_tokens": 30, "temperature": 0.9, "ignore_eos": True}
        [whole] = self.client.generate("hello", **options)
        deltas = self.client.each("stream", "hello", **options)
        self.assertEqual("".join(delta.text for delta in deltas), whole.text)
        self.assertEqual([token for delta in deltas for token in delta.tokens], list(whole.tokens))
        self.assertEqual((deltas[-1].finish_reason, deltas[0].finish_reason), ("max_tokens", ""))
        # A stream that is left early.
        self.assertEqual(len(self.client.each("stream", "hello", most=2, **options)), 2)
        with self.assertRaisesRegex(TypeError, "no option 'stops'"):
            self.client.each("stream", "hello", stops=["a"])
        with self.assertRaises(logitd.InvalidRequestError):
            self.client.each("stream", "", max_tokens=1)


class StreamTest(ServiceCase):
    def test_a_stream_and_its_whole(self):
        with self.client.stream("hello", max_tokens=3, seed=5) as stream:
            self.assertIsNone(stream.seed)
            with self.assertRaisesRegex(RuntimeError, "has not ended"):
                stream.final
            texts = [delta.text for delta in stream]
            self.assertEqual((stream.final.text, stream.seed), ("".join(texts), 5))
            self.assertEqual(list(stream), [])


@both
class ModelTest(ServiceCase):
    def test_texts(self):
        texts = [f"hello {i}" for i in range(600)]
        for text, found in zip(texts, self.client.tokenize(texts, token_bytes=True), strict=True):
            self.assertEqual(list(found.token_ids), self.tables.tokenize(text))
            self.assertEqual(b"".join(found.token_bytes), text.encode())
        [one] = self.client.tokenize("hello")
        self.assertEqual(list(one.token_ids), self.tables.tokenize("hello"))
        [back, odd] = self.client.detokenize([one.token_ids, [2 + 0xe2]])
        self.assertEqual((back.text, back.raw_bytes, odd.text, odd.raw_bytes), ("hello", None, "\ufffd", b"\xe2"))
        self.assertEqual([d.text for d in self.client.detokenize(list(one.token_ids))], ["hello"])
        self.assertEqual(self.client.detokenize([0], render_special_tokens=True)[0].text, "<s>")
        self.assertEqual(self.client.tokenize("<s>", parse_special_tokens=True)[0].token_ids, (0,))

    def test_a_text_that_is_refused_fails_the_call(self):
        with self.assertRaises(logitd.LogitdError) as raised:
            self.client.detokenize([[5], [999], [6]])
        self.assertEqual(raised.exception.reason, "TOKEN_ID_OUT_OF_RANGE")
        self.assertTrue(raised.exception.field.startswith("tokens[1]"), raised.exception.field)

    def test_conversations(self):
        with self.assertRaises(logitd.PreconditionError) as caught:
            self.client.render_chat([{"role": "user", "content": "a"}])
        self.assertEqual(caught.exception.reason, "CHAT_TEMPLATE_UNAVAILABLE")
        for messages, what in ((["a"], "messages[0] must be a dict"), ([{"role": "user", "text": "a"}], "'text'"),
                               ([{"role": "user", "content": 1}], "messages[0].content")):
            with self.assertRaisesRegex((TypeError, ValueError), what.replace("[", r"\[")):
                self.client.render_chat(messages)
        with self.assertRaisesRegex(TypeError, "template_arguments"):
            self.client.render_chat([{"role": "user", "content": "a"}], template_arguments={"a": [1]})

    def test_the_vocabulary(self):
        vocabulary = self.client.vocabulary()
        self.assertEqual([token.token_bytes for token in vocabulary][2:], self.tables.tokens[2:])
        self.assertEqual((vocabulary[0].name, vocabulary[0].kind, vocabulary[1].ends_text), ("<s>", "control", True))
        self.assertEqual(vocabulary.spell([0, *self.tables.tokenize("hello")]), b"hello")
        with self.assertRaises(logitd.NotFoundError):
            self.client.vocabulary("other")

    def test_server_and_models(self):
        info = self.client.info()
        self.assertEqual((info.numerics_version, info.limits.max_message_bytes), (1, 64 << 20))
        self.assertIn("f32", info.dtypes)
        [model] = self.client.models()
        self.assertEqual((model.name, model.vocab_size, model.bos_token_id, model.end_token_ids, model.runner_count),
                         ("transition", 320, 0, (1,), 1))
        self.assertTrue(model.capabilities.tokenizer)
        self.assertEqual([self.client.is_serving(), self.client.is_serving("transition"), self.client.is_serving("other")],
                         [True, True, False])

    def test_another_model(self):
        with self.assertRaises(logitd.NotFoundError) as raised:
            self.client.score([("a", ["b"])], model="other")
        self.assertEqual(raised.exception.reason, "MODEL_NOT_FOUND")
        self.assertEqual(len(self.client.score([("a", ["b"])], model="transition")), 1)


@both
class DistributionTest(ServiceCase):
    ROW = [6.0, 3.0, 0.5, -math.inf]

    def test_a_row(self):
        found = self.client.distribution(self.ROW, temperature=0.5, explain=True)
        self.assertEqual((found.token_ids, found.kept_count, found.stages[-1].stage), ((0, 1, 2), 3, "temperature"))
        for share, wanted in zip(found.probabilities, softmax([12, 6, 1]), strict=True):
            self.assertAlmostEqual(share, wanted, delta=2e-7)
        self.assertEqual(self.client.distribution(self.ROW, top_k=1).token_ids, (0,))
        drawn = self.client.distribution(self.ROW, verify={"seed": 1, "sequence_key": 0, "position": 0, "token_id": 0})
        self.assertEqual(drawn.verification.matches, drawn.verification.token_id == 0)
        with self.assertRaises(logitd.InvalidRequestError) as raised:
            self.client.distribution([math.nan, 1])
        self.assertEqual((raised.exception.reason, raised.exception.token_id), ("NON_FINITE_LOGIT", 0))

    def test_options_that_are_wrong(self):
        for options, words in (({"temprature": 1}, "did you mean 'temperature'"), ({"verify": {"sed": 1}}, "sed"),
                               ({"prompt_token_ids": "a"}, "prompt_token_ids must be a list")):
            with self.assertRaisesRegex(TypeError, words):
                self.client.distribution(self.ROW, **options)

    @unittest.skipIf(numpy is None, "numpy is missing")
    def test_arrays(self):
        wanted = self.client.distribution(self.ROW).probabilities
        for dtype in ("<f4", ">f4", "f2"):
            row = numpy.array(self.ROW, dtype)
            self.assertEqual(self.client.distribution(row).probabilities, wanted)
            self.assertEqual(self.client.distribution(numpy.repeat(row, 2)[::2]).probabilities, wanted)
        with self.assertRaisesRegex(TypeError, "float64"):
            self.client.distribution(numpy.array(self.ROW))
        with self.assertRaisesRegex(ValueError, r"shape \(1, 4\)"):
            self.client.distribution(numpy.array([self.ROW], "f4"))


class RestartTest(unittest.TestCase):
    """A server that is killed again and again: every item is answered, in order, once."""

    ITEMS, KILLS = (10_000, 20) if IS_LONG else (2_000, 3)

    def test_nothing_is_lost_repeated_or_moved(self):
        with tempfile.TemporaryDirectory() as folder:
            address = f"unix:{pathlib.Path(folder) / 'logitd.sock'}"
            tables = transition.random_tables()
            servers = [harness.Server(listen=address)]
            runners = [transition.attach(servers[0])]
            reached = threading.Condition()
            count = [0]
            errors = []

            def kill() -> None:
                try:
                    for k in range(self.KILLS):
                        with reached:
                            reached.wait_for(lambda: count[0] >= (k + 1) * self.ITEMS // (self.KILLS + 2), 120)
                        servers[-1].kill()
                        runners[-1]._process.kill()
                        runners[-1]._process.communicate()
                        servers.append(harness.Server(listen=address))
                        runners.append(transition.attach(servers[-1]))
                except BaseException as error:
                    errors.append(error)

            thread = threading.Thread(target=kill)
            thread.start()
            found = []
            with logitd.Client(address) as client:
                items = (([5 + i % 300, i % 320], [[i % 7 + 2, i % 11], [i % 13]]) for i in range(self.ITEMS))
                for scored in client.score_each(items):
                    found.append(scored)
                    with reached:
                        count[0] = len(found)
                        reached.notify_all()
            thread.join()
            self.assertEqual(errors, [])
            runners[-1].stop()
            servers[-1].stop()
            self.assertEqual(len(servers), self.KILLS + 1)
            self.assertEqual([scored.item_index for scored in found], list(range(self.ITEMS)))
            for i, scored in enumerate(found):
                for ids, continuation in zip(([i % 7 + 2, i % 11], [i % 13]), scored.continuations, strict=True):
                    self.assertAlmostEqual(continuation.sum, tables.sum([i % 320], ids), delta=DELTA)


if __name__ == "__main__":
    unittest.main()
