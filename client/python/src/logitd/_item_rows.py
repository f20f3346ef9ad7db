"""Files of items: JSON lines, csv and parquet, one item after the other.

A row that is no item is an error of that row alone. Columns are named as the fields of the item: "context" and, for
example, "continuations"; other names are given as {"context": "question", "continuations": ["A", "B", "C", "D"]}.
"""

from __future__ import annotations

import csv
import dataclasses
import hashlib
import itertools
import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Union

from logitd import _json_lines
from logitd._answer_file import FileError, survey
from logitd.v1 import error_pb2

Columns = Mapping[str, Union[str, Sequence[str]]]
# More than the server takes of one text.
_MOST_CELL_BYTES = 64 << 20


@dataclasses.dataclass(frozen=True)
class Refused:
    """A line or row that is no item."""

    error: error_pb2.Error
    id: str = ""


# A message, or why there is none.
Row = Union[Any, Refused]


def suffix_of(path: str, field: str) -> str:
    """".jsonl", ".csv" or ".parquet". Raises FileError."""
    suffix = os.path.splitext(path)[1].lower()
    if suffix not in (".jsonl", ".csv", ".parquet"):
        raise FileError(field, f"{path} must end with .jsonl, .csv or .parquet")
    return suffix


@dataclasses.dataclass
class Source:
    """A file of items. `total`: its lines or rows; `origin`: what a checkpoint says of it."""

    path: str
    total: int
    origin: dict[str, str]
    # "line" or "row", for errors.
    noun: str
    _rows: Callable[[int], Iterator[Row]]

    def rows(self, begin: int) -> Iterator[Row]:
        """The items from the one at `begin` on. Raises FileError if the file has changed."""
        count = begin
        for row in self._rows(begin):
            count += 1
            if count > self.total:
                break
            yield row
        if count != self.total:
            raise FileError("in", f"{self.path} changed while it was read")

    def place(self, index: int) -> str:
        """The name of an item's place, for people."""
        return f"{self.noun} {index + 1} of {self.path}"


def open_source(path: str, message: type[Any], parts: str, convert: Callable[[Mapping[str, Any], str], Any],
                columns: Columns | None) -> Source:
    """A file of items. `message`: their type; `parts`: its field with the continuations, candidates or options;
    `convert`: makes one from a dict. Raises FileError."""
    suffix = suffix_of(path, "in")
    if suffix == ".jsonl":
        if columns is not None:
            raise FileError("columns", "a file of JSON lines has no columns: its items have the names of the .proto files")
        total, text = survey(path)
        return Source(path, total, {"input": text}, "line", lambda begin: _lines(path, begin, message))
    reader = _read_csv if suffix == ".csv" else _read_parquet
    names = _column_names(columns, parts)
    with _readable(path):
        found, total = reader(path, None)
        chosen = _choose(path, names, next(found), columns or {})
        digest = hashlib.sha256()
        with open(path, "rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
        size = os.path.getsize(path)

    def rows(begin: int) -> Iterator[Row]:
        wanted = sorted({name for value in chosen.values() for name in ([value] if isinstance(value, str) else value)})
        values, _ = reader(path, wanted)
        next(values)
        for number, value in enumerate(itertools.islice(values, begin, None), begin + 1):
            yield _item(value, number, path, parts, chosen, convert)

    return Source(path, total, {"input": f"{total} rows, {size} bytes, SHA-256 {digest.hexdigest()}",
                                "columns": json.dumps(chosen, ensure_ascii=True, separators=(",", ":"))}, "row", rows)


class _readable:
    """An OSError in the block is a FileError."""

    def __init__(self, path: str):
        self._path = path

    def __enter__(self) -> None:
        if not os.path.isfile(self._path):
            raise FileError("in", f"cannot read {self._path}: it must be a regular file, because it is read twice")

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, OSError):
            raise FileError("in", f"cannot read {self._path}: {error.strerror or error}") from error


def _lines(path: str, begin: int, message: type[Any]) -> Iterator[Row]:
    with open(path, "rb") as file:
        for number, line in enumerate(file, 1):
            if number <= begin:
                continue
            item = message()
            error = _json_lines.from_line(line.removesuffix(b"\n"), number, path, item)
            yield item if error is None else Refused(error, item.id)


def _column_names(columns: Columns | None, parts: str) -> dict[str, str | Sequence[str]]:
    names: dict[str, str | Sequence[str]] = {"id": "id", "context": "context", parts: parts}
    for field, name in (columns or {}).items():
        if field not in names:
            raise FileError("columns", f"columns has the field {field!r}; the fields are {', '.join(names)}")
        if not isinstance(name, str) and (field != parts or not all(isinstance(one, str) for one in name) or not name):
            raise FileError("columns", f"columns[{field!r}] must be the name of a column"
                                       + (", or a list of names" if field == parts else ""))
        names[field] = name if isinstance(name, str) else list(name)
    return names


def _choose(path: str, names: dict[str, str | Sequence[str]], header: Sequence[str],
            given: Columns) -> dict[str, str | Sequence[str]]:
    """The columns that there are; an id need not be there."""
    if "id" not in given and "id" not in header:
        names = {field: name for field, name in names.items() if field != "id"}
    for name in itertools.chain.from_iterable([name] if isinstance(name, str) else name for name in names.values()):
        if name not in header:
            raise FileError("columns", f"{path} has no column {name!r}; its columns are {', '.join(header)}")
    return names


def _read_csv(path: str, wanted: Sequence[str] | None) -> tuple[Iterator[Any], int]:
    """The header, then a dict for each row; and the number of rows if `wanted` is None."""
    def rows() -> Iterator[Any]:
        with open(path, encoding="utf-8-sig", newline="") as file:
            # One for the whole program.
            csv.field_size_limit(max(csv.field_size_limit(), _MOST_CELL_BYTES))
            reader = csv.reader(file, strict=True)
            header = next(reader, [])
            yield header
            for row in reader:
                # A row with other columns is the error of that row.
                yield dict(zip(header, row)) if len(row) == len(header) else len(row)

    try:
        return rows(), -1 if wanted is not None else sum(1 for _ in rows()) - 1
    except (csv.Error, UnicodeDecodeError) as error:
        raise FileError("in", f"{path} is no csv file in UTF-8: {error}") from error


def _read_parquet(path: str, wanted: Sequence[str] | None) -> tuple[Iterator[Any], int]:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        raise ImportError('parquet files need pyarrow: pip install "logitd[files]"') from None

    try:
        file = pyarrow.parquet.ParquetFile(path)
    except pyarrow.ArrowInvalid as error:
        raise FileError("in", f"{path} is no parquet file: {error}") from error

    def rows() -> Iterator[Any]:
        yield file.schema_arrow.names
        for batch in file.iter_batches(1024, columns=wanted):
            yield from batch.to_pylist()

    return rows(), file.metadata.num_rows


def _item(row: Any, number: int, path: str, parts: str, chosen: Mapping[str, str | Sequence[str]],
          convert: Callable[[Mapping[str, Any], str], Any]) -> Row:
    def refused(words: str) -> Refused:
        error = _json_lines.malformed(number, path, words)
        error.value = f"row {number}"
        error.message = f"row {number} of {path} {words}"
        return Refused(error, name)

    name = ""
    if not isinstance(row, Mapping):
        return refused(f"has {row} values, and not one for each column")
    if "id" in chosen and row[chosen["id"]] is not None:
        name = str(row[chosen["id"]])
    columns = chosen[parts]
    if isinstance(columns, str):
        values = row[columns]
        if isinstance(values, str):
            try:
                values = json.loads(values)
            except ValueError:
                values = None
        if not isinstance(values, list):
            return refused(f"has no list in column {columns!r}: it must be a list, or one in JSON")
    else:
        values = [row[column] for column in columns]
        # A question with fewer answers than the table has columns.
        while values and values[-1] in ("", None):
            values.pop()
    try:
        return convert({"id": name, "context": row[chosen["context"]], parts: values}, "it")
    except (TypeError, ValueError) as error:
        return refused(f"is no item: {error}")
