"""Heads from safetensors files: hidden states have the numbers of the same logits, in every method and on the command
line; and what a wrong file or shape gets. Every number is computed again here, in float64."""

import json
import math
import os
import pathlib
import subprocess
import tempfile
import threading
import time
import unittest

import grpc
import harness
import numpy
import safetensors_file
import wire
from logitd.v1 import decoding_service_pb2 as decoding
from logitd.v1 import logits_pb2, sampling_pb2, server_service_pb2, server_service_pb2_grpc
from logitd.v1 import scoring_service_pb2 as scoring

V, D = 1000, 64
server = None
folder = None


def setUpModule():
    global server, folder
    folder = pathlib.Path(tempfile.mkdtemp(prefix="logitd-e2e-head-"))
    safetensors_file.write(folder / "f32.safetensors", lm_head__weight=WEIGHT, lm_head__bias=BIAS)
    safetensors_file.write(folder / "f16.safetensors", w=WEIGHT.T.astype(numpy.float16))
    safetensors_file.write(folder / "bf16.safetensors", model__embed_tokens__weight=safetensors_file.bfloat16(WEIGHT),
                           model__norm__weight=NORM)
    server = harness.Server(flags=(
        "--head", f"f32={folder}/f32.safetensors",
        "--head", f"f16={folder}/f16.safetensors,weight=w,layout=dv,soft_cap=5",
        "--head", f"bf16={folder}/bf16.safetensors,norm=model.norm.weight,norm_eps=1e-5,logit_scale=0.5"))


def tearDownModule():
    server.stop()


random = numpy.random.default_rng(3)
WEIGHT = random.normal(0, 2 / math.sqrt(D), (V, D)).astype(numpy.float32)
BIAS = random.normal(0, 1, V).astype(numpy.float32)
NORM = random.uniform(0.5, 2, D).astype(numpy.float32)
HIDDEN = random.normal(0, 1, (40, D)).astype(numpy.float32)


def wide(values: numpy.ndarray) -> numpy.ndarray:
    return values.astype(numpy.float64)


def logits_of(head: str, hidden: numpy.ndarray, before_norm: bool = False) -> numpy.ndarray:
    """[T, V] in float64."""
    h = wide(hidden)
    if before_norm:
        h = h / numpy.sqrt((h * h).mean(axis=-1, keepdims=True) + 1e-5) * wide(NORM)
    if head == "f32":
        return h @ wide(WEIGHT).T + wide(BIAS)
    if head == "f16":
        return 5 * numpy.tanh(h @ wide(WEIGHT.astype(numpy.float16)).T / 5)
    bits = safetensors_file.bfloat16(WEIGHT).astype(numpy.uint32) << 16
    return 0.5 * (h @ wide(bits.view(numpy.float32)).T)


def log_softmax(logits: numpy.ndarray) -> numpy.ndarray:
    shifted = logits - logits.max(axis=-1, keepdims=True)
    return shifted - numpy.log(numpy.exp(shifted).sum(axis=-1, keepdims=True))


def block(hidden: numpy.ndarray, head: str, token_ids=(), before_norm: bool = False) -> logits_pb2.LogitsBlock:
    return logits_pb2.LogitsBlock(
        dtype=logits_pb2.LOGITS_DTYPE_F32, row_count=len(hidden), width=hidden.shape[1],
        hidden=logits_pb2.HiddenRows(head=head, token_ids=token_ids, before_output_norm=before_norm))


class HeadTest(unittest.TestCase):
    def score(self, client, hidden, targets, **options):
        requests = [scoring.ScoreLogitsRequest(config=scoring.ScoreLogitsConfig(vocab_size=V)),
                    scoring.ScoreLogitsRequest(
                        rows=scoring.ScoreLogitsRows(blocks=[block(hidden, **options)], target_token_ids=targets,
                                                     last=True),
                        payload=hidden.tobytes())]
        (reply,) = client.scoring.ScoreLogits(iter(requests), timeout=wire.TIMEOUT_S)
        self.assertFalse(reply.HasField("error"), reply.error)
        return reply

    def distribution(self, client, hidden, **options):
        request = decoding.ComputeDistributionRequest(
            logits=logits_pb2.Logits(block=block(hidden[None, :], **options), values=hidden.tobytes()))
        return client.decoding.ComputeDistribution(request, timeout=wire.TIMEOUT_S)

    def test_score_logits_agrees_with_float64(self):
        targets = [int(t) for t in random.integers(0, V, len(HIDDEN))]
        with wire.connect(server.address) as client:
            for head, before_norm in (("f32", False), ("f16", False), ("bf16", False), ("bf16", True)):
                with self.subTest(head=head, before_norm=before_norm):
                    expected = log_softmax(logits_of(head, HIDDEN, before_norm))
                    reply = self.score(client, HIDDEN, targets, head=head, before_norm=before_norm)
                    self.assertEqual(reply.provenance.head, head)
                    for t, token in enumerate(reply.score.tokens):
                        self.assertAlmostEqual(token.model_log_prob, expected[t, targets[t]], delta=1e-5)

    def test_every_method_has_the_same_numbers(self):
        with wire.connect(server.address) as client:
            hidden = HIDDEN[0]
            expected = log_softmax(logits_of("f32", hidden[None, :]))[0]
            reply = self.distribution(client, hidden, head="f32")
            self.assertEqual(list(reply.token_ids), list(range(V)))
            self.assertLess(max(abs(numpy.array(reply.model_log_probs) - expected)), 1e-5)
            self.assertEqual(reply.provenance.head, "f32")
            chosen = int(expected.argmax())
            scored = self.score(client, HIDDEN[:1], [chosen], head="f32").score.tokens[0]
            self.assertEqual(scored.model_log_prob, reply.model_log_probs[chosen])
            batch = decoding.DecodeRequest(
                batch=decoding.StepBatch(
                    batch_id=1, blocks=[block(HIDDEN[:1], "f32")], steps=[decoding.SequenceStep(sequence_id=1)],
                    opens=[decoding.OpenSequence(sequence_id=1)]), payload=hidden.tobytes())
            replies = client.decode(wire.config(V, sampling=sampling_pb2.SamplingParams(temperature=0)), batch)
            (token,) = replies[1].result.steps[0].chosen.tokens
            self.assertEqual((token.token_id, token.model_log_prob), (chosen, scored.model_log_prob))

    def test_a_subset_has_the_bits_of_the_whole(self):
        with wire.connect(server.address) as client:
            for ids in ([0], [3, 17, 999], list(range(0, V, 2)), list(range(V))):
                for head in ("f32", "f16", "bf16"):
                    whole = logits_of(head, HIDDEN[1][None, :])[0][ids]
                    reply = self.distribution(client, HIDDEN[1], head=head, token_ids=ids)
                    self.assertEqual(list(reply.token_ids), ids)
                    self.assertLess(max(abs(numpy.array(reply.model_log_probs) - log_softmax(whole))), 1e-5)
            # With the rest excluded before, the same weights and so the same bits.
            ids = [3, 17, 999]
            allowed = sampling_pb2.TokenSet(ids=sampling_pb2.TokenIds(token_ids=ids))
            of_all = client.decoding.ComputeDistribution(decoding.ComputeDistributionRequest(
                logits=logits_pb2.Logits(block=block(HIDDEN[1][None, :], "f32"), values=HIDDEN[1].tobytes()),
                sampling=sampling_pb2.SamplingParams(allowed_tokens=allowed)), timeout=wire.TIMEOUT_S)
            of_some = self.distribution(client, HIDDEN[1], head="f32", token_ids=ids)
            self.assertEqual(list(of_all.sampling_log_probs), list(of_some.sampling_log_probs))

    def test_a_batch_of_any_size_has_the_same_bits(self):
        targets = [7] * len(HIDDEN)
        with wire.connect(server.address) as client:
            together = [token.model_log_prob for token in self.score(client, HIDDEN, targets, head="f32").score.tokens]
            alone = [self.score(client, HIDDEN[i:i + 1], [7], head="f32").score.tokens[0].model_log_prob
                     for i in range(len(HIDDEN))]
            self.assertEqual(together, alone)

    def test_wrong_shapes_name_both_and_the_axis(self):
        with wire.connect(server.address) as client:
            with self.assertRaises(grpc.RpcError) as caught:
                self.distribution(client, HIDDEN[0][:63].copy(), head="f32")
            error = wire.error_of(caught.exception)
            self.assertEqual((wire.reason(error), error.field), ("HEAD_SHAPE_MISMATCH", "logits.block.width"))
            self.assertIn('axis d of rows [1, 63] and head "f32" (W [V = 1000, d = 64])', error.message)

    def test_info_lists_the_heads(self):
        channel = grpc.insecure_channel(server.address)
        stub = server_service_pb2_grpc.ServerServiceStub(channel)
        info = stub.GetServerInfo(server_service_pb2.GetServerInfoRequest(), timeout=wire.TIMEOUT_S)
        channel.close()
        self.assertEqual([(head.name, head.vocab_size, head.hidden_size, head.source_dtype, head.weight_name)
                          for head in info.heads],
                         [("f32", V, D, "F32", "lm_head.weight"), ("f16", V, D, "F16", "w"),
                          ("bf16", V, D, "BF16", "model.embed_tokens.weight")])
        self.assertEqual([head.has_bias for head in info.heads], [True, False, False])
        self.assertEqual(info.heads[1].soft_cap, 5)
        self.assertEqual(info.heads[2].logit_scale, 0.5)
        self.assertEqual(len({bytes(head.fingerprint) for head in info.heads}), 3)
        shown = harness.run("logit", "info", "--server", server.address).stdout
        for word in ("f32", "BF16", "model.embed_tokens.weight", info.heads[0].fingerprint.hex()[:16]):
            self.assertIn(word, shown)

    def test_the_command_line_takes_hidden_states(self):
        path = folder / "hidden.npy"
        numpy.save(path, HIDDEN[:5])
        targets = [5, 6, 7, 8, 9]
        expected = log_softmax(logits_of("f32", HIDDEN[:5]))
        outcome = harness.logit("score", "--logits", path, "--head", "f32", "--targets", ",".join(map(str, targets)),
                                server=server)
        tokens = json.loads(outcome.stdout)["score"]["tokens"]
        for t, token in enumerate(tokens):
            self.assertAlmostEqual(token["model_log_prob"], expected[t, targets[t]], delta=1e-5)
        shown = harness.logit("distribution", "--logits", path, "--row", 2, "--head", "f32", "--head-tokens", "1,5,9",
                              "--labels", ",".join(f"t{i}" for i in range(V)), server=server).json()
        self.assertEqual((shown["token_ids"], shown["labels"]), ([1, 5, 9], ["t1", "t5", "t9"]))
        outcome = harness.logit("decode", "--logits", path, "--head", "f32", "--temperature", 0, server=server)
        chosen = [token["token_id"] for token in json.loads(outcome.stdout)["tokens"]]
        self.assertEqual(chosen, [int(row.argmax()) for row in expected])
        numpy.save(path, HIDDEN[:5, :60])
        refused = harness.logit("score", "--logits", path, "--head", "f32", "--targets", "1,2,3,4,5", server=server)
        self.assertEqual(refused.status, 2)
        self.assertIn("axis d of rows [5, 60] and head f32 (W [V = 1000, d = 64])", refused.error()["message"])
        refused = harness.logit("score", "--logits", path, "--head", "no", "--targets", "1,2,3,4,5", server=server)
        self.assertIn("f32, f16, bf16", refused.error()["message"])


class StartTest(unittest.TestCase):
    """What a server says that cannot read its heads; it does not start."""

    def refused(self, *values: str, environment: dict | None = None) -> harness.Outcome:
        flags = [part for value in values for part in ("--head", value)]
        done = subprocess.run([harness.BIN / "logitd", "--listen", "127.0.0.1:0", *flags], capture_output=True,
                              text=True, timeout=60, check=False, env={**os.environ, **(environment or {})})
        return harness.Outcome(done.returncode, done.stdout, done.stderr)

    def test_the_reason_is_the_last_line(self):
        bad = WEIGHT.copy()
        bad[17, 3] = numpy.nan
        path = safetensors_file.write(folder / "nan.safetensors", lm_head__weight=bad)
        cut = folder / "cut.safetensors"
        cut.write_bytes((folder / "f32.safetensors").read_bytes()[:-1])
        for value, status, words in (
                ("lm", 2, "a head needs a name and a file"),
                (f"lm={folder}/none.safetensors", 1, "none.safetensors does not exist"),
                (f"lm={path}", 1, "weights[17][3]"),
                (f"lm={cut}", 1, "truncated or damaged"),
                (f"lm={folder}/f16.safetensors,weight=w", 1, "[64, 1000] may be [V, d] or [d, V]"),
                (f"lm={folder}/f32.safetensors,layout=dv", 1, "bias")):
            with self.subTest(value=value):
                outcome = self.refused(value)
                self.assertEqual(outcome.status, status, outcome.stderr)
                self.assertIn("--head", harness.last_words(outcome))
                self.assertIn(words, harness.last_words(outcome))

    def test_the_environment_separates_by_semicolons(self):
        outcome = self.refused(environment={"LOGITD_HEAD": f"a={folder}/f32.safetensors,layout=vd;b=none"})
        self.assertIn("LOGITD_HEAD: head b: file none does not exist", outcome.stderr)

    def test_check_config_reads_no_weights_and_prints_the_heads(self):
        value = f"lm={folder}/nan.safetensors"
        safetensors_file.write(folder / "nan.safetensors", lm_head__weight=numpy.full((9, 2), numpy.nan, numpy.float32))
        outcome = harness.run("logitd", "--check-config", "--head", value)
        self.assertEqual(outcome.status, 0, outcome.stderr)
        self.assertIn(f'head: "{value}"', outcome.stdout)

    def test_a_file_that_changes_while_it_is_read_ends_the_start_and_nothing_else(self):
        path = folder / "changing.safetensors"
        weight = numpy.zeros((200_000, 256), numpy.float32)
        safetensors_file.write(path, lm_head__weight=weight)
        stop = threading.Event()

        def change():
            while not stop.is_set():
                # Every other time it loses its end.
                with open(path, "r+b") as file:
                    size = file.seek(0, os.SEEK_END)
                    file.truncate(size // 2)
                    file.truncate(size)
                time.sleep(0.002)

        thread = threading.Thread(target=change)
        thread.start()
        try:
            outcome = self.refused(f"lm={path}")
        finally:
            stop.set()
            thread.join()
        self.assertEqual(outcome.status, 1, outcome.stderr)
        self.assertRegex(harness.last_words(outcome), "changed while it was read|truncated or damaged")


if __name__ == "__main__":
    unittest.main()
