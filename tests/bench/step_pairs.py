"""One decoding step of two builds, interleaved: the cost of a change.

    scripts/build --target step_bench
    python3 tests/bench/step_pairs.py --old OLD/step_bench_worker --new build/release/bin/step_bench_worker

In every round each build takes the same rows with the same sampler, in an order of its own; a ratio is new / old, of the
medians over the rounds. Tokens, kept counts and log-probs of every step are compared first: if one differs, no time is
printed and the exit status is 1. Everything runs on one core; take the numbers of an idle machine.
"""

import argparse
import os
import pathlib
import random
import statistics
import subprocess
import sys
import tempfile

import numpy as np

import bench_samplers

ROWS = 16


class Worker:
    def __init__(self, program: pathlib.Path, rows: str, vocab_size: int):
        self._process = subprocess.Popen([program, rows, str(vocab_size)], stdin=subprocess.PIPE,
                                         stdout=subprocess.PIPE, text=True)

    def ask(self, line: str, answers: int = 1) -> list[str]:
        self._process.stdin.write(line + "\n")
        self._process.stdin.flush()
        return [self._process.stdout.readline() for _ in range(answers)]

    def end(self) -> None:
        self._process.stdin.close()
        self._process.wait(30)


def rows_of(kind: str, vocab_size: int) -> np.ndarray:
    generator = np.random.default_rng(13)
    rows = generator.normal(0, 3, (ROWS, vocab_size))
    if kind == "peaky":
        rows[:, :5] = 30 - np.log(2) * np.arange(5)
    return generator.permuted(rows, axis=1).astype(np.float32)


def compare(programs: list[pathlib.Path], kind: str, vocab_size: int, rounds: int) -> list[tuple[str, float, float]]:
    """The name, the new build's nanoseconds per element, and the ratio, of each sampler and content."""
    figures = []
    with tempfile.NamedTemporaryFile() as file:
        rows_of(kind, vocab_size).tofile(file.name)
        workers = [Worker(program, file.name, vocab_size) for program in programs]
        try:
            cases = [(sampler, content) for sampler in bench_samplers.SAMPLERS for content in (0, 3)]
            for sampler, content in cases:
                line = f"new logitd {sampler.temperature} {sampler.top_k} {sampler.top_p} {sampler.min_p} {content}"
                for worker in workers:
                    worker.ask(line)
            for number, (sampler, content) in enumerate(cases):
                run = "run " + " ".join(f"{number} {row}" for row in range(ROWS))
                times: list[list[float]] = [[], []]
                for _ in range(rounds):
                    steps = {}
                    for which in random.sample((0, 1), 2):
                        answers = [answer.split() for answer in workers[which].ask(run, ROWS)]
                        steps[which] = [answer[1:] for answer in answers]
                        times[which].append(sum(int(answer[0]) for answer in answers))
                    if steps[0] != steps[1]:
                        sys.exit(f"step_pairs: {kind} V={vocab_size} {sampler.name}: the builds differ")
                old, new = (statistics.median(values) for values in times)
                name = f"{kind} V={vocab_size} {sampler.name}, {'record' if content else 'token'}"
                figures.append((name, new / ROWS / vocab_size, new / old))
        finally:
            for worker in workers:
                worker.end()
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--old", type=pathlib.Path, required=True, metavar="PROGRAM", help="step_bench_worker of before")
    parser.add_argument("--new", type=pathlib.Path, required=True, metavar="PROGRAM", help="step_bench_worker of now")
    parser.add_argument("--rounds", type=int, default=31, help="rounds of every case")
    arguments = parser.parse_args()
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    ratios = []
    for vocab_size in (49152, 131072):
        for kind in ("N(0,3)", "peaky"):
            for name, time, ratio in compare([arguments.old, arguments.new], kind, vocab_size, arguments.rounds):
                print(f"{name:50} {time:7.3f} ns/element  new/old {ratio:.3f}", flush=True)
                ratios.append(ratio)
    print(f"{len(ratios)} pairs: median {statistics.median(ratios):.3f}, from {min(ratios):.3f} to {max(ratios):.3f}")


if __name__ == "__main__":
    main()
