"""Tells the test what a client made of each reply: one JSON object a line on standard output.

A script of this folder is called with the base URL and the model's name. It calls a client's own functions, and says after
each what it read there. The test compares that with gRPC.
"""

from __future__ import annotations

import json
import os
import sys

# No client may ask a hub or send statistics.
for _name in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "DEEPEVAL_TELEMETRY_OPT_OUT", "DO_NOT_TRACK",
              "LITELLM_LOCAL_MODEL_COST_MAP"):
    os.environ[_name] = "True" if _name.startswith("LITELLM") else "1"
# A server without authentication takes any.
os.environ.setdefault("OPENAI_API_KEY", "EMPTY")

BASE_URL, MODEL = sys.argv[1:3]
TEXT = "The capital of France is"
ASKED = [{"role": "user", "content": "Name a colour."}]
_out = os.fdopen(os.dup(1), "w", encoding="utf-8")
# What clients print is not for the test.
os.dup2(2, 1)


def tell(case: str, *, reads, completion=None, prompt=None, perplexity=None, last_two=None, weighted=None, text=None,
         refused=None) -> None:
    """What a client made of its last reply.

    reads: paths of the reply that it reads (http_shape). completion, prompt: the log-probs of the generated tokens, of all
    choices one after the other, and of the prompt's tokens without the first. perplexity: of the prompt if its log-probs
    were asked for, else of the completion. last_two: the sum of the prompt's last two. weighted: GEval's score, in [0, 1].
    text: what it takes for the answer. refused: the status of the error that it raised."""
    json.dump({"case": case, "completion": completion, "prompt": prompt, "perplexity": perplexity, "last_two": last_two,
               "weighted": weighted, "text": text, "reads": list(reads), "refused": refused}, _out)
    _out.write("\n")
    _out.flush()
    # The test has noted which requests were this case's.
    sys.stdin.readline()


COMPLETION_READS = ["choices[].index", "choices[].text", "choices[].finish_reason", "choices[].logprobs.tokens[]",
                    "choices[].logprobs.token_logprobs[]", "choices[].logprobs.top_logprobs[]", "choices[].logprobs.text_offset[]"]
CHAT_READS = ["choices[].index", "choices[].message.role", "choices[].message.content", "choices[].finish_reason",
              "choices[].logprobs.content[].token", "choices[].logprobs.content[].logprob",
              "choices[].logprobs.content[].bytes", "choices[].logprobs.content[].top_logprobs"]
CHAT_STREAM_READS = ["choices[].index", "choices[].delta.content", "choices[].finish_reason",
                     "choices[].logprobs.content[].token", "choices[].logprobs.content[].logprob"]
