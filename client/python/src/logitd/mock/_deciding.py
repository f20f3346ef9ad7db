"""Decide of the mock server."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

from logitd import _failures
from logitd.mock._ranking import closed_set
from logitd.mock._scoring import Items, Score, Setting, answers, named
from logitd.v1 import completion_pb2, scoring_service_pb2

_INF = math.inf


def decide_items(setting: Setting, request: scoring_service_pb2.DecideRequest
                 ) -> Iterator[scoring_service_pb2.DecideResponse]:
    """The Decide call."""
    temperature = request.temperature if request.HasField("temperature") else 1.0
    if temperature != 0 and not 1e-4 <= temperature <= 1e6:
        raise _failures.out_of_range("temperature", temperature, "0 or in [1e-4, 1e6]")
    items = Items(setting, request, completion_pb2.RECORD_LAYOUT_NONE)

    def fill(item: scoring_service_pb2.DecideItem, response: scoring_service_pb2.DecideResponse, path: str) -> None:
        options, values = _options(item, path)
        decided = response.item
        scores = items.score_all(item, path, options, response, decided.options)
        for message, score in zip(decided.options, scores):
            if score is not None and score.log_prob > -_INF:
                message.log_prob = score.log_prob
        mass = closed_set(scores)
        if mass is not None:
            decided.label_mass.CopyFrom(mass)
        if all(score is not None for score in scores):
            _choose(decided, list(options.values()), scores, values, temperature)

    yield from answers(setting, request.items, scoring_service_pb2.DecideResponse, fill)


def _options(item: scoring_service_pb2.DecideItem, path: str) -> tuple[dict[str, Any], list[float] | None]:
    """The options by their names in the item, and the values of a score question."""
    kind = item.WhichOneof("question")
    if kind is None:
        raise _failures.required(f"{path}.question")
    if kind == "predicate":
        for name in ("if_true", "if_false"):
            if not item.predicate.HasField(name):
                raise _failures.required(f"{path}.predicate.{name}")
        return {"predicate.if_true": item.predicate.if_true, "predicate.if_false": item.predicate.if_false}, None
    field, parts = ("choice.options", item.choice.options) if kind == "choice" else ("score.levels", item.score.levels)
    if not parts:
        raise _failures.failure("NO_CANDIDATES", f"{path}.{field} is empty", field=f"{path}.{field}")
    if kind == "choice":
        return named(field, parts), None
    for name, level in named(field, parts).items():
        for needed in ("option", "value"):
            if not level.HasField(needed):
                raise _failures.required(f"{path}.{name}.{needed}")
    levels = named(field, parts)
    return {f"{name}.option": level.option for name, level in levels.items()}, [one.value for one in levels.values()]


def _choose(decided: scoring_service_pb2.DecidedItem, options: Sequence[Any], scores: Sequence[Score | None],
            values: Sequence[float] | None, temperature: float) -> None:
    log_probs = [-_INF if score is None else score.log_prob for score in scores]
    biased = [log_prob + option.log_offset for option, log_prob in zip(options, log_probs)]
    best = max(biased)
    if best == -_INF:
        return
    chosen = biased.index(best)
    if temperature == 0:
        weights = [float(i == chosen) for i in range(len(biased))]
    else:
        weights = [math.exp((value - best) / temperature) for value in biased]
    total = math.fsum(weights)
    for message, weight in zip(decided.options, weights):
        message.probability = weight / total
    decided.chosen_index = chosen
    decided.tied = biased.count(best) > 1
    decided.confidence = decided.options[chosen].probability
    if values is not None:
        decided.expected_value = math.fsum(o.probability * v for o, v in zip(decided.options, values))
