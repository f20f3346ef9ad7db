"""AsyncDecodeSession: DecodeSession for asyncio."""

from __future__ import annotations

import asyncio
import concurrent.futures
from collections.abc import Callable, Iterable, Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any, SupportsIndex, TypeVar

from logitd._decode.sequences import Sequence, Step
from logitd._decode.session import DecodeSession, PerSequence

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from logitd._decode.parameters import DecodeOptions

_T = TypeVar("_T")


class AsyncDecodeSession:
    """As DecodeSession, with `await` for whatever waits: a thread of its own does the waiting.

        async with logitd.AsyncDecodeSession("127.0.0.1:50051", vocab_size=50257, top_p=0.9) as session:
            sequence = session.open(prompt)
            steps = await session.step(rows)

    One task at a time. An await that is cancelled has sent its rows all the same: receive() returns their steps.
    """

    def __init__(self, *args: Any, **options: Any):
        """As DecodeSession, but the first stream is opened by `async with`, or start()."""
        self._arguments = (args, options)
        self._thread = concurrent.futures.ThreadPoolExecutor(1, thread_name_prefix="logitd-decode-session")
        self._session: DecodeSession | None = None

    @property
    def session(self) -> DecodeSession:
        """The session behind this one. Use it only while nothing is awaited."""
        if self._session is None:
            raise ValueError("the session is not started: use `async with`, or await start()")
        return self._session

    async def _run(self, call: Callable[..., _T], *args: Any, **options: Any) -> _T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, lambda: call(*args, **options))

    async def start(self) -> None:
        """Opens the first stream."""
        args, options = self._arguments
        try:
            self._session = await self._run(DecodeSession, *args, **options)
        except BaseException:
            self._thread.shutdown(wait=False)
            raise

    @property
    def running(self) -> list[Sequence]:
        """As DecodeSession.running."""
        return self.session.running

    @property
    def pending_count(self) -> int:
        """As DecodeSession.pending_count."""
        return self.session.pending_count

    @property
    def seed(self) -> int | None:
        """As DecodeSession.seed."""
        return self.session.seed

    @property
    def numerics_version(self) -> int:
        """As DecodeSession.numerics_version."""
        return self.session.numerics_version

    @property
    def reconnect_count(self) -> int:
        """As DecodeSession.reconnect_count."""
        return self.session.reconnect_count

    def open(self, prompt: Iterable[SupportsIndex] = (), *, state: Mapping[str, Any] | None = None,
             sequence_key: int | None = None, **options: Unpack[DecodeOptions]) -> Sequence:
        """As DecodeSession.open: nothing is sent yet."""
        return self.session.open(prompt, state=state, sequence_key=sequence_key, **options)

    async def step(self, rows: Any, sequences: Iterable[Sequence] | None = None, *, allowed_tokens: PerSequence = None,
                   given_token_id: PerSequence = None, named_token_ids: PerSequence = None) -> list[Step]:
        """As DecodeSession.step."""
        return await self._run(self.session.step, rows, sequences, allowed_tokens=allowed_tokens,
                               given_token_id=given_token_id, named_token_ids=named_token_ids)

    async def send(self, rows: Any, sequences: Iterable[Sequence] | None = None, *, allowed_tokens: PerSequence = None,
                   given_token_id: PerSequence = None, named_token_ids: PerSequence = None) -> None:
        """As DecodeSession.send."""
        await self._run(self.session.send, rows, sequences, allowed_tokens=allowed_tokens,
                        given_token_id=given_token_id, named_token_ids=named_token_ids)

    async def receive(self) -> list[Step]:
        """As DecodeSession.receive."""
        return await self._run(self.session.receive)

    async def flush(self) -> None:
        """As DecodeSession.flush."""
        await self._run(self.session.flush)

    async def close(self) -> None:
        """As DecodeSession.close."""
        if self._session is not None:
            await self._run(self._session.close)
        self._thread.shutdown(wait=False)

    async def __aenter__(self) -> AsyncDecodeSession:
        await self.start()
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None,
                        traceback: TracebackType | None) -> None:
        if error is None:
            await self.close()
        else:
            # From another thread: whatever waits there ends.
            self.session.cancel()
            self._thread.shutdown(wait=False)
