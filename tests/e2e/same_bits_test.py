"""Decode, ComputeDistribution and ScoreLogits answer with the same bytes whatever the machine does.

One server for each instruction set that this CPU has, the scalar one always; requests in batches of 1, 2, 8 and 32; one
caller and two at once; rows of every type, dense and sparse; every stage, preset and record.
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
SHAPES = 6


# The tokens that penalties and bans look at; 4711 is the largest logit of some rows.
PROMPT = (4711, 17, 5, 4711, 17, 5, 1, 0, 3)
OUTPUT = (17, 4711, 17)


@dataclasses.dataclass(frozen=True)
class Rows:
    """Rows of one type, as bytes; of LIN16 also (linear_max, linear_step) of each, of sparse rows the ids of each."""

    dtype: int
    rows: tuple[bytes, ...]
    linear: tuple[tuple[float, float], ...] = ()
    ids: tuple[bytes, ...] = ()

    def payload(self, *numbers: int) -> bytes:
        return b"".join(part[number] for part in (self.rows, self.ids) if part for number in numbers)

    def width(self) -> int:
        return len(self.ids[0]) // 4 if self.ids else WIDTH

    def batch_sizes(self) -> tuple[int, ...]:
        """All for one type: the others differ in how a row is widened alone."""
        return (1, 2, 8, 32) if self.dtype == logits_pb2.LOGITS_DTYPE_F32 and not self.ids else (1, 32)

    def block(self, *numbers: int) -> logits_pb2.LogitsBlock:
        linear = [self.linear[number] for number in numbers] if self.linear else []
        sparse = logits_pb2.SparseRows(rest=logits_pb2.SPARSE_REST_EXCLUDED) if self.ids else None
        return logits_pb2.LogitsBlock(dtype=self.dtype, row_count=len(numbers), width=self.width(), sparse=sparse,
                                      linear_max=[largest for largest, _ in linear],
                                      linear_step=[step for _, step in linear])


def to_bf16(values: list[float]) -> bytes:
    return b"".join(struct.pack("<f", value)[2:] for value in values)


def to_f32(value: float) -> float:
    return struct.unpack("<f", struct.pack("<f", value))[0]


def to_lin16(values: list[float]) -> tuple[bytes, tuple[float, float]]:
    finite = [value for value in values if value > -math.inf]
    largest = to_f32(max(finite))
    step = to_f32((largest - min(finite)) / 65534)
    codes = [65535 if value == -math.inf else min(65534, round((largest - value) / step)) if step else 0
             for value in values]
    return struct.pack(f"<{len(codes)}H", *codes), (largest, step)


def to_sparse(rows: list[list[float]]) -> Rows:
    """The logits of each row that are not -inf, filled with unused slots to the length of the fullest row."""
    listed = [[i for i, value in enumerate(row) if value > -math.inf] for row in rows]
    width = max(map(len, listed))
    return Rows(
        logits_pb2.LOGITS_DTYPE_F32,
        tuple(struct.pack(f"<{width}f", *(row[i] for i in ids), *(math.nan for _ in range(width - len(ids))))
              for row, ids in zip(rows, listed)),
        ids=tuple(struct.pack(f"<{width}i", *ids, *(-1 for _ in range(width - len(ids)))) for ids in listed))


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
    assert len(shapes) == SHAPES
    values = [[shapes[number % SHAPES](i) for i in range(WIDTH)] for number in range(STEPS * SHAPES)]
    lin16 = [to_lin16(row) for row in values]
    return [
        Rows(logits_pb2.LOGITS_DTYPE_F32, tuple(struct.pack(f"<{WIDTH}f", *row) for row in values)),
        Rows(logits_pb2.LOGITS_DTYPE_F16, tuple(struct.pack(f"<{WIDTH}e", *row) for row in values)),
        Rows(logits_pb2.LOGITS_DTYPE_BF16, tuple(to_bf16(row) for row in values)),
        Rows(logits_pb2.LOGITS_DTYPE_LIN16, tuple(codes for codes, _ in lin16), tuple(scale for _, scale in lin16)),
        to_sparse(values),
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
    sampling_pb2.SamplingParams(
        temperature=0.9, repetition_penalty=1.3, frequency_penalty=0.4, presence_penalty=-0.2, no_repeat_ngram_size=3,
        dry=sampling_pb2.DryPenalty(multiplier=0.8), logit_biases=[sampling_pb2.LogitBias(token_id=7, bias=1.5)],
        sequence_biases=[sampling_pb2.SequenceBias(token_ids=[17, 9], bias=-2),
                         sampling_pb2.SequenceBias(token_ids=[17, 11])]),
    sampling_pb2.SamplingParams(temperature=0, repetition_penalty=1.3, presence_penalty=0.5, no_repeat_ngram_size=2),
    sampling_pb2.SamplingParams(temperature=1.4, typical_p=0.9, epsilon_cutoff=1e-4),
    sampling_pb2.SamplingParams(temperature=2, top_n_sigma=1.5, eta_cutoff=1e-3,
                                xtc=sampling_pb2.XtcParams(probability=0.5)),
    sampling_pb2.SamplingParams(
        temperature=0.7, top_k=50, top_p=0.9, typical_p=0.95, repetition_penalty=1.2,
        stage_order=sampling_pb2.StageOrder(preset=sampling_pb2.STAGE_PRESET_HF)),
    sampling_pb2.SamplingParams(
        temperature=0.8, top_k=40, typical_p=0.97, top_p=0.95, min_p=0.05, frequency_penalty=0.3,
        xtc=sampling_pb2.XtcParams(probability=0.5),
        stage_order=sampling_pb2.StageOrder(preset=sampling_pb2.STAGE_PRESET_LLAMA_CPP)),
    sampling_pb2.SamplingParams(
        temperature=1.2, top_k=300, top_k_ties=sampling_pb2.TIE_RULE_KEEP_ALL, top_p=0.8,
        top_p_boundary=sampling_pb2.TOP_P_BOUNDARY_MASS_ABOVE,
        stage_order=sampling_pb2.StageOrder(stages=[sampling_pb2.STAGE_TOP_P, sampling_pb2.STAGE_TEMPERATURE,
                                                    sampling_pb2.STAGE_TOP_K])),
]
# Scoring: no row may lose all of its tokens, and nothing may be a matter of chance.
SCORINGS = [
    sampling_pb2.SamplingParams(temperature=0.7, repetition_penalty=1.3, frequency_penalty=0.2, min_p=0.01),
    sampling_pb2.SamplingParams(top_p=0.9, top_k=400,
                                stage_order=sampling_pb2.StageOrder(preset=sampling_pb2.STAGE_PRESET_VLLM)),
]
RECORD = completion_pb2.RecordOptions(model_log_prob=True, sampling_log_prob=True, rank=True, entropy=True,
                                      kept_set=True, top_n=5, named_token_ids=[0, 4711])
DRAWN = completion_pb2.RecordOptions(draw=True)
DRAWN.MergeFrom(RECORD)
# Of the whole vocabulary, for some sequences: ranks need an order, log-probs alone none.
WHOLE_VOCABULARY = {s: completion_pb2.RecordOptions(draw=True, rank=rank, top_n=WIDTH, packed_top=True)
                    for s, rank in ((0, True), (15, False))}


def bytes_of(message) -> bytes:
    return message.SerializeToString(deterministic=True)


def distributions(client: wire.Client, rows: Rows) -> list[bytes]:
    """Every sampling with every shape of row: each row meets half of them, and so its like the others."""
    return [bytes_of(client.decoding.ComputeDistribution(decoding_service_pb2.ComputeDistributionRequest(
        logits=logits_pb2.Logits(block=rows.block(number), values=rows.payload(number),
                                 vocab_size=WIDTH if rows.ids else 0),
        sampling=sampling, explain=number % 4 == 0,
        prompt_token_ids=PROMPT, output_token_ids=OUTPUT,
        verify=decoding_service_pb2.VerifyDraw(seed=7, sequence_key=number)), timeout=wire.TIMEOUT_S))
        for number in range(ROW_COUNT) for i, sampling in enumerate(SAMPLINGS)
        if (i + number // SHAPES) % 2 == 0]


def decode(client: wire.Client, rows: Rows, batch_size: int) -> list[bytes]:
    """Every sequence's results; `batch_size` sequences are stepped at once."""
    requests = [wire.config(WIDTH, record=DRAWN, sampling=sampling_pb2.SamplingParams(seed=7))]
    for first in range(0, SEQUENCES, batch_size):
        sequences = range(first, min(first + batch_size, SEQUENCES))
        for position in range(STEPS):
            numbers = [(s + 5 * position) % ROW_COUNT for s in sequences]
            opens = []
            for s in sequences if position == 0 else ():
                sampling = sampling_pb2.SamplingParams(seed=7)
                sampling.MergeFrom(SAMPLINGS[s % len(SAMPLINGS)])
                opens.append(decoding_service_pb2.OpenSequence(
                    sequence_id=s + 1, sampling=sampling, record=WHOLE_VOCABULARY.get(s),
                    fresh=decoding_service_pb2.SequenceStart(prompt_token_ids=PROMPT)))
            requests.append(decoding_service_pb2.DecodeRequest(
                payload=rows.payload(*numbers), batch=decoding_service_pb2.StepBatch(
                    batch_id=len(requests), blocks=[rows.block(*numbers)], opens=opens,
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
                    blocks=[rows.block(*numbers)], sequence_index=sequence,
                    prompt_token_ids=PROMPT if first == 0 else (),
                    target_token_ids=[(37 * n + 3 * sequence) % WIDTH for n in numbers])))
    replies = list(client.scoring.ScoreLogits(iter(requests), timeout=wire.TIMEOUT_S))
    assert [reply.sequence_index for reply in replies] == [0, 1] and not any(r.HasField("error") for r in replies), replies
    return b"".join(map(bytes_of, replies))


def everything(client: wire.Client, rows: Rows) -> dict[str, str]:
    """Digests of all replies. Replies that must be equal are compared here."""
    decoded = {size: decode(client, rows, size) for size in rows.batch_sizes()}
    for size in decoded:
        assert decoded[size] == decoded[1], f"Decode in batches of {size} differs"
    scored = []
    for sampling in SCORINGS:
        replies = {size: score(client, rows, size, sampling) for size in rows.batch_sizes()}
        for size in replies:
            assert replies[size] == replies[1], f"ScoreLogits in batches of {size} differs"
        scored.append(replies[1])
    replies = {"ComputeDistribution": distributions(client, rows), "Decode": decoded[1], "ScoreLogits": scored}
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
                self.assertEqual(alone[-1], alone[0], "sparse and dense rows of f32")
                digests[target] = alone
            finally:
                server.stop()
        for target, found in digests.items():
            self.assertEqual(found, digests["scalar"], target)
        print(f"same bits on {', '.join(sorted(digests))}", flush=True)


if __name__ == "__main__":
    unittest.main()
