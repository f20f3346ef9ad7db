"""The preset HF against transformers: the same tokens survive its own logits processors, with the same probabilities.

transformers runs in its own Python: LOGITD_PEERS_PYTHON, or the one of tests/bench/install_peers. Where that cannot
import it, a line says so and the test counts as skipped.
"""

import json
import os
import pathlib
import subprocess
import sys
import tempfile
import unittest

import grpc
import harness
import numpy as np
import transformers_steps
import wire
from logitd.v1 import decoding_service_pb2, logits_pb2, sampling_pb2

PEER = pathlib.Path(__file__).with_name("transformers_peer.py")
SKIPPED_STATUS = 77
ROW_COUNT = 1000
# Rows with a cut too near to a token to be compared: at most a third of all.
MAX_LEFT_OUT = ROW_COUNT // 2
# Each stage must remove tokens from at least that many rows, or its rules were not compared.
MIN_ROWS_PER_STAGE = 50
PEER_TIMEOUT_S = 300


def peer_python() -> str:
    return os.environ.get("LOGITD_PEERS_PYTHON") or str(harness.cache_dir() / "bench-venv/bin/python3")


def run_peer(*arguments: object) -> subprocess.CompletedProcess:
    """REQUIRES: the interpreter is there. Its own packages alone: not this test's stubs."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"} | {"HF_HUB_OFFLINE": "1"}
    return subprocess.run([peer_python(), str(PEER), *map(str, arguments)], env=environment, stdout=subprocess.PIPE,
                          text=True, timeout=PEER_TIMEOUT_S, check=False)


def why_absent() -> str | None:
    """One line if transformers cannot be asked."""
    try:
        asked = run_peer()
    except OSError as error:
        return str(error)
    if asked.returncode == SKIPPED_STATUS:
        return asked.stdout.strip()
    if asked.returncode != 0:
        raise RuntimeError(f"{PEER} ended with status {asked.returncode}")
    print(asked.stdout.strip(), file=sys.stderr)
    return None


def ask_transformers(steps: list) -> list[tuple[np.ndarray, np.ndarray]]:
    """(scores, probabilities) after all processors, each [vocab_size] f32, for each step."""
    with tempfile.TemporaryDirectory(prefix="logitd-peers-") as name:
        folder = pathlib.Path(name)
        np.save(folder / "rows.npy", np.concatenate([step.row for step in steps]))
        described = [{"vocab_size": len(step.row), "tokens": step.prompt + step.output, "params": step.params}
                     for step in steps]
        (folder / "steps.json").write_text(json.dumps(described), encoding="utf-8")
        run_peer(folder).check_returncode()
        ends = np.cumsum([len(step.row) for step in steps])[:-1]
        return list(zip(np.split(np.load(folder / "scores.npy"), ends),
                        np.split(np.load(folder / "probabilities.npy"), ends)))


def ask_logitd(client: wire.Client, step) -> decoding_service_pb2.ComputeDistributionResponse:
    block = logits_pb2.LogitsBlock(dtype=logits_pb2.LOGITS_DTYPE_F32, row_count=1, width=len(step.row))
    order = sampling_pb2.StageOrder(preset=sampling_pb2.STAGE_PRESET_HF)
    return client.decoding.ComputeDistribution(decoding_service_pb2.ComputeDistributionRequest(
        logits=logits_pb2.Logits(block=block, values=step.row.astype("<f4").tobytes()),
        sampling=sampling_pb2.SamplingParams(stage_order=order, **step.params), prompt_token_ids=step.prompt,
        output_token_ids=step.output), timeout=wire.TIMEOUT_S)


def rounding_of(scores: np.ndarray) -> float:
    """Largest relative error of a probability of the peer in f32.

    It rounds the scores and their distances to the maximum, of the token and of those in the sum, by 2^-24 of the
    largest score each; then the exponential, the sum and the quotient.
    """
    return 2.0**-22 * (float(np.abs(scores[np.isfinite(scores)]).max()) + 4)


def log_softmax(scores: np.ndarray) -> np.ndarray:
    """Of f32 scores, in double."""
    scores = scores.astype(np.float64)
    top = scores.max()
    return scores - top - np.log(np.exp(scores - top).sum())


def difference(step, reply, scores: np.ndarray, probabilities: np.ndarray) -> str | None:
    """The differences between logitd's reply and the tokens that transformers left."""
    kept = np.flatnonzero(scores > -np.inf)
    ids = np.array(reply.token_ids)
    if not np.array_equal(ids, kept):
        missing, extra = np.setdiff1d(kept, ids)[:5], np.setdiff1d(ids, kept)[:5]
        return f"{len(ids)} kept, not {len(kept)}: without {missing}, with {extra}"
    rounding = rounding_of(scores)
    errors = np.abs(np.array(reply.probabilities) - probabilities[kept])
    worst = int(np.argmax(errors - rounding * probabilities[kept]))
    if not errors[worst] <= 1e-6 + rounding * probabilities[kept][worst]:
        return f"token {kept[worst]}: probability {reply.probabilities[worst]}, not {probabilities[kept][worst]}"
    # Of the improbable tokens too: a probability within 1e-6 says nothing of them.
    errors = np.abs(np.array(reply.sampling_log_probs) - log_softmax(scores)[kept])
    worst = int(np.argmax(errors))
    if not errors[worst] <= 1e-6 + rounding:
        return f"token {kept[worst]}: log-prob {reply.sampling_log_probs[worst]}, off by {errors[worst]}"
    return None


class TransformersPresetTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.steps, cls.references, cls.left_out = [], [], 0
        seed = 0
        while len(cls.steps) < ROW_COUNT and cls.left_out <= MAX_LEFT_OUT:
            step = transformers_steps.random_step(seed)
            reference = transformers_steps.reference(step)
            seed += 1
            # Of a row without a token to choose the peer makes NaN.
            if len(reference.kept) == 0:
                continue
            if reference.is_near:
                cls.left_out += 1
                continue
            cls.steps.append(step)
            cls.references.append(reference)

    def test_gives_transformers_set_and_probabilities(self):
        self.assertEqual(len(self.steps), ROW_COUNT, "too many rows are left out")
        results = ask_transformers(self.steps)
        differences = []
        server = harness.Server()
        try:
            with wire.connect(server.address) as client:
                for step, reference, (scores, probabilities) in zip(self.steps, self.references, results):
                    # Else it was about other cuts that the reference said how near they are.
                    if not np.array_equal(np.flatnonzero(scores > -np.inf), reference.kept):
                        differences.append(f"{step.describe()}: the reference is not transformers")
                    try:
                        found = difference(step, ask_logitd(client, step), scores, probabilities)
                    except grpc.RpcError as failure:
                        found = wire.error_of(failure)
                    if found is not None:
                        differences.append(f"{step.describe()}: {found}")
        finally:
            server.stop()
        print(f"{ROW_COUNT} rows compared, {self.left_out} left out: a cut too near to a token", file=sys.stderr)
        if differences:
            self.fail(f"{len(differences)} differences, of the first rows:\n" + "\n".join(differences[:10]))

    def test_every_stage_takes_tokens_out(self):
        for stage in transformers_steps.STAGES:
            if stage in ("temperature", "repetition_penalty"):
                count = sum(stage in step.params for step in self.steps)
            else:
                count = sum(stage in reference.removed_by for reference in self.references)
            with self.subTest(stage=stage):
                self.assertGreaterEqual(count, MIN_ROWS_PER_STAGE)


if __name__ == "__main__":
    absent = why_absent()
    if absent is not None:
        print(f"skipped: no transformers ({absent}); tests/bench/install_peers installs it")
        sys.exit(SKIPPED_STATUS)
    unittest.main()
