"""The sequences of a runner: their states and lengths, and how a batch's entry sets one up."""

from __future__ import annotations

import dataclasses
import logging
from typing import Any

from logitd import _failures
from logitd.runner._engine import Engine
from logitd.v1 import model_runner_service_pb2 as runner_pb2

_log = logging.getLogger("logitd.runner")


@dataclasses.dataclass(slots=True)
class Sequence:
    """A sequence: its state, and its length in tokens."""

    state: Any
    length: int
    is_isolated: bool = False


class Sequences:
    """Not thread-safe: it belongs to the evaluating thread."""

    def __init__(self, engine: Engine, max_sequences: int, context_length: int):
        self._engine = engine
        self._max_sequences = max_sequences
        self._context_length = context_length
        self._held: dict[int, Sequence] = {}

    def length_of(self, sequence_id: int) -> int:
        """In tokens; 0: it is not known."""
        held = self._held.get(sequence_id)
        return 0 if held is None else held.length

    def get(self, sequence_id: int) -> Sequence:
        """It is known."""
        return self._held[sequence_id]

    def drop(self, sequence_id: int) -> None:
        """Frees it. Unknown ones are ignored. Never raises."""
        held = self._held.pop(sequence_id, None)
        if held is not None and self._engine.release is not None:
            try:
                self._engine.release(held.state)
            except Exception:
                _log.exception("the model's release() failed")

    def clear(self) -> None:
        """Frees all."""
        for sequence_id in list(self._held):
            self.drop(sequence_id)

    def set_up(self, work: runner_pb2.SequenceWork) -> Sequence:
        """The entry's sequence, copied and cut as the entry says: its tokens come next. Raises LogitdError, or whatever
        the model raises."""
        sequence_id = work.sequence_id
        held = self._held.get(sequence_id)
        if work.HasField("fork_from_sequence_id"):
            held = self._fork(work)
        elif held is None:
            if work.isolated:
                for other in [i for i, h in self._held.items() if h.is_isolated]:
                    self.drop(other)
            self._check_room(work)
            held = self._held[sequence_id] = Sequence(self._engine.start(), 0, work.isolated)
        elif held.is_isolated != work.isolated:
            raise _failures.out_of_range("isolated", work.isolated, "the same in all entries of a sequence")
        self._cut(work, held)
        length = held.length + len(work.append_token_ids)
        if length > self._context_length:
            raise _failures.failure(
                "CONTEXT_LENGTH_EXCEEDED", f"append_token_ids: the sequence would have {length} tokens; the model's "
                f"context_length is {self._context_length}", field="append_token_ids", value=str(length),
                bound=f"<= {self._context_length}")
        return held

    def _fork(self, work: runner_pb2.SequenceWork) -> Sequence:
        source = self._held.get(work.fork_from_sequence_id)
        if work.sequence_id in self._held:
            raise _failures.failure("SEQUENCE_ALREADY_OPEN", f"sequence {work.sequence_id} exists", field="sequence_id")
        if source is None:
            raise _failures.failure(
                "SEQUENCE_NOT_OPEN", f"fork_from_sequence_id: there is no sequence {work.fork_from_sequence_id}",
                field="fork_from_sequence_id", value=str(work.fork_from_sequence_id))
        if self._engine.fork is None:
            raise _failures.failure("INTERNAL", "this model's states cannot be copied: it has no fork()")
        self._check_room(work)
        copy = Sequence(self._engine.fork(source.state), source.length)
        self._held[work.sequence_id] = copy
        return copy

    def _cut(self, work: runner_pb2.SequenceWork, held: Sequence) -> None:
        if not work.HasField("keep_prefix_length") or work.keep_prefix_length == held.length:
            return
        if work.keep_prefix_length > held.length:
            raise _failures.out_of_range("keep_prefix_length", work.keep_prefix_length, f"in [0, {held.length}]")
        if self._engine.trim is None:
            raise _failures.failure("INTERNAL", "this model's states cannot be cut: it has no trim()")
        held.state = self._engine.trim(held.state, work.keep_prefix_length)
        held.length = work.keep_prefix_length

    def _check_room(self, work: runner_pb2.SequenceWork) -> None:
        if work.isolated or len(self._held) < self._max_sequences:
            return
        raise _failures.failure(
            "OVERLOADED", f"{len(self._held)} sequences have a state, and the model takes max_sequences = "
            f"{self._max_sequences}", limit="capacity.max_sequences", retry_after_s=1.0)
