"""Pairs that share a context, as items: the server evaluates a context once, and equal continuations once."""

from __future__ import annotations

import dataclasses
from collections.abc import Hashable, Iterable
from typing import Generic, TypeVar, Union

Piece = Union[str, "tuple[int, ...]"]
"""Text, or token ids."""

_K = TypeVar("_K", bound=Hashable)


@dataclasses.dataclass
class Item(Generic[_K]):
    """A context, its different continuations, and for each of them the places of the pairs that ask for it."""

    context: _K
    continuations: list[Piece] = dataclasses.field(default_factory=list)
    places: list[list[int]] = dataclasses.field(default_factory=list)


def group(pairs: Iterable[tuple[_K, Piece]], *, most: int, most_size: int) -> list[Item[_K]]:
    """The items of pairs (context, continuation), in the order in which their contexts come first. The place of a pair
    is its index.

    most: continuations of one item. most_size: characters or ids of the continuations of one item, which has at least
      one of them.
    """
    places: dict[_K, dict[Piece, list[int]]] = {}
    for place, (context, continuation) in enumerate(pairs):
        places.setdefault(context, {}).setdefault(continuation, []).append(place)
    items: list[Item[_K]] = []
    for context, continuations in places.items():
        size = most_size + 1
        for continuation, asked in continuations.items():
            size += len(continuation)
            if size > most_size or len(items[-1].continuations) == most:
                items.append(Item(context))
                size = len(continuation)
            items[-1].continuations.append(continuation)
            items[-1].places.append(asked)
    return items
