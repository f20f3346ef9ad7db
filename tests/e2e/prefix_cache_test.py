"""What items, calls and clients share is evaluated once, tenants share nothing, and no number depends on it."""

import concurrent.futures
import unittest

import grpc

import harness
import wire
from logitd.v1 import completion_pb2, generation_service_pb2, sampling_pb2, scoring_service_pb2

# f32 keeps log-probs within 1e-4 nats for each token, whatever was cached.
TOLERANCE = 1e-4
TEXT = ("The harbour was quiet that morning, and the fishermen who had been out all night were mending their nets. "
        "Nobody spoke of the storm, although everybody had seen the sky turn green over the lighthouse. ")
server = None


def setUpModule():
    global server
    server = harness.Server(model=harness.model_path())


def tearDownModule():
    server.stop()


def item(context, candidates):
    return scoring_service_pb2.ScoreItem(
        context=completion_pb2.Input(tokens=sampling_pb2.TokenIds(token_ids=context)),
        continuations=[scoring_service_pb2.Continuation(tokens=sampling_pb2.TokenIds(token_ids=c)) for c in candidates])


def trie_size(items):
    """The number of tokens that must be fed: the nodes of the items' trie that have a child."""
    nodes = set()
    for context, candidates in items:
        for candidate in candidates:
            fed = tuple(context + candidate[:-1])
            nodes.update(fed[:i + 1] for i in range(len(fed)))
    return len(nodes)


class PrefixCacheTest(unittest.TestCase):
    salt = 0

    def setUp(self):
        # A tenant of its own for every test.
        PrefixCacheTest.salt += 1
        self.options = completion_pb2.EvaluationOptions(cache_salt=f"test {self.salt}")
        self.client = self.enterContext(wire.connect(server.address))
        self.tokens = self.client.tokenize(TEXT * 20)

    def score(self, items, options=None, **fields):
        replies = self.client.scoring.Score(scoring_service_pb2.ScoreRequest(
            items=[item(*i) for i in items], evaluation=options or self.options, **fields), timeout=wire.TIMEOUT_S)
        return sorted(replies, key=lambda reply: reply.item_index)

    @staticmethod
    def evaluated(replies):
        return sum(reply.usage.evaluated_token_count for reply in replies)

    @staticmethod
    def sums(replies):
        return [c.score.totals.cumulative_model_log_prob for reply in replies for c in reply.item.continuations]

    def expect_equal_scores(self, a, b, tokens):
        for x, y in zip(self.sums(a), self.sums(b), strict=True):
            self.assertAlmostEqual(x, y, delta=tokens * TOLERANCE)

    def items(self, count, context_length=30):
        # Contexts of different beginnings, whose candidates share some of theirs.
        items = []
        for i in range(count):
            context = self.tokens[7 * i + 3:7 * i + 3 + context_length]
            start = 5 * i
            items.append((context, [self.tokens[start:start + 6], self.tokens[start:start + 3] + self.tokens[90:93],
                                    self.tokens[start + 1:start + 5], self.tokens[start + 2:start + 3]]))
        return items

    def test_items_are_evaluated_once_and_never_again(self):
        items = self.items(8)
        first = self.score(items)
        self.assertEqual(self.evaluated(first), sum(trie_size([i]) for i in items))
        self.assertEqual([r.usage.cached_token_count for r in first], [0] * 8)
        again = self.score(items)
        self.assertEqual(self.evaluated(again), 0)
        self.assertEqual(self.sums(again), self.sums(first))
        for reply, before in zip(again, first):
            self.assertEqual(reply.usage.cached_token_count, before.usage.evaluated_token_count)
        # A new candidate costs its own tokens.
        more = [(context, candidates + [[5000, 5001, 5002, 5003]]) for context, candidates in items]
        self.assertEqual([r.usage.evaluated_token_count for r in self.score(more)], [4] * 8)
        # Nothing of it is seen without the cache.
        fresh = self.score(items, completion_pb2.EvaluationOptions(no_cache=True))
        self.assertEqual(self.evaluated(fresh), self.evaluated(first))
        self.expect_equal_scores(fresh, first, 6)

    def test_a_thousand_candidates_of_one_token_cost_one_context(self):
        context = self.tokens[:50]
        ids = list(range(100, 1100))
        (reply,) = self.score([(context, [[i] for i in ids])])
        self.assertEqual(reply.usage.evaluated_token_count, 50)
        (one,) = self.score([(context, [[ids[500]]])], completion_pb2.EvaluationOptions(no_cache=True))
        self.assertAlmostEqual(self.sums([reply])[500], self.sums([one])[0], delta=TOLERANCE)

    def test_calls_at_once_evaluate_their_context_once(self):
        context = self.tokens[:300]
        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            replies = [reply for (reply,) in pool.map(
                lambda i: self.score([(context, [[200 + i, 300 + i, 400 + i]])]), range(8))]
        # Each has the context's last token again, for the row of its own first token, and two tokens of its own.
        self.assertLessEqual(self.evaluated(replies), 300 + 8 * 3)

    def test_tenants_tell_each_other_nothing(self):
        items = self.items(2)
        needed = sum(trie_size([i]) for i in items)
        other = completion_pb2.EvaluationOptions(cache_salt="another tenant")
        self.assertEqual(self.evaluated(self.score(items)), needed)
        self.assertEqual(self.evaluated(self.score(items, other)), needed)
        prompt = self.tokens[:80]
        for options, cached in ((self.options, 0), (self.options, 79), (other, 0)):
            self.assertEqual(self.generate(prompt, options).usage.cached_token_count, cached)

    def generate(self, prompt, options, **fields):
        *_, last = self.client.generation.Generate(generation_service_pb2.GenerateRequest(
            prompt=completion_pb2.Input(tokens=sampling_pb2.TokenIds(token_ids=prompt)), evaluation=options,
            sampling=sampling_pb2.SamplingParams(temperature=0.7, seed=5),
            stop=sampling_pb2.StopCriteria(max_tokens=6, ignore_eos=True), **fields), timeout=wire.TIMEOUT_S)
        return last.final

    def test_a_conversation_goes_on_from_its_last_turn(self):
        prompt = self.tokens[:80]
        first = self.generate(prompt, self.options)
        reply = [t.token_id for t in first.completions[0].tokens]
        second = self.generate(prompt + reply + self.tokens[120:130], self.options)
        # The last token of the reply was never fed.
        self.assertEqual(second.usage.cached_token_count, 80 + 5)
        fresh = self.generate(prompt + reply + self.tokens[120:130], completion_pb2.EvaluationOptions(no_cache=True))
        self.assertEqual(fresh.usage.cached_token_count, 0)
        self.assertEqual([t.token_id for t in fresh.completions[0].tokens],
                         [t.token_id for t in second.completions[0].tokens])

    def test_a_prompts_log_probs_and_the_cache_work_together(self):
        prompt = self.tokens[:60]
        record = completion_pb2.RecordOptions(rank=True, top_n=2)
        first = self.generate(prompt, self.options, prompt_record=record)
        again = self.generate(prompt, self.options, prompt_record=record)
        self.assertEqual(first.usage.evaluated_token_count, 60 + 5)
        self.assertEqual(again.usage.evaluated_token_count, 1 + 5)
        self.assertEqual(again.usage.cached_token_count, 59)
        self.assertEqual(again.prompt, first.prompt)

    def test_what_was_evicted_is_evaluated_again(self):
        small = harness.Server(model=harness.model_path(),
                               flags=("--context-length", "128", "--cache-tokens", "256", "--record-cache-bytes", "0"))
        try:
            with wire.connect(small.address) as client:
                self.client = client
                a, b = (self.tokens[:100], [self.tokens[100:104]]), (self.tokens[40:140], [self.tokens[:4]])
                self.assertEqual(self.evaluated(self.score([a])), 103)
                # The row of the first token of the candidate is needed again, and the rows after it.
                self.assertEqual(self.evaluated(self.score([a])), 4)
                self.assertEqual(self.evaluated(self.score([b])), 103)
                self.assertEqual(self.evaluated(self.score([a])), 103)
        finally:
            small.stop()

    def test_a_salt_that_is_too_long_is_refused(self):
        with self.assertRaises(grpc.RpcError) as failure:
            self.score(self.items(1), completion_pb2.EvaluationOptions(cache_salt="x" * 129))
        self.assertIn("cache_salt", str(failure.exception))


if __name__ == "__main__":
    unittest.main()
