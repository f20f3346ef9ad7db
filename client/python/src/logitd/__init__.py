"""The Python client of logitd: scores, rankings, decisions and decoding, with log-probs in double and typed errors."""

from logitd.aio import AsyncClient
from logitd.calibration import Calibration
from logitd.client import Client
from logitd._decode.aio import AsyncDecodeSession
from logitd._decode.loop import Completion, DecodeBatch, Decoding, decode
from logitd._decode.score import ScoredLogits, score_logits
from logitd._decode.sequences import Sequence, Step
from logitd._decode.session import DecodeSession
from logitd._strengths import Ranking
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
    "AsyncDecodeSession",
    "Calibration",
    "CancelledError",
    "Candidate",
    "Client",
    "Completion",
    "Continuation",
    "DeadlineError",
    "DecideItem",
    "DecodeBatch",
    "DecodeSession",
    "Decoding",
    "InvalidRequestError",
    "LimitError",
    "LogitdError",
    "NotFoundError",
    "Option",
    "PreconditionError",
    "RankItem",
    "Ranking",
    "Record",
    "ScoreItem",
    "ScoredLogits",
    "Segment",
    "Sequence",
    "ServerError",
    "Step",
    "Sums",
    "UnavailableError",
    "decode",
    "files",
    "score_logits",
]
__version__ = "0.1.0"
