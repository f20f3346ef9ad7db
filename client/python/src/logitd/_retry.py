"""How long to ask again after a failure that will pass."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from logitd import errors

# Seconds of one wait. Python notices a Ctrl-C that comes just before a wait only when that wait ends.
LONGEST_WAIT_S = 0.25
_FIRST_BACKOFF_S = 0.05
_LONGEST_BACKOFF_S = 2.0
# Seconds without an answer after which a person is told.
_QUIET_S = 2.0
_log = logging.getLogger("logitd")


class Patience:
    """Says how long to wait before the next attempt, for a bounded time without an answer.

        patience = Patience(retry_for=300)
        while True:
            try:
                return call()
            except LogitdError as error:
                time.sleep(patience.wait_after(error))     # raises `error` if another attempt does not help

    One thread.
    """

    def __init__(self, retry_for: float, now: Callable[[], float] = time.monotonic):
        """retry_for: the longest time without an answer, seconds, >= 0. 0: no second attempt."""
        self._retry_for = retry_for
        self._now = now
        self._first_failure: float | None = None
        self._backoff = 0.0
        self._has_told = False

    def reset(self) -> None:
        """There was an answer: the time without one begins again."""
        self._first_failure = None
        self._backoff = 0.0

    def wait_after(self, error: errors.LogitdError) -> float:
        """Seconds to wait: the delay that the server names, and at least 50 ms, then twice as long each time, up to 2 s.
        Raises `error` if another attempt does not help, or if retry_for is over."""
        if not errors.is_transient(error):
            raise error
        now = self._now()
        if self._first_failure is None:
            self._first_failure = now
        left = self._first_failure + self._retry_for - now
        if left <= 0:
            if self._retry_for > 0:
                error.message = f"no answer for {self._retry_for:g} s; the last error: {error.message}"
            raise error
        if now - self._first_failure >= _QUIET_S and not self._has_told:
            self._has_told = True
            _log.warning("no answer yet, trying again for %g s: %s", left, error.message)
        self._backoff = min(max(2 * self._backoff, _FIRST_BACKOFF_S), _LONGEST_BACKOFF_S)
        return min(left, max(self._backoff, error.retry_after_s or 0.0))
