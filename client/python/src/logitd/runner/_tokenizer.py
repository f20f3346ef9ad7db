"""Tokenizers: what a runner needs of one, and one of bytes for models that have none."""

from __future__ import annotations

import dataclasses
import hashlib
import re
import struct
from collections.abc import Sequence
from typing import Any, Literal, Protocol

from logitd import _failures
from logitd.v1 import logits_pb2

_KINDS = ("text", "control", "unused")
_MOST_TOKEN_BYTES = 1 << 16


@dataclasses.dataclass(frozen=True, slots=True)
class Token:
    """A token of a vocabulary.

    bytes: its bytes in a text, which may be a part of a character; of a control token its name, "<|im_end|>". Empty: it
      has none.
    kind: "text"; "control": it counts as a token but has no bytes in a text (BOS, EOS, chat marks); "unused": no text
      becomes it.
    """

    bytes: bytes
    kind: Literal["text", "control", "unused"] = "text"


class Tokenizer(Protocol):
    """Makes tokens of texts. The runner adds BOS, finds the names of control tokens where they are asked for, and
    writes tokens as text by their bytes; so a tokenizer knows nothing of special tokens.

    Optional, if it differs:

        tokenize_continuing(text) -> ids   of a text that continues another one: without the space that SentencePiece
                                           puts before a text
        detokenize(token_ids) -> bytes     of tokens none of which is a control token; default: their bytes
        tokens_spell_text: bool            the tokens' bytes are the text: nothing is normalised or left out
    """

    def vocabulary(self) -> Sequence[Token]:
        """All tokens, in the order of their ids; as many as the model's vocab_size."""

    def tokenize(self, text: str) -> Sequence[int]:
        """The tokens of a text, which stands alone, without special tokens; the names of control tokens in it are plain
        text. Raises ValueError for a text that it cannot tokenise."""


class ByteTokenizer:
    """One token for each byte, ids 0 to 255, and then a control token for each name.

        tokenizer = ByteTokenizer("<eos>")      # vocab_size 257; token 256 is <eos>
    """

    tokens_spell_text = True

    def __init__(self, *control_names: str):
        self.control_names = control_names
        self.vocab_size = 256 + len(control_names)

    def vocabulary(self) -> list[Token]:
        controls = [Token(name.encode(), "control") for name in self.control_names]
        return [*(Token(bytes([byte])) for byte in range(256)), *controls]

    def tokenize(self, text: str) -> list[int]:
        return list(text.encode())


class VocabularyTokenizer:
    """A vocabulary of given tokens; a text becomes the longest token that fits, again and again from left to right.

        VocabularyTokenizer([" 1", " 2", "1 + 1 =", Token(b"<eos>", "control")])

    A text of which a part is no token is refused.
    """

    tokens_spell_text = True

    def __init__(self, tokens: Sequence[str | bytes | Token]):
        self._tokens = [token if isinstance(token, Token) else
                        Token(token.encode() if isinstance(token, str) else token) for token in tokens]
        self.vocab_size = len(self._tokens)
        self._ids: dict[bytes, int] = {}
        for token_id, token in enumerate(self._tokens):
            if token.kind == "text" and token.bytes:
                self._ids.setdefault(token.bytes, token_id)
        self._longest = max(map(len, self._ids), default=0)

    def vocabulary(self) -> list[Token]:
        return list(self._tokens)

    def tokenize(self, text: str) -> list[int]:
        data = text.encode()
        ids: list[int] = []
        begin = 0
        while begin < len(data):
            lengths = range(min(self._longest, len(data) - begin), 0, -1)
            length = next((n for n in lengths if data[begin:begin + n] in self._ids), None)
            if length is None:
                raise ValueError(f"no token of the vocabulary begins at byte {begin} of the text")
            ids.append(self._ids[data[begin:begin + length]])
            begin += length
        return ids


class SpecialTokens:
    """A Tokenizer with everything that it leaves to the runner. Thread-safe if the tokenizer is."""

    def __init__(self, tokenizer: Tokenizer, vocab_size: int, bos_token_id: int | None = None, adds_bos: bool = False):
        """Raises TypeError or ValueError if the vocabulary does not fit the model."""
        self._tokenizer: Any = tokenizer
        self._vocab_size = vocab_size
        self._bos_token_id = bos_token_id
        self._adds_bos = adds_bos
        self._name = type(tokenizer).__name__
        self.tokens = list(tokenizer.vocabulary())
        self.spells_text = bool(getattr(tokenizer, "tokens_spell_text", False))
        self._check()
        names = {token.bytes.decode("utf-8", "replace"): token_id for token_id, token in enumerate(self.tokens)
                 if token.kind == "control" and token.bytes}
        self._names = names
        longest_first = sorted(names, key=len, reverse=True)
        self._pattern = re.compile("|".join(map(re.escape, longest_first))) if names else None

    def _check(self) -> None:
        if len(self.tokens) != self._vocab_size:
            raise ValueError(f"{self._name}.vocabulary() has {len(self.tokens)} tokens; the model's vocab_size is "
                             f"{self._vocab_size}")
        for token_id, token in enumerate(self.tokens):
            if not isinstance(token, Token):
                raise TypeError(f"{self._name}.vocabulary() has {token!r} at {token_id}; it must be a "
                                "logitd.runner.Token")
            if token.kind not in _KINDS:
                raise ValueError(f"token {token_id} is of kind {token.kind!r}; it must be {', '.join(_KINDS)}")
            if len(token.bytes) > _MOST_TOKEN_BYTES:
                raise ValueError(f"token {token_id} has {len(token.bytes)} bytes; at most {_MOST_TOKEN_BYTES} are "
                                 "allowed")

    def vocabulary(self) -> logits_pb2.Vocabulary:
        """The message that describes it."""
        return logits_pb2.Vocabulary(
            token_bytes=b"".join(token.bytes for token in self.tokens),
            token_lengths=[len(token.bytes) for token in self.tokens],
            control_token_ids=[i for i, token in enumerate(self.tokens) if token.kind == "control"],
            unused_token_ids=[i for i, token in enumerate(self.tokens) if token.kind == "unused"])

    def fingerprint(self) -> bytes:
        """The SHA-256 that logitd.v1.Vocabulary describes."""
        digest = hashlib.sha256(struct.pack("<i", len(self.tokens)))
        for token in self.tokens:
            digest.update(struct.pack("<ii", _KINDS.index(token.kind), len(token.bytes)) + token.bytes)
        return digest.digest()

    def tokenize(self, text: str, add_special_tokens: bool | None = None, parse_special_tokens: bool = False,
                 continues_text: bool = False) -> list[int]:
        """The tokens of a text. add_special_tokens: BOS in front; None: as the model's adds_bos says. continues_text:
        the text stands behind another one, and nothing is put before it.
        Raises MALFORMED_MESSAGE for a text that the tokenizer refuses, INTERNAL for wrong ids."""
        adds = self._adds_bos if add_special_tokens is None else add_special_tokens
        ids = [self._bos_token_id] if adds and not continues_text and self._bos_token_id is not None else []
        begin = 0
        for match in self._pattern.finditer(text) if parse_special_tokens and self._pattern else ():
            ids += self._plain(text[begin:match.start()], continues_text or begin > 0)
            ids.append(self._names[match.group()])
            begin = match.end()
        return ids + self._plain(text[begin:], continues_text or begin > 0)

    def _plain(self, text: str, continues: bool) -> list[int]:
        if not text:
            return []
        function = getattr(self._tokenizer, "tokenize_continuing", None) if continues else None
        try:
            ids = [int(token_id) for token_id in (function or self._tokenizer.tokenize)(text)]
        except ValueError as error:
            raise _failures.failure("MALFORMED_MESSAGE", f"the tokenizer refuses the text: {error}") from error
        except Exception as error:
            raise _failures.failure("INTERNAL", f"{self._name} raised {type(error).__name__}: {error}") from error
        if ids and not 0 <= min(ids) <= max(ids) < self._vocab_size:
            raise _failures.failure("INTERNAL", f"{self._name} returned an id that is not in [0, {self._vocab_size})")
        return ids

    def detokenize(self, token_ids: Sequence[int], render_special_tokens: bool = False) -> bytes:
        """The bytes of a text. Control tokens have none, or their names with render_special_tokens.
        Raises TOKEN_ID_OUT_OF_RANGE, INTERNAL."""
        _failures.check_token_ids("token_ids", token_ids, self._vocab_size)
        function = getattr(self._tokenizer, "detokenize", None)
        if function is None:
            return b"".join(self.tokens[i].bytes for i in token_ids
                            if render_special_tokens or self.tokens[i].kind != "control")
        parts: list[bytes] = []
        plain: list[int] = []
        for i in [*token_ids, None]:
            if i is not None and self.tokens[i].kind != "control":
                plain.append(i)
                continue
            if plain:
                parts.append(self._spelled(function, plain))
                plain = []
            if i is not None and render_special_tokens:
                parts.append(self.tokens[i].bytes)
        return b"".join(parts)

    def _spelled(self, function: Any, token_ids: list[int]) -> bytes:
        try:
            text = function(token_ids)
        except Exception as error:
            raise _failures.failure("INTERNAL", f"{self._name} raised {type(error).__name__}: {error}") from error
        if not isinstance(text, bytes):
            raise _failures.failure("INTERNAL", f"{self._name}.detokenize returned {type(text).__name__}; it must be "
                                    "bytes")
        return text
