"""Token records and sums, as RecordOptions ask for them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence

from logitd import _failures
from logitd.mock._model import MockModel
from logitd.mock._supported import unimplemented
from logitd.v1 import completion_pb2

_INF = math.inf


def entropy_of(row: Sequence[float]) -> float:
    """Nats."""
    return math.fsum(-math.exp(value) * value for value in row if value > -_INF)


def rank_of(row: Sequence[float], token_id: int) -> int:
    """1 + the number of tokens with a larger log-prob."""
    return 1 + sum(value > row[token_id] for value in row)


def argmax(row: Sequence[float]) -> int:
    """Ties go to the lowest id."""
    return row.index(max(row))


def cumulative(log_probs: Iterable[float]) -> float | None:
    """The exact sum, rounded once; None: there is nothing, or a token is not possible."""
    values = list(log_probs)
    return math.fsum(values) if values and min(values) > -_INF else None


class Recorder:
    """Writes the records of one request."""

    def __init__(self, options: completion_pb2.RecordOptions, model: MockModel | None, vocab_size: int,
                 default_layout: int = completion_pb2.RECORD_LAYOUT_RECORDS, samples: bool = False):
        """model: None where no model is involved, and tokens have no bytes. samples: tokens are chosen, so that
        sampling_log_prob is there by default."""
        if options.HasField("model_log_prob") and not options.model_log_prob:
            raise unimplemented("RecordOptions.model_log_prob = false", "record.model_log_prob")
        if options.HasField("sampling_log_prob") and options.sampling_log_prob and not samples:
            raise unimplemented("RecordOptions.sampling_log_prob", "record.sampling_log_prob")
        if not 0 <= options.top_n <= vocab_size:
            raise _failures.out_of_range("record.top_n", options.top_n, f"in [0, {vocab_size}]")
        _failures.check_token_ids("record.named_token_ids", options.named_token_ids, vocab_size)
        self._options = options
        self._model = model
        self._has_bytes = not options.HasField("token_bytes") or options.token_bytes
        self.sampling = samples and (not options.HasField("sampling_log_prob") or options.sampling_log_prob)
        self.writes_tokens = (options.layout or default_layout) == completion_pb2.RECORD_LAYOUT_RECORDS

    def record(self, row: Sequence[float], token_id: int, position: int, origin: completion_pb2.TokenOrigin,
               sampling_log_prob: float | None = None,
               kept: Mapping[int, float] | None = None) -> completion_pb2.TokenRecord:
        """row: the model's log-probs. sampling_log_prob: None: there are no stages; -inf: the stages leave the token
        out. kept: the probabilities of the tokens that the stages keep."""
        options = self._options
        record = completion_pb2.TokenRecord(token_id=token_id, position=position, origin=origin,
                                            log_prob_state=completion_pb2.LOG_PROB_STATE_PRESENT)
        if row[token_id] > -_INF:
            record.model_log_prob = row[token_id]
        if sampling_log_prob is not None and self.sampling and sampling_log_prob > -_INF:
            record.sampling_log_prob = sampling_log_prob
        if row[token_id] == -_INF or sampling_log_prob == -_INF:
            record.log_prob_state = completion_pb2.LOG_PROB_STATE_EXCLUDED
        if self._has_bytes and self._model is not None:
            record.token_bytes = self._model.token_bytes(token_id)
        if options.rank:
            record.rank = rank_of(row, token_id)
        if options.entropy:
            record.model_entropy = entropy_of(row)
            record.model_log_sum_exp = 0.0
        if options.top_n:
            top = sorted(range(len(row)), key=lambda i: (-row[i], i))[:options.top_n]
            self._alternatives(row, top, kept, record.top)
        if options.named_token_ids:
            self._alternatives(row, list(options.named_token_ids), kept, record.named)
        return record

    def _alternatives(self, row: Sequence[float], tokens: list[int], kept: Mapping[int, float] | None,
                      message: completion_pb2.TokenAlternatives) -> None:
        message.token_ids.extend(tokens)
        message.model_log_probs.extend(row[token_id] for token_id in tokens)
        if kept is not None and self.sampling:
            message.sampling_log_probs.extend(math.log(kept[i]) if kept.get(i) else -_INF for i in tokens)
        if self._options.rank:
            message.ranks.extend(rank_of(row, token_id) for token_id in tokens)
        if self._has_bytes and self._model is not None and self._model.texts is not None:
            message.token_bytes.extend(self._model.token_bytes(token_id) for token_id in tokens)
