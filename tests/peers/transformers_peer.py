"""transformers itself on given rows: the logits processors that its generate() makes, in the order it makes them.

    transformers_peer.py            # prints the versions
    transformers_peer.py FOLDER     # FOLDER/steps.json, rows.npy -> FOLDER/scores.npy, probabilities.npy

It runs in the Python that has torch and transformers; without them it prints a line and ends with ABSENT_STATUS.
steps.json: a list of {"vocab_size", "tokens", "params"}, params by their names in GenerationConfig; rows.npy, f32: the
rows one after the other. scores.npy: the rows after all processors, -inf for a token that was taken out;
probabilities.npy: torch's softmax of them. Both f32 and laid out as the rows.
"""

import json
import os
import pathlib
import sys
import types

ABSENT_STATUS = 77

# One thread, at a lower priority than the machine's other work.
os.environ["OMP_NUM_THREADS"] = "1"
os.nice(10)

try:
    import numpy as np
    import torch
    import transformers
except (ImportError, OSError) as error:  # OSError: a library of torch that cannot be loaded.
    print(f"{sys.executable}: {error}")
    sys.exit(ABSENT_STATUS)


class Sampler(transformers.GenerationMixin):
    """Answers generate()'s questions about a model before the first token; it is no model."""

    config = types.SimpleNamespace(is_encoder_decoder=False)

    def processors(self, tokens: torch.Tensor, params: dict) -> transformers.LogitsProcessorList:
        return self._get_logits_processor(
            transformers.GenerationConfig(do_sample=True, **params), input_ids_seq_length=tokens.shape[1],
            encoder_input_ids=tokens, device="cpu", model_kwargs={"attention_mask": torch.ones_like(tokens)})


def main(folder: pathlib.Path) -> None:
    steps = json.loads((folder / "steps.json").read_text(encoding="utf-8"))
    rows = np.load(folder / "rows.npy")
    scores = np.empty_like(rows)
    probabilities = np.empty_like(rows)
    sampler = Sampler()
    begin = 0
    for step in steps:
        place = slice(begin, begin + step["vocab_size"])
        begin = place.stop
        tokens = torch.tensor([step["tokens"]], dtype=torch.long)
        left = sampler.processors(tokens, step["params"])(tokens, torch.from_numpy(rows[place].copy())[None, :])
        scores[place] = left[0].numpy()
        probabilities[place] = torch.softmax(left, dim=-1)[0].numpy()
    assert begin == len(rows)
    np.save(folder / "scores.npy", scores)
    np.save(folder / "probabilities.npy", probabilities)


if __name__ == "__main__":
    torch.set_num_threads(1)
    with torch.inference_mode():
        if len(sys.argv) > 1:
            main(pathlib.Path(sys.argv[1]))
        else:
            print(f"torch {torch.__version__}, transformers {transformers.__version__}")
