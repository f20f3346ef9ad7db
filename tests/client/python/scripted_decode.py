"""A Decode server that follows a script, one function for each stream:

    def first(stream):
        stream.start(seed=7)                # takes the config and answers it
        stream.answer()                     # takes a batch and answers it: token 5 for each step
        stream.abort(grpc.StatusCode.UNAVAILABLE, "gone")

    server = Server(first, second)
    ... server.address; server.messages[0] are the requests of the first stream, as bytes
"""

from __future__ import annotations

import concurrent.futures
import queue
import threading

import grpc
from google.protobuf import any_pb2

from logitd import errors
from logitd.v1 import completion_pb2, error_pb2
from logitd.v1 import decoding_service_pb2 as decoding

TOKEN = 5
NUMERICS = 3


class Stream:
    def __init__(self, requests, messages: list[bytes]):
        self._requests, self._messages = requests, messages
        # None: the script has ended.
        self.replies: queue.SimpleQueue = queue.SimpleQueue()
        self.end: tuple | None = None

    def run(self, script) -> None:
        try:
            script(self)
        except (_End, grpc.RpcError):
            pass  # The script's own end, or a client that has gone.
        finally:
            self.replies.put(None)

    def take(self) -> decoding.DecodeRequest | None:
        """The next request; None: the client half-closed."""
        message = next(self._requests, None)
        if message is None:
            return None
        self._messages.append(message)
        return decoding.DecodeRequest.FromString(message)

    def start(self, seed: int = 7, numerics_version: int = NUMERICS) -> decoding.DecodeConfig:
        config = self.take().config
        started = decoding.DecodeStarted(seed=config.sampling.seed or seed,
                                         provenance=completion_pb2.Provenance(numerics_version=numerics_version))
        self.replies.put(decoding.DecodeResponse(started=started))
        return config

    def answer(self, batch: decoding.StepBatch | None = None, token: int = TOKEN) -> decoding.StepBatch:
        """Answers a batch, by default the next one, as a server does whose every token is `token` with a log-prob of
        -1."""
        batch = self.take().batch if batch is None else batch
        result = decoding.BatchResult(batch_id=batch.batch_id)
        for opened in batch.opens:
            state = opened.fresh.state
            result.opens.add(sequence_id=opened.sequence_id, seed=opened.sampling.seed or 7,
                             sequence_key=opened.sequence_key or opened.sequence_id,
                             next_position=state.token_count or len(state.tokens.token_ids))
        for sequence_id in batch.close_sequence_ids:
            result.closes.add(sequence_id=sequence_id, finish=completion_pb2.Finish(
                reason=completion_pb2.FINISH_REASON_CANCELLED))
        for step in batch.steps:
            result.steps.add(sequence_id=step.sequence_id, position=step.position, chosen=decoding.StepChosen(
                tokens=[completion_pb2.TokenRecord(token_id=token, position=step.position, model_log_prob=-1)],
                totals=completion_pb2.SequenceTotals(token_count=step.position + 1,
                                                     cumulative_model_log_prob=-1.0 * (step.position + 1)),
                resume_state=completion_pb2.ResumeState(model_sum=-1.0 * (step.position + 1))))
        self.replies.put(decoding.DecodeResponse(result=result))
        return batch

    def abort(self, code: grpc.StatusCode, text: str, **details) -> None:
        """Ends the stream with this status, after the replies so far. `details`: fields of logitd.v1.Error."""
        self.end = (code, text, details)
        raise _End

    def wait_for_the_end(self) -> None:
        """Until the client half-closes."""
        while self.take() is not None:
            pass


class _End(Exception):
    pass


class Server:
    def __init__(self, *scripts):
        self.messages: list[list[bytes]] = []
        self._scripts = iter(scripts)
        self._server = grpc.server(concurrent.futures.ThreadPoolExecutor(16))
        handler = grpc.stream_stream_rpc_method_handler(
            self._decode, response_serializer=decoding.DecodeResponse.SerializeToString)
        self._server.add_generic_rpc_handlers(
            (grpc.method_handlers_generic_handler("logitd.v1.DecodingService", {"Decode": handler}),))
        self.address = f"127.0.0.1:{self._server.add_insecure_port('127.0.0.1:0')}"
        self._server.start()

    def requests(self, stream: int) -> list[decoding.DecodeRequest]:
        return [decoding.DecodeRequest.FromString(message) for message in self.messages[stream]]

    def stop(self) -> None:
        self._server.stop(0).wait()

    def _decode(self, requests, context):
        self.messages.append([])
        stream = Stream(requests, self.messages[-1])
        # The script runs beside, so that its replies go out as it makes them.
        threading.Thread(target=stream.run, args=(next(self._scripts),), daemon=True).start()
        while (reply := stream.replies.get()) is not None:
            yield reply
        if stream.end is not None:
            code, text, details = stream.end
            if details:
                context.set_trailing_metadata((("grpc-status-details-bin", _status(code, text, details)),))
            context.abort(code, text)


def _status(code: grpc.StatusCode, text: str, details: dict) -> bytes:
    packed = any_pb2.Any()
    packed.Pack(error_pb2.Error(code=code.value[0], message=text, **details))
    status = errors._rpc_class("Status")(code=code.value[0], message=text)
    status.details.add(type_url=packed.type_url, value=packed.value)
    return status.SerializeToString()
