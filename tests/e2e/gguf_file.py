"""Reads a GGUF file's keys by the format's description alone. Tests compare them with the server's statements on the file."""

from __future__ import annotations

import pathlib
import struct

_NUMBERS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
_STRING, _ARRAY = 8, 9


class Keys(dict):
    """Key -> value; texts as bytes, arrays as lists. `places` has where in the file an array's elements begin."""

    def __init__(self, path: pathlib.Path):
        super().__init__()
        self.places: dict[str, int] = {}
        self._data = path.read_bytes()
        if self._data[:4] != b"GGUF":
            raise ValueError(f"{path} is no GGUF file")
        self._at = 16
        for _ in range(self._number("Q")):
            key = self._text().decode()
            self[key] = self._value(self._number("I"), key)

    def _number(self, kind: str):
        (value,) = struct.unpack_from("<" + kind, self._data, self._at)
        self._at += struct.calcsize("<" + kind)
        return value

    def _text(self) -> bytes:
        size = self._number("Q")
        self._at += size
        return self._data[self._at - size:self._at]

    def _value(self, kind: int, key: str):
        if kind == _STRING:
            return self._text()
        if kind != _ARRAY:
            return self._number(_NUMBERS[kind])
        kind, count = self._number("I"), self._number("Q")
        self.places[key] = self._at
        return [self._value(kind, "") for _ in range(count)]
