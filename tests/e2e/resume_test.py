"""Two streams of 1,024 sequences at 5,000 tokens are cut and go on on another server, with the same bytes as uncut ones.

One stream has a stage that looks at the tokens, so that its client sends them again; the other has none, and sends their
number. Rows list 64 of 1,048,576 ids, all of them large: ids of three bytes each on the wire.
LOGITD_LONG=1: every one of the 5,000 tokens is chosen by the server. Otherwise the sequences are opened with 4,996 tokens
that the test made up, as a client does that resumes them.
"""

import concurrent.futures
import os
import random
import time
import unittest
from collections.abc import Callable, Iterator

import harness
import numpy
import wire
from logitd.v1 import completion_pb2, logits_pb2, sampling_pb2
from logitd.v1 import decoding_service_pb2 as decoding

IS_LONG = os.environ.get("LOGITD_LONG") == "1"
VOCAB_SIZE = 1 << 20
SEQUENCES = 1024
FIRST = 0 if IS_LONG else 4996
CUT = 5000
END = 5012
ROWS, WIDTH = 16, 64
IDS = [VOCAB_SIZE - 7 * (WIDTH - i) for i in range(WIDTH)]
PAYLOAD = numpy.random.default_rng(1).normal(0, 2, (ROWS, WIDTH)).astype("<f4").tobytes()
BLOCK = logits_pb2.LogitsBlock(dtype=logits_pb2.LOGITS_DTYPE_F32, row_count=ROWS, width=WIDTH, sparse=logits_pb2.SparseRows(
    shared_token_ids=IDS, rest=logits_pb2.SPARSE_REST_EXCLUDED))
PROMPT = IDS[:50] * 4

WITH_TOKENS = sampling_pb2.SamplingParams(temperature=0.9, seed=5, repetition_penalty=1.1, frequency_penalty=0.001,
                                          top_p=0.97)
WITH_COUNT = sampling_pb2.SamplingParams(temperature=0.9, seed=6, top_p=0.97)


def batch_at(position: int, opens: list[decoding.OpenSequence]) -> decoding.DecodeRequest:
    steps = [decoding.SequenceStep(sequence_id=i + 1, position=position, row=(i + position) % ROWS)
             for i in range(SEQUENCES)]
    return decoding.DecodeRequest(payload=PAYLOAD, batch=decoding.StepBatch(
        batch_id=position + 1, opens=opens, blocks=[BLOCK], steps=steps,
        shared_prompts=[sampling_pb2.TokenIds(token_ids=PROMPT)]))


def run(address: str, sampling: sampling_pb2.SamplingParams, begin: int, states: list[completion_pb2.SequenceState],
        take: Callable[[int, decoding.BatchResult], None]) -> None:
    """Steps all sequences from `begin` to END on a stream of its own, which it opens with `states`."""
    def requests() -> Iterator[decoding.DecodeRequest]:
        yield wire.config(VOCAB_SIZE, sampling=sampling)
        for position in range(begin, END):
            yield batch_at(position, [
                decoding.OpenSequence(sequence_id=i + 1,
                                      fresh=decoding.SequenceStart(shared_prompt=0, state=states[i]))
                for i in range(SEQUENCES)] if position == begin else [])

    with wire.connect(address) as client:
        replies = client.decoding.Decode(requests(), timeout=3600)
        next(replies)
        for position, reply in zip(range(begin, END), replies, strict=True):
            take(position, reply.result)


class ResumeTest(unittest.TestCase):
    def check(self, sampling: sampling_pb2.SamplingParams, has_tokens: bool, first: str, second: str) -> None:
        rng = random.Random(3)
        tokens = [[rng.choice(IDS) for _ in range(FIRST)] for _ in range(SEQUENCES)]

        def states(sums: list[completion_pb2.ResumeState]) -> list[completion_pb2.SequenceState]:
            if has_tokens:
                return [completion_pb2.SequenceState(tokens=sampling_pb2.TokenIds(token_ids=t), resume_state=s)
                        for t, s in zip(tokens, sums)]
            return [completion_pb2.SequenceState(token_count=len(t), resume_state=s) for t, s in zip(tokens, sums)]

        whole, resumed = [], []
        at_cut: list[completion_pb2.SequenceState] = []

        def take(position: int, result: decoding.BatchResult) -> None:
            failed = [r.error.message for r in (*result.opens, *result.steps) if r.HasField("error")]
            self.assertEqual(failed, [], position)
            if position < CUT:
                for kept, step in zip(tokens, result.steps):
                    kept.append(step.chosen.tokens[0].token_id)
                if position == CUT - 1:
                    at_cut.extend(states([step.chosen.resume_state for step in result.steps]))
            else:
                whole.extend(step.SerializeToString(deterministic=True) for step in result.steps)

        begin = time.monotonic()
        known = completion_pb2.ResumeState(model_sum=-3.0 * FIRST, sampling_sum=-2.5 * FIRST)
        run(first, sampling, FIRST, states([known] * SEQUENCES), take)

        def take_resumed(position: int, result: decoding.BatchResult) -> None:
            failed = [opened.error.message for opened in result.opens if opened.HasField("error")]
            self.assertEqual(failed, [])
            resumed.extend(step.SerializeToString(deterministic=True) for step in result.steps)

        size = sum(state.ByteSize() for state in at_cut)
        resume_begin = time.monotonic()
        run(second, sampling, CUT, at_cut, take_resumed)
        self.assertEqual(len(whole), SEQUENCES * (END - CUT))
        self.assertEqual(resumed, whole)
        self.assertGreater(len({token for kept in tokens for token in kept[-4:]}), 20)
        print(f"\n{SEQUENCES} sequences of {CUT} tokens, {'tokens' if has_tokens else 'counts'}: a state of {size:,} bytes; "
              f"uncut {resume_begin - begin:.1f} s, resumed {time.monotonic() - resume_begin:.1f} s", flush=True)

    def test_two_streams_go_on_on_another_server_with_the_same_bytes(self):
        first, second = harness.Server(), harness.Server()
        self.addCleanup(first.stop)
        self.addCleanup(second.stop)
        with concurrent.futures.ThreadPoolExecutor(2) as pool:
            both = [pool.submit(self.check, WITH_TOKENS, True, first.address, second.address),
                    pool.submit(self.check, WITH_COUNT, False, first.address, second.address)]
            for stream in both:
                stream.result()


if __name__ == "__main__":
    unittest.main()
