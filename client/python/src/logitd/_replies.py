"""Protobuf messages as dataclasses.

A dataclass says with @reply of which message it is. Its fields have the message's names. A field that is unset in the
message keeps the dataclass's default: None where absence means something. `flatten` names fields of the message whose
own fields stand in the dataclass itself.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, TypeVar

from google.protobuf import message as message_lib

from logitd import _values, errors
from logitd.v1 import (calibration_pb2, completion_pb2, error_pb2, logits_pb2, model_service_pb2, sampling_pb2,
                       scoring_service_pb2)

_C = TypeVar("_C")
# The files that define enums.
_FILES = (calibration_pb2, completion_pb2, logits_pb2, model_service_pb2, sampling_pb2, scoring_service_pb2)
_SCALARS = (bool, int, float, str, bytes)

# The dataclass of a message by the message's name.
_CLASSES: dict[str, type[Any]] = {}


@dataclasses.dataclass(frozen=True)
class _Plan:
    """How a message becomes the fields of a dataclass."""

    flatten: frozenset[str]
    renamed: dict[str, str]
    # By the field's full name.
    readers: dict[str, Callable[[Any], Any]] = dataclasses.field(default_factory=dict)


_PLANS: dict[type[Any], _Plan] = {}


def reply(message: str | None = None, flatten: tuple[str, ...] = (),
          renamed: dict[str, str] | None = None) -> Callable[[type[_C]], type[_C]]:
    """Declares a dataclass. `message`: the full name of the message that always becomes this class; None: only where
    asked for. `renamed`: fields, "Finish.reason", that have another name in the dataclass."""
    def declare(cls: type[_C]) -> type[_C]:
        _PLANS[cls] = _Plan(frozenset(flatten), renamed or {})
        if message is not None:
            _CLASSES[message] = cls
        return cls
    return declare


def _enum_reader(field: Any) -> Callable[[Any], Any]:
    enum = next(getattr(file, field.enum_type.name) for file in _FILES if hasattr(file, field.enum_type.name))
    names = {value.number: _values.enum_name(enum, value.number) for value in field.enum_type.values}
    return lambda value: names.get(value, str(value))


def _reader(field: Any, value: Any) -> Callable[[Any], Any]:
    if isinstance(value, error_pb2.Error):
        return errors.from_proto
    if field.enum_type is not None:
        one = _enum_reader(field)
        return one if isinstance(value, int) else lambda values: tuple(map(one, values))
    if field.message_type is not None:
        cls = _CLASSES[field.message_type.full_name]
        if isinstance(value, message_lib.Message):
            return lambda message: convert(cls, message)
        return lambda messages: tuple([convert(cls, message) for message in messages])
    return (lambda value: value) if isinstance(value, _SCALARS) else tuple


def _collect(plan: _Plan, message: message_lib.Message, into: dict[str, Any]) -> None:
    for field, value in message.ListFields():
        name = field.name
        if name in plan.flatten:
            _collect(plan, value, into)
            continue
        key = field.full_name
        read = plan.readers.get(key)
        if read is None:
            read = plan.readers[key] = _reader(field, value)
        into[plan.renamed.get(key, name) if plan.renamed else name] = read(value)


def convert(cls: type[_C], message: message_lib.Message) -> _C:
    """The dataclass of a message."""
    into: dict[str, Any] = {}
    _collect(_PLANS[cls], message, into)
    return cls(**into)
