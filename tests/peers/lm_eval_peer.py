"""lm-evaluation-harness's own TemplateLM._encode_pair and loglikelihood, on texts whose tokens are given: run in its own
Python by lm_eval_boundary_test.

    lm_eval_peer.py            prints the harness's version; status 77 and a line where it cannot be imported
    lm_eval_peer.py < REQUEST  {"tokens": {TEXT: IDS}, "bos": IDS, "prefix": ID, "pairs": [[CONTEXT, CONTINUATION]]}
                               -> [[CONTEXT_IDS, CONTINUATION_IDS]], null where the harness ends with an assertion
"""

import json
import sys

SKIPPED_STATUS = 77

try:
    import lm_eval
    from lm_eval.api.instance import Instance
    from lm_eval.api.model import TemplateLM
except ImportError as error:
    print(f"lm-evaluation-harness is not there ({error}): tests/peers/install_lm_eval installs it")
    sys.exit(SKIPPED_STATUS)


class GivenTokens(TemplateLM):
    """A causal model whose tokenizer is a table."""

    backend = "causal"
    eot_token_id = None

    def __init__(self, request: dict):
        super().__init__()
        self._request = request
        self.encoded = []

    @property
    def prefix_token_id(self):
        return self._request["prefix"]

    def tok_encode(self, string, add_special_tokens=None, **kwargs):
        bos = [] if add_special_tokens is False else self._request["bos"]
        return bos + self._request["tokens"][string]

    def _loglikelihood_tokens(self, requests, **kwargs):
        self.encoded += [(context, continuation) for _, context, continuation in requests]
        return []

    def loglikelihood_rolling(self, requests, disable_tqdm=False):
        raise NotImplementedError

    def generate_until(self, requests, disable_tqdm=False):
        raise NotImplementedError


def main() -> None:
    if sys.stdin.isatty() or not (text := sys.stdin.read()):
        print(f"lm-evaluation-harness {lm_eval.__version__}")
        return
    request = json.loads(text)
    model = GivenTokens(request)
    for pair in request["pairs"]:
        instance = Instance(request_type="loglikelihood", doc={}, arguments=tuple(pair), idx=0)
        model.loglikelihood([instance], disable_tqdm=True)
    json.dump(model.encoded, sys.stdout)


if __name__ == "__main__":
    main()
