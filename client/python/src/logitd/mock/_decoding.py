"""Decode of the mock server: dense rows in, tokens out. Its stages are those of _choosing."""

from __future__ import annotations

import dataclasses
import math
import struct
from collections.abc import Iterator, Sequence

from logitd import _failures, errors
from logitd.mock._choosing import Chooser, log_prob_of
from logitd.mock._model import log_softmax
from logitd.mock._records import Recorder, cumulative
from logitd.mock._supported import refuse_others, unimplemented
from logitd.v1 import completion_pb2, decoding_service_pb2, logits_pb2, sampling_pb2

_INF = math.inf
_MOST_TOKENS = 131_072
# The letter of struct and the size of each type; struct knows no bfloat16.
_FORMATS: dict[int, tuple[str, int]] = {logits_pb2.LOGITS_DTYPE_F32: ("f", 4), logits_pb2.LOGITS_DTYPE_F16: ("e", 2),
                                        logits_pb2.LOGITS_DTYPE_BF16: ("", 2)}


@dataclasses.dataclass(slots=True)
class _Sequence:
    key: int
    seed: int
    chooser: Chooser
    recorder: Recorder
    stop: sampling_pb2.StopCriteria
    position: int
    model_sum: float | None
    sampling_sum: float | None
    # The latest step, and its answer.
    latest: tuple[decoding_service_pb2.SequenceStep, bytes, decoding_service_pb2.StepResult] | None = None


class Decoding:
    """One Decode stream."""

    def __init__(self, provenance: completion_pb2.Provenance, requests: Iterator[decoding_service_pb2.DecodeRequest]):
        self._provenance = provenance
        self._requests = requests
        self._open: dict[int, _Sequence] = {}
        self._config = decoding_service_pb2.DecodeConfig()
        self._last_batch = 0

    def run(self) -> Iterator[decoding_service_pb2.DecodeResponse]:
        """Raises LogitdError where the stream ends."""
        is_first = True
        for request in self._requests:
            refuse_others(request)
            kind = request.WhichOneof("kind")
            if is_first != (kind == "config"):
                raise _failures.failure("UNEXPECTED_MESSAGE", "config must be the first message, and only the first")
            if is_first:
                is_first = False
                self._configure(request.config)
                yield decoding_service_pb2.DecodeResponse(started=decoding_service_pb2.DecodeStarted(
                    seed=self._config.sampling.seed, provenance=self._provenance))
            else:
                yield decoding_service_pb2.DecodeResponse(result=self._batch(request.batch, request.payload))

    def _configure(self, config: decoding_service_pb2.DecodeConfig) -> None:
        if not 1 <= config.vocab_size <= 1 << 20:
            raise _failures.out_of_range("config.vocab_size", config.vocab_size, "in [1, 1048576]")
        _failures.check_token_ids("config.end_token_ids", config.end_token_ids, config.vocab_size)
        Chooser(config.sampling, "config.sampling")
        Recorder(config.record, None, config.vocab_size, samples=True)
        self._config = config

    def _batch(self, batch: decoding_service_pb2.StepBatch, payload: bytes) -> decoding_service_pb2.BatchResult:
        if batch.batch_id <= self._last_batch:
            raise _failures.out_of_range("batch.batch_id", batch.batch_id, f"> {self._last_batch}")
        self._last_batch = batch.batch_id
        rows = self._rows(batch, payload)
        result = decoding_service_pb2.BatchResult(batch_id=batch.batch_id)
        for index, opened in enumerate(batch.opens):
            result.opens.append(self._opened(opened, f"batch.opens[{index}]."))
        for index, sequence_id in enumerate(batch.close_sequence_ids):
            closed = self._open.pop(sequence_id, None)
            answer = result.closes.add(sequence_id=sequence_id)
            if closed is None:
                error = self._not_open(sequence_id, f"batch.close_sequence_ids[{index}]")
                answer.error.CopyFrom(_failures.to_proto(error))
            else:
                answer.totals.CopyFrom(self._totals(closed))
                answer.finish.reason = completion_pb2.FINISH_REASON_CANCELLED
        for index, step in enumerate(batch.steps):
            try:
                result.steps.append(self._step(step, rows, index))
            except errors.LogitdError as error:
                if error.reason == "":
                    raise
                self._open.pop(step.sequence_id, None)
                number = step.row if step.HasField("row") else index
                if error.reason != "SEQUENCE_NOT_OPEN" and number < len(rows):
                    error.row = number
                error = _failures.within(f"batch.steps[{index}].", error)
                result.steps.add(sequence_id=step.sequence_id, position=step.position, error=_failures.to_proto(error))
        return result

    @staticmethod
    def _not_open(sequence_id: int, field: str = "sequence_id") -> errors.LogitdError:
        return _failures.failure("SEQUENCE_NOT_OPEN", f"sequence {sequence_id} is not open", field=field)

    def _rows(self, batch: decoding_service_pb2.StepBatch, payload: bytes) -> list[tuple[int, bytes]]:
        """Each row's type and bytes."""
        rows: list[tuple[int, bytes]] = []
        at = 0
        for block in batch.blocks:
            if block.dtype not in _FORMATS:
                raise unimplemented(f"rows of {logits_pb2.LogitsDtype.Name(block.dtype)}", "batch.blocks")
            if block.width != self._config.vocab_size:
                raise _failures.failure("ROW_LENGTH_MISMATCH", f"batch.blocks: rows have {block.width} values, and the "
                                        f"vocabulary {self._config.vocab_size}", field="batch.blocks")
            size = block.width * _FORMATS[block.dtype][1]
            end = at + block.row_count * size
            rows += [(block.dtype, payload[begin:begin + size]) for begin in range(at, end, size)]
            at = end
        if at != len(payload):
            raise _failures.failure("ROW_LENGTH_MISMATCH", f"payload has {len(payload)} bytes, and the blocks {at}",
                                    field="payload")
        return rows

    def _opened(self, opened: decoding_service_pb2.OpenSequence, path: str) -> decoding_service_pb2.OpenResult:
        result = decoding_service_pb2.OpenResult(sequence_id=opened.sequence_id)
        try:
            if not 1 <= opened.sequence_id < 1 << 56:
                raise _failures.out_of_range("sequence_id", opened.sequence_id, "in [1, 2^56)")
            if opened.sequence_id in self._open:
                raise _failures.failure("SEQUENCE_ALREADY_OPEN", f"sequence {opened.sequence_id} is open",
                                        field="sequence_id")
            sequence = self._sequence(opened)
        except errors.LogitdError as error:
            if error.reason == "":
                raise
            result.error.CopyFrom(_failures.to_proto(_failures.within(path, error)))
            return result
        self._open[opened.sequence_id] = sequence
        result.seed, result.sequence_key, result.next_position = sequence.seed, sequence.key, sequence.position
        return result

    def _sequence(self, opened: decoding_service_pb2.OpenSequence) -> _Sequence:
        config = self._config
        chooser = Chooser(opened.sampling if opened.HasField("sampling") else config.sampling)
        recorder = Recorder(opened.record if opened.HasField("record") else config.record, None, config.vocab_size,
                            samples=True)
        stop = opened.stop if opened.HasField("stop") else config.stop
        state = opened.fresh.state
        position = state.token_count if state.WhichOneof("past") == "token_count" else len(state.tokens.token_ids)
        most = stop.max_tokens if stop.HasField("max_tokens") else _MOST_TOKENS
        if not 0 <= position < most:
            raise _failures.out_of_range("fresh.state", position, f"in [0, {most})")
        _failures.check_token_ids("fresh.state.tokens", state.tokens.token_ids, config.vocab_size)
        sums: list[float | None] = []
        for name in ("model", "sampling"):
            if not state.resume_state.HasField(f"{name}_sum"):
                sums.append(None if position else 0.0)
                continue
            compensation = getattr(state.resume_state, f"{name}_compensation")
            sums.append(getattr(state.resume_state, f"{name}_sum") + compensation)
        return _Sequence(opened.sequence_key if opened.HasField("sequence_key") else opened.sequence_id,
                         (config.sampling.seed if chooser.seed is None else chooser.seed), chooser, recorder, stop,
                         position, sums[0], sums[1])

    def _step(self, step: decoding_service_pb2.SequenceStep, rows: Sequence[tuple[int, bytes]],
              index: int) -> decoding_service_pb2.StepResult:
        sequence = self._open.get(step.sequence_id)
        if sequence is None:
            raise self._not_open(step.sequence_id)
        number = step.row if step.HasField("row") else index
        if not 0 <= number < len(rows):
            raise _failures.failure("ROW_INDEX_OUT_OF_RANGE", f"row {number} is not in [0, {len(rows)})", field="row")
        if step.position != sequence.position:
            return self._repeated(sequence, step, rows[number][1])
        row = log_softmax(self._values(*rows[number]))
        kept = sequence.chooser.kept(row)
        if step.HasField("given_token_id"):
            _failures.check_token_ids("given_token_id", [step.given_token_id], self._config.vocab_size)
            token_id, origin = step.given_token_id, completion_pb2.TOKEN_ORIGIN_GIVEN
        else:
            token_id = sequence.chooser.choose(kept, sequence.seed, sequence.key, sequence.position)
            origin = completion_pb2.TOKEN_ORIGIN_CHOSEN
        sampling_log_prob = log_prob_of(kept, token_id)
        record = sequence.recorder.record(row, token_id, sequence.position, origin, sampling_log_prob, kept)
        sequence.model_sum = _plus(sequence.model_sum, row[token_id])
        sequence.sampling_sum = _plus(sequence.sampling_sum, sampling_log_prob)
        sequence.position += 1
        if not sequence.recorder.writes_tokens:
            record = completion_pb2.TokenRecord(token_id=token_id, position=record.position, origin=origin)
        result = decoding_service_pb2.StepResult(
            sequence_id=step.sequence_id, position=step.position,
            chosen=decoding_service_pb2.StepChosen(tokens=[record], totals=self._totals(sequence)))
        result.chosen.resume_state.SetInParent()
        for name, value in (("model_sum", sequence.model_sum), ("sampling_sum", sequence.sampling_sum)):
            if value is not None:
                setattr(result.chosen.resume_state, name, value)
        finish = self._finish(sequence, token_id)
        if finish is not None:
            result.chosen.finish.CopyFrom(finish)
            del self._open[step.sequence_id]
        sequence.latest = step, rows[number][1], result
        return result

    @staticmethod
    def _repeated(sequence: _Sequence, step: decoding_service_pb2.SequenceStep,
                  row: bytes) -> decoding_service_pb2.StepResult:
        """The answer to the latest step again."""
        if step.position > sequence.position:
            raise _failures.failure("POSITION_GAP", f"position {step.position}; the sequence has {sequence.position} "
                                    "tokens", field="position")
        if sequence.latest is None or step.position < sequence.position - 1:
            raise _failures.failure("POSITION_TOO_OLD", f"position {step.position} is before the latest step",
                                    field="position")
        if row != sequence.latest[1] or step.given_token_id != sequence.latest[0].given_token_id:
            raise unimplemented("a repeated step with another row")
        return sequence.latest[2]

    def _values(self, dtype: int, data: bytes) -> list[float]:
        if dtype == logits_pb2.LOGITS_DTYPE_BF16:
            values = [struct.unpack("<f", b"\0\0" + data[i:i + 2])[0] for i in range(0, len(data), 2)]
        else:
            values = list(struct.unpack(f"<{self._config.vocab_size}{_FORMATS[dtype][0]}", data))
        for token_id, value in enumerate(values):
            if value != value or value == _INF:
                name = "NaN" if value != value else "+inf"
                raise _failures.failure("NON_FINITE_LOGIT", f"row: token {token_id} has {name}", field="row",
                                        token_id=token_id)
        if max(values) == -_INF:
            raise _failures.failure("NO_FINITE_LOGIT", "row has no finite logit", field="row")
        return values

    def _finish(self, sequence: _Sequence, token_id: int) -> completion_pb2.Finish | None:
        ends = [*sequence.stop.stop_token_ids, *(() if sequence.stop.ignore_eos else self._config.end_token_ids)]
        if token_id in ends:
            return completion_pb2.Finish(reason=completion_pb2.FINISH_REASON_STOP_TOKEN, stop_token_id=token_id)
        most = sequence.stop.max_tokens if sequence.stop.HasField("max_tokens") else _MOST_TOKENS
        if sequence.position < most:
            return None
        return completion_pb2.Finish(reason=completion_pb2.FINISH_REASON_MAX_TOKENS)

    @staticmethod
    def _totals(sequence: _Sequence) -> completion_pb2.SequenceTotals:
        totals = completion_pb2.SequenceTotals(token_count=sequence.position)
        if sequence.model_sum is not None and sequence.position:
            totals.cumulative_model_log_prob = sequence.model_sum
        if sequence.sampling_sum is not None and sequence.position and sequence.recorder.sampling:
            totals.cumulative_sampling_log_prob = sequence.sampling_sum
        return totals


def _plus(total: float | None, log_prob: float) -> float | None:
    return None if total is None else cumulative((total, log_prob))
