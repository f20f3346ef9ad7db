"""Generation through logitd against llama.cpp's own server, of the same sources, on the same file.

    scripts/build --target generation_bench
    tests/bench/install_llama_server                              # once, about 8 minutes on 2 cores
    python3 tests/bench/generation_bench.py                       # everything: 9 pairs, about an hour
    python3 tests/bench/generation_bench.py --pairs 3 --parts default --clients 16

Both serve the default model as its file is (Q4_1). The same load process asks both over a Unix socket: 1, 4 and 16
clients, prompts of 32 ids that nobody has seen before, temperature 0.8, top-p 0.95, 64 tokens, with no and with 5
alternatives. logitd draws from the whole vocabulary; llama-server keeps its default of the 40 likeliest tokens, which is
its fastest. In each pair both run, one after the other, in turns first. Parts:

  1, 2      both with that many threads
  default   both with their own numbers
  busy      beside a busy loop for each CPU: logitd's own number of threads against every fixed one, 1 and 4 clients

Printed are medians over the pairs: tokens a second of both, the median of the pairs' own ratios, and of first tokens'
times, each with the interval that holds the true median in 95 of 100 cases (order statistics). The load checks every
completion, its tokens, text and log-probs, before it prints a time. A bound that is stated for a figure stands beside
it; a missed one fails nothing.
"""

import argparse
import json
import math
import os
import pathlib
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
MAX_TOKENS = 64
PROMPT_TOKENS = 32
# Completions of each client: some seconds.
COMPLETIONS = {1: 2, 4: 1, 16: 1}
SLOTS = 16
CACHE_TOKENS = 16384


class Server:
    """A server of generation on a Unix socket: `command` becomes its command line."""

    def __init__(self, kind: str, command: list, socket: pathlib.Path):
        self.kind, self.socket = kind, socket
        self._log = tempfile.TemporaryFile()
        self._process = subprocess.Popen(list(map(str, command)), stdout=self._log, stderr=subprocess.STDOUT)

    def wait_until_ready(self):
        end = time.monotonic() + 120
        while not self._is_ready():
            if self._process.poll() is not None or time.monotonic() > end:
                self._log.seek(0)
                sys.exit(f"generation_bench: {self.kind} does not serve:\n{self._log.read().decode()[-2000:]}")
            time.sleep(0.05)

    def _is_ready(self) -> bool:
        probe = subprocess.run(load_command(self, 1, 1, 2, 2, 0), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        return probe.returncode == 0

    def stop(self):
        self._process.terminate()
        self._process.wait(60)


class Busy:
    """A loop for each CPU that never waits."""

    def __enter__(self):
        self._loops = [subprocess.Popen(["/bin/sh", "-c", "while :; do :; done"]) for _ in range(cpus())]

    def __exit__(self, *unused):
        for loop in self._loops:
            loop.kill()
            loop.wait()


def cpus() -> int:
    return len(os.sched_getaffinity(0))


class Programs:
    def __init__(self, folder: pathlib.Path, llama_server: pathlib.Path, model: pathlib.Path, scratch: pathlib.Path):
        self.folder, self.llama_server, self.model, self.scratch = folder, llama_server, model, scratch
        self._count = 0

    def _socket(self) -> pathlib.Path:
        self._count += 1
        return self.scratch / f"{self._count}.sock"

    def logitd(self, threads: int) -> Server:
        socket = self._socket()
        return Server("logitd", [self.folder / "logitd", "--listen", f"unix:{socket}", "--model", self.model,
                                 "--precision", "native", "--threads", threads, "--cache-tokens", CACHE_TOKENS,
                                 "--log-level", "warn"], socket)

    def llama(self, threads: int) -> Server:
        socket = self._socket()
        # One cache for all, as logitd has it. Without the copies of prompts that are gone, which no prompt here uses.
        flags = ["--host", socket, "--model", self.model, "--parallel", SLOTS, "--ctx-size", CACHE_TOKENS, "--kv-unified",
                 "--cache-ram", 0, "--log-disable"]
        if threads:
            flags += ["--threads", threads]
        return Server("llama-server", [self.llama_server, *flags], socket)


LOAD = None


def load_command(server: Server, clients: int, completions: int, max_tokens: int, prompt_tokens: int, top_n: int):
    return list(map(str, [LOAD, server.kind, server.socket, clients, completions, max_tokens, prompt_tokens, top_n]))


def load(server: Server, clients: int, top_n: int) -> dict:
    command = load_command(server, clients, COMPLETIONS.get(clients, 1), MAX_TOKENS, PROMPT_TOKENS, top_n)
    process = subprocess.run(command, stdout=subprocess.PIPE, text=True)
    if process.returncode != 0:
        sys.exit("generation_bench: the load has failed; the reason is above")
    return checked(json.loads(process.stdout), clients)


def checked(result: dict, clients: int) -> dict:
    """The result with its rate. Exits if it is none."""
    tokens = clients * COMPLETIONS.get(clients, 1) * MAX_TOKENS
    if result["tokens"] != tokens or not result["seconds"] > 0 or not result["first_ms"] > 0:
        sys.exit(f"generation_bench: not {tokens} tokens in some time: {result}")
    result["rate"] = result["tokens"] / result["seconds"]
    return result


def interval(values: list) -> tuple:
    """The narrowest pair of order statistics, as far from both ends, that holds the median in 95 of 100 cases; of less
    than 6 values the extremes, which hold it less often."""
    ordered = sorted(values)
    count = len(ordered)
    outside, k = 0.0, 0
    while k < count // 2:
        outside += 2 * math.comb(count, k) / 2**count
        if outside > 0.05:
            break
        k += 1
    k = max(k, 1)
    return ordered[k - 1], ordered[count - k]


def show(name: str, values: list, bound: str = "", kept: bool = True):
    low, high = interval(values)
    verdict = "" if not bound else f"  {'holds' if kept else 'MISSED'}: {bound}"
    print(f"  {name:42} {statistics.median(values):8.3f}  [{low:.3f}, {high:.3f}]{verdict}", flush=True)


def compare(programs: Programs, threads: int, arguments):
    servers = [programs.logitd(threads), programs.llama(threads)]
    try:
        for server in servers:
            server.wait_until_ready()
        for clients in arguments.clients:
            for top_n in (0, 5):
                pairs = []
                for i in range(arguments.pairs):
                    order = servers if i % 2 == 0 else servers[::-1]
                    results = {server.kind: load(server, clients, top_n) for server in order}
                    pairs.append((results["logitd"], results["llama-server"]))
                print(f"{'own number of' if not threads else threads} threads, {clients} clients, {top_n} alternatives")
                show("logitd, tokens/s", [a["rate"] for a, _ in pairs])
                show("llama-server, tokens/s", [b["rate"] for _, b in pairs])
                ratios = [a["rate"] / b["rate"] for a, b in pairs]
                show("tokens/s, logitd / llama-server", ratios, "at least 1.0", statistics.median(ratios) >= 1.0)
                firsts = [a["first_ms"] / b["first_ms"] for a, b in pairs]
                show("first token, logitd / llama-server", firsts, "at most 1.05", statistics.median(firsts) <= 1.05)
    finally:
        for server in servers:
            server.stop()


def compare_busy(programs: Programs, arguments):
    fixed = range(1, cpus() + 1)
    servers = {threads: programs.logitd(threads) for threads in (0, *fixed)}
    servers["llama-server"] = programs.llama(0)
    try:
        for server in servers.values():
            server.wait_until_ready()
        for clients in [c for c in arguments.clients if c <= 4]:
            rounds = []
            for _ in range(arguments.pairs):
                with Busy():
                    rounds.append({name: load(server, clients, 0)["rate"] for name, server in servers.items()})
            print(f"beside {cpus()} busy loops, {clients} clients")
            best = max(fixed, key=lambda threads: statistics.median(one[threads] for one in rounds))
            for threads in fixed:
                show(f"logitd, {threads} threads, tokens/s", [one[threads] for one in rounds])
            show("logitd, its own number, tokens/s", [one[0] for one in rounds])
            show("llama-server, its own number, tokens/s", [one["llama-server"] for one in rounds])
            ratios = [one[0] / one[best] for one in rounds]
            show(f"its own number / the best ({best} threads)", ratios, "at least 0.8", statistics.median(ratios) >= 0.8)
    finally:
        for server in servers.values():
            server.stop()


def output_of(command: list) -> pathlib.Path:
    return pathlib.Path(subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout.split("\n")[0])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bin", type=pathlib.Path, default=ROOT / "build/release/bin",
                        help="logitd, logitd-llama and generation_load (default: build/release/bin)")
    parser.add_argument("--llama-server", type=pathlib.Path, help="default: what tests/bench/install_llama_server built")
    parser.add_argument("--model", type=pathlib.Path, help="a GGUF file (default: that of scripts/fetch-model)")
    parser.add_argument("--pairs", type=int, default=9)
    parser.add_argument("--clients", type=int, nargs="+", default=[1, 4, 16])
    parser.add_argument("--parts", nargs="+", default=["1", "2", "default", "busy"], choices=["1", "2", "default", "busy"])
    arguments = parser.parse_args()
    # So that servers and loops end with it.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    global LOAD
    LOAD = arguments.bin / "generation_load"
    llama_server = arguments.llama_server or output_of([ROOT / "tests/bench/install_llama_server"])
    model = arguments.model or output_of([ROOT / "scripts/fetch-model"])
    with tempfile.TemporaryDirectory() as scratch:
        programs = Programs(arguments.bin, llama_server, model, pathlib.Path(scratch))
        for part in arguments.parts:
            if part == "busy":
                compare_busy(programs, arguments)
            else:
                compare(programs, 0 if part == "default" else int(part), arguments)
    return 0


if __name__ == "__main__":
    sys.exit(main())
