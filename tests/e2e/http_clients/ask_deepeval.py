"""deepeval's GEval: the score is weighted by the log-probs of a chat's 20 alternatives at the token of the score."""

from asked import BASE_URL, CHAT_READS, MODEL, tell
from deepeval.metrics import GEval
from deepeval.models import LiteLLMModel
from deepeval.test_case import LLMTestCase, SingleTurnParams

metric = GEval(name="colour", evaluation_params=[SingleTurnParams.ACTUAL_OUTPUT], async_mode=False,
               evaluation_steps=["Say whether the output is polite."],
               # Its OpenAIModel asks for log-probs of names only that it knows.
               model=LiteLLMModel(model=f"openai/{MODEL}", api_key="EMPTY", base_url=BASE_URL, temperature=0))
metric.measure(LLMTestCase(input="Say something polite.", actual_output="Thank you very much."), _show_indicator=False)
tell("GEval", weighted=metric.score, reads=[*CHAT_READS, "choices[].logprobs.content[].top_logprobs[].token",
                                            "choices[].logprobs.content[].top_logprobs[].logprob", "usage.prompt_tokens"])
