"""score_logits: log-probs of given tokens under rows that the caller computed."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterable, Iterator, Sequence as List
from typing import TYPE_CHECKING, Any, SupportsIndex

import grpc

from logitd import _channel, _replies, _retry, _values, errors
from logitd import sampling as sampling_options
from logitd._decode.head import Head, head_of
from logitd._decode.rows import Dtype, Rows, check_dtype, refuse
from logitd._decode.session import connect_in_turn
from logitd._decode.stream import with_payload
from logitd.records import Provenance, TokenRecord
from logitd.v1 import scoring_service_pb2 as scoring

if TYPE_CHECKING:
    from typing_extensions import Unpack

_METHOD = "/logitd.v1.ScoringService/ScoreLogits"
# Far below a message's cap.
_ROW_BYTES_PER_MESSAGE = 4 << 20
# Limits.max_rows_per_message and Limits.max_score_sequences.
_ROWS_PER_MESSAGE = 1024
_SEQUENCES = 4096
# A target that is not scored.
_NOT_SCORED = -100


@_replies.reply(flatten=("score", "totals"))
@dataclasses.dataclass(frozen=True, slots=True)
class ScoredLogits:
    """The score of one sequence of rows and targets. A number that does not exist, or was not asked for, is None."""

    # Its place in the call, from 0.
    sequence_index: int = 0
    # The records of the targets that are scored; empty with layout "none".
    tokens: tuple[TokenRecord, ...] = ()
    token_count: int = 0
    # Sums over them, nats. None: some token has probability zero.
    cumulative_model_log_prob: float | None = None
    cumulative_sampling_log_prob: float | None = None
    # Every token is the argmax of its row; ties go to the lowest id.
    is_greedy: bool | None = None
    # Why there are no numbers.
    error: errors.LogitdError | None = None
    provenance: Provenance | None = None
    # With gradient=True: a numpy array [scored rows, V] of float32, the gradient of each row's loss in its logits.
    gradient: Any = None


@dataclasses.dataclass(frozen=True)
class _Given:
    rows: Rows
    targets: list[int]
    # Of each row.
    named: list[list[int]] | None


def score_logits(rows: Any, targets: Any, *, server: str | Iterable[str] = _channel.DEFAULT_ADDRESS,
                 prompt: Iterable[SupportsIndex] = (), record: sampling_options.Record | None = None,
                 named_by_position: Any = None, gradient: bool = False, vocab_size: int | None = None,
                 dtype: Dtype | None = None,
                 numerics_version: int | None = None, timeout: float | None = None, retry_for: float = 300.0,
                 credentials: grpc.ChannelCredentials | None = None, head: str | None = None,
                 before_output_norm: bool = False, head_token_ids: Iterable[SupportsIndex] = (),
                 **stages: Unpack[sampling_options.Stages]) -> list[ScoredLogits]:
    """The log-probs of targets under rows of logits: the model's output at each position, and the token that follows.

        scores = logitd.score_logits(logits[:-1], ids[1:])
        scores[0].cumulative_model_log_prob, scores[0].tokens[0].model_log_prob

    rows: an array [T, V], one sequence; [B, T, V], or a list of arrays [T, V]. As for DecodeSession.send.
    targets: [T], [B, T], or a list of lists: row t predicts target t. -100: the position is not scored.
    prompt: the tokens before the first target of every sequence, for stages that look at them.
    record: the contents of the tokens' records.
    named_by_position: for each row of each sequence, the token ids whose log-probs are wanted; as lists like targets.
    gradient: also return the gradient of -ln p(target) in each scored row's logits, p - y; needs numpy. With stages it is
      (p - y) / temperature with their p, 0 outside of allowed tokens; only temperature and token sets may be on. At
      most Limits.max_gradient_bytes for a sequence: 4 * V for each row.
    vocab_size: the width that the rows must have; None: that of the first.
    timeout: the longest time for the call, seconds; None: no limit.
    retry_for: the longest time without an answer, seconds; sequences without an answer are then sent again.
    head: rows are hidden states, [T, d], for the server's head of this name ("": its only one), which makes logits of
      them; before_output_norm and head_token_ids are as in DecodeSession.
    stages: also score under these stages (sampling_log_prob): temperature, top_p, ...; not temperature 0 and xtc.

    Returns one score for each sequence, in their order. A wrong value in a sequence's rows is the `error` of its score.
    Raises InvalidRequestError for rows or targets of a wrong shape or type, before anything is sent; LogitdError if the
    call fails.
    """
    check_dtype(dtype)
    connect = connect_in_turn(server, credentials)
    layer = head_of(connect, head, vocab_size, before_output_norm, head_token_ids, retry_for)
    given = _sequences(rows, targets, named_by_position, vocab_size, dtype, layer)
    config = scoring.ScoreLogitsConfig(
        vocab_size=given[0].rows.width if layer is None else layer.vocab_size,
        record=sampling_options.record_options(record),
        sampling=sampling_options.sampling_params(stages, "score_logits"), numerics_version=numerics_version,
        gradient=_values.boolean(gradient, "gradient"))
    before = _values.token_ids(prompt, "prompt")
    deadline = None if timeout is None else time.monotonic() + timeout
    patience = _retry.Patience(retry_for)
    scores: list[ScoredLogits] = []
    attempt = 0
    while len(scores) < len(given):
        channel = connect(attempt)
        attempt += 1
        try:
            method: Any = channel.stream_stream(_METHOD, None, scoring.ScoreLogitsResponse.FromString)
            left = None if deadline is None else max(0.0, deadline - time.monotonic())
            for reply in method(_messages(config, given, len(scores), before), timeout=left):
                scores.append(_score(reply, len(scores)))
                patience.reset()
            if len(scores) < len(given):
                raise errors.ServerError(f"the server answered {len(scores)} of {len(given)} sequences",
                                         code=grpc.StatusCode.INTERNAL)
        except grpc.RpcError as failure:
            time.sleep(patience.wait_after(errors.from_rpc_error(failure)))
        finally:
            channel.close()
    return scores


def _score(reply: scoring.ScoreLogitsResponse, index: int) -> ScoredLogits:
    if reply.sequence_index != index % _SEQUENCES:
        raise errors.ServerError(f"the server answered sequence {reply.sequence_index} instead of {index % _SEQUENCES}",
                                 code=grpc.StatusCode.INTERNAL)
    gradient = _gradient(reply.gradient) if reply.HasField("gradient") else None
    reply.ClearField("gradient")
    return dataclasses.replace(_replies.convert(ScoredLogits, reply), sequence_index=index, gradient=gradient)


def _gradient(message: scoring.LossGradient) -> Any:
    import numpy

    return numpy.frombuffer(message.values, "<f4").reshape(message.row_count, message.width)


def _sequences(rows: Any, targets: Any, named: Any, vocab_size: int | None, dtype: Dtype | None,
               head: Head | None) -> list[_Given]:
    dimensions = getattr(rows, "ndim", None)
    if isinstance(rows, (list, tuple)):
        parts = list(rows)
    elif dimensions == 3:
        parts = [rows[i] for i in range(len(rows))]
    else:
        parts, targets, named = [rows], [targets], None if named is None else [named]
    if named is not None and len(named) != len(parts):
        raise refuse(f"named_by_position must have a list for each of {len(parts)} sequences, got {len(named)}",
                     field="named_by_position", value=len(named), bound=len(parts))
    lists = _values.items(targets.tolist() if hasattr(targets, "tolist") else targets, "targets", "lists of token ids")
    if not parts or len(lists) != len(parts):
        raise refuse(f"there must be a list of targets for each of {len(parts)} sequences, got {len(lists)}",
                     field="targets", value=len(lists), bound=len(parts))
    found: list[_Given] = []
    for i, (part, ids) in enumerate(zip(parts, lists)):
        these = Rows.of(part, vocab_size, dtype, head)
        vocab_size = these.width
        tokens = _values.token_ids(ids, f"targets[{i}]")
        if len(tokens) != these.count:
            raise refuse(f"targets[{i}] must have one token for each of {these.count} rows, got {len(tokens)}",
                         field=f"targets[{i}]", value=len(tokens), bound=these.count, reason="TARGET_COUNT_MISMATCH")
        wanted = None if named is None else [_values.token_ids(ids, f"named_by_position[{i}][{t}]")
                                             for t, ids in enumerate(named[i])]
        if wanted is not None and len(wanted) != these.count:
            raise refuse(f"named_by_position[{i}] must have one list for each of {these.count} rows, got {len(wanted)}",
                         field=f"named_by_position[{i}]", value=len(wanted), bound=these.count,
                         reason="TARGET_COUNT_MISMATCH")
        found.append(_Given(these, tokens, wanted))
    return found


def _messages(config: scoring.ScoreLogitsConfig, given: List[_Given], first: int, prompt: list[int]) -> Iterator[bytes]:
    yield scoring.ScoreLogitsRequest(config=config).SerializeToString()
    for index in range(first, len(given)):
        sequence = given[index]
        at_once = max(1, min(_ROWS_PER_MESSAGE, _ROW_BYTES_PER_MESSAGE // sequence.rows.row_bytes))
        for begin in range(0, sequence.rows.count, at_once):
            end = min(begin + at_once, sequence.rows.count)
            message = scoring.ScoreLogitsRows(
                blocks=[sequence.rows.block(begin, end)], target_token_ids=sequence.targets[begin:end],
                sequence_index=index % _SEQUENCES, prompt_token_ids=prompt if begin == 0 else (),
                last=end == sequence.rows.count)
            if sequence.named is not None:
                for ids in sequence.named[begin:end]:
                    message.named_by_position.add(token_ids=ids)
            head = scoring.ScoreLogitsRequest(rows=message).SerializeToString()
            yield with_payload(head, sequence.rows.pieces(begin, end))
