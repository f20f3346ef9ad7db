"""The cost of DecodeSession and decode() in Python against raw gRPC stubs: time of one batch, rows in, tokens out.

    scripts/build && scripts/assemble-python build/python
    PYTHONPATH=build/python /usr/bin/python3 tests/bench/python_decode.py                  # 64 sequences, V = 49,152
    PYTHONPATH=build/python /usr/bin/python3 tests/bench/python_decode.py --rounds 9 --batches 5 --dtype float16

All contenders talk to one server, each on a stream of its own that stays open. In each round every contender takes the
same batches, in an order of its own, and the figures are medians over the batches. Raw stubs are what a careful person
writes: the payload by tobytes(), one request a batch, tokens and sums read from the reply. Before a figure is printed,
tokens and sums of all contenders must be equal. The bound stands beside the ratio; a missed bound fails nothing.
"""

import argparse
import os
import pathlib
import queue
import random
import statistics
import subprocess
import sys
import time

import grpc
import numpy as np

import logitd
from logitd.v1 import decoding_service_pb2 as pb
from logitd.v1 import decoding_service_pb2_grpc, logits_pb2, sampling_pb2

BIN = pathlib.Path(os.environ.get("LOGITD_BIN", pathlib.Path(__file__).resolve().parents[2] / "build/release/bin"))
BOUND = 1.2
MESSAGE_BYTES = 64 << 20
SEED = 11
OPTIONS = {"temperature": 0.8, "seed": SEED}


class RawStubs:
    """The generated stubs, as docs/decode-wire.md uses them."""

    def __init__(self, address: str, rows: np.ndarray):
        self._requests: queue.SimpleQueue = queue.SimpleQueue()
        self._channel = grpc.insecure_channel(address, [("grpc.max_send_message_length", MESSAGE_BYTES)])
        self._replies = decoding_service_pb2_grpc.DecodingServiceStub(self._channel).Decode(
            iter(self._requests.get, None))
        self._requests.put(pb.DecodeRequest(config=pb.DecodeConfig(
            vocab_size=rows.shape[1], sampling=sampling_pb2.SamplingParams(**OPTIONS))))
        next(self._replies)
        dtype = {"float32": logits_pb2.LOGITS_DTYPE_F32, "float16": logits_pb2.LOGITS_DTYPE_F16}[rows.dtype.name]
        self._block = logits_pb2.LogitsBlock(dtype=dtype, row_count=len(rows), width=rows.shape[1])
        self._position = 0
        self._ids = range(1, len(rows) + 1)

    def batch(self, rows: np.ndarray) -> list[tuple[int, float]]:
        opens = []
        if self._position == 0:
            opens = [pb.OpenSequence(sequence_id=i, sequence_key=i - 1) for i in self._ids]
        steps = [pb.SequenceStep(sequence_id=i, position=self._position, row=i - 1) for i in self._ids]
        self._requests.put(pb.DecodeRequest(
            batch=pb.StepBatch(batch_id=self._position + 1, opens=opens, blocks=[self._block], steps=steps),
            payload=rows.tobytes()))
        self._position += 1
        return [(step.chosen.tokens[0].token_id, step.chosen.totals.cumulative_model_log_prob)
                for step in next(self._replies).result.steps]

    def close(self) -> None:
        self._requests.put(None)
        self._channel.close()


class Session:
    """DecodeSession.step."""

    def __init__(self, address: str, rows: np.ndarray):
        self._session = logitd.DecodeSession(address, vocab_size=rows.shape[1], **OPTIONS)
        for i in range(len(rows)):
            self._session.open(sequence_key=i)

    def batch(self, rows: np.ndarray) -> list[tuple[int, float]]:
        return [(step.token_id, step.cumulative_model_log_prob) for step in self._session.step(rows)]

    def close(self) -> None:
        self._session.close()


class Loop:
    """logitd.decode, with a model that has its rows already."""

    def __init__(self, address: str, rows: np.ndarray):
        self._rows = rows
        self._run = logitd.decode(lambda batch: self._rows, [[0]] * len(rows), server=address, **OPTIONS)

    def batch(self, rows: np.ndarray) -> list[tuple[int, float]]:
        self._rows = rows
        next(self._run)
        return [(step.token_id, step.cumulative_model_log_prob) for step in self._run.steps]

    def close(self) -> None:
        self._run.close()


def measure(address: str, arguments: argparse.Namespace) -> dict[str, list[float]]:
    rng = np.random.default_rng(1)
    rows = [rng.normal(0, 3, (arguments.sequences, arguments.vocab_size)).astype(arguments.dtype) for _ in range(4)]
    contenders = {kind.__name__: kind(address, rows[0]) for kind in (RawStubs, Session, Loop)}
    times: dict[str, list[float]] = {name: [] for name in contenders}
    order = random.Random(2)
    for number in range(arguments.rounds + 1):
        names = list(contenders)
        order.shuffle(names)
        answers = {}
        for name in names:
            answers[name] = []
            for i in range(arguments.batches):
                begin = time.perf_counter()
                answers[name].append(contenders[name].batch(rows[i % len(rows)]))
                # The first round warms up.
                if number > 0:
                    times[name].append(time.perf_counter() - begin)
        if any(answer != answers["RawStubs"] for answer in answers.values()):
            sys.exit("the contenders have different tokens or sums")
    for contender in contenders.values():
        contender.close()
    return times


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sequences", type=int, default=64)
    parser.add_argument("--vocab-size", type=int, default=49_152)
    parser.add_argument("--dtype", choices=("float32", "float16"), default="float32")
    parser.add_argument("--rounds", type=int, default=21)
    parser.add_argument("--batches", type=int, default=5, help="batches of each contender in a round")
    arguments = parser.parse_args()
    server = subprocess.Popen([BIN / "logitd", "--listen", "127.0.0.1:0"], stdout=subprocess.PIPE,
                              stderr=subprocess.DEVNULL, text=True)
    try:
        address = server.stdout.readline().strip().removeprefix("listening on ")
        times = measure(address, arguments)
    finally:
        server.terminate()
        server.wait()
    medians = {name: statistics.median(values) for name, values in times.items()}
    print(f"{arguments.sequences} sequences, V = {arguments.vocab_size:,}, {arguments.dtype}: one batch, median of "
          f"{len(times['RawStubs'])}; tokens and sums are equal")
    for name, value in medians.items():
        ratio = value / medians["RawStubs"]
        bound = "" if name == "RawStubs" else f"   {'holds' if ratio <= BOUND else 'MISSED'}: at most {BOUND}"
        print(f"{name:10} {1000 * value:8.2f} ms   {ratio:5.2f}x{bound}")


if __name__ == "__main__":
    main()
