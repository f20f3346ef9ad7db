"""The numbers of lm-evaluation-harness's own code over dumped rows: an LM that knows nothing of logitd.lm_eval.

The tokens are made one text at a time (Tokenize), pairs and windows by the harness's own TemplateLM and utils. Every
row of every pair is fetched whole (Score, packed_top of the whole vocabulary). The log-softmax, the sums, the argmax
and the draws are made here, in float64. Nothing is grouped, and no sum of the server's is used.
"""

from __future__ import annotations

import math

import grpc
import numpy
from lm_eval import utils
from lm_eval.api.model import TemplateLM
from lm_eval.models.utils import handle_stop_sequences, normalize_gen_kwargs, postprocess_generated_text

from logitd.v1 import (completion_pb2, model_service_pb2, model_service_pb2_grpc, scoring_service_pb2,
                       scoring_service_pb2_grpc)

TIMEOUT_S = 300
ROWS_PER_CALL = 16
MESSAGE_BYTES = 64 << 20
SEED = 1234


class Model:
    """A server's model by its raw stubs."""

    def __init__(self, address: str):
        self.channel = grpc.insecure_channel(address, [("grpc.max_receive_message_length", MESSAGE_BYTES)])
        self.scoring = scoring_service_pb2_grpc.ScoringServiceStub(self.channel)
        self.models = model_service_pb2_grpc.ModelServiceStub(self.channel)
        (status,) = self.models.ListModels(model_service_pb2.ListModelsRequest(), timeout=TIMEOUT_S).models
        self.info = status.model
        vocabulary = [token for part in self.models.GetVocabulary(model_service_pb2.GetVocabularyRequest(),
                                                                  timeout=TIMEOUT_S) for token in part.tokens]
        self.names = {token.token_id: token.name for token in vocabulary}
        self.bytes = {token.token_id: token.token_bytes for token in vocabulary}
        self._tokens: dict[tuple[str, bool, bool | None], list[int]] = {}

    def tokenize(self, text: str, parse: bool, add: bool | None) -> list[int]:
        key = (text, parse, add)
        if key not in self._tokens:
            options = completion_pb2.TokenizationOptions(parse_special_tokens=parse, add_special_tokens=add)
            (reply,) = self.models.Tokenize(model_service_pb2.TokenizeRequest(texts=[text], tokenization=options),
                                            timeout=TIMEOUT_S).texts
            self._tokens[key] = list(reply.token_ids)
        return self._tokens[key]

    def spell(self, tokens: list[int]) -> str:
        """The text of tokens that go on after others."""
        return b"".join(self.bytes[token] for token in tokens).decode("utf-8", "replace")

    def rows(self, context: list[int], continuation: list[int]) -> list[numpy.ndarray]:
        """The log-softmax of the row before each token of the continuation, float64 [vocab]."""
        rows = []
        for begin in range(0, len(continuation), ROWS_PER_CALL):
            part = continuation[begin:begin + ROWS_PER_CALL]
            item = scoring_service_pb2.ScoreItem(
                context={"tokens": {"token_ids": context + continuation[:begin]}},
                continuations=[{"tokens": {"token_ids": part}}])
            record = completion_pb2.RecordOptions(top_n=self.info.vocab_size, packed_top=True, token_bytes=False)
            (reply,) = self.scoring.Score(scoring_service_pb2.ScoreRequest(items=[item], record=record),
                                          timeout=TIMEOUT_S)
            assert not reply.item.HasField("error"), reply.item.error
            (scored,) = reply.item.continuations
            assert not scored.HasField("error"), scored.error
            for token in scored.score.tokens:
                assert not token.packed_top.token_ids, "the whole vocabulary comes in the order of ids"
                rows.append(log_softmax(numpy.frombuffer(token.packed_top.model_log_probs, "<f8")))
        return rows


def log_softmax(row: numpy.ndarray) -> numpy.ndarray:
    shifted = row - row.max()
    return shifted - math.log(numpy.exp(shifted).sum())


def philox(counter: tuple[int, ...], key: tuple[int, int]) -> list[int]:
    """Philox4x32-10; docs/numerics.md, section 4."""
    x, k = list(counter), list(key)
    for _ in range(10):
        a, b = 0xD2511F53 * x[0], 0xCD9E8D57 * x[2]
        x = [b >> 32 ^ x[1] ^ k[0], b & 0xFFFFFFFF, a >> 32 ^ x[3] ^ k[1], a & 0xFFFFFFFF]
        k = [(k[0] + 0x9E3779B9) & 0xFFFFFFFF, (k[1] + 0xBB67AE85) & 0xFFFFFFFF]
    return x


def draw(row: numpy.ndarray, kwargs: dict, position: int, sequence_key: int) -> int:
    """The token of temperature, top_k, top_p and min_p, in this order, and the draw of docs/numerics.md."""
    scaled = log_softmax(row / kwargs["temperature"])
    order = numpy.lexsort((numpy.arange(len(row)), -scaled))[:kwargs.get("top_k") or None]
    mass = numpy.cumsum(numpy.exp(scaled[order]))
    if (top_p := kwargs.get("top_p", 1.0)) < 1:
        order = order[:int(numpy.searchsorted(mass, top_p * mass[-1])) + 1]
    order = order[scaled[order] >= scaled[order[0]] + math.log(kwargs.get("min_p") or 1e-300)]
    kept = numpy.sort(order)
    stream = sequence_key << 8
    seed = kwargs.get("seed", SEED)
    x = philox((0, position, stream & 0xFFFFFFFF, stream >> 32), (seed & 0xFFFFFFFF, seed >> 32))
    ends = numpy.cumsum(numpy.exp(scaled[kept]))
    return int(kept[numpy.searchsorted(ends, (x[1] << 32 | x[0]) / 2**64 * ends[-1], side="right")])


class ReferenceLM(TemplateLM):
    """parse: the names of control tokens in texts are control tokens.
    render(template, messages, add_generation_prompt): a conversation as text."""

    def __init__(self, address: str, *, parse: bool = False, max_length: int | None = None, render=None):
        super().__init__()
        self.model = Model(address)
        self.parse = parse
        self.max_length = max_length or self.model.info.context_length
        self.render = render
        self._scores: dict[tuple[tuple[int, ...], tuple[int, ...]], tuple[float, bool]] = {}
        # How near another outcome of an argmax was, nats.
        self.smallest_margin = math.inf

    @property
    def eot_token_id(self) -> int:
        return self.model.info.eos_token_id

    @property
    def prefix_token_id(self) -> int:
        return self.model.info.bos_token_id if self.model.info.HasField("bos_token_id") else self.eot_token_id

    @property
    def tokenizer_name(self) -> str:
        return "reference"

    def chat_template(self, chat_template=False):
        return ""

    def apply_chat_template(self, chat_history, add_generation_prompt=True):
        return self.render(self.model.info.chat_template, chat_history, add_generation_prompt)

    def tok_encode(self, string, add_special_tokens=None, **_):
        if add_special_tokens is None and self.parse and string.startswith(self.model.names[self.prefix_token_id]):
            add_special_tokens = False
        return self.model.tokenize(string, self.parse, add_special_tokens)

    def can_score(self, context: str, continuation: str) -> bool:
        """Both have tokens by the harness's rule; else the harness itself ends with an assertion."""
        if context:
            return all(self._encode_pair(context, continuation))
        # The prefix token itself is taken for the context.
        tokens = self.tok_encode(continuation, add_special_tokens=False)
        return tokens != [self.prefix_token_id]

    def _score(self, context: list[int], continuation: list[int]) -> tuple[float, bool]:
        key = (tuple(context), tuple(continuation))
        if key not in self._scores:
            rows = self.model.rows(context, continuation)
            for row, token in zip(rows, continuation):
                self._note_margin(row, token)
                if row.argmax() != token:
                    break
            self._scores[key] = (math.fsum(float(row[token]) for row, token in zip(rows, continuation, strict=True)),
                                 all(int(row.argmax()) == token for row, token in zip(rows, continuation)))
        return self._scores[key]

    def _note_margin(self, row: numpy.ndarray, token: int) -> None:
        best, second = numpy.partition(row, -2)[-1], numpy.partition(row, -2)[-2]
        self.smallest_margin = min(self.smallest_margin, best - (second if row[token] == best else row[token]))

    def _loglikelihood_tokens(self, requests, **_):
        answers = []
        for _, context, continuation in requests:
            assert context and 0 < len(continuation) <= self.max_length
            whole = (context + continuation)[-(self.max_length + 1):]
            answers.append(self._score(whole[:-len(continuation)], continuation))
        return answers

    def loglikelihood_rolling(self, requests, disable_tqdm=False):
        sums = []
        for request in requests:
            windows = utils.get_rolling_token_windows(
                token_list=self.tok_encode(request.args[0], add_special_tokens=False),
                prefix_token=self.prefix_token_id, max_seq_len=self.max_length, context_len=1)
            sums.append(math.fsum(self._score(*utils.make_disjoint_window(window))[0] for window in windows))
        return sums

    def generate_until(self, requests, disable_tqdm=False):
        counts: dict[str, int] = {}
        texts = []
        for context, gen_kwargs in (request.args for request in requests):
            key = counts.get(context + repr(gen_kwargs), 0)
            counts[context + repr(gen_kwargs)] = key + 1
            texts.append(self._generate(context, normalize_gen_kwargs(gen_kwargs), key))
        return texts

    def _generate(self, context: str, kwargs: dict, sequence_key: int) -> str:
        until = handle_stop_sequences(kwargs["until"], eos=self.model.names[self.eot_token_id])
        prompt = self.tok_encode(context)[-(self.max_length - kwargs["max_gen_toks"]):]
        tokens: list[int] = []
        text = ""
        while len(tokens) < kwargs["max_gen_toks"] and not any(stop in text for stop in until):
            # The token that is asked for does not matter: its row is that before it.
            (row,) = self.model.rows(prompt + tokens, [0])
            if kwargs["do_sample"]:
                tokens.append(draw(row, kwargs, len(tokens), sequence_key))
            else:
                tokens.append(int(row.argmax()))
                self._note_margin(row, tokens[-1])
            if tokens[-1] in self.model.info.end_token_ids:
                break
            text = self.model.spell(tokens)
        return postprocess_generated_text(text, until, None)
