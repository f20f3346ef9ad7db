"""What must hold before a time is printed: the contenders computed the same thing, and logitd's numbers are right."""

import math

import numpy as np

from bench_samplers import LOG_PROB, RECORD, Result, Sampler

# logitd's own bound; the reference here is numpy in double.
LOG_PROB_BOUND = 1e-6
# Peers sum probabilities in f32: the sets of a flat row differ by some tokens.
COUNT_BOUND = 0.005


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


def check_peer(peer: str, kind: str, sampler: Sampler, ours: Result, theirs: Result, log_prob: float) -> None:
    """log_prob: logitd's of the peer's token. Of equal logits each keeps others, and transformers keeps all."""
    what = f"{peer}, {sampler.name}, {kind}"
    if kind == "equal":
        if sampler.top_k and peer == "transformers":
            return
    elif sampler.temperature == 0:
        if theirs.token_id != ours.token_id:
            raise CheckError(f"{what}: token {theirs.token_id}, logitd has {ours.token_id}")
    elif math.isinf(log_prob) and theirs.kept_count <= ours.kept_count:
        raise CheckError(f"{what}: its token {theirs.token_id} is cut by logitd")
    if theirs.kept_count >= 0 and sampler.temperature != 0:
        # f32 sums: a token or two of a small set, a part of a large one.
        if abs(theirs.kept_count - ours.kept_count) > max(2, COUNT_BOUND * ours.kept_count):
            raise CheckError(f"{what}: keeps {theirs.kept_count} tokens, logitd {ours.kept_count}")


def check_scores(name: str, theirs: np.ndarray, exact: np.ndarray, bound: float) -> None:
    worst = float(np.abs(np.asarray(theirs, dtype=np.float64) - exact).max())
    if not worst <= bound:
        raise CheckError(f"{name}: a log-prob is off by {worst:.3g}, allowed is {bound:g}")
