"""Sends the requests of a call from a few asyncio tasks, and hands on the answers in order."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from typing import Any, Generic, TypeVar

import grpc

from logitd import errors
from logitd._batches import Batch, Batches

_A = TypeVar("_A")


class Tasks(Generic[_A]):
    """The tasks of one call. One event loop."""

    def __init__(self, batches: Batches[_A], send: Callable[[Any], AsyncGenerator[Any, None]], count: int):
        """`send` starts a request: an iterator of responses."""
        self._batches = batches
        self._send = send
        self._count = count
        # Something has changed; replaced by another one each time.
        self._change = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []

    def _notify(self) -> None:
        self._change.set()
        self._change = asyncio.Event()

    async def run(self, chunks: AsyncIterator[list[Any]]) -> AsyncGenerator[list[_A], None]:
        """The answers, as they become ready; `chunks`: the items of each request. Raises what ends the call."""
        batches = self._batches
        try:
            while True:
                while batches.has_room and not batches.has_answers:
                    try:
                        batches.add(await anext(chunks))
                    except StopAsyncIteration:
                        batches.close()
                    self._notify()
                    if not batches.is_done and len(self._tasks) < self._count:
                        self._tasks.append(asyncio.create_task(self._send_all()))
                while not batches.has_answers and not self._is_over and not batches.has_room:
                    await self._change.wait()
                if ready := batches.ready():
                    yield ready
                elif self._is_over:
                    break
            if batches.failure is not None:
                raise batches.failure
        finally:
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    @property
    def _is_over(self) -> bool:
        return self._batches.failure is not None or self._batches.is_done

    async def _next(self) -> Batch | None:
        while not self._is_over:
            batch = self._batches.next()
            if batch is not None:
                return batch
            try:
                await asyncio.wait_for(self._change.wait(), self._batches.delay())
            except asyncio.TimeoutError:
                pass
        return None

    async def _send_all(self) -> None:
        while (batch := await self._next()) is not None:
            error: errors.LogitdError | None = None
            try:
                async with contextlib.aclosing(self._send(self._batches.request(batch))) as responses:
                    async for response in responses:
                        self._batches.take(batch, response)
                        self._notify()
                        if self._batches.failure is not None:
                            break
            except grpc.RpcError as failure:
                error = errors.from_rpc_error(failure)
            except errors.LogitdError as failure:
                error = failure
            except asyncio.CancelledError:
                # By `run`, which does not look any more; or the client was closed.
                self._batches.fail(errors.CancelledError("the client was closed", code=grpc.StatusCode.CANCELLED))
                self._notify()
                raise
            except Exception as bug:  # pylint: disable=broad-except
                self._batches.fail(bug)
            self._batches.end(batch, error)
            self._notify()
