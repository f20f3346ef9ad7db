"""Rank of the mock server, and the total probability of a set of candidates."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from logitd import _failures
from logitd.mock._scoring import Items, Score, Setting, answers, named
from logitd.mock._supported import unimplemented
from logitd.v1 import completion_pb2, scoring_service_pb2

_INF = math.inf
_LN2 = math.log(2)
_NORMALIZATIONS = (completion_pb2.NORMALIZATION_SUM, completion_pb2.NORMALIZATION_PER_TOKEN,
                   completion_pb2.NORMALIZATION_PER_BYTE, completion_pb2.NORMALIZATION_PER_CHARACTER)


def rank_items(setting: Setting, request: scoring_service_pb2.RankRequest
               ) -> Iterator[scoring_service_pb2.RankResponse]:
    """The Rank call."""
    order_by = request.order_by or completion_pb2.NORMALIZATION_SUM
    if order_by not in _NORMALIZATIONS:
        raise unimplemented(f"order_by = {completion_pb2.Normalization.Name(order_by)}", "order_by")
    beta = request.inverse_temperature if request.HasField("inverse_temperature") else 1.0
    if not 0 <= beta <= 1000:
        raise _failures.out_of_range("inverse_temperature", beta, "in [0, 1000]")
    items = Items(setting, request, completion_pb2.RECORD_LAYOUT_NONE)

    def fill(item: scoring_service_pb2.RankItem, response: scoring_service_pb2.RankResponse, path: str) -> None:
        if not item.candidates:
            raise _failures.failure("NO_CANDIDATES", f"{path}.candidates is empty", field=f"{path}.candidates")
        scores = items.score_all(item, path, named("candidates", item.candidates), response, response.item.candidates)
        _rank(response.item, scores, order_by, beta)

    yield from answers(setting, request.items, scoring_service_pb2.RankResponse, fill)


def _rank(ranked: scoring_service_pb2.RankedItem, scores: list[Score | None], order_by: completion_pb2.Normalization,
          beta: float) -> None:
    values: dict[completion_pb2.Normalization, list[float | None]] = {by: [] for by in _NORMALIZATIONS}
    for candidate, score in zip(ranked.candidates, scores):
        found = {} if score is None or score.log_prob == -_INF else _normalized(candidate, score)
        for by in _NORMALIZATIONS:
            values[by].append(found.get(by))
    can_place = [score is not None and score.log_prob > -_INF for score in scores]
    for by in (order_by, *(other for other in _NORMALIZATIONS if other != order_by)):
        if any(can and value is None for can, value in zip(can_place, values[by])):
            if by == order_by:
                name = completion_pb2.Normalization.Name(by)
                raise _failures.failure("NORMALIZATION_UNDEFINED", f"{name} is not defined for all candidates",
                                        value=name)
            continue
        ranked.orderings.append(_ordering(by, values[by]))
    for index, place in zip(ranked.orderings[0].candidate_indices, ranked.orderings[0].places):
        ranked.candidates[index].place = place
    best = max((value for value in values[order_by] if value is not None), default=0.0)
    weights = [None if value is None else math.exp(beta * (value - best)) for value in values[order_by]]
    total = math.fsum(weight for weight in weights if weight is not None)
    for candidate, weight in zip(ranked.candidates, weights):
        if weight is not None:
            candidate.candidate_probability = weight / total
    closed = closed_set(scores)
    if closed is not None:
        ranked.closed_set.CopyFrom(closed)


def _normalized(candidate: scoring_service_pb2.RankedCandidate, score: Score
                ) -> dict[completion_pb2.Normalization, float]:
    """Every value of a candidate, also written into it."""
    found = {completion_pb2.NORMALIZATION_SUM: score.log_prob,
             completion_pb2.NORMALIZATION_PER_TOKEN: score.log_prob / len(score.tokens)}
    candidate.sum = score.log_prob
    candidate.per_token = score.log_prob / len(score.tokens)
    if candidate.score.HasField("byte_count"):
        found[completion_pb2.NORMALIZATION_PER_BYTE] = candidate.per_byte = score.log_prob / candidate.score.byte_count
        candidate.bits_per_byte = -score.log_prob / (candidate.score.byte_count * _LN2)
    if candidate.score.HasField("character_count"):
        candidate.per_character = score.log_prob / candidate.score.character_count
        found[completion_pb2.NORMALIZATION_PER_CHARACTER] = candidate.per_character
    try:
        candidate.perplexity = math.exp(-score.log_prob / len(score.tokens))
    except OverflowError:
        pass
    return found


def _ordering(by: completion_pb2.Normalization, values: Sequence[float | None]) -> scoring_service_pb2.RankOrdering:
    """Equal values share the best place."""
    order = sorted((i for i, value in enumerate(values) if value is not None), key=lambda i: -(values[i] or 0.0))
    places: list[int] = []
    for at, index in enumerate(order):
        ties = at > 0 and values[index] == values[order[at - 1]]
        places.append(places[-1] if ties else at + 1)
    return scoring_service_pb2.RankOrdering(by=by, candidate_indices=order, places=places,
                                            tied=len(places) > 1 and places[1] == 1)


def closed_set(scores: Sequence[Score | None]) -> scoring_service_pb2.ClosedSet | None:
    """The total probability of the sequences; None: there is none."""
    found = [score for score in scores if score is not None]
    if not found:
        return None
    if any(score.context != found[0].context for score in found):
        return scoring_service_pb2.ClosedSet(kind=scoring_service_pb2.CLOSED_SET_KIND_CONTEXTS_DIFFER)
    distinct = {tuple(score.tokens): score.log_prob for score in found}
    shortest = [tokens for tokens in distinct
                if not any(tokens[:length] in distinct for length in range(1, len(tokens)))]
    kind = scoring_service_pb2.CLOSED_SET_KIND_EXACT if len(shortest) == len(distinct) else \
        scoring_service_pb2.CLOSED_SET_KIND_PREFIXES
    mass = min(1.0, math.fsum(math.exp(distinct[tokens]) for tokens in shortest))
    message = scoring_service_pb2.ClosedSet(kind=kind, mass=mass, sequence_count=len(shortest))
    best = max(distinct[tokens] for tokens in shortest)
    if best > -_INF:
        message.log_mass = min(0.0, best + math.log(math.fsum(math.exp(distinct[t] - best) for t in shortest)))
    return message
