"""A mock server, for tests of programs that use logitd: no binaries, no model files, exact numbers.

    tokenizer = logitd.runner.VocabularyTokenizer(["1 + 1 =", " 2", " 3"])
    with logitd.mock.MockServer({"1 + 1 =": {" 2": math.log(0.9), " 3": math.log(0.1)}}, tokenizer=tokenizer) as server:
        client = logitd.Client(server.address)
        client.score([("1 + 1 =", [" 2", " 3"])])[0].continuations[0].cumulative_model_log_prob     # math.log(0.9)
        server.overload(times=2)                                                                  # and what then?

Its numbers are exact float64 sums of the given log-probs, where a real server computes with rows of float32. Whatever
it cannot answer rightly it refuses with UNIMPLEMENTED, and names the field.
"""

from logitd.mock._model import LogProbs, MockModel, log_softmax, random_log_probs
from logitd.mock._server import MockServer

__all__ = ["LogProbs", "MockModel", "MockServer", "log_softmax", "random_log_probs"]
