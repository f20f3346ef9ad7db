"""The answer to one RunBatch: BatchOutput messages of bounded size, in the order of the work."""

from __future__ import annotations

import bisect
from collections.abc import Callable, Sequence

from logitd import _failures, errors
from logitd.runner._rows import WireType
from logitd.runner._work import row_count_of
from logitd.v1 import logits_pb2
from logitd.v1 import model_runner_service_pb2 as runner_pb2

# The server's Limits.max_rows_per_message.
_MOST_ROWS = 1024
# The bytes that a message, and an output in it, need beside their rows; generous.
_MESSAGE_BYTES = 64
_OUTPUT_BYTES = 64
# The tag of AttachRequest.payload: field 7, bytes.
_PAYLOAD_TAG = b"\x3a"


def serialized(message: runner_pb2.AttachRequest, payload: Sequence[bytes | memoryview] = ()) -> bytes:
    """The bytes of `message`, which has no payload of its own, with this payload. Its rows are copied once."""
    length = sum(map(len, payload))
    if not length:
        return message.SerializeToString()
    return b"".join([message.SerializeToString(), _PAYLOAD_TAG, _varint(length), *payload])


def _varint(value: int) -> bytes:
    parts = bytearray()
    while value > 0x7F:
        parts.append(value & 0x7F | 0x80)
        value >>= 7
    parts.append(value)
    return bytes(parts)


class BatchReply:
    """Takes the result of each entry, in any order, and writes what can be written in the order of the work.

        reply.rows(0, wanted, rows); reply.done(1); reply.fail(2, error); reply.finish()

    One thread.
    """

    def __init__(self, batch: runner_pb2.RunBatch, wire: WireType, row_width: int, max_message_bytes: int,
                 write: Callable[[bytes], object]):
        self._batch = batch
        self._wire = wire
        self._row_width = row_width
        self._row_bytes = row_width * wire.bytes
        self._max_message_bytes = max_message_bytes
        self._write = write
        # The results of entries whose turn has not come: rows with the indices of their tokens, or an error.
        self._results: dict[int, tuple[list[int], memoryview] | errors.LogitdError] = {}
        # The first entry that has not been written.
        self._head = 0
        self._begin_message()

    def rows(self, index: int, wanted: list[int], rows: memoryview) -> None:
        """The rows of entry `index`, in the order of `wanted`, which are the indices of all tokens for whose rows it
        asks."""
        self._take(index, (wanted, rows))

    def done(self, index: int) -> None:
        """The entry is done, and asks for no rows."""
        self._take(index, ([], memoryview(b"")))

    def fail(self, index: int, error: errors.LogitdError) -> None:
        """The entry failed. Its sequence has been given up."""
        self._take(index, error)

    def check_room(self) -> None:
        """Raises LIMIT_EXCEEDED if a row does not fit a message. REQUIRED before rows()."""
        if self._row_bytes + _OUTPUT_BYTES + _MESSAGE_BYTES > self._max_message_bytes:
            raise _failures.failure(
                "LIMIT_EXCEEDED", f"a row of {self._row_bytes} bytes does not fit a message: the server takes "
                f"{self._max_message_bytes} bytes", limit="max_message_bytes")

    def finish(self) -> None:
        """Writes the rest. Every entry has its result."""
        self._output.final = True
        self._send()

    def _take(self, index: int, result: tuple[list[int], memoryview] | errors.LogitdError) -> None:
        self._results.setdefault(index, result)
        while (found := self._results.pop(self._head, None)) is not None:
            work = self._batch.work[self._head]
            self._head += 1
            if isinstance(found, errors.LogitdError):
                self._append_error(work, found)
            else:
                self._append_rows(work, *found)

    def _append_rows(self, work: runner_pb2.SequenceWork, wanted: list[int], rows: memoryview) -> None:
        row_bytes = self._row_bytes
        for request_index, request in enumerate(work.rows):
            count = row_count_of(work, request)
            begin = bisect.bisect_left(wanted, request.first_row)
            done = 0
            while done < count:
                room = (self._max_message_bytes - self._bytes - _OUTPUT_BYTES) // row_bytes
                some = min(count - done, room, _MOST_ROWS - self._row_count)
                if some <= 0:
                    self._send()
                    continue
                first = (begin + done) * row_bytes
                self._output.outputs.add(sequence_id=work.sequence_id, request_index=request_index, first_row=done,
                                         row_count=some, block_row=self._row_count)
                self._payload.append(rows[first:first + some * row_bytes])
                self._row_count += some
                self._bytes += some * row_bytes + _OUTPUT_BYTES
                done += some

    def _append_error(self, work: runner_pb2.SequenceWork, error: errors.LogitdError) -> None:
        output = runner_pb2.SequenceOutput(sequence_id=work.sequence_id, error=_failures.to_proto(error))
        size = output.ByteSize() + _OUTPUT_BYTES
        if self._bytes + size > self._max_message_bytes and self._output.outputs:
            self._send()
        self._output.outputs.append(output)
        self._bytes += size

    def _begin_message(self) -> None:
        self._message = runner_pb2.AttachRequest()
        self._output = self._message.output
        self._output.batch_id = self._batch.batch_id
        self._payload: list[memoryview] = []
        self._row_count = 0
        self._bytes = _MESSAGE_BYTES

    def _send(self) -> None:
        if self._row_count:
            self._output.blocks.append(logits_pb2.LogitsBlock(dtype=self._wire.proto, row_count=self._row_count,
                                                              width=self._row_width))
        self._write(serialized(self._message, self._payload))
        self._begin_message()
