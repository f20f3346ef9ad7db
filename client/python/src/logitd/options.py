"""The keyword arguments of a client's calls, for type checkers and for people. An option that is None, or not given, is
unset: the server's default holds."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, Literal, SupportsFloat, SupportsIndex, TypedDict, Union

if TYPE_CHECKING:
    from logitd.requests import Text
    from logitd.sampling import Record, Stages as Stages
else:
    from logitd.sampling import Stages

BoundaryName = Literal["joint", "separate", "lm-eval", "lm_eval"]
TruncationName = Literal["refuse", "context-left", "context_left"]
NormalizationName = Literal["sum", "per_token", "per_byte", "per_character", "gnmt", "pmi", "combined"]
OrderTiesName = Literal["refuse", "by_index", "by-index"]
RecordLike = Union["Record", Mapping[str, Any]]


class CallOptions(TypedDict, total=False):
    """Options of every call."""

    # Instead of the client's.
    model: str | None
    # Seconds for each request, instead of the client's.
    timeout: float | None


class TextOptions(CallOptions, total=False):
    """Options of calls that evaluate a model."""

    # How text becomes tokens: TokenizationOptions.
    add_special_tokens: bool | None
    parse_special_tokens: bool
    # Sharing with other requests: EvaluationOptions.
    no_cache: bool
    cache_salt: str
    # The numerics version that the caller insists on.
    numerics_version: SupportsIndex | None
    # Show a progress bar; needs tqdm.
    progress: bool


class ItemOptions(TextOptions, total=False):
    """Options of score, rank and decide."""

    # How a continuation given as text meets a context given as text; default "joint".
    boundary: BoundaryName | None
    # The rule for a context that is too long; default "refuse".
    truncation: TruncationName | None
    # Numbers that depend on the tokens alone, bit for bit; see EvaluationOptions.reproducible.
    reproducible: bool | None
    # The contents of token records.
    record: RecordLike | None
    # A calibration of the server, by its name: calibrated_probability of each part of an item.
    calibration: str | None


class ScoreOptions(ItemOptions, total=False):
    """Options of score: also score under a processed distribution."""

    sampling: Stages | None


class RollingOptions(TextOptions, total=False):
    """Options of rolling; see RollingText."""

    # Tokens that the model is fed in one window; default: its context length.
    window: SupportsIndex | None
    # Tokens that each window after the first scores; default: window.
    stride: SupportsIndex | None
    # Default "lm-eval".
    rule: Literal["lm-eval", "lm_eval", "strided"] | None
    reproducible: bool | None


class RankOptions(ItemOptions, total=False):
    """Options of rank; see RankRequest."""

    # The value that decides the places; default "sum".
    order_by: NormalizationName | None
    inverse_temperature: SupportsFloat | None
    gnmt_alpha: SupportsFloat | None
    unconditional_context: Text | None
    winner_only: bool
    # Give the Plackett-Luce probability of the returned order; also that of its first `order_top_k` places.
    order: bool
    order_top_k: SupportsIndex | None


class DecideOptions(ItemOptions, total=False):
    """Options of decide; see DecideRequest."""

    # Of the options' probabilities: 0, or in [1e-4, 1e6]; default 1.
    temperature: SupportsFloat | None


class GenerateOptions(TextOptions, Stages, total=False):
    """Options of generate and stream: the stages (sampling.proto), and when a completion stops."""

    # In tokens; default 256.
    max_tokens: SupportsIndex | None
    min_tokens: SupportsIndex | None
    # Texts that end a completion.
    stop: str | Iterable[str] | None
    stop_token_ids: Iterable[SupportsIndex] | None
    ignore_eos: bool
    # Milliseconds after which a completion ends with what has come.
    time_limit_ms: SupportsIndex | None
    # Completions of each prompt; default 1.
    n: SupportsIndex | None
    # Completions that are generated, of which the n best are returned.
    best_of: SupportsIndex | None
    best_by: Literal["sum", "per_token", "per_byte", "per_character", "gnmt"] | None
    # For best_by="gnmt", [0, 10]: sum / ((5 + tokens) / 6)^gnmt_alpha.
    gnmt_alpha: SupportsFloat | None
    first_sequence_key: SupportsIndex | None
    record: RecordLike | None
    # Also score the prompt's own tokens.
    prompt_record: RecordLike | None


class TokenizeOptions(CallOptions, total=False):
    """Options of tokenize."""

    add_special_tokens: bool | None
    parse_special_tokens: bool
    # Also return the bytes of each token.
    token_bytes: bool
    progress: bool


class DetokenizeOptions(CallOptions, total=False):
    """Options of detokenize."""

    # Write the names of control tokens.
    render_special_tokens: bool
    progress: bool


class RenderChatOptions(TypedDict, total=False):
    """Options of render_chat; see the Chat message."""

    # Also what begins the assistant's answer. None: yes.
    add_generation_prompt: bool | None
    # Further variables of the template, for example enable_thinking.
    template_arguments: Mapping[str, bool | int | float | str | None] | None
    model: str | None
    timeout: float | None


class FitStrengthsOptions(TypedDict, total=False):
    """Options of fit_strengths; see FitStrengthsRequest."""

    # All items, in the order of the result. None: those of the rankings, as they first occur.
    items: Iterable[str | int] | None
    # What to do with tied items; default "refuse".
    ties: OrderTiesName | None
    numerics_version: SupportsIndex | None
    # Seconds, instead of the client's.
    timeout: SupportsFloat | None


class CalibrationOptions(TypedDict, total=False):
    """Options of fit_calibration; see FitCalibrationRequest."""

    # Default "temperature".
    kind: Literal["temperature", "vector_scaling", "vector-scaling", "multinomial"]
    # Default "scores".
    input: Literal["scores", "features"]
    # Default: the width of scores; of features one more than the largest label.
    label_count: SupportsIndex | None
    # The penalty, [0, 1e9]; default 0.
    l2: SupportsFloat
    # The score that the values are; default "sum".
    score: NormalizationName | None
    gnmt_alpha: SupportsFloat | None
    # One for each label, or none.
    label_names: Iterable[str]
    # Parts that are held out; 0: no evaluation; default 5.
    folds: SupportsIndex | None
    # Default 1000.
    bootstrap_count: SupportsIndex | None
    seed: SupportsIndex
    # Bins of the calibration error; default 15.
    bin_count: SupportsIndex | None
    timeout: float | None


class Verify(TypedDict, total=False):
    """A draw to repeat; see VerifyDraw."""

    seed: SupportsIndex | None
    sequence_key: SupportsIndex | None
    position: SupportsIndex | None
    token_id: SupportsIndex | None


class DistributionOptions(Stages, total=False):
    """Options of distribution; see ComputeDistributionRequest. `seed` is not used: see verify."""

    # Report the effect of each stage.
    explain: bool
    prompt_token_ids: Iterable[SupportsIndex] | None
    output_token_ids: Iterable[SupportsIndex] | None
    excluded_token_ids: Iterable[SupportsIndex] | None
    # Also draw from the distribution.
    verify: Verify | None
    numerics_version: SupportsIndex | None
    timeout: float | None
