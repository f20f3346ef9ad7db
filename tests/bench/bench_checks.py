"""Checks before a time is printed: the contenders computed the same numbers, and logitd's are right."""

import dataclasses
from collections.abc import Iterable

import numpy as np

from bench_samplers import LOG_PROB, RECORD, Result, Sampler

# logitd's own bound; the reference here is numpy in double.
LOG_PROB_BOUND = 1e-6
# Largest relative error of a sum of logitd's weights (docs/numerics.md, section 8).
WEIGHTS_BOUND = 1e-6
# logitd lowers p by this factor, so that a p that is meant as a fraction is reached.
TOP_P_FACTOR = 1 - 2.0**-40
# Peers sum f32 probabilities one after the other: over 262,144 of them a sum may be off by this much.
MASS_BOUND = 5e-3


class CheckError(Exception):
    """The contenders disagree."""


def log_sum_exp(values: np.ndarray) -> float:
    top = values.max()
    return float(top + np.log(np.exp(values - top).sum()))


def kept_counts(descending: np.ndarray, sampler: Sampler) -> tuple[int, int]:
    """The fewest and the most tokens that the sampler may keep of a row in double, sorted, from its parameters alone.

    They differ only where top-p ends within WEIGHTS_BOUND of p.
    """
    if sampler.temperature == 0:
        return 1, 1
    if sampler.top_k:
        descending = descending[:sampler.top_k]
    # Nats below the first.
    below = (descending - descending[0]) / sampler.temperature
    fewest = most = len(below)
    if sampler.top_p < 1:
        masses = np.exp(below).cumsum()
        masses /= masses[-1]
        p = sampler.top_p * TOP_P_FACTOR
        # The first sum that reaches p is that of the last one kept.
        fewest, most = (min(int(np.searchsorted(masses, mass)) + 1, len(below))
                        for mass in (p - WEIGHTS_BOUND, p + WEIGHTS_BOUND))
    if sampler.min_p:
        passing = max(1, int((below >= np.log(sampler.min_p)).sum()))
        fewest, most = min(fewest, passing), min(most, passing)
    return fewest, most


class LogitdCheck:
    """Checks steps of logitd on one row [vocab_size] f32: sorted once, for all of them."""

    def __init__(self, row: np.ndarray):
        self._x = row.astype(np.float64)
        self._descending = np.sort(self._x)[::-1]
        self._log_sum_exp = log_sum_exp(self._x)

    def check(self, sampler: Sampler, content: str, result: Result) -> None:
        """Every truncation here keeps a prefix by logit, so the number of tokens kept says which.

        Raises CheckError.
        """
        x = self._x
        what = f"logitd, {sampler.name}, {content}"
        if not 0 <= result.token_id < len(x):
            raise CheckError(f"{what}: no token")
        if sampler.temperature == 0:
            if result.token_id != int(x.argmax()):
                raise CheckError(f"{what}: token {result.token_id} is not the argmax")
        fewest, most = kept_counts(self._descending, sampler)
        if not fewest <= result.kept_count <= most:
            raise CheckError(f"{what}: keeps {result.kept_count} tokens, should be {fewest} to {most}")
        kept = self._descending[:result.kept_count]
        if x[result.token_id] < kept[-1]:
            raise CheckError(f"{what}: token {result.token_id} is not among the {result.kept_count} kept")
        if content in (LOG_PROB, RECORD):
            temperature = sampler.temperature
            expected = 0.0 if temperature == 0 else x[result.token_id] / temperature - log_sum_exp(kept / temperature)
            if not abs(result.sampling_log_prob - expected) <= LOG_PROB_BOUND:
                raise CheckError(f"{what}: sampling_log_prob {result.sampling_log_prob}, should be {expected}")
        if content == RECORD:
            expected = x[result.token_id] - self._log_sum_exp
            if not abs(result.model_log_prob - expected) <= LOG_PROB_BOUND:
                raise CheckError(f"{what}: model_log_prob {result.model_log_prob}, should be {expected}")


def check_logitd(rows: np.ndarray, results: Iterable[tuple[int, Sampler, str, Result]]) -> None:
    """Checks every (row, sampler, content, result) of a run. rows [count, vocab_size] f32."""
    of_row: dict[int, list[tuple[Sampler, str, Result]]] = {}
    for row, *result in results:
        of_row.setdefault(row, []).append(tuple(result))
    for row, its_results in of_row.items():
        check = LogitdCheck(rows[row])
        for sampler, content, result in its_results:
            check.check(sampler, content, result)


def check_peer(peer: str, kind: str, row: np.ndarray, sampler: Sampler, ours: Result, theirs: Result) -> None:
    """Both kept a prefix by logit. Of equal logits each keeps others, and transformers' top-k keeps all."""
    what = f"{peer}, {sampler.name}, {kind}"
    if sampler.temperature == 0:
        if kind != "equal" and theirs.token_id != ours.token_id:
            raise CheckError(f"{what}: token {theirs.token_id}, logitd has {ours.token_id}")
        return
    if kind == "equal" and sampler.top_k and peer == "transformers":
        return
    x = row.astype(np.float64) / sampler.temperature
    descending = np.sort(x)[::-1][:sampler.top_k or None]
    if theirs.kept_count < 1 or x[theirs.token_id] < descending[min(theirs.kept_count, len(descending)) - 1]:
        raise CheckError(f"{what}: its token {theirs.token_id} is not among the {theirs.kept_count} that it keeps")
    low, high = sorted((ours.kept_count, theirs.kept_count))
    between = float(np.exp(descending[low:high] - log_sum_exp(descending)).sum())
    if high > len(descending) or not between <= MASS_BOUND:
        raise CheckError(f"{what}: keeps {theirs.kept_count} tokens, logitd {ours.kept_count}, {between:.3g} of mass")


def check_same(what: str, ours: Result, theirs: Result) -> None:
    """Equal to the bit, except for the time; NaN equals NaN."""
    found, expected = (repr(dataclasses.replace(result, ns=0)) for result in (ours, theirs))
    if found != expected:
        raise CheckError(f"{what}: {found}, should be {expected}")


def check_scores(name: str, theirs: np.ndarray, exact: np.ndarray, bound: float) -> None:
    worst = float(np.abs(np.asarray(theirs, dtype=np.float64) - exact).max())
    if not worst <= bound:
        raise CheckError(f"{name}: a log-prob is off by {worst:.3g}, allowed is {bound:g}")
