"""The server's statements on a model's tokens match the model's file, which the test reads by itself: two families."""

import base64
import json
import pathlib
import re
import shutil
import struct
import tempfile
import unittest

import gguf_file
import harness
import wire
from logitd.v1 import model_service_pb2

# Values of tokenizer.ggml.token_type.
NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = range(1, 7)


def gpt2_bytes() -> dict[str, int]:
    """The character that stands for each byte in GPT-2's vocabularies, as its encoder.py has it, the other way round."""
    plain = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    others = [byte for byte in range(256) if byte not in plain]
    return {chr(byte): byte for byte in plain} | {chr(256 + i): byte for i, byte in enumerate(others)}


GPT2_BYTES = gpt2_bytes()


def bytes_of(text: bytes, kind: int, is_bpe: bool) -> bytes:
    """The bytes of a token that is no control token."""
    if kind == UNUSED:
        return b""
    if kind == USER_DEFINED:
        return text
    if kind == BYTE:
        return bytes([int(re.fullmatch(rb"<0x([0-9A-F]{2})>", text)[1], 16)])
    if is_bpe:
        return bytes(GPT2_BYTES[character] for character in text.decode())
    return text.replace("▁".encode(), b" ")


class VocabularyTest(unittest.TestCase):
    def setUp(self):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="logitd-e2e-"))
        self.addCleanup(shutil.rmtree, self.folder)

    def model(self, vocabulary: str, *flags: object) -> pathlib.Path:
        return harness.random_model(harness.vocabulary_path(vocabulary), self.folder / "model.gguf", "--context", 256,
                                    "--layers", 1, "--embedding", 32, "--type", "f16", *flags)

    def served(self, path: pathlib.Path) -> harness.Server:
        server = harness.Server(model=path)
        self.addCleanup(server.stop)
        return server

    def info(self, server: harness.Server) -> dict:
        return harness.logit("info", server=server).json()["models"][0]["model"]

    def vocabulary(self, server: harness.Server) -> tuple[dict, list[dict]]:
        outcome = harness.logit("vocabulary", server=server)
        self.assertEqual(outcome.status, 0, outcome.stderr)
        head, *tokens = map(json.loads, outcome.stdout.splitlines())
        return head, tokens

    def check_tokens(self, server: harness.Server, path: pathlib.Path) -> None:
        keys = gguf_file.Keys(path)
        is_bpe = keys["tokenizer.ggml.model"] == b"gpt2"
        info = self.info(server)
        head, tokens = self.vocabulary(server)
        self.assertEqual(head["vocab_size"], len(keys["tokenizer.ggml.tokens"]))
        self.assertEqual(head["vocab_fingerprint"], info["vocab_fingerprint"])
        self.assertEqual([token["token_id"] for token in tokens], list(range(head["vocab_size"])))
        self.assertEqual([token["token_id"] for token in tokens if token["ends_text"]], info["end_token_ids"])
        kinds = set()
        for token, text, kind in zip(tokens, keys["tokenizer.ggml.tokens"], keys["tokenizer.ggml.token_type"]):
            kinds.add(kind)
            # llama.cpp takes a token that ends a text for a control token, whatever the file says.
            if kind in (CONTROL, UNKNOWN) or token["ends_text"]:
                wanted = ("TOKEN_KIND_CONTROL", b"", text.decode())
            else:
                wanted = ("TOKEN_KIND_UNUSED" if kind == UNUSED else "TOKEN_KIND_TEXT", bytes_of(text, kind, is_bpe), "")
            got = (token["kind"], base64.b64decode(token["token_bytes"]), token["name"])
            self.assertEqual(got, wanted, token)
        self.assertIn(UNUSED, kinds)

    def mark_unused(self, path: pathlib.Path, token_id: int) -> None:
        place = gguf_file.Keys(path).places["tokenizer.ggml.token_type"] + 4 * token_id
        data = bytearray(path.read_bytes())
        self.assertEqual(data[place:place + 4], struct.pack("<i", NORMAL))
        data[place:place + 4] = struct.pack("<i", UNUSED)
        path.write_bytes(data)

    def check_empty_context(self, server: harness.Server, eos: int) -> None:
        for rule in ("joint", "lm-eval"):
            item = harness.logit("score", "", "Paris", "--boundary", rule, server=server).json()
            self.assertEqual(item["item"]["implicit_context_token_id"], eos)

    def test_bpe(self):
        # As in Llama 3 Instruct: EOS is <|eot_id|>, and <|end_of_text|> ends a text, too.
        path = self.model("llama-bpe", "--unset", "tokenizer.ggml.bos_token_id", "--unset",
                          "tokenizer.ggml.eos_token_id", "--set", "tokenizer.ggml.eos_token_id=128009")
        self.mark_unused(path, 100000)
        server = self.served(path)
        self.check_tokens(server, path)
        info = self.info(server)
        self.assertEqual(info["end_token_ids"], [128001, 128009])
        self.assertEqual(info["eos_token_id"], 128009)
        self.assertEqual(info["hidden_width"], 32)
        self.assertEqual(info["warnings"], [])
        self.check_empty_context(server, 128009)
        # More than the 16,384 tokens that a message holds.
        with wire.connect(server.address) as client:
            sizes = [len(response.tokens) for response in client.models.GetVocabulary(
                model_service_pb2.GetVocabularyRequest(), timeout=wire.TIMEOUT_S)]
        self.assertEqual(sum(sizes), 128256)
        self.assertGreater(len(sizes), 1)

    def test_sentencepiece(self):
        # Phi-3: EOS is <|endoftext|>, and "</s>" and "<|end|>" end a text, too.
        path = self.model("phi-3", "--unset", "tokenizer.ggml.bos_token_id")
        self.mark_unused(path, 20000)
        server = self.served(path)
        self.check_tokens(server, path)
        info = self.info(server)
        self.assertEqual(info["end_token_ids"][0], 2)
        self.assertEqual(info["eos_token_id"], 32000)
        self.assertEqual(info["eos_token_id"], gguf_file.Keys(path)["tokenizer.ggml.eos_token_id"])
        self.check_empty_context(server, 32000)

    def test_table(self):
        server = self.served(self.model("gpt-2"))
        outcome = harness.run("logit", "vocabulary", "--server", server.address)
        lines = outcome.stdout.splitlines()
        self.assertEqual(len(lines), 50257)
        self.assertEqual(lines[11], '   11  text                  ","')
        self.assertEqual(lines[50256], '50256  control  ends a text  "<|endoftext|>"')

    def test_what_a_user_has_to_know_is_in_info(self):
        server = self.served(self.model("gpt-2", "--unset", "tokenizer.ggml.pre", "--unset",
                                        "tokenizer.ggml.eos_token_id", "--set", "tokenizer.ggml.eos_token_id=60000"))
        info = self.info(server)
        self.assertNotIn("eos_token_id", info)
        self.assertEqual(info["end_token_ids"], [50256])
        for warning, words in zip(info["warnings"], ["tokenizer.ggml.eos_token_id = 60000, outside its vocabulary of "
                                                     "50257 tokens", "no key tokenizer.ggml.pre"], strict=True):
            self.assertIn(words, warning)
            self.assertIn(warning, server.log())
        table = harness.run("logit", "info", "--server", server.address).stdout
        self.assertIn("warning: smollm2: the file has no key tokenizer.ggml.pre", table)


if __name__ == "__main__":
    unittest.main()
