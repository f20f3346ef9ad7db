"""The mock server: its numbers and shapes are those of a real server with the same model; what it cannot do it refuses;
failures come as ordered."""

import math
import random
import struct
import threading
import unittest

import grpc
import harness
from logitd import _failures, errors, mock, runner
from logitd.v1 import (completion_pb2, decoding_service_pb2, decoding_service_pb2_grpc, error_pb2, generation_service_pb2,
                       generation_service_pb2_grpc, logits_pb2, model_service_pb2, model_service_pb2_grpc, sampling_pb2,
                       scoring_service_pb2, scoring_service_pb2_grpc, server_service_pb2, server_service_pb2_grpc)
from runner_support import attached

WORDS = [" a", "ab", "b c", "the", " the", "é", "  ", "= ", " =", "==", "日本", "<|x|>"]
TOKENS = [runner.Token(b"<s>", "control"), runner.Token(b"</s>", "control"),
          *(runner.Token(bytes([byte])) for byte in range(256)), *(runner.Token(word.encode()) for word in WORDS)]
BOS, EOS, SIZE = 0, 1, len(TOKENS)


def tokenizer():
    return runner.VocabularyTokenizer(TOKENS)


class Same:
    """The mock's model behind a real server."""

    vocab_size = SIZE
    bos_token_id, eos_token_id, adds_bos = BOS, EOS, True
    context_length = 64

    def __init__(self):
        self.tokenizer = tokenizer()
        self._log_probs = mock.random_log_probs(SIZE, 7)

    def rows(self, tokens, wanted):
        return [self._log_probs(tokens[:i + 1]) for i in wanted]


class Calls:
    """Calls of either server."""

    def __init__(self, channel):
        scoring = scoring_service_pb2_grpc.ScoringServiceStub(channel)
        model = model_service_pb2_grpc.ModelServiceStub(channel)
        self.score, self.rank, self.decide = (self._items(call) for call in (scoring.Score, scoring.Rank, scoring.Decide))
        self.generate = lambda request: list(generation_service_pb2_grpc.GenerationServiceStub(channel).Generate(request, timeout=60))
        self.tokenize = lambda request: model.Tokenize(request, timeout=60)
        self.detokenize = lambda request: model.Detokenize(request, timeout=60)
        self.vocabulary = lambda request: list(model.GetVocabulary(request, timeout=60))
        self.models = lambda: model.ListModels(model_service_pb2.ListModelsRequest(), timeout=60).models
        self.info = lambda: server_service_pb2_grpc.ServerServiceStub(channel).GetServerInfo(
            server_service_pb2.GetServerInfoRequest(), timeout=60)
        self.decode = lambda requests: decoding_service_pb2_grpc.DecodingServiceStub(channel).Decode(requests, timeout=60)

    @staticmethod
    def _items(call):
        return lambda request: sorted(call(request, timeout=60), key=lambda response: response.item_index)


def failure(call, *arguments) -> errors.LogitdError:
    try:
        call(*arguments)
    except grpc.RpcError as failed:
        return errors.from_rpc_error(failed)
    raise AssertionError("it did not fail")


def text(value):
    return completion_pb2.Input(text=value)


def ids(*tokens):
    return completion_pb2.Input(tokens=sampling_pb2.TokenIds(token_ids=tokens))


def continuation(value, kind=scoring_service_pb2.Continuation, **fields):
    if isinstance(value, str):
        return kind(text=value, **fields)
    return kind(tokens=sampling_pb2.TokenIds(token_ids=value), **fields)


# Fields that differ by design.
IGNORED = ("provenance", "message", "model_log_sum_exp", "draw", "cached_token_count", "evaluated_token_count", "value", "bound",
           "model_compensation", "sampling_compensation")


class AgainstTheRealServer(unittest.TestCase):
    """Every reply is that of a real server, up to the rounding of its rows to float32."""

    @classmethod
    def setUpClass(cls):
        cls.server = harness.Server()
        cls.addClassCleanup(cls.server.stop)
        _, channel = cls.enterClassContext(attached(cls.server, Same(), "same"))
        cls.real = Calls(channel)
        one = cls.enterClassContext(mock.MockServer(mock.random_log_probs(SIZE, 7), tokenizer=tokenizer(), eos_token_id=EOS,
                                                    bos_token_id=BOS, adds_bos=True, context_length=64, name="same"))
        cls.mocked = Calls(cls.enterClassContext(grpc.insecure_channel(one.address)))

    if not hasattr(unittest.TestCase, "enterClassContext"):  # Python 3.10
        @classmethod
        def enterClassContext(cls, manager):
            value = manager.__enter__()
            cls.addClassCleanup(manager.__exit__, None, None, None)
            return value

    def same(self, got, want, at=""):
        """Recursively; numbers within 1e-5."""
        if hasattr(got, "ListFields"):
            fields = {f.name: v for f, v in got.ListFields() if f.name not in IGNORED}
            wanted = {f.name: v for f, v in want.ListFields() if f.name not in IGNORED}
            self.assertEqual(set(fields), set(wanted), f"{at}\n{got}\nreal:\n{want}")
            for name, value in fields.items():
                self.same(value, wanted[name], f"{at}.{name}")
        elif isinstance(got, float):
            self.assertAlmostEqual(got, want, delta=1e-5 * max(1, abs(want)), msg=at)
        elif isinstance(got, (str, bytes, int, bool)):
            self.assertEqual(got, want, at)
        else:
            self.assertEqual(len(got), len(want), f"{at}: {got} {want}")
            for i, (a, b) in enumerate(zip(got, want)):
                self.same(a, b, f"{at}[{i}]")

    def compare(self, call, request):
        request.evaluation.no_cache = True
        got, want = getattr(self.mocked, call)(request), getattr(self.real, call)(request)
        self.assertEqual(len(got), len(want))
        for a, b in zip(got, want):
            self.same(a, b)

    CONTEXTS = ("the =", "the = ", "x", "", "日", "the b", " \t")
    CONTINUATIONS = ("= b", " a", "本語", "b c", "\n", "", " ", "the the", "<|x|>", "</s>x", [5, 9], [], [BOS], [SIZE], [270, 3])

    def items(self, make):
        contexts = [*map(text, self.CONTEXTS), ids(4, 7, 20), ids(), ids(SIZE), completion_pb2.Input(),
                    completion_pb2.Input(segments=[
                        completion_pb2.InputSegment(text="<s>a", parse_special_tokens=True), completion_pb2.InputSegment(text=""),
                        completion_pb2.InputSegment(tokens=sampling_pb2.TokenIds(token_ids=[8])),
                        completion_pb2.InputSegment(text="<s>a")]), text("a" * 80)]
        for number, context in enumerate(contexts):
            if context.text in ("the = ", " \t") and make.uses_spaces:
                yield make(f"i{number}", context, [value for value in self.CONTINUATIONS if isinstance(value, str)])
            else:
                yield make(f"i{number}", context, self.CONTINUATIONS)

    def all_options(self):
        """Tokenization options; and whether ids may follow a text that ends with a space."""
        for boundary in (completion_pb2.BOUNDARY_JOINT, completion_pb2.BOUNDARY_SEPARATE, completion_pb2.BOUNDARY_LM_EVAL):
            for truncation in (0, completion_pb2.TRUNCATION_CONTEXT_LEFT):
                for parses, adds in ((False, None), (True, None), (True, False)):
                    yield completion_pb2.TokenizationOptions(boundary=boundary, truncation=truncation,
                                                             parse_special_tokens=parses, add_special_tokens=adds)

    def test_score(self):
        for options in self.all_options():
            def make(name, context, values):
                return scoring_service_pb2.ScoreItem(id=name, context=context, continuations=[
                    *(continuation(v) for v in values), scoring_service_pb2.Continuation()])
            make.uses_spaces = options.boundary == completion_pb2.BOUNDARY_LM_EVAL
            with self.subTest(str(options)):
                self.compare("score", scoring_service_pb2.ScoreRequest(model="same", items=self.items(make), tokenization=options))

    def test_records(self):
        for record in (completion_pb2.RecordOptions(rank=True, entropy=True, top_n=3, named_token_ids=[5, 1]),
                       completion_pb2.RecordOptions(token_bytes=False, top_n=2),
                       completion_pb2.RecordOptions(layout=completion_pb2.RECORD_LAYOUT_NONE)):
            self.compare("score", scoring_service_pb2.ScoreRequest(
                record=record, items=[scoring_service_pb2.ScoreItem(context=text("a"), continuations=[continuation(" the é")])]))
            self.compare("generate", generation_service_pb2.GenerateRequest(
                prompt=text("a"), sampling=sampling_pb2.SamplingParams(temperature=0), record=record, stream=False,
                stop=sampling_pb2.StopCriteria(max_tokens=5)))

    def test_counts(self):
        parts = [continuation(" é", uncounted_prefix_bytes=n) for n in (-1, 0, 1, 2, 3, 4)]
        parts += [continuation([2 + 0xC3], uncounted_prefix_bytes=1), continuation("ab", byte_count=7, character_count=3),
                  continuation("ab", byte_count=0), continuation([BOS]), continuation([2 + 0xC3, 2 + 0xA9])]
        self.compare("score", scoring_service_pb2.ScoreRequest(items=[scoring_service_pb2.ScoreItem(context=text("a"), continuations=parts)]))

    def test_rank(self):
        for order_by in (0, 1, 2, 3, 4):
            for options in (completion_pb2.TokenizationOptions(), completion_pb2.TokenizationOptions(boundary=2)):
                def make(name, context, values):
                    return scoring_service_pb2.RankItem(id=name, context=context, candidates=[
                        continuation(v, scoring_service_pb2.Candidate) for v in values])
                make.uses_spaces = False
                more = [scoring_service_pb2.RankItem(context=text("the"), candidates=[
                    continuation(v, scoring_service_pb2.Candidate) for v in ("a", "ab", "ab", "a b", "x")]),
                    scoring_service_pb2.RankItem(context=text("the"))]
                self.compare("rank", scoring_service_pb2.RankRequest(
                    model="same", items=[*self.items(make), *more], order_by=order_by, inverse_temperature=0.7, tokenization=options))

    def test_decide(self):
        option = lambda value, **fields: continuation(value, scoring_service_pb2.DecisionOption, **fields)
        level = lambda value, number: scoring_service_pb2.DecisionLevel(option=option(value), value=number)
        item = lambda **question: scoring_service_pb2.DecideItem(id="q", context=text("the"), **question)
        items = [item(predicate=scoring_service_pb2.PredicateQuestion(if_true=option(" a"), if_false=option("b", log_offset=-2))),
                 item(predicate=scoring_service_pb2.PredicateQuestion(if_true=option(" a"))),
                 item(choice=scoring_service_pb2.ChoiceQuestion(options=[option("x"), option("x"), option("ab"), option("a")])),
                 item(choice=scoring_service_pb2.ChoiceQuestion()), item(),
                 item(choice=scoring_service_pb2.ChoiceQuestion(options=[option("x"), option("")])),
                 item(score=scoring_service_pb2.ScoreQuestion(levels=[level("1", 1), level("2", 2), level([9, 10], -0.5)])),
                 item(score=scoring_service_pb2.ScoreQuestion(levels=[scoring_service_pb2.DecisionLevel(option=option("1"))]))]
        for temperature in (None, 0, 0.3):
            self.compare("decide", scoring_service_pb2.DecideRequest(items=items, temperature=temperature))

    def test_generate_greedy(self):
        for stream in (False, None):
            for stop in (sampling_pb2.StopCriteria(max_tokens=9), sampling_pb2.StopCriteria(max_tokens=0),
                         sampling_pb2.StopCriteria(max_tokens=200, ignore_eos=True), sampling_pb2.StopCriteria(stop_token_ids=range(40, 90))):
                for prompt in (text("the"), ids(7, 9), text("é=")):
                    request = generation_service_pb2.GenerateRequest(
                        prompt=prompt, sampling=sampling_pb2.SamplingParams(temperature=0), stop=stop, stream=stream, n=2)
                    request.evaluation.no_cache = True
                    got, want = self.mocked.generate(request), self.real.generate(request)
                    # Deltas of different completions may interleave otherwise.
                    key = lambda response: (response.WhichOneof("kind") != "started", response.WhichOneof("kind") == "final", response.delta.index)
                    for a, b in zip(sorted(got, key=key), sorted(want, key=key), strict=True):
                        self.same(a, b, str(stop))

    def test_a_drawn_token_has_the_real_servers_probability(self):
        sampling = sampling_pb2.SamplingParams(temperature=1.7, top_k=50, top_p=0.8, min_p=0.01, seed=3)
        request = generation_service_pb2.GenerateRequest(prompt=ids(7), sampling=sampling, n=8,
                                                         stop=sampling_pb2.StopCriteria(max_tokens=1, ignore_eos=True))
        log_probs = mock.random_log_probs(SIZE, 7)((7,))
        kept = decoding_service_pb2_grpc.DecodingServiceStub(self._channel()).ComputeDistribution(
            decoding_service_pb2.ComputeDistributionRequest(
                sampling=sampling, logits=logits_pb2.Logits(float_values=log_probs)), timeout=60)
        want = dict(zip(kept.token_ids, kept.sampling_log_probs))
        drawn = set()
        for completion in self.mocked.generate(request)[-1].final.completions:
            (token,) = completion.tokens
            drawn.add(token.token_id)
            self.assertAlmostEqual(token.sampling_log_prob, want[token.token_id], delta=1e-5)
            self.assertAlmostEqual(token.model_log_prob, log_probs[token.token_id], delta=1e-9)
        self.assertGreater(len(drawn), 1)
        self.assertEqual(self.mocked.generate(request)[-1], self.mocked.generate(request)[-1])

    def _channel(self):
        channel = grpc.insecure_channel(self.server.address)
        self.addCleanup(channel.close)
        return channel

    def test_texts(self):
        for options in self.all_options():
            request = model_service_pb2.TokenizeRequest(texts=["the = é", "", "<s>x</s>", "日本"], tokenization=options, token_bytes=True)
            request.tokenization.ClearField("boundary")
            request.tokenization.ClearField("truncation")
            got, want = self.mocked.tokenize(request), self.real.tokenize(request)
            self.same(got, want)
        for render in (False, True):
            request = model_service_pb2.DetokenizeRequest(tokens=[sampling_pb2.TokenIds(token_ids=t) for t in ([0, 99, 263, 1], [2 + 0xC3], [])],
                                                          render_special_tokens=render)
            self.same(self.mocked.detokenize(request), self.real.detokenize(request))
        got = [t for m in self.mocked.vocabulary(model_service_pb2.GetVocabularyRequest()) for t in m.tokens]
        want = [t for m in self.real.vocabulary(model_service_pb2.GetVocabularyRequest()) for t in m.tokens]
        self.assertEqual(got, want)

    def test_models_and_limits(self):
        (got,), (want,) = self.mocked.models(), self.real.models()
        for name in ("name", "vocab_size", "vocab_fingerprint", "eos_token_id", "bos_token_id", "adds_bos", "context_length"):
            self.assertEqual(getattr(got.model, name), getattr(want.model, name), name)
        mocked, real = self.mocked.info().limits, self.real.info().limits
        self.assertEqual([], [(f.name, v, getattr(real, f.name)) for f, v in mocked.ListFields() if v != getattr(real, f.name)])

    def test_errors_of_a_whole_call(self):
        score = lambda **fields: scoring_service_pb2.ScoreRequest(**fields)
        one = [scoring_service_pb2.ScoreItem(context=ids(1), continuations=[continuation([1])])]
        cases = [("score", score(model="other", items=one)), ("score", score()),
                 ("score", score(items=one, record=completion_pb2.RecordOptions(named_token_ids=[SIZE]))),
                 ("rank", scoring_service_pb2.RankRequest()), ("decide", scoring_service_pb2.DecideRequest(temperature=-1)),
                 ("generate", generation_service_pb2.GenerateRequest(prompt=text(""))),
                 ("generate", generation_service_pb2.GenerateRequest(prompt=ids())),
                 ("generate", generation_service_pb2.GenerateRequest(prompt=ids(SIZE))),
                 ("generate", generation_service_pb2.GenerateRequest(prompt=ids(*[1] * 65))),
                 ("generate", generation_service_pb2.GenerateRequest(prompt=ids(1), n=0)),
                 ("generate", generation_service_pb2.GenerateRequest(prompt=ids(1), sampling=sampling_pb2.SamplingParams(top_p=2))),
                 ("detokenize", model_service_pb2.DetokenizeRequest(tokens=[sampling_pb2.TokenIds(token_ids=[SIZE])]))]
        for name, request in cases:
            got, want = failure(getattr(self.mocked, name), request), failure(getattr(self.real, name), request)
            self.assertEqual((got.code, got.reason, got.field), (want.code, want.reason, want.field), (name, got, want))

    def test_decode(self):
        """Greedy and given tokens, sums, ends, resume and the latest step again."""
        numbers = random.Random(5)
        width = 11
        rows = [struct.pack(f"<{width}f", *(numbers.gauss(0, 2) for _ in range(width))) for _ in range(12)]
        config = decoding_service_pb2.DecodeConfig(
            vocab_size=width, end_token_ids=[3], sampling=sampling_pb2.SamplingParams(temperature=0, seed=4),
            stop=sampling_pb2.StopCriteria(max_tokens=4), record=completion_pb2.RecordOptions(rank=True, top_n=2))
        fresh = decoding_service_pb2.SequenceStart
        state = completion_pb2.SequenceState(token_count=2, resume_state=completion_pb2.ResumeState(model_sum=-3.5, sampling_sum=-1))
        batches = [
            ([(5, None), (6, fresh(state=state)), (5, None), (0, None)], [], [(5, 0, {}), (6, 2, {}), (9, 0, {})]),
            ([], [77], [(5, 1, {"given_token_id": 7}), (6, 3, {})]),
            ([], [], [(5, 1, {"given_token_id": 7}), (6, 4, {})]),
            ([(6, fresh(state=completion_pb2.SequenceState(token_count=1)))], [], [(5, 2, {}), (6, 1, {})]),
            ([], [6], [(5, 4, {})]), ([], [], [(5, 3, {})])]
        requests = [decoding_service_pb2.DecodeRequest(config=config)]
        for number, (opens, closes, steps) in enumerate(batches, 1):
            used = [rows[(step[0] + step[1]) % 12] for step in steps]
            requests.append(decoding_service_pb2.DecodeRequest(batch=decoding_service_pb2.StepBatch(
                batch_id=number, close_sequence_ids=closes,
                opens=[decoding_service_pb2.OpenSequence(sequence_id=i, fresh=f) for i, f in opens],
                blocks=[logits_pb2.LogitsBlock(dtype=1, row_count=len(used), width=width)],
                steps=[decoding_service_pb2.SequenceStep(sequence_id=i, position=p, **more) for i, p, more in steps]),
                payload=b"".join(used)))
        got, want = list(self.mocked.decode(iter(requests))), list(self.real.decode(iter(requests)))
        self.assertEqual(len(got), len(want))
        for a, b in zip(got, want):
            self.same(a, b)


class Given(unittest.TestCase):
    """Log-probs as they are given."""

    def score(self, server, context, *continuations):
        with grpc.insecure_channel(server.address) as channel:
            (response,) = Calls(channel).score(scoring_service_pb2.ScoreRequest(items=[
                scoring_service_pb2.ScoreItem(context=context, continuations=[continuation(c) for c in continuations])]))
        return [c.score.totals.cumulative_model_log_prob for c in response.item.continuations]

    def test_a_table_of_texts(self):
        words = runner.VocabularyTokenizer(["1 + 1 =", " 2", " 3", "."])
        table = {"1 + 1 =": {" 2": math.log(0.9), " 3": math.log(0.1)}, " 2": {3: 0.0}, (): [math.log(0.25)] * 4}
        with mock.MockServer(table, tokenizer=words) as server:
            self.assertEqual(self.score(server, text("1 + 1 ="), " 2", " 3", " 2.", " 3."),
                             [math.log(0.9), math.log(0.1), math.log(0.9), math.fsum([math.log(0.1), math.log(0.25)])])

    def test_a_function_of_all_tokens(self):
        def log_probs(tokens):
            return mock.log_softmax([float(len(tokens)), 0.0, -math.inf])

        with mock.MockServer(log_probs, tokenizer=None, vocab_size=3) as server:
            sums = self.score(server, ids(0, 0), (0, 1), (1,))
            self.assertEqual(sums[1], -math.log(math.exp(2) + 1) if False else mock.log_softmax([2.0, 0.0, -math.inf])[1])
            self.assertEqual(sums[0], math.fsum([mock.log_softmax([2.0, 0.0])[0], mock.log_softmax([3.0, 0.0])[1]]))

    def test_tables_that_do_not_fit(self):
        for table, words in (({(): [0.0, 0.0]}, r"the probabilities are 2 altogether.*log_softmax"),
                             ({(): [0.0]}, "has 1 log-probs; it must have 2"), ({9: [0.0, -math.inf]}, r"token 9 is not in \[0, 2\)"),
                             ({(): {5: 0.0}}, "token 5 is not in"), ({"x": [0.0, -math.inf]}, "needs a tokenizer"),
                             ({(): [3.0, -1.0]}, "altogether"), ({(): [math.nan, 0.0]}, "altogether")):
            with self.assertRaisesRegex(ValueError, words):
                mock.MockServer(table, tokenizer=None, vocab_size=2)
        with self.assertRaisesRegex(ValueError, "'ab' is 2 tokens, and must be one"):
            mock.MockServer({"a": {"ab": 0.0}})
        with self.assertRaisesRegex(TypeError, "needs vocab_size"):
            mock.MockServer(tokenizer=None)
        with self.assertRaisesRegex(ValueError, "max_nothing"):
            mock.MockServer(limits={"max_nothing": 1})
        with self.assertRaisesRegex(ValueError, "eos_token_id is 300"):
            mock.MockServer(eos_token_id=300)

    def test_wrong_log_probs_of_a_function_end_the_call(self):
        with mock.MockServer(lambda tokens: [0.0, 0.0], tokenizer=None, vocab_size=2) as server, \
                grpc.insecure_channel(server.address) as channel:
            error = failure(Calls(channel).score, scoring_service_pb2.ScoreRequest(items=[
                scoring_service_pb2.ScoreItem(context=ids(0), continuations=[continuation([1])])]))
            self.assertEqual(error.reason, "MODEL_OUTPUT_INVALID")
            self.assertIn("2 altogether", error.message)
        with mock.MockServer({0: [0.0, -math.inf]}, tokenizer=None, vocab_size=2) as server, \
                grpc.insecure_channel(server.address) as channel:
            error = failure(Calls(channel).generate, generation_service_pb2.GenerateRequest(prompt=ids(1)))
            self.assertIn("no context with which the tokens [1] end", error.message)

    def test_without_a_tokenizer(self):
        with mock.MockServer(tokenizer=None, vocab_size=5) as server, grpc.insecure_channel(server.address) as channel:
            calls = Calls(channel)
            self.assertEqual(failure(calls.tokenize, model_service_pb2.TokenizeRequest(texts=["a"])).reason, "TOKENIZER_UNAVAILABLE")
            self.assertEqual(failure(calls.vocabulary, model_service_pb2.GetVocabularyRequest()).reason, "VOCABULARY_UNAVAILABLE")
            error = failure(calls.score, scoring_service_pb2.ScoreRequest(items=[
                scoring_service_pb2.ScoreItem(context=text("a"), continuations=[continuation("b")])]))
            self.assertEqual(error.reason, "TOKENIZER_UNAVAILABLE")
            final = calls.generate(generation_service_pb2.GenerateRequest(prompt=ids(1), stop=sampling_pb2.StopCriteria(max_tokens=3)))[-1].final
            self.assertEqual(final.completions[0].totals.token_count, 3)


class Refused(unittest.TestCase):
    def test_what_it_cannot_do_is_named(self):
        item = scoring_service_pb2.ScoreItem(context=ids(1), continuations=[continuation([1])])
        generate = generation_service_pb2.GenerateRequest
        sampling = sampling_pb2.SamplingParams
        candidate = scoring_service_pb2.Candidate
        cases = [
            ("score", scoring_service_pb2.ScoreRequest(items=[item], sampling=sampling()), "ScoreRequest.sampling"),
            ("score", scoring_service_pb2.ScoreRequest(items=[scoring_service_pb2.ScoreItem(
                rolling=scoring_service_pb2.RollingText(input=ids(1)))]), "ScoreItem.rolling"),
            ("score", scoring_service_pb2.ScoreRequest(items=[item], numerics_version=1), "numerics_version"),
            ("score", scoring_service_pb2.ScoreRequest(items=[item], record=completion_pb2.RecordOptions(packed_top=True)), "packed_top"),
            ("score", scoring_service_pb2.ScoreRequest(items=[item], record=completion_pb2.RecordOptions(sampling_log_prob=True)),
             "sampling_log_prob"),
            ("score", scoring_service_pb2.ScoreRequest(items=[item], record=completion_pb2.RecordOptions(model_log_prob=False)),
             "model_log_prob"),
            ("rank", scoring_service_pb2.RankRequest(items=[scoring_service_pb2.RankItem(candidates=[
                candidate(sums=scoring_service_pb2.CandidateSums(token_count=1))])]), "Candidate.sums"),
            ("rank", scoring_service_pb2.RankRequest(items=[scoring_service_pb2.RankItem()], winner_only=True), "winner_only"),
            ("rank", scoring_service_pb2.RankRequest(items=[scoring_service_pb2.RankItem()], order_by=6), "NORMALIZATION_PMI"),
            ("rank", scoring_service_pb2.RankRequest(items=[scoring_service_pb2.RankItem(given_order=[0])]), "RankItem.given_order"),
            ("generate", generate(prompt=ids(1), best_of=2), "GenerateRequest.best_of"),
            ("generate", generate(prompt=ids(1), sampling=sampling(typical_p=0.5)), "SamplingParams.typical_p"),
            ("generate", generate(prompt=ids(1), stop=sampling_pb2.StopCriteria(stop_strings=["x"])), "StopCriteria.stop_strings"),
            ("generate", generate(prompt=ids(1), prompt_record=completion_pb2.RecordOptions()), "prompt_record")]
        with mock.MockServer() as server, grpc.insecure_channel(server.address) as channel:
            for name, request, words in cases:
                error = failure(getattr(Calls(channel), name), request)
                self.assertEqual(error.code, grpc.StatusCode.UNIMPLEMENTED)
                self.assertIn(words, error.message)
            self.assertIn("typical_p", failure(Calls(channel).generate, cases[-3][1]).field)
            error = failure(decoding_service_pb2_grpc.DecodingServiceStub(channel).ComputeDistribution,
                            decoding_service_pb2.ComputeDistributionRequest())
            self.assertIn("the method ComputeDistribution", error.message)
            error = failure(lambda: list(Calls(channel).decode(iter([decoding_service_pb2.DecodeRequest(
                config=decoding_service_pb2.DecodeConfig(vocab_size=3, sampling=sampling(repetition_penalty=2)))]))))
            self.assertIn("repetition_penalty", error.message)


class Ordered(unittest.TestCase):
    """Failures as a test orders them."""

    def setUp(self):
        self.server = mock.MockServer(limits={"max_items": 3}).start()
        self.addCleanup(self.server.stop)
        channel = grpc.insecure_channel(self.server.address)
        self.addCleanup(channel.close)
        self.calls = Calls(channel)
        self.channel = channel

    def request(self, count=2):
        return scoring_service_pb2.ScoreRequest(items=[scoring_service_pb2.ScoreItem(
            id=f"q{i}", context=text("a"), continuations=[continuation("b")]) for i in range(count)])

    def test_overload(self):
        self.server.overload(times=2, retry_after_s=0.25)
        for _ in range(2):
            error = failure(self.calls.score, self.request())
            self.assertIsInstance(error, errors.LimitError)
            self.assertEqual((error.reason, error.retry_after_s, error.limit), ("OVERLOADED", 0.25, "max_calls"))
        self.assertEqual(len(self.calls.score(self.request())), 2)
        self.assertEqual(len(self.server.requests), 1)

    def test_unavailable_in_the_middle(self):
        self.server.be_unavailable(after_responses=1)
        answers = scoring_service_pb2_grpc.ScoringServiceStub(self.channel).Score(self.request(), timeout=60)
        self.assertEqual(next(answers).id, "q0")
        self.assertEqual(failure(next, answers).reason, "DRAINING")
        self.assertEqual(len(self.calls.score(self.request())), 2)

    def test_a_call_that_is_answered_whole_and_fails_then(self):
        self.server.be_unavailable(after_responses=2)
        answers = scoring_service_pb2_grpc.ScoringServiceStub(self.channel).Score(self.request(), timeout=60)
        self.assertEqual([next(answers).id, next(answers).id], ["q0", "q1"])
        self.assertEqual(failure(next, answers).code, grpc.StatusCode.UNAVAILABLE)

    def test_methods(self):
        self.server.fail("MODEL_UNAVAILABLE", methods="Generate", times=9)
        self.assertEqual(len(self.calls.score(self.request())), 2)
        self.calls.info()
        self.assertEqual(failure(self.calls.generate, generation_service_pb2.GenerateRequest(prompt=text("a"))).reason, "MODEL_UNAVAILABLE")
        self.server.clear()
        self.calls.generate(generation_service_pb2.GenerateRequest(prompt=text("a")))
        self.server.fail("INTERNAL", "boom")
        self.calls.models()
        self.assertEqual(failure(self.calls.score, self.request()).message, "boom")
        self.server.fail("INTERNAL", methods="ListModels")
        self.assertEqual(failure(self.calls.models).reason, "INTERNAL")
        with self.assertRaisesRegex(ValueError, "Skore"):
            self.server.fail("INTERNAL", methods=("Skore",))
        with self.assertRaisesRegex(ValueError, "NO_SUCH"):
            self.server.fail("NO_SUCH")

    def test_an_item(self):
        for reason in ("CONTEXT_LENGTH_EXCEEDED", "INTERNAL", "MODEL_OUTPUT_INVALID"):
            self.server.fail_item("q1", reason, "no")
            answers = self.calls.score(self.request(3))
            self.assertEqual([a.item.HasField("error") for a in answers], [False, True, False])
            error = errors.from_proto(answers[1].item.error)
            self.assertEqual((error.reason, error.message, answers[1].id), (reason, "no", "q1"))

    def test_limits(self):
        error = failure(self.calls.score, self.request(4))
        self.assertEqual((error.reason, error.limit, error.field), ("LIMIT_EXCEEDED", "max_items", "items"))
        self.assertEqual(self.calls.info().limits.max_items, 3)

    def test_health(self):
        check = self.channel.unary_unary("/grpc.health.v1.Health/Check")
        self.assertEqual([check(b"", timeout=9), check(b"\x0a\x0amodel/mock", timeout=9), check(b"\x0a\x01x", timeout=9)],
                         [b"\x08\x01", b"\x08\x01", b"\x08\x03"])
        self.server.set_serving(False)
        self.assertEqual(check(b"", timeout=9), b"\x08\x02")

    def test_several_threads(self):
        want = self.calls.score(self.request())
        got = []
        threads = [threading.Thread(target=lambda: got.append(self.calls.score(self.request()))) for _ in range(12)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual(got, [want] * 12)


class Reasons(unittest.TestCase):
    def test_codes_are_those_of_the_proto(self):
        """Each value's comment names its code in brackets."""
        source = (harness.ROOT / "proto/logitd/v1/error.proto").read_text(encoding="utf-8")
        comment = ""
        found = {}
        for line in source[source.index("enum ErrorReason"):].splitlines():
            if line.strip().startswith("//"):
                comment += line
            elif "ERROR_REASON_" in line:
                if "[" in comment:
                    found[line.split("=")[0].strip().removeprefix("ERROR_REASON_")] = comment.partition("[")[2].partition("]")[0]
                comment = ""
        self.assertEqual({name: code.name for name, code in _failures.CODES.items()}, found)
        for name in _failures.CODES:
            error = _failures.failure(name, "m", field="f", value="v", bound="b", limit="l", token_id=3, row=4, retry_after_s=0.5)
            self.assertEqual(vars(errors.from_proto(_failures.to_proto(error))), vars(error))
        self.assertIn("ERROR_REASON_INTERNAL", error_pb2.ErrorReason.keys())


if __name__ == "__main__":
    unittest.main()
