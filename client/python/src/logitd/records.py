"""Token records and the facts that every reply has, as frozen dataclasses (completion.proto)."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any, cast

from logitd._replies import reply

if TYPE_CHECKING:
    import numpy
    import numpy.typing


@reply("logitd.v1.RunnerPlatform")
@dataclasses.dataclass(frozen=True, slots=True)
class RunnerPlatform:
    """What a model's numbers depend on besides its weights and its batches."""

    version: str = ""
    threads: int = 0
    cpu_target: str = ""


@reply("logitd.v1.Provenance")
@dataclasses.dataclass(frozen=True, slots=True)
class Provenance:
    """Everything besides the request on which the numbers of a reply depend."""

    model: str | None = None
    model_fingerprint: bytes | None = None
    precision: str | None = None
    # Nats.
    batch_tolerance_nats: float | None = None
    numerics_version: int = 0
    server_version: str = ""
    runner: RunnerPlatform | None = None
    reproducible: bool = False
    # The head that made the logits, by its name.
    head: str | None = None
    # The calibration that was applied, by its name.
    calibration: str | None = None


@reply("logitd.v1.Usage")
@dataclasses.dataclass(frozen=True, slots=True)
class Usage:
    """The cost of a request or an item, in tokens."""

    prompt_token_count: int = 0
    generated_token_count: int = 0
    scored_token_count: int = 0
    evaluated_token_count: int = 0
    cached_token_count: int = 0

    def __add__(self, other: Usage) -> Usage:
        return Usage(*(getattr(self, field.name) + getattr(other, field.name) for field in dataclasses.fields(self)))


@reply("logitd.v1.TokenizationReport")
@dataclasses.dataclass(frozen=True, slots=True)
class TokenizationReport:
    """Remarks on how a text became tokens."""

    text_changed: bool = False
    doubled_bos: bool = False


@reply("logitd.v1.TokenAlternatives")
@dataclasses.dataclass(frozen=True, slots=True)
class TokenAlternatives:
    """Several tokens of one row, as parallel tuples; one that was not asked for is empty. -inf: probability zero."""

    token_ids: tuple[int, ...] = ()
    model_log_probs: tuple[float, ...] = ()
    sampling_log_probs: tuple[float, ...] = ()
    ranks: tuple[int, ...] = ()
    token_bytes: tuple[bytes, ...] = ()


@reply("logitd.v1.PackedAlternatives", renamed={
    f"logitd.v1.PackedAlternatives.{name}": f"packed_{name}"
    for name in ("token_ids", "model_log_probs", "sampling_log_probs", "ranks")})
@dataclasses.dataclass(frozen=True, slots=True)
class PackedAlternatives:
    """Tokens of one row as numpy arrays [count], over the bytes of the reply; they are read-only. -inf: probability
    zero. Needs numpy."""

    count: int = 0
    packed_token_ids: bytes = b""
    packed_model_log_probs: bytes = b""
    packed_sampling_log_probs: bytes = b""
    packed_ranks: bytes = b""

    @property
    def token_ids(self) -> numpy.typing.NDArray[numpy.int32]:
        """The tokens, by (model log-prob descending, id ascending); all ids ascending if the whole vocabulary came."""
        if self.packed_token_ids:
            ids = _column(self.packed_token_ids, "<i4")
        else:
            ids = _numpy().arange(self.count, dtype="<i4")
        return cast("numpy.typing.NDArray[numpy.int32]", ids)

    @property
    def model_log_probs(self) -> numpy.typing.NDArray[numpy.float64] | None:
        """float64, or None: not asked for."""
        return _column(self.packed_model_log_probs, "<f8") if self.packed_model_log_probs else None

    @property
    def sampling_log_probs(self) -> numpy.typing.NDArray[numpy.float64] | None:
        """float64, or None: not asked for."""
        return _column(self.packed_sampling_log_probs, "<f8") if self.packed_sampling_log_probs else None

    @property
    def ranks(self) -> numpy.typing.NDArray[numpy.int32] | None:
        """int32, or None: not asked for."""
        return _column(self.packed_ranks, "<i4") if self.packed_ranks else None


def _numpy() -> Any:
    try:
        import numpy
    except ImportError:
        raise ImportError('packed columns need numpy: pip install "logitd[numpy]"') from None
    return numpy


def _column(data: bytes, dtype: str) -> Any:
    return _numpy().frombuffer(data, dtype)


@reply("logitd.v1.DrawRecord")
@dataclasses.dataclass(frozen=True, slots=True)
class DrawRecord:
    """The integers of one draw."""

    uniform: int = 0
    total_weight: int = 0
    interval_start: int = 0
    weight: int = 0


@reply("logitd.v1.TokenRecord")
@dataclasses.dataclass(frozen=True, slots=True)
class TokenRecord:
    """One token and its numbers."""

    token_id: int = 0
    token_bytes: bytes = b""
    position: int = 0
    # "chosen" or "given".
    origin: str = ""
    # "present", "excluded" (probability zero), "not_scored" or "first_token".
    log_prob_state: str = "present"
    model_log_prob: float | None = None
    sampling_log_prob: float | None = None
    rank: int | None = None
    model_entropy: float | None = None
    model_log_sum_exp: float | None = None
    kept_count: int | None = None
    kept_mass: float | None = None
    top: TokenAlternatives | None = None
    named: TokenAlternatives | None = None
    draw: DrawRecord | None = None
    rest_draw: DrawRecord | None = None
    packed_top: PackedAlternatives | None = None

    @property
    def text(self) -> str:
        """The token's bytes as text; a part of a character becomes U+FFFD."""
        return self.token_bytes.decode("utf-8", "replace")
