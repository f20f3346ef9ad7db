"""The results of a call, in the order of its items: a sequence, with sums over all of it, and a table for pandas."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeVar, overload

from logitd import results
from logitd.errors import LogitdError
from logitd.records import Provenance, Usage

if TYPE_CHECKING:
    import pandas
    from typing_extensions import Self

_T = TypeVar("_T", bound="results._Item | results.Generation")

_SUMS = {"token_count": "Int64", "cumulative_model_log_prob": "Float64", "cumulative_sampling_log_prob": "Float64",
         "byte_count": "Int64", "character_count": "Int64"}


@dataclasses.dataclass(frozen=True)
class Results(Sequence[_T], Generic[_T]):
    """The results of a call; results[i] belongs to item i."""

    items: tuple[_T, ...]

    # The attribute that holds the parts of an item, and the column with a part's index. Empty: the item is one row.
    _parts: ClassVar[str] = ""
    _index: ClassVar[str] = ""
    # Columns and their types in pandas.
    _columns: ClassVar[dict[str, str]] = {}

    def __len__(self) -> int:
        return len(self.items)

    def __iter__(self) -> Iterator[_T]:
        return iter(self.items)

    @overload
    def __getitem__(self, index: int) -> _T: ...
    @overload
    def __getitem__(self, index: slice) -> Self: ...
    def __getitem__(self, index: Any) -> Any:
        return type(self)(self.items[index]) if isinstance(index, slice) else self.items[index]

    @property
    def usage(self) -> Usage:
        """The cost of all items together."""
        total = Usage()
        for item in self.items:
            if item.usage is not None:
                total += item.usage
        return total

    @property
    def provenance(self) -> Provenance | None:
        """Everything besides the request on which the numbers depend. All answers of a call are of one model and one
        numerics version. None: there is no answer."""
        return next((item.provenance for item in self.items if item.provenance is not None), None)

    def _parts_of(self, item: _T) -> tuple[Any, ...]:
        return getattr(item, self._parts) if self._parts else ()

    @property
    def errors(self) -> list[tuple[int, LogitdError]]:
        """The items that have an error, or a part with one: their indices and their first errors."""
        found = []
        for i, item in enumerate(self.items):
            error = next((part.error for part in (item, *self._parts_of(item)) if part.error is not None), None)
            if error is not None:
                found.append((i, error))
        return found

    def raise_for_errors(self) -> Self:
        """Raises the first error of an item or of a part of it; returns the results if there is none."""
        for _, error in self.errors:
            raise error
        return self

    def rows(self) -> list[dict[str, Any]]:
        """One dict for each part of each item (an item without parts has one), as csv.DictWriter takes them."""
        table = []
        for i, item in enumerate(self.items):
            head = {"item_index": getattr(item, "item_index", i), "id": getattr(item, "id", "")}
            parts = self._parts_of(item)
            if not parts:
                table.append({**head, **({self._index: None} if self._index else {}), **self._row(item)})
            for k, part in enumerate(parts):
                table.append({**head, self._index: k, **self._row(part)})
        return table

    def _row(self, part: Any) -> dict[str, Any]:
        # The properties of a part that has failed may raise its error.
        has_numbers = part.error is None or not isinstance(part, results.Generation)
        row = {name: getattr(part, name, None) if has_numbers else None for name in self._columns}
        row["error"] = None if part.error is None else str(part.error)
        return row

    def types(self) -> dict[str, str]:
        """The columns of `rows`, and their types in pandas."""
        return {"item_index": "Int64", "id": "string", **({self._index: "Int64"} if self._index else {}),
                **self._columns, "error": "string"}

    def to_pandas(self) -> pandas.DataFrame:
        """The rows as a DataFrame of nullable types: a number that does not exist is pandas.NA."""
        try:
            import pandas
        except ImportError:
            raise ImportError('to_pandas needs pandas: pip install "logitd[pandas]"') from None
        table = self.rows()
        return pandas.DataFrame({name: pandas.array([row[name] for row in table], dtype=dtype)
                                 for name, dtype in self.types().items()})


class Scores(Results[results.ScoredItem]):
    """The scores of a call's items."""

    _parts = "continuations"
    _index = "continuation_index"
    _columns = {**_SUMS, "per_token": "Float64", "per_byte": "Float64", "per_character": "Float64",
                "is_greedy": "boolean", "truncated_token_count": "Int64"}


class RollingScores(Results[results.RolledText]):
    """The scores of texts in windows."""

    _columns = {**_SUMS, "perplexity": "Float64", "bits_per_byte": "Float64"}


class Rankings(Results[results.RankedItem]):
    """The rankings of a call's items."""

    _parts = "candidates"
    _index = "candidate_index"
    _columns = {"place": "Int64", "candidate_probability": "Float64", "sum": "Float64", "per_token": "Float64",
                "per_byte": "Float64", "per_character": "Float64", "bits_per_byte": "Float64", "perplexity": "Float64",
                "gnmt": "Float64", "pmi": "Float64", "combined_log_prob": "Float64", **_SUMS, "is_greedy": "boolean",
                "truncated_token_count": "Int64"}


class Decisions(Results[results.DecidedItem]):
    """The decisions of a call's items."""

    _parts = "options"
    _index = "option_index"
    _columns = {"log_prob": "Float64", "probability": "Float64", **_SUMS, "is_greedy": "boolean",
                "truncated_token_count": "Int64"}


class Generations(Results[results.Generation]):
    """The completions of a call's prompts."""

    _parts = "completions"
    _index = "completion_index"
    _columns = {"text": "string", "finish_reason": "string", **_SUMS, "sequence_key": "Int64"}
