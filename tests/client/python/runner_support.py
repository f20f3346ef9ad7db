"""For the tests of logitd.runner: a server that does as a test says, models of known numbers, and calls of a real server.

    server = ScriptedServer(script)          # script(stream): stream.read() -> AttachRequest, stream.write(AttachResponse)
    with runner.Runner(Bigram(), server.address, name="m", reconnect=False): server.wait()
"""

from __future__ import annotations

import contextlib
import math
import queue
import random
import struct
import threading
from concurrent import futures

import grpc
import harness
import health
from logitd import errors, runner
from logitd.v1 import completion_pb2, generation_service_pb2, generation_service_pb2_grpc, sampling_pb2
from logitd.v1 import model_runner_service_pb2 as runner_pb2
from logitd.v1 import scoring_service_pb2, scoring_service_pb2_grpc

TIMEOUT_S = 60


class Stream:
    """The server's side of one Attach."""

    def __init__(self, requests, context):
        self._requests = requests
        self._out: queue.SimpleQueue = queue.SimpleQueue()
        self.context = context

    def read(self) -> runner_pb2.AttachRequest:
        """The next message that is no heartbeat."""
        while True:
            message = next(self._requests)
            if message.WhichOneof("kind") != "heartbeat":
                return message

    def read_any(self) -> runner_pb2.AttachRequest:
        return next(self._requests)

    def write(self, **kind) -> None:
        self._out.put(runner_pb2.AttachResponse(**kind))

    def write_raw(self, message) -> None:
        self._out.put(message)

    def accept(self, max_message_bytes: int = 1 << 20, **fields) -> runner_pb2.RunnerHello:
        """Takes hello and answers it."""
        hello = self.read().hello
        self.write(accepted=runner_pb2.RunnerAccepted(**{"api_major_version": 1, "max_message_bytes": max_message_bytes,
                                                         **fields}))
        return hello

    def run(self, batch: runner_pb2.RunBatch) -> list[runner_pb2.AttachRequest]:
        """Sends a batch and returns all messages that answer it."""
        self.write(batch=batch)
        return self.outputs(batch.batch_id)

    def outputs(self, batch_id: int) -> list[runner_pb2.AttachRequest]:
        messages = [self.read()]
        while not messages[-1].output.final:
            messages.append(self.read())
        assert all(message.output.batch_id == batch_id for message in messages), messages
        return messages


class ScriptedServer:
    """Runs `script` for each stream; `streams` counts them. `wait` returns when the first script has ended, and raises
    what it raised."""

    def __init__(self, script):
        self._script = script
        self._ended: queue.SimpleQueue = queue.SimpleQueue()
        self.streams = 0
        self._server = grpc.server(futures.ThreadPoolExecutor(8), options=[("grpc.max_receive_message_length", -1)])
        self._server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("logitd.v1.ModelRunnerService", {
            "Attach": grpc.stream_stream_rpc_method_handler(self._attach, runner_pb2.AttachRequest.FromString,
                                                            lambda message: message if isinstance(message, bytes)
                                                            else message.SerializeToString())}),))
        self.address = f"127.0.0.1:{self._server.add_insecure_port('127.0.0.1:0')}"
        self._server.start()

    def _attach(self, requests, context):
        self.streams += 1
        stream = Stream(requests, context)

        def run():
            failure = None
            try:
                self._script(stream)
            except BaseException as raised:
                failure = raised
            self._ended.put(failure)
            stream._out.put(None)

        threading.Thread(target=run, daemon=True).start()
        yield from iter(stream._out.get, None)

    def wait(self) -> None:
        failure = self._ended.get(timeout=TIMEOUT_S)
        if failure is not None:
            raise failure

    def stop(self) -> None:
        self._server.stop(0).wait()


def play(script, model, **options) -> ScriptedServer:
    """Runs `script` against a runner of `model`; both have ended when it returns."""
    server = ScriptedServer(script)
    try:
        one = runner.Runner(model, server.address, name="scripted", reconnect=False, **options)
        one._begin()
        try:
            server.wait()
        finally:
            one.stop()
    finally:
        server.stop()
    return server


class Bigram:
    """The row after token t is `table[t]`, in plain Python: 256 bytes and <eos>."""

    eos_token_id = 256
    context_length = 100_000
    model_fingerprint = b"bigram"

    def __init__(self, seed: int = 1, vocab_size: int = 257, tokenizer: bool = True):
        numbers = random.Random(seed)
        self.vocab_size = vocab_size
        # f32 values, so that the reference and the server compute with the same ones.
        self.table = [[struct.unpack("f", struct.pack("f", numbers.gauss(0, 3)))[0] for _ in range(vocab_size)]
                      for _ in range(vocab_size)]
        if vocab_size <= 256:
            self.eos_token_id = None
        if tokenizer and vocab_size == 257:
            self.tokenizer = runner.ByteTokenizer("<eos>")

    def rows(self, tokens, wanted):
        return [self.table[tokens[i]] for i in wanted]

    def log_prob(self, after: int, token: int) -> float:
        """In float64."""
        row = self.table[after]
        most = max(row)
        return row[token] - most - math.log(math.fsum(math.exp(x - most) for x in row))

    def sum(self, context, continuation) -> float:
        tokens = [context[-1], *continuation]
        return math.fsum(self.log_prob(a, b) for a, b in zip(tokens, tokens[1:]))

    def greedy(self, after: int, count: int) -> list[int]:
        tokens = []
        for _ in range(count):
            after = self.table[after].index(max(self.table[after]))
            tokens.append(after)
        return tokens


class Cached:
    """A model with states whose rows depend on the whole sequence. Its state is the list of all tokens, changed in
    place; `log` tells what was asked of it."""

    vocab_size = 8
    model_fingerprint = b"cached"

    def __init__(self):
        self.log: list[tuple] = []

    def start(self):
        self.log.append(("start",))
        return []

    def append(self, state, tokens, wanted):
        before = len(state)
        state.extend(tokens)
        self.log.append(("append", tuple(state[:before]), tuple(tokens), tuple(wanted)))
        return state, [self.row(state[:before + i + 1]) for i in wanted]

    def fork(self, state):
        self.log.append(("fork", tuple(state)))
        return list(state)

    def trim(self, state, length):
        self.log.append(("trim", tuple(state), length))
        return state[:length]

    def release(self, state):
        self.log.append(("release", tuple(state)))

    @staticmethod
    def row(tokens) -> list[float]:
        numbers = random.Random(repr(tokens))
        return [float(numbers.randrange(-8, 8)) for _ in range(8)]


class CachedBatch(Cached):
    """The same, several sequences at once."""

    append = None

    def append_batch(self, states, tokens, wanted):
        self.log.append(("batch", len(states)))
        return [Cached.append(self, state, some, rows) for state, some, rows in zip(states, tokens, wanted)]


def work(sequence_id: int, tokens=(), rows: str | tuple = "last", **fields) -> runner_pb2.SequenceWork:
    """An entry. rows: "last", "all", "none", or pairs (first_row, row_count)."""
    spans = {"none": (), "all": ((0, None),), "last": ((len(tokens) - 1, None),)}.get(rows, rows) if isinstance(rows, str) else rows
    return runner_pb2.SequenceWork(
        sequence_id=sequence_id, append_token_ids=tokens,
        rows=[runner_pb2.RowRequest(first_row=first, row_count=count, logits=runner_pb2.LogitsOutput())
              for first, count in spans], **fields)


def batch(batch_id: int, *entries, **fields) -> runner_pb2.RunBatch:
    return runner_pb2.RunBatch(batch_id=batch_id, work=entries, **fields)


def rows_of(messages, vocab_size: int) -> dict[tuple[int, int], list[list[float]]]:
    """The rows of each (sequence, request), put together; f32."""
    rows: dict[tuple[int, int], list[list[float]]] = {}
    for message in messages:
        values = struct.unpack(f"<{len(message.payload) // 4}f", message.payload)
        for output in message.output.outputs:
            assert not output.HasField("error"), output
            found = rows.setdefault((output.sequence_id, output.request_index), [])
            assert output.first_row == len(found), output
            for i in range(output.block_row, output.block_row + output.row_count):
                found.append(list(values[i * vocab_size:(i + 1) * vocab_size]))
    return rows


def errors_of(messages) -> dict[int, errors.LogitdError]:
    """The error of each entry that has one."""
    return {output.sequence_id: errors.from_proto(output.error) for message in messages
            for output in message.output.outputs if output.HasField("error")}


@contextlib.contextmanager
def attached(server: harness.Server, model, name: str, **options):
    """A Runner whose model can be called, and a channel."""
    with grpc.insecure_channel(server.address) as channel, \
            runner.Runner(model, server.runner_address, name=name, **options) as one:
        health.wait_until_serving(channel, f"model/{name}")
        yield one, channel


def ids(*tokens: int) -> completion_pb2.Input:
    return completion_pb2.Input(tokens=sampling_pb2.TokenIds(token_ids=tokens))


def score(channel, model: str, items, timeout: float = TIMEOUT_S, **fields):
    """The ScoredItems of (context ids, [continuation ids, ...]), in order."""
    request = scoring_service_pb2.ScoreRequest(model=model, items=[
        scoring_service_pb2.ScoreItem(context=ids(*context), continuations=[
            scoring_service_pb2.Continuation(tokens=sampling_pb2.TokenIds(token_ids=c)) for c in continuations])
        for context, continuations in items], **fields)
    answers = {}
    for response in scoring_service_pb2_grpc.ScoringServiceStub(channel).Score(request, timeout=timeout):
        answers[response.item_index] = response.item
    return [answers[i] for i in range(len(items))]


def generate(channel, model: str, prompt, max_tokens: int, timeout: float = TIMEOUT_S, temperature: float = 0, **fields):
    """The final message of a Generate call."""
    if not isinstance(prompt, completion_pb2.Input):
        prompt = completion_pb2.Input(text=prompt) if isinstance(prompt, str) else ids(*prompt)
    request = generation_service_pb2.GenerateRequest(
        model=model, prompt=prompt, stream=False,
        sampling=sampling_pb2.SamplingParams(temperature=temperature, seed=1),
        stop=sampling_pb2.StopCriteria(max_tokens=max_tokens, ignore_eos=True), **fields)
    *_, last = generation_service_pb2_grpc.GenerationServiceStub(channel).Generate(request, timeout=timeout)
    return last.final


def tokens_of(completion) -> list[int]:
    return [token.token_id for token in completion.tokens]
