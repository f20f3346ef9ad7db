"""The harness's command line, which knows the model type logitd."""

from lm_eval.__main__ import cli_evaluate
from lm_eval.api.registry import MODEL_REGISTRY, register_model

from logitd.lm_eval import LogitdLM

# The harness may have found it by its entry point.
if "logitd" not in MODEL_REGISTRY:
    register_model("logitd")(LogitdLM)

if __name__ == "__main__":
    cli_evaluate()
