"""The gain of evaluating once what items and calls share, against one pair at a time with the cache off.

    scripts/build --all
    PYTHONPATH=build/release/tests/e2e/stubs:tests/e2e python3 tests/bench/prefix_sharing.py [--items N] [--rounds N]

Both interleaved in one run, medians, on the default model in f32. The pairs go to a server of their own, whose cache stays
empty: a full one makes every token dearer. Items are multiple choice: a context of 60 tokens, and
four candidates of 6 to 10. The scores must agree before a time is printed. The bound is the ratio of the tokens that the
model evaluates. Then: a thousand candidates of one token against one, and 40 items with one context of 900 tokens in 40
calls by 4 clients against one such item. And 20 items reproducibly, which share nothing, against one pair at a time.
"""

import argparse
import concurrent.futures
import itertools
import random
import statistics
import sys
import time

import harness
import wire
from logitd.v1 import completion_pb2, sampling_pb2, scoring_service_pb2

CONTEXT_TOKENS = 60
CANDIDATE_TOKENS = (6, 8, 9, 10)
TOLERANCE = 1e-4
NO_CACHE = completion_pb2.EvaluationOptions(no_cache=True)
REPRODUCIBLE = completion_pb2.EvaluationOptions(reproducible=True)
salts = itertools.count()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--items", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    servers = [harness.Server(model=harness.model_path(), flags=("--precision", "f32")) for _ in range(2)]
    try:
        with wire.connect(servers[0].address) as client, wire.connect(servers[1].address) as empty:
            compare_items(client, empty, arguments.items, arguments.rounds)
            compare_candidates(client, arguments.rounds)
            compare_calls(servers[0], client, arguments.rounds)
            compare_reproducible(client, empty, arguments.rounds)
    finally:
        for server in servers:
            server.stop()
    return 0


def fresh() -> completion_pb2.EvaluationOptions:
    """A tenant that nobody has used."""
    return completion_pb2.EvaluationOptions(cache_salt=f"round {next(salts)}")


def ids(tokens) -> sampling_pb2.TokenIds:
    return sampling_pb2.TokenIds(token_ids=tokens)


def item(context, candidates) -> scoring_service_pb2.ScoreItem:
    return scoring_service_pb2.ScoreItem(
        context=completion_pb2.Input(tokens=ids(context)),
        continuations=[scoring_service_pb2.Continuation(tokens=ids(candidate)) for candidate in candidates])


def score(client, items, options) -> tuple[list[list[float]], int]:
    replies = client.scoring.Score(scoring_service_pb2.ScoreRequest(
        items=[item(*i) for i in items], evaluation=options,
        record=completion_pb2.RecordOptions(layout=completion_pb2.RECORD_LAYOUT_NONE)), timeout=wire.TIMEOUT_S * 60)
    replies = sorted(replies, key=lambda reply: reply.item_index)
    return ([[c.score.totals.cumulative_model_log_prob for c in reply.item.continuations] for reply in replies],
            sum(reply.usage.evaluated_token_count for reply in replies))


def timed(function):
    start = time.perf_counter()
    result = function()
    return time.perf_counter() - start, result


def made_up(count: int, seed: int) -> list[int]:
    return random.Random(seed).choices(range(100, 40_000), k=count)


def trie_size(items) -> int:
    return sum(len({tuple((context + c[:-1])[:i + 1]) for c in candidates for i in range(len(context) + len(c) - 1)})
               for context, candidates in items)


def check(ok: bool, message: str) -> None:
    if not ok:
        print(message, file=sys.stderr)
        sys.exit(1)


def made_up_items(count: int):
    return [(made_up(CONTEXT_TOKENS, 10 * i), [made_up(n, 10 * i + k + 1) for k, n in enumerate(CANDIDATE_TOKENS)])
            for i in range(count)]


def one_by_one(client, items):
    """For each candidate its sum and the tokens that were evaluated for it."""
    return [[score(client, [(context, [c])], NO_CACHE) for c in candidates] for context, candidates in items]


def compare_items(client, empty, count: int, rounds: int) -> None:
    items = made_up_items(count)
    together, apart = [], []
    for _ in range(rounds):
        seconds, (at_once, evaluated) = timed(lambda: score(client, items, fresh()))
        together.append(seconds)
        check(evaluated == trie_size(items), f"evaluated {evaluated} tokens instead of {trie_size(items)}")
        seconds, pairs = timed(lambda: one_by_one(empty, items))
        apart.append(seconds)
        pair_tokens = sum(tokens for row in pairs for _, tokens in row)
        for row, other in zip(at_once, pairs):
            for a, (b, _), length in zip(row, other, CANDIDATE_TOKENS):
                check(abs(a - b[0][0]) <= length * TOLERANCE, f"the scores differ: {a} together, {b} alone")
    bound = pair_tokens / evaluated
    ratio = statistics.median(apart) / statistics.median(together)
    print(f"{count} items: together {statistics.median(together):.2f} s, one pair at a time without the cache "
          f"{statistics.median(apart):.2f} s (medians of {rounds}): {ratio:.2f} times as fast; tokens evaluated "
          f"{evaluated} and {pair_tokens}: {bound:.2f}; {ratio / bound:.2f} of the bound (>= 0.85)")


def compare_reproducible(client, empty, rounds: int) -> None:
    items = made_up_items(20)
    alone, apart, bits = [], [], None
    for _ in range(rounds):
        seconds, (sums, tokens) = timed(lambda: score(client, items, REPRODUCIBLE))
        alone.append(seconds)
        check(bits is None or bits == sums, "reproducible scores differ between two rounds")
        bits = sums
        seconds, pairs = timed(lambda: one_by_one(empty, items))
        apart.append(seconds)
        for row, other in zip(sums, pairs):
            for a, (b, _), length in zip(row, other, CANDIDATE_TOKENS):
                check(abs(a - b[0][0]) <= length * TOLERANCE, f"the scores differ: {a} reproducibly, {b} apart")
    print(f"20 items reproducibly: {statistics.median(alone):.2f} s, one pair at a time without the cache "
          f"{statistics.median(apart):.2f} s: {statistics.median(alone) / statistics.median(apart):.2f} times as long, "
          f"{tokens} tokens evaluated")


def compare_candidates(client, rounds: int) -> None:
    context = made_up(CONTEXT_TOKENS, 1)
    one, many = [], []
    for _ in range(2 * rounds):
        one.append(timed(lambda: score(client, [(context, [[5000]])], fresh()))[0])
        many.append(timed(lambda: score(client, [(context, [[5000 + i] for i in range(1024)])], fresh()))[0])
    ratio = statistics.median(many) / statistics.median(one)
    print(f"1,024 candidates of one token: {1e3 * statistics.median(many):.0f} ms, one {1e3 * statistics.median(one):.0f} "
          f"ms: {ratio:.2f} times (<= 2)")


def compare_calls(server, client, rounds: int) -> None:
    context = made_up(900, 2)
    candidates = [made_up(8, 100 + i) for i in range(40)]
    one, many = [], []
    for _ in range(rounds):
        one.append(timed(lambda: score(client, [(context, [candidates[0]])], fresh()))[0])
        tenant = fresh()

        def calls(first: int):
            with wire.connect(server.address) as own:
                return sum(score(own, [(context, [c])], tenant)[1] for c in candidates[first::4])

        with concurrent.futures.ThreadPoolExecutor(4) as pool:
            seconds, evaluated = timed(lambda: sum(pool.map(calls, range(4))))
        many.append(seconds)
        # Each has the context's last token again, and 7 tokens of its own.
        check(evaluated <= 900 + 40 * 8, f"evaluated {evaluated} tokens instead of {900 + 40 * 8}")
    own = statistics.median(one) / 907 * 40 * 8
    print(f"40 items with one context of 900 tokens, in 40 calls by 4 clients: {statistics.median(many):.2f} s, one item "
          f"{statistics.median(one):.2f} s, the continuations' own tokens {own:.2f} s: "
          f"{(statistics.median(many) - own) / statistics.median(one):.2f} times (<= 2), {evaluated} tokens evaluated")


if __name__ == "__main__":
    sys.exit(main())
