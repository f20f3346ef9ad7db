"""Knows whether the server still waits for the results of one batch."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from logitd import _failures, errors
from logitd.v1 import model_runner_service_pb2 as runner_pb2


class BatchControl:
    """Thread-safe: one thread evaluates while another one reads the server's cancels. The deadline counts from the
    construction."""

    def __init__(self, batch: runner_pb2.RunBatch):
        self._places = {work.sequence_id: i for i, work in enumerate(batch.work)}
        self._cancelled: set[int] = set()
        self._deadline = time.monotonic() + batch.deadline_ms / 1000 if batch.HasField("deadline_ms") else None

    def cancel(self, cancel: runner_pb2.CancelBatch) -> None:
        """Unknown sequences are ignored; none: all."""
        ids = cancel.sequence_ids or list(self._places)
        self._cancelled.update(self._places[sequence_id] for sequence_id in ids if sequence_id in self._places)

    def why_unwanted(self, index: int) -> errors.LogitdError | None:
        """None while the server waits for entry `index`; else CANCELLED or DEADLINE_EXCEEDED."""
        if index in self._cancelled:
            return _failures.failure("CANCELLED", "the request was cancelled")
        if self._deadline is not None and time.monotonic() >= self._deadline:
            return _failures.failure("DEADLINE_EXCEEDED", "the time for the batch has passed")
        return None


_here = threading.local()


def is_wanted() -> bool:
    """For a model, in one of its functions: whether anybody still waits for the rows that it computes now. A slow model
    asks from time to time, and raises when nobody does. True outside of a call of the model. Cheap."""
    ask: Callable[[], bool] | None = getattr(_here, "ask", None)
    return ask is None or ask()


@contextmanager
def asking(ask: Callable[[], bool]) -> Iterator[None]:
    """Within it, is_wanted() of this thread is `ask`."""
    _here.ask = ask
    try:
        yield
    finally:
        _here.ask = None
