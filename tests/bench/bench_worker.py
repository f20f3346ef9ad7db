"""The contenders that are C++, in a process of their own: see step_bench_worker.cc."""

import pathlib
import subprocess
from collections.abc import Sequence

from bench_samplers import CONTENTS, Result, Sampler


class Worker:
    """Holds one file of rows. Its steps run on the core that this process is bound to."""

    def __init__(self, program: pathlib.Path, rows: pathlib.Path, vocab_size: int, kernel_target: str | None = None):
        self._process = subprocess.Popen([program, rows, str(vocab_size)], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                         text=True, bufsize=1)
        if kernel_target is not None:
            self._ask(f"use {kernel_target}")

    def __enter__(self) -> "Worker":
        return self

    def __exit__(self, *_) -> None:
        self._process.stdin.close()
        self._process.wait()

    def new(self, kind: str, sampler: Sampler = Sampler("none"), content: str = CONTENTS[0], slots: int = 0) -> int:
        """A step's number. `slots`: that are listed, of "sparse" and "excluded"."""
        return int(self._ask(f"new {kind} {sampler.temperature!r} {sampler.top_k} {sampler.top_p!r} {sampler.min_p!r} "
                             f"{CONTENTS.index(content)} {slots}"))

    def run(self, steps: Sequence[tuple[int, int]]) -> list[Result]:
        """Runs (step, row) one after the other, with nothing in between."""
        self._send("run " + " ".join(f"{step} {row}" for step, row in steps))
        results = []
        for _ in steps:
            ns, token_id, kept_count, sampling, model = self._receive().split()
            results.append(Result(int(ns), int(token_id), int(kept_count), float(sampling), float(model)))
        return results

    def score(self, step: int, row: int, targets: Sequence[int]) -> tuple[int, list[float]]:
        """Nanoseconds, and the log-prob of each target in rows from `row` on."""
        ns, *log_probs = self._ask(f"score {step} {row} {len(targets)} " + " ".join(map(str, targets))).split()
        return int(ns), [float(value) for value in log_probs]

    def target(self) -> str:
        return self._ask("target")

    def _ask(self, line: str) -> str:
        self._send(line)
        return self._receive()

    def _send(self, line: str) -> None:
        self._process.stdin.write(line + "\n")
        self._process.stdin.flush()

    def _receive(self) -> str:
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError("step_bench_worker ended: its message is above")
        return line.strip()
