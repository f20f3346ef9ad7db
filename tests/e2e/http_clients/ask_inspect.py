"""inspect_ai: its perplexity scorers by openai-api-completions, and a chat by openai-api."""

import math
import os
import tempfile

from asked import BASE_URL, CHAT_READS, MODEL, tell

os.environ["INSPECT_LOG_DIR"] = tempfile.mkdtemp(prefix="inspect-")
os.environ["LOGITD_API_KEY"] = "EMPTY"

from inspect_ai import Task, eval as run  # noqa: E402 - the environment comes first
from inspect_ai.dataset import Sample  # noqa: E402
from inspect_ai.model import GenerateConfig, get_model  # noqa: E402
from inspect_ai.scorer import perplexity, target_perplexity  # noqa: E402
from inspect_ai.solver import generate  # noqa: E402

TEXTS = ["The capital of France is Paris.", "Water freezes at zero degrees."]


def scores(scorer, samples: list[Sample]) -> list[dict]:
    task = Task(dataset=samples, solver=generate(), scorer=scorer,
                config=GenerateConfig(max_tokens=1, prompt_logprobs=1, max_connections=1))
    (log,) = run(task, model=f"openai-api-completions/logitd/{MODEL}", model_base_url=BASE_URL, display="none",
                 log_dir=os.environ["INSPECT_LOG_DIR"])
    assert log.status == "success", log.error
    return [next(iter(sample.scores.values())).metadata for sample in log.samples]


READS = ["choices[].index", "choices[].text", "choices[].finish_reason", "choices[].prompt_logprobs[]", "usage.total_tokens"]
for text in TEXTS:
    (found,) = scores(perplexity(), [Sample(input=text)])
    assert math.isclose(found["perplexity"], math.exp(-found["sum_log_probs"] / found["num_tokens"]))
    tell("perplexity", perplexity=found["perplexity"], reads=READS)
(found,) = scores(target_perplexity(num_target_tokens=2), [Sample(input=TEXTS[0])])
tell("target_perplexity", last_two=found["sum_log_probs"], reads=READS)

model = get_model(f"openai-api/logitd/{MODEL}", base_url=BASE_URL)


async def ask():
    return await model.generate("Name a colour.", config=GenerateConfig(
        max_tokens=4, temperature=0, logprobs=True, top_logprobs=3, seed=5))

import asyncio  # noqa: E402

output = asyncio.run(ask())
tell("chat", completion=[entry.logprob for entry in output.choices[0].logprobs.content], text=output.completion,
     reads=CHAT_READS)
