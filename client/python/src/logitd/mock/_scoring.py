"""Scores of the mock server: exact float64 sums of the given log-probs; and its Score call."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

import grpc

from logitd import _failures, errors
from logitd.mock._model import MockModel
from logitd.mock._records import Recorder, argmax, cumulative
from logitd.mock._supported import unimplemented
from logitd.mock._texts import Joined, Texts
from logitd.v1 import completion_pb2, scoring_service_pb2

_INF = math.inf
_Response = TypeVar("_Response", scoring_service_pb2.ScoreResponse, scoring_service_pb2.RankResponse,
                    scoring_service_pb2.DecideResponse)


@dataclasses.dataclass(frozen=True, slots=True)
class Setting:
    """The facts of the mock server that scoring needs. `item_error`: the error that the test wants for an item."""

    model: MockModel
    eos_token_id: int | None
    context_length: int
    provenance: Callable[[], completion_pb2.Provenance]
    item_error: Callable[[str], errors.LogitdError | None]


@dataclasses.dataclass(slots=True)
class Score:
    """One continuation, scored."""

    tokens: list[int]
    log_prob: float
    context: list[int]


class Items:
    """Scores the continuations of a request's items."""

    def __init__(self, setting: Setting, request: Any, default_layout: int):
        self._setting = setting
        self._model = setting.model
        self._texts = Texts(setting.model, request.tokenization)
        self.recorder = Recorder(request.record, setting.model, setting.model.vocab_size, default_layout)

    def score_all(self, item: Any, path: str, continuations: Mapping[str, Any], response: Any, messages: Any
                  ) -> list[Score | None]:
        """Scores an item: its context into `response`, each continuation into a message that is added to `messages`.
        path: the item's; continuations: each by its name in the item."""
        try:
            context, text = self._context_of(item, response.item)
        except errors.LogitdError as error:
            raise _failures.within(f"{path}.", error)
        scores = [self._score(context, text, f"{path}.{name}.", continuation, response.item, messages.add())
                  for name, continuation in continuations.items()]
        if not context:
            # The context's text made no token: the implicit token stands for it.
            response.item.implicit_context_token_id = self._texts.implicit_context(self._setting.eos_token_id)
            response.item.context_token_count = 1
        response.usage.CopyFrom(usage_of(response.item.context_token_count, scores))
        return scores

    def _context_of(self, item: Any, message: Any) -> tuple[list[int], str | None]:
        """The tokens of the item's context, and its text if it is text. `message` tells of them."""
        kind = "segments" if item.context.segments else item.context.WhichOneof("input")
        text = item.context.text if kind == "text" else None
        context: list[int] = []
        if text:
            alone = text.rstrip() if self._texts.boundary == completion_pb2.BOUNDARY_LM_EVAL else text
            context = self._texts.tokenize(alone, field="context.text")
            self._report(message, self._texts.doubles_bos(context))
        else:
            if kind in ("segments", "tokens"):
                context = self._texts.input(item.context, "context")
            if kind == "segments" and item.context.segments[0].WhichOneof("segment") == "text":
                self._report(message, self._texts.doubles_bos(context))
            if not context:
                context = [self._texts.implicit_context(self._setting.eos_token_id)]
                message.implicit_context_token_id = context[0]
        too_long = len(context) > self._setting.context_length and not self._texts.truncates
        # Under JOINT, a continuation may use a shorter part of a text.
        if too_long and not (text and self._texts.boundary == completion_pb2.BOUNDARY_JOINT):
            raise self._too_long(f"context.{kind}", len(context), self._setting.context_length)
        message.context_token_count = len(context)
        return context, text or None

    @staticmethod
    def _report(message: Any, doubled_bos: bool) -> None:
        if doubled_bos:
            message.tokenization.doubled_bos = True

    def _join(self, context: list[int], text: str | None, continuation: Any, item: Any) -> Joined:
        """The tokens of one continuation after its context."""
        kind = continuation.WhichOneof("source" if isinstance(continuation, scoring_service_pb2.Candidate) else "input")
        if kind is None:
            raise _failures.failure("FIELD_REQUIRED", "a continuation must have text or tokens")
        if kind == "tokens":
            ids = list(continuation.tokens.token_ids)
            _failures.check_token_ids("tokens.token_ids", ids, self._model.vocab_size)
            if text is not None and text != text.rstrip() and self._texts.boundary == completion_pb2.BOUNDARY_LM_EVAL:
                raise unimplemented("ids after a context of text that ends with white space, under BOUNDARY_LM_EVAL")
            joined = Joined(context, ids)
        elif not continuation.text:
            raise _failures.failure("EMPTY_CONTINUATION", "text has no token", field="text")
        elif text is not None:
            joined = self._texts.join(text, continuation.text, context)
        else:
            implicit = item.HasField("implicit_context_token_id")
            tokens = self._texts.tokenize(continuation.text, continues_text=not implicit, adds=False)
            if implicit and tokens and tokens[0] == context[0]:
                # As in the harness, a continuation that brings its own BOS is scored after that one.
                if self._texts.boundary == completion_pb2.BOUNDARY_LM_EVAL:
                    del tokens[0]
                else:
                    self._report(item, context[0] == self._model.bos_token_id)
            rule = self._texts.boundary if implicit else completion_pb2.BOUNDARY_SEPARATE
            joined = Joined(context, tokens, scoring_service_pb2.BoundaryReport(rule=rule))
        if not joined.tokens:
            raise _failures.failure("EMPTY_CONTINUATION", f"{kind} has no token", field=kind)
        if not joined.context:
            joined.context = [self._texts.implicit_context(self._setting.eos_token_id)]
            if joined.boundary is not None:
                joined.boundary.implicit_context_token_id = joined.context[0]
        self._fit(joined, kind)
        if joined.boundary is not None:
            joined.boundary.context_token_count = len(joined.context)
        return joined

    def _fit(self, joined: Joined, kind: str) -> None:
        surplus = len(joined.context) + len(joined.tokens) - self._setting.context_length - 1
        if surplus <= 0:
            return
        if not self._texts.truncates or surplus >= len(joined.context):
            raise self._too_long(kind, len(joined.context) + len(joined.tokens), self._setting.context_length + 1)
        joined.context = joined.context[surplus:]
        joined.truncated_token_count = surplus

    @staticmethod
    def _too_long(field: str, length: int, most: int) -> errors.LogitdError:
        return _failures.failure("CONTEXT_LENGTH_EXCEEDED", f"{field} has {length} tokens; the model takes {most}",
                                 field=field, value=str(length), bound=f"<= {most}")

    def _score(self, context: list[int], text: str | None, path: str, continuation: Any, item: Any,
               message: Any) -> Score | None:
        """Scores one continuation into `message`. None: it has an error."""
        try:
            joined = self._join(context, text, continuation, item)
            counts = _counts(continuation, self._spelled(continuation, joined.tokens))
        except errors.LogitdError as error:
            if _ends_call(error):
                raise
            message.error.CopyFrom(_failures.to_proto(_failures.within(path, error)))
            return None
        sequence = message.score
        log_probs: list[float] = []
        greedy = True
        for position, token_id in enumerate(joined.tokens):
            row = self._model.row([*joined.context, *joined.tokens[:position]])
            log_probs.append(row[token_id])
            greedy = greedy and argmax(row) == token_id
            if self.recorder.writes_tokens:
                sequence.tokens.append(self.recorder.record(row, token_id, position, completion_pb2.TOKEN_ORIGIN_GIVEN))
        sequence.totals.token_count = len(joined.tokens)
        total = cumulative(log_probs)
        if total is not None:
            sequence.totals.cumulative_model_log_prob = total
        sequence.is_greedy = greedy
        for name, count in zip(("byte_count", "character_count"), counts):
            if count is not None:
                setattr(sequence, name, count)
        if joined.boundary is not None:
            message.boundary.CopyFrom(joined.boundary)
        message.truncated_token_count = joined.truncated_token_count
        return Score(joined.tokens, -_INF if total is None else total, joined.context)

    def _spelled(self, continuation: Any, tokens: list[int]) -> bytes | None:
        """The bytes that count. None: tokens have no bytes."""
        if continuation.HasField("text"):
            return str(continuation.text).encode()
        return None if self._model.texts is None else b"".join(map(self._model.token_bytes, tokens))


def _counts(continuation: Any, text: bytes | None) -> tuple[int | None, int | None]:
    """byte_count and character_count."""
    uncounted = getattr(continuation, "uncounted_prefix_bytes", 0)
    counts: tuple[int | None, int | None] = (None, None)
    if text is not None:
        if not 0 <= uncounted <= len(text):
            raise _failures.out_of_range("uncounted_prefix_bytes", uncounted, f"in [0, {len(text)}]")
        counted = text[uncounted:]
        try:
            characters: int | None = len(counted.decode()) or None
        except UnicodeDecodeError:
            characters = None
            if _is_utf8(text):
                raise _failures.out_of_range("uncounted_prefix_bytes", uncounted, "on a character border") from None
        counts = (len(counted) or None, characters)
    elif uncounted:
        raise _failures.out_of_range("uncounted_prefix_bytes", uncounted, "0 where the model's tokens have no bytes")
    given = []
    for name, count in zip(("byte_count", "character_count"), counts):
        if name in continuation.DESCRIPTOR.fields_by_name and continuation.HasField(name):
            count = getattr(continuation, name)
            if count < 1:
                raise _failures.out_of_range(name, count, ">= 1")
        given.append(count)
    return given[0], given[1]


def _is_utf8(text: bytes) -> bool:
    try:
        text.decode()
    except UnicodeDecodeError:
        return False
    return True


def _ends_call(error: errors.LogitdError) -> bool:
    """Whether the error is not one of an item alone: a real server is needed, the model failed, or it has no
    tokenizer."""
    return error.code in (grpc.StatusCode.UNIMPLEMENTED, grpc.StatusCode.INTERNAL, grpc.StatusCode.FAILED_PRECONDITION)


def usage_of(context_token_count: int, scores: Sequence[Score | None]) -> completion_pb2.Usage:
    """Everything counts as evaluated, and each context once."""
    scored = sum(len(score.tokens) for score in scores if score is not None)
    paths = {tuple(score.context + score.tokens[:i]) for score in scores if score is not None
             for i in range(1 - len(score.context), len(score.tokens))}
    return completion_pb2.Usage(prompt_token_count=context_token_count, scored_token_count=scored,
                                evaluated_token_count=len(paths))


def named(field: str, parts: Iterable[Any]) -> dict[str, Any]:
    """Each part by its name: "candidates[2]"."""
    return {f"{field}[{index}]": part for index, part in enumerate(parts)}


def answers(setting: Setting, items: Sequence[Any], kind: type[_Response],
            fill: Callable[[Any, _Response, str], None]) -> Iterator[_Response]:
    """One response per item, in order. `fill` writes an item's results, and may raise the item's error; its last
    argument is the item's path."""
    for index, item in enumerate(items):
        response = kind(item_index=index, id=item.id, provenance=setting.provenance())
        error = setting.item_error(item.id)
        try:
            if error is None:
                fill(item, response, f"items[{index}]")
        except errors.LogitdError as failed:
            if _ends_call(failed):
                raise
            error = failed
        if error is not None:
            response.item.Clear()
            response.item.error.CopyFrom(_failures.to_proto(error))
        yield response


def score_items(setting: Setting, request: scoring_service_pb2.ScoreRequest
                ) -> Iterator[scoring_service_pb2.ScoreResponse]:
    """The Score call."""
    items = Items(setting, request, completion_pb2.RECORD_LAYOUT_RECORDS)

    def fill(item: scoring_service_pb2.ScoreItem, response: scoring_service_pb2.ScoreResponse, path: str) -> None:
        if not item.continuations:
            raise _failures.failure("NO_CANDIDATES", f"{path}.continuations is empty", field=f"{path}.continuations")
        items.score_all(item, path, named("continuations", item.continuations), response, response.item.continuations)

    yield from answers(setting, request.items, scoring_service_pb2.ScoreResponse, fill)
