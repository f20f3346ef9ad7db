"""Answers tokenize and detokenize calls, one after the other, in a thread of their own."""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Callable, Iterable

from logitd import _failures, errors
from logitd.runner._tokenizer import SpecialTokens
from logitd.v1 import model_runner_service_pb2 as runner_pb2

_log = logging.getLogger("logitd.runner")
Write = Callable[[runner_pb2.AttachRequest], object]
_Call = tuple[runner_pb2.AttachResponse, Write, dict[int, bool]]


class TextCalls:
    """Thread-safe. It outlives the connections of a runner, so that a tokenizer is never called twice at once."""

    def __init__(self, texts: SpecialTokens | None):
        """texts: the model's tokenizer; None: it has none, and every call fails."""
        self._texts = texts
        self._queue: queue.SimpleQueue[_Call | None] = queue.SimpleQueue()
        threading.Thread(target=self._serve, name="logitd-tokenize", daemon=True).start()

    def push(self, call: runner_pb2.AttachResponse, write: Write, open_calls: dict[int, bool]) -> None:
        """A call, whose number is in `open_calls` until it is answered; with True once it is cancelled."""
        self._queue.put((call, write, open_calls))

    def close(self) -> None:
        """The calls before are still answered."""
        self._queue.put(None)

    def _serve(self) -> None:
        while (next_call := self._queue.get()) is not None:
            call, write, open_calls = next_call
            try:
                if call.WhichOneof("kind") == "tokenize":
                    answer = runner_pb2.AttachRequest(tokenized=self._tokenize(call.tokenize, open_calls))
                else:
                    answer = runner_pb2.AttachRequest(detokenized=self._detokenize(call.detokenize, open_calls))
                open_calls.pop(getattr(call, call.WhichOneof("kind")).call_id, None)
                write(answer)
            except Exception:
                _log.exception("a call of the tokenizer failed")

    def _tokenize(self, call: runner_pb2.TokenizeCall, open_calls: dict[int, bool]) -> runner_pb2.TokenizeResult:
        result = runner_pb2.TokenizeResult(call_id=call.call_id)
        options = call.options
        adds = options.add_special_tokens if options.HasField("add_special_tokens") else None
        try:
            for index, text in enumerate(self._wanted(call.texts, call.call_id, open_calls)):
                try:
                    ids = self._tokenizer().tokenize(text, adds, options.parse_special_tokens, call.continues_text)
                except errors.InvalidRequestError as error:
                    error.field = f"texts[{index}]"
                    raise
                result.tokens.add(token_ids=ids)
        except errors.LogitdError as error:
            return runner_pb2.TokenizeResult(call_id=call.call_id, error=_failures.to_proto(error))
        return result

    def _detokenize(self, call: runner_pb2.DetokenizeCall, open_calls: dict[int, bool]) -> runner_pb2.DetokenizeResult:
        result = runner_pb2.DetokenizeResult(call_id=call.call_id)
        try:
            for index, tokens in enumerate(self._wanted(call.tokens, call.call_id, open_calls)):
                try:
                    result.texts.append(self._tokenizer().detokenize(tokens.token_ids, call.render_special_tokens))
                except errors.InvalidRequestError as error:
                    raise _failures.within(f"tokens[{index}].", error)
        except errors.LogitdError as error:
            return runner_pb2.DetokenizeResult(call_id=call.call_id, error=_failures.to_proto(error))
        return result

    def _tokenizer(self) -> SpecialTokens:
        if self._texts is None:
            raise _failures.failure("TOKENIZER_UNAVAILABLE", "the model has no tokenizer")
        return self._texts

    @staticmethod
    def _wanted(texts: Iterable, call_id: int, open_calls: dict[int, bool]) -> Iterable:  # type: ignore[type-arg]
        for text in texts:
            if open_calls.get(call_id, False):
                raise _failures.failure("CANCELLED", "the request was cancelled")
            yield text
