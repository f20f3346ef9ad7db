"""The failures that a test orders of the mock server, and the requests that it has seen."""

from __future__ import annotations

import dataclasses
import threading
from typing import Any

from logitd import _failures, errors

# Methods that a real server never refuses for load.
_NEVER_REFUSED = ("GetServerInfo", "ListModels")


@dataclasses.dataclass(slots=True)
class Order:
    """A failure for the next `times` calls of `methods`, or of all; each is answered `after_responses` times before."""

    error: errors.LogitdError
    methods: frozenset[str] | None
    times: int
    after_responses: int


class Orders:
    """Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._orders: list[Order] = []
        self._item_errors: dict[str, errors.LogitdError] = {}
        self._requests: list[Any] = []

    def add(self, order: Order) -> None:
        with self._lock:
            self._orders.append(order)

    def take(self, method: str) -> Order | None:
        """The failure of this call; None: it is answered."""
        with self._lock:
            for order in self._orders:
                if method in _NEVER_REFUSED if order.methods is None else method not in order.methods:
                    continue
                order.times -= 1
                if order.times <= 0:
                    self._orders.remove(order)
                return order
        return None

    def set_item_error(self, item_id: str, error: errors.LogitdError) -> None:
        with self._lock:
            self._item_errors[item_id] = error

    def item_error(self, item_id: str) -> errors.LogitdError | None:
        with self._lock:
            return self._item_errors.get(item_id)

    def see(self, request: Any) -> None:
        with self._lock:
            self._requests.append(request)

    def requests(self) -> list[Any]:
        with self._lock:
            return list(self._requests)

    def clear(self) -> None:
        with self._lock:
            self._orders.clear()
            self._item_errors.clear()
            self._requests.clear()


def ordered(reason: str, message: str, **details: Any) -> errors.LogitdError:
    """The error of an order."""
    return _failures.failure(reason, message or f"ordered by the test: {reason}", **details)
