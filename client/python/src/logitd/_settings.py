"""The arguments of Client and AsyncClient."""

from __future__ import annotations

import dataclasses
import os
from typing import Any

from logitd import _batches, _calls, _values, server

_MOST_IN_FLIGHT = 256


@dataclasses.dataclass
class Settings:
    """The arguments of a client."""

    address: str
    model: str
    timeout: float | None
    retry_for: float
    in_flight: int
    process: int = dataclasses.field(default_factory=os.getpid)

    def __post_init__(self) -> None:
        self.model = _values.text(self.model, "model")
        if self.timeout is not None and not _values.number(self.timeout, "timeout") > 0:
            raise ValueError(f"timeout must be above 0 seconds, or None, got {self.timeout}")
        if not _values.number(self.retry_for, "retry_for") >= 0:
            raise ValueError(f"retry_for must be at least 0 seconds, got {self.retry_for}")
        if not 1 <= _values.int32(self.in_flight, "in_flight") <= _MOST_IN_FLIGHT:
            raise ValueError(f"in_flight must be in [1, {_MOST_IN_FLIGHT}], got {self.in_flight}")

    def check_process(self) -> None:
        """Raises RuntimeError in a process that was forked from the client's own."""
        if os.getpid() != self.process:
            raise RuntimeError(
                f"this client belongs to process {self.process}, and connections do not survive a fork into process "
                f"{os.getpid()}: make a client in each process, and start processes by multiprocessing's 'spawn'")

    def batches(self, call: _calls.Call[Any], limits: server.Limits) -> _batches.Batches[Any]:
        """The batches of a call."""
        return _batches.Batches(call.method, retry_for=self.retry_for, in_flight=self.in_flight, whose=call.whose,
                                most_bytes=limits.max_request_bytes or _batches.BYTES_PER_REQUEST)

    def with_model(self, options: dict[str, Any]) -> dict[str, Any]:
        """The options of a call, with the client's own where they say nothing."""
        given = dict(options)
        if given.get("model") is None and self.model:
            given["model"] = self.model
        if given.get("timeout") is None:
            given["timeout"] = self.timeout
        return given
