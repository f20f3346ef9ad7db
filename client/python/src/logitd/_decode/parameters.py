"""The options of decoded sequences, as keywords and as the messages of the wire.

    options = Options(top_p=0.9, max_tokens=64, record=Record(rank=True))
    options.sampling, options.stop, options.record       # messages, or None
    options.with_changes(temperature=0)                  # a keyword takes the place of the one before
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, SupportsIndex

from google.protobuf import json_format

from logitd import sampling as sampling_options
from logitd.v1 import completion_pb2, sampling_pb2

# StopCriteria without stop strings, because Decode knows no text.
STOP_NAMES = frozenset({"max_tokens", "stop_token_ids", "ignore_eos", "min_tokens", "time_limit_ms"})
NAMES = sampling_options.STAGE_NAMES | STOP_NAMES | {"record"}


class DecodeOptions(sampling_options.Stages, total=False):
    """The options of decoded sequences as keyword arguments."""

    max_tokens: SupportsIndex | None
    stop_token_ids: Iterable[SupportsIndex] | None
    ignore_eos: bool | None
    min_tokens: SupportsIndex | None
    time_limit_ms: SupportsIndex | None
    record: sampling_options.Record | Mapping[str, Any] | None


@dataclasses.dataclass(frozen=True)
class Options:
    """None: unset, so that the server's defaults hold."""

    keywords: Mapping[str, Any]
    sampling: sampling_pb2.SamplingParams | None
    stop: sampling_pb2.StopCriteria | None
    record: completion_pb2.RecordOptions | None

    @classmethod
    def of(cls, keywords: Mapping[str, Any], method: str) -> Options:
        """The options of `method`, for whose errors it is named. Raises TypeError for one that there is not, and for a
        value of a wrong type."""
        for name in keywords:
            if name not in NAMES:
                raise sampling_options.unknown_option(name, NAMES, method)
        # They are converted again with every change; an iterator would be empty then.
        keywords = {name: list(value) if isinstance(value, Iterator) else value for name, value in keywords.items()}
        stages = {name: value for name, value in keywords.items() if name in sampling_options.STAGE_NAMES}
        stop = {name: value for name, value in keywords.items() if name in STOP_NAMES and value is not None}
        return cls(keywords, sampling_options.sampling_params(stages, method),
                   sampling_options.stop_criteria(**stop), sampling_options.record_options(keywords.get("record")))

    def with_changes(self, changes: Mapping[str, Any], method: str) -> Options:
        """These options, in which `changes` take the place of those of the same name; None unsets one."""
        return Options.of({**self.keywords, **changes}, method) if changes else self

    def with_seed(self, seed: int) -> Options:
        """These options with the seed, which may be one that a server drew."""
        sampling = sampling_pb2.SamplingParams(seed=seed)
        if self.sampling is not None:
            sampling.CopyFrom(self.sampling)
            sampling.seed = seed
        return dataclasses.replace(self, sampling=sampling)

    def to_json(self) -> dict[str, Any]:
        """Plain data: numbers keep all their bits."""
        parts = {"sampling": self.sampling, "stop": self.stop, "record": self.record}
        return {name: json_format.MessageToDict(message, preserving_proto_field_name=True)
                for name, message in parts.items() if message is not None}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Options:
        """As to_json wrote them. They have no keywords to be changed. Raises ValueError if they are no options."""
        def read(name: str, message: Any) -> Any:
            try:
                return json_format.ParseDict(values[name], message) if name in values else None
            except json_format.ParseError as failure:
                raise ValueError(f"the state's {name} is none: {failure}") from failure
        return cls({}, read("sampling", sampling_pb2.SamplingParams()), read("stop", sampling_pb2.StopCriteria()),
                   read("record", completion_pb2.RecordOptions()))


def token_set(values: Any, where: str) -> sampling_pb2.TokenSet:
    """Token ids, or a bitmask in bytes, as a TokenSet."""
    params = sampling_options.sampling_params({"allowed_tokens": values}, where)
    assert params is not None
    return params.allowed_tokens
