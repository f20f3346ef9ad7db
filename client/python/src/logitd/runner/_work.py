"""Reads and checks one entry of a RunBatch: the rows for which it asks, and whether it is legal."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from logitd import _failures
from logitd.v1 import model_runner_service_pb2 as runner_pb2


def row_count_of(work: runner_pb2.SequenceWork, request: runner_pb2.RowRequest) -> int:
    """The number of rows for which `request`, one of `work`, asks."""
    return request.row_count if request.HasField("row_count") else len(work.append_token_ids) - request.first_row


def wanted_rows(work: runner_pb2.SequenceWork) -> list[int]:
    """The indices of the appended tokens whose rows `work` asks for, ascending, each once."""
    if len(work.rows) == 1:
        first = work.rows[0].first_row
        return list(range(first, first + row_count_of(work, work.rows[0])))
    return sorted({row for request in work.rows
                   for row in range(request.first_row, request.first_row + row_count_of(work, request))})


def check_work(work: runner_pb2.SequenceWork, vocab_size: int, dtype: int) -> None:
    """Raises LogitdError unless `work` is legal for a model of this vocabulary that sends rows of this type, as far as
    that can be told without the caches. Field names begin at the entry."""
    if work.sequence_id < 1:
        raise _failures.out_of_range("sequence_id", work.sequence_id, ">= 1")
    if work.HasField("keep_prefix_length") and work.keep_prefix_length < 0:
        raise _failures.out_of_range("keep_prefix_length", work.keep_prefix_length, ">= 0")
    for other in ("keep_prefix_length", "fork_from_sequence_id"):
        if work.isolated and work.HasField(other):
            raise _failures.failure("FIELDS_EXCLUSIVE", f"isolated excludes {other}", field="isolated")
    if work.HasField("append_chosen_decoder_id"):
        raise _failures.failure("FIELD_OUT_OF_RANGE", "append_chosen_decoder_id: this runner does not choose tokens",
                                field="append_chosen_decoder_id")
    _failures.check_token_ids("append_token_ids", work.append_token_ids, vocab_size)
    for i, request in enumerate(work.rows):
        _check_request(f"rows[{i}].", work, request, dtype)


def _check_request(field: str, work: runner_pb2.SequenceWork, request: runner_pb2.RowRequest, dtype: int) -> None:
    appended = len(work.append_token_ids)
    if appended == 0:
        raise _failures.required("append_token_ids")
    if not 0 <= request.first_row < appended:
        raise _failures.out_of_range(field + "first_row", request.first_row, f"in [0, {appended})")
    most = appended - request.first_row
    if request.HasField("row_count") and not 1 <= request.row_count <= most:
        raise _failures.out_of_range(field + "row_count", request.row_count, f"in [1, {most}]")
    form = request.WhichOneof("form")
    if form is None:
        raise _failures.required(field + "form")
    if form != "logits":
        raise _failures.failure("FIELD_OUT_OF_RANGE", f"{field}{form}: this runner returns logits only",
                                field=field + form)
    if request.logits.dtype not in (0, dtype):
        raise _failures.failure("UNKNOWN_ENUM_VALUE", f"{field}logits.dtype {request.logits.dtype}: this runner sends "
                                f"rows of type {dtype} only", field=field + "logits.dtype")


def forks_that_wait(entries: Sequence[runner_pb2.SequenceWork], length_of: Callable[[int], int]) -> list[int]:
    """For each entry -1, or the index of the earlier entry whose tokens must be evaluated before this one is set up,
    because it copies tokens that the batch itself evaluates.

    Entries that wait for the same entry are set up in order, before tokens are appended to any of them. `length_of`:
    the length of a sequence before the batch; 0: it is not known.
    """
    waits: list[int] = []
    places: dict[int, int] = {}
    # The length of each entry's sequence before its tokens are appended.
    lengths: list[int] = []
    for i, work in enumerate(entries):
        is_fork = work.HasField("fork_from_sequence_id")
        source_id = work.fork_from_sequence_id if is_fork else work.sequence_id
        source = places.get(source_id) if is_fork else None
        length = length_of(source_id) if source is None else lengths[source]
        keep = work.keep_prefix_length if work.HasField("keep_prefix_length") else length
        waits.append(-1 if source is None else source if keep > length else waits[source])
        lengths.append(keep)
        places.setdefault(work.sequence_id, i)
    return waits
