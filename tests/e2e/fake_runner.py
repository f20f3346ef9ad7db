"""A model runner in a few lines: a vocabulary of 8 tokens, rows of equal logits or of a table, no tokenizer.

    runner = fake_runner.FakeRunner(server.runner_address)
    ... wire.connect(server.address) ... Generate with token ids ...
    runner.stop()
"""

import queue
import threading

import grpc
from logitd.v1 import logits_pb2 as rows
from logitd.v1 import model_runner_service_pb2 as runner_pb2
from logitd.v1 import model_runner_service_pb2_grpc

VOCAB_SIZE = 8
NAME = "fake"


class FakeRunner:
    """Attached until `stop` or the server's end. `status` is how it ended."""

    def __init__(self, address: str, max_batches: int | None = None, batch_tolerance_nats: float | None = None,
                 cache_choice: str = "", table: list[bytes] | None = None, fingerprint: bytes = b"fake"):
        """After `max_batches` it takes batches and never answers. `table`: the row after each token, as float32; unset:
        zeros. The other arguments go into its hello."""
        self._table = table
        self._messages: queue.SimpleQueue = queue.SimpleQueue()
        self._max_batches = max_batches
        self._batches = 0
        self._channel = grpc.insecure_channel(address)
        self.attached = threading.Event()
        # It has begun to leave batches unanswered.
        self.stuck = threading.Event()
        self.status: grpc.StatusCode | None = None
        self._messages.put(runner_pb2.AttachRequest(hello=runner_pb2.RunnerHello(
            api_major_version=1,
            model=runner_pb2.ModelInfo(name=NAME, model_fingerprint=fingerprint, vocab_fingerprint=bytes(32),
                                       vocab_size=VOCAB_SIZE, context_length=100_000, precision="f32",
                                       batch_tolerance_nats=batch_tolerance_nats),
            capabilities=runner_pb2.RunnerCapabilities(fork=True, trim=True, dtypes=[rows.LOGITS_DTYPE_F32]),
            capacity=runner_pb2.RunnerCapacity(max_sequences=1000, max_cached_tokens=100_000_000,
                                               max_batch_tokens=4096, cache_choice=cache_choice))))
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        stub = model_runner_service_pb2_grpc.ModelRunnerServiceStub(self._channel)
        try:
            for message in stub.Attach(iter(self._messages.get, None)):
                kind = message.WhichOneof("kind")
                if kind == "accepted":
                    self.attached.set()
                elif kind == "heartbeat":
                    self._messages.put(runner_pb2.AttachRequest(heartbeat=runner_pb2.Heartbeat()))
                elif kind == "batch":
                    self._answer(message.batch)
            self.status = grpc.StatusCode.OK
        except grpc.RpcError as failure:
            self.status = failure.code()

    def _answer(self, batch: runner_pb2.RunBatch) -> None:
        self._batches += 1
        if self._max_batches is not None and self._batches > self._max_batches:
            self.stuck.set()
            return
        outputs = []
        count = 0
        payload = b""
        for work in batch.work:
            for index, request in enumerate(work.rows):
                wanted = (request.row_count if request.HasField("row_count")
                          else len(work.append_token_ids) - request.first_row)
                outputs.append(runner_pb2.SequenceOutput(sequence_id=work.sequence_id, request_index=index,
                                                         row_count=wanted, block_row=count))
                count += wanted
                if self._table:
                    last = work.append_token_ids[request.first_row:request.first_row + wanted]
                    payload += b"".join(self._table[token] for token in last)
        blocks = [rows.LogitsBlock(dtype=rows.LOGITS_DTYPE_F32, row_count=count, width=VOCAB_SIZE)] if count else []
        self._messages.put(runner_pb2.AttachRequest(
            output=runner_pb2.BatchOutput(batch_id=batch.batch_id, outputs=outputs, blocks=blocks, final=True),
            payload=payload or bytes(4 * VOCAB_SIZE * count)))

    def stop(self) -> None:
        self._messages.put(None)
        self._thread.join(timeout=10)
        self._channel.close()

    def break_off(self) -> None:
        """Is gone without a word, as a process that is killed."""
        self._channel.close()
        self._messages.put(None)
        self._thread.join(timeout=10)
