"""The mock server's methods as gRPC calls them; failures that the test orders come first."""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Callable, Iterator
from typing import Any

import grpc

from logitd import _failures, errors
from logitd.mock._methods import Methods
from logitd.mock._orders import Orders
from logitd.mock._supported import refuse_others, unimplemented
from logitd.v1 import (decoding_service_pb2, generation_service_pb2, model_service_pb2, scoring_service_pb2,
                       server_service_pb2)

# Each method: its service, its function, its request, and whether request and response are streams.
METHODS: dict[str, tuple[str, str, Any, bool, bool]] = {
    "Score": ("ScoringService", "score", scoring_service_pb2.ScoreRequest, False, True),
    "Rank": ("ScoringService", "rank", scoring_service_pb2.RankRequest, False, True),
    "Decide": ("ScoringService", "decide", scoring_service_pb2.DecideRequest, False, True),
    "Generate": ("GenerationService", "generate", generation_service_pb2.GenerateRequest, False, True),
    "Decode": ("DecodingService", "decode", decoding_service_pb2.DecodeRequest, True, True),
    "Tokenize": ("ModelService", "tokenize", model_service_pb2.TokenizeRequest, False, False),
    "Detokenize": ("ModelService", "detokenize", model_service_pb2.DetokenizeRequest, False, False),
    "GetVocabulary": ("ModelService", "get_vocabulary", model_service_pb2.GetVocabularyRequest, False, True),
    "ListModels": ("ModelService", "list_models", model_service_pb2.ListModelsRequest, False, False),
    "GetServerInfo": ("ServerService", "get_server_info", server_service_pb2.GetServerInfoRequest, False, False),
}


class Handlers(grpc.GenericRpcHandler):  # type: ignore[misc, type-arg, unused-ignore]
    """Finds the method of a call; orders of the test come first."""

    def __init__(self, methods: Methods, orders: Orders, model_name: str, is_serving: Callable[[], bool]):
        self._methods = methods
        self._orders = orders
        self._model_name = model_name
        self._is_serving = is_serving

    def service(self, details: Any) -> Any:
        path, _, method = details.method.rpartition("/")
        if path == "/grpc.health.v1.Health":
            return self._health(method)
        known = METHODS.get(method)
        if known is None or path != f"/logitd.v1.{known[0]}":
            if path.startswith("/logitd.v1."):
                return grpc.stream_stream_rpc_method_handler(_Refusal(method))
            return None
        _, function, request, takes_stream, gives_stream = known
        call = _Call(self._orders, method, getattr(self._methods, function))
        make = {(False, False): grpc.unary_unary_rpc_method_handler,
                (False, True): grpc.unary_stream_rpc_method_handler,
                (True, True): grpc.stream_stream_rpc_method_handler}[takes_stream, gives_stream]
        return make(call.stream if gives_stream else call.unary, request.FromString,
                    lambda response: response.SerializeToString())

    def _health(self, method: str) -> Any:
        def status(request: bytes) -> bytes:
            name = request[2:].decode() if request else ""
            known = name == "" or name == f"model/{self._model_name}" or name.startswith("logitd.v1.")
            return bytes([8, 3 if not known else 1 if self._is_serving() else 2])

        def watch(request: bytes, context: grpc.ServicerContext) -> Iterator[bytes]:
            yield status(request)
            ended = threading.Event()
            context.add_callback(ended.set)
            ended.wait()

        if method == "Watch":
            return grpc.unary_stream_rpc_method_handler(watch)
        if method == "Check":
            return grpc.unary_unary_rpc_method_handler(lambda request, context: status(request))
        return None


class _Refusal:
    """A method that the mock server does not have."""

    def __init__(self, method: str):
        self._method = method

    def __call__(self, requests: Any, context: grpc.ServicerContext) -> Iterator[bytes]:
        _end(context, unimplemented(f"the method {self._method}"))
        yield b""


@dataclasses.dataclass(frozen=True, slots=True)
class _Call:
    """One call of a method."""

    orders: Orders
    method: str
    function: Callable[[Any], Iterator[Any]]

    def unary(self, request: Any, context: grpc.ServicerContext) -> Any:
        return next(self.stream(request, context))

    def stream(self, request: Any, context: grpc.ServicerContext) -> Iterator[Any]:
        order = self.orders.take(self.method)
        if order is not None and order.after_responses == 0:
            _end(context, order.error)
        try:
            if hasattr(request, "ListFields"):
                self.orders.see(request)
                refuse_others(request)
                responses = self.function(request)
            else:
                responses = self.function(self._taken(request))
            for index, response in enumerate(responses):
                if order is not None and order.after_responses == index:
                    raise order.error
                yield response
            if order is not None:
                raise order.error
        except errors.LogitdError as error:
            _end(context, error)

    def _taken(self, requests: Iterator[Any]) -> Iterator[Any]:
        for request in requests:
            self.orders.see(request)
            yield request


def _end(context: grpc.ServicerContext, error: errors.LogitdError) -> None:
    """Ends the call with the error and its details. Raises."""
    context.set_trailing_metadata((("grpc-status-details-bin", _failures.status_details(error)),))
    context.abort(error.code, error.message)
