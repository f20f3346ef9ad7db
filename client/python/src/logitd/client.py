"""The client of a logitd server, for threads. `aio.py` has the same for asyncio.

    with logitd.Client("127.0.0.1:50051") as client:
        scores = client.score([("1 + 1 =", [" 2", " 3"])])
        print(scores[0].best, scores[0].continuations[0].cumulative_model_log_prob)
"""

from __future__ import annotations

import contextlib
import functools
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, SupportsIndex, TypeVar

import grpc

from logitd import _batches, _calls, _channel, _settings, _strengths, _unary, calibration, errors
from logitd import options as options_lib, requests, results, server, tables
from logitd._progress import Progress
from logitd._retry import Patience
from logitd._streams import Stream
from logitd._threads import OneResponse, Threads

if TYPE_CHECKING:
    from types import TracebackType
    from typing_extensions import Self, Unpack

_R = TypeVar("_R")


class Client:
    """A connection to a server.

    - Thread-safe: any number of threads may call. Each call has its own requests.
    - A call with many items sends them in several requests under the server's limits, `in_flight` of them at once. The
      results come in the order of the items. The items may come from a generator, which is read on the caller's thread
      as far as there is room.
    - A server that is gone, restarts, is full or has no runner is asked again for the items that have no answer yet.
    - A call that fails as a whole raises a LogitdError. A failure of one item is the `error` of its result.
    - A process that was forked needs a client of its own.
    """

    def __init__(self, address: str = _channel.DEFAULT_ADDRESS, *, model: str = "", timeout: float | None = None,
                 retry_for: float = 300.0, in_flight: int = 8,
                 credentials: grpc.ChannelCredentials | None = None):
        """Does no I/O: the first call connects.

        address: "HOST:PORT", "[IPv6]:PORT" or "unix:PATH".
        model: the model of every call; "": the only one that the server has.
        timeout: seconds for each request; None: no limit, a long generation is not cut off.
        retry_for: the longest time without an answer, seconds, >= 0, for which an error that will pass is tried again.
        in_flight: requests of one call that are sent at once, [1, 256].
        credentials: of gRPC; None: no encryption.

        Raises ValueError and TypeError, which name the argument.
        """
        self._settings = _settings.Settings(address, model, timeout, retry_for, in_flight)
        self._channel = _channel.connect(address, credentials)
        self._known_limits: server.Limits | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Ends the connection, and with it all calls under way."""
        self._channel.close()

    def __repr__(self) -> str:
        return f"logitd.Client({self._settings.address!r})"

    def __reduce__(self) -> Any:
        raise TypeError("a Client cannot be pickled: make one in each process")

    # ---- Items ----

    def score(self, items: Iterable[requests.ScoreItemLike], **options: Unpack[options_lib.ScoreOptions]
              ) -> tables.Scores:
        """Scores continuations of contexts: the log-prob of each token, and sums.

        items: ScoreItem, tuples (context, continuations), or dicts with the names of scoring_service.proto.
        options: boundary, truncation, record, sampling, calibration, add_special_tokens, parse_special_tokens, reproducible,
          no_cache, cache_salt, numerics_version, model, timeout, progress; see logitd.options.ScoreOptions.
        """
        return self._collect(_calls.score(items, self._options(options)))

    def score_each(self, items: Iterable[requests.ScoreItemLike], **options: Unpack[options_lib.ScoreOptions]
                   ) -> Iterator[results.ScoredItem]:
        """As `score`, one result after the other: neither items nor results need to fit the memory."""
        return self._each(_calls.score(items, self._options(options)))

    def rolling(self, texts: requests.Text | Iterable[requests.Text], **options: Unpack[options_lib.RollingOptions]
                ) -> tables.RollingScores:
        """Scores all tokens of texts of any length, in windows that the model can take.

        texts: one or several, each a text, token ids or segments.
        options: window, stride, rule, reproducible and the options of every text; see logitd.options.RollingOptions.
        """
        return self._collect(_calls.rolling(texts, self._options(options)))

    def rank(self, items: Iterable[requests.RankItemLike], **options: Unpack[options_lib.RankOptions]
             ) -> tables.Rankings:
        """Orders the candidates of each item under every normalisation.

        items: RankItem, tuples (context, candidates), or dicts with the names of scoring_service.proto.
        options: order_by, inverse_temperature, gnmt_alpha, unconditional_context, winner_only, order, order_top_k, and
          those of `score` except sampling; see logitd.options.RankOptions.
        """
        return self._collect(_calls.rank(items, self._options(options)))

    def rank_each(self, items: Iterable[requests.RankItemLike], **options: Unpack[options_lib.RankOptions]
                  ) -> Iterator[results.RankedItem]:
        """As `rank`, one result after the other."""
        return self._each(_calls.rank(items, self._options(options)))

    def decide(self, items: Iterable[requests.DecideItemLike], **options: Unpack[options_lib.DecideOptions]
               ) -> tables.Decisions:
        """Answers a question about each context by the probabilities of its options.

        items: DecideItem, tuples (context, options), or dicts with the names of scoring_service.proto.
        options: temperature, and those of `score` except sampling; see logitd.options.DecideOptions.
        """
        return self._collect(_calls.decide(items, self._options(options)))

    def decide_each(self, items: Iterable[requests.DecideItemLike], **options: Unpack[options_lib.DecideOptions]
                    ) -> Iterator[results.DecidedItem]:
        """As `decide`, one result after the other."""
        return self._each(_calls.decide(items, self._options(options)))

    def fit_strengths(self, rankings: Iterable[_strengths.RankingLike],
                      **options: Unpack[options_lib.FitStrengthsOptions]) -> results.StrengthFit:
        """The strengths under which given rankings are most probable (Plackett and Luce). Needs no model.

        rankings: each a list of items, texts or ints, best first, in which a list of items are tied; or a
          logitd.Ranking, also as a dict, with others_below and count.
        options: items (all of them, in the order of the result), ties ("refuse" or "by_index": the item that is first
          in `items`), numerics_version, timeout; see logitd.options.FitStrengthsOptions.

        Raises InvalidRequestError with reason STRENGTHS_UNDEFINED, which names the items, if some win or lose every
        comparison with the others, or are never compared with them.
        """
        fit = _strengths.fit(rankings, **options)
        try:
            return self._unary(fit.call)
        except errors.LogitdError as error:
            raise fit.explained(error) from None

    # ---- Completions ----

    def generate(self, prompts: requests.Text | Iterable[requests.Text],
                 **options: Unpack[options_lib.GenerateOptions]) -> tables.Generations:
        """Completes prompts.

        prompts: one or several, each a text, token ids or segments. One prompt gives a sequence of one result.
        options: max_tokens, stop, n, best_of, record, ... and all stages of sampling.proto by name; see
          logitd.options.GenerateOptions.

        A prompt that is refused has the `error` in its result. Without a seed, a completion that is tried again after a
        lost connection is another one.
        """
        return self._collect(_calls.generate(prompts, self._options(options)))

    def generate_each(self, prompts: Iterable[requests.Text], **options: Unpack[options_lib.GenerateOptions]
                      ) -> Iterator[results.Generation]:
        """As `generate`, one result after the other."""
        return self._each(_calls.generate(prompts, self._options(options)))

    def stream(self, prompt: requests.Text, **options: Unpack[options_lib.GenerateOptions]) -> Stream:
        """Completes a prompt and hands on its deltas as they come. Options: those of `generate`."""
        call = _calls.stream(prompt, self._options(options))
        self._settings.check_process()
        return Stream(functools.partial(self._start, call.path, call.request, call.response, call.timeout),
                      self._settings.retry_for)

    # ---- Texts and models ----

    def tokenize(self, texts: str | Iterable[str], **options: Unpack[options_lib.TokenizeOptions]
                 ) -> list[server.TokenizedText]:
        """The tokens of texts; one text gives a list of one.

        options: add_special_tokens, parse_special_tokens, token_bytes (also return each token's bytes), model, timeout.
        """
        return self._collect(_calls.tokenize(texts, self._options(options)))

    def detokenize(self, tokens: Iterable[SupportsIndex] | Iterable[Iterable[SupportsIndex]],
                   **options: Unpack[options_lib.DetokenizeOptions]) -> list[server.DetokenizedText]:
        """The texts of lists of token ids; one list of ids gives a list of one.

        options: render_special_tokens (write the names of control tokens), model, timeout.
        """
        return self._collect(_calls.detokenize(tokens, self._options(options)))

    def render_chat(self, messages: Iterable[Mapping[str, str]], **options: Unpack[options_lib.RenderChatOptions]
                    ) -> server.RenderedChat:
        """The prompt that the model's own chat template makes of a conversation.

        messages: dicts of role and content, and perhaps name. Their texts are never parsed as control tokens.
        options: add_generation_prompt (default True), template_arguments (variables such as enable_thinking), model,
        timeout.
        """
        return self._unary(_unary.render_chat(messages, dict(options), self._settings.model))

    def vocabulary(self, model: str | None = None) -> server.Vocabulary:
        """All tokens of a model."""
        call = _unary.vocabulary(self._settings.model if model is None else model)
        return self._retry(functools.partial(self._responses, call))

    def models(self) -> list[server.Model]:
        """The models that are attached or on their way, sorted by name."""
        return self._unary(_unary.models())

    def info(self) -> server.ServerInfo:
        """The server's version, numerics and limits."""
        return self._unary(_unary.info())

    def is_serving(self, model: str = "") -> bool:
        """Whether the server takes calls, or, with `model`, whether that model has a runner. A server that does not
        answer is not serving. Asks once."""
        try:
            return self._call(_unary.health(model))
        except grpc.RpcError as failure:
            return _unary.not_serving(errors.from_rpc_error(failure))

    # ---- Rows of the caller's own ----

    def distribution(self, logits: Any, **options: Unpack[options_lib.DistributionOptions]) -> server.Distribution:
        """The distribution that a row of logits gives after all stages. Needs no model.

        logits: one number for each token id: a list, or an array of float32 or float16. A list's numbers are rounded
          to float32.
        options: the stages of sampling.proto by name; explain, prompt_token_ids, output_token_ids, excluded_token_ids,
          and verify, a dict of VerifyDraw's fields.
        """
        return self._unary(_unary.distribution(logits, dict(options)))

    def fit_calibration(self, values: Any, labels: Iterable[SupportsIndex],
                        **options: Unpack[options_lib.CalibrationOptions]) -> calibration.Calibration:
        """Fits probabilities of labels to labelled samples, and measures them on held-out parts of the samples. Needs no
        model.

        values: [samples, width], an array or lists: one score for each label, or features.
        labels: [samples], each in [0, label_count).
        options: kind, input, label_count, l2, score, gnmt_alpha, label_names, folds, bootstrap_count, seed, bin_count,
          timeout; see logitd.options.CalibrationOptions.

        Raises ValueError and TypeError for values of a wrong shape or type; InvalidRequestError for samples without a
        fit (reasons LABEL_MISSING, DATA_SEPARABLE, FIT_UNDEFINED); LimitError.
        """
        return self._unary(calibration.fit_request(values, labels, **options))

    # ---- The ways of a call ----

    def _options(self, options: Any) -> dict[str, Any]:
        return self._settings.with_model(options)

    def _limits(self) -> server.Limits:
        # Two threads may both ask; a lock would be held while a server does not answer.
        if self._known_limits is None:
            self._known_limits = self.info().limits
        return self._known_limits

    def _each(self, call: _calls.Call[Any]) -> Iterator[Any]:
        self._settings.check_process()
        limits = self._limits()
        batches: _batches.Batches[Any] = self._settings.batches(call, limits)
        threads = Threads(batches, functools.partial(self._send, call), self._settings.in_flight)
        with (Progress.of(call) as progress,
              contextlib.closing(threads.run(_calls.chunks(call, limits))) as parts):
            for answers in parts:
                progress.add(len(answers))
                yield from map(call.result, answers)

    def _collect(self, call: _calls.Call[_R]) -> _R:
        return call.collect(tuple(self._each(call)))

    def _send(self, call: _calls.Call[Any], request: Any) -> Any:
        if call.is_stream:
            return self._start(call.path, request, call.response, call.timeout)
        return OneResponse(self._channel.unary_unary(
            call.path, type(request).SerializeToString, call.response.FromString).future(
                request, timeout=call.timeout))

    def _start(self, path: str, request: Any, response: Any, timeout: float | None) -> Any:
        """Starts a call with a stream of responses."""
        return self._channel.unary_stream(path, type(request).SerializeToString, response.FromString)(
            request, timeout=timeout)

    def _responses(self, call: _unary.Unary[_R]) -> _R:
        """The result of a call with a stream of responses. Raises grpc.RpcError."""
        self._settings.check_process()
        return call.result(list(self._start(call.path, call.request, call.response, self._settings.timeout)))

    def _call(self, call: _unary.Unary[_R]) -> _R:
        """Raises grpc.RpcError."""
        self._settings.check_process()
        send = self._channel.unary_unary(call.path, type(call.request).SerializeToString, call.response.FromString)
        return call.result(send(call.request, timeout=self._settings.timeout if call.timeout is None
                                else call.timeout))

    def _unary(self, call: _unary.Unary[_R]) -> _R:
        return self._retry(functools.partial(self._call, call))

    def _retry(self, attempt: Callable[[], _R]) -> _R:
        patience = Patience(self._settings.retry_for)
        while True:
            try:
                return attempt()
            except grpc.RpcError as failure:
                delay = patience.wait_after(errors.from_rpc_error(failure))
            time.sleep(delay)
