"""A model runner in Python: serves a model of your own through logitd.

    class MyModel:
        vocab_size = 256

        def rows(self, tokens, wanted):          # token ids in, rows of logits out
            return numpy_array                   # [len(wanted), vocab_size]

    logitd.runner.serve(MyModel(), "unix:/run/logitd/runner.sock", name="mine")

The server, started with `logitd --runner-listen unix:/run/logitd/runner.sock`, then answers Generate, Score, Rank and
Decide with this model. A model that keeps a state for each sequence has `start` and `append` instead: see CachedModel.
Facts lists everything else that a model can say of itself.
"""

from logitd.runner._batch_run import Counts
from logitd.runner._control import is_wanted
from logitd.runner._model import CachedBatchModel, CachedModel, Facts, Model, Platform, RowsBatchModel, RowsModel
from logitd.runner._runner import Runner, serve
from logitd.runner._tokenizer import ByteTokenizer, Token, Tokenizer, VocabularyTokenizer

__all__ = [
    "ByteTokenizer",
    "CachedBatchModel",
    "CachedModel",
    "Counts",
    "Facts",
    "Model",
    "Platform",
    "RowsBatchModel",
    "RowsModel",
    "Runner",
    "Token",
    "Tokenizer",
    "VocabularyTokenizer",
    "is_wanted",
    "serve",
]
