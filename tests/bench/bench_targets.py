"""The targets of the step benchmark, and their outcome. A target is judged, never enforced: times are no test."""

import dataclasses
import json

from bench_samplers import LOG_PROB, RECORD, TOKEN

VOCAB_SIZE = 128256
REAL_VOCAB_SIZE = 49152


@dataclasses.dataclass
class Line:
    """One line of the table: `ratio` is ns / against_ns for "<=" (our share of something), against_ns / ns for ">="."""

    vocab_size: int
    rows: str
    sampler: str
    content: str
    ns: float
    against: str
    against_ns: float
    relation: str  # "<=" or ">="
    target: float | None = None

    @property
    def ratio(self) -> float:
        return self.ns / self.against_ns if self.relation == "<=" else self.against_ns / self.ns

    @property
    def verdict(self) -> str:
        if self.target is None:
            return ""
        met = self.ratio <= self.target if self.relation == "<=" else self.ratio >= self.target
        if met:
            return "met"
        off = self.ratio / self.target if self.relation == "<=" else self.target / self.ratio
        return f"missed by {100 * (off - 1):.0f} %"


def _counts(vocab_size: int, rows: str) -> bool:
    """The targets are stated for these rows; elsewhere the ratio alone is shown."""
    return vocab_size == (REAL_VOCAB_SIZE if rows == "real" else VOCAB_SIZE)


def against_scan(vocab_size: int, rows: str, sampler: str, content: str, kernel_target: str) -> float | None:
    """The bound, as a multiple of the cold read (pass 1)."""
    if not _counts(vocab_size, rows):
        return None
    if sampler == "temperature" and content == LOG_PROB and rows != "real":
        return 2.5 if kernel_target == "AVX512" else 4.0
    if sampler in ("top-k+top-p", "min-p") and content == TOKEN and rows in ("peaky", "N(0,3)", "real"):
        return 1.5
    return 1.1 if sampler == "greedy" and content == TOKEN and rows != "real" else None


def against_temperature(vocab_size: int, rows: str, sampler: str, content: str) -> float | None:
    """The bound, as a multiple of temperature + draw + sampling_log_prob."""
    if not _counts(vocab_size, rows) or rows == "real":
        return None
    if sampler == "top-p" and content == LOG_PROB:
        return {"peaky": 1.15, "N(0,3)": 3.0, "N(0,1)": 3.0, "equal": 2.0}[rows]
    return 2.2 if sampler == "temperature" and content == RECORD else None


def against_peer(vocab_size: int, rows: str, sampler: str, content: str, peer: str) -> tuple[str, float | None]:
    """(relation, target) for a step against a peer's that gives the token; a record is compared with llama.cpp's."""
    counts = _counts(vocab_size, rows)
    if content == RECORD:
        return "<=", (1.2 if sampler in ("greedy", "top-k+top-p") else 1.0) if counts else None
    target = None
    if peer == "llama.cpp":
        target = {"temperature": 10, "top-k+top-p": 3, "min-p": 6, "greedy": 4}.get(sampler)
        if sampler == "top-p" and rows in ("peaky", "N(0,3)", "real"):
            target = 30
    elif peer == "transformers":
        target = 4 if sampler == "greedy" else 30
    return ">=", target if counts else None


SCORING = {"torch": 1.8, "numpy": 2.7, "scipy": 2.7}


def print_table(lines: list[Line]) -> None:
    header = ("V", "rows", "sampler", "gives", "ns/elt", "against", "ns/elt", "ratio", "target", "")
    cells = [header] + [
        (f"{line.vocab_size:,}", line.rows, line.sampler, line.content, f"{line.ns / line.vocab_size:.3f}",
         line.against, f"{line.against_ns / line.vocab_size:.3f}", f"{line.ratio:.2f}",
         "" if line.target is None else f"{line.relation} {line.target:g}", line.verdict) for line in lines]
    widths = [max(len(row[i]) for row in cells) for i in range(len(header))]
    for row in cells:
        print("  ".join(cell.rjust(width) if i in (0, 4, 6, 7) else cell.ljust(width)
                        for i, (cell, width) in enumerate(zip(row, widths))).rstrip())
    judged = [line for line in lines if line.target is not None]
    print(f"{sum(line.verdict == 'met' for line in judged)} of {len(judged)} targets met")


def print_json(lines: list[Line], about: dict) -> None:
    print(json.dumps({**about, "lines": [
        {**dataclasses.asdict(line), "ratio": line.ratio, "verdict": line.verdict} for line in lines]}, indent=1))
