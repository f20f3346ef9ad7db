"""Makes errors and puts them on the wire: for a runner, which answers a server, and for the mock server."""

from __future__ import annotations

from typing import Any

import grpc
from google.protobuf import any_pb2

from logitd import errors
from logitd.v1 import error_pb2

_Code = grpc.StatusCode
# The gRPC status code of each logitd.v1.ErrorReason, as proto/logitd/v1/error.proto states it.
CODES: dict[str, grpc.StatusCode] = {
    "FIELD_REQUIRED": _Code.INVALID_ARGUMENT,
    "FIELD_OUT_OF_RANGE": _Code.INVALID_ARGUMENT,
    "FIELDS_EXCLUSIVE": _Code.INVALID_ARGUMENT,
    "UNKNOWN_FIELD": _Code.INVALID_ARGUMENT,
    "UNKNOWN_ENUM_VALUE": _Code.INVALID_ARGUMENT,
    "MALFORMED_MESSAGE": _Code.INVALID_ARGUMENT,
    "UNEXPECTED_MESSAGE": _Code.FAILED_PRECONDITION,
    "NON_FINITE_LOGIT": _Code.INVALID_ARGUMENT,
    "NO_FINITE_LOGIT": _Code.INVALID_ARGUMENT,
    "ROW_LENGTH_MISMATCH": _Code.INVALID_ARGUMENT,
    "ROW_INDEX_OUT_OF_RANGE": _Code.INVALID_ARGUMENT,
    "TOKEN_ID_OUT_OF_RANGE": _Code.INVALID_ARGUMENT,
    "DUPLICATE_TOKEN_ID": _Code.INVALID_ARGUMENT,
    "EMPTY_TOKEN_SET": _Code.INVALID_ARGUMENT,
    "ALL_TOKENS_EXCLUDED": _Code.FAILED_PRECONDITION,
    "SEQUENCE_ALREADY_OPEN": _Code.ALREADY_EXISTS,
    "SEQUENCE_NOT_OPEN": _Code.NOT_FOUND,
    "POSITION_GAP": _Code.FAILED_PRECONDITION,
    "POSITION_TOO_OLD": _Code.FAILED_PRECONDITION,
    "POSITION_CONFLICT": _Code.ABORTED,
    "NUMERICS_VERSION_MISMATCH": _Code.FAILED_PRECONDITION,
    "MODEL_NOT_FOUND": _Code.NOT_FOUND,
    "MODEL_AMBIGUOUS": _Code.INVALID_ARGUMENT,
    "MODEL_UNAVAILABLE": _Code.UNAVAILABLE,
    "RUNNER_LOST": _Code.UNAVAILABLE,
    "RUNNER_PROTOCOL": _Code.FAILED_PRECONDITION,
    "MODEL_OUTPUT_INVALID": _Code.INTERNAL,
    "TOKENIZER_UNAVAILABLE": _Code.FAILED_PRECONDITION,
    "CONTEXT_LENGTH_EXCEEDED": _Code.INVALID_ARGUMENT,
    "KV_CACHE_FULL": _Code.RESOURCE_EXHAUSTED,
    "MODEL_MISMATCH": _Code.FAILED_PRECONDITION,
    "TOKENIZER_FAILED": _Code.INVALID_ARGUMENT,
    "RUNNER_KILLED": _Code.INTERNAL,
    "VOCABULARY_UNAVAILABLE": _Code.FAILED_PRECONDITION,
    "NOT_REPRODUCIBLE": _Code.FAILED_PRECONDITION,
    "HEAD_NOT_FOUND": _Code.NOT_FOUND,
    "HEAD_SHAPE_MISMATCH": _Code.INVALID_ARGUMENT,
    "CALIBRATION_NOT_FOUND": _Code.NOT_FOUND,
    "CALIBRATION_MISMATCH": _Code.INVALID_ARGUMENT,
    "CHAT_TEMPLATE_UNAVAILABLE": _Code.FAILED_PRECONDITION,
    "CHAT_TEMPLATE_FAILED": _Code.INVALID_ARGUMENT,
    "EMPTY_CONTINUATION": _Code.INVALID_ARGUMENT,
    "EMPTY_PROMPT": _Code.INVALID_ARGUMENT,
    "NO_CANDIDATES": _Code.INVALID_ARGUMENT,
    "BOUNDARY_TOKEN": _Code.INVALID_ARGUMENT,
    "TARGET_COUNT_MISMATCH": _Code.INVALID_ARGUMENT,
    "NORMALIZATION_UNDEFINED": _Code.INVALID_ARGUMENT,
    "DATA_SEPARABLE": _Code.INVALID_ARGUMENT,
    "LABEL_MISSING": _Code.INVALID_ARGUMENT,
    "FIT_UNDEFINED": _Code.INVALID_ARGUMENT,
    "ORDER_INVALID": _Code.INVALID_ARGUMENT,
    "STRENGTHS_UNDEFINED": _Code.INVALID_ARGUMENT,
    "LIMIT_EXCEEDED": _Code.RESOURCE_EXHAUSTED,
    "OVERLOADED": _Code.RESOURCE_EXHAUSTED,
    "DRAINING": _Code.UNAVAILABLE,
    "DEADLINE_EXCEEDED": _Code.DEADLINE_EXCEEDED,
    "CANCELLED": _Code.CANCELLED,
    "INTERNAL": _Code.INTERNAL,
}


def failure(reason: str, message: str, **details: Any) -> errors.LogitdError:
    """The error of this reason. `details`: further fields of LogitdError. Raises ValueError for an unknown reason."""
    if reason not in CODES:
        raise ValueError(f"reason {reason!r} is none of logitd's: see logitd.v1.ErrorReason")
    code = CODES[reason]
    return errors._class_of(code)(message=message, reason=reason, code=code, **details)


def out_of_range(field: str, value: object, bound: str) -> errors.LogitdError:
    """FIELD_OUT_OF_RANGE. `bound`: the legal values, as an interval or in words."""
    return failure("FIELD_OUT_OF_RANGE", f"{field} must be {bound}, got {value}", field=field, value=str(value),
                   bound=bound)


def required(field: str) -> errors.LogitdError:
    """FIELD_REQUIRED."""
    return failure("FIELD_REQUIRED", f"{field} is required", field=field)


def within(prefix: str, error: errors.LogitdError) -> errors.LogitdError:
    """`error`, whose field is a part of `prefix`: "rows[1]." + "first_row"."""
    if error.field and error.message.startswith(error.field):
        error.message = prefix + error.message
    error.field = prefix + error.field if error.field else prefix.rstrip(".")
    return error


def check_token_ids(field: str, token_ids: Any, vocab_size: int) -> None:
    """Raises TOKEN_ID_OUT_OF_RANGE for the first id that is not in [0, vocab_size)."""
    if not token_ids or (min(token_ids) >= 0 and max(token_ids) < vocab_size):
        return
    index, token_id = next((i, t) for i, t in enumerate(token_ids) if not 0 <= t < vocab_size)
    name = f"{field}[{index}]"
    raise failure("TOKEN_ID_OUT_OF_RANGE", f"{name} must be in [0, {vocab_size}), got {token_id}", field=name,
                  value=str(token_id), bound=f"[0, {vocab_size})")


def to_proto(error: errors.LogitdError) -> error_pb2.Error:
    """The message of an error; errors.from_proto takes it back."""
    return error_pb2.Error(
        code=error.code.value[0], reason=f"ERROR_REASON_{error.reason}" if error.reason else None,
        message=error.message, field=error.field, value=error.value, bound=error.bound, limit=error.limit,
        token_id=error.token_id, row=error.row,
        retry_after_ms=None if error.retry_after_s is None else max(1, round(error.retry_after_s * 1000)))


def status_details(error: errors.LogitdError) -> bytes:
    """The value of grpc-status-details-bin with which a call fails as a whole."""
    detail = any_pb2.Any()
    detail.Pack(to_proto(error))
    status: Any = errors._rpc_class("Status")()
    status.code = error.code.value[0]
    status.message = error.message
    status.details.add(type_url=detail.type_url, value=detail.value)
    return bytes(status.SerializeToString())
