"""A head of the server: rows are hidden states, and the server makes logits of them.

    head = Head.of(connect, "lm", vocab_size=None, before_output_norm=False, token_ids=())
    head.vocab_size, head.hidden_size                 # from the server's info
    rows = Rows.of(hidden, head.hidden_size, head=head)
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable
from typing import Any, SupportsIndex

import grpc

from logitd import _values, errors
from logitd.v1 import logits_pb2
from logitd.v1 import server_service_pb2 as server_pb2

_METHOD = "/logitd.v1.ServerService/GetServerInfo"
_TIMEOUT_S = 30.0


@dataclasses.dataclass(frozen=True)
class Head:
    """Which head the rows are for, and its shape: W is [vocab_size, hidden_size]."""

    name: str
    vocab_size: int
    hidden_size: int
    message: logits_pb2.HiddenRows

    @classmethod
    def of(cls, connect: Callable[[int], grpc.Channel], name: str, *, vocab_size: int | None, before_output_norm: bool,
           token_ids: Iterable[SupportsIndex], retry_for: float) -> Head:
        """Asks the server for the head's shape.

        vocab_size: the number of token ids that the caller expects; None: the head's.

        Raises NotFoundError (HEAD_NOT_FOUND), InvalidRequestError (HEAD_SHAPE_MISMATCH, or before_output_norm for a
        head without a norm), and whatever the call raises.
        """
        infos = {info.name: info for info in _heads(connect, min(retry_for, _TIMEOUT_S))}
        info = next(iter(infos.values())) if not name and len(infos) == 1 else infos.get(name)
        if info is None:
            there = f"it has {', '.join(sorted(infos))}" if infos else "it has none: start it with --head NAME=FILE"
            raise errors.NotFoundError(f"head: the server has no head {name!r}; {there}", reason="HEAD_NOT_FOUND",
                                       field="head", code=grpc.StatusCode.NOT_FOUND)
        shape = f"head {info.name!r} (W [V = {info.vocab_size}, d = {info.hidden_size}])"
        if vocab_size is not None and vocab_size != info.vocab_size:
            raise errors.InvalidRequestError(
                f"vocab_size must be {info.vocab_size}, got {vocab_size}: axis V of {shape}",
                reason="HEAD_SHAPE_MISMATCH", field="vocab_size", value=str(vocab_size), bound=str(info.vocab_size),
                code=grpc.StatusCode.INVALID_ARGUMENT)
        if before_output_norm and not info.has_output_norm:
            raise errors.InvalidRequestError(
                f"before_output_norm must be False: {shape} has no output norm", reason="FIELD_OUT_OF_RANGE",
                field="before_output_norm", value="True", bound="False", code=grpc.StatusCode.INVALID_ARGUMENT)
        message = logits_pb2.HiddenRows(head=info.name, before_output_norm=before_output_norm,
                                        token_ids=_values.token_ids(token_ids, "head_token_ids"))
        return cls(info.name, info.vocab_size, info.hidden_size, message)

    def check_width(self, count: int, width: int) -> None:
        """Raises InvalidRequestError, which names both shapes and the axis."""
        if width == self.hidden_size:
            return
        hint = "; the width is V: these are logits" if width == self.vocab_size else ""
        raise errors.InvalidRequestError(
            f"a row must have {self.hidden_size} values, got {width}: axis d of rows [{count}, {width}] and head "
            f"{self.name!r} (W [V = {self.vocab_size}, d = {self.hidden_size}]){hint}", reason="HEAD_SHAPE_MISMATCH",
            field="rows", value=str(width), bound=str(self.hidden_size), code=grpc.StatusCode.INVALID_ARGUMENT)


def head_of(connect: Callable[[int], grpc.Channel], name: str | None, vocab_size: int | None, before_output_norm: bool,
            token_ids: Iterable[SupportsIndex], retry_for: float) -> Head | None:
    """The head that the arguments `head`, `before_output_norm` and `head_token_ids` of a call ask for; None: none.
    Raises TypeError for the other two without the first, and what Head.of raises."""
    ids = _values.token_ids(token_ids, "head_token_ids")
    if name is None:
        if before_output_norm or ids:
            raise TypeError("before_output_norm and head_token_ids need head")
        return None
    return Head.of(connect, name, vocab_size=vocab_size, before_output_norm=before_output_norm, token_ids=ids,
                   retry_for=retry_for)


def _heads(connect: Callable[[int], grpc.Channel], timeout: float) -> list[Any]:
    channel = connect(0)
    try:
        method: Any = channel.unary_unary(_METHOD, server_pb2.GetServerInfoRequest.SerializeToString,
                                          server_pb2.GetServerInfoResponse.FromString)
        return list(method(server_pb2.GetServerInfoRequest(), timeout=max(timeout, 1.0), wait_for_ready=True).heads)
    except grpc.RpcError as failure:
        raise errors.from_rpc_error(failure) from None
    finally:
        channel.close()
