"""Serves a model of ONNX Runtime through logitd.

    pip install logitd[numpy] onnxruntime onnx
    python onnx_runtime.py unix:/tmp/logitd-runner.sock             # a small model that is made on the spot
    python onnx_runtime.py unix:/tmp/logitd-runner.sock MODEL.onnx  # one with input_ids [1, n] -> logits [1, n, vocab]

The model has no cache, so each step evaluates the whole sequence. For a long context, export it with its past keys and
values, and keep them in the state of `start` and `append`.
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Sequence

import numpy as np
import onnxruntime

from logitd import runner


def small_model(vocab_size: int = 257, width: int = 32) -> bytes:
    """A model whose logits depend on the last two tokens: Gather, a sum with the token before, MatMul."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    numbers = np.random.default_rng(0)
    weights = [numpy_helper.from_array(values, name) for name, values in (
        ("embed", numbers.normal(size=(vocab_size, width)).astype(np.float32)),
        ("out", numbers.normal(size=(width, vocab_size)).astype(np.float32)),
        ("pads", np.array([0, 1, 0, 0, -1, 0], np.int64)))]
    nodes = [helper.make_node("Gather", ["embed", "input_ids"], ["now"]),
             # The row before each one; zeros before the first.
             helper.make_node("Pad", ["now", "pads"], ["before"]),
             helper.make_node("Add", ["now", "before"], ["both"]),
             helper.make_node("MatMul", ["both", "out"], ["logits"])]
    graph = helper.make_graph(
        nodes, "small", [helper.make_tensor_value_info("input_ids", TensorProto.INT64, [1, None])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, [1, None, vocab_size])], weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    return model.SerializeToString()


class OnnxModel:
    """A model with the input input_ids [1, n] and the output logits [1, n, vocab_size]."""

    def __init__(self, model: bytes):
        self.session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
        (output,) = self.session.get_outputs()
        self.vocab_size = output.shape[-1]
        self.model_fingerprint = hashlib.sha256(model).digest()
        if self.vocab_size == 257:
            self.tokenizer = runner.ByteTokenizer("<eos>")
            self.eos_token_id = 256

    def rows(self, tokens: Sequence[int], wanted: Sequence[int]) -> np.ndarray:
        (logits,) = self.session.run(["logits"], {"input_ids": np.array([tokens], np.int64)})
        return logits[0, list(wanted)]


if __name__ == "__main__":
    if len(sys.argv) > 2:
        with open(sys.argv[2], "rb") as file:
            served = OnnxModel(file.read())
    else:
        served = OnnxModel(small_model())
    runner.serve(served, sys.argv[1], name="onnx")
