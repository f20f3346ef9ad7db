"""A progress bar, by tqdm."""

from __future__ import annotations

from collections.abc import Sized
from typing import Any


class Progress:
    """Counts what is done. Shows nothing unless it is asked to."""

    def __init__(self, is_shown: bool, items: object, unit: str):
        """Raises ImportError if it should be shown and tqdm is missing."""
        self._bar: Any = None
        if not is_shown:
            return
        try:
            from tqdm.auto import tqdm
        except ImportError:
            raise ImportError('progress=True needs tqdm: pip install "logitd[progress]"') from None
        self._bar = tqdm(total=len(items) if isinstance(items, Sized) else None, unit=unit)

    def add(self, count: int) -> None:
        """`count` more are done."""
        if self._bar is not None:
            self._bar.update(count)

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.close()
