"""One stream of ModelRunnerService.Attach, from hello to its end."""

from __future__ import annotations

import dataclasses
import threading
import time
from collections.abc import Callable
from typing import Any

import grpc

from logitd import _failures, errors
from logitd.runner import _rows
from logitd.runner._batch_run import BatchRun, Counts
from logitd.runner._control import BatchControl
from logitd.runner._engine import Engine
from logitd.runner._evaluator import Evaluator
from logitd.runner._model import Facts
from logitd.runner._outbox import Outbox
from logitd.runner._reply import BatchReply, serialized
from logitd.runner._sequences import Sequences
from logitd.runner._text_calls import TextCalls
from logitd.v1 import model_runner_service_pb2 as runner_pb2

API_VERSION = (1, 0)
# Rows go in messages of this size, so that the server can begin with the first ones, and hears from the runner in time
# even over a slow network. A longer row has a message of its own.
_USUAL_MESSAGE_BYTES = 4 << 20
_ROW_OVERHEAD_BYTES = 1024
# How long the server may take to answer a half-close before the stream is cut.
_GOODBYE_S = 3.0
_WATCH_S = 0.5


@dataclasses.dataclass(frozen=True, slots=True)
class Setup:
    """Everything that the attachments of a runner share."""

    hello: runner_pb2.RunnerHello
    vocabulary: Callable[[], Any]
    facts: Facts
    engine: Engine
    evaluator: Evaluator
    texts: TextCalls
    counts: Counts
    on_accepted: Callable[[], object]


def _protocol(text: str) -> errors.LogitdError:
    return _failures.failure("RUNNER_PROTOCOL", text)


class Attachment:
    """One stream. `run` reads it, in the caller's thread; a second thread sends heartbeats and watches; those of
    Evaluator and TextCalls answer."""

    def __init__(self, setup: Setup, channel: grpc.Channel):
        self._setup = setup
        self._facts = setup.facts
        self._wire = _rows.WIRE_TYPES[setup.facts.dtype]
        row_bytes = self._facts.row_width * self._wire.bytes
        self._max_message_bytes = max(_USUAL_MESSAGE_BYTES, row_bytes + _ROW_OVERHEAD_BYTES)
        self._sequences = Sequences(setup.engine, self._facts.max_sequences, self._facts.context_length)
        self._outbox = Outbox()
        # Batches that have not been answered, by number.
        self._open: dict[int, BatchControl] = {}
        # Text calls that have not been answered, by number, and whether they are cancelled.
        self._open_calls: dict[int, bool] = {}
        self._ended = threading.Event()
        self._last_heard = time.monotonic()
        self._heartbeat_s = self._silence_s = 0.0
        self._heart: threading.Thread | None = None
        self._fault: errors.LogitdError | None = None
        self._call: Any = channel.stream_stream(
            "/logitd.v1.ModelRunnerService/Attach", request_serializer=None,
            response_deserializer=runner_pb2.AttachResponse.FromString)(self._outbox)

    def run(self) -> None:
        """Serves until the stream ends. Returns if it ended in order; else raises LogitdError."""
        try:
            self._write(runner_pb2.AttachRequest(hello=self._setup.hello))
            self._read()
        except grpc.RpcError as failure:
            raise self._fault or errors.from_rpc_error(failure) from None
        finally:
            self._ended.set()
            for control in list(self._open.values()):
                control.cancel(runner_pb2.CancelBatch())
            self._outbox.close(drop=True)
            self._call.cancel()
            # The sequences end with the stream.
            self._setup.evaluator.push(self._sequences)

    def leave(self) -> None:
        """Ends the stream in order; cuts it if the server does not answer. Returns at once."""
        # Later output would count as the model's answer about its sequences, which instead go on elsewhere.
        self._outbox.close()
        cut = threading.Timer(_GOODBYE_S, self._call.cancel)
        cut.daemon = True
        cut.start()

    def _write(self, message: runner_pb2.AttachRequest) -> None:
        self._outbox.put(serialized(message))

    def _read(self) -> None:
        for response in self._call:
            self._last_heard = time.monotonic()
            kind = response.WhichOneof("kind")
            if self._heart is None:
                if kind != "accepted":
                    raise _protocol(f"the server's first message is {kind}, not accepted")
                self._begin(response.accepted)
            elif kind == "batch":
                self._take(response.batch)
            elif kind == "cancel":
                self._cancel(response.cancel)
            elif kind in ("tokenize", "detokenize"):
                self._open_calls[getattr(response, kind).call_id] = False
                self._setup.texts.push(response, self._write, self._open_calls)
            elif kind != "heartbeat":
                raise _protocol("the server sent a second accepted" if kind else
                                "the server sent a message that this runner does not know")

    def _begin(self, accepted: runner_pb2.RunnerAccepted) -> None:
        if accepted.api_major_version != API_VERSION[0]:
            raise _protocol(
                f"the server has API version {accepted.api_major_version}.{accepted.api_minor_version} and this runner "
                f"{API_VERSION[0]}.{API_VERSION[1]}: attach to a server whose major version is the runner's")
        if accepted.max_message_bytes > 0:
            self._max_message_bytes = min(self._max_message_bytes, accepted.max_message_bytes)
        self._heartbeat_s = accepted.heartbeat_interval_ms / 1000
        self._silence_s = accepted.silence_limit_ms / 1000
        if accepted.need_vocabulary:
            self._write(runner_pb2.AttachRequest(vocabulary=self._setup.vocabulary()))
        self._setup.on_accepted()
        self._heart = threading.Thread(target=self._beat, name="logitd-heartbeat", daemon=True)
        self._heart.start()

    def _take(self, batch: runner_pb2.RunBatch) -> None:
        ids = [work.sequence_id for work in batch.work]
        if len(set(ids)) < len(ids):
            raise _protocol(f"batch {batch.batch_id} of the server names a sequence twice")
        control = self._open[batch.batch_id] = BatchControl(batch)

        def write(message: bytes) -> None:
            self._outbox.put(message)

        setup = self._setup
        reply = BatchReply(batch, self._wire, self._facts.row_width, self._max_message_bytes, write)
        setup.evaluator.push(BatchRun(batch, control, setup.engine, self._sequences, reply, self._wire,
                                      self._facts.vocab_size, self._facts.row_width, setup.counts,
                                      on_finished=lambda: self._open.pop(batch.batch_id, None)))

    def _cancel(self, cancel: runner_pb2.CancelBatch) -> None:
        # A batch or call that is not there has been answered meanwhile.
        self._open_calls.update((call_id, True) for call_id in cancel.call_ids if call_id in self._open_calls)
        control = self._open.get(cancel.batch_id)
        if control is not None:
            control.cancel(cancel)

    def _beat(self) -> None:
        """Sends heartbeats, looks after the model, and cuts the stream if the server is silent."""
        heartbeat = serialized(runner_pb2.AttachRequest(heartbeat=runner_pb2.Heartbeat()))
        interval = min(self._heartbeat_s or _WATCH_S, _WATCH_S)
        last_beat = time.monotonic()
        while not self._ended.wait(interval):
            now = time.monotonic()
            if self._silence_s and now - self._last_heard > self._silence_s:
                self._cut(errors.UnavailableError(f"the server has been silent for {self._silence_s:g} s, and is taken "
                                                  "for dead", code=grpc.StatusCode.UNAVAILABLE))
                return
            try:
                self._setup.evaluator.watch()
            except errors.LogitdError as error:
                self._cut(error)
                return
            # Any message that waits is a sign of life too.
            if self._heartbeat_s and now - last_beat >= self._heartbeat_s - interval / 2:
                last_beat = now
                if self._outbox.is_empty():
                    self._outbox.put(heartbeat)

    def _cut(self, fault: errors.LogitdError) -> None:
        self._fault = fault
        self._call.cancel()
