"""Which items go together in a request, which are left, and when to ask again: the whole logic of a call with many
items, without threads, tasks or I/O. _threads.py and _tasks.py do the rest.

    batches = Batches(method, retry_for=300, in_flight=8, most_bytes=limits.max_request_bytes)
    while batches.has_room: batches.add(items)            # up to the end of the input, then batches.close()
    batch = batches.next()                                # to be sent now; None: see batches.delay()
    for response in send(batches.request(batch)): batches.take(batch, response)
    batches.end(batch, error_or_none)
    for answer in batches.ready(): ...                    # in the items' order

- A request that fails because of its items (its error names them, or a limit) is sent again in halves; a single item
  that is refused is answered by its error.
- Items that have no answer after an error that will pass are sent again, for as long as the batch's patience lasts.
- Any other error ends the call.
"""

from __future__ import annotations

import bisect
import collections
import dataclasses
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Generic, Protocol, TypeVar

import grpc
from google.protobuf import message as message_lib

from logitd import errors
from logitd._retry import Patience
from logitd.v1 import completion_pb2

_A = TypeVar("_A")

# Good bounds of one request; the server's limits may be smaller.
ITEMS_PER_REQUEST = 32
BYTES_PER_REQUEST = 256 << 10


@dataclasses.dataclass(frozen=True)
class Answered:
    """An item that is not sent, with its answer."""

    answer: Any

    def ByteSize(self) -> int:  # pylint: disable=invalid-name
        return 0


class Method(Protocol[_A]):
    """Whatever the batches have to know of a call."""

    items_per_request: int

    def request(self, items: Sequence[Any]) -> message_lib.Message:
        """The request with these items."""

    def answers(self, response: Any) -> Iterable[tuple[int, _A]]:
        """The answers in a response, each with its item's index in the request."""

    def provenance(self, answer: _A) -> completion_pb2.Provenance | None:
        """Whose numbers an answer has; None: it has none."""

    def passing_error(self, answer: _A) -> errors.LogitdError | None:
        """An error in an answer that a later attempt may not meet; None: the answer is final."""

    def concerns_items(self, error: errors.LogitdError) -> bool:
        """Whether a request was refused because of its items."""

    def refusal(self, item: Any, error: errors.LogitdError) -> _A | None:
        """The answer to an item that was refused. None: the call fails with the error."""

    def place(self, answer: _A, index: int) -> None:
        """Makes an answer that of the call's item `index`."""

    def name_place(self, error: errors.LogitdError, index: int) -> None:
        """Makes an error that of the call's item `index`."""


@dataclasses.dataclass(eq=False)
class Batch:
    """Items of one request, and their places in the call."""

    places: list[int]
    items: list[Any]
    patience: Patience
    # When it may be sent.
    due: float = 0.0
    # Indices in the request that have a final answer.
    answered: set[int] = dataclasses.field(default_factory=set)
    # The last error in an answer.
    passing: errors.LogitdError | None = None


class Batches(Generic[_A]):
    """The state of one call. One thread, or under one lock."""

    def __init__(self, method: Method[_A], *, retry_for: float, in_flight: int, most_bytes: int,
                 whose: completion_pb2.Provenance | None = None, now: Callable[[], float] = time.monotonic):
        """most_bytes: of one request. whose: whose answers are expected; None: those of whoever answers first."""
        self._method = method
        self._most_bytes = most_bytes
        self._retry_for = retry_for
        self._most_chunks = 2 * in_flight
        self._now = now
        # By the time at which they may be sent.
        self._waiting: list[Batch] = []
        self._flying = 0
        self._answers: dict[int, _A] = {}
        self._added = 0
        self._handed_on = 0
        # The ends of the chunks that are not wholly handed on.
        self._ends: collections.deque[int] = collections.deque()
        self._is_closed = False
        self._whose = whose
        self._is_known = whose is not None
        self.failure: BaseException | None = None

    @property
    def has_room(self) -> bool:
        """Whether more items may be added: their number in memory is bounded."""
        return self.failure is None and not self._is_closed and len(self._ends) < self._most_chunks

    @property
    def is_done(self) -> bool:
        """All items are answered, and there are no more."""
        return self._is_closed and not self._waiting and not self._flying

    def add(self, items: Sequence[Any]) -> None:
        """Adds the items of one request."""
        places, sent = [], []
        for place, item in enumerate(items, self._added):
            if isinstance(item, Answered):
                self._answer(place, item.answer)
            else:
                places.append(place)
                sent.append(item)
        self._added += len(items)
        self._ends.append(self._added)
        if sent:
            self._wait(Batch(places, sent, Patience(self._retry_for, self._now)))

    def close(self) -> None:
        """There are no more items."""
        self._is_closed = True

    def fail(self, failure: BaseException) -> None:
        """Ends the call; the first failure counts."""
        if self.failure is None:
            self.failure = failure

    def _wait(self, batch: Batch) -> None:
        bisect.insort(self._waiting, batch, key=lambda waiting: (waiting.due, waiting.places[0]))

    def next(self) -> Batch | None:
        """The batch to send now, which counts as sent until `end`. None: none is due."""
        if self.failure is not None or not self._waiting or self._waiting[0].due > self._now():
            return None
        self._flying += 1
        return self._waiting.pop(0)

    def delay(self) -> float | None:
        """Seconds until a batch is due. None: none is waiting."""
        return max(0.0, self._waiting[0].due - self._now()) if self._waiting else None

    def request(self, batch: Batch) -> message_lib.Message:
        """The request of a batch. Raises LimitError if no server takes it: hand that to `end`."""
        request = self._method.request(batch.items)
        size = request.ByteSize()
        if size > self._most_bytes:
            # gRPC would refuse it too, with an error that no program can read.
            raise errors.LimitError(
                f"a request must have at most {self._most_bytes} bytes, got {size}", reason="LIMIT_EXCEEDED",
                value=str(size), bound=f"[0, {self._most_bytes}]", limit="max_request_bytes",
                code=grpc.StatusCode.RESOURCE_EXHAUSTED)
        return request

    def take(self, batch: Batch, response: message_lib.Message) -> None:
        """Takes a response to the batch's request."""
        for index, answer in self._method.answers(response):
            if not 0 <= index < len(batch.items) or index in batch.answered:
                continue
            passing = self._method.passing_error(answer)
            if passing is not None:
                batch.passing = passing
                continue
            self._check_provenance(self._method.provenance(answer))
            if self.failure is not None:
                return
            batch.answered.add(index)
            self._answer(batch.places[index], answer)
            batch.patience.reset()

    def _answer(self, place: int, answer: _A) -> None:
        self._method.place(answer, place)
        self._answers[place] = answer

    def _check_provenance(self, provenance: completion_pb2.Provenance | None) -> None:
        """All answers of a call are of one model and one numerics version."""
        if provenance is None or not provenance.numerics_version:
            return
        if self._whose is None or (not self._is_known and not self._whose.model_fingerprint):
            self._whose = provenance
            return
        is_same_model = not provenance.model_fingerprint or (
            (provenance.model_fingerprint, provenance.precision) == (self._whose.model_fingerprint,
                                                                    self._whose.precision))
        if not is_same_model:
            self._refuse_answers("model")
        elif provenance.numerics_version != self._whose.numerics_version:
            self._refuse_answers("numerics version")
        elif getattr(provenance, "reproducible", False) and self._whose.HasField("runner") and (
                provenance.runner != self._whose.runner):
            self._refuse_answers("kind of runner")

    def _refuse_answers(self, difference: str) -> None:
        self.fail(errors.PreconditionError(
            f"the server answers with another {difference} than this call began with: its answers do not belong "
            "together", code=grpc.StatusCode.FAILED_PRECONDITION))

    def end(self, batch: Batch, error: errors.LogitdError | None) -> None:
        """The batch's request has ended."""
        self._flying -= 1
        if self.failure is not None:
            return
        left = [i for i in range(len(batch.items)) if i not in batch.answered]
        if not left:
            return
        error = error or batch.passing
        if error is None:
            self.fail(errors.ServerError(f"the server answered {len(batch.answered)} of {len(batch.items)} items",
                                         code=grpc.StatusCode.INTERNAL))
        elif self._method.concerns_items(error):
            self._halve(batch, left, error)
        else:
            try:
                due = self._now() + batch.patience.wait_after(error)
            except errors.LogitdError as fatal:
                self.fail(fatal)
                return
            self._wait(self._part(batch, left, due))

    @staticmethod
    def _part(batch: Batch, indices: Sequence[int], due: float = 0.0) -> Batch:
        return Batch([batch.places[i] for i in indices], [batch.items[i] for i in indices], batch.patience, due)

    def _halve(self, batch: Batch, left: list[int], error: errors.LogitdError) -> None:
        if len(left) > 1:
            middle = len(left) // 2
            for half in (left[:middle], left[middle:]):
                part = self._part(batch, half)
                part.patience = Patience(self._retry_for, self._now)
                self._wait(part)
            return
        place = batch.places[left[0]]
        answer = self._method.refusal(batch.items[left[0]], error)
        if answer is None:
            self._method.name_place(error, place)
            self.fail(error)
        else:
            self._answer(place, answer)

    @property
    def has_answers(self) -> bool:
        """Whether `ready` has something to hand on."""
        return self._handed_on in self._answers

    def ready(self) -> list[_A]:
        """The next answers, in order; each is handed on once."""
        out = []
        while self._handed_on in self._answers:
            out.append(self._answers.pop(self._handed_on))
            self._handed_on += 1
        while self._ends and self._ends[0] <= self._handed_on:
            self._ends.popleft()
        return out
