"""The contenders that are Python: numpy, scipy, PyTorch, and transformers' logits processors. One thread each.

A step takes a row [vocab_size] f32 and gives (token_id, kept_count), as its user would write it. A score takes rows
[n, vocab_size] and targets [n] and gives log-probs [n].
"""

import time
from collections.abc import Callable

import numpy as np

from bench_samplers import Result, Sampler

try:
    import scipy.special
except ImportError:
    scipy = None
try:
    import torch
    from transformers.generation import logits_process
except ImportError:
    torch = None


def absent() -> list[str]:
    """A line for each peer that is not installed."""
    lines = []
    if scipy is None:
        lines.append("scipy is absent: its scoring forms are not measured")
    if torch is None:
        lines.append("PyTorch and transformers are absent: tests/bench/install_peers installs them (6 GB)")
    return lines


def versions() -> list[str]:
    names = [f"numpy {np.__version__}"]
    if scipy is not None:
        names.append(f"scipy {scipy.__version__}")
    if torch is not None:
        import transformers
        names += [f"torch {torch.__version__}", f"transformers {transformers.__version__}"]
    return names


class NumpyStep:
    name = "numpy"

    def __init__(self, sampler: Sampler):
        self._sampler = sampler
        self._rng = np.random.default_rng(1)

    def run(self, row: np.ndarray) -> Result:
        start = time.perf_counter_ns()
        token_id, kept_count = self._step(row)
        return Result(time.perf_counter_ns() - start, int(token_id), int(kept_count))

    def _step(self, row: np.ndarray) -> tuple[int, int]:
        s = self._sampler
        if s.temperature == 0:
            return row.argmax(), 1
        if s.temperature != 1:
            row = row / np.float32(s.temperature)
        ids = None
        if s.top_k:
            ids = np.argpartition(row, -s.top_k)[-s.top_k:]
            row = row[ids]
        weights = np.exp(row - row.max())
        if s.top_p < 1:
            order = np.argsort(-weights)
            sums = weights[order].cumsum()
            order = order[:np.searchsorted(sums, s.top_p * sums[-1]) + 1]
            ids = order if ids is None else ids[order]
            weights = weights[order]
        if s.min_p:
            keep = np.flatnonzero(weights >= s.min_p * weights.max())
            ids = keep if ids is None else ids[keep]
            weights = weights[keep]
        sums = weights.cumsum()
        place = np.searchsorted(sums, self._rng.random() * sums[-1], side="right")
        place = min(place, len(sums) - 1)
        return place if ids is None else ids[place], len(sums)


class TransformersStep:
    name = "transformers"

    def __init__(self, sampler: Sampler):
        self._greedy = sampler.temperature == 0
        self._processors = logits_process.LogitsProcessorList()
        if not self._greedy and sampler.temperature != 1:
            self._processors.append(logits_process.TemperatureLogitsWarper(sampler.temperature))
        if sampler.top_k:
            self._processors.append(logits_process.TopKLogitsWarper(sampler.top_k))
        if sampler.top_p < 1:
            self._processors.append(logits_process.TopPLogitsWarper(sampler.top_p))
        if sampler.min_p:
            self._processors.append(logits_process.MinPLogitsWarper(sampler.min_p))
        self._ids = torch.zeros((1, 1), dtype=torch.long)

    @torch.inference_mode() if torch else lambda f: f
    def run(self, row: np.ndarray) -> Result:
        tensor = torch.from_numpy(row)[None, :]
        start = time.perf_counter_ns()
        if self._greedy:
            token_id = int(torch.argmax(tensor, dim=-1))
            return Result(time.perf_counter_ns() - start, token_id, 1)
        scores = self._processors(self._ids, tensor)
        token_id = int(torch.multinomial(torch.softmax(scores, dim=-1), num_samples=1))
        ns = time.perf_counter_ns() - start
        return Result(ns, token_id, int(torch.isfinite(scores).sum()))


def steps(sampler: Sampler) -> list:
    """A step of each peer that is there."""
    return [NumpyStep(sampler)] + ([TransformersStep(sampler)] if torch is not None else [])


def _numpy_rows(rows: np.ndarray, targets: np.ndarray) -> np.ndarray:
    out = np.empty(len(rows))
    for t, row in enumerate(rows):
        top = row.max()
        out[t] = row[targets[t]] - top - np.log(np.exp(row - top).sum())
    return out


def _numpy_matrix(rows: np.ndarray, targets: np.ndarray) -> np.ndarray:
    top = rows.max(axis=1, keepdims=True)
    log_sums = np.log(np.exp(rows - top).sum(axis=1))
    return rows[np.arange(len(rows)), targets] - top[:, 0] - log_sums


def _scipy_log_softmax(rows: np.ndarray, targets: np.ndarray) -> np.ndarray:
    return scipy.special.log_softmax(rows, axis=1)[np.arange(len(rows)), targets]


def _scipy_logsumexp(rows: np.ndarray, targets: np.ndarray) -> np.ndarray:
    return np.array([row[target] - scipy.special.logsumexp(row) for row, target in zip(rows, targets)])


def _torch_scores() -> dict[str, Callable]:
    def tensors(rows, targets):
        return torch.from_numpy(rows), torch.from_numpy(targets)

    def log_softmax_gather(rows, targets):
        x, y = tensors(rows, targets)
        return torch.log_softmax(x, dim=-1).gather(1, y[:, None])[:, 0].numpy()

    def log_softmax_rows(rows, targets):
        x, y = tensors(rows, targets)
        return np.array([float(torch.log_softmax(row, dim=-1)[target]) for row, target in zip(x, y)])

    def gather_logsumexp(rows, targets):
        x, y = tensors(rows, targets)
        return (x.gather(1, y[:, None])[:, 0] - torch.logsumexp(x, dim=-1)).numpy()

    def logsumexp_rows(rows, targets):
        x, y = tensors(rows, targets)
        return np.array([float(row[target] - torch.logsumexp(row, dim=-1)) for row, target in zip(x, y)])

    def cross_entropy(rows, targets):
        x, y = tensors(rows, targets)
        return -torch.nn.functional.cross_entropy(x, y, reduction="none").numpy()

    return {"torch log_softmax + gather": log_softmax_gather, "torch log_softmax, row by row": log_softmax_rows,
            "torch gather - logsumexp": gather_logsumexp, "torch logsumexp, row by row": logsumexp_rows,
            "torch cross_entropy": cross_entropy}


def scores() -> dict[str, Callable[[np.ndarray, np.ndarray], np.ndarray]]:
    """Every form of log-softmax + gather, by name."""
    forms = {"numpy, row by row": _numpy_rows, "numpy, whole matrix": _numpy_matrix}
    if scipy is not None:
        forms |= {"scipy log_softmax + gather": _scipy_log_softmax, "scipy logsumexp, row by row": _scipy_logsumexp}
    if torch is not None:
        forms |= _torch_scores()
    return forms
