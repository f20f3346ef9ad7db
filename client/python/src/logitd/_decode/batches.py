"""What a session sends, cut into batches that fit a message."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence as List

from logitd._decode.open_sequences import BYTES_PER_BATCH, OPENS_PER_BATCH, share_prompt
from logitd._decode.rows import Rows
from logitd._decode.sequences import Sequence
from logitd.v1 import decoding_service_pb2 as decoding

# Limits.max_rows_per_message.
_ROWS_PER_BATCH = 1024
# While the server computes one message, the next is on its way.
_ROW_BYTES_PER_BATCH = 4 << 20


@dataclasses.dataclass(slots=True)
class Batch:
    """A batch, whose sequences its result is for."""

    message: decoding.StepBatch = dataclasses.field(default_factory=decoding.StepBatch)
    # The bytes of its rows.
    pieces: List[bytes | memoryview] = ()
    # Of its opens, its closes and its steps, in order.
    opens: list[Sequence] = dataclasses.field(default_factory=list)
    closes: list[Sequence] = dataclasses.field(default_factory=list)
    steps: list[Sequence] = dataclasses.field(default_factory=list)


@dataclasses.dataclass(frozen=True, slots=True)
class Opening:
    """A sequence to be opened. Its prompt is apart, so that equal ones are sent once; empty: no stage looks at it."""

    sequence: Sequence
    message: decoding.OpenSequence
    prompt: tuple[int, ...]


@dataclasses.dataclass(frozen=True, slots=True)
class NewStep:
    """One step and the row that it takes."""

    sequence: Sequence
    message: decoding.SequenceStep
    row: int


def batches_of(opens: List[Opening], closes: List[Sequence], steps: List[NewStep],
               rows: Rows | None) -> Iterator[Batch]:
    """Batches with all of these, in this order. Several steps may take one row. REQUIRES: there are rows if there are
    steps."""
    *full, batch = _opening(opens)
    yield from full
    batch.closes.extend(closes)
    batch.message.close_sequence_ids.extend(sequence.id for sequence in closes)
    if rows is None:
        if batch.opens or batch.closes:
            yield batch
        return
    at_once = max(1, min(_ROWS_PER_BATCH, _ROW_BYTES_PER_BATCH // rows.row_bytes))
    places: dict[int, int] = {}
    for step in steps:
        if len(batch.steps) == _ROWS_PER_BATCH or (step.row not in places and len(places) == at_once):
            yield _with_rows(batch, rows, places)
            batch, places = Batch(), {}
        step.message.row = places.setdefault(step.row, len(places))
        batch.message.steps.append(step.message)
        batch.steps.append(step.sequence)
    yield _with_rows(batch, rows, places)


def _opening(opens: List[Opening]) -> list[Batch]:
    """Batches that open the sequences, at least one."""
    batches = [Batch()]
    places: dict[tuple[int, ...], int] = {}
    size = 0
    for opening in opens:
        if len(batches[-1].opens) == OPENS_PER_BATCH or size >= BYTES_PER_BATCH:
            batches.append(Batch())
            places, size = {}, 0
        batch = batches[-1]
        opened = batch.message.opens.add()
        opened.CopyFrom(opening.message)
        if opening.prompt:
            opened.fresh.shared_prompt, prompt_size = share_prompt(batch.message, places, opening.prompt)
            size += prompt_size
        size += opened.ByteSize()
        batch.opens.append(opening.sequence)
    return batches


def _with_rows(batch: Batch, rows: Rows, places: dict[int, int]) -> Batch:
    numbers = list(places)
    batch.message.blocks.append(rows.block(0, len(numbers)))
    pieces: list[bytes | memoryview] = []
    begin = 0
    while begin < len(numbers):
        # Rows that follow each other are one piece if they lie together.
        end = begin + 1
        while end < len(numbers) and numbers[end] == numbers[end - 1] + 1:
            end += 1
        pieces.extend(rows.pieces(numbers[begin], numbers[end - 1] + 1))
        begin = end
    batch.pieces = pieces
    return batch
