"""The cost of logitd-http: the same requests by HTTP and by gRPC, in turns, on the same server.

    scripts/build --target http_bench
    python3 tests/bench/http_bench.py                             # 5 pairs of everything: some minutes on 2 cores
    python3 tests/bench/http_bench.py --parts latency --pairs 1

Parts:

  latency   a small request on a connection that stays open: one token with its log-prob after 8 ids, and a score as
            lm-evaluation-harness asks for it (echo) of 32 ids; request_latency checks every reply against the other's
  stream    clients that stream 64 tokens each; generation_load checks every completion

Each with a runner that takes no time (fixed_runner) and with the default model in f32. The streams' tokens
are compared before a time is printed: one client's in both cases, and those of all clients with the runner that takes
no time. (With a real model, batches of other sizes move the last bits of a log-prob, and now and then a token.) Printed
are medians over the pairs; a bound stands beside its figure, and a missed one fails nothing.
"""

import argparse
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import threading

ROOT = pathlib.Path(__file__).resolve().parents[2]
MOST_MORE_MS = 3.0
LEAST_RATE = 0.95
# How far log-probs may move with the place in the cache.
NATS = 1e-3
MAX_TOKENS = 64


class Process:
    """A program that is ready when a line of its output has `mark`."""

    def __init__(self, command: list, mark: str):
        self._process = subprocess.Popen(list(map(str, command)), stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                         stderr=subprocess.STDOUT, text=True)
        self.line = ""
        lines = []
        for line in self._process.stdout:
            lines.append(line)
            if mark in line:
                self.line = line
                break
        else:
            sys.exit(f"http_bench: {command[0]} has ended:\n{''.join(lines)}")
        threading.Thread(target=self._process.stdout.read, daemon=True).start()

    def stop(self):
        self._process.stdin.close()
        self._process.terminate()
        self._process.wait(60)


class Stack:
    """A server with a model, and a logitd-http in front of it."""

    def __init__(self, folder: pathlib.Path, model: pathlib.Path | None):
        self._scratch = tempfile.TemporaryDirectory()
        self._processes = []
        runners = f"unix:{self._scratch.name}/runners"
        flags = ["--model", model, "--precision", "f32"] if model else ["--runner-listen", runners]
        server = self._start([folder / "logitd", "--listen", "127.0.0.1:0", *flags], "listening on ")
        self.server = server.line.split("listening on ")[1].split()[0].strip('",')
        if model is None:
            self._processes.append(subprocess.Popen([folder / "fixed_runner", runners, "--vocab-size", "49152"],
                                                    stdin=subprocess.PIPE, stdout=subprocess.DEVNULL))
        front = self._start([folder / "logitd-http", "--listen", "127.0.0.1:0", "--server", self.server], "listening on ")
        self.http = front.line.split("listening on ")[1].strip()
        self._folder = folder

    def _start(self, command: list, mark: str) -> Process:
        self._processes.append(Process(command, mark))
        return self._processes[-1]

    def run(self, program: str, *arguments: object) -> dict:
        done = subprocess.run([str(self._folder / program), *map(str, arguments)], stdout=subprocess.PIPE, text=True)
        if done.returncode != 0:
            sys.exit(f"http_bench: {program} has failed; the reason is above")
        return json.loads(done.stdout)

    def wait_for_the_model(self):
        """Until a completion of one token ends right."""
        for _ in range(200):
            done = subprocess.run([str(self._folder / "generation_load"), "logitd", self.server, "1", "1", "1", "2", "0"],
                                  stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            if done.returncode == 0:
                return
        sys.exit("http_bench: the model is not served")

    def stop(self):
        for process in reversed(self._processes):
            if isinstance(process, Process):
                process.stop()
            else:
                process.stdin.close()
                process.wait(60)
        self._scratch.cleanup()


def verdict(value: float, bound: float, at_most: bool) -> str:
    missed = value > bound if at_most else value < bound
    return f"({'<=' if at_most else '>='} {bound}{', missed' if missed else ''})"


def latency(stack: Stack, name: str, pairs: int, rounds: int, tolerance: float):
    for kind, prompt_tokens in (("complete", 8), ("echo", 32)):
        results = [stack.run("request_latency", stack.server, stack.http, kind, prompt_tokens, rounds, tolerance)
                   for _ in range(pairs)]
        grpc, http, more = (statistics.median(one[key] for one in results) for key in ("grpc_ms", "http_ms", "more_ms"))
        print(f"{name}, {kind}: gRPC {grpc:.2f} ms, HTTP {http:.2f} ms, {more:.2f} ms more {verdict(more, MOST_MORE_MS, True)}",
              flush=True)


def stream(stack: Stack, name: str, pairs: int, clients: int, completions: int, is_instant: bool):
    def load(kind: str, address: str, clients: int, completions: int, top_n: int) -> dict:
        return stack.run("generation_load", kind, address, clients, completions, MAX_TOKENS, 32, top_n)

    def both(*arguments, http_first: bool = False) -> dict[str, dict]:
        kinds = [("logitd", stack.server), ("logitd-http", stack.http)]
        return {kind: load(kind, address, *arguments) for kind, address in (kinds[::-1] if http_first else kinds)}

    for top_n in (0, 5):
        one = both(1, 2, top_n)
        if one["logitd"]["digest"] != one["logitd-http"]["digest"]:
            sys.exit("http_bench: the tokens of one client differ between gRPC and HTTP")
        rates = {"logitd": [], "logitd-http": []}
        for pair in range(pairs):
            results = both(clients, completions, top_n, http_first=pair % 2 == 1)
            if is_instant and len({result["digest"] for result in results.values()}) != 1:
                sys.exit("http_bench: the tokens differ between gRPC and HTTP")
            for kind, result in results.items():
                rates[kind].append(result["tokens"] / result["seconds"])
        ratio = statistics.median(http / grpc for http, grpc in zip(rates["logitd-http"], rates["logitd"]))
        bound = "" if is_instant else " " + verdict(ratio, LEAST_RATE, False)
        print(f"{name}, {clients} streams, {top_n} alternatives: gRPC {statistics.median(rates['logitd']):.0f} tokens/s, "
              f"HTTP {statistics.median(rates['logitd-http']):.0f}, ratio {ratio:.3f}{bound}", flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bin", type=pathlib.Path, default=ROOT / "build/release/bin")
    parser.add_argument("--parts", nargs="+", choices=["latency", "stream"], default=["latency", "stream"])
    parser.add_argument("--runners", nargs="+", choices=["instant", "model"], default=["instant", "model"])
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--rounds", type=int, default=200)
    parser.add_argument("--clients", type=int, default=64)
    arguments = parser.parse_args()
    for runner in arguments.runners:
        is_instant = runner == "instant"
        model = None
        if not is_instant:
            fetched = os.environ.get("LOGITD_TEST_MODEL") or subprocess.run(
                [ROOT / "scripts/fetch-model"], check=True, stdout=subprocess.PIPE, text=True).stdout.split()[-1]
            model = pathlib.Path(fetched)
        stack = Stack(arguments.bin, model)
        try:
            stack.wait_for_the_model()
            name = "instant runner" if is_instant else "SmolLM2"
            if "latency" in arguments.parts:
                latency(stack, name, arguments.pairs, arguments.rounds, 0 if is_instant else NATS)
            if "stream" in arguments.parts:
                stream(stack, name, arguments.pairs, arguments.clients, 4 if is_instant else 1, is_instant)
        finally:
            stack.stop()
    return 0


if __name__ == "__main__":
    sys.exit(main())
