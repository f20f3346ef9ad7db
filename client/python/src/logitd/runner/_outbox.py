"""Messages on their way to the server, as gRPC takes them."""

from __future__ import annotations

import collections
import threading

# The bytes that wait at most: a model that is faster than the network waits, instead of filling the memory.
_MOST_BYTES = 16 << 20


class Outbox:
    """An iterator over messages that are put into it. It ends after `close`. Thread-safe."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._messages: collections.deque[bytes] = collections.deque()
        self._bytes = 0
        self._closed = False

    def put(self, message: bytes) -> bool:
        """Waits while there is no room. False: it is closed, and the message will not be sent."""
        with self._changed:
            while self._messages and self._bytes + len(message) > _MOST_BYTES and not self._closed:
                self._changed.wait()
            if self._closed:
                return False
            self._messages.append(message)
            self._bytes += len(message)
            self._changed.notify_all()
            return True

    def is_empty(self) -> bool:
        """Whether nothing waits to be sent."""
        with self._changed:
            return not self._messages

    def close(self, drop: bool = False) -> None:
        """No more messages. `drop`: those that wait are not sent either."""
        with self._changed:
            self._closed = True
            if drop:
                self._messages.clear()
                self._bytes = 0
            self._changed.notify_all()

    def __iter__(self) -> Outbox:
        return self

    def __next__(self) -> bytes:
        with self._changed:
            while not self._messages and not self._closed:
                self._changed.wait()
            if not self._messages:
                raise StopIteration
            message = self._messages.popleft()
            self._bytes -= len(message)
            self._changed.notify_all()
            return message
