"""Servers, models, vocabularies and distributions, as frozen dataclasses. Fields have the names of the .proto files."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from typing import Any, SupportsIndex, overload

from logitd import _values
from logitd._replies import reply
from logitd.records import DrawRecord, Provenance, RunnerPlatform, TokenizationReport


@reply("logitd.v1.RunnerCapabilities")
@dataclasses.dataclass(frozen=True, slots=True)
class RunnerCapabilities:
    """The abilities that all runners of a model have."""

    fork: bool = False
    trim: bool = False
    records_numerics_version: int | None = None
    choice_numerics_version: int | None = None
    tokenizer: bool = False
    dtypes: tuple[str, ...] = ()
    vocabulary: bool = False
    tokens_spell_text: bool = False
    isolation: bool = False
    chat_template: bool = False


@reply("logitd.v1.RunnerCapacity")
@dataclasses.dataclass(frozen=True, slots=True)
class RunnerCapacity:
    """The capacity of all runners of a model together."""

    max_sequences: int = 0
    max_cached_tokens: int = 0
    max_batch_tokens: int = 0
    max_batches_in_flight: int | None = None
    cache_choice: str = ""


@reply("logitd.v1.ModelStatus", flatten=("model",))
@dataclasses.dataclass(frozen=True, slots=True)
class Model:
    """A model and its runners. Only the name is set if no runner has ever attached."""

    name: str = ""
    model_fingerprint: bytes = b""
    vocab_fingerprint: bytes = b""
    vocab_size: int = 0
    end_token_ids: tuple[int, ...] = ()
    eos_token_id: int | None = None
    bos_token_id: int | None = None
    adds_bos: bool = False
    # Tokens.
    context_length: int = 0
    precision: str = ""
    parameter_count: int | None = None
    chat_template: str = ""
    batch_tolerance_nats: float | None = None
    hidden_width: int | None = None
    warnings: tuple[str, ...] = ()
    # Runners attached now.
    runner_count: int = 0
    capabilities: RunnerCapabilities | None = None
    capacity: RunnerCapacity | None = None
    platform: RunnerPlatform | None = None


@reply("logitd.v1.Limits")
@dataclasses.dataclass(frozen=True, slots=True)
class Limits:
    """Every limit of a server; server_service.proto explains each."""

    max_message_bytes: int = 0
    max_request_bytes: int = 0
    max_message_elements: int = 0
    max_vocab_size: int = 0
    max_rows_per_message: int = 0
    max_sequences_per_stream: int = 0
    max_stream_state_bytes: int = 0
    max_tokens: int = 0
    max_prompt_tokens: int = 0
    max_top_n: int = 0
    max_alternatives: int = 0
    max_named_tokens: int = 0
    max_logit_biases: int = 0
    max_sequence_biases: int = 0
    max_dry_breakers: int = 0
    max_dry_breaker_tokens: int = 0
    max_list_tokens: int = 0
    max_stops: int = 0
    max_excluded_tokens: int = 0
    max_n: int = 0
    max_generated_tokens: int = 0
    max_items: int = 0
    max_continuations: int = 0
    max_candidates: int = 0
    max_id_bytes: int = 0
    max_segments: int = 0
    max_score_tokens: int = 0
    max_score_sequences: int = 0
    max_text_bytes: int = 0
    max_streams_per_connection: int = 0
    max_runners: int = 0
    max_idle_ms: int = 0
    max_calls: int = 0
    max_open_streams: int = 0
    max_stall_ms: int = 0
    max_metadata_bytes: int = 0
    max_bytes_in_work: int = 0
    max_watches: int = 0
    max_stop_strings: int = 0
    max_stop_string_bytes: int = 0
    max_time_limit_ms: int = 0
    max_cache_salt_bytes: int = 0
    max_rolling_tokens: int = 0
    max_tokenizations: int = 0
    max_strength_items: int = 0
    max_rankings: int = 0
    max_ranked_items: int = 0
    max_hidden_size: int = 0
    max_fit_labels: int = 0
    max_fit_samples: int = 0
    max_fit_cells: int = 0
    max_fit_parameters: int = 0
    max_bootstrap_count: int = 0
    max_bootstrap_draws: int = 0
    max_gradient_bytes: int = 0


@reply("logitd.v1.CacheUse")
@dataclasses.dataclass(frozen=True, slots=True)
class CacheUse:
    """What a server keeps of what models have evaluated."""

    record_count: int = 0
    record_bytes: int = 0
    max_record_bytes: int = 0
    kept_sequence_count: int = 0
    kept_token_count: int = 0


@reply("logitd.v1.HeadInfo")
@dataclasses.dataclass(frozen=True, slots=True)
class Head:
    """A head of a server: W is [vocab_size, hidden_size]; server_service.proto explains each field."""

    name: str = ""
    vocab_size: int = 0
    hidden_size: int = 0
    memory_bytes: int = 0
    source_dtype: str = ""
    fingerprint: bytes = b""
    has_output_norm: bool = False
    has_bias: bool = False
    # None: 1.
    logit_scale: float | None = None
    # None: no cap.
    soft_cap: float | None = None
    weight_name: str = ""


@reply("logitd.v1.CalibrationInfo")
@dataclasses.dataclass(frozen=True, slots=True)
class CalibrationInfo:
    """A calibration that requests may name."""

    name: str = ""
    # "temperature", "vector_scaling" or "multinomial".
    kind: str = ""
    label_count: int = 0
    label_names: tuple[str, ...] = ()
    # The score that it was fitted to: "sum", "per_token", ...
    score: str = ""
    gnmt_alpha: float | None = None
    fingerprint: str = ""


@reply("logitd.v1.GetServerInfoResponse")
@dataclasses.dataclass(frozen=True, slots=True)
class ServerInfo:
    """A server's version, numerics and limits, which are constant while it runs."""

    server_version: str = ""
    api_minor_version: int = 0
    numerics_version: int = 0
    kernel_target: str = ""
    available_kernel_targets: tuple[str, ...] = ()
    # "f32", "f16", ...
    dtypes: tuple[str, ...] = ()
    limits: Limits = Limits()
    cache: CacheUse | None = None
    heads: tuple[Head, ...] = ()
    calibrations: tuple[CalibrationInfo, ...] = ()


@reply("logitd.v1.TokenizedText")
@dataclasses.dataclass(frozen=True, slots=True)
class TokenizedText:
    """One text's tokens."""

    token_ids: tuple[int, ...] = ()
    # Of each token, if asked for; control tokens have none.
    token_bytes: tuple[bytes, ...] = ()
    tokenization: TokenizationReport | None = None


@reply("logitd.v1.DetokenizedText")
@dataclasses.dataclass(frozen=True, slots=True)
class DetokenizedText:
    """One sequence's text."""

    text: str = ""
    # The exact bytes. None: the text is exact.
    raw_bytes: bytes | None = None


@reply("logitd.v1.RenderChatResponse")
@dataclasses.dataclass(frozen=True, slots=True)
class RenderedChat:
    """A conversation as a prompt."""

    # For people: it does not tell a control token from its name in a message.
    text: str = ""
    # The prompt: give it to generate, score, ... in place of a text.
    token_ids: tuple[int, ...] = ()
    provenance: Provenance | None = None


@reply("logitd.v1.VocabularyToken")
@dataclasses.dataclass(frozen=True, slots=True)
class VocabularyToken:
    """A token of a vocabulary."""

    token_id: int = 0
    # "text", "control" or "unused".
    kind: str = ""
    # Its bytes in a text; may be a part of a character. Empty: it has none.
    token_bytes: bytes = b""
    # The name of a control token: "<|im_end|>".
    name: str = ""
    ends_text: bool = False


@dataclasses.dataclass(frozen=True)
class Vocabulary(Sequence[VocabularyToken]):
    """All tokens of a model: vocabulary[token_id]."""

    model: str
    vocab_fingerprint: bytes
    tokens: tuple[VocabularyToken, ...]

    def __len__(self) -> int:
        return len(self.tokens)

    @overload
    def __getitem__(self, index: SupportsIndex) -> VocabularyToken: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[VocabularyToken, ...]: ...
    def __getitem__(self, index: Any) -> Any:
        return self.tokens[index]

    def spell(self, token_ids: Iterable[SupportsIndex]) -> bytes:
        """The bytes of the tokens' text; control tokens have none. Raises IndexError for an id that is no token."""
        ids = _values.token_ids(token_ids, "token_ids")
        for token in ids:
            if not 0 <= token < len(self.tokens):
                raise IndexError(f"token id {token} is not in [0, {len(self.tokens)})")
        return b"".join(self.tokens[token].token_bytes for token in ids)

    def named(self, name: str) -> int:
        """The id of the control token of that name. Raises KeyError."""
        for token in self.tokens:
            if token.name == name:
                return token.token_id
        raise KeyError(f"no control token is named {name!r}")


@reply("logitd.v1.StageReport")
@dataclasses.dataclass(frozen=True, slots=True)
class StageReport:
    """The effect of one stage."""

    # "top_k", ...
    stage: str = ""
    kept_before_count: int = 0
    kept_after_count: int = 0
    removed_mass: float = 0.0


@reply("logitd.v1.Verification")
@dataclasses.dataclass(frozen=True, slots=True)
class Verification:
    """The token that a draw gives."""

    token_id: int = 0
    # None: no token was given.
    matches: bool | None = None
    draw: DrawRecord | None = None


@reply("logitd.v1.ComputeDistributionResponse")
@dataclasses.dataclass(frozen=True, slots=True)
class Distribution:
    """The distribution of one row: parallel tuples of the kept tokens, ids ascending. numpy.array(d.probabilities) is an
    array."""

    token_ids: tuple[int, ...] = ()
    # They sum to 1 up to 2e-7.
    probabilities: tuple[float, ...] = ()
    # Nats. -inf: probability zero (temperature 0 only).
    sampling_log_probs: tuple[float, ...] = ()
    # Of the row as it came, nats.
    model_log_probs: tuple[float, ...] = ()
    kept_count: int = 0
    model_entropy: float | None = None
    model_log_sum_exp: float | None = None
    sampling_entropy: float = 0.0
    total_weight: int = 0
    # The stages that ran (explain).
    stages: tuple[StageReport, ...] = ()
    # The draw (verify).
    verification: Verification | None = None
    provenance: Provenance | None = None
