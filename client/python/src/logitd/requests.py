"""Texts and items as callers write them, and the messages that they become.

    ScoreItem("1 + 1 =", [" 2", " 3"])                              # texts
    ("1 + 1 =", [" 2", " 3"])                                       # the same
    {"context": "1 + 1 =", "continuations": [" 2", " 3"]}           # the same; names as in scoring_service.proto
    ScoreItem([504, 2644], [[335], [281, 7]])                       # token ids, also as numpy arrays
    ScoreItem([Segment("<|im_start|>user\\n", parse_special_tokens=True), Segment("what they typed")], [" yes"])

A value of a wrong type raises TypeError, and one that no message can hold ValueError; both name its place.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, SupportsFloat, SupportsIndex, TypeVar, Union

from google.protobuf import json_format, message as message_lib

from logitd import _values
from logitd.v1 import completion_pb2, sampling_pb2, scoring_service_pb2


@dataclasses.dataclass(frozen=True)
class Segment:
    """A piece of a prompt or context, which becomes tokens by itself (Input.segments).

    input: text, or token ids.
    parse_special_tokens: parse the names of control tokens in the text; None: as the call says.
    """

    input: str | Iterable[SupportsIndex]
    parse_special_tokens: bool | None = None


Text = Union[str, Iterable[SupportsIndex], Sequence[Segment]]
"""Text, token ids, or segments of both."""


@dataclasses.dataclass(frozen=True)
class Continuation:
    """A continuation with its counts; see Continuation in scoring_service.proto. `input`: text, or token ids."""

    input: str | Iterable[SupportsIndex]
    uncounted_prefix_bytes: int = 0
    byte_count: int | None = None
    character_count: int | None = None
    named_by_position: Sequence[Iterable[SupportsIndex]] = ()


@dataclasses.dataclass(frozen=True)
class Sums:
    """The sums of a candidate that is already scored; see CandidateSums."""

    sum_model_log_prob: float
    token_count: int
    byte_count: int | None = None
    character_count: int | None = None
    sum_unconditional_log_prob: float | None = None


@dataclasses.dataclass(frozen=True)
class Candidate:
    """A candidate of a ranking; see Candidate in scoring_service.proto. `input`: text, token ids, or Sums."""

    input: str | Iterable[SupportsIndex] | Sums
    uncounted_prefix_bytes: int = 0
    byte_count: int | None = None
    character_count: int | None = None
    alternative_tokenizations: Sequence[Iterable[SupportsIndex]] = ()


@dataclasses.dataclass(frozen=True)
class Option:
    """An answer to a question; see DecisionOption. `log_offset`: nats, added before the softmax."""

    input: str | Iterable[SupportsIndex]
    log_offset: float = 0.0


ContinuationLike = Union[str, Iterable[SupportsIndex], Continuation, Mapping[str, Any]]
CandidateLike = Union[str, Iterable[SupportsIndex], Sums, Candidate, Mapping[str, Any]]
OptionLike = Union[str, Iterable[SupportsIndex], Option, Mapping[str, Any]]


@dataclasses.dataclass(frozen=True)
class ScoreItem:
    """A context and the continuations to score after it. `context`: None or empty stands for the model's BOS."""

    context: Text | None
    continuations: Sequence[ContinuationLike]
    id: str = ""


@dataclasses.dataclass(frozen=True)
class RankItem:
    """A context and its candidates.

    unconditional_context: instead of the call's.
    given_order: the index of each candidate once, best first: an order whose probability is wanted; None: none.
    """

    context: Text | None
    candidates: Sequence[CandidateLike]
    id: str = ""
    unconditional_context: Text | None = None
    given_order: Iterable[SupportsIndex] | None = None


@dataclasses.dataclass(frozen=True)
class DecideItem:
    """A context and a question about it, of one of three kinds:

    - options: the answers of a choice;
    - if_true and if_false: the answers of a predicate;
    - levels: pairs (answer, value) of a score.
    """

    context: Text | None
    options: Sequence[OptionLike] | None = None
    id: str = ""
    if_true: OptionLike | None = None
    if_false: OptionLike | None = None
    levels: Sequence[tuple[OptionLike, SupportsFloat]] | None = None


ScoreItemLike = Union[ScoreItem, "tuple[Text | None, Sequence[ContinuationLike]]", Mapping[str, Any],
                      scoring_service_pb2.ScoreItem]
RankItemLike = Union[RankItem, "tuple[Text | None, Sequence[CandidateLike]]", Mapping[str, Any],
                     scoring_service_pb2.RankItem]
DecideItemLike = Union[DecideItem, "tuple[Text | None, Sequence[OptionLike]]", Mapping[str, Any],
                       scoring_service_pb2.DecideItem]

_M = TypeVar("_M", bound=message_lib.Message)


def _from_json(value: Mapping[str, Any], message: _M, where: str) -> _M:
    """Protobuf's JSON, which a file of items has."""
    try:
        return json_format.ParseDict(dict(value), message)
    except json_format.ParseError as error:
        raise ValueError(f"{where} is no {message.DESCRIPTOR.name}: {error}") from None


def _put_piece(value: Any, message: Any, where: str) -> None:
    """Text or token ids into a message with both fields."""
    if isinstance(value, (str, bytes, bytearray)):
        message.text = _values.text(value, where)
    else:
        ids = _values.token_ids(value, where, "text or a list of token ids")
        message.tokens.SetInParent()
        message.tokens.token_ids.extend(ids)


def input_of(value: Text | Mapping[str, Any] | completion_pb2.Input, where: str = "input") -> completion_pb2.Input:
    """The Input of a text, of token ids or of segments."""
    if isinstance(value, completion_pb2.Input):
        return value
    if isinstance(value, Mapping):
        return _from_json(value, completion_pb2.Input(), where)
    message = completion_pb2.Input()
    if isinstance(value, (list, tuple)) and value and isinstance(value[0], (Segment, str, Mapping)):
        for i, segment in enumerate(value):
            if not isinstance(segment, Segment):
                raise TypeError(f"{where}[{i}] must be a Segment, got {_values.quote(segment)}: a text that is made of "
                                "pieces is a list of Segment")
            piece = message.segments.add()
            _put_piece(segment.input, piece, f"{where}[{i}]")
            if segment.parse_special_tokens is not None:
                piece.parse_special_tokens = _values.boolean(segment.parse_special_tokens, f"{where}[{i}]")
        return message
    _put_piece(value, message, where)
    return message


def token_ids_of(value: Iterable[SupportsIndex], where: str = "tokens") -> sampling_pb2.TokenIds:
    """The TokenIds of a list or an array of ids."""
    return sampling_pb2.TokenIds(token_ids=_values.token_ids(value, where))


def is_one_text(value: object) -> bool:
    """Whether it is one text, and no list of texts."""
    if isinstance(value, (str, bytes, bytearray, Segment, Mapping, completion_pb2.Input)):
        return True
    if _values.is_array(value):
        # A column of texts is an array too.
        return getattr(value, "ndim", 1) == 1 and not isinstance(next(iter(value), None), (str, bytes))  # type: ignore[call-overload]
    if isinstance(value, range):
        return True
    return (isinstance(value, (list, tuple)) and len(value) > 0
            and (isinstance(value[0], Segment) or hasattr(value[0], "__index__") and not _values.is_array(value[0])))


def _put_counts(value: Any, message: Any, where: str) -> None:
    if value.uncounted_prefix_bytes:
        message.uncounted_prefix_bytes = _values.int32(value.uncounted_prefix_bytes, f"{where}.uncounted_prefix_bytes")
    for name in ("byte_count", "character_count"):
        if getattr(value, name) is not None:
            setattr(message, name, _values.int32(getattr(value, name), f"{where}.{name}"))


def _put_continuation(value: Any, message: scoring_service_pb2.Continuation, where: str) -> None:
    if isinstance(value, Mapping):
        _from_json(value, message, where)
    elif isinstance(value, Continuation):
        _put_piece(value.input, message, where)
        _put_counts(value, message, where)
        for i, ids in enumerate(value.named_by_position):
            message.named_by_position.add().token_ids.extend(_values.token_ids(ids, f"{where}.named_by_position[{i}]"))
    else:
        _put_piece(value, message, where)


def _put_candidate(value: Any, message: scoring_service_pb2.Candidate, where: str) -> None:
    if isinstance(value, Mapping):
        _from_json(value, message, where)
        return
    given = value.input if isinstance(value, Candidate) else value
    if isinstance(given, Sums):
        sums = message.sums
        sums.sum_model_log_prob = _values.number(given.sum_model_log_prob, f"{where}.sum_model_log_prob")
        sums.token_count = _values.int32(given.token_count, f"{where}.token_count")
        for name in ("byte_count", "character_count"):
            if getattr(given, name) is not None:
                setattr(sums, name, _values.int32(getattr(given, name), f"{where}.{name}"))
        if given.sum_unconditional_log_prob is not None:
            sums.sum_unconditional_log_prob = _values.number(given.sum_unconditional_log_prob,
                                                             f"{where}.sum_unconditional_log_prob")
    else:
        _put_piece(given, message, where)
    if isinstance(value, Candidate):
        _put_counts(value, message, where)
        for i, ids in enumerate(value.alternative_tokenizations):
            message.alternative_tokenizations.add().token_ids.extend(
                _values.token_ids(ids, f"{where}.alternative_tokenizations[{i}]"))


def _put_option(value: Any, message: scoring_service_pb2.DecisionOption, where: str) -> None:
    if isinstance(value, Mapping):
        _from_json(value, message, where)
        return
    _put_piece(value.input if isinstance(value, Option) else value, message, where)
    if isinstance(value, Option) and value.log_offset:
        message.log_offset = _values.number(value.log_offset, f"{where}.log_offset")


def _parts(value: Any, where: str, wanted: str) -> Sequence[Any]:
    parts = value.tolist() if _values.is_array(value) else _values.items(value, where, wanted)
    if parts and hasattr(parts[0], "__index__") and not _values.is_array(parts[0]):
        raise TypeError(f"{where} must be a list of {wanted}, got token ids: one list of ids for each, [[...], [...]]")
    return parts


def _as_item(value: Any, kind: Any, parts: str, where: str) -> Any:
    """The item of a tuple (context, parts)."""
    if isinstance(value, kind):
        return value
    if isinstance(value, tuple) and len(value) == 2:
        return kind(value[0], value[1])
    raise TypeError(f"{where} must be a {kind.__name__}, a tuple (context, {parts}) or a dict, got {_values.quote(value)}")


def _from_dict(value: Mapping[str, Any], message: _M, parts: str, put: Any, where: str) -> _M:
    """A dict with the message's names, whose texts may be plain."""
    rest = dict(value)
    for name in ("context", "unconditional_context"):
        text = rest.pop(name, None) if name in message.DESCRIPTOR.fields_by_name else None
        if text is not None:
            getattr(message, name).CopyFrom(input_of(text, f"{where}.{name}"))
    given = rest.pop(parts, None)
    for i, part in enumerate(_parts(() if given is None else given, f"{where}.{parts}", parts)):
        put(part, getattr(message, parts).add(), f"{where}.{parts}[{i}]")
    # None is JSON's null: unset.
    return _from_json(rest, message, where)


def _put_context(item: Any, message: Any, where: str) -> None:
    if item.context is not None:
        message.context.CopyFrom(input_of(item.context, f"{where}.context"))
    if item.id:
        message.id = _values.text(item.id, f"{where}.id")


def score_item(value: ScoreItemLike, where: str = "item") -> scoring_service_pb2.ScoreItem:
    """The ScoreItem of an item in any of its forms."""
    if isinstance(value, scoring_service_pb2.ScoreItem):
        return value
    message = scoring_service_pb2.ScoreItem()
    if isinstance(value, Mapping):
        return _from_dict(value, message, "continuations", _put_continuation, where)
    item = _as_item(value, ScoreItem, "continuations", where)
    _put_context(item, message, where)
    for i, part in enumerate(_parts(item.continuations, f"{where}.continuations", "continuations")):
        _put_continuation(part, message.continuations.add(), f"{where}.continuations[{i}]")
    return message


def rank_item(value: RankItemLike, where: str = "item") -> scoring_service_pb2.RankItem:
    """The RankItem of an item in any of its forms."""
    if isinstance(value, scoring_service_pb2.RankItem):
        return value
    message = scoring_service_pb2.RankItem()
    if isinstance(value, Mapping):
        return _from_dict(value, message, "candidates", _put_candidate, where)
    item = _as_item(value, RankItem, "candidates", where)
    _put_context(item, message, where)
    if item.unconditional_context is not None:
        message.unconditional_context.CopyFrom(
            input_of(item.unconditional_context, f"{where}.unconditional_context"))
    if item.given_order is not None:
        order = _values.token_ids(item.given_order, f"{where}.given_order", "a list of indices of candidates")
        if not order:
            raise ValueError(f"{where}.given_order must have the index of each candidate once, got none")
        message.given_order.extend(order)
    for i, part in enumerate(_parts(item.candidates, f"{where}.candidates", "candidates")):
        _put_candidate(part, message.candidates.add(), f"{where}.candidates[{i}]")
    return message


def decide_item(value: DecideItemLike, where: str = "item") -> scoring_service_pb2.DecideItem:
    """The DecideItem of an item in any of its forms. A dict may have "options", the answers of a choice."""
    if isinstance(value, scoring_service_pb2.DecideItem):
        return value
    message = scoring_service_pb2.DecideItem()
    if isinstance(value, Mapping):
        _put_options(value.get("options"), message, f"{where}.options")
        return _from_dict({key: part for key, part in value.items() if key != "options"}, message, "", None, where)
    item = _as_item(value, DecideItem, "options", where)
    kinds = [name for name in ("options", "if_true", "if_false", "levels") if getattr(item, name) is not None]
    if kinds not in (["options"], ["if_true", "if_false"], ["levels"]):
        raise ValueError(f"{where} must have exactly one of options, if_true with if_false, and levels; it has "
                         f"{' and '.join(kinds) or 'none'}")
    _put_context(item, message, where)
    _put_options(item.options, message, f"{where}.options")
    for name in ("if_true", "if_false"):
        if getattr(item, name) is not None:
            _put_option(getattr(item, name), getattr(message.predicate, name), f"{where}.{name}")
    for i, level in enumerate(item.levels or ()):
        if not isinstance(level, (tuple, list)) or len(level) != 2:
            raise TypeError(f"{where}.levels[{i}] must be a pair (answer, value), got {_values.quote(level)}")
        made = message.score.levels.add(value=_values.number(level[1], f"{where}.levels[{i}] value"))
        _put_option(level[0], made.option, f"{where}.levels[{i}]")
    return message


def _put_options(options: Any, message: scoring_service_pb2.DecideItem, where: str) -> None:
    if options is None:
        return
    message.choice.SetInParent()
    for i, option in enumerate(_parts(options, where, "options")):
        _put_option(option, message.choice.options.add(), f"{where}[{i}]")


def rolling_item(value: Any, where: str, *, window: SupportsIndex | None, stride: SupportsIndex | None,
                 rule: str | None) -> scoring_service_pb2.ScoreItem:
    """The ScoreItem of a text that is scored in windows."""
    rolling = scoring_service_pb2.RollingText(input=input_of(value, where))
    if window is not None:
        rolling.window = _values.int32(window, "window")
    if stride is not None:
        rolling.stride = _values.int32(stride, "stride")
    if rule is not None:
        setattr(rolling, "rule", _values.enum_value(scoring_service_pb2.RollingRule, rule, "rule"))
    return scoring_service_pb2.ScoreItem(rolling=rolling)


def tokenization_options(*, add_special_tokens: bool | None = None, parse_special_tokens: bool = False,
                         boundary: str | None = None, truncation: str | None = None
                         ) -> completion_pb2.TokenizationOptions | None:
    """TokenizationOptions; None: none is set."""
    options = completion_pb2.TokenizationOptions()
    if add_special_tokens is not None:
        options.add_special_tokens = _values.boolean(add_special_tokens, "add_special_tokens")
    options.parse_special_tokens = _values.boolean(parse_special_tokens, "parse_special_tokens")
    if boundary is not None:
        setattr(options, "boundary", _values.enum_value(completion_pb2.Boundary, boundary, "boundary"))
    if truncation is not None:
        setattr(options, "truncation", _values.enum_value(completion_pb2.Truncation, truncation, "truncation"))
    return options if options.ListFields() else None


def evaluation_options(*, reproducible: bool | None = None, no_cache: bool = False,
                       cache_salt: str = "") -> completion_pb2.EvaluationOptions | None:
    """EvaluationOptions; None: none is set."""
    options = completion_pb2.EvaluationOptions(no_cache=_values.boolean(no_cache, "no_cache"),
                                               cache_salt=_values.text(cache_salt, "cache_salt"))
    if reproducible is not None:
        options.reproducible = _values.boolean(reproducible, "reproducible")
    return options if options.ListFields() else None
