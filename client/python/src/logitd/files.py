"""Files of items in, files of answers out, with the checkpoints of `logit score IN --out OUT --resume`.

    summary = logitd.files.score(client, "items.jsonl", "scores.jsonl", resume=True)
    logitd.files.score(client, "items.csv", "scores.parquet", columns={"context": "question", "continuations": ["A", "B"]})

- Formats go by the names' ends: .jsonl, .csv, .parquet, each in and out. A file of JSON lines has protobuf's JSON, one
  ScoreItem, RankItem or DecideItem a line, and an answer file one ScoreResponse, ... a line.
- Line n of the answers belongs to line (or row) n of the input. One that is no item, or is refused, has an answer with
  an error in its place.
- Whatever stops the run (Ctrl-C, a kill, a lost server): the same call with resume=True goes on where it stopped. The
  checkpoint OUT.checkpoint says on what the answers depend: the input, the options, the model. If it differs, the run
  is refused, and the error names the difference.
- Between JSON lines, the command line can go on with a run that was begun here, and the other way round.
- A table (.csv, .parquet) has one row for each continuation, candidate or option. It is written when all answers are
  there; until then, and after it, they are in OUT.jsonl, with every number.
"""

from __future__ import annotations

import csv
import dataclasses
import os
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import grpc
from google.protobuf import json_format

from logitd import _calls, _item_rows, _json_lines, _methods, errors, requests
from logitd._answer_file import AnswerFile as _AnswerFile, FileError as FileError, checkpoint_of
from logitd._batches import Answered
from logitd._item_rows import Columns as Columns
from logitd._retry import Patience
from logitd.client import Client
from logitd.v1 import completion_pb2, scoring_service_pb2

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from logitd import options as options_lib


@dataclasses.dataclass(frozen=True)
class Summary:
    """A run that has ended: items of the input; those with an error, in them or in a part; those that an earlier run
    had answered; the path of the answers."""

    items: int
    failed: int
    resumed: int
    out: str


@dataclasses.dataclass(frozen=True)
class _Kind:
    """Score, rank or decide."""

    command: str
    item: type[Any]
    parts: str
    convert: Callable[[Any, str], Any]
    call: Callable[[Any, dict[str, Any]], _calls.Call[Any]]


_SCORE = _Kind("score", scoring_service_pb2.ScoreItem, "continuations", requests.score_item, _calls.score)
_RANK = _Kind("rank", scoring_service_pb2.RankItem, "candidates", requests.rank_item, _calls.rank)
_DECIDE = _Kind("decide", scoring_service_pb2.DecideItem, "options", requests.decide_item, _calls.decide)


def score(client: Client, source: str | os.PathLike[str], out: str | os.PathLike[str], *, resume: bool = False,
          columns: Columns | None = None, **options: Unpack[options_lib.ScoreOptions]) -> Summary:
    """Scores a file of items.

    columns: the columns of a table by the names of ScoreItem's fields: {"context": "question", "continuations": "choices",
      "id": "qid"}. The column of the continuations holds a list, or one in JSON; a list of columns has one continuation
      each, and empty ones at its end are left out.
    options: those of Client.score.

    Raises FileError (the files), OSError (the answers cannot be written), LogitdError.
    """
    return _run(_SCORE, client, source, out, resume, columns, dict(options))


def rank(client: Client, source: str | os.PathLike[str], out: str | os.PathLike[str], *, resume: bool = False,
         columns: Columns | None = None, **options: Unpack[options_lib.RankOptions]) -> Summary:
    """As `score`, with the candidates of RankItem and the options of Client.rank."""
    return _run(_RANK, client, source, out, resume, columns, dict(options))


def decide(client: Client, source: str | os.PathLike[str], out: str | os.PathLike[str], *, resume: bool = False,
           columns: Columns | None = None, **options: Unpack[options_lib.DecideOptions]) -> Summary:
    """As `score`, with the options of DecideItem (a choice, in a table) and the options of Client.decide."""
    return _run(_DECIDE, client, source, out, resume, columns, dict(options))


@dataclasses.dataclass
class _FileMethod(_methods.ItemMethod):
    """Answers name the line of the file, and fields from the item on."""

    source: _item_rows.Source = None  # type: ignore[assignment]
    begin: int = 0

    def place(self, answer: Any, index: int) -> None:
        answer.item_index = index = index + self.begin
        for part in (answer.item, *getattr(answer.item, self.parts)):
            if part.HasField("error"):
                for name in ("message", "field"):
                    setattr(part.error, name, _methods.without_place(getattr(part.error, name)))
        place = self.source.place(index)
        error = answer.item.error
        if answer.item.HasField("error") and not error.message.startswith(place):
            error.message = f"{place}: {error.message}"


def _run(kind: _Kind, client: Client, source: Any, out: Any, resume: bool, columns: Columns | None,
         options: dict[str, Any]) -> Summary:
    source, out = os.fspath(source), os.fspath(out)
    suffix = _item_rows.suffix_of(out, "out")
    answers = out if suffix == ".jsonl" else f"{out}.jsonl"
    _check_apart(source, (out, answers, checkpoint_of(answers)))
    if out != answers and os.path.exists(out) and not os.path.exists(answers):
        raise FileError("out", f"{out} is there already, and not from a run of this kind: remove it, or name another output")
    call = kind.call([], client._options(options))
    base = call.method.base  # type: ignore[attr-defined]
    items = _item_rows.open_source(source, kind.item, kind.parts, kind.convert, columns)
    whose = _whose(client, kind, base)
    failed = 0

    def check_line(index: int, line: bytes) -> None:
        nonlocal failed
        if index >= items.total:
            raise FileError("out", f"{answers} has more lines than {source}")
        # A line that another program has changed or moved.
        if not line.startswith(f'{{"item_index":{index},'.encode()):
            raise FileError("out", f"line {index + 1} of {answers} is not the answer to {items.place(index)}: the file was "
                                   "changed")
        failed += b'"error":{' in line

    file = _AnswerFile(answers, _origin(kind, items, base, whose), resume=resume, check_line=check_line)
    try:
        resumed = file.line_count
        call.method = _FileMethod(base, call.response, kind.parts, source=items, begin=resumed)
        call.items = items.rows(resumed)
        call.convert = lambda row, where: _sendable(call.response, row)
        call.result = _json_lines.to_json
        call.whose, call.total, call.done = whose, items.total, resumed
        for line in client._each(call):
            file.append([line])
            failed += '"error":{' in line
        file.sync()
    finally:
        file.close()
    if suffix != ".jsonl":
        _write_table(answers, out, suffix, kind, call.response)
    return Summary(items.total, failed, resumed, out)


def _sendable(response: type[Any], row: Any) -> Any:
    if not isinstance(row, _item_rows.Refused):
        return row
    answer = response(id=row.id)
    answer.item.error.CopyFrom(row.error)
    return Answered(answer)


def _check_apart(source: str, written: tuple[str, ...]) -> None:
    for path in written:
        if os.path.exists(path) and os.path.exists(source) and os.path.samefile(source, path):
            raise FileError("out", f"{path} is the input itself: name another output")


def _whose(client: Client, kind: _Kind, base: Any) -> completion_pb2.Provenance:
    """Whose numbers the answers will be: constant while a server and a model live. Without a fingerprint if there is no
    model; the requests' own error will say why."""
    patience = Patience(client._settings.retry_for)
    while True:
        provenance = completion_pb2.Provenance(numerics_version=client.info().numerics_version)
        models = client.models()
        if kind is _RANK and not models:
            # Sums that the caller brings need no model.
            return provenance
        if len(models) > 1 and not base.model:
            return provenance
        found = [model for model in models if base.model in ("", model.name)]
        if models and not found:
            return provenance
        if found and found[0].model_fingerprint:
            provenance.model_fingerprint, provenance.precision = found[0].model_fingerprint, found[0].precision
            platform = found[0].platform
            if platform is not None and _is_reproducible(base):
                runner: Any = provenance.runner
                runner.version, runner.threads, runner.cpu_target = platform.version, platform.threads, platform.cpu_target
            return provenance
        name = f"model {base.model}" if base.model else "model"
        time.sleep(patience.wait_after(errors.UnavailableError(f"the server has no {name} yet",
                                                               code=grpc.StatusCode.UNAVAILABLE)))


def _is_reproducible(base: Any) -> bool:
    return bool(getattr(base.evaluation, "reproducible", False))


def _origin(kind: _Kind, items: _item_rows.Source, base: Any, whose: completion_pb2.Provenance) -> dict[str, str]:
    model = f"{whose.model_fingerprint.hex()} {whose.precision}" if whose.model_fingerprint else "none"
    origin = {"input": items.origin["input"], "command": kind.command, "options": _json_lines.to_json(base, False),
              "model": model, "numerics_version": str(whose.numerics_version)}
    if _is_reproducible(base) and whose.HasField("runner"):
        runner: Any = whose.runner
        origin["runner"] = f"{runner.version}, {runner.threads} threads, {runner.cpu_target}"
    return {**origin, **items.origin}


# ---- Tables ----


def _table_rows(answers: str, kind: _Kind, response: type[Any]) -> Iterator[list[dict[str, Any]]]:
    """The rows of each answer."""
    call = kind.call([], {})
    with open(answers, encoding="utf-8") as file:
        for line in file:
            yield call.collect((call.result(json_format.Parse(line, response())),)).rows()


def _write_table(answers: str, out: str, suffix: str, kind: _Kind, response: type[Any]) -> None:
    """The table is there whole, or not at all."""
    temporary = f"{out}.new"
    types = kind.call([], {}).collect(()).types()
    write = _write_csv if suffix == ".csv" else _write_parquet
    write(temporary, types, _table_rows(answers, kind, response))
    os.replace(temporary, out)


def _write_csv(path: str, types: dict[str, str], parts: Iterator[list[dict[str, Any]]]) -> None:
    with open(path, "w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(types))
        writer.writeheader()
        for rows in parts:
            writer.writerows(rows)


def _write_parquet(path: str, types: dict[str, str], parts: Iterator[list[dict[str, Any]]]) -> None:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        raise ImportError('parquet files need pyarrow: pip install "logitd[files]"') from None
    kinds = {"Int64": pyarrow.int64(), "Float64": pyarrow.float64(), "boolean": pyarrow.bool_(),
             "string": pyarrow.string()}
    schema = pyarrow.schema([(name, kinds[kind]) for name, kind in types.items()])
    with pyarrow.parquet.ParquetWriter(path, schema) as writer:
        waiting: list[dict[str, Any]] = []
        for rows in parts:
            waiting += rows
            if len(waiting) >= 10_000:
                writer.write_table(pyarrow.Table.from_pylist(waiting, schema))
                waiting = []
        writer.write_table(pyarrow.Table.from_pylist(waiting, schema))
