"""The mock server itself: its methods, and the failures that a test orders."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent import futures
from types import TracebackType
from typing import Any

import grpc

from logitd.mock._handlers import METHODS, Handlers
from logitd.mock._methods import Methods
from logitd.mock._model import LogProbs, MockModel, random_log_probs
from logitd.mock._orders import Order, Orders, ordered
from logitd.runner._tokenizer import ByteTokenizer, Tokenizer
from logitd.v1 import model_runner_service_pb2, server_service_pb2

# A real server's, as far as clients ask for them.
_LIMITS = {
    "max_message_bytes": 64 << 20, "max_request_bytes": 16 << 20, "max_message_elements": 1 << 18,
    "max_vocab_size": 1 << 20, "max_rows_per_message": 1024, "max_sequences_per_stream": 1024, "max_tokens": 131_072,
    "max_prompt_tokens": 131_072, "max_top_n": 1024, "max_alternatives": 1 << 20, "max_named_tokens": 1024,
    "max_n": 128, "max_generated_tokens": 1 << 18, "max_items": 4096, "max_continuations": 1024,
    "max_candidates": 10_000,
    "max_id_bytes": 256, "max_segments": 4096, "max_score_tokens": 1 << 19, "max_text_bytes": 4 << 20,
    "max_streams_per_connection": 256, "max_calls": 1024, "max_open_streams": 2048, "max_stops": 256,
}
_DEFAULT: Any = object()
_Names = str | tuple[str, ...] | None


class MockServer:
    """A server of given log-probs, in this process, for tests of programs that use logitd.

        with MockServer({"1 + 1 =": {" 2": math.log(0.9), " 3": math.log(0.1)}}, tokenizer=tokenizer) as server:
            client = logitd.Client(server.address)

    It answers Score, Rank, Decide, Generate, Decode, Tokenize, Detokenize, GetVocabulary, ListModels, GetServerInfo and
    health. Sums are exact float64 sums (math.fsum) of the given log-probs. Draws depend on the seed alone, but are not
    those of a real server. Requests that it cannot answer rightly are refused with UNIMPLEMENTED and the field's name.
    Thread-safe.
    """

    def __init__(self, log_probs: LogProbs | None = None, *, tokenizer: Tokenizer | None = _DEFAULT,
                 vocab_size: int | None = None, eos_token_id: int | None = None, bos_token_id: int | None = None,
                 adds_bos: bool = False, context_length: int = 4096, name: str = "mock", chat_template: str = "",
                 address: str = "127.0.0.1:0", limits: Mapping[str, int] | None = None):
        """log_probs: see MockModel; None: made-up ones, the same each time.
        tokenizer: None: clients send token ids, and vocab_size is required. Default: one token per byte, and <eos>.
        eos_token_id: the token that ends a text. With the default tokenizer <eos>.
        limits: fields of logitd.v1.Limits that differ from a real server's, so that requests are split.
        Raises TypeError or ValueError.
        """
        if tokenizer is _DEFAULT:
            tokenizer = ByteTokenizer("<eos>")
            eos_token_id = 256 if eos_token_id is None else eos_token_id
        if tokenizer is not None:
            vocab_size = len(tokenizer.vocabulary())
        if vocab_size is None:
            raise TypeError("a mock server without a tokenizer needs vocab_size")
        for fact, token_id in (("eos_token_id", eos_token_id), ("bos_token_id", bos_token_id)):
            if token_id is not None and not 0 <= token_id < vocab_size:
                raise ValueError(f"{fact} is {token_id}; it must be in [0, {vocab_size})")
        unknown = set(limits or ()) - set(server_service_pb2.Limits.DESCRIPTOR.fields_by_name)
        if unknown:
            raise ValueError(f"limits has {sorted(unknown)}, which logitd.v1.Limits has not")
        model = MockModel(random_log_probs(vocab_size) if log_probs is None else log_probs, vocab_size, tokenizer,
                          bos_token_id, adds_bos)
        info = model_runner_service_pb2.ModelInfo(
            name=name, model_fingerprint=model.fingerprint(), vocab_size=vocab_size,
            vocab_fingerprint=model.texts.fingerprint() if model.texts else bytes(32),
            end_token_ids=[] if eos_token_id is None else [eos_token_id], eos_token_id=eos_token_id,
            bos_token_id=bos_token_id, adds_bos=adds_bos, context_length=context_length, precision="f64",
            chat_template=chat_template, batch_tolerance_nats=0.0)
        self._orders = Orders()
        methods = Methods(model, info, {**_LIMITS, **(limits or {})}, self._orders.item_error)
        self._server = grpc.server(futures.ThreadPoolExecutor(32), options=[
            ("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1), ("grpc.so_reuseport", 0)])
        self._server.add_generic_rpc_handlers((Handlers(methods, self._orders, name, lambda: self._is_serving),))
        self._listens_on = address
        self._address = ""
        self._is_serving = True

    def start(self) -> MockServer:
        """Listens; port 0 chooses a free one."""
        port = self._server.add_insecure_port(self._listens_on)
        if port == 0:
            raise OSError(f"cannot listen on {self._listens_on}")
        self._server.start()
        is_socket = self._listens_on.startswith("unix:")
        self._address = self._listens_on if is_socket else f"{self._listens_on.rpartition(':')[0]}:{port}"
        return self

    def stop(self) -> None:
        """Ends; calls that run are cut."""
        self._server.stop(0).wait()

    @property
    def address(self) -> str:
        """For logitd.Client. The server must have been started."""
        if not self._address:
            raise RuntimeError("the mock server has not been started: use it in a `with` statement, or call start()")
        return self._address

    def __enter__(self) -> MockServer:
        return self.start()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 traceback: TracebackType | None) -> None:
        self.stop()

    @property
    def requests(self) -> list[Any]:
        """All request messages so far, in the order in which they came; of a stream each message."""
        return self._orders.requests()

    def fail(self, reason: str, message: str = "", *, times: int = 1, methods: _Names = None,
             after_responses: int = 0, **details: Any) -> None:
        """The next `times` calls fail as a whole.

        reason: a name of logitd.v1.ErrorReason; the gRPC status follows from it.
        methods: names of methods, "Score"; None: all but GetServerInfo, ListModels and health.
        after_responses: each call is answered so far, and then ends.
        details: further fields of logitd.LogitdError, such as retry_after_s.
        """
        error = ordered(reason, message, **details)
        names = None if methods is None else frozenset((methods,) if isinstance(methods, str) else methods)
        if names is not None and names - set(METHODS):
            raise ValueError(f"methods has {sorted(names - set(METHODS))}; the methods are {', '.join(METHODS)}")
        self._orders.add(Order(error, names, times, after_responses))

    def overload(self, *, times: int = 1, retry_after_s: float = 0.01, methods: _Names = None) -> None:
        """The next `times` calls are refused with OVERLOADED and a retry delay."""
        self.fail("OVERLOADED", "the mock server is full", times=times, methods=methods, retry_after_s=retry_after_s,
                  limit="max_calls")

    def be_unavailable(self, *, times: int = 1, methods: _Names = None, after_responses: int = 0) -> None:
        """The next `times` calls fail with UNAVAILABLE (DRAINING), as of a server that is restarted."""
        self.fail("DRAINING", "the mock server shuts down", times=times, methods=methods,
                  after_responses=after_responses)

    def fail_item(self, item_id: str, reason: str, message: str = "", **details: Any) -> None:
        """Items of Score, Rank and Decide with this id have an error, always."""
        self._orders.set_item_error(item_id, ordered(reason, message, **details))

    def set_serving(self, serving: bool) -> None:
        """What health says."""
        self._is_serving = serving

    def clear(self) -> None:
        """Forgets all orders and requests."""
        self._orders.clear()
