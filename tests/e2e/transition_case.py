"""A test case with a server and a model of known log-probs, and short forms of what such tests send.

    class MyTest(transition_case.TransitionCase):
        def test_something(self):
            tables = self.attach()                      # 320 tokens; or self.attach(tables, "--context-length", 100)
            item, = self.rank([scoring.RankItem(context=ids(7), candidates=[...])], order_by=...)
"""

import unittest

import harness
import transition
import wire
from logitd.v1 import completion_pb2 as completion
from logitd.v1 import sampling_pb2 as sampling
from logitd.v1 import scoring_service_pb2 as scoring


def ids(*tokens: int) -> sampling.TokenIds:
    return sampling.TokenIds(token_ids=tokens)


def context(*tokens: int) -> completion.Input:
    return completion.Input(tokens=ids(*tokens))


class TransitionCase(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.server = harness.Server()
        cls.addClassCleanup(cls.server.stop)

    def attach(self, tables: transition.Tables | None = None, *flags: object) -> transition.Tables:
        runner = transition.attach(self.server, tables, flags)
        self.addCleanup(runner.stop)
        return runner.tables

    def rank_responses(self, items: list[scoring.RankItem], **fields) -> list[scoring.RankResponse]:
        with wire.connect(self.server.address) as client:
            request = scoring.RankRequest(items=items, **fields)
            responses = list(client.scoring.Rank(request, timeout=wire.TIMEOUT_S))
        return sorted(responses, key=lambda response: response.item_index)

    def rank(self, items: list[scoring.RankItem], **fields) -> list[scoring.RankedItem]:
        return [response.item for response in self.rank_responses(items, **fields)]

    def score(self, item: scoring.ScoreItem, **fields) -> scoring.ScoredItem:
        with wire.connect(self.server.address) as client:
            response, = client.scoring.Score(scoring.ScoreRequest(items=[item], **fields), timeout=wire.TIMEOUT_S)
        self.assertFalse(response.item.HasField("error"), response.item.error)
        return response.item

    def decide(self, items: list[scoring.DecideItem], **fields) -> list[scoring.DecidedItem]:
        with wire.connect(self.server.address) as client:
            request = scoring.DecideRequest(items=items, **fields)
            responses = list(client.scoring.Decide(request, timeout=wire.TIMEOUT_S))
        return [response.item for response in sorted(responses, key=lambda response: response.item_index)]
