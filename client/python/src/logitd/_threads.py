"""Sends the requests of a call from a few threads, and hands on the answers on the caller's thread, in order.

The caller's items are read on the caller's own thread. If the caller stops (KeyboardInterrupt, or the iterator is
closed), the requests in flight are cancelled at once.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Generic, TypeVar

import grpc

from logitd import errors
from logitd._batches import Batch, Batches

_A = TypeVar("_A")


class OneResponse:
    """The future of a call with one response, as a stream of one."""

    def __init__(self, future: Any):
        self._future = future

    def __iter__(self) -> Iterator[Any]:
        yield self._future.result()

    def cancel(self) -> None:
        self._future.cancel()


class Threads(Generic[_A]):
    """The threads of one call."""

    def __init__(self, batches: Batches[_A], send: Callable[[Any], Any], count: int):
        """`send` starts a request: an iterator of responses with `cancel`."""
        self._batches = batches
        self._send = send
        self._count = count
        lock = threading.Lock()
        # Something to send, or the end; something to hand on, or room.
        self._work, self._news = threading.Condition(lock), threading.Condition(lock)
        self._calls: set[Any] = set()
        self._is_stopped = False
        self._threads: list[threading.Thread] = []

    def run(self, chunks: Iterator[list[Any]]) -> Iterator[list[_A]]:
        """The answers, as they become ready; `chunks`: the items of each request. Raises what ends the call."""
        try:
            while True:
                while self._batches.has_room:
                    chunk = next(chunks, None)
                    with self._work:
                        if chunk is None:
                            self._batches.close()
                        else:
                            self._batches.add(chunk)
                        self._work.notify_all()
                    if chunk is not None and len(self._threads) < self._count:
                        self._threads.append(threading.Thread(target=self._send_all, daemon=True, name="logitd-call"))
                        self._threads[-1].start()
                    if self._batches.has_answers:
                        break
                with self._news:
                    while not (ready := self._batches.ready()) and not self._is_over and not self._batches.has_room:
                        self._news.wait()
                    is_over = self._is_over and not self._batches.has_answers
                if ready:
                    yield ready
                if is_over:
                    break
            if self._batches.failure is not None:
                raise self._batches.failure
        finally:
            self._stop()

    @property
    def _is_over(self) -> bool:
        return self._batches.failure is not None or self._batches.is_done

    def _stop(self) -> None:
        with self._work:
            self._is_stopped = True
            calls = list(self._calls)
            self._work.notify_all()
        for call in calls:
            call.cancel()
        for thread in self._threads:
            thread.join()

    def _next(self) -> Batch | None:
        with self._work:
            while not self._is_stopped and not self._is_over:
                batch = self._batches.next()
                if batch is not None:
                    return batch
                self._work.wait(self._batches.delay())
            self._work.notify_all()
            return None

    def _send_all(self) -> None:
        while (batch := self._next()) is not None:
            error: errors.LogitdError | None = None
            try:
                self._send_one(batch)
            except grpc.RpcError as failure:
                error = errors.from_rpc_error(failure)
            except errors.LogitdError as failure:
                error = failure
            except BaseException as bug:  # pylint: disable=broad-except
                with self._news:
                    self._batches.fail(bug)
            with self._news:
                self._batches.end(batch, error)
                self._news.notify_all()
                self._work.notify_all()

    def _send_one(self, batch: Batch) -> None:
        request = self._batches.request(batch)
        with self._work:
            if self._is_stopped:
                return
            call = self._send(request)
            self._calls.add(call)
        try:
            for response in call:
                with self._news:
                    self._batches.take(batch, response)
                    self._news.notify_all()
                    if self._batches.failure is not None:
                        break
        finally:
            call.cancel()
            with self._work:
                self._calls.discard(call)
