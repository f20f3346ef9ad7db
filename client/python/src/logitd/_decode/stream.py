"""A Decode stream that survives its servers: several batches in flight, and if the connection or the server is lost,
the sequences are opened again, on the same server or on another replica, and whatever was not answered is sent again.

    stream = Stream(connect, config, retry_for=300)
    stream.send(batch, pieces)                  # as often as there is work
    result = stream.receive()                   # the oldest batch's
    stream.finish()

- The caller sees the result of each batch exactly once, in the order of the batches. Tokens, records and sums are the
  bytes of a run without a loss: they depend on rows, parameters, seed, key and position alone. A seed that the server
  drew is kept.
- A batch is kept, with its rows, until it is answered.
- A step that was answered cannot be repeated after a loss (POSITION_TOO_OLD); within one stream it can.

One thread at a time. Legal batches: DecodingService.Decode in decoding_service.proto.
"""

from __future__ import annotations

import collections
import dataclasses
import queue
import threading
import time
from collections.abc import Callable, Iterable
from typing import Any

import grpc

from logitd import _retry, errors
from logitd._decode.open_sequences import OpenSequences
from logitd._decode.rows import refuse
from logitd.v1 import decoding_service_pb2 as decoding

_METHOD = "/logitd.v1.DecodingService/Decode"
# The number of a batch on the wire is a multiple of this. Batches that open sequences again come in between, so that
# whatever was not answered is sent again as it is.
_ID_STEP = 1 << 16
# Field 3 of DecodeRequest and of ScoreLogitsRequest, length-delimited.
_PAYLOAD_TAG = b"\x1a"


def _varint(number: int) -> bytes:
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def with_payload(head: bytes, pieces: Iterable[bytes | memoryview]) -> bytes:
    """A serialised DecodeRequest or ScoreLogitsRequest with the bytes of its rows behind it, which are copied once."""
    pieces = list(pieces)
    size = sum(len(piece) for piece in pieces)
    return b"".join((head, _PAYLOAD_TAG, _varint(size), *pieces)) if size > 0 else head


def _encode(batch: decoding.StepBatch, pieces: Iterable[bytes | memoryview] = ()) -> bytes:
    return with_payload(decoding.DecodeRequest(batch=batch).SerializeToString(), pieces)


class _Link:
    """One stream and its connection. Its replies are read on a thread of their own: a server reads a message only after
    it has written its reply to the one before, and gives a client up that leaves one unread.

    That thread makes the stream and closes its connection, because Python delivers Ctrl-C to the main thread: one that
    comes while gRPC makes a call leaves a call that nobody ends, and one that comes in a destructor is lost."""

    def __init__(self) -> None:
        self._requests: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        self._replies: queue.SimpleQueue[decoding.DecodeResponse | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._call: Any = None
        self._failure: Exception | None = None
        self._is_closed = False

    def start(self, connect: Callable[[int], grpc.Channel], attempt: int) -> None:
        threading.Thread(target=self._run, args=(connect, attempt), name="logitd-decode", daemon=True).start()

    def _run(self, connect: Callable[[int], grpc.Channel], attempt: int) -> None:
        channel: grpc.Channel | None = None
        try:
            channel = connect(attempt)
            method: Any = channel.stream_stream(_METHOD, None, decoding.DecodeResponse.FromString)
            call = method(iter(self._requests.get, None))
            with self._lock:
                self._call = call
                if self._is_closed:
                    call.cancel()
            for reply in call:
                self._replies.put(reply)
        except grpc.RpcError:
            pass  # The call knows its status.
        except Exception as failure:
            self._failure = failure
        finally:
            self._replies.put(None)
            if channel is not None:
                channel.close()

    def write(self, message: bytes) -> None:
        # A write that fails is found again by whoever waits for the result: there may be results to be read before.
        self._requests.put(message)

    def take(self) -> decoding.DecodeResponse:
        """The next reply. Raises LogitdError if there is none any more."""
        reply = self._next()
        if reply is not None:
            return reply
        raise self.broken()

    def _next(self) -> decoding.DecodeResponse | None:
        while True:
            try:
                reply = self._replies.get(timeout=_retry.LONGEST_WAIT_S)
            except queue.Empty:
                continue
            if reply is None:
                # For the next call.
                self._replies.put(None)
            return reply

    def broken(self) -> errors.LogitdError:
        """The reason why the stream ended although its client has not ended it."""
        error = self.status()
        if error is None:
            return errors.UnavailableError("the server ended the stream", code=grpc.StatusCode.UNAVAILABLE)
        if error.limit == "max_idle_ms":
            # A caller that took a long break.
            return errors.UnavailableError(error.message, code=grpc.StatusCode.UNAVAILABLE)
        return error

    def status(self) -> errors.LogitdError | None:
        """The stream's end, for which it waits; None: OK."""
        while self._next() is not None:
            pass
        if self._failure is not None:
            raise self._failure
        return None if self._call.code() is grpc.StatusCode.OK else errors.from_rpc_error(self._call)

    def half_close(self) -> None:
        self._requests.put(None)

    def close(self) -> None:
        """Cancels the stream unless it is finished."""
        self._requests.put(None)
        with self._lock:
            self._is_closed = True
            if self._call is not None:
                self._call.cancel()


@dataclasses.dataclass(frozen=True, slots=True)
class _Unanswered:
    batch: decoding.StepBatch
    message: bytes


class Stream:
    def __init__(self, connect: Callable[[int], grpc.Channel], config: decoding.DecodeConfig, *,
                 retry_for: float = 300.0, sleep: Callable[[float], None] = time.sleep):
        """Opens the first stream.

        connect: a new channel for each attempt, which are counted from 0.
        retry_for: how long to look for a server that answers, seconds.
        Raises the server's refusal of the config, or the last failure if no server answers in time.
        """
        self._connect = connect
        self._config = decoding.DecodeConfig()
        self._config.CopyFrom(config)
        self._sequences = OpenSequences(config)
        self._patience = _retry.Patience(retry_for)
        self._sleep = sleep
        self._link: _Link | None = None
        self._started: decoding.DecodeStarted | None = None
        self._attempts = 0
        self._batch_count = 0
        self._unanswered: collections.deque[_Unanswered] = collections.deque()
        # Why the stream ended for good.
        self._failure: errors.LogitdError | None = None
        # Why the last link was lost, while there is no other.
        self._loss: errors.LogitdError | None = None
        self._is_closed = False
        self.reconnect_count = 0
        self._open_link()

    @property
    def started(self) -> decoding.DecodeStarted:
        """The first server's acceptance: the seed in use and the numerics version. Later servers must have the same."""
        assert self._started is not None
        return self._started

    @property
    def unanswered_count(self) -> int:
        """Batches without a result."""
        return len(self._unanswered)

    def send(self, batch: decoding.StepBatch, pieces: Iterable[bytes | memoryview] = ()) -> None:
        """Sends one batch with the bytes of its rows, which it copies. The batch's id is set here.

        The time of a time_limit_ms begins anew when a sequence is resumed. Raises InvalidRequestError for opens.fork,
        which cannot be resumed; ValueError after the end.
        """
        link = self._live_link()
        for opened in batch.opens:
            if opened.HasField("fork"):
                # Its prompt and options are its source's, which the stream does not follow.
                raise refuse("opens.fork cannot be resumed: use fresh", field="opens.fork", value="a fork",
                             bound="fresh")
        self._batch_count += 1
        batch.batch_id = self._batch_count * _ID_STEP
        message = _encode(batch, pieces)
        self._unanswered.append(_Unanswered(batch, message))
        link.write(message)

    def receive(self) -> decoding.BatchResult:
        """Waits for the oldest batch's result. Raises whatever ended the stream; ValueError if no batch waits for one.

        Ctrl-C (KeyboardInterrupt) while it waits loses nothing: the result can still be received.
        """
        if self._failure is None and not self._unanswered:
            raise ValueError("no batch waits for a result")
        while True:
            try:
                reply = self._live_link().take()
                break
            except errors.LogitdError as failure:
                if self._failure is not None:
                    raise
                self._loss = failure
        try:
            return self._settle(reply.result)
        except errors.LogitdError:
            raise
        except BaseException:
            # It is not known how far the books went.
            self._fail(errors.CancelledError("the session was interrupted", code=grpc.StatusCode.CANCELLED))
            raise

    def _settle(self, result: decoding.BatchResult) -> decoding.BatchResult:
        oldest = self._unanswered[0]
        if result.batch_id != oldest.batch.batch_id:
            raise self._fail(errors.ServerError("the server's message is not the oldest batch's result",
                                                code=grpc.StatusCode.INTERNAL))
        self._unanswered.popleft()
        self._sequences.take(oldest.batch, result)
        self._patience.reset()
        result.batch_id //= _ID_STEP
        return result

    def finish(self) -> None:
        """Half-closes, which ends all open sequences, and waits for the stream's end. Raises whatever ended it.
        REQUIRES: no batch waits for a result."""
        if self._failure is not None:
            raise self._failure
        link = self._link
        if self._is_closed or link is None:
            self.close()
            return
        assert not self._unanswered
        link.half_close()
        error = link.status()
        self.close()
        # Everything is answered: a server that is lost now has nothing more to say.
        if error is not None and not errors.is_transient(error):
            self._failure = error
            raise error

    def close(self) -> None:
        """Cancels the stream unless it is finished. Another thread may do this."""
        self._is_closed = True
        self._drop_link()

    def __del__(self) -> None:
        # A session that was left open. Nothing is set if the constructor failed early. To wait here, as close() does,
        # could wait for the very thread that collects this, or for one that ended with the interpreter.
        link = getattr(self, "_link", None)
        if link is not None:
            link.half_close()

    def _drop_link(self) -> None:
        link, self._link = self._link, None
        if link is not None:
            link.close()

    def _live_link(self) -> _Link:
        if self._failure is not None:
            raise self._failure
        if self._is_closed:
            raise ValueError("the session is closed")
        if self._loss is not None:
            self._open_link()
        assert self._link is not None
        return self._link

    def _fail(self, error: errors.LogitdError) -> errors.LogitdError:
        """Ends the stream."""
        self._failure = error
        self.close()
        return error

    def _open_link(self) -> None:
        """Opens a stream, opens the sequences again and sends whatever is not answered, until that works."""
        while True:
            loss = self._loss
            self._drop_link()
            try:
                if loss is not None:
                    self._sleep(self._patience.wait_after(loss))
                if not self._is_closed:
                    self._link = self._new_link()
                    self._loss = None
                if self._is_closed:
                    # By another thread.
                    self._drop_link()
                    raise ValueError("the session is closed")
                return
            except errors.LogitdError as error:
                if error is loss:
                    # It does not help to try again.
                    raise self._fail(error)
                self._loss = error

    def _new_link(self) -> _Link:
        attempt = self._attempts
        self._attempts += 1
        link = _Link()
        try:
            link.start(self._connect, attempt)
            link.write(decoding.DecodeRequest(config=self._config).SerializeToString())
            reply = link.take()
            if not reply.HasField("started"):
                raise errors.ServerError("the server's first message is not `started`", code=grpc.StatusCode.INTERNAL)
            if self._started is not None:
                self._reopen(link)
                self.reconnect_count += 1
            else:
                self._started = reply.started
                # Another server would draw another seed, and might compute other numbers.
                self._config.sampling.seed = reply.started.seed
                self._config.numerics_version = reply.started.provenance.numerics_version
        except BaseException:
            link.close()
            raise
        return link

    def _reopen(self, link: _Link) -> None:
        first = self._batch_count - len(self._unanswered)
        for i, batch in enumerate(self._sequences.reopen()):
            batch.batch_id = first * _ID_STEP + i + 1
            link.write(_encode(batch))
            for opened in link.take().result.opens:
                if opened.HasField("error"):
                    raise errors.from_proto(opened.error)
        for unanswered in self._unanswered:
            link.write(unanswered.message)
