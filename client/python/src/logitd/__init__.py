"""The Python client of logitd: scores, rankings, decisions and decoding, with log-probs in double and typed errors."""

from logitd._decode.aio import AsyncDecodeSession
from logitd._decode.loop import Completion, DecodeBatch, Decoding, decode
from logitd._decode.score import ScoredLogits, score_logits
from logitd._decode.sequences import Sequence, Step
from logitd._decode.session import DecodeSession
from logitd.errors import (
    CancelledError,
    DeadlineError,
    InvalidRequestError,
    LimitError,
    LogitdError,
    NotFoundError,
    PreconditionError,
    ServerError,
    UnavailableError,
)

__all__ = [
    "AsyncDecodeSession",
    "Completion",
    "DecodeBatch",
    "DecodeSession",
    "Decoding",
    "ScoredLogits",
    "Sequence",
    "Step",
    "decode",
    "score_logits",
    "CancelledError",
    "DeadlineError",
    "InvalidRequestError",
    "LimitError",
    "LogitdError",
    "NotFoundError",
    "PreconditionError",
    "ServerError",
    "UnavailableError",
]
__version__ = "0.1.0"
