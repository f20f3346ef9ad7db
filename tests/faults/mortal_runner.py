"""A model runner that dies of a token, as a program: what logitd starts instead of logitd-llama (see `program_folder`).

The model's vocabulary is 0 to 7. After tokens t[0..n-1] it gives the token (sum of (i + 1) * t[i]) mod 7 the largest
logit, so that a token that is fed twice, left out or fed to another sequence shows. Token 7 is never given. It is the
poison: a batch that has it ends the process as MORTAL_RUNNER_DEATH says ("SEGV": by that signal; "5": with that exit
status; "leave": in order; "hang": not at all, and nothing is answered any more). The process first says what
MORTAL_RUNNER_SAYS has, on standard error.
"""

import argparse
import os
import pathlib
import queue
import shutil
import signal
import struct
import sys

import grpc
import harness
from logitd.v1 import logits_pb2 as rows
from logitd.v1 import model_runner_service_pb2 as runner_pb2
from logitd.v1 import model_runner_service_pb2_grpc, sampling_pb2

VOCAB_SIZE = 8
POISON = 7


def next_token(tokens: list[int]) -> int:
    return sum((i + 1) * token for i, token in enumerate(tokens)) % 7


def completion(prompt: list[int], count: int) -> list[int]:
    """What greedy decoding makes of the prompt."""
    total = sum((i + 1) * token for i, token in enumerate(prompt))
    made = []
    for position in range(len(prompt), len(prompt) + count):
        made.append(total % 7)
        total += (position + 1) * made[-1]
    return made


def program_folder(folder: pathlib.Path) -> pathlib.Path:
    """Makes `folder`/logitd, a copy, which finds this program beside it as logitd-llama. The copy's path."""
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copy2(harness.BIN / "logitd", folder / "logitd")
    runner = folder / "logitd-llama"
    runner.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{pathlib.Path(__file__).resolve()}" "$@"\n',
                      encoding="utf-8")
    runner.chmod(0o755)
    return folder / "logitd"


class MortalRunner:
    def __init__(self, address: str, model_name: str, runner_name: str):
        # By sequence: number of tokens, and the sum.
        self._sequences: dict[int, tuple[int, int]] = {}
        self._messages: queue.SimpleQueue = queue.SimpleQueue()
        self._is_hanging = False
        self._channel = grpc.insecure_channel(address)
        self._messages.put(runner_pb2.AttachRequest(hello=runner_pb2.RunnerHello(
            api_major_version=1,
            runner_name=runner_name,
            model=runner_pb2.ModelInfo(name=model_name, model_fingerprint=b"mortal", vocab_fingerprint=bytes(32),
                                       vocab_size=VOCAB_SIZE, context_length=100_000, precision="f32"),
            capabilities=runner_pb2.RunnerCapabilities(fork=True, tokenizer=True,
                                                        dtypes=[rows.LOGITS_DTYPE_F32]),
            capacity=runner_pb2.RunnerCapacity(max_sequences=1000, max_cached_tokens=100_000_000,
                                               max_batch_tokens=4096))))

    def serve(self) -> None:
        stub = model_runner_service_pb2_grpc.ModelRunnerServiceStub(self._channel)
        for message in stub.Attach(iter(self._messages.get, None)):
            kind = message.WhichOneof("kind")
            if kind == "heartbeat":
                self._messages.put(runner_pb2.AttachRequest(heartbeat=runner_pb2.Heartbeat()))
            elif kind == "tokenize" and not self._is_hanging:
                # It tokenises in itself: each byte is a token.
                lists = [sampling_pb2.TokenIds(token_ids=[byte % 7 for byte in text.encode()])
                         for text in message.tokenize.texts]
                self._messages.put(runner_pb2.AttachRequest(
                    tokenized=runner_pb2.TokenizeResult(call_id=message.tokenize.call_id, tokens=lists)))
            elif kind == "batch" and not self._is_hanging:
                self._answer(message.batch)

    def _die(self) -> None:
        death = os.environ.get("MORTAL_RUNNER_DEATH", "SEGV")
        if death == "leave":
            self._messages.put(None)
        elif death == "hang":
            os.kill(os.getpid(), signal.SIGSTOP)
        elif death.isdigit():
            os._exit(int(death))
        else:
            os.kill(os.getpid(), signal.Signals["SIG" + death])
        self._is_hanging = True

    def _answer(self, batch: runner_pb2.RunBatch) -> None:
        if any(POISON in work.append_token_ids for work in batch.work):
            self._die()
            return
        for sequence_id in batch.release_sequence_ids:
            self._sequences.pop(sequence_id, None)
        for work in batch.work:
            if work.HasField("fork_from_sequence_id"):
                self._sequences[work.sequence_id] = self._sequences[work.fork_from_sequence_id]
        outputs, payload, count = [], [], 0
        for work in batch.work:
            length, total = self._sequences.get(work.sequence_id, (0, 0))
            states = []
            for token in work.append_token_ids:
                length, total = length + 1, total + (length + 1) * token
                states.append(total)
            self._sequences[work.sequence_id] = (length, total)
            for index, request in enumerate(work.rows):
                end = request.first_row + request.row_count if request.HasField("row_count") else len(states)
                wanted = states[request.first_row:end]
                outputs.append(runner_pb2.SequenceOutput(sequence_id=work.sequence_id, request_index=index,
                                                         row_count=len(wanted), block_row=count))
                for state in wanted:
                    payload += [float(token == state % 7) for token in range(VOCAB_SIZE)]
                count += len(wanted)
        blocks = [rows.LogitsBlock(dtype=rows.LOGITS_DTYPE_F32, row_count=count, width=VOCAB_SIZE)] if count else []
        self._messages.put(runner_pb2.AttachRequest(
            output=runner_pb2.BatchOutput(batch_id=batch.batch_id, outputs=outputs, blocks=blocks, final=True),
            payload=struct.pack(f"<{len(payload)}f", *payload)))


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--attach", required=True)
    parser.add_argument("--model-name", required=True)
    parser.add_argument("--runner-name", required=True)
    options, _ = parser.parse_known_args()
    sys.stderr.buffer.write(os.environb.get(b"MORTAL_RUNNER_SAYS", b""))
    sys.stderr.buffer.flush()
    MortalRunner(options.attach, options.model_name, options.runner_name).serve()


if __name__ == "__main__":
    main()
