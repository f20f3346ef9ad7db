"""Tokens of prompts and of pairs, by the harness's rules, with the server's tokenizer.

Needed where a text alone does not say which tokens it stands for: for a conversation in which some names of control
tokens are control tokens and others are not, and for a window that is shorter than the model's own.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Sequence

from logitd.lm_eval import chat

# (texts, whether names of control tokens are parsed) -> the tokens of each text, without BOS.
Tokenize = Callable[[Sequence[str], bool], "list[list[int]]"]


@dataclasses.dataclass(frozen=True)
class Rules:
    """The facts of a model on which its tokens depend.

    prefix_token_id: stands for an empty context; None: no token does. bos_token_id: put before a text, unless the text begins with its name
      bos_name as a control token; None: nothing is put there.
    parse_special_tokens: names of control tokens are control tokens in every text, also in those that tasks bring.
    """

    names: chat.ControlNames
    prefix_token_id: int | None
    bos_token_id: int | None
    bos_name: str
    parse_special_tokens: bool

    def prefix(self) -> list[int]:
        """The tokens of an empty context. Raises ValueError if the model has none."""
        if self.prefix_token_id is None:
            raise ValueError("the model names neither BOS nor EOS, one of which stands for an empty context")
        return [self.prefix_token_id]

    def pieces(self, text: str) -> tuple[tuple[str, bool], ...]:
        """The text in pieces, each with whether names are control tokens in it."""
        if self.parse_special_tokens or not isinstance(text, chat.Prompt):
            return ((str(text), self.parse_special_tokens),) if text else ()
        return text.pieces

    def begins_with_bos(self, text: str) -> bool:
        """The text brings its own BOS."""
        pieces = self.pieces(text)
        return bool(pieces and pieces[0][1] and self.bos_name and pieces[0][0].startswith(self.bos_name))

    def is_plain(self, context: str, continuation: str) -> bool:
        """Both can be given as one text, in which names are control tokens, or are not."""
        pieces = self.pieces(context)
        if len(pieces) > 1:
            return False
        is_parsed = bool(pieces) and pieces[0][1] and not self.parse_special_tokens
        return not is_parsed or self.names.first(continuation) is None


@dataclasses.dataclass(frozen=True)
class _Plan:
    """A pair: the tokens of `before`, then those of `alone`, which the continuation's own follow: the tokens of `whole`
    without as many as `alone` has."""

    before: tuple[tuple[str, bool], ...]
    alone: tuple[str, bool]
    whole: tuple[str, bool]
    begins_with_bos: bool
    is_empty: bool = False


class Encoder:
    """Makes tokens."""

    def __init__(self, rules: Rules, tokenize: Tokenize):
        self._rules = rules
        self._tokenize = tokenize

    def prompts(self, texts: Sequence[str]) -> list[list[int]]:
        """The tokens of each text, BOS included; those of an empty text are the prefix token."""
        pieces = [self._rules.pieces(text) for text in texts]
        tokens = self._tokens_of(piece for each in pieces for piece in each)
        return [self._bos(self._rules.begins_with_bos(text)) + [t for piece in each for t in tokens[piece]]
                or self._rules.prefix() for text, each in zip(texts, pieces)]

    def pairs(self, pairs: Sequence[tuple[str, str]]) -> list[tuple[list[int], list[int]]]:
        """The tokens of context and continuation, of each pair. The latter may be empty."""
        plans = [self._plan(*pair) for pair in pairs]
        tokens = self._tokens_of(piece for plan in plans for piece in (*plan.before, plan.alone, plan.whole))
        return [self._join(plan, tokens) for plan in plans]

    def _bos(self, is_there: bool) -> list[int]:
        return [] if is_there or self._rules.bos_token_id is None else [self._rules.bos_token_id]

    def _plan(self, context: str, continuation: str) -> _Plan:
        if context == "":
            parse = self._rules.parse_special_tokens
            return _Plan((), ("", parse), (continuation, parse), begins_with_bos=True, is_empty=True)
        *before, (tail, parse) = self._rules.pieces(context)
        if parse and not self._rules.parse_special_tokens and (before or self._rules.names.first(continuation)):
            # The continuation is text, and so is whatever it may share a token with.
            place = max((end for _, end in self._rules.names.spans(tail)), default=0)
            if place:
                before.append((tail[:place], True))
            tail, parse = tail[place:], False
        kept = tail.rstrip()
        return _Plan(tuple(before), (kept, parse), (tail + continuation, parse), self._rules.begins_with_bos(context))

    def _join(self, plan: _Plan, tokens: dict[tuple[str, bool], list[int]]) -> tuple[list[int], list[int]]:
        alone, whole = tokens[plan.alone], tokens[plan.whole]
        if plan.is_empty:
            # One that brings the prefix token itself is scored after its own.
            prefix = self._rules.prefix()
            return prefix, whole[whole[:1] == prefix:]
        context = self._bos(plan.begins_with_bos) + [t for piece in plan.before for t in tokens[piece]] + alone
        return context or self._rules.prefix(), whole[len(alone):]

    def _tokens_of(self, pieces: Iterable[tuple[str, bool]]) -> dict[tuple[str, bool], list[int]]:
        wanted = dict.fromkeys(pieces)
        tokens: dict[tuple[str, bool], list[int]] = {}
        for parse in (False, True):
            texts = [text for text, flag in wanted if flag is parse and text]
            tokens.update(zip(((text, parse) for text in texts), self._tokenize(texts, parse) if texts else []))
            tokens["", parse] = []
        return tokens
