"""FittingService.FitStrengths: rankings of named items, and the strengths that they determine."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, SupportsFloat, SupportsIndex, Union

from logitd import _replies, _unary, _values, errors, results
from logitd.v1 import plackett_luce_pb2

# A name, or a number that stands for one.
Item = Union[str, int]


@dataclasses.dataclass(frozen=True)
class Ranking:
    """One ranking, or several equal ones.

    order: the items, best first. A list of items within it are tied: they share a place.
    others_below: every other item came after these, in an order that is not known (a list of the top k). False: the
      others took no part.
    count: how often the ranking was seen, [1, 1e9].
    """

    order: Sequence[Item | Sequence[Item]]
    others_below: bool = False
    count: SupportsIndex = 1


RankingLike = Union[Ranking, Sequence[Union[Item, Sequence[Item]]], Mapping[str, Any]]


class _Items:
    """The indices of items; an item that is not known yet gets the next one."""

    def __init__(self, known: Iterable[Item] | None):
        self._is_open = known is None
        self._indices: dict[Item, int] = {}
        for i, item in enumerate(_values.items(known, "items", "items") if known is not None else ()):
            if self._checked(item, f"items[{i}]") in self._indices:
                raise ValueError(f"items[{i}] must be another item than those before it, got {_values.quote(item)}")
            self._indices[item] = i

    @staticmethod
    def _checked(item: Any, where: str) -> Item:
        if isinstance(item, bool) or not isinstance(item, (str, int)):
            raise TypeError(f"{where} must be a text or an int, got {type(item).__name__} {_values.quote(item)}")
        return item

    def index(self, item: Any, where: str) -> int:
        found = self._indices.get(self._checked(item, where))
        if found is None:
            if not self._is_open:
                raise ValueError(f"{where} must be one of items, got {_values.quote(item)}")
            found = self._indices[item] = len(self._indices)
        return found

    def names(self) -> tuple[Item, ...]:
        return tuple(self._indices)


def _put(ranking: Any, items: _Items, message: plackett_luce_pb2.GivenRanking, where: str) -> None:
    if isinstance(ranking, Mapping):
        try:
            ranking = Ranking(**ranking)
        except TypeError as error:
            raise TypeError(f"{where} is no Ranking: {error}") from None
    if not isinstance(ranking, Ranking):
        ranking = Ranking(ranking)
    has_ties = False
    for place, part in enumerate(_values.items(ranking.order, f"{where}.order", "items")):
        is_tie = isinstance(part, (list, tuple))
        has_ties = has_ties or (is_tie and len(part) > 1)
        for item in part if is_tie else (part,):
            message.item_indices.append(items.index(item, f"{where}.order[{place}]"))
            message.places.append(place + 1)
    # Places that only count are not sent.
    if not has_ties:
        message.ClearField("places")
    message.others_below = _values.boolean(ranking.others_below, f"{where}.others_below")
    count = _values.int64(ranking.count, f"{where}.count")
    if count != 1:
        message.count = count


@dataclasses.dataclass(frozen=True)
class Fit:
    """The call, and the names of its items."""

    call: _unary.Unary[results.StrengthFit]
    names: tuple[Item, ...]

    def explained(self, error: errors.LogitdError) -> errors.LogitdError:
        """The error, which also names the items that it means by their indices."""
        if error.reason == "STRENGTHS_UNDEFINED":
            indices = [int(word) for word in re.findall(r"\d+", error.value.split(" and ")[0])]
            named = [f"item {i} is {_values.quote(self.names[i])}" for i in indices if i < len(self.names)]
            if named:
                error.message += f" ({', '.join(named)})"
        return error


def fit(rankings: Iterable[RankingLike], *, items: Iterable[Item] | None = None, ties: str | None = None,
        numerics_version: SupportsIndex | None = None, timeout: SupportsFloat | None = None) -> Fit:
    known = _Items(items)
    request = plackett_luce_pb2.FitStrengthsRequest()
    if isinstance(rankings, (str, bytes, Mapping)) or not isinstance(rankings, Iterable):
        raise TypeError(f"rankings must be an iterable of rankings, got {type(rankings).__name__} "
                        f"{_values.quote(rankings)}")
    for i, ranking in enumerate(rankings):
        _put(ranking, known, request.rankings.add(), f"rankings[{i}]")
    names = known.names()
    request.item_count = len(names)
    if ties is not None:
        request.ties = _values.enum_value(plackett_luce_pb2.OrderTies, ties, "ties")  # type: ignore[assignment]
    if numerics_version is not None:
        request.numerics_version = _values.int32(numerics_version, "numerics_version")

    def result(response: Any) -> results.StrengthFit:
        return dataclasses.replace(_replies.convert(results.StrengthFit, response), items=names)

    return Fit(_unary.Unary("/logitd.v1.FittingService/FitStrengths", request, plackett_luce_pb2.FitStrengthsResponse,
                            result, None if timeout is None else _values.number(timeout, "timeout")), names)
