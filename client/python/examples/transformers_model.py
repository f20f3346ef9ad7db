"""Serves a causal language model of transformers through logitd.

    pip install logitd[numpy] torch transformers
    python transformers_model.py unix:/tmp/logitd-runner.sock           # a tiny one with random weights
    python transformers_model.py unix:/tmp/logitd-runner.sock FOLDER    # save_pretrained's folder, or a name of the hub

Each sequence keeps its keys and values, so a token is evaluated once; forks copy them, and cuts crop them.
"""

from __future__ import annotations

import copy
import hashlib
import inspect
import sys
from collections.abc import Sequence
from typing import Any

import torch
import transformers

from logitd import runner


class CausalModel:
    """Any AutoModelForCausalLM whose cache is a DynamicCache."""

    def __init__(self, model: Any, tokenizer: runner.Tokenizer | None = None, eos_token_id: int | None = None,
                 bos_token_id: int | None = None):
        self.model = model.eval()
        self.vocab_size = model.config.vocab_size
        self.context_length = model.config.max_position_embeddings
        self.eos_token_id = eos_token_id
        self.bos_token_id = bos_token_id
        self.tokenizer = tokenizer
        # Rows go as the model computes them.
        self.dtype = {torch.float32: "f32", torch.float16: "f16", torch.bfloat16: "bf16"}[model.dtype]
        self.precision = self.dtype
        self.parameter_count = sum(parameter.numel() for parameter in model.parameters())
        self.model_fingerprint = _fingerprint(model)
        # Releases from 5.24 on have a new name for the argument.
        self._cache = "cache" if "cache" in inspect.signature(model.forward).parameters else "past_key_values"

    def start(self) -> Any:
        return transformers.DynamicCache(config=self.model.config)

    @torch.inference_mode()
    def append(self, state: Any, tokens: Sequence[int], wanted: Sequence[int]) -> tuple[Any, Any]:
        ids = torch.tensor([tokens], device=self.model.device)
        out = self.model(input_ids=ids, use_cache=True, **{self._cache: state},
                         logits_to_keep=torch.tensor(wanted if wanted else [0], device=self.model.device))
        # The cache has been changed in place.
        return state, out.logits[0] if wanted else None

    def fork(self, state: Any) -> Any:
        return copy.deepcopy(state)

    def trim(self, state: Any, length: int) -> Any:
        if length == 0:
            return self.start()
        state.crop(length - state.get_seq_length())
        return state


def _fingerprint(model: Any) -> bytes:
    """SHA-256 of the names and bytes of all weights."""
    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(name.encode() + tensor.detach().cpu().contiguous().view(torch.uint8).numpy().tobytes())
    return digest.digest()


class BytePairTokenizer:
    """A byte-level BPE tokenizer of transformers (GPT-2, Llama 3, Qwen, SmolLM): its tokens spell the text."""

    tokens_spell_text = True

    def __init__(self, tokenizer: Any, vocab_size: int):
        self._tokenizer = tokenizer
        self._vocab_size = vocab_size
        # Such vocabularies write each byte as a printable character.
        printable = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
        others = [byte for byte in range(256) if byte not in printable]
        self._bytes = {chr(byte): byte for byte in printable} | {chr(256 + i): byte for i, byte in enumerate(others)}

    def vocabulary(self) -> list[runner.Token]:
        tokens = [runner.Token(b"", "unused")] * self._vocab_size
        added = {str(token): token.special for token in self._tokenizer.added_tokens_decoder.values()}
        for text, token_id in self._tokenizer.get_vocab().items():
            if text in added:
                tokens[token_id] = runner.Token(text.encode(), "control" if added[text] else "text")
            else:
                tokens[token_id] = runner.Token(bytes(self._bytes[character] for character in text))
        return tokens

    def tokenize(self, text: str) -> list[int]:
        return list(self._tokenizer.encode(text, add_special_tokens=False, split_special_tokens=True))


def tiny_model() -> CausalModel:
    """Two layers with random weights; its tokens are bytes."""
    torch.manual_seed(0)
    config = transformers.LlamaConfig(vocab_size=257, hidden_size=64, intermediate_size=128, num_hidden_layers=2,
                                      num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=512)
    return CausalModel(transformers.LlamaForCausalLM(config), runner.ByteTokenizer("<eos>"), eos_token_id=256)


def pretrained(path: str) -> CausalModel:
    """A saved model with its byte-level BPE tokenizer."""
    model = transformers.AutoModelForCausalLM.from_pretrained(path)
    tokenizer = transformers.AutoTokenizer.from_pretrained(path)
    return CausalModel(model, BytePairTokenizer(tokenizer, model.config.vocab_size), tokenizer.eos_token_id,
                       tokenizer.bos_token_id)


if __name__ == "__main__":
    runner.serve(pretrained(sys.argv[2]) if len(sys.argv) > 2 else tiny_model(), sys.argv[1], name="transformers")
