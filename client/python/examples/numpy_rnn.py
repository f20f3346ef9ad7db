"""Serves a small recurrent network, written with numpy, through logitd.

    logitd --listen 127.0.0.1:50051 --runner-listen unix:/tmp/logitd-runner.sock &
    python numpy_rnn.py unix:/tmp/logitd-runner.sock
    logit generate "Hello" --model rnn --max-tokens 20

Its tokens are bytes. Its state is one vector, so a copy of a sequence costs nothing, and its weights are random:
replace them by your own.
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Sequence

import numpy as np

from logitd import runner


class Rnn:
    """h = tanh(embed[token] + recur h); logits = out h."""

    context_length = 100_000
    precision = "f32"

    def __init__(self, width: int = 128, seed: int = 0):
        self.tokenizer = runner.ByteTokenizer("<eos>")
        self.vocab_size = self.tokenizer.vocab_size
        self.eos_token_id = 256
        numbers = np.random.default_rng(seed)
        self.embed = numbers.normal(0, 1, (self.vocab_size, width)).astype(np.float32)
        self.recur = (numbers.normal(0, 1, (width, width)) / np.sqrt(width)).astype(np.float32)
        self.out = (numbers.normal(0, 3, (self.vocab_size, width)) / np.sqrt(width)).astype(np.float32)
        self.hidden_width = width
        # Runners with these weights serve one model together.
        weights = b"".join(part.tobytes() for part in (self.embed, self.recur, self.out))
        self.model_fingerprint = hashlib.sha256(weights).digest()

    def start(self) -> np.ndarray:
        return np.zeros(self.hidden_width, np.float32)

    def append(self, state: np.ndarray, tokens: Sequence[int], wanted: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
        states = []
        for token in tokens:
            state = np.tanh(self.embed[token] + self.recur @ state)
            states.append(state)
        return state, np.stack(states)[list(wanted)] @ self.out.T

    def fork(self, state: np.ndarray) -> np.ndarray:
        # A state is never changed, so two sequences may share it.
        return state


if __name__ == "__main__":
    runner.serve(Rnn(), sys.argv[1], name="rnn")
