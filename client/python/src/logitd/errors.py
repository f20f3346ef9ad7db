"""The errors of logitd: one class for each kind of failure, with reason, field, value and bound.

    try:
        client.generate("1 + 1 =", temperature=-1)
    except logitd.InvalidRequestError as error:
        print(error.reason, error.field, error.bound)     # FIELD_OUT_OF_RANGE sampling.temperature ...

A call that fails as a whole raises. A failure of one item, candidate or sequence is the `error` of its result.
"""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

import grpc
from google.protobuf import any_pb2, descriptor_pb2, descriptor_pool, duration_pb2, message

from logitd.v1 import error_pb2

_DETAILS_KEY = "grpc-status-details-bin"
_PREFIX = "ERROR_REASON_"


@dataclasses.dataclass(eq=False)
class LogitdError(Exception):
    """A failure.

    reason: the name of logitd.v1.ErrorReason without its prefix, "FIELD_OUT_OF_RANGE"; empty: the failure is not
      logitd's own (the connection, or gRPC).
    field, value, bound: the path of the field in the request message, its value and the bound that it broke; empty:
      none.
    limit: the name of an exceeded field of Limits; empty: none.
    token_id, row: the token, and the row over all blocks of the message, that failed; None: none.
    retry_after_s: seconds after which the same request can succeed; None: a retry does not help, or it is not known.
    """

    message: str
    reason: str = ""
    field: str = ""
    value: str = ""
    bound: str = ""
    limit: str = ""
    token_id: int | None = None
    row: int | None = None
    retry_after_s: float | None = None
    # The gRPC status.
    code: grpc.StatusCode = grpc.StatusCode.UNKNOWN

    def __str__(self) -> str:
        return f"{self.reason}: {self.message}" if self.reason else self.message

    def __reduce__(self) -> tuple[Any, ...]:
        values = tuple(getattr(self, field.name) for field in dataclasses.fields(self))
        return type(self), values


class InvalidRequestError(LogitdError, ValueError):
    """The request is wrong: a field, a size, a token id, a row. Sending it again does not help."""


class NotFoundError(LogitdError, LookupError):
    """There is no such model or sequence."""


class PreconditionError(LogitdError):
    """The server, or the model, cannot do what was asked: no tokenizer, another numerics version, a wrong order."""


class LimitError(LogitdError):
    """A limit of the server is exceeded, or it is full now (then retry_after_s is set)."""


class UnavailableError(LogitdError, ConnectionError):
    """Nobody answers: no server, no runner, or the server shuts down."""


class DeadlineError(LogitdError, TimeoutError):
    """The time of the call has passed."""


class CancelledError(LogitdError):
    """The call was cancelled."""


class ServerError(LogitdError):
    """The server or the model failed; the request was right."""


_CLASSES: dict[grpc.StatusCode, type[LogitdError]] = {
    grpc.StatusCode.INVALID_ARGUMENT: InvalidRequestError,
    grpc.StatusCode.OUT_OF_RANGE: InvalidRequestError,
    grpc.StatusCode.ALREADY_EXISTS: InvalidRequestError,
    grpc.StatusCode.NOT_FOUND: NotFoundError,
    grpc.StatusCode.FAILED_PRECONDITION: PreconditionError,
    grpc.StatusCode.UNIMPLEMENTED: PreconditionError,
    grpc.StatusCode.ABORTED: PreconditionError,
    grpc.StatusCode.RESOURCE_EXHAUSTED: LimitError,
    grpc.StatusCode.UNAVAILABLE: UnavailableError,
    grpc.StatusCode.DEADLINE_EXCEEDED: DeadlineError,
    grpc.StatusCode.CANCELLED: CancelledError,
}
_CODES = {code.value[0]: code for code in grpc.StatusCode}


def _class_of(code: grpc.StatusCode) -> type[LogitdError]:
    return _CLASSES.get(code, ServerError)


@functools.cache
def _rpc_class(name: str) -> Any:
    """google.rpc.Status or google.rpc.RetryInfo, in a pool of its own: other packages may define them in the default
    one."""
    file = descriptor_pb2.FileDescriptorProto(
        name="logitd/python/rpc.proto", package="google.rpc", syntax="proto3",
        dependency=["google/protobuf/any.proto", "google/protobuf/duration.proto"])
    field = descriptor_pb2.FieldDescriptorProto
    status = file.message_type.add(name="Status")
    status.field.add(name="code", number=1, type=field.TYPE_INT32, label=field.LABEL_OPTIONAL)
    status.field.add(name="message", number=2, type=field.TYPE_STRING, label=field.LABEL_OPTIONAL)
    status.field.add(name="details", number=3, type=field.TYPE_MESSAGE, label=field.LABEL_REPEATED,
                     type_name=".google.protobuf.Any")
    retry_info = file.message_type.add(name="RetryInfo")
    retry_info.field.add(name="retry_delay", number=1, type=field.TYPE_MESSAGE, label=field.LABEL_OPTIONAL,
                         type_name=".google.protobuf.Duration")
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(any_pb2.DESCRIPTOR.serialized_pb)
    pool.AddSerializedFile(duration_pb2.DESCRIPTOR.serialized_pb)
    pool.AddSerializedFile(file.SerializeToString())
    from google.protobuf import message_factory

    descriptor = pool.FindMessageTypeByName(f"google.rpc.{name}")
    if hasattr(message_factory, "GetMessageClass"):
        return message_factory.GetMessageClass(descriptor)
    old: Any = message_factory  # protobuf < 4.22
    return old.MessageFactory(pool).GetPrototype(descriptor)


def reason_name(reason: int) -> str:
    """The name of a logitd.v1.ErrorReason without its prefix; of one that this package does not know, its number."""
    try:
        return error_pb2.ErrorReason.Name(reason).removeprefix(_PREFIX)
    except ValueError:
        return str(reason)


def from_proto(error: error_pb2.Error) -> LogitdError:
    """The exception of a logitd.v1.Error."""
    code = _CODES.get(error.code, grpc.StatusCode.UNKNOWN)
    return _class_of(code)(
        message=error.message, reason=reason_name(error.reason) if error.reason else "", field=error.field,
        value=error.value, bound=error.bound, limit=error.limit,
        token_id=error.token_id if error.HasField("token_id") else None,
        row=error.row if error.HasField("row") else None,
        retry_after_s=error.retry_after_ms / 1000 if error.HasField("retry_after_ms") else None, code=code)


def from_rpc_error(failure: grpc.RpcError) -> LogitdError:
    """The exception of a failed call, of grpc or of grpc.aio."""
    code = failure.code() or grpc.StatusCode.UNKNOWN
    text = failure.details() or ""
    # grpc's type stubs do not describe its metadata as it is.
    metadata: Any = failure.trailing_metadata() or ()
    for key, value in metadata:
        if key != _DETAILS_KEY:
            continue
        try:
            details = {detail.type_url.rpartition("/")[2]: detail.value
                       for detail in _rpc_class("Status").FromString(value).details}
            if "logitd.v1.Error" in details:
                return from_proto(error_pb2.Error.FromString(details["logitd.v1.Error"]))
            # Of a proxy before the server.
            if "google.rpc.RetryInfo" in details:
                delay = _rpc_class("RetryInfo").FromString(details["google.rpc.RetryInfo"]).retry_delay
                return _class_of(code)(message=text, code=code, retry_after_s=delay.seconds + delay.nanos / 1e9)
        except message.DecodeError:
            continue
    return _class_of(code)(message=text, code=code)


def is_transient(error: LogitdError) -> bool:
    """Whether the same request may succeed later: the connection failed, or the server is full and names a delay, shuts
    down, or has no runner now."""
    if error.code is grpc.StatusCode.UNAVAILABLE:
        return True
    if error.code is grpc.StatusCode.RESOURCE_EXHAUSTED:
        return error.retry_after_s is not None
    # Some versions of gRPC say "Stream removed" of these too.
    if error.code is grpc.StatusCode.DEADLINE_EXCEEDED:
        return False
    # gRPC's words for a server that died while it answered.
    return not error.reason and ("RST_STREAM" in error.message or "Stream removed" in error.message)
