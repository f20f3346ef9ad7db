"""The cost of the server for an attached model: tokens a second, time and CPU of a step, with a runner of fixed cost.

    scripts/build --target runner_bench
    python3 tests/bench/runner_bench.py                                  # everything, once
    python3 tests/bench/runner_bench.py --rounds 5 --bin OLD --bin build/release/bin --parts step

Each --bin is a folder with logitd, fixed_runner and generate_load of one commit. All of them run in every round, one after
the other, and the figures are medians over the rounds; a ratio is the median of the rounds' own ratios, of the last --bin
to the first. Before it prints a figure it checks that every completion had all of its tokens, and that the tokens of all
folders are the same for the same seeds. A figure's bound stands beside it, and whether the last --bin keeps it; a missed
bound fails nothing. Figures that compare with a step of step_bench need its worker in the folder (scripts/build --target
step_bench) and numpy.

Parts: `sleep`: a runner that sleeps 10 ms a batch, 1, 16 and 60 clients, V = 49,152, 131,072 and 262,144; `many`: one of
2 ms with 64 slots, 64, 1,000 and 64 clients; `instant`: one that costs nothing, 16 clients, V = 49,152, and the runner's
CPU for a row that it sends; `prompt`: a client streams while another's prompt of 2,000 tokens is read, 2 ms a token.
"""

import argparse
import json
import operator
import pathlib
import re
import statistics
import subprocess
import sys
import tempfile
import threading
import time


class Bench:
    """One server with one runner."""

    def __init__(self, folder: pathlib.Path, **runner):
        self._folder = folder
        self._scratch = tempfile.TemporaryDirectory()
        scratch = pathlib.Path(self._scratch.name)
        self.address = f"unix:{scratch}/server"
        runners = f"unix:{scratch}/runners"
        self._server = subprocess.Popen(
            [folder / "logitd", "--listen", self.address, "--runner-listen", runners],
            stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        self._attached = threading.Event()
        threading.Thread(target=self._read_log, daemon=True).start()
        while not (scratch / "runners").exists():
            if self._server.poll() is not None:
                raise RuntimeError("the server has ended")
            time.sleep(0.01)
        flags = []
        for name, value in runner.items():
            flags += ["--" + name.replace("_", "-")] + ([] if value is True else [str(value)])
        self._runner = subprocess.Popen([folder / "fixed_runner", runners, *flags], stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE, text=True)
        if not self._attached.wait(30):
            raise RuntimeError("the runner has not attached")

    def _read_log(self):
        for line in self._server.stderr:
            if "runner attached" in line:
                self._attached.set()

    def __enter__(self):
        return self

    def __exit__(self, *unused):
        self.stop_runner()
        self._server.terminate()
        self._server.wait(30)
        self._scratch.cleanup()

    def start_load(self, clients: int, seconds: float, max_tokens: int, prompt_tokens: int = 4) -> subprocess.Popen:
        words = [self.address, clients, seconds, max_tokens, prompt_tokens, 0.8, 0, self._server.pid]
        return subprocess.Popen([self._folder / "generate_load", *map(str, words)], stdout=subprocess.PIPE, text=True)

    def load(self, *arguments) -> dict:
        process = self.start_load(*arguments)
        out = process.communicate()[0]
        if process.returncode != 0:
            raise RuntimeError("generate_load failed")
        result = json.loads(out)
        result["tokens_per_s"] = result["tokens"] / result["seconds"]
        result["cpu_us"] = result["server_cpu_ns"] / 1000 / max(1, result["tokens"])
        return result

    def stop_runner(self) -> dict:
        if self._runner.poll() is None:
            out = self._runner.communicate()[0]
            self._report = json.loads(out)
        return self._report


# The bounds of the last --bin: a pattern of a figure's name, and its bound.
BOUNDS = (
    (r"V=(131072|262144) clients=60 step / .*", operator.le, 1.3),
    (r"V=\d+ clients=\d+ step / .*", operator.le, 1.15),
    (r"1000 / 64 tokens/s", operator.ge, 0.85),
    (r"1000 / 64 server CPU", operator.lt, 1.3),
    (r"16 clients, step less 16 of step_bench, ms", operator.le, 1.0),
    (r"runner's CPU for a row sent, .*", operator.le, 80),
    (r"interval beside the prompt, p95 / alone", operator.le, 4),
    (r"interval beside the prompt, longest / alone", operator.le, 10),
    (r"prompt beside a stream / alone", operator.le, 1.6),
)
WORDS = {operator.le: "at most", operator.lt: "less than", operator.ge: "at least"}


def verdict(name: str, value: float) -> str:
    """Whether the figure keeps its bound; empty if it has none."""
    for pattern, keeps, bound in BOUNDS:
        if re.fullmatch(pattern, name):
            return f"{'holds' if keeps(value, bound) else 'MISSED'}: {WORDS[keeps]} {bound:g}"
    return ""


def step_ms(folder: pathlib.Path, vocab_size: int) -> float | None:
    """A step of step_bench on one thread, with a completion's numbers for each token, on the runner's number of N(0, 3) rows.

    None: its worker is not in the folder.
    """
    worker = folder / "step_bench_worker"
    if not worker.exists():
        return None
    import numpy as np  # Only here: the rest runs without.

    count = 64
    with tempfile.NamedTemporaryFile() as rows:
        np.random.default_rng(7).normal(0, 3, (count, vocab_size)).astype(np.float32).tofile(rows.name)
        commands = "new logitd 0.8 0 0.95 0 3\n" + f"run {' '.join(f'0 {row}' for row in range(count))}\n" * 9
        out = subprocess.run([worker, rows.name, str(vocab_size)], input=commands, stdout=subprocess.PIPE, text=True,
                             check=True).stdout
    return statistics.median(int(line.split()[0]) for line in out.splitlines()[1:]) / 1e6


def run_sleep(folder: pathlib.Path, seconds: float) -> dict:
    figures = {}
    for vocab_size in (49152, 131072, 262144):
        step = step_ms(folder, vocab_size)
        with Bench(folder, vocab_size=vocab_size, sleep_us=10_000) as bench:
            for clients in (1, 16, 60):
                result = bench.load(clients, seconds, 64)
                figures[f"V={vocab_size} clients={clients} step ms"] = 1000 * clients / result["tokens_per_s"]
                if step is not None:
                    figures[f"V={vocab_size} clients={clients} step / (10 ms + rows x step_bench)"] = (
                        1000 * clients / result["tokens_per_s"] / (10 + clients * step))
                figures[f"V={vocab_size} clients={clients} hash"] = result["hash"]
    return figures


def run_many(folder: pathlib.Path, seconds: float) -> dict:
    figures = {}
    with Bench(folder, vocab_size=512, sleep_us=2_000) as bench:
        for name, clients in (("64", 64), ("1000", 1000), ("64 again", 64)):
            result = bench.load(clients, seconds, 64)
            figures[f"clients={name} tokens/s"] = result["tokens_per_s"]
            figures[f"clients={name} server CPU us/token"] = result["cpu_us"]
            figures[f"clients={name} refused"] = result["refused"]
            figures[f"clients={name} hash"] = result["hash"]
    between = (figures["clients=64 tokens/s"] + figures["clients=64 again tokens/s"]) / 2
    figures["1000 / 64 tokens/s"] = figures["clients=1000 tokens/s"] / between
    cpu = (figures["clients=64 server CPU us/token"] + figures["clients=64 again server CPU us/token"]) / 2
    figures["1000 / 64 server CPU"] = figures["clients=1000 server CPU us/token"] / cpu
    return figures


def run_instant(folder: pathlib.Path, seconds: float) -> dict:
    figures = {}
    with Bench(folder, vocab_size=49152) as bench:
        result = bench.load(16, seconds, 256)
        figures["16 clients step ms"] = result["step_ms"]
        figures["16 clients, 16 / tokens/s, ms"] = 16000 / result["tokens_per_s"]
        if (step := step_ms(folder, 49152)) is not None:
            figures["16 clients, step less 16 of step_bench, ms"] = 16000 / result["tokens_per_s"] - 16 * step
        figures["hash"] = result["hash"]
    for clients in (1, 4, 16, 64):
        with Bench(folder, vocab_size=49152, rows_only=True) as bench:
            bench.load(clients, seconds, 64)
            report = bench.stop_runner()
            figures[f"runner's CPU for a row sent, {clients} clients, us"] = report["cpu_ns"] / report["rows"] / 1000
    return figures


def run_prompt(folder: pathlib.Path, seconds: float) -> dict:
    figures = {}
    with Bench(folder, vocab_size=512, sleep_us=15_000, us_per_token=2_000) as bench:
        alone = bench.load(1, 2, 32)
        figures["interval alone, median ms"] = alone["step_ms"]
        figures["prompt of 2,000 alone, s"] = bench.load(1, 0.1, 1, 2000)["first_ms"] / 1000
        streaming = bench.start_load(1, 8, 512)
        time.sleep(1.5)
        figures["prompt beside a stream, s"] = bench.load(1, 0.1, 1, 2000)["first_ms"] / 1000
        figures["prompt beside a stream / alone"] = (
            figures["prompt beside a stream, s"] / figures["prompt of 2,000 alone, s"])
        beside = json.loads(streaming.communicate()[0])
        figures["interval beside the prompt, p95 / alone"] = beside["step_p95_ms"] / alone["step_ms"]
        figures["interval beside the prompt, longest / alone"] = beside["step_max_ms"] / alone["step_ms"]
    return figures


PARTS = {"sleep": run_sleep, "many": run_many, "instant": run_instant, "prompt": run_prompt}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    here = pathlib.Path(__file__).resolve().parents[2]
    parser.add_argument("--bin", action="append", type=pathlib.Path, help="default: build/release/bin")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=3, help="of each load")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    arguments = parser.parse_args()
    folders = arguments.bin or [here / "build/release/bin"]
    for part in arguments.parts:
        rounds = []
        for _ in range(arguments.rounds):
            rounds.append([PARTS[part](folder, arguments.seconds) for folder in folders])
        print(f"== {part}")
        for name in rounds[0][0]:
            values = [[figures[name] for figures in one] for one in rounds]
            if name.endswith("hash"):
                if len({value for one in values for value in one}) != 1:
                    print(f"runner_bench: {part}: {name}: the tokens are not the same", file=sys.stderr)
                    return 1
                continue
            line = "  ".join(f"{statistics.median(column):10.3f}" for column in zip(*values))
            ratio = ""
            if len(folders) > 1:
                ratios = [one[-1] / one[0] for one in values if one[0]]
                ratio = f"  ratio {statistics.median(ratios):.3f}" if ratios else ""
            kept = verdict(name, statistics.median(one[-1] for one in values))
            print(f"{name:55} {line}{ratio}{'  ' + kept if kept else ''}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
