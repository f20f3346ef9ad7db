"""The client of a logitd server, for asyncio: the methods of Client, with await.

    async with logitd.AsyncClient("127.0.0.1:50051") as client:
        scores = await client.score([("1 + 1 =", [" 2", " 3"])])
        async for delta in client.stream("Once upon a time", max_tokens=100): print(delta.text, end="")
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Awaitable, Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, SupportsIndex, TypeVar, Union

import grpc
import grpc.aio

from logitd import _batches, _calls, _channel, _settings, _strengths, _unary, calibration, errors
from logitd import options as options_lib, requests, results, server, tables
from logitd._progress import Progress
from logitd._retry import Patience
from logitd._streams import AsyncStream
from logitd._tasks import Tasks

if TYPE_CHECKING:
    from types import TracebackType
    from typing_extensions import Self, Unpack

_R = TypeVar("_R")
_T = TypeVar("_T")
_Many = Union[Iterable[_T], AsyncIterable[_T]]


class AsyncClient:
    """A connection to a server, used by the tasks of one event loop. As Client; its documentation holds here too.

    Items may also come from an asynchronous iterator. A task that is cancelled cancels its requests.
    """

    def __init__(self, address: str = _channel.DEFAULT_ADDRESS, *, model: str = "", timeout: float | None = None,
                 retry_for: float = 300.0, in_flight: int = 8,
                 credentials: grpc.ChannelCredentials | None = None):
        """As Client. Needs no event loop: the first call takes the one that runs."""
        self._settings = _settings.Settings(address, model, timeout, retry_for, in_flight)
        _channel.target_of(address)
        self._credentials = credentials
        self._own: tuple[asyncio.AbstractEventLoop, grpc.aio.Channel] | None = None
        self._limits: server.Limits | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None,
                        trace: TracebackType | None) -> None:
        await self.close()

    async def close(self) -> None:
        """Ends the connection, and with it all calls under way."""
        if self._own is not None:
            await self._own[1].close(None)

    def __repr__(self) -> str:
        return f"logitd.AsyncClient({self._settings.address!r})"

    def __reduce__(self) -> Any:
        raise TypeError("an AsyncClient cannot be pickled: make one in each process")

    # ---- Items ----

    async def score(self, items: _Many[requests.ScoreItemLike], **options: Unpack[options_lib.ScoreOptions]
                    ) -> tables.Scores:
        """As Client.score."""
        return await self._collect(_calls.score(items, self._options(options)))

    def score_each(self, items: _Many[requests.ScoreItemLike], **options: Unpack[options_lib.ScoreOptions]
                   ) -> AsyncIterator[results.ScoredItem]:
        """As Client.score_each."""
        return self._each(_calls.score(items, self._options(options)))

    async def rolling(self, texts: requests.Text | _Many[requests.Text], **options: Unpack[options_lib.RollingOptions]
                      ) -> tables.RollingScores:
        """As Client.rolling."""
        return await self._collect(_calls.rolling(texts, self._options(options)))

    async def rank(self, items: _Many[requests.RankItemLike], **options: Unpack[options_lib.RankOptions]
                   ) -> tables.Rankings:
        """As Client.rank."""
        return await self._collect(_calls.rank(items, self._options(options)))

    def rank_each(self, items: _Many[requests.RankItemLike], **options: Unpack[options_lib.RankOptions]
                  ) -> AsyncIterator[results.RankedItem]:
        """As Client.rank_each."""
        return self._each(_calls.rank(items, self._options(options)))

    async def decide(self, items: _Many[requests.DecideItemLike], **options: Unpack[options_lib.DecideOptions]
                     ) -> tables.Decisions:
        """As Client.decide."""
        return await self._collect(_calls.decide(items, self._options(options)))

    def decide_each(self, items: _Many[requests.DecideItemLike], **options: Unpack[options_lib.DecideOptions]
                    ) -> AsyncIterator[results.DecidedItem]:
        """As Client.decide_each."""
        return self._each(_calls.decide(items, self._options(options)))

    async def fit_strengths(self, rankings: Iterable[_strengths.RankingLike],
                            **options: Unpack[options_lib.FitStrengthsOptions]) -> results.StrengthFit:
        """As Client.fit_strengths."""
        fit = _strengths.fit(rankings, **options)
        try:
            return await self._unary(fit.call)
        except errors.LogitdError as error:
            raise fit.explained(error) from None

    # ---- Completions ----

    async def generate(self, prompts: requests.Text | _Many[requests.Text],
                       **options: Unpack[options_lib.GenerateOptions]) -> tables.Generations:
        """As Client.generate."""
        return await self._collect(_calls.generate(prompts, self._options(options)))

    def generate_each(self, prompts: _Many[requests.Text], **options: Unpack[options_lib.GenerateOptions]
                      ) -> AsyncIterator[results.Generation]:
        """As Client.generate_each."""
        return self._each(_calls.generate(prompts, self._options(options)))

    def stream(self, prompt: requests.Text, **options: Unpack[options_lib.GenerateOptions]) -> AsyncStream:
        """As Client.stream; an asynchronous iterator."""
        call = _calls.stream(prompt, self._options(options))
        return AsyncStream(functools.partial(self._start, call.path, call.request, call.response, call.timeout),
                           self._settings.retry_for)

    # ---- Texts and models ----

    async def tokenize(self, texts: str | _Many[str], **options: Unpack[options_lib.TokenizeOptions]
                       ) -> list[server.TokenizedText]:
        """As Client.tokenize."""
        return await self._collect(_calls.tokenize(texts, self._options(options)))

    async def detokenize(self, tokens: Iterable[SupportsIndex] | _Many[Iterable[SupportsIndex]],
                         **options: Unpack[options_lib.DetokenizeOptions]) -> list[server.DetokenizedText]:
        """As Client.detokenize."""
        return await self._collect(_calls.detokenize(tokens, self._options(options)))

    async def render_chat(self, messages: Iterable[Mapping[str, str]], **options: Unpack[options_lib.RenderChatOptions]
                          ) -> server.RenderedChat:
        """As Client.render_chat."""
        return await self._unary(_unary.render_chat(messages, dict(options), self._settings.model))

    async def vocabulary(self, model: str | None = None) -> server.Vocabulary:
        """As Client.vocabulary."""
        call = _unary.vocabulary(self._settings.model if model is None else model)

        async def attempt() -> server.Vocabulary:
            stream = self._start(call.path, call.request, call.response, self._settings.timeout)
            return call.result([response async for response in stream])

        return await self._retry(attempt)

    async def models(self) -> list[server.Model]:
        """As Client.models."""
        return await self._unary(_unary.models())

    async def info(self) -> server.ServerInfo:
        """As Client.info."""
        return await self._unary(_unary.info())

    async def is_serving(self, model: str = "") -> bool:
        """As Client.is_serving."""
        try:
            return await self._call(_unary.health(model))
        except grpc.RpcError as failure:
            return _unary.not_serving(errors.from_rpc_error(failure))

    # ---- Rows of the caller's own ----

    async def distribution(self, logits: Any, **options: Unpack[options_lib.DistributionOptions]
                           ) -> server.Distribution:
        """As Client.distribution."""
        return await self._unary(_unary.distribution(logits, dict(options)))

    async def fit_calibration(self, values: Any, labels: Iterable[SupportsIndex],
                              **options: Unpack[options_lib.CalibrationOptions]) -> calibration.Calibration:
        """As Client.fit_calibration."""
        return await self._unary(calibration.fit_request(values, labels, **options))

    # ---- The ways of a call ----

    def _options(self, options: Any) -> dict[str, Any]:
        return self._settings.with_model(options)

    @property
    def _channel(self) -> grpc.aio.Channel:
        """The channel of the loop that runs."""
        self._settings.check_process()
        loop = asyncio.get_running_loop()
        if self._own is None:
            self._own = loop, _channel.connect_async(self._settings.address, self._credentials)
        elif self._own[0] is not loop:
            raise RuntimeError("this AsyncClient belongs to another event loop: make one in each asyncio.run")
        return self._own[1]

    async def _each(self, call: _calls.Call[Any]) -> AsyncIterator[Any]:
        if self._limits is None:
            self._limits = (await self.info()).limits
        batches: _batches.Batches[Any] = self._settings.batches(call, self._limits)
        tasks = Tasks(batches, functools.partial(self._send, call), self._settings.in_flight)
        with Progress.of(call) as progress:
            async with contextlib.aclosing(tasks.run(_calls.chunks_async(call, self._limits))) as parts:
                async for answers in parts:
                    progress.add(len(answers))
                    for answer in answers:
                        yield call.result(answer)

    async def _collect(self, call: _calls.Call[_R]) -> _R:
        return call.collect(tuple([result async for result in self._each(call)]))

    def _send(self, call: _calls.Call[Any], request: Any) -> AsyncGenerator[Any, None]:
        if call.is_stream:
            return self._start(call.path, request, call.response, call.timeout)
        return self._one(_unary.Unary(call.path, request, call.response, lambda response: response, call.timeout))

    async def _one(self, call: _unary.Unary[_R]) -> AsyncGenerator[_R, None]:
        yield await self._call(call)

    async def _start(self, path: str, request: Any, response: Any, timeout: float | None) -> AsyncGenerator[Any, None]:
        """The responses of a call with a stream of them. Raises grpc.RpcError. Closing it cancels the call."""
        call = self._channel.unary_stream(path, type(request).SerializeToString, response.FromString)(
            request, timeout=timeout)
        try:
            async for message in call:
                yield message
        finally:
            call.cancel()

    async def _call(self, call: _unary.Unary[_R]) -> _R:
        """Raises grpc.RpcError."""
        send = self._channel.unary_unary(call.path, type(call.request).SerializeToString, call.response.FromString)
        return call.result(await send(call.request, timeout=self._settings.timeout if call.timeout is None
                                      else call.timeout))

    async def _unary(self, call: _unary.Unary[_R]) -> _R:
        return await self._retry(functools.partial(self._call, call))

    async def _retry(self, attempt: Callable[[], Awaitable[_R]]) -> _R:
        patience = Patience(self._settings.retry_for)
        while True:
            try:
                return await attempt()
            except grpc.RpcError as failure:
                delay = patience.wait_after(errors.from_rpc_error(failure))
            await asyncio.sleep(delay)
