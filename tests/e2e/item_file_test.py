"""`logit score IN.jsonl --out OUT.jsonl`: one answer for each line in its place, whoever is killed meanwhile.

The model is a table: the row after each token. LOGITD_LONG=1: 10,000 items, 20 kills of the client and 5 of the server;
otherwise 1,000 items, 5 and 2.
"""

import fcntl
import json
import os
import pathlib
import pty
import random
import re
import struct
import subprocess
import tempfile
import termios
import unittest

import harness
import killed_run
import numpy
import table_model

IS_LONG = os.environ.get("LOGITD_LONG") == "1"
ITEMS, CLIENT_KILLS, SERVER_KILLS = (10_000, 20, 5) if IS_LONG else (1_000, 5, 2)
MAX_LINE_BYTES = 64 << 20


def item(rng: random.Random, index: int) -> dict:
    def tokens(most: int) -> dict:
        return {"tokens": {"token_ids": [rng.randrange(table_model.VOCAB_SIZE) for _ in range(rng.randint(1, most))]}}
    return {"id": f"item-{index}", "context": tokens(4), "continuations": [tokens(3), tokens(3)]}


def reference(asked: dict) -> list[float]:
    """The sums of log-probs in double."""
    last = asked["context"]["tokens"]["token_ids"][-1]
    return [table_model.log_prob(last, continuation["tokens"]["token_ids"]) for continuation in asked["continuations"]]


def without_usage(text: str) -> list[dict]:
    answers = [json.loads(line) for line in text.splitlines()]
    for answer in answers:
        # What a cache knows already is not evaluated again.
        answer.pop("usage", None)
    return answers


class ItemFileTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.backend = table_model.Backend()

    @classmethod
    def tearDownClass(cls):
        cls.backend.stop()

    def setUp(self):
        folder = tempfile.TemporaryDirectory(prefix="logitd-item-file-")
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)
        self.input, self.out = self.folder / "in.jsonl", self.folder / "out.jsonl"
        self.items = [item(random.Random(5 + i), i) for i in range(ITEMS)]

    def write_items(self, count: int = 20) -> None:
        self.input.write_text("".join(json.dumps(i) + "\n" for i in self.items[:count]))

    def run_score(self, *flags: str, command: str = "score") -> harness.Outcome:
        return harness.logit(command, self.input, "--out", self.out, *flags, server=self.backend)

    def check_answers(self, count: int) -> None:
        lines = self.out.read_text().splitlines()
        self.assertEqual(len(lines), count)
        for index, line in enumerate(lines):
            answer = json.loads(line)
            self.assertEqual((answer["item_index"], answer["id"]), (index, f"item-{index}"))
            for got, wanted in zip(answer["item"]["continuations"], reference(self.items[index]), strict=True):
                self.assertAlmostEqual(got["score"]["totals"]["cumulative_model_log_prob"], wanted, delta=1e-4)

    def test_nothing_is_lost_repeated_or_moved_when_client_and_server_are_killed(self):
        self.write_items(ITEMS)
        whole = self.folder / "whole.jsonl"
        undisturbed = harness.logit("score", self.input, "--out", whole, server=self.backend)
        self.assertEqual(undisturbed.json(), {"items": ITEMS, "failed": 0, "resumed": 0, "out": str(whole)})
        command = [harness.BIN / "logit", "score", self.input, "--out", self.out, "--resume", "--retry-for", "60",
                   "--server", self.backend.address, "--json"]

        def kill_server() -> None:
            self.backend.kill()
            self.backend.restart()

        kills = {"client": CLIENT_KILLS, "server": SERVER_KILLS}
        run = killed_run.run(command, self.out, whole.stat().st_size, kills, kill_server, seed=6)
        self.assertEqual((run.summary["items"], run.kills), (ITEMS, kills))
        self.assertGreater(run.torn, 0)
        self.check_answers(ITEMS)
        self.assertEqual(without_usage(self.out.read_text()), without_usage(whole.read_text()))
        # A finished file: nothing to do.
        before = self.out.read_bytes()
        self.assertEqual(self.run_score("--resume").json()["resumed"], ITEMS)
        self.assertEqual(self.out.read_bytes(), before)

    def test_a_line_that_is_no_item_has_an_error_in_its_place(self):
        good = json.dumps(self.items[0]).encode()
        lines = [good, b"nonsense", b"", b'{"id": "typo", "contxt": 1}', b'{"id": "\xff"}', b" " * (MAX_LINE_BYTES + 1),
                 good, b'{"id": "none", "context": {"tokens": {"token_ids": [1]}}}', b'{"id": "far", "context": {"tokens": {"token_ids": [9]}}, "continuations": '
                 b'[{"tokens": {"token_ids": [1]}}]}', good]
        self.input.write_bytes(b"\n".join(lines))
        outcome = self.run_score()
        self.assertEqual(outcome.status, 1, outcome.stderr)
        self.assertEqual(json.loads(outcome.stdout), {"items": 10, "failed": 7, "resumed": 0, "out": str(self.out)})
        answers = [json.loads(line) for line in self.out.read_text().splitlines()]
        self.assertEqual([answer["item_index"] for answer in answers], list(range(10)))
        # One id twice is no error: the place counts.
        self.assertEqual([answer["id"] for answer in answers],
                         ["item-0", "", "", "typo", "", "", "item-0", "none", "far", "item-0"])
        for index in (0, 6, 9):
            self.assertNotIn("error", answers[index]["item"])
        for index, reason, words in ((1, "MALFORMED_MESSAGE", "is not a ScoreItem"), (2, "MALFORMED_MESSAGE", "is blank"),
                                     (3, "MALFORMED_MESSAGE", "contxt"), (4, "MALFORMED_MESSAGE", "is not a ScoreItem"),
                                     (5, "LIMIT_EXCEEDED", "67108865"), (7, "NO_CANDIDATES", ""),
                                     (8, "TOKEN_ID_OUT_OF_RANGE", "9")):
            error = answers[index]["item"]["error"]
            self.assertEqual(error["reason"], f"ERROR_REASON_{reason}", error)
            self.assertTrue(error["message"].startswith(f"line {index + 1} of {self.input}"), error["message"])
            self.assertIn(words, error["message"])
            # Of the request's items the caller knows nothing.
            self.assertNotIn("items[", error["message"] + error["field"])
        # The failures that are there already count again.
        self.assertEqual(self.run_score("--resume").status, 1)

    def test_an_empty_file_has_no_answers(self):
        self.input.write_bytes(b"")
        self.assertEqual(self.run_score().json()["items"], 0)
        self.assertEqual(self.out.read_bytes(), b"")

    def test_a_file_with_answers_is_never_overwritten(self):
        self.write_items()
        self.assertEqual(self.run_score().status, 0)
        before = self.out.read_bytes()
        error = self.run_score()
        self.assertEqual((error.status, error.error()["field"]), (2, "out"), error.stderr)
        (self.folder / "out.jsonl.checkpoint").unlink()
        error = self.run_score("--resume")
        self.assertEqual((error.status, error.error()["field"]), (2, "checkpoint"), error.stderr)
        self.assertEqual(self.out.read_bytes(), before)

    def test_a_checkpoint_of_another_job_is_refused_with_the_difference(self):
        self.write_items()
        self.assertEqual(self.run_score("--top-n", "2").status, 0)
        before = self.out.read_bytes()
        self.out.write_bytes(before[:-30])
        for field, change in (("options", lambda: self.run_score("--resume", "--top-n", "3")),
                              ("command", lambda: self.run_score("--resume", command="rank")),
                              ("model", lambda: self.with_other_model("--resume", "--top-n", "2"))):
            outcome = change()
            self.assertEqual((outcome.status, outcome.error()["field"]), (2, field), outcome.stderr)
            self.assertIn("checkpoint belongs to another", outcome.error()["message"])
        self.write_items(19)
        outcome = self.run_score("--resume", "--top-n", "2")
        self.assertEqual((outcome.status, outcome.error()["field"]), (2, "input"), outcome.stderr)
        self.write_items()
        self.assertEqual(self.run_score("--resume", "--top-n", "2").json()["resumed"], 19)
        self.assertEqual(without_usage(self.out.read_text()), without_usage(before.decode()))

    def with_other_model(self, *flags: str) -> harness.Outcome:
        other = table_model.Backend(fingerprint=b"other")
        try:
            return harness.logit("score", self.input, "--out", self.out, *flags, server=other)
        finally:
            other.stop()

    def test_an_output_that_was_changed_is_refused(self):
        self.write_items()
        self.assertEqual(self.run_score().status, 0)
        lines = self.out.read_text().splitlines(keepends=True)
        self.out.write_text("".join([lines[1], lines[0], *lines[2:]]))
        outcome = self.run_score("--resume")
        self.assertEqual((outcome.status, outcome.error()["field"], outcome.error()["value"]), (2, "out", "line 1"))

    def test_bytes_of_zero_that_a_power_cut_leaves_are_answered_again(self):
        self.write_items()
        self.assertEqual(self.run_score().status, 0)
        whole = self.out.read_bytes()
        cut = whole.index(b"\n", len(whole) // 2) + 1
        self.out.write_bytes(whole[:cut] + bytes(200) + b"\n" + whole[cut + 201:])
        self.assertEqual(self.run_score("--resume").json()["resumed"], whole[:cut].count(b"\n"))
        self.assertEqual(without_usage(self.out.read_text()), without_usage(whole.decode()))

    def test_a_server_that_stays_away_ends_the_run_in_time(self):
        self.write_items()
        outcome = harness.run("logit", "score", self.input, "--out", self.out, "--retry-for", "0.2", "--json", "--server",
                              f"unix:{self.folder}/nobody.sock")
        self.assertEqual(outcome.status, 4, outcome.stderr)

    def test_rank_answers_a_file_too(self):
        self.input.write_text("".join(json.dumps({"id": i["id"], "context": i["context"], "candidates": i["continuations"]})
                                      + "\n" for i in self.items[:40]))
        self.assertEqual(self.run_score(command="rank").json()["failed"], 0)
        for index, line in enumerate(self.out.read_text().splitlines()):
            answer = json.loads(line)
            sums = [c["sum"] for c in answer["item"]["candidates"]]
            numpy.testing.assert_allclose(sums, reference(self.items[index]), atol=1e-4)

    def test_decide_answers_a_file_too(self):
        self.input.write_text("".join(json.dumps({"id": i["id"], "context": i["context"],
                                                  "choice": {"options": i["continuations"]}}) + "\n"
                                      for i in self.items[:40]))
        self.assertEqual(self.run_score(command="decide").json()["failed"], 0)
        for index, line in enumerate(self.out.read_text().splitlines()):
            options = json.loads(line)["item"]["options"]
            weights = numpy.exp(reference(self.items[index]))
            numpy.testing.assert_allclose([option["probability"] for option in options], weights / weights.sum(), atol=1e-4)
        self.assertEqual(self.run_score("--resume", command="decide").json()["resumed"], 40)

    def progress(self, columns: int) -> list[str]:
        """The lines that a terminal of that many columns showed, one after the other."""
        self.out.unlink(missing_ok=True)
        main, terminal = pty.openpty()
        fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
        client = subprocess.Popen([harness.BIN / "logit", "score", self.input, "--out", self.out, "--server",
                                   self.backend.address], stdout=subprocess.DEVNULL, stderr=terminal)
        os.close(terminal)
        shown = b""
        try:
            while block := os.read(main, 65536):
                shown += block
        except OSError:
            pass  # The other end is closed.
        os.close(main)
        self.assertEqual(client.wait(), 0)
        return [frame for frame in shown.decode().split("\r\x1b[K") if frame]

    def test_progress_is_true_and_fits_40_and_80_columns(self):
        self.write_items(ITEMS)
        for columns in (40, 80):
            frames = self.progress(columns)
            self.assertGreater(len(frames), 1)
            last = 0
            for frame in frames:
                self.assertLess(len(frame), columns)
                count, total = map(int, re.search(r"(\d+)/(\d+)", frame).groups())
                self.assertEqual(total, ITEMS)
                self.assertGreaterEqual(count, last)
                self.assertIn(f"{100 * count // total}%", frame)
                last = count
            self.assertTrue(any("ETA 0:0" in frame for frame in frames), frames)
            self.assertEqual(any("█" in frame for frame in frames), columns == 80)


if __name__ == "__main__":
    unittest.main()
