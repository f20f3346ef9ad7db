"""What a model is to a runner: its functions, of which one is enough, and its facts."""

from __future__ import annotations

import dataclasses
import difflib
import secrets
import warnings
from collections.abc import Sequence
from typing import Any, Protocol

from logitd.runner import _rows
from logitd.runner._tokenizer import Tokenizer

# The bytes that the rows of one batch take at most, with the default of max_batch_tokens.
_ROW_BYTES = 256 << 20


class RowsModel(Protocol):
    """A model without caches: token ids in, rows out.

    It may have more attributes than vocab_size: see `Facts`. The runner keeps the tokens of each sequence, and so
    copies and cuts sequences by itself.
    """

    @property
    def vocab_size(self) -> int:
        """The number of token ids, [1, 2^20]."""

    def rows(self, tokens: Sequence[int], wanted: Sequence[int]) -> Any:
        """Evaluates one sequence from its beginning.

        tokens: the whole sequence, >= 1 token.
        wanted: indices into `tokens`, ascending, >= 1.
        Returns an array of shape [len(wanted), vocab_size]. Row i has the logits after tokens[wanted[i]], which predict
        the token after that one; unnormalised, in nats. -inf excludes a token; NaN and +inf are errors.

        A model with `head` and `hidden_size` (see Facts) returns hidden states instead, [len(wanted), hidden_size], all
        of them finite; the server's head turns them into logits.
        """


class RowsBatchModel(Protocol):
    """A model without caches that evaluates several sequences at once."""

    @property
    def vocab_size(self) -> int:
        """See RowsModel."""

    def rows_batch(self, tokens: Sequence[Sequence[int]], wanted: Sequence[Sequence[int]]) -> Sequence[Any]:
        """As RowsModel.rows for each sequence. Returns one array per sequence. An exception in the place of an array
        fails that sequence alone."""


class CachedModel(Protocol):
    """A model that keeps a state for each sequence, so that a token is evaluated once.

    Two functions more are optional, and tell the server what it may ask for:

        fork(state) -> state           a copy that lives on its own; without it nothing is shared between sequences
        trim(state, length) -> state   only the first `length` tokens; without it whole sequences are shared only

    `release(state)`, if there is one, is called when a sequence ends.
    """

    @property
    def vocab_size(self) -> int:
        """See RowsModel."""

    def start(self) -> Any:
        """The state of an empty sequence: any object. It is passed back as it is."""

    def append(self, state: Any, tokens: Sequence[int], wanted: Sequence[int]) -> tuple[Any, Any]:
        """Evaluates `tokens` after those of `state`.

        tokens: the appended ones, >= 1.
        wanted: indices into `tokens`, ascending; may be empty.
        Returns the new state, which may be `state` itself, changed, and the rows as RowsModel.rows returns them (None
        if none are wanted). If it raises, the sequence is given up with its state.
        """


class CachedBatchModel(Protocol):
    """A CachedModel that evaluates several sequences at once."""

    @property
    def vocab_size(self) -> int:
        """See RowsModel."""

    def start(self) -> Any:
        """See CachedModel."""

    def append_batch(self, states: Sequence[Any], tokens: Sequence[Sequence[int]],
                     wanted: Sequence[Sequence[int]]) -> Sequence[Any]:
        """As CachedModel.append for each sequence. Returns one pair (state, rows) per sequence, or an exception in the
        place of a pair, which fails that sequence alone."""


Model = RowsModel | RowsBatchModel | CachedModel | CachedBatchModel


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Platform:
    """A promise: a sequence that is evaluated by itself gets the same bits each time on equal platforms, whatever the
    model did before or does for others. Requests for reproducible scores need it.

    threads: the number of threads that compute such a sequence, >= 1.
    cpu_target: the instruction set of the code, as a word: "x86-64-v3". 1 to 64 printable ASCII characters.
    """

    threads: int
    cpu_target: str


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Facts:
    """Everything that a runner says of its model. Each is an attribute of the model of the same name; all but
    vocab_size are optional. `Facts.of(model)` reads them.

    vocab_size: the number of token ids, [1, 2^20].
    context_length: the longest sequence, tokens, >= 1.
    eos_token_id: the token that ends a text. None: there is none.
    end_token_ids: all tokens that end a text. Default: eos_token_id, if there is one.
    bos_token_id, adds_bos: the token that starts a text, and whether it stands before every text.
    tokenizer: makes tokens of texts; see Tokenizer. None: clients send token ids.
    dtype: the type in which rows are sent, "f32", "f16" or "bf16". f32 takes arrays of every floating type; float64 is
      rounded to it. The others take arrays of that type only.
    precision: the precision of weights, cache and attention, as a word: "f32", "Q4_1". Empty: it is not stated.
    model_fingerprint: identifies the weights, 1 to 64 bytes, e.g. a SHA-256. Runners of equal fingerprints serve one
      model together. Default: a random one, so that no two runners are taken for the same model.
    chat_template: a Jinja template for clients. Empty: there is none.
    parameter_count, hidden_width, batch_tolerance_nats, warnings: see logitd.v1.ModelInfo.
    max_sequences: the number of sequences that have a state at once, >= 1.
    max_cached_tokens: the number of tokens in all states together, >= 1. Default: max_sequences * context_length.
    max_batch_tokens: the number of tokens that are appended at once, >= 1; it bounds the rows that the model returns at
      once. Default: as many as 256 MiB of rows, but in [64, 4096].
    platform: a promise of reproducible rows; see Platform. None: it is not given.
    head, hidden_size: rows are hidden states of hidden_size values, [1, 65536], for the head of this name at the server
      (`logitd --head NAME=FILE`; "": its only one). Each needs the other. None: rows are logits.
    before_output_norm: the hidden states come before the model's output norm, which the head then applies. Needs
      `head`.
    """

    vocab_size: int
    context_length: int = 4096
    eos_token_id: int | None = None
    end_token_ids: tuple[int, ...] = ()
    bos_token_id: int | None = None
    adds_bos: bool = False
    tokenizer: Tokenizer | None = None
    dtype: str = "f32"
    precision: str = ""
    model_fingerprint: bytes = b""
    chat_template: str = ""
    parameter_count: int | None = None
    hidden_width: int | None = None
    batch_tolerance_nats: float | None = None
    warnings: tuple[str, ...] = ()
    max_sequences: int = 256
    max_cached_tokens: int = 0
    max_batch_tokens: int = 0
    platform: Platform | None = None
    head: str | None = None
    hidden_size: int | None = None
    before_output_norm: bool = False

    @property
    def row_width(self) -> int:
        """Values of a row."""
        return self.hidden_size or self.vocab_size

    @classmethod
    def of(cls, model: Any) -> Facts:
        """Raises TypeError or ValueError, which names the model's class and the attribute."""
        name = type(model).__name__
        if not hasattr(model, "vocab_size"):
            raise TypeError(f"{name} has no vocab_size: the number of its token ids")
        values: dict[str, Any] = {}
        for field in dataclasses.fields(cls):
            if hasattr(model, field.name):
                values[field.name] = _checked(f"{name}.{field.name}", field.name, getattr(model, field.name))
        _warn_of_misspelt(model, {field.name for field in dataclasses.fields(cls)} | _FUNCTIONS)
        facts = cls(**values)
        for fact in ("bos_token_id", "eos_token_id"):
            _check_id(f"{name}.{fact}", getattr(facts, fact), facts.vocab_size)
        for token_id in facts.end_token_ids:
            _check_id(f"{name}.end_token_ids", token_id, facts.vocab_size)
        ends = facts.end_token_ids
        if facts.eos_token_id is not None and facts.eos_token_id not in ends:
            if ends:
                raise ValueError(f"{name}.eos_token_id is {facts.eos_token_id}; it must be one of end_token_ids "
                                 f"{list(ends)}")
            ends = (facts.eos_token_id,)
        if facts.adds_bos and facts.bos_token_id is None:
            raise ValueError(f"{name}.adds_bos is set; it needs bos_token_id")
        if facts.platform is not None and 0 < facts.max_batch_tokens < 64:
            raise ValueError(f"{name}.max_batch_tokens is {facts.max_batch_tokens}; with a platform it must be >= 64")
        if (facts.head is None) != (facts.hidden_size is None):
            given, other = ("hidden_size", "head") if facts.head is None else ("head", "hidden_size")
            raise ValueError(f"{name}.{given} is {getattr(facts, given)!r}; it needs {other}")
        if facts.before_output_norm and facts.head is None:
            raise ValueError(f"{name}.before_output_norm is set; it needs head")
        rows = _ROW_BYTES // (facts.row_width * _rows.WIRE_TYPES[facts.dtype].bytes)
        return dataclasses.replace(
            facts, end_token_ids=ends, model_fingerprint=facts.model_fingerprint or secrets.token_bytes(16),
            max_cached_tokens=facts.max_cached_tokens or facts.max_sequences * facts.context_length,
            max_batch_tokens=facts.max_batch_tokens or min(max(rows, 64), 4096))


# What a model may have besides its facts.
_FUNCTIONS = {"rows", "rows_batch", "start", "append", "append_batch", "fork", "trim", "release"}


def _warn_of_misspelt(model: Any, known: set[str]) -> None:
    """Warns of attributes that differ by a letter or two from what a runner reads and the model does not have."""
    missing = [name for name in known if not hasattr(model, name)]
    for attribute in dir(model):
        if attribute.startswith("_") or attribute in known:
            continue
        for name in difflib.get_close_matches(attribute, missing, n=1, cutoff=0.85):
            warnings.warn(f"{type(model).__name__}.{attribute} is not read: did you mean {name}?", stacklevel=4)


_MOST = {"vocab_size": 1 << 20, "hidden_size": 1 << 16, "max_cached_tokens": 1 << 40, "parameter_count": 1 << 62}
_OPTIONAL = ("bos_token_id", "eos_token_id", "parameter_count", "hidden_width", "batch_tolerance_nats", "tokenizer",
             "platform", "head", "hidden_size")
_TYPES: dict[str, tuple[type, ...]] = {
    "adds_bos": (bool,), "before_output_norm": (bool,), "head": (str,), "dtype": (str,), "precision": (str,),
    "chat_template": (str,), "model_fingerprint": (bytes,),
    "batch_tolerance_nats": (int, float), "platform": (Platform,), "tokenizer": (object,)}


def _checked(name: str, fact: str, value: Any) -> Any:
    """The value of a fact, in the type that Facts holds."""
    if value is None and fact in _OPTIONAL:
        return None
    if fact in ("warnings", "end_token_ids"):
        kind = str if fact == "warnings" else int
        is_sequence = isinstance(value, Sequence) and not isinstance(value, (str, bytes))
        if not is_sequence or not all(isinstance(part, kind) for part in value):
            raise TypeError(f"{name} is {value!r}; it must be a sequence of {kind.__name__}")
        return tuple(value)
    if fact in _TYPES:
        if not isinstance(value, _TYPES[fact]):
            raise TypeError(f"{name} is {value!r}; it must be {' or '.join(kind.__name__ for kind in _TYPES[fact])}")
        if fact == "dtype" and value not in _rows.WIRE_TYPES:
            raise ValueError(f"{name} is {value!r}; it must be {', '.join(map(repr, _rows.WIRE_TYPES))}")
        return value
    if isinstance(value, bool) or not hasattr(value, "__index__"):
        raise TypeError(f"{name} is {value!r}; it must be int")
    number = value.__index__()
    least = 0 if fact in ("bos_token_id", "eos_token_id", "parameter_count") else 1
    most = _MOST.get(fact, (1 << 31) - 1)
    if not least <= number <= most:
        raise ValueError(f"{name} is {number}; it must be in [{least}, {most}]")
    return number


def _check_id(name: str, token_id: int | None, vocab_size: int) -> None:
    if token_id is not None and not 0 <= token_id < vocab_size:
        raise ValueError(f"{name} has {token_id}; it must be in [0, {vocab_size})")
