"""A run of `logit COMMAND IN --out OUT --resume` whose client and server are killed at random places."""

from __future__ import annotations

import dataclasses
import json
import pathlib
import random
import subprocess
from collections.abc import Callable

import harness


@dataclasses.dataclass
class KilledRun:
    """What happened: the last client's summary, and the kills."""

    summary: dict
    kills: dict[str, int]
    # Parts of lines that were left behind clients.
    torn: int


def run(command: list[object], out: pathlib.Path, size: int, kills: dict[str, int],
        kill_server: Callable[[], None], seed: int, timeout_s: float = harness.CALL_TIMEOUT_S) -> KilledRun:
    """Starts `command` again and again until it ends by itself.

    `size`: the bytes of `out` when it is done; kills happen at random ones of them. `kills`: how many of "client" and
    of "server"; `kill_server` also starts another one. Raises AssertionError if a client fails or ends too early.
    """
    rng = random.Random(seed)
    events = [who for who, count in kills.items() for _ in range(count)]
    rng.shuffle(events)

    def start() -> subprocess.Popen:
        return subprocess.Popen([str(word) for word in command], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    client = start()
    done = {"client": 0, "server": 0}
    torn = 0
    for event, at in zip(events, sorted(rng.randrange(size) for _ in events)):
        while client.poll() is None and (not out.exists() or out.stat().st_size < at):
            try:
                client.wait(timeout=0.001)
            except subprocess.TimeoutExpired:
                pass
        assert client.poll() is None, f"the client ended before it was killed: {client.communicate()}"
        done[event] += 1
        if event == "server":
            kill_server()
            continue
        client.kill()
        client.communicate()
        # A kill in the middle of a write, or a full disk, leaves a part of a line.
        if rng.random() < 0.5:
            torn += 1
            with open(out, "a", encoding="utf-8") as file:
                file.write('{"item_index":12')
        client = start()
    output, errors = client.communicate(timeout=timeout_s)
    assert client.returncode == 0, errors
    return KilledRun(json.loads(output), done, torn)
