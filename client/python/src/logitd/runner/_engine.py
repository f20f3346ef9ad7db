"""One interface for the four forms of a model (see _model): states, and batches of appended tokens."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any


@dataclasses.dataclass(slots=True)
class Append:
    """Tokens to be evaluated after those of `state`, and the indices of those whose rows are wanted."""

    state: Any
    tokens: list[int]
    wanted: list[int]


# The new state and the rows; or why there are none.
Result = tuple[Any, Any] | BaseException


@dataclasses.dataclass(frozen=True, slots=True)
class Engine:
    """A model as the runner sees it. `name`: its evaluating function, for messages. `evaluates_batches`: it takes more
    than one Append at once. fork, trim, release: None if the model has none."""

    name: str
    evaluates_batches: bool
    start: Callable[[], Any]
    append: Callable[[Sequence[Append]], Sequence[Result]]
    fork: Callable[[Any], Any] | None
    trim: Callable[[Any, int], Any] | None
    release: Callable[[Any], Any] | None


_FORMS = ("rows", "rows_batch", "append", "append_batch")


def engine_of(model: Any) -> Engine:
    """Raises TypeError if the model has none of the four functions, or more than one."""
    kind = type(model).__name__
    forms = [form for form in _FORMS if callable(getattr(model, form, None))]
    if len(forms) != 1:
        has = " and ".join(forms) if forms else "none of them"
        raise TypeError(f"{kind} must have exactly one of the functions {', '.join(_FORMS)}; it has {has}")
    form = forms[0]
    name = f"{kind}.{form}"
    if form.startswith("rows"):
        return Engine(name, form == "rows_batch", start=list, append=_append_tokens(model, form, name), fork=list,
                      trim=lambda tokens, length: tokens[:length], release=None)
    if not callable(getattr(model, "start", None)):
        raise TypeError(f"{kind} has {form} but not start(), which returns the state of an empty sequence")
    return Engine(name, form == "append_batch", start=model.start,
                  append=_append_each(model, name) if form == "append" else _append_all(model, name),
                  fork=getattr(model, "fork", None), trim=getattr(model, "trim", None),
                  release=getattr(model, "release", None))


def _append_tokens(model: Any, form: str, name: str) -> Callable[[Sequence[Append]], Sequence[Result]]:
    """For a model without states: a state is the list of a sequence's tokens. Nothing is evaluated before a row is
    wanted."""

    def rows_of(tokens: list[Any], wanted: list[Any]) -> list[Any]:
        """Of each sequence its rows, or an exception."""
        try:
            found = model.rows_batch(tokens, wanted)
        except Exception as failure:
            if len(tokens) == 1:
                return [failure]
            # Each by itself, so that only those fail that are to blame.
            return [rows_of([some], [rows])[0] for some, rows in zip(tokens, wanted)]
        return _elements(found, len(tokens), name)

    def append(work: Sequence[Append]) -> Sequence[Result]:
        wanted: list[list[int]] = []
        for one in work:
            before = len(one.state)
            one.state.extend(one.tokens)
            wanted.append([before + index for index in one.wanted])
        asked = [i for i, indices in enumerate(wanted) if indices]
        results: list[Result] = [(one.state, None) for one in work]
        if not asked:
            return results
        if form == "rows":
            found = [model.rows(tuple(work[i].state), wanted[i]) for i in asked]
        else:
            found = rows_of([tuple(work[i].state) for i in asked], [wanted[i] for i in asked])
        for i, rows in zip(asked, found):
            results[i] = rows if isinstance(rows, BaseException) else (work[i].state, rows)
        return results

    return append


def _append_each(model: Any, name: str) -> Callable[[Sequence[Append]], Sequence[Result]]:
    def append(work: Sequence[Append]) -> Sequence[Result]:
        return [_pair(model.append(one.state, one.tokens, one.wanted), name) for one in work]

    return append


def _append_all(model: Any, name: str) -> Callable[[Sequence[Append]], Sequence[Result]]:
    def append(work: Sequence[Append]) -> Sequence[Result]:
        results = model.append_batch([one.state for one in work], [one.tokens for one in work],
                                     [one.wanted for one in work])
        return [result if isinstance(result, BaseException) else _pair(result, name)
                for result in _elements(results, len(work), name)]

    return append


def _elements(results: Any, count: int, name: str) -> list[Any]:
    try:
        length = len(results)
    except TypeError:
        raise TypeError(f"{name} returned a {type(results).__name__}; it must return a list of {count}: one element "
                        "for each sequence") from None
    if length != count:
        raise ValueError(f"{name} returned {length} elements; it must return {count}: one for each sequence")
    return list(results)


def _pair(result: Any, name: str) -> tuple[Any, Any]:
    if not isinstance(result, tuple) or len(result) != 2:
        what = f"a tuple of {len(result)}" if isinstance(result, tuple) else f"a {type(result).__name__}"
        raise TypeError(f"{name} returned {what}; it must return a pair (state, rows)")
    return result
