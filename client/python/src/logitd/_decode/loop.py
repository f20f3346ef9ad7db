"""decode: a model of one's own, all prompts at once, in one loop."""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence as List
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, SupportsIndex

import grpc

from logitd import _channel, _values, errors
from logitd._decode.parameters import Options
from logitd._decode.rows import Dtype, Rows, check_dtype, refuse
from logitd._decode.sequences import Past, Sequence, Step, cumulative
from logitd._decode.session import Connect, DecodeSession, connect_in_turn

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from logitd._decode.parameters import DecodeOptions

_STATE_VERSION = 1
_KEYS = frozenset({"version", "vocab_size", "end_token_ids", "options", "sequences"})
# Limits.max_sequences_per_stream.
_MOST_RUNNING = 1024


@dataclasses.dataclass(frozen=True)
class DecodeBatch:
    """The sequences that go on, for the model: element i of each list is of the sequence whose row is rows[i].

    indices: the places of their prompts, from 0. A sequence keeps its index for good.
    new_tokens: the tokens that the model has not seen: in its first batch the prompt and whatever it was resumed with,
      later the token that was chosen last.
    positions: the number of tokens before the new ones, the prompt's included: the length of a cache that a model
      keeps.
    ended: the indices of sequences that have ended since the batch before; their caches can go.
    """

    indices: list[int]
    new_tokens: list[list[int]]
    positions: list[int]
    ended: list[int]
    _sequences: list[_Running] = dataclasses.field(repr=False)

    def __len__(self) -> int:
        return len(self.indices)

    @property
    def contexts(self) -> list[list[int]]:
        """The prompt and the tokens of each sequence, for a model that keeps nothing."""
        return [[*running.past.prompt, *running.tokens] for running in self._sequences]


@dataclasses.dataclass(frozen=True)
class Completion:
    """The result for one prompt.

    tokens: the tokens so far, those that it was resumed with included, the prompt not.
    cumulative_model_log_prob, cumulative_sampling_log_prob: the sums over them, nats. None: there is no token, or some
      token has none.
    finish_reason: "stop_token", "max_tokens", "no_admissible_token" or "time_limit"; None: it goes on, or failed.
    error: why it failed; its tokens and sums up to there are right. None: it did not.
    seed, sequence_key: with these a replay has the same random numbers. None: it has not begun.
    """

    index: int
    prompt: tuple[int, ...]
    tokens: tuple[int, ...]
    cumulative_model_log_prob: float | None
    cumulative_sampling_log_prob: float | None
    finish_reason: str | None
    error: errors.LogitdError | None
    seed: int | None
    sequence_key: int | None


@dataclasses.dataclass(eq=False)
class _Running:
    """One prompt: its past until it is opened, then its sequence."""

    index: int
    past: Past
    sequence: Sequence | None = None
    # Tokens that the model has seen, the prompt's included.
    seen: int = 0

    @property
    def goes_on(self) -> bool:
        return self.sequence is not None and self.sequence.is_running

    @property
    def tokens(self) -> List[int]:
        return self.past.tokens if self.sequence is None else self.sequence.tokens

    def new_tokens(self) -> list[int]:
        unseen = self.seen - len(self.past.prompt)
        return list(self.tokens[unseen:]) if unseen >= 0 else [*self.past.prompt[self.seen:], *self.tokens]


class Decoding:
    """Decodes as it is iterated over: each turn asks the model for one row of each running sequence, and yields
    {index: token} of the tokens that were chosen. logitd.decode makes it.

    After a turn that raised, the next turn goes on: a sequence that failed has ended, and the others have lost nothing.
    """

    def __init__(self, step: Callable[[DecodeBatch], Any], pasts: List[Past], options: Options, connect: Connect,
                 settings: dict[str, Any], max_running: int, raises: bool):
        self._step = step
        self._all = [_Running(index, past) for index, past in enumerate(pasts)]
        self._options = options
        self._connect = connect
        self._settings = settings
        self._max_running = max_running
        self._raises = raises
        self._waiting = collections.deque(running for running in self._all if running.past.finish_reason is None)
        self._running: list[_Running] = []
        self._ended: list[int] = []
        self._session: DecodeSession | None = None
        self._is_closed = False
        # Of the last turn, in the order of its batch, with their records.
        self.steps: list[Step] = []
        if (settings["vocab_size"] is not None or settings["head"] is not None) and self._waiting:
            self._start(settings["vocab_size"])

    def _start(self, vocab_size: int | None) -> DecodeSession:
        self._session = DecodeSession.with_options(self._options, self._connect,
                                                   **{**self._settings, "vocab_size": vocab_size})
        self._settings["vocab_size"] = self._session.vocab_size
        return self._session

    def __iter__(self) -> Iterator[dict[int, int]]:
        return self

    def __next__(self) -> dict[int, int]:
        if self._is_closed:
            raise StopIteration
        if self._session is None or not self._session.pending_count:
            while len(self._running) < self._max_running and self._waiting:
                self._running.append(self._waiting.popleft())
            if not self._running:
                self._finish()
                raise StopIteration
            self._send()
        assert self._session is not None
        self.steps = self._session.receive()
        turn = self._running
        self._running = [running for running in turn if running.goes_on]
        self._ended = [running.index for running in turn if not running.goes_on]
        if self._raises:
            for step in self.steps:
                if step.error is not None:
                    raise step.error
        return {running.index: step.token_id for running, step in zip(turn, self.steps) if step.token_id is not None}

    def _send(self) -> None:
        batch = DecodeBatch([running.index for running in self._running],
                            [running.new_tokens() for running in self._running],
                            [running.seen for running in self._running], self._ended, list(self._running))
        rows = self._step(batch)
        for running in self._running:
            running.seen = len(running.past.prompt) + len(running.tokens)
        session = self._session or self._start(Rows.of(rows, dtype=self._settings["dtype"]).width)
        for running in self._running:
            if running.sequence is None:
                running.sequence = session.open_past(running.past)
        session.send(rows, [running.sequence for running in self._running if running.sequence is not None])

    @property
    def completions(self) -> list[Completion]:
        """The result for each prompt, in their order, after the turns so far."""
        return [_completion(running) for running in self._all]

    @property
    def state(self) -> dict[str, Any]:
        """Everything that decode(step, state=...) needs to go on from here, in this process or in another, with the
        same tokens and sums: plain data, which json can write. A sequence that failed is tried again from its last
        token."""
        options = self._options
        if self._session is not None:
            options = options.with_seed(self._session.seed)
        return {"version": _STATE_VERSION, "vocab_size": self._settings["vocab_size"],
                "end_token_ids": self._settings["end_token_ids"], "options": options.to_json(),
                "sequences": [_past(running).to_json() for running in self._all]}

    def close(self) -> None:
        """Ends the stream at once; completions and state stay. The last turn ends it by itself."""
        self._is_closed = True
        if self._session is not None:
            self._session.cancel()

    def _finish(self) -> None:
        self._is_closed = True
        if self._session is not None:
            self._session.close()

    def __enter__(self) -> Decoding:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 traceback: TracebackType | None) -> None:
        self.close()


def _past(running: _Running) -> Past:
    return running.past if running.sequence is None else running.sequence.past()


def _completion(running: _Running) -> Completion:
    past = _past(running)
    return Completion(running.index, past.prompt, past.tokens, cumulative(past.resume_state, "model"),
                      cumulative(past.resume_state, "sampling"), past.finish_reason,
                      None if running.sequence is None else running.sequence.error, past.seed, past.sequence_key)


def decode(step: Callable[[DecodeBatch], Any], prompts: Iterable[Iterable[SupportsIndex]] | None = None, *,
           server: str | Iterable[str] = _channel.DEFAULT_ADDRESS, vocab_size: int | None = None,
           state: Mapping[str, Any] | None = None, end_token_ids: Iterable[SupportsIndex] = (),
           max_running: int = _MOST_RUNNING, on_error: Literal["raise", "return"] = "raise", dtype: Dtype | None = None,
           retry_for: float = 300.0, credentials: grpc.ChannelCredentials | None = None, connect: Connect | None = None,
           head: str | None = None, before_output_norm: bool = False, head_token_ids: Iterable[SupportsIndex] = (),
           **options: Unpack[DecodeOptions]) -> Decoding:
    """Decodes one sequence for each prompt with a model of one's own.

        def model_step(batch):                                  # the model: one row for each sequence of the batch
            return model(batch.contexts)                        # [B, V]

        run = logitd.decode(model_step, prompts, server="127.0.0.1:50051", top_p=0.9, max_tokens=64)
        for tokens in run:                                      # {index of the prompt: token}
            print(tokens)
        run.completions[0].tokens, run.state

    step: called with a DecodeBatch for each turn; returns an array [B, V], or whatever else DecodeSession.send takes.
    prompts: token ids, one list for each sequence.
    vocab_size: the width that the rows must have. None: that of the first rows, or the head's.
    head, before_output_norm, head_token_ids: rows are hidden states; as in DecodeSession. A state does not have them.
    state: what Decoding.state returned, instead of prompts and options: the sequences go on from there.
    max_running: the most sequences that run at once, [1, 1024]; others begin when these end.
    on_error: "raise": the failure of a sequence is raised, after its turn; "return": it is only the completion's
      `error`.
    server, end_token_ids, dtype, retry_for, credentials, connect, options: as in DecodeSession.

    Sequences draw by the seed and their index, so that equal prompts have different completions. Raises what
    DecodeSession and its send() raise; if vocab_size is given, already here.
    """
    if not callable(step):
        raise TypeError(f"step must be a function of a DecodeBatch, got {type(step).__name__}")
    if not 1 <= max_running <= _MOST_RUNNING:
        raise ValueError(f"max_running must be in [1, {_MOST_RUNNING}], got {max_running}")
    if on_error not in ("raise", "return"):
        raise ValueError(f"on_error must be 'raise' or 'return', got {on_error!r}")
    check_dtype(dtype)
    settings: dict[str, Any] = {"dtype": dtype, "retry_for": retry_for, "vocab_size": vocab_size,
                                "numerics_version": None,
                                "end_token_ids": _values.token_ids(end_token_ids, "end_token_ids"), "head": head,
                                "before_output_norm": before_output_norm,
                                "head_token_ids": _values.token_ids(head_token_ids, "head_token_ids")}
    if state is not None:
        given = [name for name, value in {"prompts": prompts, "vocab_size": vocab_size, **options}.items()
                 if value is not None] + ["end_token_ids"] * bool(settings["end_token_ids"])
        if given:
            raise TypeError(f"decode() takes state or {', '.join(given)}, not both: a state has them")
        parsed, pasts = _from_state(state, settings)
    else:
        if prompts is None:
            raise TypeError("decode() needs prompts, a list of token ids for each sequence, or a state")
        parsed = Options.of(options, "decode")
        pasts = [Past(tuple(_values.token_ids(prompt, f"prompts[{i}]")), sequence_key=i)
                 for i, prompt in enumerate(_values.items(prompts, "prompts", "lists of token ids"))]
    return Decoding(step, pasts, parsed, connect or connect_in_turn(server, credentials), settings, max_running,
                    on_error == "raise")


def _from_state(state: Mapping[str, Any], settings: dict[str, Any]) -> tuple[Options, list[Past]]:
    if not isinstance(state, Mapping) or state.get("version") != _STATE_VERSION or set(state) != _KEYS:
        raise refuse("state must be what Decoding.state was", field="state", value=_values.quote(state))
    settings["vocab_size"] = state["vocab_size"]
    settings["end_token_ids"] = _values.token_ids(state["end_token_ids"], "state['end_token_ids']")
    pasts = [Past.from_json(past) for past in state["sequences"]]
    versions = [past.numerics_version for past in pasts if past.numerics_version is not None]
    settings["numerics_version"] = versions[0] if versions else None
    return Options.from_json(state["options"]), pasts
