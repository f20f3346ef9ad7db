"""The Python client of logitd: scores, rankings, decisions and decoding, with log-probs in double and typed errors."""

from logitd.aio import AsyncClient
from logitd.client import Client
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
from logitd.requests import Candidate, Continuation, DecideItem, Option, RankItem, ScoreItem, Segment, Sums
from logitd.sampling import Record

from logitd import files  # isort: skip

__all__ = [
    "AsyncClient",
    "CancelledError",
    "Candidate",
    "Client",
    "Continuation",
    "DeadlineError",
    "DecideItem",
    "InvalidRequestError",
    "LimitError",
    "LogitdError",
    "NotFoundError",
    "Option",
    "PreconditionError",
    "RankItem",
    "Record",
    "ScoreItem",
    "Segment",
    "ServerError",
    "Sums",
    "UnavailableError",
    "files",
]
__version__ = "0.1.0"
