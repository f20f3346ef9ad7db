"""Sends the requests of a call from a few threads, and hands on the answers on the caller's thread, in order.

The threads only send and read. Everything else happens on the caller's thread: the items are read there, and only it
touches the batches. The two sides meet in queues, which a KeyboardInterrupt cannot leave locked. If the caller stops
(KeyboardInterrupt, or the iterator is closed), the requests in flight are cancelled at once.
"""

from __future__ import annotations

import dataclasses
import queue
import threading
from collections.abc import Callable, Generator, Iterator
from typing import Any, Generic, TypeVar

import grpc

from logitd import errors
from logitd._batches import Batch, Batches
from logitd._retry import LONGEST_WAIT_S

_A = TypeVar("_A")


class OneResponse:
    """The future of a call with one response, as a stream of one."""

    def __init__(self, future: Any):
        self._future = future

    def __iter__(self) -> Iterator[Any]:
        yield self._future.result()

    def cancel(self) -> None:
        self._future.cancel()


@dataclasses.dataclass
class _News:
    """A response to a batch's request, or its end."""

    batch: Batch
    response: Any = None
    is_end: bool = False
    error: BaseException | None = None


class Threads(Generic[_A]):
    """The threads of one call."""

    def __init__(self, batches: Batches[_A], send: Callable[[Any], Any], count: int):
        """`send` starts a request: an iterator of responses with `cancel`."""
        self._batches = batches
        self._send = send
        self._count = count
        self._threads: list[threading.Thread] = []
        # The call of each thread. Each thread writes its own place.
        self._calls: list[Any] = [None] * count
        self._is_stopped = False
        # (batch, request), or None: the end.
        self._todo: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._news: queue.SimpleQueue[_News] = queue.SimpleQueue()
        # Batches that are handed to the threads and have not ended.
        self._handed_out = 0

    def run(self, chunks: Iterator[list[Any]]) -> Generator[list[_A], None, None]:
        """The answers, as they become ready; `chunks`: the items of each request. Raises whatever ends the call."""
        batches = self._batches
        try:
            while True:
                self._hand_out()
                if ready := batches.ready():
                    yield ready
                elif batches.failure is not None or batches.is_done:
                    break
                elif batches.has_room:
                    chunk = next(chunks, None)
                    if chunk is None:
                        batches.close()
                    else:
                        batches.add(chunk)
                    self._hear(is_waiting=False)
                else:
                    self._hear(is_waiting=True)
            if batches.failure is not None:
                raise batches.failure
        finally:
            self._stop()

    def _hand_out(self) -> None:
        """Gives the threads what is due, and a little more, so that they go on while the caller is busy."""
        while self._handed_out < 2 * self._count and (batch := self._batches.next()) is not None:
            try:
                request = self._batches.request(batch)
            except errors.LogitdError as error:
                self._batches.end(batch, error)
                continue
            if len(self._threads) < min(self._count, self._handed_out + 1):
                thread = threading.Thread(target=self._work, args=(len(self._threads),), daemon=True,
                                          name="logitd-call")
                self._threads.append(thread)
                thread.start()
            self._handed_out += 1
            self._todo.put((batch, request))

    def _hear(self, is_waiting: bool) -> None:
        """Takes the news; waits a while for one, or until a batch is due."""
        delay = self._batches.delay()
        try:
            news = self._news.get(is_waiting, LONGEST_WAIT_S if delay is None else min(delay, LONGEST_WAIT_S))
            while True:
                if news.is_end:
                    self._handed_out -= 1
                    if news.error is not None and not isinstance(news.error, errors.LogitdError):
                        self._batches.fail(news.error)
                        news.error = None
                    self._batches.end(news.batch, news.error)
                else:
                    self._batches.take(news.batch, news.response)
                news = self._news.get_nowait()
        except queue.Empty:
            pass

    def _stop(self) -> None:
        self._is_stopped = True
        for _ in range(self._count):
            self._todo.put(None)
        for call in self._calls:
            if call is not None:
                call.cancel()
        for thread in self._threads:
            # A KeyboardInterrupt may have come while the last one was started; it ends by itself.
            if thread.ident is not None:
                thread.join()

    def _work(self, place: int) -> None:
        while not self._is_stopped and (task := self._todo.get()) is not None:
            batch, request = task
            error: BaseException | None = None
            try:
                self._read(place, batch, request)
            except grpc.RpcError as failure:
                error = errors.from_rpc_error(failure)
            except BaseException as bug:  # pylint: disable=broad-except
                error = bug
            self._news.put(_News(batch, is_end=True, error=error))

    def _read(self, place: int, batch: Batch, request: Any) -> None:
        call = self._calls[place] = self._send(request)
        # `_stop` may have looked before the call was there.
        if self._is_stopped:
            call.cancel()
        for response in call:
            self._news.put(_News(batch, response))
