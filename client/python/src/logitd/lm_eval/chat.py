"""Prompts of conversations: which of the control tokens' names in them are control tokens."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any


class Prompt(str):
    """A rendered conversation.

    pieces: the text in pieces, each with a flag: the names of control tokens in it are control tokens. A piece begins
      and ends beside a control token or at an end of the text, so that no token of text spans two pieces.
    """

    pieces: tuple[tuple[str, bool], ...]
    names: ControlNames

    def __new__(cls, pieces: Iterable[tuple[str, bool]], names: ControlNames | None = None) -> Prompt:
        pieces = tuple(pieces)
        prompt = super().__new__(cls, "".join(text for text, _ in pieces))
        prompt.pieces, prompt.names = pieces, names or ControlNames(())
        return prompt

    def __reduce__(self) -> tuple[Any, ...]:
        return Prompt, (self.pieces, self.names)

    # A task's own words before or after a conversation are text, and the conversation stays one.
    def __add__(self, other: str) -> Prompt:
        return Prompt(_apart((*self.pieces, *_pieces_of(other)), self.names), self.names)

    def __radd__(self, other: str) -> Prompt:
        return Prompt(_apart((*_pieces_of(other), *self.pieces), self.names), self.names)


def _pieces_of(text: str) -> tuple[tuple[str, bool], ...]:
    return text.pieces if isinstance(text, Prompt) else ((text, False),)


def _apart(pieces: Iterable[tuple[str, bool]], names: ControlNames) -> list[tuple[str, bool]]:
    """The same text in pieces that meet beside control tokens only."""
    out: list[tuple[str, bool]] = []
    for text, parse in pieces:
        if out and parse and not out[-1][1]:
            # Words before the first control token belong to the text before.
            place = min((begin for begin, _ in names.spans(text)), default=len(text))
            out[-1] = (out[-1][0] + text[:place], False)
            text = text[place:]
        elif out and out[-1][1] and not parse:
            before = out.pop()[0]
            place = max((end for _, end in names.spans(before)), default=0)
            out += [(before[:place], True)] if place else []
            text = before[place:] + text
        if out and out[-1][1] == parse:
            text = out.pop()[0] + text
        if text:
            out.append((text, parse))
    return out


class ControlNames:
    """The names of a model's control tokens, and their places in texts."""

    def __init__(self, names: Iterable[str]):
        # A name may begin like another one: the longer one counts.
        known = sorted({name for name in names if name}, key=lambda name: (-len(name), name))
        self._pattern = re.compile("|".join(map(re.escape, known))) if known else None

    def spans(self, text: str) -> list[tuple[int, int]]:
        """The places of all names, in order."""
        return [match.span() for match in self._pattern.finditer(text)] if self._pattern else []

    def first(self, text: str) -> str | None:
        """The first name in the text."""
        match = self._pattern.search(text) if self._pattern else None
        return match.group() if match else None
