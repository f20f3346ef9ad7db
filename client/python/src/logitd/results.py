"""Replies as frozen dataclasses. Fields have the names of the .proto files, whose comments are the manual.

A number that does not exist, or was not asked for, is None, never 0 and never NaN. All log-probs are natural logarithms
in double. All results can be pickled and compared.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Any

from logitd._replies import reply
from logitd.errors import LogitdError
from logitd.records import Provenance, TokenizationReport, TokenRecord, Usage

# The largest x for which a double holds exp(x).
_MOST_EXPONENT = 709.78

@reply("logitd.v1.BoundaryReport")
@dataclasses.dataclass(frozen=True, slots=True)
class BoundaryReport:
    """The place where context and continuation meet."""

    token_spans_boundary: bool = False
    spanning_bytes: int = 0
    moved_space_count: int = 0
    context_tokens_changed: bool = False
    text_changed: bool = False
    context_token_count: int = 0
    implicit_context_token_id: int | None = None
    # "joint", "separate" or "lm_eval".
    rule: str = ""


@dataclasses.dataclass(frozen=True, slots=True)
class _Totals:
    """The tokens of a sequence and their sums."""

    # Empty with layout "none".
    tokens: tuple[TokenRecord, ...] = ()
    token_count: int = 0
    # Nats. None: some token has no log-prob (probability zero), or not asked for.
    cumulative_model_log_prob: float | None = None
    cumulative_sampling_log_prob: float | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class _Given(_Totals):
    """Tokens that were given after a context."""

    byte_count: int | None = None
    character_count: int | None = None
    # Why there are no numbers.
    error: LogitdError | None = None
    # Every token is the argmax of its row; ties go to the lowest id.
    is_greedy: bool | None = None
    boundary: BoundaryReport | None = None
    # Tokens that the context has lost at its beginning.
    truncated_token_count: int = 0


class _Divisions:
    """The sum of model log-probs, divided. A value that does not exist is None."""

    __slots__ = ()
    token_count: int
    cumulative_model_log_prob: float | None
    byte_count: int | None
    character_count: int | None

    def _divided(self, count: int | None) -> float | None:
        total = self.cumulative_model_log_prob
        return total / count if total is not None and count else None

    @property
    def sum(self) -> float | None:
        """S, cumulative_model_log_prob, nats."""
        return self.cumulative_model_log_prob

    @property
    def per_token(self) -> float | None:
        """S / tokens."""
        return self._divided(self.token_count)

    @property
    def per_byte(self) -> float | None:
        """S / bytes."""
        return self._divided(self.byte_count)

    @property
    def per_character(self) -> float | None:
        """S / characters (Unicode code points)."""
        return self._divided(self.character_count)

    @property
    def bits_per_byte(self) -> float | None:
        """-S / (bytes ln 2)."""
        value = self.per_byte
        return None if value is None else -value / math.log(2)

    @property
    def perplexity(self) -> float | None:
        """exp(-S / tokens); None also if a double cannot hold it."""
        value = self.per_token
        return None if value is None or -value > _MOST_EXPONENT else math.exp(-value)


@reply("logitd.v1.ScoredContinuation", flatten=("score", "totals"))
@dataclasses.dataclass(frozen=True, slots=True)
class ScoredContinuation(_Divisions, _Given):
    """The score of one continuation."""

    # By the calibration that the call names; None: it names none, or one of the item has no value.
    calibrated_log_prob: float | None = None
    calibrated_probability: float | None = None


@reply("logitd.v1.RollingWindow")
@dataclasses.dataclass(frozen=True, slots=True)
class RollingWindow:
    """One window of a text."""

    first_token: int = 0
    token_count: int = 0
    context_token_count: int = 0
    sum_model_log_prob: float | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class _Item:
    """What the answers to items have in common."""

    # The item's place in the call, from 0.
    item_index: int = 0
    id: str = ""
    # Why the item as a whole has no numbers.
    error: LogitdError | None = None
    provenance: Provenance | None = None
    usage: Usage | None = None
    tokenization: TokenizationReport | None = None

    def _raise_errors(self, parts: tuple[Any, ...]) -> None:
        for part in (self, *parts):
            if part.error is not None:
                raise part.error


@reply("logitd.v1.RollingScore", flatten=("score", "totals"))
@dataclasses.dataclass(frozen=True)
class RollingScore:
    """The score of a text in windows: its sums and counts, without records."""

    token_count: int = 0
    cumulative_model_log_prob: float | None = None
    cumulative_sampling_log_prob: float | None = None
    is_greedy: bool | None = None
    byte_count: int | None = None
    character_count: int | None = None
    perplexity: float | None = None
    bits_per_byte: float | None = None
    windows: tuple[RollingWindow, ...] = ()


@reply(flatten=("item", "rolling", "score", "totals"))
@dataclasses.dataclass(frozen=True)
class RolledText(RollingScore, _Item):
    """The answer of `rolling` to one text."""

    context_token_count: int = 0
    implicit_context_token_id: int | None = None


@reply(flatten=("item",))
@dataclasses.dataclass(frozen=True, slots=True)
class ScoredItem(_Item):
    """The scores of one item."""

    continuations: tuple[ScoredContinuation, ...] = ()
    # Of an item that is a text in windows.
    rolling: RollingScore | None = None
    context_token_count: int = 0
    implicit_context_token_id: int | None = None

    @property
    def best(self) -> int | None:
        """The index of the continuation with the largest sum of model log-probs; of equal ones the first. None: no
        continuation is possible. Raises the error of the item, or of a continuation: nothing is best then."""
        return self.best_by("sum")

    def best_by(self, normalization: str) -> int | None:
        """As `best`, by "sum", "per_token", "per_byte" or "per_character". Raises ValueError if a continuation has no
        such number."""
        self._raise_errors(self.continuations)
        name = normalization.replace("-", "_")
        if name not in ("sum", "per_token", "per_byte", "per_character"):
            raise ValueError("normalization must be one of sum, per_token, per_byte, per_character; "
                             f"got {normalization!r}")
        best: int | None = None
        most = -math.inf
        for i, continuation in enumerate(self.continuations):
            value = getattr(continuation, name)
            if value is None and continuation.sum is not None:
                raise ValueError(f"continuations[{i}] has no value {name}: its bytes or characters are not known")
            if value is not None and value > most:
                best, most = i, value
        return best


@reply("logitd.v1.ClosedSet")
@dataclasses.dataclass(frozen=True, slots=True)
class ClosedSet:
    """The total probability of a set of candidates or options."""

    # "exact", "prefixes", "contexts_differ" or "tokens_unknown".
    kind: str = ""
    mass: float | None = None
    log_mass: float | None = None
    sequence_count: int = 0


@reply("logitd.v1.AlternativeTokenization")
@dataclasses.dataclass(frozen=True, slots=True)
class AlternativeTokenization:
    """A tokenisation of a candidate that the caller listed."""

    sum: float | None = None
    error: LogitdError | None = None


@reply("logitd.v1.RankOrdering")
@dataclasses.dataclass(frozen=True, slots=True)
class RankOrdering:
    """The order under one normalisation: candidate indices, best first, and their places."""

    # "sum", "per_token", "per_byte", "per_character", "gnmt", "pmi" or "combined".
    by: str = ""
    candidate_indices: tuple[int, ...] = ()
    places: tuple[int, ...] = ()
    tied: bool = False


@reply("logitd.v1.RankedCandidate", flatten=("score", "totals"))
@dataclasses.dataclass(frozen=True, slots=True)
class RankedCandidate(_Given):
    """One candidate with all its numbers, as the server divided them."""

    # 1: the best; ties share the best place. 0: none.
    place: int = 0
    sum: float | None = None
    per_token: float | None = None
    per_byte: float | None = None
    per_character: float | None = None
    bits_per_byte: float | None = None
    perplexity: float | None = None
    candidate_probability: float | None = None
    gnmt: float | None = None
    pmi: float | None = None
    unconditional_sum: float | None = None
    unconditional_tokens_differ: bool = False
    unconditional_error: LogitdError | None = None
    combined_log_prob: float | None = None
    alternative_tokenizations: tuple[AlternativeTokenization, ...] = ()
    pruned: bool = False
    # By the calibration that the call names; None: it names none, or one of the item has no value.
    calibrated_log_prob: float | None = None
    calibrated_probability: float | None = None


@reply("logitd.v1.OrderProbability")
@dataclasses.dataclass(frozen=True, slots=True)
class OrderProbability:
    """An order of candidates and its probability under the model of Plackett and Luce."""

    # Best first; without the candidates that have an error.
    candidate_indices: tuple[int, ...] = ()
    # Nats. None: the probability is 0.
    log_prob: float | None = None
    # The number of places of `top_log_prob`. 0: not asked for.
    top_count: int = 0
    # Nats, that the first top_count places are these. None: not asked for, or the probability is 0.
    top_log_prob: float | None = None

    @property
    def probability(self) -> float:
        """[0, 1]; 0 also if it is too small for a double."""
        return 0.0 if self.log_prob is None else math.exp(self.log_prob)


@reply("logitd.v1.FitStrengthsResponse")
@dataclasses.dataclass(frozen=True, slots=True)
class StrengthFit:
    """The strengths of the Plackett-Luce model under which given rankings are most probable."""

    # The items, as the caller names them; the numbers below are in their order.
    items: tuple[str | int, ...] = ()
    # Nats; their sum is 0.
    log_strengths: tuple[float, ...] = ()
    # Nats, from the observed Fisher information.
    standard_errors: tuple[float, ...] = ()
    # Nats: of all rankings; and the same if all strengths were equal.
    log_likelihood: float = 0.0
    equal_log_likelihood: float = 0.0
    mm_step_count: int = 0
    newton_step_count: int = 0
    # Nats, at most 1e-9: a bound of the distance to the best strengths, apart from rounding.
    last_newton_step: float = 0.0
    provenance: Provenance | None = None

    @property
    def order(self) -> tuple[str | int, ...]:
        """The items by strength, strongest first; equal ones in the order of `items`."""
        places = sorted(range(len(self.items)), key=lambda i: -self.log_strengths[i])
        return tuple(self.items[i] for i in places)

    def strength_of(self, item: str | int) -> float:
        """The log-strength of an item, nats. Raises ValueError for one that is not among `items`."""
        return self.log_strengths[self.items.index(item)]


@reply(flatten=("item",))
@dataclasses.dataclass(frozen=True, slots=True)
class RankedItem(_Item):
    """One item's ranking."""

    candidates: tuple[RankedCandidate, ...] = ()
    # One for each normalisation that all candidates have, order_by first.
    orderings: tuple[RankOrdering, ...] = ()
    closed_set: ClosedSet | None = None
    context_token_count: int = 0
    implicit_context_token_id: int | None = None
    unconditional_context_token_count: int = 0
    # Plackett-Luce probabilities: of the order of orderings[0], and of RankItem.given_order. None: not asked for, or no
    # candidate has a value.
    returned_order: OrderProbability | None = None
    given_order: OrderProbability | None = None

    @property
    def best(self) -> int | None:
        """The index of the first candidate in place 1 under order_by. None: no candidate has a place. Raises the error
        of the item, or of a candidate: see `orderings` for the others' places."""
        self._raise_errors(self.candidates)
        return self.orderings[0].candidate_indices[0] if self.orderings else None


@reply("logitd.v1.DecidedOption", flatten=("score", "totals"))
@dataclasses.dataclass(frozen=True, slots=True)
class DecidedOption(_Divisions, _Given):
    """One option with its numbers."""

    # ln P(option | context), nats. None: it is not possible.
    log_prob: float | None = None
    # softmax((log_prob + log_offset) / temperature) over the item's options.
    probability: float | None = None
    # By the calibration that the call names; None: it names none, or one of the item has no value.
    calibrated_log_prob: float | None = None
    calibrated_probability: float | None = None


@reply(flatten=("item",))
@dataclasses.dataclass(frozen=True, slots=True)
class DecidedItem(_Item):
    """The decision of one item. Of a predicate, option 0 is if_true and option 1 is if_false."""

    options: tuple[DecidedOption, ...] = ()
    # The option with the largest probability; of equal ones the first. None: nothing is chosen.
    chosen_index: int | None = None
    tied: bool = False
    confidence: float | None = None
    # Of levels: the sum of probability * value.
    expected_value: float | None = None
    # The total probability of the options under the model, without temperature and offsets.
    label_mass: ClosedSet | None = None
    context_token_count: int = 0
    implicit_context_token_id: int | None = None

    @property
    def best(self) -> int | None:
        """chosen_index. Raises the error of the item, or of an option."""
        self._raise_errors(self.options)
        return self.chosen_index


@dataclasses.dataclass(frozen=True, slots=True)
class _Finished(_Totals):
    """Also how the sequence ended."""

    # "stop_token", "max_tokens", "context_full", "no_admissible_token", "stop_string" or "time_limit".
    finish_reason: str = ""
    stop_token_id: int | None = None
    stop_string_index: int | None = None
    cut_byte_count: int | None = None


@reply("logitd.v1.Completion", flatten=("totals", "finish"),
       renamed={"logitd.v1.Finish.reason": "finish_reason"})
@dataclasses.dataclass(frozen=True, slots=True)
class Completion(_Divisions, _Finished):
    """A whole completion. finish_reason "": it failed, see `error`; its tokens and sums up to there are right."""

    index: int = 0
    sequence_key: int = 0
    text: str = ""
    # The exact bytes of the text. None: the text is exact.
    raw_bytes: bytes | None = None
    byte_count: int | None = None
    character_count: int | None = None
    error: LogitdError | None = None

    @property
    def token_ids(self) -> tuple[int, ...]:
        """The tokens' ids."""
        return tuple(token.token_id for token in self.tokens)


@reply("logitd.v1.ScoredPrompt", flatten=("totals",))
@dataclasses.dataclass(frozen=True, slots=True)
class ScoredPrompt(_Totals):
    """The prompt's own tokens, scored. The first has no numbers and is in no sum."""


@reply("logitd.v1.CompletionDelta", flatten=("totals", "finish"),
       renamed={"logitd.v1.Finish.reason": "finish_reason"})
@dataclasses.dataclass(frozen=True, slots=True)
class CompletionDelta(_Finished):
    """More of one completion: its new tokens and text, and its sums so far. finish_reason "": it goes on."""

    index: int = 0
    text: str = ""


@reply("logitd.v1.GenerateFinal")
@dataclasses.dataclass(frozen=True, slots=True)
class Generation:
    """The completions of one prompt."""

    completions: tuple[Completion, ...] = ()
    # Seed and sequence key of a completion replay it.
    seed: int = 0
    # The prompt's own tokens (prompt_record).
    prompt: ScoredPrompt | None = None
    usage: Usage | None = None
    provenance: Provenance | None = None
    tokenization: TokenizationReport | None = None
    # Why this prompt was refused; there are no completions then.
    error: LogitdError | None = None

    @property
    def _first(self) -> Completion:
        if self.error is not None:
            raise self.error
        completion = self.completions[0]
        if completion.error is not None:
            raise completion.error
        return completion

    @property
    def text(self) -> str:
        """The text of the first completion. Raises the error of the prompt, or of that completion."""
        return self._first.text

    @property
    def tokens(self) -> tuple[TokenRecord, ...]:
        """The tokens of the first completion. Raises as `text`."""
        return self._first.tokens

    @property
    def finish_reason(self) -> str:
        """The finish reason of the first completion. Raises as `text`."""
        return self._first.finish_reason

    @property
    def cumulative_model_log_prob(self) -> float | None:
        """The sum of the first completion, nats. Raises as `text`."""
        return self._first.cumulative_model_log_prob
