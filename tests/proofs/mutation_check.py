#!/usr/bin/python3
"""Shows that the tests notice faults: makes one at a time in a copy of the tree (mutations.py), and wants a test to fail.

    LOGITD_LONG=1 tests/proofs/mutation_check.py [--only WORD]   # all, or those with WORD in the name
    tests/proofs/mutation_check.py                               # only whether each fault can still be made

The copy is in a temporary folder and is built as build/release was configured, without llama.cpp. A fault counts as
noticed if a test program fails, not if the build does. The short form is part of every run of the tests.
"""

import argparse
import os
import pathlib
import shlex
import shutil
import subprocess
import sys
import tempfile
import time

from mutations import MUTATIONS, Mutation

ROOT = pathlib.Path(__file__).resolve().parents[2]
# The quickest first: one that fails is enough.
PROGRAMS = ("core_tests", "proofs", "kernels_fuzz", "distribution_fuzz")
# A fault may also be one that never ends.
TIMEOUT_S = 300


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", metavar="WORD", help="faults with this in the name")
    parser.add_argument("--verbose", action="store_true", help="ignored: what all tests are started with")
    args = parser.parse_args()
    chosen = [mutation for mutation in MUTATIONS if args.only in mutation.name]
    stale = [mutation for mutation in MUTATIONS if (ROOT / mutation.file).read_text().count(mutation.before) != 1]
    for mutation in stale:
        print(f"{mutation.file} does not have this exactly once, for '{mutation.name}':\n{mutation.before}",
              file=sys.stderr)
    if stale or not chosen:
        return 1
    if os.environ.get("LOGITD_LONG") != "1":
        print(f"{len(MUTATIONS)} faults can be made; LOGITD_LONG=1 makes them")
        return 0
    with tempfile.TemporaryDirectory(prefix="logitd-mutation-") as folder:
        return check(pathlib.Path(folder), chosen)


def check(tree: pathlib.Path, mutations: list[Mutation]) -> int:
    copy_tree(tree)
    configure(tree)
    began = time.monotonic()
    if not build(tree):
        print("the copy without a fault does not build", file=sys.stderr)
        return 1
    if (failure := first_failure(tree)) is not None:
        print(f"without a fault this fails already: {failure}", file=sys.stderr)
        return 1
    print(f"without a fault: all pass ({time.monotonic() - began:.0f} s)", flush=True)
    missed = 0
    for mutation in mutations:
        began = time.monotonic()
        path = tree / mutation.file
        original = path.read_text()
        path.write_text(original.replace(mutation.before, mutation.after))
        if not build(tree):
            outcome = "MISSED: it does not build"
        elif (failure := first_failure(tree)) is None:
            outcome = "MISSED: every test passes"
        else:
            outcome = f"noticed by {failure}"
        path.write_text(original)
        missed += outcome.startswith("MISSED")
        print(f"{mutation.name}: {outcome} ({time.monotonic() - began:.0f} s)", flush=True)
    print(f"{len(mutations) - missed} of {len(mutations)} faults are noticed")
    return 1 if missed else 0


def copy_tree(tree: pathlib.Path) -> None:
    """What git would commit, as it is on disk; without git, all but build/."""
    listing = subprocess.run(["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"], cwd=ROOT,
                             capture_output=True, check=False)
    if listing.returncode != 0:
        shutil.copytree(ROOT, tree, dirs_exist_ok=True, ignore=shutil.ignore_patterns("build", ".git"))
        return
    for name in filter(None, listing.stdout.decode().split("\0")):
        if not (ROOT / name).is_file():
            continue
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / name, tree / name)


def configure(tree: pathlib.Path) -> None:
    """As build/release was. A second copy finds the compiler's results in ccache."""
    os.environ.update(CCACHE_BASEDIR=str(tree), CCACHE_NOHASHDIR="1")
    options = shlex.split((ROOT / "build/release/configuration").read_text())
    subprocess.run(["cmake", *options, "-DLOGITD_LLAMA=OFF"], cwd=tree, check=True, stdout=subprocess.DEVNULL)


def build(tree: pathlib.Path) -> bool:
    # To the end: a program that is not built again would pass with the code of before.
    result = subprocess.run(["cmake", "--build", "build/release", "--target", *PROGRAMS], cwd=tree, check=False,
                            capture_output=True, text=True)
    if result.returncode != 0:
        print(result.stdout[-3000:], file=sys.stderr)
    return result.returncode == 0


def first_failure(tree: pathlib.Path) -> str | None:
    """The first test that fails, of any program; None: all pass."""
    # Short forms: a fault that only the long ones notice would be in the tree for a day.
    environment = {**os.environ, "LOGITD_LONG": "0"}
    for program in PROGRAMS:
        options = ["--gtest_brief=1", "--gtest_fail_fast"] if program in ("core_tests", "proofs") else []
        try:
            result = subprocess.run([tree / "build/release/bin" / program, *options], env=environment, check=False,
                                    capture_output=True, text=True, timeout=TIMEOUT_S)
        except subprocess.TimeoutExpired:
            return f"{program} (it never ends)"
        if result.returncode != 0:
            failed = [line for line in result.stdout.splitlines() if line.startswith("[  FAILED  ]")]
            name = failed[0].split()[3] if failed else f"status {result.returncode}"
            return f"{program} {name}"
    return None


if __name__ == "__main__":
    sys.exit(main())
