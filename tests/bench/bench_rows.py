"""The rows that the step benchmark runs on, in a file of f32 that every contender maps."""

import math
import pathlib
import subprocess

import numpy as np

KINDS = ("peaky", "N(0,3)", "N(0,1)", "equal", "real")
REAL_VOCAB_SIZE = 49152


def last_level_cache_bytes() -> int:
    """The largest cache of the first processor."""
    sizes = [32 << 20]
    for path in pathlib.Path("/sys/devices/system/cpu/cpu0/cache").glob("index*/size"):
        text = path.read_text().strip()
        sizes.append(int(text[:-1]) << {"K": 10, "M": 20}[text[-1]])
    return max(sizes[1:], default=sizes[0])


def cold_row_count(vocab_size: int) -> int:
    """So many rows that a rotation over them passes four times the last-level cache."""
    return math.ceil(4 * last_level_cache_bytes() / (4 * vocab_size))


def make_rows(kind: str, vocab_size: int, count: int) -> np.ndarray:
    """[count, vocab_size] f32. Not "real"."""
    rng = np.random.default_rng([vocab_size, KINDS.index(kind)])
    if kind == "equal":
        return np.full((count, vocab_size), 1.5, dtype=np.float32)
    rows = rng.standard_normal((count, vocab_size), dtype=np.float32)
    if kind == "N(0,1)":
        return rows
    rows *= 3
    if kind == "peaky":
        # As a sure model's: five tokens of 1/2, 1/4, ... 1/32, and all the others together another 1/32.
        above = np.log(2.0 ** np.arange(4, -1, -1))
        for row in rows:
            rest = np.log(np.exp(row.astype(np.float64)).sum())
            row[rng.choice(vocab_size, size=5, replace=False)] = rest + above
    return rows


def write_real_rows(path: pathlib.Path, count: int, bin_dir: pathlib.Path, model: str, root: pathlib.Path) -> None:
    """The model's logits on this repository's documentation, which is long enough."""
    text = b"\n".join(file.read_bytes() for file in sorted(root.glob("docs/**/*.md")) + [root / "README.md"])
    with open(path, "wb") as out:
        subprocess.run([bin_dir / "model_rows", model, str(count)], input=text, stdout=out, stderr=subprocess.DEVNULL,
                       check=True)
