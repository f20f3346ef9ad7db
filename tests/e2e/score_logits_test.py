"""`logit score --logits` and `logit decode` on numpy's files, against the same numbers computed in Python."""

import io
import json
import math
import pathlib
import re
import subprocess
import tempfile
import unittest

import harness
import numpy

server = None
folder = None


def setUpModule():
    global server, folder
    server = harness.Server()
    folder = tempfile.TemporaryDirectory(prefix="logitd-e2e-npy-")


def tearDownModule():
    server.stop()
    folder.cleanup()


def save(name: str, array: numpy.ndarray) -> pathlib.Path:
    path = pathlib.Path(folder.name) / f"{name}.npy"
    numpy.save(path, array)
    return path


def rows(shape: tuple[int, ...], dtype=numpy.float32, seed: int = 7) -> numpy.ndarray:
    return numpy.random.default_rng(seed).normal(0, 3, shape).astype(dtype)


def log_softmax(row: numpy.ndarray, temperature: float = 1, kept: list[int] | None = None) -> dict[int, float]:
    """ln p of the tokens `kept` (default: all), in double with a sum that does not round."""
    ids = range(len(row)) if kept is None else kept
    largest = max(float(row[i]) for i in ids)
    scaled = {i: (float(row[i]) - largest) / temperature for i in ids}
    log_sum = math.log(math.fsum(math.exp(x) for x in scaled.values()))
    return {i: x - log_sum for i, x in scaled.items()}


def lines(outcome: harness.Outcome) -> list[dict]:
    """Standard output as one JSON object a line."""
    assert outcome.status in (0, 1), outcome
    return [json.loads(line) for line in outcome.stdout.splitlines()]


def score(path: pathlib.Path, targets: list[list[int]], *flags: object) -> list[dict]:
    arguments = [part for ids in targets for part in ("--targets", ",".join(map(str, ids)))]
    outcome = harness.logit("score", "--logits", path, *arguments, *flags, server=server)
    assert outcome.status == 0, outcome
    return sequences(outcome)


def sequences(outcome: harness.Outcome) -> list[dict]:
    """The scores that were printed, each of the sequence of its number."""
    answers = lines(outcome)
    assert [answer["sequence_index"] for answer in answers] == list(range(len(answers)))
    assert all(answer["provenance"]["numerics_version"] == 1 for answer in answers)
    return [answer["score"] for answer in answers]


def ids_of(sequence: dict) -> list[int]:
    return [token["token_id"] for token in sequence["tokens"]]


class ScoreLogitsTest(unittest.TestCase):
    def compare(self, array: numpy.ndarray, targets: list[list[int]], sequences: list[dict], temperature: float | None,
                top_k: int | None = None):
        """The sequences of a reply against the double computation, to 1e-6 a token."""
        batch = array if array.ndim == 3 else array[None]
        self.assertEqual(len(sequences), len(batch))
        for sequence, matrix, ids in zip(sequences, batch, targets):
            self.assertEqual(ids_of(sequence), ids)
            sums = {"model": 0.0, "sampling": 0.0}
            for token, row in zip(sequence["tokens"], matrix):
                target = token["token_id"]
                self.assertAlmostEqual(token["model_log_prob"], log_softmax(row)[target], delta=1e-6)
                sums["model"] += token["model_log_prob"]
                if temperature is None:
                    self.assertNotIn("sampling_log_prob", token)
                    continue
                order = sorted(range(len(row)), key=lambda i: (-row[i], i))
                expected = log_softmax(row, temperature, order[:top_k or len(row)]).get(target)
                if expected is None:
                    self.assertEqual(token["log_prob_state"], "LOG_PROB_STATE_EXCLUDED")
                    self.assertNotIn("sampling_log_prob", token)
                    sums["sampling"] = None
                else:
                    self.assertAlmostEqual(token["sampling_log_prob"], expected, delta=1e-6)
                    if sums["sampling"] is not None:
                        sums["sampling"] += token["sampling_log_prob"]
            totals = sequence["totals"]
            self.assertEqual(totals["token_count"], len(ids))
            self.assertAlmostEqual(totals["cumulative_model_log_prob"], sums["model"], delta=1e-9)
            if temperature is None or sums["sampling"] is None:
                self.assertNotIn("cumulative_sampling_log_prob", totals)
            else:
                self.assertAlmostEqual(totals["cumulative_sampling_log_prob"], sums["sampling"], delta=1e-9)
            self.assertEqual(sequence["is_greedy"], all(numpy.argmax(r) == i for r, i in zip(matrix, ids)))

    def test_matches_the_double_computation(self):
        for dtype in (numpy.float32, numpy.float16):
            for shape in ((1, 1), (6, 11), (3, 4, 17), (2, 3, 5000)):
                with self.subTest(dtype=dtype, shape=shape):
                    array = rows(shape, dtype)
                    count = shape[0] if len(shape) == 3 else 1
                    draws = numpy.random.default_rng(1).integers(0, shape[-1], (count, shape[-2])).tolist()
                    path = save("rows", array)
                    self.compare(array, draws, score(path, draws), None)
                    self.compare(array, draws, score(path, draws, "--temperature", 0.6), 0.6)
                    self.compare(array, draws, score(path, draws, "--temperature", 2.5, "--top-k", 4), 2.5, 4)

    def test_gradients_are_written_as_an_array(self):
        matrix = rows((2, 3, 40))
        out = pathlib.Path(folder.name) / "gradient.npy"
        targets = [[5, -100, 39], [0, 1, 2]]
        score(save("gradient-rows", matrix), targets, "--temperature", 0.7, "--gradient", out)
        flat, ids = matrix.reshape(6, 40)[[0, 2, 3, 4, 5]].astype("f8"), [5, 39, 0, 1, 2]
        p = numpy.array([list(map(math.exp, log_softmax(row, 0.7).values())) for row in flat])
        numpy.testing.assert_allclose(numpy.load(out), (p - numpy.eye(40)[ids]) / 0.7, atol=1e-6)
        refused = harness.logit("score", "--logits", save("gradient-rows", matrix[0]), "--targets", "5,6,7", "--top-k", 3,
                                "--gradient", pathlib.Path(folder.name) / "no-gradient.npy", server=server)
        self.assertEqual(refused.error()["reason"], "ERROR_REASON_FIELDS_EXCLUSIVE")
        self.assertFalse((pathlib.Path(folder.name) / "no-gradient.npy").exists())

    def test_greedy_targets_are_greedy(self):
        array = rows((5, 40))
        targets = [numpy.argmax(array, axis=1).tolist()]
        reply = score(save("greedy", array), targets)
        self.compare(array, targets, reply, None)
        self.assertTrue(reply[0]["is_greedy"])

    def test_targets_of_a_file_and_standard_input_give_the_same_line(self):
        array = rows((3, 9, 30))
        targets = numpy.random.default_rng(2).integers(0, 30, (3, 9))
        path = save("by_file", array)
        expected = score(path, targets.tolist(), "--temperature", 0.7)
        for dtype in (numpy.int32, numpy.int64):
            given = save("targets", targets.astype(dtype))
            outcome = harness.logit("score", "--logits", path, "--targets-file", given, "--temperature", 0.7,
                                    server=server)
            self.assertEqual(sequences(outcome), expected)
        buffer = io.BytesIO()
        numpy.save(buffer, array)
        done = subprocess.run([harness.BIN / "logit", "score", "--logits", "-", "--targets-file", str(given),
                               "--temperature", "0.7", "--json", "--server", server.address],
                              input=buffer.getvalue(), capture_output=True, check=True, timeout=60)
        self.assertEqual(sequences(harness.Outcome(0, done.stdout.decode(), "")), expected)

    def test_sums_do_not_depend_on_how_rows_lie_in_messages(self):
        # 3,000 rows go in several messages, 3 in one.
        array = rows((3000, 5))
        targets = numpy.random.default_rng(3).integers(0, 5, 3000)
        whole = score(save("long", array), [targets.tolist()])[0]
        for begin in (0, 1022, 2997):
            part = score(save("part", array[begin:begin + 3]), [targets[begin:begin + 3].tolist()])[0]
            for token, other in zip(part["tokens"], whole["tokens"][begin:]):
                self.assertEqual(token["model_log_prob"], other["model_log_prob"])
        self.assertAlmostEqual(whole["totals"]["cumulative_model_log_prob"],
                               math.fsum(token["model_log_prob"] for token in whole["tokens"]), delta=1e-9)
        sums = score(save("long", array), [targets.tolist()], "--sums-only")[0]
        self.assertEqual(sums["tokens"], [])
        self.assertEqual(sums["totals"], whole["totals"])

    def test_excluded_targets_are_a_state(self):
        array = rows((2, 6))
        array[1, 3] = -numpy.inf
        path = save("excluded", array)
        reply = score(path, [[0, 3]])[0]
        self.assertEqual(reply["tokens"][1]["log_prob_state"], "LOG_PROB_STATE_EXCLUDED")
        self.assertNotIn("model_log_prob", reply["tokens"][1])
        self.assertNotIn("cumulative_model_log_prob", reply["totals"])
        shown = harness.run("logit", "score", "--logits", path, "--targets", "0,3", "--server", server.address)
        self.assertEqual(shown.status, 0)
        self.assertIn("excluded", shown.stdout)

    def test_targets_of_minus_100_are_left_out(self):
        """As torch.nn.functional.cross_entropy(ignore_index=-100, reduction="sum") has it."""
        array = rows((2, 9, 30))
        targets = numpy.random.default_rng(3).integers(0, 30, (2, 9))
        targets[0, [0, 1, 5]] = -100
        targets[1, 4:] = -100
        path = save("masked", array)
        for flags in ((), ("--temperature", 0.6)):
            reply = score(path, targets.tolist(), *flags)
            for sequence, matrix, ids in zip(reply, array, targets):
                scored = [t for t in range(9) if ids[t] != -100]
                self.assertEqual([token["position"] for token in sequence["tokens"]], scored)
                self.assertEqual([token["token_id"] for token in sequence["tokens"]], ids[scored].tolist())
                self.assertEqual(sequence["totals"]["token_count"], len(scored))
                wanted = math.fsum(log_softmax(matrix[t])[ids[t]] for t in scored)
                self.assertAlmostEqual(sequence["totals"]["cumulative_model_log_prob"], wanted, delta=1e-5)
                self.assertEqual(sequence["is_greedy"], all(matrix[t].argmax() == ids[t] for t in scored))
        # From a file, in either order of its values; padding does no harm to stages that look back.
        wanted = score(path, targets.tolist(), "--temperature", 0.6)
        for name, saved in [("targets", targets), ("fortran", numpy.asfortranarray(targets)),
                            ("narrow", targets.astype("<i4"))]:
            outcome = harness.logit("score", "--logits", path, "--targets-file", save(name, saved), "--temperature", 0.6,
                                    server=server)
            self.assertEqual(sequences(outcome), wanted, name)
        padded = score(save("padded", array[1]), [targets[1].tolist()], "--frequency-penalty", 0.5)[0]
        cut = score(save("cut", array[1][:4]), [targets[1][:4].tolist()], "--frequency-penalty", 0.5)[0]
        self.assertEqual(padded, cut)
        # Nothing is scored: no sum, and no claim to be greedy.
        nothing = score(save("nothing", array[0][:2]), [[-100, -100]])[0]
        self.assertEqual(nothing["totals"], {"token_count": 0})
        self.assertNotIn("is_greedy", nothing)
        shown = harness.run("logit", "score", "--logits", save("nothing", array[0][:2]), "--targets", "-100,-100",
                            "--server", server.address)
        self.assertRegex(shown.stdout, r"0  \[-100,-100\]       0               -          -           -  -")

    def test_what_is_asked_of_each_token_is_shown(self):
        """--rank and its like without --explain or --json: the numbers are those of --json."""
        array = rows((2, 6))
        path = save("shown", array)
        wanted = score(path, [[1, 3]], "--rank", "--entropy", "--top-n", 2, "--kept-set", "--top-p", 0.8)[0]
        shown = harness.run("logit", "score", "--logits", path, "--targets", "1,3", "--rank", "--entropy", "--top-n", 2,
                            "--kept-set", "--top-p", 0.8, "--server", server.address)
        self.assertEqual(shown.status, 0, shown)
        self.assertNotIn("token by token", shown.stdout)
        listed = shown.stdout.splitlines()[1:4]
        self.assertEqual(re.split(r"  +", listed[0]), ["position", "token id", "model log-prob", "sampling log-prob", "rank",
                                                       "entropy", "kept", "kept mass", "running sum", "alternatives"])
        for line, token in zip(listed[1:], wanted["tokens"]):
            cells = re.split(r"  +", line.strip())
            self.assertEqual(int(cells[4]), token["rank"])
            self.assertAlmostEqual(float(cells[5]), token["model_entropy"], places=5)
            self.assertEqual(int(cells[6]), token["kept_count"])
            self.assertAlmostEqual(float(cells[7]), token["kept_mass"], places=5)
            self.assertEqual([int(cell.split()[0]) for cell in cells[9:]], token["top"]["token_ids"])
        for flags in (("--rank",), ("--entropy",), ("--top-n", 2), ("--top-n", 2, "--packed-top"),
                      ("--kept-set", "--top-k", 2)):
            with self.subTest(flags):
                one = harness.run("logit", "score", "--logits", path, "--targets", "1,3", *flags, "--server",
                                  server.address)
                self.assertIn({"--rank": "rank", "--entropy": "entropy", "--top-n": "alternatives",
                               "--kept-set": "kept mass"}[flags[0]], one.stdout)

    def test_refusals_of_the_server(self):
        array = rows((2, 6))
        array[1, 3] = numpy.nan
        for name, matrix, targets, flags, reason, field in [
                ("nan", array, "0,1", (), "NON_FINITE_LOGIT", "rows.logits"),
                ("all -inf", numpy.full((1, 3), -numpy.inf, numpy.float32), "0", (), "NO_FINITE_LOGIT", "rows.logits"),
                ("target", array[:1], "6", (), "TOKEN_ID_OUT_OF_RANGE", "rows.target_token_ids[0]"),
                ("negative target", array[:1], "-99", (), "TOKEN_ID_OUT_OF_RANGE", "rows.target_token_ids[0]"),
                ("history with a hole", array[:1].repeat(3, 0), "0,-100,1", ("--frequency-penalty", 0.5),
                 "FIELD_OUT_OF_RANGE", "rows.target_token_ids[2]"),
                ("greedy", array[:1], "0", ("--temperature", 0), "FIELD_OUT_OF_RANGE", "config.sampling.temperature"),
        ]:
            with self.subTest(name):
                outcome = harness.logit("score", "--logits", save("bad", matrix), "--targets", targets, *flags,
                                        server=server)
                if field.startswith("config."):
                    self.assertEqual((outcome.status, outcome.stdout), (3, ""), outcome)
                    error = outcome.error()
                else:
                    # A fault of a row is an error of its sequence.
                    self.assertEqual(outcome.status, 1, outcome)
                    (answer,) = lines(outcome)
                    self.assertNotIn("score", answer)
                    error = answer["error"]
                self.assertEqual(error["reason"], f"ERROR_REASON_{reason}")
                self.assertEqual(error["field"], field)
        outcome = harness.logit("score", "--logits", save("bad", array), "--targets", "0,1", server=server)
        (answer,) = lines(outcome)
        self.assertEqual((answer["error"]["row"], answer["error"]["token_id"]), (1, 3))

    def test_a_bad_sequence_leaves_the_others_alone(self):
        # 2,600 rows go in three messages; the error is in the first of them.
        array = rows((3, 2600, 6))
        targets = numpy.random.default_rng(4).integers(0, 6, (3, 2600))
        wanted = score(save("good", array), targets.tolist())
        array[1, 5, 3] = numpy.nan
        outcome = harness.logit("score", "--logits", save("one_bad", array), "--targets-file", save("targets", targets),
                                server=server)
        self.assertEqual(outcome.status, 1)
        answers = lines(outcome)
        self.assertEqual([answer["sequence_index"] for answer in answers], [0, 1, 2])
        self.assertEqual(answers[1]["error"]["reason"], "ERROR_REASON_NON_FINITE_LOGIT")
        self.assertEqual((answers[1]["error"]["row"], answers[1]["error"]["token_id"]), (5, 3))
        for good in (0, 2):
            self.assertEqual(answers[good]["score"], wanted[good])

    def test_files_that_cannot_be_used(self):
        good = rows((2, 3))
        cut = pathlib.Path(folder.name) / "cut.npy"
        cut.write_bytes(save("good", good).read_bytes()[:-1])
        archive = pathlib.Path(folder.name) / "archive.npz"
        numpy.savez(archive, good)
        for path, message in [
                (save("f64", good.astype(numpy.float64)), "float64 ('<f8')"),
                (save("big", good.astype(">f4")), "big-endian float32 ('>f4')"),
                (save("bf16", good.astype("<f2").view("V2")), "--dtype bf16"),
                (save("u16", good.astype("<f2").view("<u2")), "--dtype bf16"),
                (save("four", good[None, None]), "[V], [T, V] or [B, T, V], got (1, 1, 2, 3)"),
                (save("none", good[:0]), "it holds no rows"),
                (save("object", numpy.array([None], dtype=object)), "'|O'"),
                (save("record", numpy.zeros(2, dtype=[("a", "<f4"), ("b", "<i4")])), "records"),
                (cut, "it was cut off"),
                (archive, "archive"),
                (pathlib.Path(folder.name), "it is a folder"),
                (pathlib.Path(folder.name) / "nowhere.npy", "there is no such file"),
        ]:
            with self.subTest(path.name):
                for command in (("score", "--targets", "0,1"), ("decode",)):
                    outcome = harness.logit(*command, "--logits", path, server=server)
                    self.assertEqual(outcome.status, 2, outcome)
                    self.assertIn(message, outcome.error()["message"])
                    self.assertIn(str(path), outcome.error()["message"])


class LogitsTest(unittest.TestCase):
    """Every way of giving logits gives the same numbers, to every command that takes logits."""

    def answers(self, *logits: object) -> dict:
        run = lambda *arguments: harness.logit(*arguments, "--logits", *logits, server=server)  # noqa: E731
        verified = run("verify", "--token", 1, "--seed", 5, "--sequence-key", 0, "--position", 0)
        answers = {"distribution": run("distribution").json(), "verify": json.loads(verified.stdout)["verification"],
                   "score": sequences(run("score", "--targets", 1)), "decode": lines(run("decode", "--seed", 5))}
        self.assertIn(verified.status, (0, 1))
        return answers

    def test_one_row(self):
        row = numpy.array([1, -2, 0.5, 3.25], numpy.float32)  # Exact in every type.
        bits = (row.view("<u4") >> 16).astype("<u2")
        wanted = self.answers("1,-2,0.5,3.25")
        self.assertAlmostEqual(wanted["score"][0]["totals"]["cumulative_model_log_prob"], log_softmax(row)[1], places=6)
        for name, array, flags in [("v", row, ()), ("tv", row[None], ()), ("btv", row[None, None], ()),
                                   ("f16", row.astype("<f2"), ()), ("f64", row.astype("<f8"), ("--dtype", "f32")),
                                   ("v2", bits.view("V2"), ("--dtype", "bf16")), ("u2", bits, ("--dtype", "bf16")),
                                   ("i2", bits.view("<i2")[None], ("--dtype", "bf16"))]:
            with self.subTest(name):
                self.assertEqual(self.answers(save(name, array), *flags), wanted)

    def test_fortran_order(self):
        for dtype in (numpy.float32, numpy.float16):
            for shape in ((5, 7), (3, 5, 7), (1, 5, 7), (3, 1, 7), (3, 5, 1)):
                array = rows(shape, dtype)
                targets = numpy.zeros(shape[:-1], int).reshape(-1, shape[-2]).tolist()
                ordered, fortran = save("ordered", array), save("fortran", numpy.asfortranarray(array))
                with self.subTest(shape=shape, dtype=dtype):
                    self.assertEqual(score(fortran, targets), score(ordered, targets))
        with open(fortran, "rb") as file:
            piped = subprocess.run([str(harness.BIN / "logit"), "distribution", "--logits", "-", "--row", "4", "--sequence",
                                    "2", "--json", "--server", server.address], stdin=file, capture_output=True, text=True)
        self.assertEqual(json.loads(piped.stdout), harness.logit("distribution", "--logits", ordered, "--row", 4,
                                                                 "--sequence", 2, server=server).json())

    def test_rows_of_a_file(self):
        array = rows((2, 3, 5))
        path = save("batch", array)
        for flags, row in [((), array[0, 0]), (("--row", 2), array[0, 2]), (("--sequence", 1), array[1, 0]),
                           (("--row", 1, "--sequence", 1), array[1, 1]), (("--position", 2, "--seed", 1, "--sequence-key", 0), array[0, 2]),
                           (("--output-tokens", "1,1"), array[0, 2])]:
            with self.subTest(flags):
                reply = harness.logit("distribution", "--logits", path, *flags, server=server).json()
                wanted = log_softmax(row)
                for token, value in zip(reply["token_ids"], reply["sampling_log_probs"]):
                    self.assertAlmostEqual(value, wanted[token], places=5)
        for flags, field in [(("--row", 3), "--row"), (("--row", -1), "--row"), (("--sequence", 2), "--sequence"),
                             (("--position", 3), "--position"), (("--output-tokens", "1,1,1"), "--output-tokens")]:
            with self.subTest(flags):
                outcome = harness.logit("distribution", "--logits", path, *flags, server=server)
                self.assertEqual(outcome.status, 2)
                self.assertEqual(outcome.error()["field"], field)
                self.assertIn("[0, ", outcome.error()["bound"])
        labels = harness.run("logit", "distribution", "--logits", path, "--labels", "a,b,c,d,e", "--server", server.address)
        self.assertEqual([line.split()[0] for line in labels.stdout.splitlines()], list("abcde"))

    def test_doubles_are_rounded_where_a_flag_says_so(self):
        array = numpy.array([1 / 3, -1e-50, 2.5, -numpy.inf])
        reply = harness.logit("distribution", "--logits", save("f64", array), "--dtype", "f32", server=server).json()
        wanted = harness.logit("distribution", "--logits", save("f32", array.astype("<f4")), server=server).json()
        self.assertEqual(reply, wanted)
        outcome = harness.logit("distribution", "--logits", save("large", array + [0, 0, 1e300, 0]), "--dtype", "f32",
                                server=server)
        self.assertEqual(outcome.status, 2)
        self.assertIn("which f32 cannot hold", outcome.error()["message"])


class DecodeTest(unittest.TestCase):
    def decode(self, path: pathlib.Path, *flags: object) -> list[dict]:
        outcome = harness.logit("decode", "--logits", path, *flags, server=server)
        self.assertEqual(outcome.status, 0, outcome)
        return lines(outcome)

    def test_greedy_is_the_argmax_of_each_row(self):
        array = rows((2, 7, 50))
        array[0, 3] = 0  # All tie: the lowest id.
        for sequence, matrix in zip(self.decode(save("greedy", array), "--temperature", 0), array):
            self.assertEqual(ids_of(sequence), numpy.argmax(matrix, axis=1).tolist())
            self.assertEqual(sequence["finish"]["reason"], "FINISH_REASON_MAX_TOKENS")
            self.assertEqual(sequence["totals"]["cumulative_sampling_log_prob"], 0)

    def test_a_seed_gives_the_same_tokens_and_bits_again(self):
        path = save("seeded", rows((4, 9, 200)))
        flags = ("--temperature", 0.8, "--top-p", 0.9, "--seed", 11, "--sequence-key", 5)
        first = self.decode(path, *flags)
        self.assertEqual(first, self.decode(path, *flags))
        self.assertEqual([sequence["sequence_key"] for sequence in first], ["5", "6", "7", "8"])
        other_seed = self.decode(path, *flags[:4], "--seed", 12)
        self.assertNotEqual([ids_of(sequence) for sequence in first], [ids_of(sequence) for sequence in other_seed])
        # The third sequence alone, by its key.
        alone = self.decode(save("alone", numpy.load(path)[2]), *flags[:6], "--sequence-key", 7)
        self.assertEqual(alone[0]["tokens"], first[2]["tokens"])
        self.assertEqual(alone[0]["totals"], first[2]["totals"])

    def test_log_probs_are_those_of_score(self):
        for dtype in (numpy.float32, numpy.float16):
            with self.subTest(dtype=dtype):
                path = save("both", rows((3, 20, 64), dtype))
                stages = ("--temperature", 1.3, "--top-k", 30)
                decoded = self.decode(path, *stages, "--seed", 3)
                scored = score(path, [ids_of(sequence) for sequence in decoded], *stages)
                for one, other in zip(decoded, scored):
                    for token, again in zip(one["tokens"], other["tokens"]):
                        self.assertEqual(token["model_log_prob"], again["model_log_prob"])
                        self.assertEqual(token["sampling_log_prob"], again["sampling_log_prob"])
                    for name in ("cumulative_model_log_prob", "cumulative_sampling_log_prob"):
                        self.assertAlmostEqual(one["totals"][name], other["totals"][name], delta=1e-12)

    def test_ends_at_an_end_of_sequence_token(self):
        array = numpy.zeros((2, 2000, 4), numpy.float32)
        array[:, :, 1] = 5
        array[0, 2] = array[1, 1500] = [0, 0, 0, 9]
        first, second = self.decode(save("eos", array), "--temperature", 0, "--end-token-ids", 3)
        self.assertEqual(ids_of(first), [1, 1, 3])
        self.assertEqual(first["finish"], {"reason": "FINISH_REASON_STOP_TOKEN", "stop_token_id": 3})
        self.assertEqual(ids_of(second), [1] * 1500 + [3])

    def test_a_bad_row_fails_its_sequence_alone(self):
        array = rows((3, 4, 8))
        array[1, 2, 5] = numpy.inf
        outcome = harness.logit("decode", "--logits", save("bad", array), "--seed", 1, server=server)
        self.assertEqual(outcome.status, 1, outcome)
        first, second, third = lines(outcome)
        self.assertEqual((len(first["tokens"]), len(second["tokens"]), len(third["tokens"])), (4, 2, 4))
        self.assertEqual(second["error"]["reason"], "ERROR_REASON_NON_FINITE_LOGIT")
        self.assertEqual(second["error"]["token_id"], 5)

    def test_more_tokens_than_rows(self):
        sequence = self.decode(save("short", rows((2, 4))), "--max-tokens", 9, "--seed", 1)[0]
        self.assertEqual(len(sequence["tokens"]), 2)
        self.assertEqual(sequence["finish"]["reason"], "FINISH_REASON_CANCELLED")

    def test_refusals_of_the_server(self):
        path = save("fine", rows((2, 4)))
        for flags, field in [(("--temperature", -1), "config.sampling.temperature"),
                             (("--max-tokens", 0), "config.stop.max_tokens"),
                             (("--end-token-ids", 4), "config.end_token_ids[0]")]:
            with self.subTest(flags=flags):
                outcome = harness.logit("decode", "--logits", path, *flags, server=server)
                self.assertEqual(outcome.status, 3, outcome)
                self.assertEqual(outcome.error()["field"], field)


if __name__ == "__main__":
    unittest.main()
