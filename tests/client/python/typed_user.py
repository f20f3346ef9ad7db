"""A user's program, for `mypy --strict`: every method of the client with its results, and the decoding of a model."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

import logitd
import logitd.mock
import logitd.runner


def accuracy(client: logitd.Client, items: Sequence[tuple[str, list[str]]], answers: Sequence[int]) -> float:
    scores = client.score(items, boundary="lm-eval", truncation="context-left", reproducible=True)
    right: int = sum(score.best == answer for score, answer in zip(scores, answers))
    return right / len(answers)


def numbers(client: logitd.Client) -> list[float | None]:
    item = client.score([logitd.ScoreItem("a", [logitd.Continuation("b")])], record=logitd.Record(rank=True, top_n=2))[0]
    first = item.continuations[0].tokens[0]
    ranked = client.rank([("a", ["b", "c"])], order_by="gnmt", gnmt_alpha=0.6)[0]
    decided = client.decide([("a", ["b", "c"])], temperature=0.5)[0]
    rolled = client.rolling("text", window=16, rule="strided")[0]
    generated = client.generate("a", max_tokens=4, best_of=2, best_by="gnmt", gnmt_alpha=1, top_p=0.9)[0]
    with client.stream("a", max_tokens=2) as stream:
        text: str = "".join(delta.text for delta in stream)
    assert text == stream.final.text
    return [first.model_log_prob, ranked.candidates[0].gnmt, decided.options[0].probability, rolled.perplexity,
            generated.cumulative_model_log_prob]


async def later(address: str) -> int | None:
    async with logitd.AsyncClient(address) as client:
        async for item in client.score_each(("a", ["b"]) for _ in range(3)):
            return item.best
    return None


def model_step(batch: logitd.DecodeBatch) -> npt.NDArray[np.float32]:
    return np.zeros((len(batch), 50), np.float32)


def decode(address: str) -> dict[int, int]:
    chosen: dict[int, int] = {}
    for tokens in logitd.decode(model_step, [[1], [2]], server=address, top_p=0.9, stop_token_ids=[0], max_tokens=3):
        chosen.update(tokens)
    with logitd.DecodeSession(address, vocab_size=50) as session:
        sequence = session.open([1], temperature=0.7)
        step = session.step(np.zeros((1, 50), np.float32))[0]
        chosen[sequence.id] = -1 if step.token_id is None else step.token_id
    return chosen


class Uniform:
    vocab_size = 257
    eos_token_id = 256
    tokenizer = logitd.runner.ByteTokenizer("<eos>")

    def rows(self, tokens: Sequence[int], wanted: Sequence[int]) -> npt.NDArray[np.float32]:
        return np.zeros((len(wanted), 257), np.float32)


def main() -> None:
    with logitd.mock.MockServer() as server, logitd.Client(server.address) as client:
        try:
            print(accuracy(client, [("a", ["b"])], [0]), numbers(client), decode(server.address))
            print(asyncio.run(later(server.address)))
            print(logitd.files.score(client, "in.jsonl", "out.parquet", resume=True).failed)
        except logitd.InvalidRequestError as error:
            print(error.reason, error.field, error.bound)
    logitd.runner.serve(Uniform(), "unix:/run/logitd/runner.sock", name="uniform")


if __name__ == "__main__":
    main()
