"""A model of known log-probs: the program transition_runner, and the same numbers in Python.

    tables = transition.Tables(["<s>", "a", "b"], [[...], [...], [...]], control_token_ids=[0], bos_token_id=0)
    tables = transition.random_tables(seed=1)          # 320 tokens, which spell every text
    runner = transition.attach(server, tables, flags=("--context-length", 100_000))
    tables.log_prob(after=1, token=2); tables.sum([context ids], [continuation ids]); tables.tokenize(b"ab")
    counts = runner.stop()                             # {"batches": ..., "tokens": ..., "rows": ..., ...}

The row after token t is row t of the matrix, whatever came before. tests/testing/transition_model.h has the rules.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import math
import pathlib
import queue
import re
import struct
import subprocess
import tempfile
import threading

import grpc
import harness
import health

NAME = "transition"
WORD_SOURCE = harness.ROOT / "tests/testing/transition_tables.cc"
START_TIMEOUT_S = 60


@dataclasses.dataclass(eq=False)
class Tables:
    """A vocabulary and its matrix of logits; None is -inf."""

    tokens: list[bytes | str]
    logits: list[list[float | None]]
    control_token_ids: list[int] = dataclasses.field(default_factory=list)
    bos_token_id: int | None = None
    eos_token_id: int | None = None
    seed: int | None = None

    def __post_init__(self):
        self.tokens = [token.encode() if isinstance(token, str) else token for token in self.tokens]
        # As the runner holds them.
        self.logits = [[-math.inf if x is None else struct.unpack("f", struct.pack("f", x))[0] for x in row]
                       for row in self.logits]

    @functools.cached_property
    def log_probs(self) -> list[list[float]]:
        """The log-softmax of every row, in float64."""
        rows = []
        for row in self.logits:
            most = max(row)
            total = most + math.log(math.fsum(math.exp(x - most) for x in row))
            rows.append([x - total for x in row])
        return rows

    def log_prob(self, after: int, token: int) -> float:
        return self.log_probs[after][token]

    def token_log_probs(self, context: list[int], continuation: list[int]) -> list[float]:
        return [self.log_probs[a][b] for a, b in zip([context[-1], *continuation], continuation)]

    def sum(self, context: list[int], continuation: list[int]) -> float:
        return math.fsum(self.token_log_probs(context, continuation))

    def is_greedy(self, context: list[int], continuation: list[int]) -> bool:
        """Whether every token is the argmax of its row; ties go to the lowest id."""
        return all(self.logits[a].index(max(self.logits[a])) == b
                   for a, b in zip([context[-1], *continuation], continuation))

    def spell(self, tokens: list[int]) -> bytes:
        return b"".join(self.tokens[t] for t in tokens if t not in self.control_token_ids)

    @functools.cached_property
    def _ids(self) -> dict[bytes, int]:
        ids: dict[bytes, int] = {}
        for i, token in enumerate(self.tokens):
            if token and i not in self.control_token_ids:
                ids.setdefault(token, i)
        return ids

    def tokenize(self, text: bytes | str) -> list[int]:
        """The longest token that fits, again and again, without special tokens."""
        text = text.encode() if isinstance(text, str) else text
        longest = max(map(len, self._ids))
        tokens, begin = [], 0
        while begin < len(text):
            length = next(n for n in range(min(longest, len(text) - begin), 0, -1)
                          if text[begin:begin + n] in self._ids)
            tokens.append(self._ids[text[begin:begin + length]])
            begin += length
        return tokens

    def json(self) -> str:
        facts = {"tokens": [list(token) for token in self.tokens],
                 "logits": [[None if x == -math.inf else x for x in row] for row in self.logits],
                 "control_token_ids": self.control_token_ids}
        for name in ("bos_token_id", "eos_token_id"):
            if getattr(self, name) is not None:
                facts[name] = getattr(self, name)
        return json.dumps(facts)


def _mix(x: int) -> int:
    mask = (1 << 64) - 1
    x = (x + 0x9E3779B97F4A7C15) & mask
    x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) & mask
    x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) & mask
    return x ^ (x >> 31)


def _words() -> list[bytes]:
    """kWords of the runner's source, so that there is one list of them."""
    source = WORD_SOURCE.read_text(encoding="utf-8")
    body = source[source.index("kWords[] = {"):]
    literals = re.findall(r'"((?:[^"\\]|\\.)*)"', body[:body.index("};")])
    return [literal.encode().decode("unicode_escape").encode("latin-1") for literal in literals]


def random_tables(seed: int = 1) -> Tables:
    """The runner's own tables of that seed, made again: RandomTables of transition_tables.cc."""
    tokens = [b"<s>", b"</s>", *(bytes([b]) for b in range(256)), *_words()]
    rows = []
    for t in range(len(tokens)):
        state = _mix(_mix(seed) ^ t)
        rows.append([((_mix(state ^ i) >> 49) * 512 + i - (1 << 23)) / (1 << 20) for i in range(len(tokens))])
    return Tables(tokens, rows, [0, 1], 0, 1, seed)


class Runner:
    """A transition_runner that serves `tables` as model "transition". The server has accepted it once the constructor
    returns, and may yet be reading its vocabulary: see attach."""

    def __init__(self, address: str, tables: Tables | None = None, flags: tuple[object, ...] = ()):
        """`tables`: default random_tables(1). `flags`: more arguments of transition_runner."""
        self.tables = tables if tables is not None else random_tables()
        command: list[object] = [harness.BIN / "transition_runner", address]
        with tempfile.TemporaryDirectory(prefix="logitd-e2e-") as folder:
            if self.tables.seed is not None:
                command += ["--seed", self.tables.seed]
            else:
                path = pathlib.Path(folder) / "tables.json"
                path.write_text(self.tables.json(), encoding="utf-8")
                command += ["--tables", path]
            self._process = subprocess.Popen([*map(str, command), *map(str, flags)], stdin=subprocess.PIPE,
                                             stdout=subprocess.PIPE, text=True)
            self.pid = self._process.pid
            self._lines: queue.SimpleQueue = queue.SimpleQueue()
            threading.Thread(target=self._read_lines, daemon=True).start()
            line = self._lines.get(timeout=START_TIMEOUT_S)
        if line != "attached":
            self._process.kill()
            self._process.wait()
            raise RuntimeError(f"transition_runner was not attached; it said {line}")

    def _read_lines(self) -> None:
        for line in self._process.stdout:
            self._lines.put(line.rstrip("\n"))
        self._lines.put(None)

    def stop(self) -> dict:
        """Detaches in order, and returns the batches, tokens and rows that it evaluated."""
        self._process.stdin.close()
        line = self._lines.get(timeout=START_TIMEOUT_S)
        assert self._process.wait(timeout=START_TIMEOUT_S) == 0, line
        self._process.stdout.close()
        return json.loads(line)

    def kill(self) -> None:
        """Ends it at once, whatever has become of its server."""
        self._process.kill()
        self._process.wait()
        while self._lines.get(timeout=START_TIMEOUT_S) is not None:
            pass
        self._process.stdin.close()
        self._process.stdout.close()


def attach(server: harness.Server, tables: Tables | None = None, flags: tuple[object, ...] = ()) -> Runner:
    """A Runner whose model can be called."""
    runner = Runner(server.runner_address, tables, flags)
    with grpc.insecure_channel(server.address) as channel:
        health.wait_until_serving(channel, f"model/{NAME}")
    return runner
