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

    def __new__(cls, pieces: Iterable[tuple[str, bool]]) -> Prompt:
        pieces = tuple(pieces)
        prompt = super().__new__(cls, "".join(text for text, _ in pieces))
        prompt.pieces = pieces
        return prompt

    def __reduce__(self) -> tuple[Any, ...]:
        return Prompt, (self.pieces,)


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
