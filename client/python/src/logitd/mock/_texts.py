"""Tokens of the texts in requests: prompts, contexts, and the three ways in which a context meets its continuation.

The tokens of the mock's vocabulary spell their text exactly, so every token's place in the text is known.
"""

from __future__ import annotations

import dataclasses
from typing import Any

from logitd import _failures, errors
from logitd.mock._model import MockModel
from logitd.mock._supported import unimplemented
from logitd.v1 import completion_pb2, scoring_service_pb2


@dataclasses.dataclass(slots=True)
class Joined:
    """A continuation after its context. `boundary`: None for ids."""

    context: list[int]
    tokens: list[int]
    boundary: scoring_service_pb2.BoundaryReport | None = None
    truncated_token_count: int = 0


class Texts:
    """Makes tokens as TokenizationOptions say. Raises LogitdError."""

    def __init__(self, model: MockModel, options: completion_pb2.TokenizationOptions):
        if model.texts is not None and not model.texts.spells_text:
            raise unimplemented("texts with a tokenizer whose tokens do not spell the text (tokens_spell_text)")
        self._model = model
        self._parses = options.parse_special_tokens
        self._adds = options.add_special_tokens if options.HasField("add_special_tokens") else model.adds_bos
        self.boundary = options.boundary or completion_pb2.BOUNDARY_JOINT
        self.truncates = options.truncation == completion_pb2.TRUNCATION_CONTEXT_LEFT

    def tokenize(self, text: str, continues_text: bool = False, field: str = "text", parses: bool | None = None,
                 adds: bool | None = None) -> list[int]:
        if self._model.texts is None:
            raise _failures.failure("TOKENIZER_UNAVAILABLE", "the mock model has no tokenizer")
        try:
            return self._model.texts.tokenize(text, self._adds if adds is None else adds,
                                              self._parses if parses is None else parses, continues_text)
        except errors.InvalidRequestError as error:
            error.field = field
            raise

    def doubles_bos(self, ids: list[int]) -> bool:
        """Whether the text of these tokens begins with BOS, and another one was put before it."""
        return self._adds and self._model.bos_token_id is not None and ids[:2] == [self._model.bos_token_id] * 2

    def input(self, message: completion_pb2.Input, field: str) -> list[int]:
        """The tokens of a prompt, or of a context that is not text. May be empty."""
        if message.segments:
            return self._segments(message, field)
        if message.WhichOneof("input") == "text":
            return self.tokenize(message.text, field=f"{field}.text")
        ids = list(message.tokens.token_ids)
        _failures.check_token_ids(f"{field}.tokens.token_ids", ids, self._model.vocab_size)
        return ids

    def implicit_context(self, eos_token_id: int | None) -> int:
        """The token that stands for an empty context."""
        token_id = eos_token_id if self._model.bos_token_id is None else self._model.bos_token_id
        if token_id is None:
            raise _failures.failure("EMPTY_PROMPT", "context has no token, and the model has neither BOS nor EOS",
                                    field="context")
        return token_id

    def join(self, context: str, text: str, alone: list[int]) -> Joined:
        """The tokens of `text` after a context of text, whose own tokens are `alone`; under LM_EVAL those of the
        context without the white space at its end."""
        kept = context.rstrip() if self.boundary == completion_pb2.BOUNDARY_LM_EVAL else context
        moved = len(context) - len(kept)
        report = scoring_service_pb2.BoundaryReport(rule=self.boundary, moved_space_count=moved)
        if self.boundary == completion_pb2.BOUNDARY_SEPARATE:
            return Joined(alone, self.tokenize(text, continues_text=True), report)
        joint = self.tokenize(context + text)
        index, before, after = self._cut(joint, len(kept.encode()))
        if self.boundary == completion_pb2.BOUNDARY_JOINT:
            report.token_spans_boundary = before > 0
            report.spanning_bytes = before
            report.context_tokens_changed = joint[:index] != alone
            return Joined(joint[:index], joint[index:], report)
        tokens = joint[len(alone):]
        if before > 0:
            report.token_spans_boundary = True
            report.spanning_bytes = before if index >= len(alone) else after
        report.context_tokens_changed = joint[:len(alone)] != alone
        report.text_changed = self._spelled([*alone, *tokens]) != (context + text).encode()
        if not tokens:
            raise _failures.failure("BOUNDARY_TOKEN", "text vanishes into the tokens of its context", field="text")
        return Joined(alone, tokens, report)

    def _segments(self, message: completion_pb2.Input, field: str) -> list[int]:
        ids: list[int] = []
        is_first = True
        for index, part in enumerate(message.segments):
            at = f"{field}.segments[{index}]"
            if part.WhichOneof("segment") == "tokens":
                _failures.check_token_ids(f"{at}.tokens.token_ids", part.tokens.token_ids, self._model.vocab_size)
                ids += part.tokens.token_ids
                is_first = is_first and not part.tokens.token_ids
            elif part.WhichOneof("segment") == "text":
                if part.text:
                    parses = part.parse_special_tokens if part.HasField("parse_special_tokens") else None
                    ids += self.tokenize(part.text, not is_first, f"{at}.text", parses)
                    is_first = False
            else:
                raise _failures.required(f"{at}.segment")
        return ids

    def _length(self, token_id: int, is_first: bool) -> int:
        """The bytes of the text for which the token stands."""
        texts: Any = self._model.texts
        token = texts.tokens[token_id]
        if token.kind != "control":
            return len(token.bytes)
        # BOS that was put before the text is not in it.
        is_added = is_first and self._adds and token_id == self._model.bos_token_id
        return len(token.bytes) if self._parses and not is_added else 0

    def _cut(self, tokens: list[int], byte: int) -> tuple[int, int, int]:
        """The index of the token that holds the byte, and that token's bytes before and from it on."""
        begin = 0
        for index, token_id in enumerate(tokens):
            length = self._length(token_id, index == 0)
            if begin + length > byte:
                return index, byte - begin, begin + length - byte
            begin += length
        return len(tokens), 0, 0

    def _spelled(self, tokens: list[int]) -> bytes:
        texts: Any = self._model.texts
        return b"".join(texts.tokens[token_id].bytes[:self._length(token_id, index == 0)]
                        for index, token_id in enumerate(tokens))
