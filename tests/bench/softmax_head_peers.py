#!/usr/bin/env python3
"""Log-probs of targets from hidden states: logitd's softmax head beside PyTorch's forms, one thread each.

    scripts/build --target softmax_head_bench
    $(tests/bench/install_peers) tests/bench/softmax_head_peers.py [--bin build/release/bin] [--rounds 9]

256 hidden states of 576, V = 49,152, f32. In each round every contender runs once; figures are medians, of the thread's
own time. The worker checks logitd's results against double; PyTorch's forms are compared with one another.
"""

import argparse
import math
import pathlib
import statistics
import subprocess
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
ROWS, HIDDEN_SIZE, VOCAB_SIZE = 256, 576, 49_152


class Worker:
    """logitd's side: `softmax_head_bench --worker`."""

    def __init__(self, binary: pathlib.Path):
        self._process = subprocess.Popen([binary, "--worker"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def run(self) -> float:
        """Milliseconds of one run."""
        print("run", file=self._process.stdin, flush=True)
        line = self._process.stdout.readline()
        if not line:
            raise SystemExit(f"the worker ended with {self._process.wait()}")
        return float(line)

    def close(self) -> None:
        self._process.stdin.close()
        self._process.wait()


def torch_forms():
    """Name -> a function that gives the log-probs, [ROWS]."""
    import torch
    functional = torch.nn.functional
    torch.set_num_threads(1)
    torch.manual_seed(1)
    hidden = torch.randn(ROWS, HIDDEN_SIZE)
    weights = torch.randn(VOCAB_SIZE, HIDDEN_SIZE) * (2 / math.sqrt(HIDDEN_SIZE))
    targets = torch.randint(VOCAB_SIZE, (ROWS,))

    def unfused():
        return functional.log_softmax(hidden @ weights.T, dim=-1).gather(1, targets[:, None])[:, 0]

    def cross_entropy():
        return -functional.cross_entropy(hidden @ weights.T, targets, reduction="none")

    forms = {"product, log_softmax, gather": unfused, "product, cross_entropy": cross_entropy}
    if hasattr(functional, "linear_cross_entropy"):
        forms["linear_cross_entropy"] = lambda: -functional.linear_cross_entropy(
            hidden, weights, targets, reduction="none")
    if hasattr(torch.nn, "LinearCrossEntropyOptions"):
        forms["linear_cross_entropy, chunked"] = lambda: -functional.linear_cross_entropy(
            hidden, weights, targets, reduction="none", options=torch.nn.LinearCrossEntropyOptions())
    forms["product alone"] = lambda: (hidden @ weights.T)[:, 0]
    with torch.no_grad():
        results = {name: form() for name, form in forms.items()}
    expected = results["product, log_softmax, gather"]
    for name, result in results.items():
        if name != "product alone" and (result - expected).abs().max() > 1e-4:
            raise SystemExit(f"{name}: other log-probs")

    def timed(form):
        def run() -> float:
            with torch.no_grad():
                start = time.thread_time()
                form()
                return (time.thread_time() - start) * 1e3
        return run

    print(f"PyTorch {torch.__version__}; {ROWS} x {HIDDEN_SIZE} x {VOCAB_SIZE}, one thread")
    return {name: timed(form) for name, form in forms.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bin", type=pathlib.Path, default=ROOT / "build/release/bin", help="folder of the worker")
    parser.add_argument("--rounds", type=int, default=9)
    args = parser.parse_args()
    try:
        contenders = torch_forms()
    except ImportError:
        raise SystemExit("PyTorch is absent: tests/bench/install_peers installs it (6 GB)") from None
    worker = Worker(args.bin / "softmax_head_bench")
    contenders = {"logitd": worker.run, **contenders}
    times = {name: [] for name in contenders}
    for _ in range(args.rounds):
        for name, run in contenders.items():
            times[name].append(run())
    worker.close()
    own = statistics.median(times["logitd"])
    for name, milliseconds in times.items():
        median = statistics.median(milliseconds)
        print(f"{name:32} {median:8.1f} ms   logitd / this: {own / median:.2f}")


if __name__ == "__main__":
    main()
