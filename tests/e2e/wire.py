"""Raw gRPC against a server under test, for requests that the command line cannot make."""

import contextlib
import itertools
import threading
from collections.abc import Iterator

import grpc
import status_pb2
from logitd.v1 import decoding_service_pb2 as decoding
from logitd.v1 import decoding_service_pb2_grpc, error_pb2, fitting_service_pb2_grpc, generation_service_pb2_grpc
from logitd.v1 import model_service_pb2
from logitd.v1 import logits_pb2 as rows
from logitd.v1 import model_service_pb2_grpc, scoring_service_pb2_grpc

TIMEOUT_S = 300


class Client:
    """Stubs on one connection."""

    def __init__(self, address: str):
        self._use(grpc.insecure_channel(address))

    @classmethod
    def on(cls, channel: grpc.Channel) -> "Client":
        """Stubs on a connection that is there already."""
        client = cls.__new__(cls)
        client._use(channel)
        return client

    def _use(self, channel: grpc.Channel) -> None:
        self.channel = channel
        self.decoding = decoding_service_pb2_grpc.DecodingServiceStub(self.channel)
        self.generation = generation_service_pb2_grpc.GenerationServiceStub(self.channel)
        self.models = model_service_pb2_grpc.ModelServiceStub(self.channel)
        self.fitting = fitting_service_pb2_grpc.FittingServiceStub(self.channel)
        self.scoring = scoring_service_pb2_grpc.ScoringServiceStub(self.channel)

    def tokenize(self, text: str) -> list[int]:
        reply = self.models.Tokenize(model_service_pb2.TokenizeRequest(texts=[text]), timeout=TIMEOUT_S)
        return list(reply.texts[0].token_ids)

    def runner_count(self) -> int:
        reply = self.models.ListModels(model_service_pb2.ListModelsRequest(), timeout=TIMEOUT_S)
        return sum(model.runner_count for model in reply.models)

    def context_length(self) -> int:
        reply = self.models.ListModels(model_service_pb2.ListModelsRequest(), timeout=TIMEOUT_S)
        return reply.models[0].model.context_length

    def decode(self, *requests: decoding.DecodeRequest) -> list[decoding.DecodeResponse]:
        """Sends the requests, half-closes, and returns all replies."""
        return list(self.decoding.Decode(iter(requests), timeout=TIMEOUT_S))


class Gate:
    """The requests of a stream that stays open, after the last of them, until `close`."""

    def __init__(self, requests: Iterator):
        self._requests = requests
        self._closed = threading.Event()

    def __iter__(self) -> Iterator:
        yield from self._requests
        self._closed.wait(TIMEOUT_S)

    def close(self) -> None:
        self._closed.set()


@contextlib.contextmanager
def connect(address: str) -> Iterator[Client]:
    client = Client(address)
    try:
        yield client
    finally:
        client.channel.close()


def error_of(failure: grpc.RpcError) -> error_pb2.Error:
    """The logitd.v1.Error in the details of a failed call."""
    # As pairs: the metadata of grpc.aio also calls itself a mapping, and is none.
    details = dict(list(failure.trailing_metadata()))["grpc-status-details-bin"]
    error = error_pb2.Error()
    for detail in status_pb2.Status.FromString(details).details:
        if detail.Unpack(error):
            return error
    raise AssertionError(f"the status has no logitd.v1.Error: {failure}")


def reason(error: error_pb2.Error) -> str:
    return error_pb2.ErrorReason.Name(error.reason).removeprefix("ERROR_REASON_")


def config(vocab_size: int, **fields) -> decoding.DecodeRequest:
    return decoding.DecodeRequest(config=decoding.DecodeConfig(vocab_size=vocab_size, **fields))


def batch(batch_id: int, payload: bytes, width: int, sequence_ids: list[int], position: int = 0, opens: bool = True,
          **open_fields) -> decoding.DecodeRequest:
    """One dense f32 row for each sequence, at the same position."""
    block = rows.LogitsBlock(dtype=rows.LOGITS_DTYPE_F32, row_count=len(sequence_ids), width=width)
    numbered = zip(itertools.count(), sequence_ids)
    return decoding.DecodeRequest(payload=payload, batch=decoding.StepBatch(
        batch_id=batch_id, blocks=[block],
        opens=[decoding.OpenSequence(sequence_id=s, **open_fields) for s in sequence_ids] if opens else [],
        steps=[decoding.SequenceStep(sequence_id=s, position=position, row=row) for row, s in numbered]))
