"""A completion as it comes: an iterator of deltas."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncGenerator, Callable, Generator
from typing import TYPE_CHECKING, Any

import grpc

from logitd import _replies, errors, results
from logitd._retry import Patience
from logitd.v1 import generation_service_pb2

if TYPE_CHECKING:
    from typing_extensions import Self


class _State:
    """Whatever a stream has told so far."""

    def __init__(self, retry_for: float) -> None:
        self._patience = Patience(retry_for)
        self._started: generation_service_pb2.GenerateStarted | None = None
        self._final: results.Generation | None = None
        # The caller has seen something that another attempt might contradict.
        self._has_spoken = False

    def _take(self, response: generation_service_pb2.GenerateResponse) -> results.CompletionDelta | None:
        """The delta of a response, if it has one."""
        if response.HasField("started"):
            self._started = response.started
        elif response.HasField("final"):
            self._final = _replies.convert(results.Generation, response.final)
        elif response.HasField("delta"):
            self._has_spoken = True
            return _replies.convert(results.CompletionDelta, response.delta)
        return None

    def _wait_after(self, failure: grpc.RpcError) -> float:
        """Seconds until another attempt. Raises the failure if there is none."""
        error = errors.from_rpc_error(failure)
        if self._has_spoken:
            raise error
        return self._patience.wait_after(error)

    @property
    def seed(self) -> int | None:
        """The seed in use. None: the server has not begun."""
        return None if self._started is None else self._started.seed

    @property
    def final(self) -> results.Generation:
        """The whole result. Raises RuntimeError before the end."""
        if self._final is None:
            raise RuntimeError("the completion has not ended: read its deltas first")
        return self._final


class Stream(_State):
    """The deltas of a prompt's completions, in order:

        with client.stream("Once upon a time", max_tokens=100) as stream:
            for delta in stream: print(delta.text, end="", flush=True)
        print(stream.final.finish_reason)

    Leaving the `with` block, or `close`, cancels whatever is left. One thread.
    """

    def __init__(self, start: Callable[[], Any], retry_for: float):
        super().__init__(retry_for)
        self._start = start
        self._deltas = self._read()

    def _read(self) -> Generator[results.CompletionDelta, None, None]:
        while True:
            call = self._start()
            try:
                for response in call:
                    delta = self._take(response)
                    if delta is not None:
                        yield delta
                return
            except grpc.RpcError as failure:
                delay = self._wait_after(failure)
            finally:
                call.cancel()
            time.sleep(delay)

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> results.CompletionDelta:
        return next(self._deltas)

    def close(self) -> None:
        """Cancels the call; there are no more deltas."""
        self._deltas.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class AsyncStream(_State):
    """As Stream, for asyncio:

        async with client.stream("Once upon a time", max_tokens=100) as stream:
            async for delta in stream: print(delta.text, end="", flush=True)
    """

    def __init__(self, start: Callable[[], AsyncGenerator[Any, None]], retry_for: float):
        super().__init__(retry_for)
        self._start = start
        self._deltas = self._read()

    async def _read(self) -> AsyncGenerator[results.CompletionDelta, None]:
        while True:
            try:
                async with contextlib.aclosing(self._start()) as responses:
                    async for response in responses:
                        delta = self._take(response)
                        if delta is not None:
                            yield delta
                return
            except grpc.RpcError as failure:
                delay = self._wait_after(failure)
            await asyncio.sleep(delay)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> results.CompletionDelta:
        return await anext(self._deltas)

    async def close(self) -> None:
        """Cancels the call; there are no more deltas."""
        await self._deltas.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()
