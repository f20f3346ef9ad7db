"""The methods that take many items: their requests, their answers, and the errors that concern items (_batches.Method)."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable, Sequence
from typing import Any

from google.protobuf import message as message_lib

from logitd import _batches, errors, results
from logitd.v1 import completion_pb2, error_pb2, generation_service_pb2, scoring_service_pb2

_INDEX = re.compile(r"\b(items|texts|tokens)\[\d+\]")


def _name_place(text: str, index: int) -> str:
    """A field's path with the item's place in the call, instead of its place in a request."""
    return _INDEX.sub(lambda match: f"{match[1]}[{index}]", text, count=1)


def without_place(text: str) -> str:
    """A field's path from the item on: "context", and not "items[2].context"."""
    text = re.sub(r"\bitems\[\d+\]\.", "", text)
    return re.sub(r"\bitems\[\d+\]", "the item", text)


def _name_places(answer: Any, parts: Iterable[Any], index: int) -> None:
    for part in (answer, *parts):
        if part.HasField("error"):
            part.error.message = _name_place(part.error.message, index)
            part.error.field = _name_place(part.error.field, index)


class _Named:
    """Errors that name an item's place."""

    def name_place(self, error: errors.LogitdError, index: int) -> None:
        error.message, error.field = _name_place(error.message, index), _name_place(error.field, index)


def _is_of_items(error: errors.LogitdError, fields: tuple[str, ...]) -> bool:
    # A full server names a limit too, but smaller requests would not help; nor would they if the connection is full.
    if errors.is_transient(error) or error.limit == "max_streams_per_connection":
        return False
    # Limits of the whole request have no field, or these. Any other field is an option, which smaller requests have too.
    is_of_all = error.field in ("", "request", "record.top_n")
    return (bool(error.limit) and is_of_all) or error.field.startswith(fields)


def _error_message(error: errors.LogitdError) -> Any:
    message: Any = error_pb2.Error(code=error.code.value[0], message=error.message, field=error.field,
                                     value=error.value, bound=error.bound, limit=error.limit)
    if error.reason:
        names = error_pb2.ErrorReason
        message.reason = names.Value("ERROR_REASON_" + error.reason) if not error.reason.isdigit() else int(error.reason)
    if error.token_id is not None:
        message.token_id = error.token_id
    return message


def _failures_of(item: Any, parts: str) -> Iterable[Any]:
    """All errors in an item's answer."""
    for part in (item, *getattr(item, parts)):
        if part.HasField("error"):
            yield part.error
        if isinstance(part, scoring_service_pb2.RankedCandidate):
            if part.HasField("unconditional_error"):
                yield part.unconditional_error
            yield from (other.error for other in part.alternative_tokenizations if other.HasField("error"))


@dataclasses.dataclass
class ItemMethod(_Named):
    """Score, Rank and Decide."""

    base: Any
    response: Any
    # The field of an item's answer that holds its parts.
    parts: str
    items_per_request: int = _batches.ITEMS_PER_REQUEST

    def request(self, items: Sequence[Any]) -> message_lib.Message:
        request = type(self.base)()
        request.CopyFrom(self.base)
        request.items.extend(items)
        return request  # type: ignore[no-any-return]

    def answers(self, response: Any) -> Iterable[tuple[int, Any]]:
        return ((response.item_index, response),)

    def provenance(self, answer: Any) -> completion_pb2.Provenance | None:
        return answer.provenance if answer.HasField("provenance") else None

    def passing_error(self, answer: Any) -> errors.LogitdError | None:
        for failure in _failures_of(answer.item, self.parts):
            error = errors.from_proto(failure)
            if errors.is_transient(error):
                return error
        return None

    def concerns_items(self, error: errors.LogitdError) -> bool:
        return _is_of_items(error, ("items",))

    def refusal(self, item: Any, error: errors.LogitdError) -> Any:
        answer = self.response(id=item.id)
        answer.item.error.CopyFrom(_error_message(error))
        return answer

    def place(self, answer: Any, index: int) -> None:
        answer.item_index = index
        _name_places(answer.item, getattr(answer.item, self.parts), index)


@dataclasses.dataclass
class GenerateMethod(_Named):
    """Generate: one prompt a request."""

    base: generation_service_pb2.GenerateRequest
    items_per_request: int = 1

    def request(self, items: Sequence[Any]) -> message_lib.Message:
        request = generation_service_pb2.GenerateRequest()
        request.CopyFrom(self.base)
        request.prompt.CopyFrom(items[0])
        return request

    def answers(self, response: generation_service_pb2.GenerateResponse) -> Iterable[tuple[int, Any]]:
        return ((0, response.final),) if response.HasField("final") else ()

    def provenance(self, answer: Any) -> completion_pb2.Provenance | None:
        return None if isinstance(answer, results.Generation) else answer.provenance

    def passing_error(self, answer: Any) -> errors.LogitdError | None:
        for completion in answer.completions:
            if completion.HasField("error"):
                error = errors.from_proto(completion.error)
                if errors.is_transient(error):
                    return error
        return None

    def concerns_items(self, error: errors.LogitdError) -> bool:
        if error.reason in ("CONTEXT_LENGTH_EXCEEDED", "EMPTY_PROMPT", "MODEL_OUTPUT_INVALID", "RUNNER_KILLED", "INTERNAL"):
            return True
        return not errors.is_transient(error) and error.field.split(".")[0].split("[")[0] == "prompt"

    def refusal(self, item: Any, error: errors.LogitdError) -> Any:
        return results.Generation(error=error)

    def place(self, answer: Any, index: int) -> None:
        """A generation does not know its place."""


@dataclasses.dataclass
class TextMethod(_Named):
    """Tokenize and Detokenize. A text that is refused fails the call."""

    base: Any
    # The repeated field of the request.
    field: str
    items_per_request: int = 256

    def request(self, items: Sequence[Any]) -> message_lib.Message:
        request = type(self.base)()
        request.CopyFrom(self.base)
        getattr(request, self.field).extend(
            [item.value for item in items] if self.field == "texts" else items)
        return request  # type: ignore[no-any-return]

    def answers(self, response: Any) -> Iterable[tuple[int, Any]]:
        return enumerate(response.texts)

    def provenance(self, answer: Any) -> completion_pb2.Provenance | None:
        return None

    def passing_error(self, answer: Any) -> errors.LogitdError | None:
        return None

    def concerns_items(self, error: errors.LogitdError) -> bool:
        return _is_of_items(error, (self.field,))

    def refusal(self, item: Any, error: errors.LogitdError) -> Any:
        return None

    def place(self, answer: Any, index: int) -> None:
        """An answer does not know its place."""
