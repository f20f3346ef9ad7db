"""The stages through the real programs: presets, penalties, the tokens that each stage removed, draws verified, and a
Decode stream cut and resumed. Without a model; numbers are computed here in double."""

import math
import pathlib
import struct
import tempfile
import unittest

import harness
import numpy
import wire
from logitd.v1 import completion_pb2, decoding_service_pb2, sampling_pb2

server = None
folder = None


def setUpModule():
    global server, folder
    server = harness.Server()
    folder = tempfile.TemporaryDirectory(prefix="logitd-e2e-stages-")


def tearDownModule():
    server.stop()
    folder.cleanup()


def distribution(logits: str, *flags: object) -> dict:
    return harness.logit("distribution", f"--logits={logits}", *flags, server=server).json()


def kept(logits: str, *flags: object) -> list[int]:
    return distribution(logits, *flags)["token_ids"]


def softmax(logits: dict[int, float]) -> dict[int, float]:
    largest = max(logits.values())
    weights = {i: math.exp(x - largest) for i, x in logits.items()}
    return {i: w / math.fsum(weights.values()) for i, w in weights.items()}


class PresetsTest(unittest.TestCase):
    # (logits, flags, kept tokens). Masses are far from every cut, or exact in binary.
    TABLE = [
        ("3,2,2,1", ("--top-k", 2), [0, 1]),
        ("3,2,2,1", ("--top-k", 2, "--stage-order", "hf"), [0, 1, 2]),
        ("3,2,2,1", ("--top-k", 2, "--stage-order", "vllm"), [0, 1, 2]),
        ("3,2,2,1", ("--top-k", 2, "--stage-order", "llama-cpp"), [0, 1]),
        ("3,2,2,1", ("--top-k", 2, "--top-k-ties", "keep-all"), [0, 1, 2]),
        ("3,2,2,1", ("--top-k", 2, "--stage-order", "hf", "--top-k-ties", "lowest-id"), [0, 1]),
        ("1,1,1,1", ("--top-p", 0.5), [0, 1]),
        ("1,1,1,1", ("--top-p", 0.5, "--top-p-boundary", "exceeded"), [0, 1, 2]),
        ("1,1,1,1", ("--top-p", 0.5, "--top-p-boundary", "mass-above"), [0, 1, 2, 3]),
        ("0.5,3,0.5,2", ("--top-p", 0.7), [1, 3]),
        # llama.cpp cuts before the temperature, which would have evened the row out.
        ("2,1,0", ("--temperature", 2, "--top-p", 0.6), [0, 1]),
        ("2,1,0", ("--temperature", 2, "--top-p", 0.6, "--stage-order", "llama-cpp"), [0]),
        ("2,1,0", ("--temperature", 2, "--top-p", 0.6, "--stage-order", "top-p,temperature"), [0]),
        # Of top-k 2 the second has 0.269 of the mass, of all three 0.245.
        ("2,1,0", ("--top-k", 2, "--epsilon-cutoff", 0.25), [0, 1]),
        ("2,1,0", ("--top-k", 2, "--epsilon-cutoff", 0.25, "--stage-order", "epsilon,top-k"), [0]),
        ("10,9,1,0", ("--top-n-sigma", 0.5), [0, 1]),
        # The entropy is 0.83: sqrt(0.3) exp(-0.83) = 0.238.
        ("2,1,0", ("--eta-cutoff", 0.3), [0, 1]),
        ("2,1,0", ("--epsilon-cutoff", 0.3), [0]),
        ("0,0,0,3", ("--typical-p", 0.5), [3]),
    ]

    def test_each_keeps_what_its_peer_keeps(self):
        for logits, flags, expected in self.TABLE:
            with self.subTest(logits=logits, flags=flags):
                self.assertEqual(kept(logits, *flags), expected)

    def test_trt_llm_adds_to_the_temperature(self):
        for order, temperature in (("logitd", 0.01), ("trt-llm", 0.01 + 1e-6)):
            first, second = distribution("1,0.99", "--temperature", 0.01, "--stage-order", order)["sampling_log_probs"]
            self.assertAlmostEqual((first - second) * temperature, 0.01, delta=1e-7)

    def test_a_stage_that_a_preset_does_not_have_is_refused(self):
        for flags, field in ((("--dry-multiplier", 1, "--stage-order", "vllm"), "sampling.dry"),
                             (("--eta-cutoff", 0.1, "--stage-order", "llama-cpp"), "sampling.eta_cutoff"),
                             (("--xtc-probability", 1, "--stage-order", "hf"), "sampling.xtc"),
                             (("--min-p", 0.1, "--stage-order", "temperature"), "sampling.stage_order.stages")):
            with self.subTest(flags=flags):
                outcome = harness.logit("distribution", "--logits=1,2", "--seed", 1, "--sequence-key", 1, *flags,
                                        server=server)
                self.assertEqual(outcome.status, 3, outcome)
                self.assertEqual(outcome.error()["field"], field)


class PenaltiesTest(unittest.TestCase):
    LOGITS = [2.5, 1.5, 0.5, -1.0, -2.0, 0.25]

    # (flags, prompt, output, the logits that they make).
    TABLE = [
        (("--logit-bias", "0=-1", "--logit-bias", "3=2"), [], [], [1.5, 1.5, 0.5, 1.0, -2.0, 0.25]),
        (("--repetition-penalty", 2), [0], [3, 3], [1.25, 1.5, 0.5, -2.0, -2.0, 0.25]),
        (("--repetition-penalty", 2, "--repetition-scope", "output"), [0], [3], [2.5, 1.5, 0.5, -2.0, -2.0, 0.25]),
        (("--frequency-penalty", 0.5), [0], [1, 1, 5], [2.5, 0.5, 0.5, -1.0, -2.0, -0.25]),
        (("--presence-penalty", 0.5), [0], [1, 1, 5], [2.5, 1.0, 0.5, -1.0, -2.0, -0.25]),
        (("--presence-penalty", 0.5, "--penalty-window", 1), [0], [1, 1, 5], [2.5, 1.5, 0.5, -1.0, -2.0, -0.25]),
        (("--frequency-penalty", 0.5, "--stage-order", "llama-cpp"), [0], [1], [2.0, 1.0, 0.5, -1.0, -2.0, 0.25]),
        (("--no-repeat-ngram-size", 2), [2, 0], [1, 2], [None, 1.5, 0.5, -1.0, -2.0, 0.25]),
        (("--bad-words", "4", "--bad-words", "2,0", "--bad-words", "1,1"), [2], [], [None, 1.5, 0.5, -1.0, None, 0.25]),
        (("--sequence-bias", "1,2,0=-3"), [1], [2], [-0.5, 1.5, 0.5, -1.0, -2.0, 0.25]),
        # 5 0 1 . 5 0: 1 would go on with a repetition of 2, of the allowed length 2: 0.75 * 1.75^0.
        (("--dry-multiplier", 0.75), [5, 0, 1], [5, 0], [2.5, 0.75, 0.5, -1.0, -2.0, 0.25]),
        (("--excluded-tokens", "0,5"), [], [], [None, 1.5, 0.5, -1.0, -2.0, None]),
    ]

    def test_logits_change_as_defined(self):
        text = ",".join(map(str, self.LOGITS))
        for flags, prompt, output, expected in self.TABLE:
            for temperature in (1, 0.6):
                with self.subTest(flags=flags, temperature=temperature):
                    reply = distribution(text, *flags, "--temperature", temperature,
                                         "--prompt-tokens", ",".join(map(str, prompt)),
                                         "--output-tokens", ",".join(map(str, output)))
                    wanted = softmax({i: x / temperature for i, x in enumerate(expected) if x is not None})
                    self.assertEqual(reply["token_ids"], sorted(wanted))
                    for token_id, probability in zip(reply["token_ids"], reply["probabilities"]):
                        self.assertAlmostEqual(probability, wanted[token_id], delta=1e-6)

    def test_bad_values_name_field_value_and_bound(self):
        for flags, field, value, bound in (
            (("--typical-p", 0), "typical_p", "0", "(0, 1]"),
            (("--epsilon-cutoff", 1), "epsilon_cutoff", "1", "[0, 1)"),
            (("--eta-cutoff=-0.5",), "eta_cutoff", "-0.5", "[0, 1)"),
            (("--top-n-sigma=-1",), "top_n_sigma", "-1", "[0, 100]"),
            (("--xtc-probability", 2), "xtc.probability", "2", "[0, 1]"),
            (("--xtc-probability", 1, "--xtc-threshold", 0.6), "xtc.threshold", "0.6", "(0, 0.5]"),
            (("--repetition-penalty", 0), "repetition_penalty", "0", "(0, 100]"),
            (("--frequency-penalty", 3), "frequency_penalty", "3", "[-2, 2]"),
            (("--presence-penalty", "nan"), "presence_penalty", "nan", "[-2, 2]"),
            (("--penalty-window=-1",), "penalty_window", "-1", ">= 0"),
            (("--no-repeat-ngram-size=-1",), "no_repeat_ngram_size", "-1", ">= 0"),
            (("--dry-multiplier", 101), "dry.multiplier", "101", "[0, 100]"),
            (("--dry-base", 9), "dry.base", "9", "[1, 8]"),
            (("--dry-allowed-length", 0), "dry.allowed_length", "0", "[1, 1048576]"),
            (("--dry-window=-1",), "dry.window", "-1", ">= 0"),
            (("--dry-breaker", "1,2"), "dry.breakers[0].token_ids[1]", "2", "[0, 2)"),
            (("--logit-bias", "2=1"), "logit_biases[0].token_id", "2", "[0, 2)"),
            (("--logit-bias", "0=101"), "logit_biases[0].bias", "101", "[-100, 100]"),
            (("--sequence-bias", "0=inf"), "sequence_biases[0].bias", "inf", "[-100, 100]"),
            (("--bad-words=-1",), "sequence_biases[0].token_ids[0]", "-1", "[0, 2)"),
        ):
            with self.subTest(flags=flags):
                outcome = harness.logit("distribution", "--logits=1,2", *flags, server=server)
                self.assertEqual(outcome.status, 3, outcome)
                error = outcome.error()
                self.assertEqual((error["field"], error["value"]), (f"sampling.{field}", value))
                self.assertIn(bound, error["bound"])


class ExplainAndVerifyTest(unittest.TestCase):
    def test_explain_adds_up(self):
        reply = distribution("6,3,0.5,0.5,-inf", "--explain", "--banned-tokens", 3, "--temperature", 2, "--top-k", 2,
                             "--min-p", 0.3)
        stages = {report["stage"].removeprefix("STAGE_"): report for report in reply["stages"]}
        self.assertEqual(list(stages), ["TOKEN_SETS", "MIN_TOKENS", "TEMPERATURE", "TOP_K", "MIN_P"])
        before = 4
        for report in reply["stages"]:
            self.assertEqual(report["kept_before_count"], before)
            before = report["kept_after_count"]
        self.assertEqual(before, reply["kept_count"])
        cold = softmax({0: 6, 1: 3, 2: 0.5, 3: 0.5})
        warm = softmax({0: 3, 1: 1.5, 2: 0.25})
        two = softmax({0: 3, 1: 1.5})
        for stage, mass in (("TOKEN_SETS", cold[3]), ("MIN_TOKENS", 0), ("TEMPERATURE", 0), ("TOP_K", warm[2]),
                            ("MIN_P", two[1])):
            self.assertAlmostEqual(stages[stage]["removed_mass"], mass, delta=1e-6, msg=stage)

    def test_every_drawn_token_is_the_one_and_no_other_is(self):
        rows = numpy.random.default_rng(5).normal(0, 2, (12, 9)).astype(numpy.float32)
        path = pathlib.Path(folder.name) / "rows.npy"
        numpy.save(path, rows)
        for flags in (("--temperature", 0.8, "--top-p", 0.9), ("--temperature", 0),
                      ("--temperature", 1.3, "--repetition-penalty", 1.4, "--frequency-penalty", 0.3),
                      ("--xtc-probability", 0.5, "--stage-order", "llama-cpp", "--temperature", 0.7)):
            with self.subTest(flags=flags):
                decoded = harness.logit("decode", "--logits", path, "--seed", 7, "--sequence-key", 3, "--draw",
                                        "--prompt-tokens", "1,2,3", *flags, server=server).json()
                tokens = decoded["tokens"]
                self.assertEqual(len(tokens), len(rows))
                for position, token in enumerate(tokens):
                    output = ",".join(str(earlier["token_id"]) for earlier in tokens[:position])
                    for asked in (token["token_id"], (token["token_id"] + 1) % 9):
                        outcome = harness.logit("verify", "--logits", path, "--seed", 7, "--sequence-key", 3,
                                                "--position", position, "--prompt-tokens", "1,2,3",
                                                "--output-tokens", output, "--token", asked, *flags, server=server)
                        is_the_one = asked == token["token_id"]
                        self.assertEqual(outcome.status, 0 if is_the_one else 1, outcome)
                        verification = harness.Outcome(0, outcome.stdout, "").json()["verification"]
                        self.assertEqual(verification["token_id"], token["token_id"])
                        self.assertEqual(verification["matches"], is_the_one)
                        # At temperature 0 nothing was drawn.
                        self.assertEqual(verification["draw"], token.get("draw", verification["draw"]))
                        self.assertEqual("draw" in token, flags != ("--temperature", 0))

    def test_the_draw_can_be_checked_by_hand(self):
        reply = distribution("6,3,0.5,0.5", "--seed", 0, "--sequence-key", 0, "--position", 0)
        draw = {name: int(value) for name, value in reply["verification"]["draw"].items()}
        self.assertEqual(draw["uniform"], 0xe169c58d6627e8d5)  # Philox of the zero counter and key.
        self.assertEqual(draw["total_weight"], 4652959985664)
        r = draw["uniform"] * draw["total_weight"] >> 64
        self.assertEqual(r, 4097025247344)
        self.assertEqual(draw["interval_start"], 0)
        self.assertEqual(draw["weight"], 1 << 42)
        self.assertEqual(reply["verification"]["token_id"], 0)


class DecodeTest(unittest.TestCase):
    WIDTH = 17
    STEPS = 10

    def test_cut_anywhere_and_resumed_the_replies_are_the_same_bytes(self):
        sampling = sampling_pb2.SamplingParams(
            temperature=0.9, seed=11, repetition_penalty=1.3, frequency_penalty=0.4, no_repeat_ngram_size=2,
            dry=sampling_pb2.DryPenalty(multiplier=0.8), typical_p=0.97,
            xtc=sampling_pb2.XtcParams(probability=0.5),
            sequence_biases=[sampling_pb2.SequenceBias(token_ids=[1, 2])])
        config = wire.config(self.WIDTH, sampling=sampling,
                             record=completion_pb2.RecordOptions(kept_set=True, draw=True, rank=True))
        prompt = [3, 1, 4, 1, 5]
        rows = [struct.pack(f"<{self.WIDTH}f", *numpy.random.default_rng(i).normal(0, 1.5, self.WIDTH))
                for i in range(self.STEPS)]

        def decode(begin: int, state: completion_pb2.SequenceState | None) -> list[decoding_service_pb2.StepResult]:
            fresh = decoding_service_pb2.SequenceStart(prompt_token_ids=prompt, state=state)
            batches = [wire.batch(i + 1, rows[i], self.WIDTH, [1], position=i, opens=i == begin, fresh=fresh)
                       if i == begin else wire.batch(i + 1, rows[i], self.WIDTH, [1], position=i, opens=False)
                       for i in range(begin, self.STEPS)]
            with wire.connect(server.address) as client:
                return [reply.result.steps[0] for reply in client.decode(config, *batches)[1:]]

        whole = decode(0, None)
        self.assertEqual(len(whole), self.STEPS)
        ids = [step.chosen.tokens[0].token_id for step in whole]
        self.assertGreater(len(set(ids)), 2)
        for cut in range(1, self.STEPS):
            with self.subTest(cut=cut):
                state = completion_pb2.SequenceState(tokens=sampling_pb2.TokenIds(token_ids=ids[:cut]),
                                                     resume_state=whole[cut - 1].chosen.resume_state)
                resumed = decode(cut, state)
                self.assertEqual([step.SerializeToString(deterministic=True) for step in resumed],
                                 [step.SerializeToString(deterministic=True) for step in whole[cut:]])

    def test_the_whole_vocabulary_is_columns(self):
        row = numpy.random.default_rng(3).normal(0, 3, 50_257).astype("<f4")
        record = completion_pb2.RecordOptions(top_n=len(row), packed_top=True, rank=True)
        config = wire.config(len(row), sampling=sampling_pb2.SamplingParams(temperature=0.7, seed=1), record=record)
        with wire.connect(server.address) as client:
            reply = client.decode(config, wire.batch(1, row.tobytes(), len(row), [1]))[1]
        token = reply.result.steps[0].chosen.tokens[0]
        top = token.packed_top
        self.assertEqual(top.count, len(row))
        self.assertEqual(top.token_ids, b"")
        model = numpy.frombuffer(top.model_log_probs, "<f8")
        values = row.astype(float) - float(row.max())
        exact = values - math.log(math.fsum(numpy.exp(values)))
        self.assertLess(numpy.abs(model - exact).max(), 1e-6)
        self.assertEqual(model[token.token_id], token.model_log_prob)
        ranks = numpy.frombuffer(top.ranks, "<i4")
        self.assertEqual(ranks[token.token_id], token.rank)
        self.assertEqual(int(ranks[numpy.argmax(row)]), 1)
        sampling = numpy.frombuffer(top.sampling_log_probs, "<f8")
        self.assertAlmostEqual(float(numpy.exp(sampling).sum()), 1, delta=1e-6)


if __name__ == "__main__":
    unittest.main()
