"""Evaluates one batch, a call of the model at a time."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable, Sequence

from logitd import _failures, errors
from logitd.runner import _rows
from logitd.runner._control import BatchControl, asking
from logitd.runner._engine import Append, Engine, Result
from logitd.runner._reply import BatchReply
from logitd.runner._sequences import Sequences
from logitd.runner._work import check_work, forks_that_wait, wanted_rows
from logitd.v1 import model_runner_service_pb2 as runner_pb2

_log = logging.getLogger("logitd.runner")
_MOST_TEXT = 500


@dataclasses.dataclass(slots=True)
class Counts:
    """Everything that a runner has evaluated since it began."""

    batches: int = 0
    tokens: int = 0
    rows: int = 0
    failed_entries: int = 0


@dataclasses.dataclass(frozen=True, slots=True)
class Call:
    """A call of the model: the entries that it evaluates, and their tokens."""

    entries: list[int]
    appends: list[Append]


def error_of(failure: BaseException, source: str) -> errors.LogitdError:
    """What a model's exception means to the server. `source`: the model's function."""
    if isinstance(failure, errors.LogitdError) and failure.reason in _failures.CODES:
        return failure
    text = " ".join(str(failure).split())[:_MOST_TEXT].encode("utf-8", "replace").decode()
    return _failures.failure("INTERNAL", f"{source} raised {type(failure).__name__}: {text}")


class BatchRun:
    """Sets entries up, names the next call of the model, and takes its results.

        while (call := run.next_call()) is not None:
            run.take(call, run.evaluate(call))
        run.finish()

    One thread at a time; the next one may go on where another one has stopped in `evaluate`.
    """

    def __init__(self, batch: runner_pb2.RunBatch, control: BatchControl, engine: Engine, sequences: Sequences,
                 reply: BatchReply, wire: _rows.WireType, vocab_size: int, row_width: int, counts: Counts,
                 on_finished: Callable[[], object]):
        self._batch = batch
        self._control = control
        self._engine = engine
        self._sequences = sequences
        self._reply = reply
        self._wire = wire
        self._vocab_size = vocab_size
        self._row_width = row_width
        self._counts = counts
        self._on_finished = on_finished
        self._rounds: list[list[int]] | None = None
        self._ready: list[int] = []
        self._wanted: dict[int, list[int]] = {}
        self._errors: dict[int, errors.LogitdError] = {}

    def next_call(self) -> Call | None:
        """None: every entry has its result."""
        if self._rounds is None:
            self._rounds = self._begin()
        while True:
            while self._ready:
                count = len(self._ready) if self._engine.evaluates_batches else 1
                some, self._ready = self._ready[:count], self._ready[count:]
                if entries := [i for i in some if self._is_wanted(i)]:
                    return Call(entries, [self._append_of(i) for i in entries])
            if not self._rounds:
                return None
            self._ready = [i for i in self._rounds.pop(0) if self._set_up(i)]

    def evaluate(self, call: Call) -> Sequence[Result]:
        """Calls the model. Never raises. It changes nothing here, so that its thread may be given up."""
        with asking(lambda: self.is_wanted(call)):
            try:
                results = self._engine.append(call.appends)
                for failure in results:
                    if isinstance(failure, BaseException):
                        _log.error("%s failed for one sequence", self._engine.name, exc_info=failure)
                return results
            except BaseException as failure:
                # SystemExit too: the thread must not end without a word.
                _log.exception("%s failed", self._engine.name)
                return [failure] * len(call.entries)

    def take(self, call: Call, results: Sequence[Result]) -> None:
        """The results of a call."""
        for index, append, result in zip(call.entries, call.appends, results):
            if isinstance(result, BaseException):
                self._fail(index, error_of(result, self._engine.name))
                continue
            held = self._sequences.get(self._batch.work[index].sequence_id)
            held.state, rows = result
            held.length += len(append.tokens)
            self._counts.tokens += len(append.tokens)
            if not append.wanted:
                self._reply.done(index)
                continue
            try:
                wire = _rows.to_wire(rows, len(append.wanted), self._row_width, self._wire, self._engine.name)
            except Exception as failure:
                _log.error("%s", failure)
                self._fail(index, error_of(failure, self._engine.name))
                continue
            self._counts.rows += len(append.wanted)
            self._reply.rows(index, append.wanted, wire)

    def is_wanted(self, call: Call) -> bool:
        """Whether the server waits for any of its entries."""
        return any(self._control.why_unwanted(i) is None for i in call.entries)

    def give_up(self, call: Call) -> None:
        """Nobody waits for the call, and it goes on: its entries fail."""
        for index in call.entries:
            self._fail(index, self._control.why_unwanted(index) or _failures.failure("CANCELLED", "given up"))

    def finish(self) -> None:
        """Sends the rest of the answer."""
        self._counts.batches += 1
        self._on_finished()
        self._reply.finish()

    def _begin(self) -> list[list[int]]:
        """Frees what the batch releases, and sorts its legal entries into rounds: the entries of a round are set up
        together and then evaluated."""
        for sequence_id in self._batch.release_sequence_ids:
            self._sequences.drop(sequence_id)
        legal = [i for i in range(len(self._batch.work)) if self._is_legal(i)]
        waits = forks_that_wait([self._batch.work[i] for i in legal], self._sequences.length_of)
        numbers: list[int] = []
        for wait in waits:
            numbers.append(0 if wait < 0 else numbers[wait] + 1)
        rounds: list[list[int]] = [[] for _ in range(max(numbers, default=-1) + 1)]
        for index, number in zip(legal, numbers):
            rounds[number].append(index)
        return rounds

    def _is_legal(self, index: int) -> bool:
        work = self._batch.work[index]
        try:
            check_work(work, self._vocab_size, self._wire.proto)
            if work.rows:
                self._reply.check_room()
        except errors.LogitdError as error:
            self._fail(index, error)
            return False
        self._wanted[index] = wanted_rows(work)
        return True

    def _set_up(self, index: int) -> bool:
        """Whether the entry now has tokens to evaluate."""
        work = self._batch.work[index]
        # A copy of a sequence that has failed in this batch fails for the same reason.
        if work.HasField("fork_from_sequence_id") and work.fork_from_sequence_id in self._errors:
            self._fail(index, self._errors[work.fork_from_sequence_id])
            return False
        if not self._is_wanted(index):
            return False
        try:
            self._sequences.set_up(work)
        except Exception as failure:
            if not isinstance(failure, errors.LogitdError):
                _log.exception("the model could not set up a sequence")
            self._fail(index, error_of(failure, type_name(self._engine)))
            return False
        if not work.append_token_ids:
            self._reply.done(index)
            return False
        return True

    def _is_wanted(self, index: int) -> bool:
        error = self._control.why_unwanted(index)
        if error is not None:
            self._fail(index, error)
        return error is None

    def _append_of(self, index: int) -> Append:
        work = self._batch.work[index]
        return Append(self._sequences.get(work.sequence_id).state, list(work.append_token_ids), self._wanted[index])

    def _fail(self, index: int, error: errors.LogitdError) -> None:
        sequence_id = self._batch.work[index].sequence_id
        self._errors[sequence_id] = error
        self._sequences.drop(sequence_id)
        self._counts.failed_entries += 1
        self._reply.fail(index, error)


def type_name(engine: Engine) -> str:
    """The model's class."""
    return engine.name.partition(".")[0]
