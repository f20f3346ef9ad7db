"""A gRPC server in this process, whose answers a test writes: for errors that a real server rarely gives.

    def score(request, context):
        yield answer(0, -1.5)
        fail(context, code=14, reason="RUNNER_LOST", message="gone")

    with FakeServer(Score=score) as server:
        client = logitd.Client(server.address)

A method without an answer of its own answers as a server of no model would. GetServerInfo has `limits`.
"""

from __future__ import annotations

import concurrent.futures
import threading

import grpc
from google.protobuf import any_pb2

from logitd import errors
from logitd.v1 import (decoding_service_pb2, error_pb2, generation_service_pb2, model_service_pb2, scoring_service_pb2,
                       server_service_pb2)

LIMITS = {"max_items": 4096, "max_request_bytes": 16 << 20}
_MODULES = {"ScoringService": scoring_service_pb2, "GenerationService": generation_service_pb2,
            "ModelService": model_service_pb2, "ServerService": server_service_pb2,
            "DecodingService": decoding_service_pb2}


def error(code: int, reason: str = "", **fields) -> error_pb2.Error:
    number = error_pb2.ErrorReason.Value(f"ERROR_REASON_{reason}") if reason else 0
    return error_pb2.Error(code=code, reason=number, **fields)


def fail(context: grpc.ServicerContext, code: int, reason: str = "", **fields) -> None:
    """Ends the call with this error. Without a reason: as gRPC itself does, without details."""
    failure = error(code, reason, **fields)
    if reason:
        detail = any_pb2.Any()
        detail.Pack(failure)
        status = errors._rpc_class("Status")()
        status.code = code
        status.details.add(type_url=detail.type_url, value=detail.value)
        context.set_trailing_metadata((("grpc-status-details-bin", status.SerializeToString()),))
    context.abort(errors._CODES[code], failure.message)


def answer(index: int, *sums: float, item_error: error_pb2.Error | None = None, fingerprint: bytes = b"f"
           ) -> scoring_service_pb2.ScoreResponse:
    """The answer to an item, with the sums of its continuations."""
    response = scoring_service_pb2.ScoreResponse(item_index=index)
    if item_error is not None:
        response.item.error.CopyFrom(item_error)
        return response
    for value in sums:
        totals = response.item.continuations.add().score.totals
        totals.token_count, totals.cumulative_model_log_prob = 1, value
    response.provenance.model_fingerprint = fingerprint
    response.provenance.numerics_version = 1
    response.usage.scored_token_count = len(sums)
    return response


def sums_of(item: scoring_service_pb2.ScoreItem) -> list[float]:
    """The sums that `score_all` gives: minus the number after the last "-" of each text."""
    return [-float(continuation.text.rsplit("-")[-1]) for continuation in item.continuations]


def score_all(request: scoring_service_pb2.ScoreRequest, context: grpc.ServicerContext):
    """Answers all items, the last one first."""
    for index in reversed(range(len(request.items))):
        yield answer(index, *sums_of(request.items[index]))


class FakeServer(grpc.GenericRpcHandler):
    """Counts what it gets: `requests[method]` has the requests, in the order of their arrival."""

    def __init__(self, address: str = "127.0.0.1:0", limits: dict[str, int] | None = None, **methods):
        self._methods = methods
        self.limits = {**LIMITS, **(limits or {})}
        self.requests: dict[str, list] = {}
        self._lock = threading.Lock()
        self._server = grpc.server(concurrent.futures.ThreadPoolExecutor(32), (self,),
                                   options=(("grpc.so_reuseport", 0),))
        port = self._server.add_insecure_port(address)
        assert port, f"cannot listen on {address}"
        self.address = address if address.startswith("unix:") else f"127.0.0.1:{port}"
        self._server.start()

    def service(self, handler_call_details):
        service, method = handler_call_details.method.removeprefix("/logitd.v1.").split("/")
        if service not in _MODULES:
            return None
        module = _MODULES[service]
        described = module.DESCRIPTOR.services_by_name[service].methods_by_name[method]
        answer_to = self._methods.get(method)
        if answer_to is None and method == "GetServerInfo":
            def answer_to(request, context):
                return server_service_pb2.GetServerInfoResponse(limits=self.limits)
        if answer_to is None:
            return None
        is_stream = method not in ("GetServerInfo", "ListModels", "Tokenize", "Detokenize", "ComputeDistribution")

        def call(request, context):
            with self._lock:
                self.requests.setdefault(method, []).append(request)
            return answer_to(request, context)

        make = grpc.unary_stream_rpc_method_handler if is_stream else grpc.unary_unary_rpc_method_handler
        return make(call, getattr(module, described.input_type.name).FromString,
                    getattr(module, described.output_type.name).SerializeToString)

    def stop(self) -> None:
        """Ends all calls."""
        self._server.stop(0).wait()

    def __enter__(self) -> FakeServer:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
