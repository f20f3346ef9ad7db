"""Decode, Distribution and ScoreLogits answer with the same bytes whatever the machine does.

One server for each instruction set that this CPU has, the scalar one always; requests in batches of 1, 2, 8 and 32; one
caller and two at once.
"""

import concurrent.futures
import dataclasses
import hashlib
import math
import random
import struct
import unittest

import harness
import wire
from logitd.v1 import completion_pb2, decoding_service_pb2, logits_pb2, sampling_pb2, scoring_service_pb2

# Not a multiple of any block or vector.
WIDTH = 5003
SEQUENCES = 32
STEPS = 3
BATCH_SIZES = (1, 2, 8, 32)


@dataclasses.dataclass(frozen=True)
class Rows:
    """Rows of one type, as bytes."""

    dtype: int
    rows: tuple[bytes, ...]

    def payload(self, *numbers: int) -> bytes:
        return b"".join(self.rows[number] for number in numbers)


def to_bf16(values: list[float]) -> bytes:
    return b"".join(struct.pack("<f", value)[2:] for value in values)


def make_rows() -> list[Rows]:
    dice = random.Random(20261122)
    shapes = [
        lambda i: dice.gauss(0, 3),
        lambda i: dice.gauss(0, 1) + (20 if i == 4711 else 0),
        lambda i: 0.25,
        lambda i: -math.inf if i % 3 else dice.uniform(-8, 8),
        lambda i: float(dice.randint(-2, 2)),
        lambda i: dice.choice((0.0, -0.0, 1e-40, -1e-40)),
    ]
    values = [[shapes[number % len(shapes)](i) for i in range(WIDTH)] for number in range(STEPS * len(shapes))]
    return [
        Rows(logits_pb2.LOGITS_DTYPE_F32, tuple(struct.pack(f"<{WIDTH}f", *row) for row in values)),
        Rows(logits_pb2.LOGITS_DTYPE_F16, tuple(struct.pack(f"<{WIDTH}e", *row) for row in values)),
        Rows(logits_pb2.LOGITS_DTYPE_BF16, tuple(to_bf16(row) for row in values)),
    ]


ROWS = make_rows()
ROW_COUNT = len(ROWS[0].rows)
SAMPLINGS = [
    sampling_pb2.SamplingParams(),
    sampling_pb2.SamplingParams(temperature=0),
    sampling_pb2.SamplingParams(temperature=0.3, top_k=40),
    sampling_pb2.SamplingParams(temperature=1.7, top_p=0.9),
    sampling_pb2.SamplingParams(temperature=0.8, top_k=1000, top_p=0.95, min_p=0.02),
    sampling_pb2.SamplingParams(temperature=50, min_p=0.5),
    sampling_pb2.SamplingParams(temperature=0.7, top_p=0.5, allowed_tokens=sampling_pb2.TokenSet(
        ids=sampling_pb2.TokenIds(token_ids=range(0, WIDTH, 3)))),
]
RECORD = completion_pb2.RecordOptions(model_log_prob=True, sampling_log_prob=True, rank=True, entropy=True, top_n=5,
                                      named_token_ids=[0, 4711])


def block(rows: Rows, count: int) -> logits_pb2.LogitsBlock:
    return logits_pb2.LogitsBlock(dtype=rows.dtype, row_count=count, width=WIDTH)


def bytes_of(message) -> bytes:
    return message.SerializeToString(deterministic=True)


def distributions(client: wire.Client, rows: Rows) -> list[bytes]:
    return [bytes_of(client.decoding.Distribution(decoding_service_pb2.DistributionRequest(
        logits=logits_pb2.Logits(block=block(rows, 1), values=row), sampling=sampling), timeout=wire.TIMEOUT_S))
        for row in rows.rows for sampling in SAMPLINGS]


def decode(client: wire.Client, rows: Rows, batch_size: int) -> list[bytes]:
    """Every sequence's results; `batch_size` sequences are stepped at once."""
    requests = [wire.config(WIDTH, record=RECORD, sampling=sampling_pb2.SamplingParams(seed=7))]
    for first in range(0, SEQUENCES, batch_size):
        sequences = range(first, min(first + batch_size, SEQUENCES))
        for position in range(STEPS):
            numbers = [(s + 5 * position) % ROW_COUNT for s in sequences]
            opens = []
            for s in sequences if position == 0 else ():
                sampling = sampling_pb2.SamplingParams(seed=7)
                sampling.MergeFrom(SAMPLINGS[s % len(SAMPLINGS)])
                opens.append(decoding_service_pb2.OpenSequence(sequence_id=s + 1, sampling=sampling))
            requests.append(decoding_service_pb2.DecodeRequest(
                payload=rows.payload(*numbers), batch=decoding_service_pb2.StepBatch(
                    batch_id=len(requests), blocks=[block(rows, len(numbers))], opens=opens,
                    steps=[decoding_service_pb2.SequenceStep(sequence_id=s + 1, position=position, row=row)
                           for row, s in enumerate(sequences)])))
    results = {}
    for reply in client.decode(*requests):
        for result in reply.result.steps:
            assert result.HasField("chosen"), result
            results[result.sequence_id, result.position] = bytes_of(result)
    assert len(results) == SEQUENCES * STEPS, len(results)
    return [results[key] for key in sorted(results)]


def score(client: wire.Client, rows: Rows, batch_size: int, sampling: sampling_pb2.SamplingParams) -> bytes:
    """Two sequences that take turns, `batch_size` rows at once."""
    config = scoring_service_pb2.ScoreLogitsConfig(vocab_size=WIDTH, record=RECORD, sampling=sampling)
    requests = [scoring_service_pb2.ScoreLogitsRequest(config=config)]
    for first in range(0, SEQUENCES, batch_size):
        numbers = [n % ROW_COUNT for n in range(first, min(first + batch_size, SEQUENCES))]
        for sequence in (0, 1):
            requests.append(scoring_service_pb2.ScoreLogitsRequest(
                payload=rows.payload(*numbers), rows=scoring_service_pb2.ScoreLogitsRows(
                    blocks=[block(rows, len(numbers))], sequence_index=sequence,
                    target_token_ids=[(37 * n + 3 * sequence) % WIDTH for n in numbers])))
    return bytes_of(client.scoring.ScoreLogits(iter(requests), timeout=wire.TIMEOUT_S))


def everything(client: wire.Client, rows: Rows) -> dict[str, str]:
    """Digests of all replies; what must not matter is compared here."""
    decoded = {size: decode(client, rows, size) for size in BATCH_SIZES}
    for size in BATCH_SIZES:
        assert decoded[size] == decoded[1], f"Decode in batches of {size} differs"
    scored = []
    for sampling in (sampling_pb2.SamplingParams(temperature=0.7), sampling_pb2.SamplingParams(top_p=0.9)):
        replies = {size: score(client, rows, size, sampling) for size in BATCH_SIZES}
        for size in BATCH_SIZES:
            assert replies[size] == replies[1], f"ScoreLogits in batches of {size} differs"
        scored.append(replies[1])
    replies = {"Distribution": distributions(client, rows), "Decode": decoded[1], "ScoreLogits": scored}
    return {method: hashlib.sha256(b"".join(parts)).hexdigest() for method, parts in replies.items()}


class SameBitsTest(unittest.TestCase):
    def test_same_bits_on_every_target_thread_count_and_batch_size(self):
        targets = ["scalar"]
        digests = {}
        while targets:
            target = targets.pop()
            server = harness.Server(flags=("--kernel-target", target))
            try:
                info = harness.logit("info", server=server).json()["server"]
                self.assertEqual(info["kernel_target"], target.upper())
                if not digests:
                    targets = [name.lower() for name in info["available_kernel_targets"] if name != "SCALAR"]
                with wire.connect(server.address) as client:
                    alone = [everything(client, rows) for rows in ROWS]
                    with concurrent.futures.ThreadPoolExecutor(2) as callers:
                        together = list(callers.map(lambda rows, c=client: everything(c, rows), ROWS))
                self.assertEqual(alone, together, "two callers at once")
                digests[target] = alone
            finally:
                server.stop()
        for target, found in digests.items():
            self.assertEqual(found, digests["scalar"], target)
        print(f"same bits on {', '.join(sorted(digests))}", flush=True)


if __name__ == "__main__":
    unittest.main()
