"""Decoded sequences and their steps, as Python sees them."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from logitd import _replies, _values, errors
from logitd._decode.open_sequences import copied
from logitd._decode.rows import refuse
from logitd.records import TokenRecord
from logitd.v1 import completion_pb2

if TYPE_CHECKING:
    from collections.abc import Sequence as List

    from logitd._decode.session import DecodeSession

_STATE_VERSION = 1
_SUMS = ("model_sum", "model_compensation", "sampling_sum", "sampling_compensation")
_KEYS = frozenset({"version", "numerics_version", "prompt", "tokens", "seed", "sequence_key", "resume_state",
                   "finish_reason"})


def cumulative(state: Any, distribution: str) -> float | None:
    """The sum of the "model" or "sampling" log-probs of a ResumeState, nats. None: there is no token, or some token has
    no log-prob."""
    if state is None or not state.HasField(f"{distribution}_sum"):
        return None
    return float(getattr(state, f"{distribution}_sum") + getattr(state, f"{distribution}_compensation"))


@dataclasses.dataclass(frozen=True)
class Past:
    """All on which a sequence's future depends, besides its parameters."""

    prompt: tuple[int, ...] = ()
    tokens: tuple[int, ...] = ()
    # None: not known yet, or to be chosen.
    seed: int | None = None
    sequence_key: int | None = None
    # None: there is no token, or its sums are not known.
    resume_state: completion_pb2.ResumeState | None = None
    finish_reason: str | None = None
    # None: any.
    numerics_version: int | None = None

    def to_json(self) -> dict[str, Any]:
        """Plain data, which json keeps bit for bit."""
        sums = self.resume_state
        return {"version": _STATE_VERSION, "numerics_version": self.numerics_version, "prompt": list(self.prompt),
                "tokens": list(self.tokens), "seed": self.seed, "sequence_key": self.sequence_key,
                "resume_state": None if sums is None else {field.name: value for field, value in sums.ListFields()},
                "finish_reason": self.finish_reason}

    @classmethod
    def from_json(cls, state: Mapping[str, Any]) -> Past:
        """As to_json wrote it. Raises InvalidRequestError if it is no such state."""
        if not isinstance(state, Mapping) or state.get("version") != _STATE_VERSION or set(state) != _KEYS:
            raise refuse("state must be what Sequence.state() returned", field="state", value=_values.quote(state))
        sums = state["resume_state"]
        if sums is not None and (not isinstance(sums, Mapping) or set(sums) - set(_SUMS)):
            raise refuse(f"state's resume_state must have the fields {', '.join(_SUMS)}", field="state.resume_state",
                         value=_values.quote(sums))
        return cls(tuple(_values.token_ids(state["prompt"], "state['prompt']")),
                   tuple(_values.token_ids(state["tokens"], "state['tokens']")), state["seed"],
                   state["sequence_key"], None if sums is None else completion_pb2.ResumeState(**sums),
                   state["finish_reason"], state["numerics_version"])


class Sequence:
    """A sequence of a DecodeSession. DecodeSession.open makes it.

    tokens: the tokens chosen so far, those that it was resumed with included, the prompt not.
    seed, sequence_key: with these a replay has the same random numbers; None: not known before the first result.
    finish_reason: "stop_token", "max_tokens", "no_admissible_token", "time_limit", or "cancelled" after close(); None:
      it goes on, or failed.
    error: why it failed; None: it did not.
    """

    def __init__(self, session: DecodeSession, sequence_id: int, past: Past):
        self.id = sequence_id
        self.prompt = past.prompt
        self.tokens: List[int] = list(past.tokens)
        self.seed = past.seed
        self.sequence_key = past.sequence_key
        self.finish_reason: str | None = None
        self.error: errors.LogitdError | None = None
        self._session = session
        # The number of tokens and the sums after them: one object, so that whoever interrupts a step finds both.
        self._after = (len(past.tokens), past.resume_state)
        # close() was called, and its result is on its way.
        self._is_closing = False
        # Steps on their way.
        self.pending_step_count = 0

    def __repr__(self) -> str:
        end = self.error or self.finish_reason or "running"
        return f"<Sequence {self.id}: {self.token_count} tokens, {end}>"

    @property
    def token_count(self) -> int:
        """The number of tokens chosen so far: the position of the next one."""
        return self._after[0]

    @property
    def is_running(self) -> bool:
        """Neither finished nor failed."""
        return self.finish_reason is None and self.error is None

    @property
    def cumulative_model_log_prob(self) -> float | None:
        """The sum of model_log_prob over the tokens, nats. None: there is no token, or some token has none."""
        return cumulative(self._after[1], "model")

    @property
    def cumulative_sampling_log_prob(self) -> float | None:
        """The sum of sampling_log_prob over the tokens, nats. None: as above."""
        return cumulative(self._after[1], "sampling")

    def past(self) -> Past:
        count, resume_state = self._after
        return Past(self.prompt, tuple(self.tokens[:count]), self.seed, self.sequence_key, resume_state,
                    self.finish_reason, self._session.numerics_version)

    def state(self) -> dict[str, Any]:
        """The past as plain data, which json can write: DecodeSession.open(state=...) goes on from here, in this
        process or in another. The parameters are not part of it. With steps on their way: the state before them."""
        return self.past().to_json()

    def close(self) -> None:
        """Ends the sequence: its finish_reason becomes "cancelled" with the next result."""
        self._session._close_sequence(self)

    def _advance(self, chosen: Any) -> None:
        """Takes a StepChosen."""
        if chosen.tokens:
            self.tokens.extend([token.token_id for token in chosen.tokens])  # type: ignore[attr-defined]
            self._after = (len(self.tokens), copied(chosen.resume_state))
        if chosen.HasField("finish"):
            self._end(chosen.finish)

    def _end(self, finish: completion_pb2.Finish) -> None:
        self.finish_reason = _values.enum_name(completion_pb2.FinishReason, finish.reason)


class Step:
    """The result of one row.

    sequence: whose row it was. position: the number of tokens before it.
    token_id: the token; None: none was chosen (see finish_reason and error).
    finish_reason: the sequence has ended, for this reason; None: it goes on, or failed.
    error: why the sequence failed; None: it did not.
    cumulative_model_log_prob, cumulative_sampling_log_prob: the sums after this token, nats; None: see Sequence.
    """

    __slots__ = ("sequence", "position", "token_id", "finish_reason", "error", "cumulative_model_log_prob",
                 "cumulative_sampling_log_prob", "_proto")

    def __init__(self, sequence: Sequence, result: Any):
        self.sequence = sequence
        self.position: int = result.position
        self.token_id: int | None = None
        self.finish_reason: str | None = None
        self.error: errors.LogitdError | None = None
        self.cumulative_model_log_prob: float | None = None
        self.cumulative_sampling_log_prob: float | None = None
        self._proto: completion_pb2.TokenRecord | None = None

    def __repr__(self) -> str:
        end = self.error or self.finish_reason
        return f"<Step {self.position} of sequence {self.sequence.id}: {self.token_id}{f', {end}' if end else ''}>"

    @property
    def record(self) -> TokenRecord | None:
        """The token's record: log-probs, rank, whatever RecordOptions asks for. None: there is no token."""
        if self._proto is None:
            return None
        record: TokenRecord = _replies.convert(TokenRecord, self._proto)
        return record


def take_step(sequence: Sequence, result: Any) -> Step:
    """The step of a StepResult, which its sequence takes."""
    step = Step(sequence, result)
    sequence.pending_step_count -= 1
    if not sequence.is_running:
        # It ended while the step was on its way: nothing was chosen, and there is nothing new.
        step.finish_reason, step.error = sequence.finish_reason, sequence.error
        return step
    if result.WhichOneof("outcome") != "chosen":
        sequence.error = step.error = errors.from_proto(result.error)
        return step
    chosen = result.chosen
    sequence._advance(chosen)
    if chosen.tokens:
        step._proto = chosen.tokens[0]
        step.token_id = chosen.tokens[0].token_id
    totals = chosen.totals
    if totals.HasField("cumulative_model_log_prob"):
        step.cumulative_model_log_prob = totals.cumulative_model_log_prob
    if totals.HasField("cumulative_sampling_log_prob"):
        step.cumulative_sampling_log_prob = totals.cumulative_sampling_log_prob
    step.finish_reason = sequence.finish_reason
    return step
