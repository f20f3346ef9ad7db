"""The thread in which a model evaluates, and what happens if a call of the model does not come back."""

from __future__ import annotations

import collections
import logging
import threading
import time

from logitd import _failures
from logitd.runner._batch_run import BatchRun, Call
from logitd.runner._sequences import Sequences

_log = logging.getLogger("logitd.runner")
# The number of calls that may be left behind at once.
_MOST_LEFT = 8


class Evaluator:
    """Evaluates batches in their order, in one thread.

    If nobody has waited for a call of the model for `abandon_after_s`, and the model has not come back, its thread is
    left behind: what it returns is ignored, and another thread goes on with the batch. A model that hangs thus ends
    only the request that it hangs on. Its state of that sequence has been given up; the call may be in it still.

    It outlives the connections of a runner, so that a model is never called twice at once. Thread-safe.
    """

    def __init__(self, abandon_after_s: float):
        self._abandon_after_s = abandon_after_s
        self._changed = threading.Condition()
        self._queue: collections.deque[BatchRun | Sequences] = collections.deque()
        self._closed = False
        # The number of the thread whose turn it is: an older one has been left behind.
        self._turn = 0
        self._call: tuple[BatchRun, Call] | None = None
        self._unwanted_since: float | None = None
        self._left = 0
        self._broken: BaseException | None = None
        self._begin_thread(0, None)

    def push(self, work: BatchRun | Sequences) -> None:
        """A batch to evaluate, or sequences to free after the batches before."""
        with self._changed:
            self._queue.append(work)
            self._changed.notify()

    def close(self) -> None:
        """It ends after what has been pushed."""
        with self._changed:
            self._closed = True
            self._changed.notify()

    def watch(self) -> None:
        """Call it at least every second. Raises INTERNAL if the model hangs in too many calls, or the runner failed."""
        with self._changed:
            if self._broken is not None:
                raise _failures.failure("INTERNAL", f"the runner failed: {self._broken!r}")
            if self._call is None:
                return
            run, call = self._call
            now = time.monotonic()
            if run.is_wanted(call):
                self._unwanted_since = None
                return
            if self._unwanted_since is None:
                self._unwanted_since = now
            if now - self._unwanted_since < self._abandon_after_s:
                return
            if self._left == _MOST_LEFT:
                raise _failures.failure("INTERNAL", f"the model hangs: {_MOST_LEFT} calls of it have not come back")
            self._left += 1
            self._call = None
            self._turn += 1
            turn = self._turn
        _log.error("a call of the model has not come back %g s after nobody waits for it: it is left behind",
                   self._abandon_after_s)
        self._begin_thread(turn, (run, call))

    def _begin_thread(self, turn: int, given_up: tuple[BatchRun, Call] | None) -> None:
        threading.Thread(target=self._run, args=(turn, given_up), name="logitd-evaluate", daemon=True).start()

    def _run(self, turn: int, given_up: tuple[BatchRun, Call] | None) -> None:
        try:
            self._serve(turn, given_up)
        except BaseException as bug:
            _log.exception("the runner failed")
            with self._changed:
                self._broken = bug

    def _serve(self, turn: int, given_up: tuple[BatchRun, Call] | None) -> None:
        run: BatchRun | None = None
        if given_up is not None:
            run, call = given_up
            run.give_up(call)
        while run is not None or (run := self._next()) is not None:
            while (next_call := run.next_call()) is not None:
                with self._changed:
                    self._call = run, next_call
                    self._unwanted_since = None
                results = run.evaluate(next_call)
                with self._changed:
                    if self._turn != turn:
                        self._left -= 1
                        return
                    self._call = None
                run.take(next_call, results)
            run.finish()
            run = None

    def _next(self) -> BatchRun | None:
        """None: it is closed, and nothing is left."""
        while True:
            with self._changed:
                while not self._queue and not self._closed:
                    self._changed.wait()
                if not self._queue:
                    return None
                work = self._queue.popleft()
            if isinstance(work, BatchRun):
                return work
            work.clear()
