"""The stages between a row of logits and a token, when a completion stops, and the contents of token records.

Names, units, ranges and defaults are those of sampling.proto and completion.proto. An option that is None is unset: the
server's default holds.
"""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, Callable, SupportsFloat, SupportsIndex, TypedDict, Union

from logitd import _values
from logitd.v1 import completion_pb2, sampling_pb2

if TYPE_CHECKING:
    from typing_extensions import NotRequired

TokenSet = Union[Iterable[SupportsIndex], bytes]
"""Token ids; or a bitmask, in which bit (i mod 8) of byte (i div 8) stands for token i."""


class Dry(TypedDict):
    """The DRY penalty; see DryPenalty."""

    multiplier: SupportsFloat
    base: NotRequired[SupportsFloat | None]
    allowed_length: NotRequired[SupportsIndex | None]
    window: NotRequired[SupportsIndex | None]
    breakers: NotRequired[Iterable[Iterable[SupportsIndex]]]


class Xtc(TypedDict):
    """XTC; see XtcParams."""

    probability: SupportsFloat
    threshold: NotRequired[SupportsFloat | None]


class Stages(TypedDict, total=False):
    """SamplingParams as keyword arguments: generate(..., temperature=0.7, top_p=0.9)."""

    temperature: SupportsFloat | None
    top_k: SupportsIndex | None
    top_p: SupportsFloat | None
    min_p: SupportsFloat | None
    seed: SupportsIndex | None
    repetition_penalty: SupportsFloat | None
    frequency_penalty: SupportsFloat | None
    presence_penalty: SupportsFloat | None
    # "prompt_and_output", "output" or "prompt".
    repetition_scope: str | None
    occurrence_scope: str | None
    penalty_window: SupportsIndex | None
    no_repeat_ngram_size: SupportsIndex | None
    dry: Dry | None
    allowed_tokens: TokenSet | None
    banned_tokens: TokenSet | None
    # {token id: nats}
    logit_biases: Mapping[int, SupportsFloat] | None
    # [(token ids, nats)]; None instead of nats bans the last token after the others.
    sequence_biases: Iterable[tuple[Iterable[SupportsIndex], SupportsFloat | None]] | None
    typical_p: SupportsFloat | None
    epsilon_cutoff: SupportsFloat | None
    eta_cutoff: SupportsFloat | None
    top_n_sigma: SupportsFloat | None
    xtc: Xtc | None
    # A preset ("logitd", "hf", "vllm", "llama_cpp", "trt_llm"), or the stages' names in order.
    stage_order: str | Iterable[str] | None
    # "lowest_id" or "keep_all".
    top_k_ties: str | None
    # "reached", "exceeded", "ascending" or "mass_above".
    top_p_boundary: str | None
    typical_ties: str | None


@dataclasses.dataclass(frozen=True)
class Record:
    """The contents of token records; see RecordOptions. None: the server's default.

    Token records have what is asked for here and nothing else: a number that is not asked for costs nothing.
    """

    model_log_prob: bool | None = None
    sampling_log_prob: bool | None = None
    rank: bool = False
    # model_entropy and model_log_sum_exp.
    entropy: bool = False
    # kept_count and kept_mass.
    kept_set: bool = False
    draw: bool = False
    # Number of top alternatives.
    top_n: int = 0
    named_token_ids: Iterable[SupportsIndex] = ()
    token_bytes: bool | None = None
    # "records" or "none": no tokens at all, only sums and counts.
    layout: str | None = None
    # The alternatives as columns, which numpy reads as they are: top_n may be the whole vocabulary.
    packed_top: bool = False


def unknown_option(name: str, known: Iterable[str], method: str) -> TypeError:
    """The error of an option that `method` does not have."""
    options = sorted(known)
    close = difflib.get_close_matches(name, options, 1)
    return TypeError(f"{method}() has no option {name!r}; "
                     + (f"did you mean {close[0]!r}?" if close else f"its options are {', '.join(options)}"))


def _set_bits(values: Any, field: Any, where: str) -> None:
    if isinstance(values, (bytes, bytearray)):
        field.bitmask = bytes(values)
        return
    if _values.is_array(values) and str(getattr(values, "dtype", "")).endswith("bool"):
        raise TypeError(f"{where} must be token ids or a bitmask in bytes, got an array of bool: give numpy.flatnonzero"
                        "(mask), or numpy.packbits(mask, bitorder='little').tobytes()")
    # An empty set is a set, which the server refuses.
    field.ids.SetInParent()
    field.ids.token_ids.extend(_values.token_ids(values, where))


def _scalar(convert: Callable[[Any, str], Any]) -> Callable[[Any, str, Any, str], None]:
    def put(message: Any, name: str, value: Any, where: str) -> None:
        setattr(message, name, convert(value, where))
    return put


def _enum(enum: Any) -> Callable[[Any, str, Any, str], None]:
    return _scalar(lambda value, where: _values.enum_value(enum, value, where))


def _token_set(message: Any, name: str, value: Any, where: str) -> None:
    _set_bits(value, getattr(message, name), where)


def _fields(setters: Mapping[str, Any]) -> Callable[[Any, str, Any, str], None]:
    def put(message: Any, name: str, value: Any, where: str) -> None:
        if not isinstance(value, Mapping):
            raise TypeError(f"{where} must be a dict of {', '.join(setters)}; got {_values.quote(value)}")
        field = getattr(message, name)
        field.SetInParent()
        for key, item in value.items():
            if key not in setters:
                raise unknown_option(str(key), setters, where)
            if item is not None:
                setters[key](field, key, item, f"{where}[{key!r}]")
    return put


def _breakers(message: Any, name: str, value: Any, where: str) -> None:
    for i, ids in enumerate(_values.items(value, where, "lists of token ids")):
        message.breakers.add().token_ids.extend(_values.token_ids(ids, f"{where}[{i}]"))


def _logit_biases(message: Any, name: str, value: Any, where: str) -> None:
    if not isinstance(value, Mapping):
        raise TypeError(f"{where} must be a dict of token ids and nats, got {_values.quote(value)}")
    for token, bias in value.items():
        message.logit_biases.add(token_id=_values.int32(token, f"a token id of {where}"),
                                 bias=_values.number(bias, f"{where}[{token}]"))


def _sequence_biases(message: Any, name: str, value: Any, where: str) -> None:
    for i, pair in enumerate(_values.items(value, where, "pairs (token ids, nats)")):
        if not isinstance(pair, (tuple, list)) or len(pair) != 2:
            raise TypeError(f"{where}[{i}] must be a pair (token ids, nats or None), got {_values.quote(pair)}")
        bias = message.sequence_biases.add(token_ids=_values.token_ids(pair[0], f"{where}[{i}][0]"))
        if pair[1] is not None:
            bias.bias = _values.number(pair[1], f"{where}[{i}][1]")


def _stage_order(message: Any, name: str, value: Any, where: str) -> None:
    if isinstance(value, str):
        message.stage_order.preset = _values.enum_value(sampling_pb2.StagePreset, value, where)
        return
    message.stage_order.SetInParent()
    for i, stage in enumerate(_values.items(value, where, "stages")):
        message.stage_order.stages.append(_values.enum_value(sampling_pb2.Stage, stage, f"{where}[{i}]"))


_INT, _NUMBER, _BOOL = _scalar(_values.int32), _scalar(_values.number), _scalar(_values.boolean)
_DRY = {"multiplier": _NUMBER, "base": _NUMBER, "allowed_length": _INT, "window": _INT, "breakers": _breakers}
_STAGES: dict[str, Callable[[Any, str, Any, str], None]] = {
    **dict.fromkeys(("temperature", "top_p", "min_p", "repetition_penalty", "frequency_penalty", "presence_penalty",
                     "typical_p", "epsilon_cutoff", "eta_cutoff", "top_n_sigma"), _NUMBER),
    **dict.fromkeys(("top_k", "penalty_window", "no_repeat_ngram_size"), _INT),
    "seed": _scalar(_values.uint64),
    "repetition_scope": _enum(sampling_pb2.PenaltyScope), "occurrence_scope": _enum(sampling_pb2.PenaltyScope),
    "dry": _fields(_DRY), "xtc": _fields({"probability": _NUMBER, "threshold": _NUMBER}),
    "allowed_tokens": _token_set, "banned_tokens": _token_set,
    "logit_biases": _logit_biases, "sequence_biases": _sequence_biases, "stage_order": _stage_order,
    "top_k_ties": _enum(sampling_pb2.TieRule), "typical_ties": _enum(sampling_pb2.TieRule),
    "top_p_boundary": _enum(sampling_pb2.TopPBoundary),
}
STAGE_NAMES = frozenset(_STAGES)


def sampling_params(stages: Mapping[str, Any], method: str = "Stages") -> sampling_pb2.SamplingParams | None:
    """SamplingParams of stages by name; None: none is set. `method`: whose options they are, for errors."""
    params = sampling_pb2.SamplingParams()
    is_set = False
    for name, value in stages.items():
        if name not in _STAGES:
            raise unknown_option(name, _STAGES, method)
        if value is not None:
            is_set = True
            _STAGES[name](params, name, value, name)
    return params if is_set else None


_VERIFY = {"seed": _scalar(_values.uint64), "sequence_key": _scalar(_values.uint64), "position": _INT, "token_id": _INT}


def put_verify(request: Any, verify: Mapping[str, Any]) -> None:
    """Sets the field `verify` of a ComputeDistributionRequest."""
    _fields(_VERIFY)(request, "verify", verify, "verify")


def stop_criteria(*, max_tokens: SupportsIndex | None = None, stop: str | Iterable[str] | None = None,
                  stop_token_ids: Iterable[SupportsIndex] | None = None, ignore_eos: bool = False,
                  min_tokens: SupportsIndex | None = None,
                  time_limit_ms: SupportsIndex | None = None) -> sampling_pb2.StopCriteria | None:
    """StopCriteria; None: none is set. `stop`: one text or several, StopCriteria.stop_strings."""
    criteria = sampling_pb2.StopCriteria()
    for name, value in (("max_tokens", max_tokens), ("min_tokens", min_tokens), ("time_limit_ms", time_limit_ms)):
        if value is not None:
            setattr(criteria, name, _values.int32(value, name))
    criteria.ignore_eos = _values.boolean(ignore_eos, "ignore_eos")
    if stop_token_ids is not None:
        criteria.stop_token_ids.extend(_values.token_ids(stop_token_ids, "stop_token_ids"))
    if stop is not None:
        texts = [stop] if isinstance(stop, str) else _values.items(stop, "stop", "texts")
        criteria.stop_strings.extend(_values.text(item, f"stop[{i}]") for i, item in enumerate(texts))
    return criteria if criteria.ListFields() else None


_RECORD: dict[str, Callable[[Any, str, Any, str], None]] = {
    **dict.fromkeys(("model_log_prob", "sampling_log_prob", "rank", "entropy", "kept_set", "draw", "token_bytes",
                     "packed_top"), _BOOL),
    "top_n": _INT,
    "named_token_ids": lambda message, name, value, where: message.named_token_ids.extend(
        _values.token_ids(value, where)),
    "layout": _enum(completion_pb2.RecordLayout),
}


def record_options(record: Record | Mapping[str, Any] | None, where: str = "record"
                   ) -> completion_pb2.RecordOptions | None:
    """RecordOptions; None: unset. An empty record is set: some calls have no records by default."""
    if record is None:
        return None
    if isinstance(record, Record):
        values: Mapping[str, Any] = {field.name: getattr(record, field.name) for field in dataclasses.fields(record)}
    elif isinstance(record, Mapping):
        values = record
    else:
        raise TypeError(f"{where} must be a Record or a dict, got {_values.quote(record)}")
    options = completion_pb2.RecordOptions()
    for name, value in values.items():
        if name not in _RECORD:
            raise unknown_option(name, _RECORD, "Record")
        if value is not None:
            _RECORD[name](options, name, value, f"{where}.{name}")
    return options
