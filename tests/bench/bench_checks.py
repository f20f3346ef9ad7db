"""What must hold before a time is printed: the contenders computed the same thing, and logitd's numbers are right."""

import numpy as np

from bench_samplers import LOG_PROB, RECORD, Result, Sampler

# logitd's own bound; the reference here is numpy in double.
LOG_PROB_BOUND = 1e-6
# Peers sum f32 probabilities one after the other: over 262,144 of them a sum may be off by so much.
MASS_BOUND = 5e-3


class CheckError(Exception):
    """The contenders disagree."""


def log_sum_exp(values: np.ndarray) -> float:
    top = values.max()
    return float(top + np.log(np.exp(values - top).sum()))


def check_logitd(row: np.ndarray, sampler: Sampler, content: str, result: Result) -> None:
    """Every truncation here keeps a prefix by logit, so kept_count says which."""
    x = row.astype(np.float64)
    what = f"logitd, {sampler.name}, {content}"
    if not 0 <= result.token_id < len(x):
        raise CheckError(f"{what}: no token")
    if sampler.temperature == 0:
        if result.token_id != int(x.argmax()):
            raise CheckError(f"{what}: token {result.token_id} is not the argmax")
    kept = np.sort(x)[::-1][:result.kept_count]
    if x[result.token_id] < kept[-1]:
        raise CheckError(f"{what}: token {result.token_id} is not among the {result.kept_count} kept")
    if content in (LOG_PROB, RECORD):
        temperature = sampler.temperature
        expected = 0.0 if temperature == 0 else x[result.token_id] / temperature - log_sum_exp(kept / temperature)
        if not abs(result.sampling_log_prob - expected) <= LOG_PROB_BOUND:
            raise CheckError(f"{what}: sampling_log_prob {result.sampling_log_prob}, should be {expected}")
    if content == RECORD:
        expected = x[result.token_id] - log_sum_exp(x)
        if not abs(result.model_log_prob - expected) <= LOG_PROB_BOUND:
            raise CheckError(f"{what}: model_log_prob {result.model_log_prob}, should be {expected}")


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


def check_scores(name: str, theirs: np.ndarray, exact: np.ndarray, bound: float) -> None:
    worst = float(np.abs(np.asarray(theirs, dtype=np.float64) - exact).max())
    if not worst <= bound:
        raise CheckError(f"{name}: a log-prob is off by {worst:.3g}, allowed is {bound:g}")
