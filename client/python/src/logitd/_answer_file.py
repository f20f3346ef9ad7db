"""A file of answers, one a line, to which a job that was killed can add the rest. `logit --out` writes the same files.

- Beside it lies PATH.checkpoint, which says on what its lines depend: input, options, model. It is written before the
  first line, and does not change. A file whose checkpoint differs is refused, and the error names the difference.
- The number of whole lines is the number of answers. A line without its end, which a kill or a full disk leaves, is
  removed when the job goes on.
- The lines are handed to the system at once, so that they survive the end of this process. They are forced to the disk
  every 5 seconds and at the end.
- The file is locked for as long as it is open (not on Windows): a second job on the same file is refused.
"""

from __future__ import annotations

import hashlib
import os
import stat
import time
from collections.abc import Callable, Iterator, Mapping

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

_FIRST_LINE = "logitd checkpoint 1"
_SYNC_INTERVAL_S = 5.0
_BLOCK_BYTES = 1 << 20


class FileError(ValueError):
    """A file cannot be read or written as asked. `field`: "in", "out", "checkpoint", or the name of the difference
    between two checkpoints."""

    def __init__(self, field: str, message: str):
        super().__init__(message)
        self.field = field

    def __reduce__(self) -> tuple[type[FileError], tuple[str, str]]:
        return FileError, (self.field, str(self))


def survey(path: str) -> tuple[int, str]:
    """The lines of a file, and the line of a checkpoint that tells a changed file from an unchanged one. A last line
    without its end counts. Raises FileError."""
    digest, lines, size, last = hashlib.sha256(), 0, 0, b"\n"
    for block in _blocks(path):
        lines += block.count(b"\n")
        size += len(block)
        last = block[-1:]
        digest.update(block)
    lines += last != b"\n"
    return lines, f"{lines} lines, {size} bytes, SHA-256 {digest.hexdigest()}"


def _blocks(path: str) -> Iterator[bytes]:
    try:
        with open(path, "rb") as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise FileError("in", f"cannot read {path}: it must be a regular file, because it is read twice")
            while block := file.read(_BLOCK_BYTES):
                yield block
    except OSError as error:
        raise FileError("in", f"cannot read {path}: {error.strerror}") from error


def checkpoint_of(path: str) -> str:
    """The path of a file's checkpoint."""
    return f"{path}.checkpoint"


def _write_checkpoint(path: str, origin: Mapping[str, str]) -> None:
    """The checkpoint is there whole, or not at all."""
    temporary = f"{path}.new"
    with open(temporary, "w", encoding="utf-8", newline="\n") as file:
        file.write("".join(f"{line}\n" for line in (_FIRST_LINE, *(f"{name} {value}" for name, value in origin.items()))))
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, path)


def _read_checkpoint(path: str) -> dict[str, str]:
    try:
        with open(path, encoding="utf-8", newline="\n") as file:
            first, *rest = file.read().split("\n")
    except FileNotFoundError:
        raise FileError("checkpoint", f"the answers have no checkpoint {path}: nothing says on what they depend") from None
    if first != _FIRST_LINE:
        raise FileError("checkpoint", f'{path} is no checkpoint: its first line must be "{_FIRST_LINE}"')
    pairs = (line.partition(" ") for line in rest if line)
    return {name: value for name, _, value in pairs}


def _check_origin(path: str, kept: Mapping[str, str], origin: Mapping[str, str]) -> None:
    for name in (*origin, *kept):
        there, here = kept.get(name, "none"), origin.get(name, "none")
        if there != here or (name in kept) != (name in origin):
            raise FileError(name, f"{path} belongs to another {name}: {there} there, {here} here; give the job's own, or "
                                  "another output")


class AnswerFile:
    """An open file of answers. One thread."""

    def __init__(self, path: str, origin: Mapping[str, str], *, resume: bool,
                 check_line: Callable[[int, bytes], None]):
        """resume: the file may have lines, from a job of the same origin; without it, it must be empty or not there.
        check_line: is called with each whole line that is kept, and its index from 0.
        Raises FileError; OSError if it cannot be written; whatever check_line raises."""
        self.line_count = 0
        self._synced = time.monotonic()
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | getattr(os, "O_BINARY", 0), 0o644)
        try:
            self._begin(path, origin, resume, check_line)
        except BaseException:
            self.close()
            raise

    def _begin(self, path: str, origin: Mapping[str, str], resume: bool,
               check_line: Callable[[int, bytes], None]) -> None:
        status = os.fstat(self._descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise FileError("out", f"{path} must be a regular file")
        if fcntl is not None:
            try:
                fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise FileError("out", f"another job writes {path}") from None
        checkpoint = checkpoint_of(path)
        if not status.st_size:
            _write_checkpoint(checkpoint, origin)
            return
        if not resume:
            raise FileError("out", f"{path} has {status.st_size} bytes already: resume it, remove it, or name another "
                                   "output")
        _check_origin(checkpoint, _read_checkpoint(checkpoint), origin)
        self._keep_lines(path, check_line)

    def _keep_lines(self, path: str, check_line: Callable[[int, bytes], None]) -> None:
        """Keeps the whole lines, and removes the rest: also from a line with bytes of zero on, which a machine that
        lost its power leaves."""
        kept = 0
        with open(path, "rb") as file:
            for line in file:
                if not line.endswith(b"\n") or b"\0" in line:
                    break
                check_line(self.line_count, line[:-1])
                self.line_count += 1
                kept += len(line)
        os.ftruncate(self._descriptor, kept)

    def append(self, lines: list[str]) -> None:
        """Adds lines, which come without their ends. Raises OSError."""
        data = memoryview("".join(f"{line}\n" for line in lines).encode())
        while data:
            data = data[os.write(self._descriptor, data):]
        self.line_count += len(lines)
        if time.monotonic() - self._synced >= _SYNC_INTERVAL_S:
            self.sync()

    def sync(self) -> None:
        """Forces everything to the disk. Raises OSError."""
        self._synced = time.monotonic()
        os.fsync(self._descriptor)

    def close(self) -> None:
        """Lets others write it."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1
