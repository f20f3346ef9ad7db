"""The calls of a client: requests from Python values, and what becomes of the answers. Client and AsyncClient share them.

Each function returns a call that is not sent yet.
"""

from __future__ import annotations

import dataclasses
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from typing import Any, Generic, TypeVar

from google.protobuf import message as message_lib, wrappers_pb2

from logitd import _batches, _methods, _replies, _unary, _values, requests, results, sampling, server, tables
from logitd.v1 import (completion_pb2, generation_service_pb2, model_service_pb2, plackett_luce_pb2,
                       scoring_service_pb2)

_R = TypeVar("_R")
_SCORING, _GENERATION, _MODEL = (f"/logitd.v1.{name}Service/" for name in ("Scoring", "Generation", "Model"))


@dataclasses.dataclass
class Call(Generic[_R]):
    """One call, before it is sent."""

    path: str
    response: type[message_lib.Message]
    method: _batches.Method[Any]
    # The caller's items, and the message of one of them; the second argument is its place, for errors.
    items: Any
    convert: Callable[[Any, str], message_lib.Message]
    # The result of an answer, and of all of them.
    result: Callable[[Any], Any]
    collect: Callable[[tuple[Any, ...]], _R]
    # Of each request, seconds; None: no limit.
    timeout: float | None = None
    progress: bool = False
    is_stream: bool = True
    # The unit of the progress bar, and the number of all items, if they do not say their number.
    unit: str = "item"
    total: int | None = None
    # Items that were done before.
    done: int = 0
    # Whose answers are expected; None: those of whoever answers first.
    whose: completion_pb2.Provenance | None = None


class Chunks:
    """Puts items together into requests under the server's limits, in their order."""

    def __init__(self, call: Call[Any], limits: server.Limits):
        self._convert = call.convert
        self._most_items = min(call.method.items_per_request, limits.max_items or call.method.items_per_request)
        self._most_bytes = min(_batches.BYTES_PER_REQUEST, limits.max_request_bytes or _batches.BYTES_PER_REQUEST)
        self._count = 0
        self._items: list[message_lib.Message] = []
        self._bytes = 0

    def add(self, value: Any) -> list[message_lib.Message]:
        """Adds the caller's next item; the items of a request if they are together, else none."""
        item = self._convert(value, f"items[{self._count}]")
        self._count += 1
        size = item.ByteSize()
        full = self._items if self._bytes + size > self._most_bytes else []
        if full:
            self._items, self._bytes = [], 0
        self._items.append(item)
        self._bytes += size
        return full or self.rest(self._most_items)

    def rest(self, at_least: int = 1) -> list[message_lib.Message]:
        """The items that are left; none if there are fewer."""
        if len(self._items) < at_least:
            return []
        items, self._items, self._bytes = self._items, [], 0
        return items


def chunks(call: Call[Any], limits: server.Limits) -> Iterator[list[message_lib.Message]]:
    """The items of each request."""
    together = Chunks(call, limits)
    for value in call.items:
        if full := together.add(value):
            yield full
    if left := together.rest():
        yield left


async def chunks_async(call: Call[Any], limits: server.Limits) -> AsyncIterator[list[message_lib.Message]]:
    """As `chunks`; the items may also come from an asynchronous iterator."""
    if not hasattr(call.items, "__aiter__"):
        for full in chunks(call, limits):
            yield full
        return
    together = Chunks(call, limits)
    async for value in call.items:
        if full := together.add(value):
            yield full
    if left := together.rest():
        yield left


def _put(message: Any, **fields: Any) -> None:
    """Sets the fields of a request that are not None."""
    for name, value in fields.items():
        if value is None:
            continue
        if isinstance(value, message_lib.Message):
            field = getattr(message, name)
            # An empty message is not an unset one.
            field.SetInParent()
            field.CopyFrom(value)
        else:
            setattr(message, name, value)


def _int32(value: Any, name: str) -> int | None:
    return None if value is None else _values.int32(value, name)


def _number(value: Any, name: str) -> float | None:
    return None if value is None else _values.number(value, name)


def _texts(*, model: str | None = None, timeout: float | None = None, progress: bool = False,
           add_special_tokens: bool | None = None, parse_special_tokens: bool = False,
           boundary: str | None = None, truncation: str | None = None, reproducible: bool | None = None,
           no_cache: bool = False, cache_salt: str = "", numerics_version: Any = None,
           record: Any = None, calibration: str | None = None) -> tuple[dict[str, Any], dict[str, Any]]:
    """The fields that many requests have, and the options of the call itself."""
    fields = {
        "model": None if model is None else _values.text(model, "model"),
        "tokenization": requests.tokenization_options(
            add_special_tokens=add_special_tokens, parse_special_tokens=parse_special_tokens, boundary=boundary,
            truncation=truncation),
        "evaluation": requests.evaluation_options(reproducible=reproducible, no_cache=no_cache, cache_salt=cache_salt),
        "numerics_version": _int32(numerics_version, "numerics_version"),
        "record": sampling.record_options(record),
        "calibration": None if calibration is None else _values.text(calibration, "calibration"),
    }
    return fields, {"timeout": _number(timeout, "timeout"), "progress": _values.boolean(progress, "progress")}


def _items(items: Any, wanted: str) -> Any:
    if isinstance(items, (str, bytes, dict, message_lib.Message)) or not (
            hasattr(items, "__iter__") or hasattr(items, "__aiter__")):
        raise TypeError(f"items must be a list of {wanted}, got {type(items).__name__} {_values.quote(items)}")
    return items


def _check(method: str, options: dict[str, Any], known: Iterable[str]) -> None:
    names = frozenset(known)
    for name in options:
        if name not in names:
            raise sampling.unknown_option(name, names, method)


_CALL = frozenset(("model", "timeout"))
_TEXT = _CALL | {"add_special_tokens", "parse_special_tokens", "no_cache", "cache_salt", "numerics_version", "progress"}
_ITEM = _TEXT | {"boundary", "truncation", "reproducible", "record", "calibration"}


def score(items: Any, options: dict[str, Any]) -> Call[tables.Scores]:
    """ScoringService.Score."""
    _check("score", options, _ITEM | {"sampling"})
    stages = options.pop("sampling", None)
    base = scoring_service_pb2.ScoreRequest()
    fields, own = _texts(**options)
    _put(base, sampling=None if stages is None else sampling.sampling_params(stages), **fields)
    return _score_call(base, _items(items, "items (context, continuations)"), requests.score_item, results.ScoredItem,
                       tables.Scores, own)


def _score_call(base: scoring_service_pb2.ScoreRequest, items: Any, convert: Any, result: type[Any],
                collect: Callable[[Any], _R], own: dict[str, Any]) -> Call[_R]:
    response = scoring_service_pb2.ScoreResponse
    return Call(_SCORING + "Score", response, _methods.ItemMethod(base, response, "continuations"), items, convert,
                lambda answer: _replies.convert(result, answer), collect, **own)


def rolling(texts: Any, options: dict[str, Any]) -> Call[tables.RollingScores]:
    """ScoringService.Score, of texts in windows."""
    _check("rolling", options, _TEXT | {"window", "stride", "rule", "reproducible"})
    rule = {name: options.pop(name, None) for name in ("window", "stride", "rule")}
    base = scoring_service_pb2.ScoreRequest()
    fields, own = _texts(**options)
    _put(base, **fields)

    def convert(value: Any, where: str) -> scoring_service_pb2.ScoreItem:
        return requests.rolling_item(value, where, **rule)

    # A wrong rule is an error even without a text.
    convert("", "texts")
    return _score_call(base, [texts] if requests.is_one_text(texts) else _items(texts, "texts"), convert,
                       results.RolledText, tables.RollingScores, {**own, "unit": "text"})


def rank(items: Any, options: dict[str, Any]) -> Call[tables.Rankings]:
    """ScoringService.Rank."""
    _check("rank", options,
           _ITEM | {"order_by", "inverse_temperature", "gnmt_alpha", "unconditional_context", "winner_only",
                    "order", "order_top_k"})
    base = scoring_service_pb2.RankRequest()
    order_by, context = options.pop("order_by", None), options.pop("unconditional_context", None)
    _put(base, order_by=None if order_by is None else _values.enum_value(completion_pb2.Normalization, order_by,
                                                                         "order_by"),
         unconditional_context=None if context is None else requests.input_of(context, "unconditional_context"),
         winner_only=_values.boolean(options.pop("winner_only", False), "winner_only"),
         **{name: _number(options.pop(name, None), name) for name in ("inverse_temperature", "gnmt_alpha")})
    top_k = _int32(options.pop("order_top_k", None), "order_top_k")
    if _values.boolean(options.pop("order", False), "order") or top_k is not None:
        _put(base, order=plackett_luce_pb2.OrderOptions(top_k=top_k))
    fields, own = _texts(**options)
    _put(base, **fields)
    response = scoring_service_pb2.RankResponse
    return Call(_SCORING + "Rank", response, _methods.ItemMethod(base, response, "candidates"),
                _items(items, "items (context, candidates)"), requests.rank_item,
                lambda answer: _replies.convert(results.RankedItem, answer), tables.Rankings, **own)


def decide(items: Any, options: dict[str, Any]) -> Call[tables.Decisions]:
    """ScoringService.Decide."""
    _check("decide", options, _ITEM | {"temperature"})
    base = scoring_service_pb2.DecideRequest()
    _put(base, temperature=_number(options.pop("temperature", None), "temperature"))
    fields, own = _texts(**options)
    _put(base, **fields)
    response = scoring_service_pb2.DecideResponse
    return Call(_SCORING + "Decide", response, _methods.ItemMethod(base, response, "options"),
                _items(items, "items (context, options)"), requests.decide_item,
                lambda answer: _replies.convert(results.DecidedItem, answer), tables.Decisions, **own)


_STOP = ("max_tokens", "min_tokens", "stop", "stop_token_ids", "ignore_eos", "time_limit_ms")
_GENERATE = _TEXT | sampling.STAGE_NAMES | frozenset(_STOP) | {
    "n", "best_of", "best_by", "gnmt_alpha", "first_sequence_key", "record", "prompt_record"}


def generate_request(method: str, options: dict[str, Any]
                     ) -> tuple[generation_service_pb2.GenerateRequest, dict[str, Any]]:
    """The request without its prompt, and the options of the call itself."""
    _check(method, options, _GENERATE)
    given = dict(options)
    base = generation_service_pb2.GenerateRequest()
    key, best_by = given.pop("first_sequence_key", None), given.pop("best_by", None)
    _put(base, n=_int32(given.pop("n", None), "n"), best_of=_int32(given.pop("best_of", None), "best_of"),
         first_sequence_key=None if key is None else _values.uint64(key, "first_sequence_key"),
         best_by=None if best_by is None else _values.enum_value(completion_pb2.Normalization, best_by, "best_by"),
         gnmt_alpha=_number(given.pop("gnmt_alpha", None), "gnmt_alpha"),
         prompt_record=sampling.record_options(given.pop("prompt_record", None), "prompt_record"),
         stop=sampling.stop_criteria(**{name: given.pop(name) for name in _STOP if name in given}),
         sampling=sampling.sampling_params({name: given.pop(name) for name in list(given)
                                            if name in sampling.STAGE_NAMES}))
    fields, own = _texts(**given)
    _put(base, **fields)
    return base, own


def _generation(answer: Any) -> results.Generation:
    return answer if isinstance(answer, results.Generation) else _replies.convert(results.Generation, answer)


def generate(prompts: Any, options: dict[str, Any]) -> Call[tables.Generations]:
    """GenerationService.Generate, without deltas."""
    base, own = generate_request("generate", options)
    base.stream = False
    return Call(_GENERATION + "Generate", generation_service_pb2.GenerateResponse, _methods.GenerateMethod(base),
                [prompts] if requests.is_one_text(prompts) else _items(prompts, "prompts"), requests.input_of,
                _generation, tables.Generations, **own, unit="prompt")


def stream(prompt: Any, options: dict[str, Any]) -> _unary.Unary[results.Generation]:
    """GenerationService.Generate, with deltas: a call with a stream of responses."""
    request, own = generate_request("stream", options)
    request.prompt.CopyFrom(requests.input_of(prompt, "prompt"))
    return _unary.Unary(_GENERATION + "Generate", request, generation_service_pb2.GenerateResponse, _generation,
                        own["timeout"])


def tokenize(texts: Any, options: dict[str, Any]) -> Call[list[server.TokenizedText]]:
    """ModelService.Tokenize."""
    _check("tokenize", options, _CALL | {"add_special_tokens", "parse_special_tokens", "token_bytes", "progress"})
    base = model_service_pb2.TokenizeRequest(
        token_bytes=_values.boolean(options.pop("token_bytes", False), "token_bytes"))
    fields, own = _texts(**options)
    _put(base, model=fields["model"], tokenization=fields["tokenization"])

    def convert(value: Any, where: str) -> wrappers_pb2.StringValue:
        return wrappers_pb2.StringValue(value=_values.text(value, where.replace("items", "texts")))

    return Call(_MODEL + "Tokenize", model_service_pb2.TokenizeResponse, _methods.TextMethod(base, "texts"),
                [texts] if isinstance(texts, str) else _items(texts, "texts"), convert,
                lambda answer: _replies.convert(server.TokenizedText, answer), list, **own, is_stream=False,
                unit="text")


def detokenize(tokens: Any, options: dict[str, Any]) -> Call[list[server.DetokenizedText]]:
    """ModelService.Detokenize."""
    _check("detokenize", options, _CALL | {"render_special_tokens", "progress"})
    base = model_service_pb2.DetokenizeRequest(
        render_special_tokens=_values.boolean(options.pop("render_special_tokens", False), "render_special_tokens"))
    fields, own = _texts(**options)
    _put(base, model=fields["model"])

    def convert(value: Any, where: str) -> Any:
        return requests.token_ids_of(value, where.replace("items", "tokens"))

    return Call(_MODEL + "Detokenize", model_service_pb2.DetokenizeResponse, _methods.TextMethod(base, "tokens"),
                [tokens] if requests.is_one_text(tokens) else _items(tokens, "lists of token ids"), convert,
                lambda answer: _replies.convert(server.DetokenizedText, answer), list, **own, is_stream=False,
                unit="sequence")
