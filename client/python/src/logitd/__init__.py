"""The Python client of logitd: scores, rankings, decisions and decoding, with log-probs in double and typed errors."""

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
