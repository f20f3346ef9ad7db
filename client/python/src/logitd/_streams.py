"""A completion as it comes: an iterator of deltas."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable, Iterator
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
        self._call: Any = None

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

    def _read(self) -> Iterator[results.CompletionDelta]:
        while True:
            try:
                self._call = self._start()
                for response in self._call:
                    delta = self._take(response)
                    if delta is not None:
                        yield delta
                return
            except grpc.RpcError as failure:
                delay = self._wait_after(failure)
            finally:
                self._call.cancel()
            time.sleep(delay)

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> results.CompletionDelta:
        return next(self._deltas)

    def close(self) -> None:
        """Cancels the call; there are no more deltas."""
        self._deltas.close()  # type: ignore[attr-defined]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
