#!/usr/bin/python3
"""One decoding step, and scoring, against the memory and against the peers: interleaved, on the same rows, one core.

    tests/bench/step_bench [--quick] [--json]      # builds what it needs; see README.md beside it

Medians of rounds. In each round every contender runs once. "Against the read" each takes a row of its own out of a
rotation over four times the last-level cache, so that all read cold; "against peers" all take the same one of 24 rows,
in an order of its own. Results are checked before anything is printed; a missed target is reported, and fails nothing.
"""

import argparse
import os
import pathlib
import random
import shutil
import statistics
import sys
import tempfile
import time

for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[_name] = "1"

import numpy as np  # noqa: E402  (the threads are set before)

import bench_checks  # noqa: E402
import bench_python_peers  # noqa: E402
import bench_rows  # noqa: E402
import bench_targets  # noqa: E402
from bench_samplers import CONTENTS, LOG_PROB, RECORD, SAMPLERS, TOKEN, Sampler  # noqa: E402
from bench_worker import Worker  # noqa: E402

ROOT = pathlib.Path(__file__).resolve().parents[2]
VOCAB_SIZES = (32000, 49152, 128256, 262144)
PARTS = ("read", "peers", "sparse", "scoring")
PEER_ROWS = 24
SCORED_ROWS = 512
SPARSE_SLOTS = (64, 1024, 16384)
# The first rounds fill caches and buffers.
WARM_UP = 3


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def against_read(worker: Worker, rows: np.ndarray, kind: str, rounds: int) -> list[bench_targets.Line]:
    """Steps of logitd on cold rows against pass 1 on cold rows, and against each other."""
    count, vocab_size = rows.shape
    names = [("read", TOKEN), ("scan", TOKEN)] + [(s.name, content) for s in SAMPLERS for content in CONTENTS]
    samplers = {s.name: s for s in SAMPLERS}
    steps = [worker.new("logitd", samplers[name], content) if name in samplers else worker.new(name)
             for name, content in names]
    times: dict[tuple[str, str], list[int]] = {name: [] for name in names}
    checked = []
    place = 0
    for number in range(WARM_UP + rounds):
        order = list(range(len(steps)))
        random.Random(number).shuffle(order)
        results = worker.run([(steps[i], (place + j) % count) for j, i in enumerate(order)])
        for j, (i, result) in enumerate(zip(order, results)):
            if names[i][0] in samplers:
                checked.append(((place + j) % count, samplers[names[i][0]], names[i][1], result))
            if number >= WARM_UP:
                times[names[i]].append(result.ns)
        place += len(steps)
    # Afterwards: a check sorts the row, and would leave the caches to the next round.
    bench_checks.check_logitd(rows, checked)
    medians = {name: statistics.median(values) for name, values in times.items()}

    scan = medians["scan", TOKEN]
    temperature = medians["temperature", LOG_PROB]
    kernel_target = worker.target()
    lines = [bench_targets.Line(vocab_size, kind, "(pass 1)", "", scan, "plain read", medians["read", TOKEN], "<=")]
    for name, content in names[2:]:
        ns = medians[name, content]
        lines.append(bench_targets.Line(vocab_size, kind, name, content, ns, "pass 1", scan, "<=",
                                        bench_targets.against_scan(vocab_size, kind, name, content, kernel_target)))
        target = bench_targets.against_temperature(vocab_size, kind, name, content)
        if target is not None:
            lines.append(bench_targets.Line(vocab_size, kind, name, content, ns, "temperature, log-prob", temperature,
                                            "<=", target))
    return lines


def against_peers(worker: Worker, rows: np.ndarray, kind: str, sampler: Sampler,
                  rounds: int) -> list[bench_targets.Line]:
    """logitd with the token alone and with the whole record, llama.cpp, and the peers in Python."""
    vocab_size = rows.shape[1]
    ours, record, llama = worker.new("logitd", sampler, TOKEN), worker.new("logitd", sampler, RECORD), \
        worker.new("llama", sampler)
    python_steps = bench_python_peers.steps(sampler)
    runs = {"logitd": lambda row: worker.run([(ours, row)])[0], "record": lambda row: worker.run([(record, row)])[0],
            "llama.cpp": lambda row: worker.run([(llama, row)])[0]}
    runs |= {step.name: (lambda row, step=step: step.run(rows[row])) for step in python_steps}
    times: dict[str, list[int]] = {name: [] for name in runs}
    checked = []
    for number in range(WARM_UP + rounds):
        row = number % PEER_ROWS
        # The first contender finds the row in no cache of the core.
        order = list(runs)
        random.Random(number).shuffle(order)
        results = {name: runs[name](row) for name in order}
        if number >= WARM_UP:
            for name, result in results.items():
                times[name].append(result.ns)
        checked.append((row, results))
    # Afterwards, as above.
    bench_checks.check_logitd(rows, [(row, sampler, content, results[name]) for row, results in checked
                                     for content, name in ((TOKEN, "logitd"), (RECORD, "record"))])
    for row, results in checked:
        for peer in list(runs)[2:]:
            bench_checks.check_peer(peer, kind, rows[row], sampler, results["logitd"], results[peer])
    medians = {name: statistics.median(values) for name, values in times.items()}
    lines = []
    for content, name in ((TOKEN, "logitd"), (RECORD, "record")):
        # Only llama.cpp is near enough that the whole record against its bare token says something.
        for peer in list(runs)[2:] if content == TOKEN else ["llama.cpp"]:
            relation, target = bench_targets.against_peer(vocab_size, kind, sampler.name, content, peer)
            lines.append(bench_targets.Line(vocab_size, kind, sampler.name, content, medians[name], peer,
                                            medians[peer], relation, target))
    return lines


def sparse(worker: Worker, rows: np.ndarray, kind: str, rounds: int) -> list[bench_targets.Line]:
    """Steps on rows that list a few tokens, as sparse rows and as dense ones with -inf elsewhere: the same results."""
    count, vocab_size = rows.shape
    cases = [(slots, s, content) for slots in SPARSE_SLOTS if slots <= vocab_size for s in SAMPLERS
             for content in (LOG_PROB, RECORD)]
    pairs = [[worker.new(form, s, content, slots) for form in ("sparse", "excluded")] for slots, s, content in cases]
    times = [([], []) for _ in cases]
    for number in range(WARM_UP + rounds):
        row = number % count
        for i in random.Random(number).sample(range(len(cases)), len(cases)):
            ours, dense = worker.run([(step, row) for step in pairs[i]])
            bench_checks.check_same(f"sparse row, {cases[i]}", ours, dense)
            if number >= WARM_UP:
                times[i][0].append(ours.ns)
                times[i][1].append(dense.ns)
    return [bench_targets.Line(vocab_size, f"{kind}, {slots} listed", s.name, content, statistics.median(ours),
                               "dense, -inf", statistics.median(dense), ">=")
            for (slots, s, content), (ours, dense) in zip(cases, times)]


def scoring(worker: Worker, rows: np.ndarray, rounds: int) -> list[bench_targets.Line]:
    """log-softmax + gather of `rows`, in every form. Nanoseconds are those of one row."""
    count, vocab_size = rows.shape
    targets = np.random.default_rng(3).integers(vocab_size, size=count)
    step = worker.new("score")
    forms = bench_python_peers.scores()
    exact = np.array([float(row[t]) - bench_checks.log_sum_exp(row.astype(np.float64))
                      for row, t in zip(rows, targets)])
    times: dict[str, list[float]] = {"logitd": [], **{name: [] for name in forms}}
    for _ in range(rounds):
        ns, log_probs = worker.score(step, 0, targets.tolist())
        bench_checks.check_scores("logitd", np.array(log_probs), exact, bench_checks.LOG_PROB_BOUND)
        times["logitd"].append(ns / count)
        for name, form in forms.items():
            start = time.perf_counter_ns()
            log_probs = form(rows, targets)
            times[name].append((time.perf_counter_ns() - start) / count)
            # f32 sums over a row.
            bench_checks.check_scores(name, log_probs, exact, 1e-3)
    medians = {name: statistics.median(values) for name, values in times.items()}
    # A library's target is about its fastest form.
    fastest = {library: min((name for name in forms if name.startswith(library)), key=medians.get, default=None)
               for library in bench_targets.SCORING}
    lines = []
    for name in forms:
        library = name.split()[0].rstrip(",")
        target = bench_targets.SCORING[library] if fastest[library] == name else None
        lines.append(bench_targets.Line(vocab_size, f"{count} rows", "score", "model_log_prob", medians["logitd"], name,
                                        medians[name], ">=", target))
    return lines


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bin-dir", type=pathlib.Path, default=ROOT / "build/release/bin")
    parser.add_argument("--model", help="GGUF file of the real rows; without it there are none")
    parser.add_argument("--rounds", type=int, default=31, help="default %(default)s")
    parser.add_argument("--vocab-sizes", type=int, nargs="+", default=VOCAB_SIZES)
    parser.add_argument("--rows", nargs="+", choices=bench_rows.KINDS, default=bench_rows.KINDS)
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--kernel-target", help="of logitd, as the server's flag: scalar, avx2, avx512 (default: the best)")
    parser.add_argument("--quick", action="store_true", help="few rounds and rows: to see that it works, not how fast")
    parser.add_argument("--json", action="store_true", help="one object on standard output instead of the table")
    return parser.parse_args()


def rows_folder() -> str | None:
    """Memory, if there is room for the largest set of rows (a container's /dev/shm may be small); else a disk."""
    needed = 2 * max(SCORED_ROWS * 4 * bench_targets.VOCAB_SIZE, 4 * bench_rows.last_level_cache_bytes())
    try:
        return "/dev/shm" if shutil.disk_usage("/dev/shm").free > needed else None
    except OSError:
        return None


def rows_of(kind: str, vocab_size: int, count: int, folder: str, args: argparse.Namespace):
    """(path, rows [count, vocab_size]) mapped from a file that the worker maps too; None: there are none."""
    path = pathlib.Path(folder) / "rows.f32"
    if kind == "real":
        if not args.model or vocab_size != bench_rows.REAL_VOCAB_SIZE:
            return None
        bench_rows.write_real_rows(path, count, args.bin_dir, args.model, ROOT)
    else:
        bench_rows.make_rows(kind, vocab_size, count).tofile(path)
    # Copy on write: PyTorch takes no memory that cannot be written.
    return path, np.memmap(path, dtype=np.float32, mode="c", shape=(count, vocab_size))


def main() -> int:
    args = parse_arguments()
    if args.quick:
        args.rounds = min(args.rounds, 5)
    # One core for this process and the worker: they never run at the same time.
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    if bench_python_peers.torch is not None:
        bench_python_peers.torch.set_num_threads(1)
    for line in bench_python_peers.absent():
        say(line)
    worker_program = args.bin_dir / "step_bench_worker"
    lines = []
    about = {"peers": ["llama.cpp", *bench_python_peers.versions()], "rounds": args.rounds}
    with tempfile.TemporaryDirectory(dir=rows_folder()) as folder:
        for vocab_size in args.vocab_sizes:
            for kind in args.rows:
                count = max(PEER_ROWS, PEER_ROWS if args.quick else bench_rows.cold_row_count(vocab_size))
                made = rows_of(kind, vocab_size, count, folder, args)
                if made is None:
                    continue
                say(f"V = {vocab_size:,}, {kind}: {count} rows")
                with Worker(worker_program, made[0], vocab_size, args.kernel_target) as worker:
                    about["kernel_target"] = worker.target()
                    if "read" in args.parts:
                        lines += against_read(worker, made[1], kind, args.rounds)
                    if "sparse" in args.parts and kind == "N(0,3)" and vocab_size == bench_targets.VOCAB_SIZE:
                        lines += sparse(worker, made[1], kind, args.rounds)
                    for sampler in SAMPLERS if "peers" in args.parts else ():
                        lines += against_peers(worker, made[1], kind, sampler, args.rounds)
        if "scoring" in args.parts:
            count = 16 if args.quick else SCORED_ROWS
            say(f"scoring {count} rows of {bench_targets.VOCAB_SIZE:,}")
            path, rows = rows_of("N(0,3)", bench_targets.VOCAB_SIZE, count, folder, args)
            with Worker(worker_program, path, bench_targets.VOCAB_SIZE, args.kernel_target) as worker:
                lines += scoring(worker, rows, 3 if args.quick else max(5, args.rounds // 4))
    if args.json:
        bench_targets.print_json(lines, about)
    else:
        print(", ".join(about["peers"]) + f"; logitd on {about.get('kernel_target')}; medians of {args.rounds} rounds")
        bench_targets.print_table(lines)
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except bench_checks.CheckError as error:
        say(f"step_bench: {error}")
        sys.exit(1)
