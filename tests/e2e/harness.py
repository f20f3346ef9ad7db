"""Starts the real server for a test module, and runs the real command line against it.

    def setUpModule():
        global server
        server = harness.Server(model=harness.model_path())

    def tearDownModule():
        server.stop()

    ... harness.logit("score", "a", " b", server=server).json()

Every server has a temporary folder, a free port, and a runner socket of its own; it is stopped by its process id.
"""

from __future__ import annotations

import dataclasses
import json
import os
import pathlib
import queue
import shutil
import signal
import subprocess
import tempfile
import threading

ROOT = pathlib.Path(os.environ.get("LOGITD_ROOT", pathlib.Path(__file__).resolve().parents[2]))
BIN = pathlib.Path(os.environ.get("LOGITD_BIN", ROOT / "build/release/bin"))

# The first start with a model converts it to f32: a minute on a busy machine, more under sanitizers.
START_TIMEOUT_S = 300
CALL_TIMEOUT_S = 300


def model_path() -> pathlib.Path:
    """The real model's file, as scripts/fetch-model prints it."""
    path = os.environ.get("LOGITD_TEST_MODEL")
    if not path:
        path = subprocess.run([ROOT / "scripts/fetch-model"], check=True, stdout=subprocess.PIPE, text=True).stdout
    return pathlib.Path(path.strip())


def cache_dir() -> pathlib.Path:
    """The folder of converted models, shared by all tests."""
    if "LOGITD_CACHE_DIR" in os.environ:
        return pathlib.Path(os.environ["LOGITD_CACHE_DIR"])
    return pathlib.Path(os.environ.get("XDG_CACHE_HOME", pathlib.Path.home() / ".cache")) / "logitd"


class Server:
    """A running logitd. `address` is where it listens, `runner_address` where runners attach, `pid` its process id."""

    def __init__(self, model: pathlib.Path | None = None, flags: tuple[str, ...] = (),
                 program: pathlib.Path = BIN / "logitd", prefix: tuple[str, ...] = (),
                 cache: pathlib.Path | None = None, listen: str = "127.0.0.1:0"):
        """`prefix`: a command that runs the one behind it, e.g. in a control group. `cache`: instead of cache_dir()."""
        self._folder = pathlib.Path(tempfile.mkdtemp(prefix="logitd-e2e-"))
        command = [*prefix, program, "--listen", listen, "--runner-listen", f"unix:{self._folder}/runner.sock"]
        if model is not None:
            command += ["--model", model, "--model-name", "smollm2", "--cache-dir", cache or cache_dir()]
        self._log = open(self._folder / "log", "w+", encoding="utf-8")
        self._process = subprocess.Popen([*map(str, command), *flags], stdout=subprocess.PIPE, stderr=self._log,
                                         stdin=subprocess.DEVNULL, text=True)
        self.pid = self._process.pid
        self._is_stopping = False
        self.runner_address = f"unix:{self._folder}/runner.sock"
        self._lines: queue.SimpleQueue = queue.SimpleQueue()
        threading.Thread(target=self._read_lines, daemon=True).start()
        self.address = self._wait_for_address()

    def _read_lines(self) -> None:
        for line in self._process.stdout:
            self._lines.put(line.rstrip("\n"))
        self._lines.put(None)  # The end: the server has exited or closed its output.

    def _wait_for_address(self) -> str:
        prefix = "listening on "
        try:
            while (line := self._lines.get(timeout=START_TIMEOUT_S)) is not None:
                if line.startswith(prefix):
                    return line.removeprefix(prefix)
            reason = "it ended"
        except queue.Empty:
            reason = f"it said nothing for {START_TIMEOUT_S} s"
        log = self.log()
        self.stop()
        raise RuntimeError(f"logitd did not start: {reason}. Its log:\n{log}")

    def http_address(self) -> str:
        """Where its logitd-http listens, of a server with --http."""
        line = self._lines.get(timeout=START_TIMEOUT_S)
        assert line is not None and line.startswith("http listening on "), f"{line}\n{self.log()}"
        return line.removeprefix("http listening on ")

    def log(self) -> str:
        return pathlib.Path(self._log.name).read_text(encoding="utf-8", errors="replace")

    def is_alive(self) -> bool:
        return self._process.poll() is None

    def signal_stop(self) -> None:
        """SIGTERM, and no more: `stop` waits for the end."""
        self._is_stopping = True
        self._process.send_signal(signal.SIGTERM)

    def wait(self) -> None:
        """Waits for the end; `log` is complete then."""
        self._process.wait(timeout=60)

    def kill(self) -> None:
        """SIGKILL, and waits for the end."""
        self._process.kill()
        self._process.wait()
        self._process.stdout.close()
        self._log.close()
        shutil.rmtree(self._folder, ignore_errors=True)

    def stop(self) -> int:
        """Asks it to end, waits, and returns its exit status. A crash or a sanitizer's report is an AssertionError."""
        if self.is_alive() and not self._is_stopping:
            self._process.send_signal(signal.SIGTERM)
        try:
            status = self._process.wait(timeout=60)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
            raise AssertionError(f"logitd did not stop within 60 s of SIGTERM. Its log:\n{self.log()}") from None
        finally:
            self._process.stdout.close()
            log = self.log()
            self._log.close()
            shutil.rmtree(self._folder, ignore_errors=True)
        if status != 0 or "Sanitizer" in log or "runtime error:" in log:
            raise AssertionError(f"logitd ended with status {status}. Its log:\n{log}")
        return status


@dataclasses.dataclass(frozen=True)
class Outcome:
    """The exit status and output of a program."""

    status: int
    stdout: str
    stderr: str

    def json(self) -> dict:
        """Standard output as one JSON object; the program must have succeeded."""
        assert self.status == 0, f"status {self.status}: {self.stderr or self.stdout}"
        return json.loads(self.stdout)

    def error(self) -> dict:
        """The {"error": ...} that --json prints on standard error."""
        for line in reversed(self.stderr.splitlines()):
            if line.startswith("{"):
                return json.loads(line)["error"]
        return json.loads(self.stderr[self.stderr.index("{"):])["error"]


def run(program: str | pathlib.Path, *arguments: object, timeout_s: float = CALL_TIMEOUT_S, stdin: str = "") -> Outcome:
    """Runs a program of bin/ to its end; `program` may also be a whole path."""
    done = subprocess.run([str(BIN / program), *map(str, arguments)], input=stdin, capture_output=True, text=True,
                          timeout=timeout_s, check=False)
    return Outcome(done.returncode, done.stdout, done.stderr)


def last_words(outcome: Outcome) -> str:
    """The line with which logitd ended: "logitd: ..."."""
    return next(line for line in reversed(outcome.stderr.splitlines()) if line.startswith("logitd: "))


def logit(*arguments: object, server: Server) -> Outcome:
    """Runs `logit ARGUMENTS --server ADDRESS --json`."""
    return run("logit", *arguments, "--server", server.address, "--json")


def vocabulary_path(name: str) -> pathlib.Path:
    """The file ggml-vocab-NAME.gguf of llama.cpp's sources: a vocabulary without a model."""
    sources = subprocess.run([ROOT / "scripts/fetch-sources"], check=True, stdout=subprocess.PIPE, text=True).stdout
    return pathlib.Path(sources.splitlines()[-2]) / "models" / f"ggml-vocab-{name}.gguf"


def random_model(vocabulary: pathlib.Path, out: pathlib.Path, *flags: object) -> pathlib.Path:
    """Writes a model with that vocabulary and random weights (tests/testing/random_model.cc) to `out`."""
    subprocess.run([str(BIN / "random_model"), "--vocab", str(vocabulary), "--out", str(out), *map(str, flags)],
                   check=True)
    return out
