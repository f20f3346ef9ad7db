"""Writes a folder that transformers' AutoTokenizer reads, from the keys of a GGUF file with SmolLM2's tokenizer."""

from __future__ import annotations

import pathlib

import tokenizers
import transformers

_CONTROL = 3


def write(keys: dict, folder: pathlib.Path) -> None:
    """`keys`: as gguf_file.Keys reads them. Raises ValueError for another kind of tokenizer."""
    kind = (keys["tokenizer.ggml.model"], keys.get("tokenizer.ggml.pre"))
    if kind != (b"gpt2", b"smollm"):
        raise ValueError(f"the tokenizer is {kind}, not SmolLM2's")
    texts = [text.decode() for text in keys["tokenizer.ggml.tokens"]]
    merges = [tuple(merge.decode().split(" ")) for merge in keys["tokenizer.ggml.merges"]]
    tokenizer = tokenizers.Tokenizer(tokenizers.models.BPE({text: i for i, text in enumerate(texts)}, merges))
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.Sequence([
        tokenizers.pre_tokenizers.Digits(individual_digits=True),
        tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)])
    tokenizer.decoder = tokenizers.decoders.ByteLevel()
    control = [text for text, kind in zip(texts, keys["tokenizer.ggml.token_type"]) if kind == _CONTROL]
    tokenizer.add_special_tokens([tokenizers.AddedToken(text, special=True, normalized=False) for text in control])

    def name(key: str) -> str:
        return texts[keys[f"tokenizer.ggml.{key}_token_id"]]

    transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token=name("bos"), eos_token=name("eos"),
        chat_template=keys["tokenizer.chat_template"].decode(), clean_up_tokenization_spaces=False).save_pretrained(folder)
