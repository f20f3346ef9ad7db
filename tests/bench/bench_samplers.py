"""The measured samplers, and the results of a step: the names of the table."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class Sampler:
    """0, 1 and 0 switch top_k, top_p and min_p off; temperature 0 is greedy."""

    name: str
    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0
    min_p: float = 0.0


SAMPLERS = (
    Sampler("temperature", temperature=0.8),
    Sampler("top-p", top_p=0.95),
    Sampler("top-k+top-p", top_k=50, top_p=0.95),
    Sampler("min-p", min_p=0.05),
    Sampler("greedy", temperature=0.0),
)

TOKEN, LOG_PROB, RECORD = "token", "log-prob", "record"
CONTENTS = (TOKEN, LOG_PROB, RECORD)


@dataclasses.dataclass
class Result:
    """One step. kept_count -1, log-probs NaN: the contender does not say."""

    ns: int
    token_id: int
    kept_count: int = -1
    sampling_log_prob: float = float("nan")
    model_log_prob: float = float("nan")
