"""Chooses tokens: the argmax, or one that is drawn by a seed.

The draws are the mock's own: equal seeds give equal tokens here, but not those of a real server.
"""

from __future__ import annotations

import math
import random
from collections.abc import Mapping, Sequence

from logitd import _failures
from logitd.mock._records import argmax
from logitd.v1 import sampling_pb2

_INF = math.inf
_RANGES = {"top_p": (0.0, 1.0), "min_p": (0.0, 1.0)}


class Chooser:
    """The stages of a request. Raises FIELD_OUT_OF_RANGE at construction."""

    def __init__(self, sampling: sampling_pb2.SamplingParams, field: str = "sampling"):
        self.temperature = sampling.temperature if sampling.HasField("temperature") else 1.0
        if self.temperature != 0 and not 1e-4 <= self.temperature <= 1e6:
            raise _failures.out_of_range(f"{field}.temperature", self.temperature, "0 or in [1e-4, 1e6]")
        if sampling.top_k < 0:
            raise _failures.out_of_range(f"{field}.top_k", sampling.top_k, ">= 0")
        for name, (least, most) in _RANGES.items():
            if not least <= getattr(sampling, name) <= most:
                raise _failures.out_of_range(f"{field}.{name}", getattr(sampling, name), f"in [{least:g}, {most:g}]")
        self._top_k = sampling.top_k
        self._top_p = sampling.top_p if sampling.HasField("top_p") else 1.0
        self._min_p = sampling.min_p
        self.seed = sampling.seed if sampling.HasField("seed") else None

    def kept(self, row: Sequence[float]) -> dict[int, float]:
        """The tokens that the stages keep, by id, and their probabilities. `row`: log-probs."""
        if self.temperature == 0:
            return {argmax(row): 1.0}
        best = max(row)
        weights = {i: math.exp((value - best) / self.temperature) for i, value in enumerate(row) if value > -_INF}
        order = sorted(weights, key=lambda i: (-weights[i], i))
        if self._top_k:
            order = order[:self._top_k]
        if self._top_p < 1:
            order = _shortest(order, weights, self._top_p)
        if self._min_p > 0:
            order = [i for i in order if weights[i] >= self._min_p * weights[order[0]]]
        total = math.fsum(weights[i] for i in order)
        return {i: weights[i] / total for i in sorted(order)}

    def choose(self, kept: Mapping[int, float], seed: int, key: int, position: int) -> int:
        """One of the kept tokens, drawn."""
        uniform = random.Random(f"{seed} {key} {position}").random()
        reached = 0.0
        for token_id, probability in kept.items():
            reached += probability
            if uniform < reached:
                break
        return token_id


def log_prob_of(kept: Mapping[int, float], token_id: int) -> float:
    """sampling_log_prob; -inf: the stages leave the token out."""
    return math.log(kept[token_id]) if kept.get(token_id) else -_INF


def _shortest(order: list[int], weights: dict[int, float], mass: float) -> list[int]:
    """The shortest prefix whose share of the weight reaches `mass`, and at least one token."""
    total = math.fsum(weights[i] for i in order)
    reached = 0.0
    for count, i in enumerate(order, 1):
        reached += weights[i]
        if reached >= mass * total:
            return order[:count]
    return order
