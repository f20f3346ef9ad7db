"""The programs of logitd: the commands `logitd`, `logit`, `logitd-llama` and `logitd-http`.

    logitd --model model.gguf             # in a shell
    logitd_server.path("logitd")          # the program's file, for subprocess
"""

from __future__ import annotations

import os
import pathlib
import sys
from typing import NoReturn

__all__ = ["path"]
__version__ = "0.1.0"


_PROGRAMS = ("logitd", "logit", "logitd-llama", "logitd-http")


def path(program: str) -> pathlib.Path:
    """The file of "logitd", "logit", "logitd-llama" or "logitd-http". Raises ValueError for any other name."""
    if program not in _PROGRAMS:
        raise ValueError(f"program must be one of {', '.join(map(repr, _PROGRAMS))}, got {program!r}")
    return pathlib.Path(__file__).parent / "bin" / program


def _run(program: str) -> NoReturn:
    # This process becomes the program, so that signals and exit codes are the program's.
    os.execv(path(program), [program, *sys.argv[1:]])


def logitd() -> NoReturn:
    """The command `logitd`."""
    _run("logitd")


def logit() -> NoReturn:
    """The command `logit`."""
    _run("logit")


def logitd_llama() -> NoReturn:
    """The command `logitd-llama`."""
    _run("logitd-llama")


def logitd_http() -> NoReturn:
    """The command `logitd-http`."""
    _run("logitd-http")
