"""The methods of the mock server: each takes a request and gives its responses, or raises LogitdError."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import logitd
from logitd import _failures, errors
from logitd.mock import _deciding, _decoding, _generation, _ranking, _scoring
from logitd.mock._model import MockModel
from logitd.mock._texts import Texts
from logitd.v1 import (completion_pb2, decoding_service_pb2, generation_service_pb2, logits_pb2,
                       model_runner_service_pb2, model_service_pb2, scoring_service_pb2, server_service_pb2)

VERSION = f"{logitd.__version__}-mock"
_TOKENS_PER_MESSAGE = 1024


class Methods:
    """Thread-safe."""

    def __init__(self, model: MockModel, info: model_runner_service_pb2.ModelInfo, limits: Mapping[str, int],
                 item_error: Callable[[str], errors.LogitdError | None]):
        self.model = model
        self._info = info
        self._limits = limits
        self._end_token_ids = frozenset(info.end_token_ids)
        eos = info.eos_token_id if info.HasField("eos_token_id") else None
        self._setting = _scoring.Setting(model, eos, info.context_length, self._provenance, item_error)

    def _provenance(self) -> completion_pb2.Provenance:
        return completion_pb2.Provenance(model=self._info.name, model_fingerprint=self._info.model_fingerprint,
                                         precision=self._info.precision, batch_tolerance_nats=0.0,
                                         server_version=VERSION)

    def _check_model(self, name: str) -> None:
        if name not in ("", self._info.name):
            raise _failures.failure("MODEL_NOT_FOUND", f"model: there is no {name!r}; there is {self._info.name!r}",
                                    field="model")

    def _check_size(self, field: str, count: int, limit: str) -> None:
        if count > self._limits[limit]:
            most = self._limits[limit]
            raise _failures.failure("LIMIT_EXCEEDED", f"{field} has {count}; the limit {limit} is {most}", field=field,
                                    value=str(count), bound=f"[1, {most}]", limit=limit)

    def _items(self, request: Any, parts: str, limit: str,
               answer: Callable[[Any, Any], Iterator[Any]]) -> Iterator[Any]:
        self._check_model(request.model)
        if not request.items:
            raise _failures.failure("NO_CANDIDATES", "items is empty", field="items")
        self._check_size("items", len(request.items), "max_items")
        for index, item in enumerate(request.items):
            self._check_size(f"items[{index}].{parts}", len(getattr(item, parts, ())), limit)
        return answer(self._setting, request)

    def score(self, request: scoring_service_pb2.ScoreRequest) -> Iterator[Any]:
        return self._items(request, "continuations", "max_continuations", _scoring.score_items)

    def rank(self, request: scoring_service_pb2.RankRequest) -> Iterator[Any]:
        return self._items(request, "candidates", "max_candidates", _ranking.rank_items)

    def decide(self, request: scoring_service_pb2.DecideRequest) -> Iterator[Any]:
        return self._items(request, "options", "max_candidates", _deciding.decide_items)

    def generate(self, request: generation_service_pb2.GenerateRequest) -> Iterator[Any]:
        self._check_model(request.model)
        return _generation.generate(self._setting, self._end_token_ids, request)

    def decode(self, requests: Iterator[decoding_service_pb2.DecodeRequest]) -> Iterator[Any]:
        return _decoding.Decoding(completion_pb2.Provenance(server_version=VERSION), requests).run()

    def tokenize(self, request: model_service_pb2.TokenizeRequest) -> Iterator[Any]:
        self._check_model(request.model)
        if not request.texts:
            raise _failures.required("texts")
        texts = Texts(self.model, request.tokenization)
        response = model_service_pb2.TokenizeResponse(provenance=self._provenance())
        for index, text in enumerate(request.texts):
            ids = texts.tokenize(text, field=f"texts[{index}]")
            one = response.texts.add(token_ids=ids)
            if request.token_bytes:
                one.token_bytes.extend(map(self.model.token_bytes, ids))
            if texts.doubles_bos(ids):
                one.tokenization.doubled_bos = True
        yield response

    def detokenize(self, request: model_service_pb2.DetokenizeRequest) -> Iterator[Any]:
        self._check_model(request.model)
        if self.model.texts is None:
            raise _failures.failure("TOKENIZER_UNAVAILABLE", "the mock model has no tokenizer")
        response = model_service_pb2.DetokenizeResponse(provenance=self._provenance())
        for index, tokens in enumerate(request.tokens):
            try:
                spelled = self.model.texts.detokenize(tokens.token_ids, request.render_special_tokens)
            except errors.InvalidRequestError as error:
                raise _failures.within(f"tokens[{index}].", error)
            text = spelled.decode("utf-8", "replace")
            one = response.texts.add(text=text)
            if text.encode() != spelled:
                one.raw_bytes = spelled
        yield response

    def get_vocabulary(self, request: model_service_pb2.GetVocabularyRequest) -> Iterator[Any]:
        self._check_model(request.model)
        if self.model.texts is None:
            raise _failures.failure("VOCABULARY_UNAVAILABLE", "the mock model has no vocabulary")
        kinds = {"text": model_service_pb2.TOKEN_KIND_TEXT, "control": model_service_pb2.TOKEN_KIND_CONTROL,
                 "unused": model_service_pb2.TOKEN_KIND_UNUSED}
        tokens = [model_service_pb2.VocabularyToken(
            token_id=i, kind=kinds[token.kind], token_bytes=self.model.token_bytes(i),
            ends_text=i in self._end_token_ids,
            name=token.bytes.decode("utf-8", "replace") if token.kind == "control" else "")
            for i, token in enumerate(self.model.texts.tokens)]
        for begin in range(0, len(tokens), _TOKENS_PER_MESSAGE):
            yield model_service_pb2.GetVocabularyResponse(
                model=self._info.name, vocab_size=len(tokens), vocab_fingerprint=self._info.vocab_fingerprint,
                tokens=tokens[begin:begin + _TOKENS_PER_MESSAGE])

    def list_models(self, request: model_service_pb2.ListModelsRequest) -> Iterator[Any]:
        has_texts = self.model.texts is not None
        yield model_service_pb2.ListModelsResponse(models=[model_service_pb2.ModelStatus(
            model=self._info, runner_count=1,
            capabilities=model_runner_service_pb2.RunnerCapabilities(fork=True, trim=True, tokenizer=has_texts,
                                                                     vocabulary=has_texts, tokens_spell_text=has_texts),
            capacity=model_runner_service_pb2.RunnerCapacity(max_sequences=1024, max_cached_tokens=1 << 40,
                                                             max_batch_tokens=1 << 20))])

    def get_server_info(self, request: server_service_pb2.GetServerInfoRequest) -> Iterator[Any]:
        yield server_service_pb2.GetServerInfoResponse(
            server_version=VERSION, kernel_target="PYTHON", available_kernel_targets=["PYTHON"],
            dtypes=[logits_pb2.LOGITS_DTYPE_F32, logits_pb2.LOGITS_DTYPE_F16, logits_pb2.LOGITS_DTYPE_BF16],
            limits=server_service_pb2.Limits(**self._limits))
