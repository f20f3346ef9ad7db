"""The gain of evaluating a shared context once: four candidates at once against one pair at a time, same precision.

    scripts/build && python3 tests/bench/prefix_sharing.py

Interleaved in one run, medians, on the default model in f32 with one thread. The two must agree before a time is
printed. The bound is the ratio of the tokens that the model evaluates. Needs the Python stubs of tests/e2e
(scripts/build --all) in PYTHONPATH.
"""

import statistics
import sys
import time

import harness
import wire
from logitd.v1 import completion_pb2, sampling_pb2, scoring_service_pb2

CONTEXT_TOKENS = 60
CANDIDATE_TOKENS = (6, 8, 9, 10)
ROUNDS = 30
TOLERANCE = 1e-4


def main() -> int:
    server = harness.Server(model=harness.model_path(), flags=("--precision", "f32"))
    try:
        with wire.connect(server.address) as client:
            return compare(client)
    finally:
        server.stop()


def request(context: list[int], candidates: list[list[int]]) -> scoring_service_pb2.ScoreRequest:
    def ids(tokens):
        return sampling_pb2.TokenIds(token_ids=tokens)

    return scoring_service_pb2.ScoreRequest(items=[scoring_service_pb2.ScoreItem(
        context=completion_pb2.Input(tokens=ids(context)),
        continuations=[scoring_service_pb2.Continuation(tokens=ids(candidate)) for candidate in candidates])])


def score(client: wire.Client, context: list[int], candidates: list[list[int]]) -> list[float]:
    (reply,) = client.scoring.Score(request(context, candidates), timeout=wire.TIMEOUT_S)
    return [c.score.totals.cumulative_model_log_prob for c in reply.item.continuations]


def compare(client: wire.Client) -> int:
    text = client.tokenize("The harbour was quiet that morning, and the fishermen who had been out all night were mending "
                           "their nets in the sun. " * 6)
    context = text[:CONTEXT_TOKENS]
    candidates = [text[70 + i:70 + i + length] for i, length in enumerate(CANDIDATE_TOKENS)]
    together, apart = [], []
    for _ in range(ROUNDS):
        start = time.perf_counter()
        at_once = score(client, context, candidates)
        together.append(time.perf_counter() - start)
        start = time.perf_counter()
        one_by_one = [score(client, context, [candidate])[0] for candidate in candidates]
        apart.append(time.perf_counter() - start)
        for a, b, length in zip(at_once, one_by_one, CANDIDATE_TOKENS):
            if abs(a - b) > length * TOLERANCE:
                print(f"the scores differ: {a} together, {b} alone", file=sys.stderr)
                return 1
    # The last token of the context is fed with each candidate, whose own last token is not fed.
    tokens_together = CONTEXT_TOKENS - 1 + sum(CANDIDATE_TOKENS)
    tokens_apart = sum(CONTEXT_TOKENS - 1 + length for length in CANDIDATE_TOKENS)
    bound = tokens_apart / tokens_together
    ratio = statistics.median(apart) / statistics.median(together)
    print(f"together {1e3 * statistics.median(together):.0f} ms, one pair at a time {1e3 * statistics.median(apart):.0f} ms "
          f"(medians of {ROUNDS}): {ratio:.2f} times as fast; tokens evaluated {tokens_together} and {tokens_apart}: "
          f"{bound:.2f}; {ratio / bound:.2f} of the bound")
    return 0


if __name__ == "__main__":
    sys.exit(main())
