"""A progress bar, by tqdm."""

from __future__ import annotations

from collections.abc import Sized
from typing import Any

from logitd import _calls


class Progress:
    """Counts what is done. Shows nothing unless it is asked to."""

    def __init__(self, shown: bool, total: int | None, unit: str, done: int = 0):
        """total: None if it is not known. Raises ImportError if the bar is shown and tqdm is missing."""
        self._bar: Any = None
        if not shown:
            return
        try:
            from tqdm.auto import tqdm
        except ImportError:
            raise ImportError('progress=True needs tqdm: pip install "logitd[progress]"') from None
        self._bar = tqdm(total=total, initial=done, unit=unit)

    @classmethod
    def of(cls, call: _calls.Call[Any]) -> Progress:
        """That of a call's items."""
        total = len(call.items) if call.total is None and isinstance(call.items, Sized) else call.total
        return cls(call.progress, total, call.unit, call.done)

    def add(self, count: int) -> None:
        """`count` more are done."""
        if self._bar is not None:
            self._bar.update(count)

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.close()
