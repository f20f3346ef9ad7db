"""DecodeSession: sequences whose logits the caller computes, on a stream that survives its servers."""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence as List
from types import TracebackType
from typing import TYPE_CHECKING, Any, SupportsIndex, Union

import grpc

from logitd import _channel, _values, errors
from logitd._decode import parameters
from logitd._decode.batches import Batch, NewStep, Opening, batches_of
from logitd._decode.head import head_of
from logitd._decode.open_sequences import looks_at_tokens
from logitd._decode.rows import Dtype, Rows, check_dtype, refuse
from logitd._decode.sequences import Past, Sequence, Step, take_step
from logitd._decode.stream import Stream
from logitd.sampling import STAGE_NAMES
from logitd.v1 import completion_pb2, sampling_pb2
from logitd.v1 import decoding_service_pb2 as decoding

if TYPE_CHECKING:
    from typing_extensions import Unpack

PerSequence = Union[Mapping[Sequence, Any], None]
"""Values for some of the sequences of a step."""

Connect = Callable[[int], grpc.Channel]
"""Makes the channel of each attempt to connect; attempts count from 0."""


def connect_in_turn(server: str | Iterable[str], credentials: grpc.ChannelCredentials | None) -> Connect:
    """Connects to one address after the other. Raises ValueError for an address that is none."""
    addresses = [server] if isinstance(server, str) else list(server)
    if not addresses:
        raise ValueError("server must have at least one address, got none")
    for address in addresses:
        _channel.target_of(address)
    return lambda attempt: _channel.connect(addresses[attempt % len(addresses)], credentials)


@dataclasses.dataclass(slots=True)
class _Sent:
    """One send(): its batches that have no result yet, and the steps of the others."""

    batches: collections.deque[Batch]
    steps: list[Step] = dataclasses.field(default_factory=list)
    # It only opens and closes sequences: nobody waits for its steps.
    is_silent: bool = False


class DecodeSession:
    """Turns rows of logits into tokens, for any number of sequences, step by step.

        with logitd.DecodeSession("127.0.0.1:50051", vocab_size=50257, top_p=0.9, max_tokens=64) as session:
            sequences = [session.open(prompt) for prompt in prompts]
            while running := session.running:
                for step in session.step(model(running)):             # one row for each running sequence
                    print(step.sequence.id, step.token_id, step.record.model_log_prob)

    - Several batches may be on their way: send() as often as there is work, receive() for the results in their order.
    - If the connection or the server is lost, the session opens its sequences again, on the same server or on the next
      one, and sends whatever was not answered. Each result comes once, with the bytes of a run without a loss.
    - A failure of one sequence is the `error` of its step, and the others go on. A failure of the session is raised,
      and ends it.

    One thread at a time. AsyncDecodeSession is the same with `await`.
    """

    def __init__(self, server: str | Iterable[str] = _channel.DEFAULT_ADDRESS, *,
                 vocab_size: int | None = None, end_token_ids: Iterable[SupportsIndex] = (), dtype: Dtype | None = None,
                 numerics_version: int | None = None, retry_for: float = 300.0, max_batches_in_flight: int = 4,
                 credentials: grpc.ChannelCredentials | None = None, connect: Connect | None = None,
                 head: str | None = None, before_output_norm: bool = False,
                 head_token_ids: Iterable[SupportsIndex] = (), **options: Unpack[parameters.DecodeOptions]):
        """Opens the first stream.

        server: an address, or those of several replicas, which are taken in turn.
        vocab_size: the number of token ids, and the width of every row. None, with a head: the head's.
        end_token_ids: tokens that end a sequence, for which ignore_eos holds; stop_token_ids are others.
        dtype: None, or "f32", which rounds rows of float64, or "bf16", which takes integers of two bytes for the bits
          of bfloat16.
        numerics_version: the version that the server must have; None: any.
        retry_for: the longest time to look for a server that answers, seconds; 0: a lost stream ends the session.
        max_batches_in_flight: batches that are sent before the first of them is answered, >= 1.
        connect: makes the channels instead of `server`.
        head: rows are hidden states, [B, d], for the server's head of this name ("": its only one), which makes logits
          of them. Every server must have it.
        before_output_norm: the hidden states come before the model's output norm, which the head then applies.
        head_token_ids: only these tokens have logits, and the rest is excluded; ascending. Empty: all.
        options: the defaults of all sequences: temperature, top_k, top_p, min_p, seed, repetition_penalty, ... (the
          fields of SamplingParams), max_tokens, stop_token_ids, ignore_eos, min_tokens, time_limit_ms, and
          record=Record(...).

        Raises the server's refusal of the options; UnavailableError if no server answers in time.
        """
        if max_batches_in_flight < 1:
            raise ValueError(f"max_batches_in_flight must be >= 1, got {max_batches_in_flight}")
        self._start(parameters.Options.of(options, "DecodeSession"), connect or connect_in_turn(server, credentials),
                    vocab_size=vocab_size, end_token_ids=end_token_ids, dtype=dtype, numerics_version=numerics_version,
                    retry_for=retry_for, head=head, before_output_norm=before_output_norm,
                    head_token_ids=head_token_ids)
        self._max_batches_in_flight = max_batches_in_flight

    @classmethod
    def with_options(cls, options: parameters.Options, connect: Connect, **settings: Any) -> DecodeSession:
        """As the constructor, for options that are messages already."""
        session = cls.__new__(cls)
        session._start(options, connect, **settings)
        return session

    def _start(self, options: parameters.Options, connect: Connect, *, vocab_size: int | None,
               end_token_ids: Iterable[SupportsIndex], dtype: Dtype | None, numerics_version: int | None,
               retry_for: float, head: str | None = None, before_output_norm: bool = False,
               head_token_ids: Iterable[SupportsIndex] = ()) -> None:
        check_dtype(dtype)
        self._head = head_of(connect, head, vocab_size, before_output_norm, head_token_ids, retry_for)
        if self._head is not None:
            vocab_size = self._head.vocab_size
        if vocab_size is None:
            raise TypeError("DecodeSession needs vocab_size, the number of token ids, or a head")
        self._options = options
        config = decoding.DecodeConfig(
            vocab_size=_values.int32(vocab_size, "vocab_size"), numerics_version=numerics_version,
            end_token_ids=_values.token_ids(end_token_ids, "end_token_ids"), sampling=self._options.sampling,
            stop=self._options.stop, record=self._options.record)
        self.vocab_size = config.vocab_size
        self._dtype = dtype
        self._max_batches_in_flight = 1
        self._stream = Stream(connect, config, retry_for=retry_for)
        self._sequence_count = 0
        # Running sequences by their ids; those that are to be opened and closed with the next batch.
        self._running: dict[int, Sequence] = {}
        self._opens: dict[int, Opening] = {}
        self._closes: list[Sequence] = []
        self._sent: collections.deque[_Sent] = collections.deque()
        self._results: collections.deque[list[Step]] = collections.deque()

    @property
    def seed(self) -> int:
        """The seed of sequences that bring none: the options', or the one that the first server drew."""
        return self._stream.started.seed

    @property
    def numerics_version(self) -> int:
        """Which numbers the servers compute: equal versions give equal bits."""
        return self._stream.started.provenance.numerics_version

    @property
    def reconnect_count(self) -> int:
        """Streams that took the place of a lost one, so far."""
        return self._stream.reconnect_count

    @property
    def running(self) -> list[Sequence]:
        """The sequences that go on, in the order in which they were opened."""
        return [sequence for sequence in self._running.values() if not sequence._is_closing]

    @property
    def pending_count(self) -> int:
        """Batches whose results were not received."""
        return sum(not sent.is_silent for sent in self._sent) + len(self._results)

    def open(self, prompt: Iterable[SupportsIndex] = (), *, state: Mapping[str, Any] | None = None,
             sequence_key: int | None = None, **options: Unpack[parameters.DecodeOptions]) -> Sequence:
        """Opens a sequence with the next batch. Nothing is sent yet.

        prompt: token ids. Only penalties, sequence_biases, no_repeat_ngram_size and dry look at it.
        state: what Sequence.state() returned, instead of a prompt: the sequence goes on from there, with its seed and
          its key. For a branch that draws other tokens, give another sequence_key.
        sequence_key: its stream of random numbers under the seed, [0, 2^56). None: the state's, or its number in the
          session.
        options: as in the constructor; each takes the place of the session's of the same name, and None unsets it.

        Raises InvalidRequestError and TypeError for arguments that are wrong in themselves. A server's refusal is the
        `error` of the sequence and of its step.
        """
        past = self._past_of(prompt, state)
        if sequence_key is not None:
            past = dataclasses.replace(past, sequence_key=_values.uint64(sequence_key, "sequence_key"))
        return self.open_past(past, options)

    def open_past(self, past: Past, options: Mapping[str, Any] | None = None) -> Sequence:
        """As open(), from a past."""
        options = options or {}
        effective = self._options.with_changes(options, "DecodeSession.open")
        self._check_past(past)
        self._sequence_count += 1
        sequence = Sequence(self, self._sequence_count, past)
        message = decoding.OpenSequence(sequence_id=sequence.id)
        if past.sequence_key is not None:
            message.sequence_key = past.sequence_key
        seed = options.get("seed")
        seed = past.seed if seed is None else _values.uint64(seed, "seed")
        sampling = effective.sampling or sampling_pb2.SamplingParams()
        if STAGE_NAMES & options.keys() or seed not in (None, self.seed):
            message.sampling.CopyFrom(sampling)
            # Without one the server would draw another.
            message.sampling.seed = self.seed if seed is None else seed
        if parameters.STOP_NAMES & options.keys():
            message.stop.CopyFrom(effective.stop or sampling_pb2.StopCriteria())
        if "record" in options:
            message.record.CopyFrom(effective.record or completion_pb2.RecordOptions())
        looks = looks_at_tokens(sampling)
        if past.tokens:
            before = message.fresh.state
            if looks:
                before.tokens.token_ids.extend(past.tokens)
            else:
                before.token_count = len(past.tokens)
            if past.resume_state is not None:
                before.resume_state.CopyFrom(past.resume_state)
        self._opens[sequence.id] = Opening(sequence, message, past.prompt if looks else ())
        self._running[sequence.id] = sequence
        return sequence

    def _past_of(self, prompt: Iterable[SupportsIndex], state: Mapping[str, Any] | None) -> Past:
        tokens = tuple(_values.token_ids(prompt, "prompt"))
        if state is None:
            return Past(tokens)
        if tokens:
            raise TypeError("give prompt or state: a state has its prompt")
        return Past.from_json(state)

    def _check_past(self, past: Past) -> None:
        if past.finish_reason is not None:
            raise refuse(f"the sequence of this state has ended ({past.finish_reason})", field="state.finish_reason",
                         value=past.finish_reason)
        if past.numerics_version not in (None, self.numerics_version):
            raise errors.PreconditionError(
                f"the state is of numerics_version {past.numerics_version}, and the server has {self.numerics_version}",
                reason="NUMERICS_VERSION_MISMATCH", field="state.numerics_version", value=str(past.numerics_version),
                bound=str(self.numerics_version), code=grpc.StatusCode.FAILED_PRECONDITION)
        for name, ids in (("prompt", past.prompt), ("tokens", past.tokens)):
            if ids and not 0 <= min(ids) <= max(ids) < self.vocab_size:
                wrong = next(token for token in ids if not 0 <= token < self.vocab_size)
                raise refuse(f"{name} must have token ids in [0, {self.vocab_size}), got {wrong}", field=name,
                             value=wrong, bound=f"[0, {self.vocab_size})", reason="TOKEN_ID_OUT_OF_RANGE")

    def step(self, rows: Any, sequences: Iterable[Sequence] | None = None, *, allowed_tokens: PerSequence = None,
             given_token_id: PerSequence = None, named_token_ids: PerSequence = None) -> list[Step]:
        """Sends one row for each sequence, and waits for their steps, in the same order. Arguments and errors: send().
        Raises ValueError if the result of a batch before was not received."""
        if self.pending_count:
            raise ValueError("step() is for one batch at a time: receive() the results of those before")
        self.send(rows, sequences, allowed_tokens=allowed_tokens, given_token_id=given_token_id,
                  named_token_ids=named_token_ids)
        return self.receive()

    def send(self, rows: Any, sequences: Iterable[Sequence] | None = None, *, allowed_tokens: PerSequence = None,
             given_token_id: PerSequence = None, named_token_ids: PerSequence = None) -> None:
        """Sends one row for each sequence; receive() returns their steps. If max_batches_in_flight are on their way,
        waits for one of them.

        rows: an array [B, V] ([B, d] with a head), row i for sequence i; [V] for one sequence; or {sequence: row}, where
          sequences may share a row. The array may be changed after the call. Rows.of says which arrays these may be.
        sequences: None: all that are running. A sequence may have several steps on their way if its rows do not depend
          on the tokens.
        allowed_tokens: {sequence: token ids, or a bitmask in bytes}, the only tokens that may be chosen at this step.
        given_token_id: {sequence: token id}, the token to take instead of choosing one.
        named_token_ids: {sequence: token ids}, whose log-probs the record shall hold (record.named).

        Raises InvalidRequestError for rows of a wrong width, type or number: nothing is sent then. Raises whatever
        ended the session.
        """
        values, chosen, numbers = self._rows(rows, sequences)
        steps = [NewStep(sequence, decoding.SequenceStep(
            sequence_id=sequence.id, position=sequence.token_count + sequence.pending_step_count), number)
            for sequence, number in zip(chosen, numbers)]
        if allowed_tokens or given_token_id or named_token_ids:
            _set_step_options(steps, allowed_tokens or {}, given_token_id or {}, named_token_ids or {})
        while len(self._sent) >= self._max_batches_in_flight:
            self._collect()
        self._send(steps, values)
        for sequence in chosen:
            sequence.pending_step_count += 1

    def _rows(self, rows: Any, sequences: Iterable[Sequence] | None) -> tuple[Rows, list[Sequence], list[int]]:
        """The rows, the sequences, and the number of each sequence's row."""
        if isinstance(rows, Mapping):
            if sequences is not None:
                raise TypeError("give sequences, or rows as {sequence: row}, not both")
            chosen = list(rows)
            places: dict[int, int] = {}
            numbers = [places.setdefault(id(row), len(places)) for row in rows.values()]
            apart = {id(row): row for row in rows.values()}
            self._check_sequences(chosen)
            parts = [Rows.of(row, self.vocab_size, self._dtype, self._head) for row in apart.values()]
            for part in parts:
                if part.count != 1:
                    raise refuse(f"each sequence takes one row, got {part.count}", value=part.count, bound=1)
            return Rows.joined(parts), chosen, numbers
        chosen = self.running if sequences is None else list(sequences)
        self._check_sequences(chosen)
        values = Rows.of(rows, self.vocab_size, self._dtype, self._head)
        if values.count != len(chosen):
            raise refuse(f"there must be one row for each of {len(chosen)} sequences, got {values.count}",
                         value=values.count, bound=len(chosen))
        return values, chosen, list(range(len(chosen)))

    def _check_sequences(self, sequences: List[Sequence]) -> None:
        if not sequences:
            raise ValueError("there is no sequence to step: open() one")
        if len(set(sequences)) != len(sequences):
            raise ValueError("a sequence is there twice: send() its steps one after the other")
        for sequence in sequences:
            if not isinstance(sequence, Sequence) or sequence._session is not self:
                raise ValueError(f"{sequence!r} is no sequence of this session")
            if not sequence.is_running or sequence._is_closing:
                raise ValueError(f"{sequence!r} has ended")

    def receive(self) -> list[Step]:
        """Waits for the steps of the oldest send() that were not received. Raises whatever ended the session;
        ValueError if nothing was sent."""
        while not self._results:
            if not self._sent:
                raise ValueError("nothing was sent that has not been received")
            self._collect()
        return self._results.popleft()

    def flush(self) -> None:
        """Opens and closes sequences without a step, and waits until everything that was sent is answered. Seeds and
        errors of sequences are known then."""
        self._send([], None)
        while self._sent:
            self._collect()

    def close(self) -> None:
        """Waits for the results of everything that was sent, which receive() still returns, then ends the stream, and
        with it all sequences that are open. Raises whatever ended the session. A second call does nothing."""
        while self._sent:
            self._collect()
        self._stream.finish()

    def cancel(self) -> None:
        """Ends the stream at once. Nothing more can be received."""
        self._sent.clear()
        self._stream.close()

    def __enter__(self) -> DecodeSession:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 traceback: TracebackType | None) -> None:
        self.close() if error is None else self.cancel()

    def _send(self, steps: List[NewStep], rows: Rows | None) -> None:
        batches = list(batches_of(list(self._opens.values()), self._closes, steps, rows))
        if not batches:
            return
        self._opens, self._closes = {}, []
        sent = _Sent(collections.deque(), is_silent=not steps)
        self._sent.append(sent)
        for batch in batches:
            sent.batches.append(batch)
            self._stream.send(batch.message, batch.pieces)
            batch.pieces = ()

    def _collect(self) -> None:
        """Waits for all results of the oldest send()."""
        sent = self._sent[0]
        while sent.batches:
            result = self._stream.receive()
            self._take(sent.batches.popleft(), result, sent.steps)
        self._sent.popleft()
        if not sent.is_silent:
            self._results.append(sent.steps)

    def _take(self, batch: Batch, result: decoding.BatchResult, steps: list[Step]) -> None:
        for sequence, opened in zip(batch.opens, result.opens):
            if opened.HasField("error"):
                sequence.error = errors.from_proto(opened.error)
                self._running.pop(sequence.id, None)
            else:
                sequence.seed, sequence.sequence_key = opened.seed, opened.sequence_key
        for sequence, closed in zip(batch.closes, result.closes):
            self._running.pop(sequence.id, None)
            if sequence.is_running:
                sequence._end(closed.finish)
        for sequence, step in zip(batch.steps, result.steps):
            steps.append(take_step(sequence, step))
            if not sequence.is_running:
                self._running.pop(sequence.id, None)

    def _close_sequence(self, sequence: Sequence) -> None:
        if sequence.id in self._opens:
            # The server has not heard of it.
            del self._opens[sequence.id]
            self._running.pop(sequence.id, None)
            sequence.finish_reason = "cancelled"
        elif sequence.is_running and not sequence._is_closing:
            sequence._is_closing = True
            self._closes.append(sequence)


def _set_step_options(steps: List[NewStep], allowed_tokens: Mapping[Sequence, Any],
                      given_token_id: Mapping[Sequence, Any], named_token_ids: Mapping[Sequence, Any]) -> None:
    sequences = {step.sequence for step in steps}
    for name, values in (("allowed_tokens", allowed_tokens), ("given_token_id", given_token_id),
                         ("named_token_ids", named_token_ids)):
        if not isinstance(values, Mapping):
            raise TypeError(f"{name} must be a dict {{sequence: ...}}, got {type(values).__name__}")
        for sequence in values:
            if sequence not in sequences:
                raise ValueError(f"{name} has {sequence!r}, which takes no row in this batch")
    for step in steps:
        if step.sequence in allowed_tokens:
            step.message.allowed_tokens.CopyFrom(
                parameters.token_set(allowed_tokens[step.sequence], "allowed_tokens"))
        if step.sequence in given_token_id:
            step.message.given_token_id = _values.int32(given_token_id[step.sequence], "given_token_id")
        if step.sequence in named_token_ids:
            step.message.named_token_ids.extend(_values.token_ids(named_token_ids[step.sequence], "named_token_ids"))
