"""The mock server's model: log-probs as they were given, and the texts of its tokens."""

from __future__ import annotations

import functools
import hashlib
import math
import random
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from logitd import _failures
from logitd.runner._tokenizer import SpecialTokens, Tokenizer

# A context: a text, a token id, or ids. A row: a log-prob for each token id, or for some tokens; the others are -inf.
Context = str | int | tuple[int, ...]
Row = Sequence[float] | Mapping[Any, float]
LogProbs = Callable[[tuple[int, ...]], Row] | Mapping[Context, Row]

# How far the probabilities of a row may be from 1 altogether.
_TOLERANCE = 1e-6
# The rows of a function that are kept.
_MOST_ROWS = 4096


def log_softmax(logits: Sequence[float]) -> list[float]:
    """The log-probs of a row of logits, in float64."""
    most = max(logits)
    total = most + math.log(math.fsum(math.exp(logit - most) for logit in logits))
    return [logit - total for logit in logits]


def random_log_probs(vocab_size: int, seed: int = 0) -> Callable[[tuple[int, ...]], list[float]]:
    """Made-up log-probs that depend on the last token alone; the same on every machine."""

    @functools.cache
    def row(last: int) -> list[float]:
        numbers = random.Random(seed * (1 << 32) + last)
        return log_softmax([8 * numbers.random() for _ in range(vocab_size)])

    return lambda tokens: row(tokens[-1])


class MockModel:
    """A model of given log-probs.

    log_probs: a function of all tokens so far; or a mapping from contexts to rows, of which the longest context that
      the tokens end with counts; the context () fits all.
    Raises ValueError or TypeError for a mapping that does not fit the vocabulary.
    """

    def __init__(self, log_probs: LogProbs, vocab_size: int, tokenizer: Tokenizer | None, bos_token_id: int | None,
                 adds_bos: bool):
        self.vocab_size = vocab_size
        self.texts = None if tokenizer is None else SpecialTokens(tokenizer, vocab_size, bos_token_id, adds_bos)
        self.bos_token_id = bos_token_id
        self.adds_bos = adds_bos
        if callable(log_probs):
            self._rows = log_probs
            self._table: dict[tuple[int, ...], list[float]] | None = None
        else:
            self._table = {self._context(context): self._row(row, f"log_probs[{context!r}]")
                           for context, row in log_probs.items()}
            self._longest = max(map(len, self._table), default=0)
        self._lock = threading.Lock()
        self._known: dict[tuple[int, ...], list[float]] = {}

    def row(self, tokens: Sequence[int]) -> list[float]:
        """The log-probs of the token after `tokens`. Raises MODEL_OUTPUT_INVALID for a row that is none."""
        past = tuple(tokens)
        if self._table is not None:
            for length in range(min(self._longest, len(past)), -1, -1):
                found = self._table.get(past[len(past) - length:])
                if found is not None:
                    return found
            raise _failures.failure("MODEL_OUTPUT_INVALID", "log_probs has no context with which the tokens "
                                    f"{shown(past)} end: add one, or () for all others")
        with self._lock:
            if past not in self._known:
                if len(self._known) == _MOST_ROWS:
                    self._known.clear()
                try:
                    self._known[past] = self._row(self._rows(past), f"log_probs({shown(past)})")
                except (TypeError, ValueError) as error:
                    raise _failures.failure("MODEL_OUTPUT_INVALID", str(error)) from error
            return self._known[past]

    def token_bytes(self, token_id: int) -> bytes:
        """Its bytes in a text; empty for a control token, and without a tokenizer."""
        if self.texts is None:
            return b""
        token = self.texts.tokens[token_id]
        return b"" if token.kind == "control" else token.bytes

    def fingerprint(self) -> bytes:
        """Of everything that was given, so far as it can be told; a function has one of its name."""
        name = getattr(self._rows, "__qualname__", "") if self._table is None else ""
        given = name if self._table is None else repr(sorted(self._table.items()))
        return hashlib.sha256(f"{self.vocab_size} {given}".encode()).digest()

    def _context(self, context: Context) -> tuple[int, ...]:
        if isinstance(context, str):
            return tuple(self._ids(context))
        tokens = (context,) if isinstance(context, int) else tuple(context)
        for token_id in tokens:
            if not 0 <= token_id < self.vocab_size:
                raise ValueError(f"log_probs[{context!r}]: token {token_id} is not in [0, {self.vocab_size})")
        return tokens

    def _ids(self, text: str) -> list[int]:
        if self.texts is None:
            raise ValueError(f"log_probs[{text!r}]: a text needs a tokenizer")
        return self.texts.tokenize(text, add_special_tokens=False, parse_special_tokens=True)

    def _row(self, row: Row, name: str) -> list[float]:
        if isinstance(row, Mapping):
            values = [-math.inf] * self.vocab_size
            for token, log_prob in row.items():
                ids = self._ids(token) if isinstance(token, str) else [int(token)]
                if len(ids) != 1:
                    raise ValueError(f"{name}: {token!r} is {len(ids)} tokens, and must be one")
                if not 0 <= ids[0] < self.vocab_size:
                    raise ValueError(f"{name}: token {ids[0]} is not in [0, {self.vocab_size})")
                values[ids[0]] = float(log_prob)
        else:
            values = [float(log_prob) for log_prob in row]
        if len(values) != self.vocab_size:
            raise ValueError(f"{name} has {len(values)} log-probs; it must have {self.vocab_size}, one for each token "
                             "id")
        total = math.fsum(map(math.exp, values)) if max(values) < 1 else math.inf
        if not abs(total - 1) <= _TOLERANCE:
            raise ValueError(f"{name}: the probabilities are {total:g} altogether, and must be 1: give log-probs, or "
                             "logitd.mock.log_softmax(logits)")
        return values


def shown(tokens: Sequence[int]) -> str:
    """A few tokens, for a message."""
    return repr(list(tokens)) if len(tokens) <= 8 else f"[..., {', '.join(map(str, tokens[-8:]))}]"
