"""lm-evaluation-harness against a logitd server.

    python -m logitd.lm_eval --model logitd --model_args server=127.0.0.1:50051,in_flight=16 --tasks hellaswag

All flags are the harness's own; `LogitdLM` lists the model's arguments. Versions of the harness after 0.4.13 find the
model by its entry point, so that `lm-eval --model logitd` does the same.
"""

from __future__ import annotations

try:
    import lm_eval.api.model
except ImportError as error:
    raise ImportError('logitd.lm_eval needs lm-evaluation-harness: pip install "logitd[lm-eval]"') from error

from logitd.lm_eval.model import LogitdLM

__all__ = ["LogitdLM"]
