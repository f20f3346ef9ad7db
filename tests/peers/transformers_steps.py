"""Random sampling steps, and transformers' stages on them in double: the surviving tokens, and the nearest cut to a token.

    step = random_step(seed)
    expected = reference(step)
    if expected.is_near: ...   # rounding decides on which side of the cut a token is

The same for the same seed on every machine. Shares no code with logitd or transformers.
"""

from __future__ import annotations

import dataclasses

import numpy as np

# A cut this near to a token may fall on its other side where sums and quotients are rounded to f32.
NEAR_MASS = 1e-6
NEAR_ULPS = 4

# Each is on in every third step or so; the temperature in three of four.
STAGES = ("repetition_penalty", "no_repeat_ngram_size", "temperature", "top_k", "top_p", "min_p", "typical_p",
          "epsilon_cutoff", "eta_cutoff")


@dataclasses.dataclass(frozen=True)
class Step:
    """One step. `params` holds the stages that are on, by their names in SamplingParams and in GenerationConfig."""

    row: np.ndarray  # [vocab_size] f32
    prompt: list[int]  # At least one token.
    output: list[int]
    params: dict[str, float | int]

    def describe(self) -> str:
        return f"{len(self.row)} tokens, {len(self.prompt)} + {len(self.output)} so far, {self.params}"


def random_step(seed: int) -> Step:
    rng = np.random.default_rng(seed)
    vocab_size = int(rng.choice([rng.integers(2, 11), 64, 1000, 8192, 32000], p=[0.15, 0.25, 0.3, 0.2, 0.1]))
    tokens = _tokens(rng, vocab_size)
    prompt_size = int(rng.integers(1, len(tokens) + 1))
    params = {stage: _value(rng, stage, vocab_size) for stage in STAGES
              if rng.random() < (0.75 if stage == "temperature" else 0.35)}
    return Step(_row(rng, vocab_size), tokens[:prompt_size], tokens[prompt_size:], params)


def _row(rng: np.random.Generator, vocab_size: int) -> np.ndarray:
    row = rng.normal(rng.choice([-3.0, 0.0, 3.0]), rng.choice([0.5, 1.0, 2.0, 4.0]), vocab_size)
    # Most of the mass on few tokens, as a model has it.
    if rng.random() < 0.5:
        row[rng.integers(0, vocab_size, 5)] += rng.uniform(0, 8, 5)
    # Equal logits, as of a model that computes in 16 bits.
    if rng.random() < 0.25:
        row = np.round(row * 32) / 32
    if rng.random() < 0.25:
        row[rng.integers(0, vocab_size, vocab_size // 4)] = -np.inf
        row[rng.integers(0, vocab_size)] = 1
    return row.astype(np.float32)


def _tokens(rng: np.random.Generator, vocab_size: int) -> list[int]:
    """1 to 60 tokens of few kinds, so that they and their n-grams repeat."""
    kinds = rng.integers(0, vocab_size, rng.choice([2, 5, 40]))
    return [int(t) for t in rng.choice(kinds, rng.integers(1, 61))]


def _value(rng: np.random.Generator, stage: str, vocab_size: int) -> float | int:
    if stage == "top_k":
        return int(rng.integers(1, 1 + min(vocab_size, rng.choice([50, 1000]))))
    if stage == "no_repeat_ngram_size":
        return int(rng.integers(1, 5))
    low, high = {"temperature": (0.3, 2.5), "repetition_penalty": (0.7, 1.8), "top_p": (0.05, 0.98),
                 "min_p": (0.001, 0.3), "typical_p": (0.1, 0.98), "epsilon_cutoff": (0.0003, 0.05),
                 "eta_cutoff": (0.0003, 0.1)}[stage]
    # torch rounds a number to f32 where it meets a row of f32.
    return float(np.float32(rng.uniform(low, high)))


@dataclasses.dataclass
class Reference:
    """The tokens that the stages leave."""

    kept: np.ndarray  # Ids, ascending. Empty: every token is banned.
    is_near: bool
    removed_by: set[str]  # The stages that took out a token.


def reference(step: Step) -> Reference:
    return _Scores(step).run()


def _ulp(values: np.ndarray | float) -> np.ndarray:
    return np.spacing(np.abs(values).astype(np.float32)).astype(np.float64)


class _Scores:
    """The scores of one row on their way through the stages; removed tokens are -inf."""

    def __init__(self, step: Step):
        self._params = step.params
        self._tokens = step.prompt + step.output
        self._scores = step.row.astype(np.float64)
        self._is_near = False
        self._removed_by: set[str] = set()

    def run(self) -> Reference:
        for stage in STAGES:
            if stage in self._params and np.isfinite(self._scores).any():
                self._apply(stage, self._params[stage])
        return Reference(np.flatnonzero(np.isfinite(self._scores)), self._is_near, self._removed_by)

    def _apply(self, stage: str, value: float | int) -> None:
        if stage == "temperature":
            self._scores /= value
        elif stage == "repetition_penalty":
            self._penalise(value)
        else:
            removed = {"no_repeat_ngram_size": self._ngram_ends, "top_k": self._below_top_k,
                       "top_p": self._below_top_p, "min_p": self._below_min_p, "typical_p": self._untypical,
                       "epsilon_cutoff": self._below_epsilon, "eta_cutoff": self._below_eta}[stage](value)
            if np.isfinite(self._scores[removed]).any():
                self._removed_by.add(stage)
            self._scores[removed] = -np.inf

    def _penalise(self, penalty: float) -> None:
        ids = np.unique(self._tokens)
        scores = self._scores[ids]
        # The row is f32 after it.
        self._scores[ids] = np.where(scores < 0, scores * penalty, scores / penalty).astype(np.float32)

    def _ngram_ends(self, size: int) -> np.ndarray:
        tokens = self._tokens
        suffix = tokens[len(tokens) + 1 - size:] if size > 1 else []
        if len(tokens) < size:
            return np.array([], dtype=int)
        return np.array([tokens[i + size - 1] for i in range(len(tokens) - size + 1)
                         if tokens[i:i + size - 1] == suffix], dtype=int)

    def _below_top_k(self, k: int) -> np.ndarray:
        bound = np.sort(self._scores)[-min(k, len(self._scores))]
        # Equal ones stay, and no rounding tells them apart.
        others = self._scores[np.isfinite(self._scores) & (self._scores != bound)]
        self._note(np.abs(others - bound) <= NEAR_ULPS * _ulp(others))
        return self._scores < bound

    def _below_top_p(self, p: float) -> np.ndarray:
        order = np.argsort(self._scores, kind="stable")
        sums = np.cumsum(self._probabilities()[order])
        ascending = self._scores[order]
        self._note(np.abs(sums - (1 - p))[:-1][np.isfinite(ascending[:-1])] <= NEAR_MASS)
        count = int(np.count_nonzero(sums[:-1] <= 1 - p))
        if count > 0 and np.isfinite(ascending[count - 1]):
            # Of equal tokens on both sides the peer's sort decides.
            self._note(ascending[count] - ascending[count - 1] <= NEAR_ULPS * _ulp(ascending[count]))
        return order[:count]

    def _below_min_p(self, min_p: float) -> np.ndarray:
        return self._improbable(min_p * self._probabilities().max())

    def _untypical(self, mass: float) -> np.ndarray:
        p = self._probabilities()
        surprise = self._surprise(p)
        shifts = np.abs(surprise - self._entropy(p))
        order = np.argsort(shifts, kind="stable")
        sums = np.cumsum(p[order])
        self._note(np.abs(sums - mass)[p[order] > 0] <= NEAR_MASS)
        bound = shifts[order[min(int(np.count_nonzero(sums < mass)), len(p) - 1)]]
        others = (p > 0) & (shifts != bound)
        if np.isfinite(bound):
            # A shift is a difference of two numbers of the surprise's size.
            size = np.maximum(np.abs(self._scores[others]), surprise[others])
            self._note(np.abs(shifts[others] - bound) <= NEAR_ULPS * _ulp(size))
        return shifts > bound

    def _below_epsilon(self, epsilon: float) -> np.ndarray:
        return self._improbable_but_first(epsilon)

    def _below_eta(self, eta: float) -> np.ndarray:
        return self._improbable_but_first(min(eta, np.sqrt(eta) * np.exp(-self._entropy(self._probabilities()))))

    def _improbable_but_first(self, bound: float) -> np.ndarray:
        is_first = self._scores == self._scores.max()
        # logitd keeps the first alone where no token passes; transformers all that equal it: a cut among equal ones.
        self._note(self._probabilities().max() < bound and np.count_nonzero(is_first) > 1)
        return self._improbable(bound) & ~is_first

    def _improbable(self, bound: float) -> np.ndarray:
        p = self._probabilities()
        scores = self._scores[p > 0]
        # The probability comes of the distance to the maximum, as near as f32 has the larger of the two.
        nats = NEAR_MASS + NEAR_ULPS * _ulp(np.maximum(np.abs(scores), np.abs(scores.max())))
        self._note(np.abs(np.log(p[p > 0] / bound)) <= nats)
        return p < bound

    def _note(self, is_near: np.ndarray | bool) -> None:
        self._is_near = self._is_near or bool(np.any(is_near))

    def _probabilities(self) -> np.ndarray:
        weights = np.exp(self._scores - self._scores.max())
        return weights / weights.sum()

    @staticmethod
    def _surprise(p: np.ndarray) -> np.ndarray:
        """-ln p; +inf for a removed token."""
        with np.errstate(divide="ignore"):
            return -np.log(p)

    @classmethod
    def _entropy(cls, p: np.ndarray) -> float:
        return float((p[p > 0] * cls._surprise(p[p > 0])).sum())
