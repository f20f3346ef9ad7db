"""Files of items in and out: one answer for each line in its place, whoever is killed meanwhile, and files that this
package and the command line continue for each other.

LOGITD_LONG=1: 10,000 items, 20 kills of the client and 5 of the server; otherwise 1,000 items, 4 and 2.
"""

import csv
import json
import os
import pathlib
import random
import signal
import subprocess
import sys
import tempfile
import unittest
import unittest.mock

try:
    import pyarrow
    import pyarrow.parquet
except ImportError:
    pyarrow = None

import harness
import killed_run
import logitd
import transition
from logitd import _answer_file, _json_lines, files
from logitd.v1 import scoring_service_pb2

IS_LONG = os.environ.get("LOGITD_LONG") == "1"
ITEMS, CLIENT_KILLS, SERVER_KILLS = (10_000, 20, 5) if IS_LONG else (1_000, 4, 2)
DELTA = 1e-6

# A run that is killed and begins again.
PROGRAM = """
import dataclasses, json, sys, logitd
with logitd.Client(sys.argv[1], retry_for=60) as client:
    print(json.dumps(dataclasses.asdict(logitd.files.score(client, sys.argv[2], sys.argv[3], resume=True))))
"""


def item(index: int) -> dict:
    rng = random.Random(index)

    def tokens(most: int) -> dict:
        return {"tokens": {"token_ids": [rng.randrange(2, 320) for _ in range(rng.randint(1, most))]}}
    return {"id": f"item-{index}", "context": tokens(4), "continuations": [tokens(3), tokens(3)]}


def ids(value: dict) -> list[int]:
    return value["tokens"]["token_ids"]


def without_usage(text: str) -> list[dict]:
    answers = [json.loads(line) for line in text.splitlines()]
    for answer in answers:
        # Whatever a cache knows already is not evaluated again.
        answer.pop("usage", None)
    return answers


class FilesCase(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.server = harness.Server()
        cls.runner = transition.attach(cls.server)
        cls.tables = cls.runner.tables
        cls.client = logitd.Client(cls.server.address)

    @classmethod
    def tearDownClass(cls):
        cls.client.close()
        cls.runner.stop()
        cls.server.stop()

    def setUp(self):
        folder = tempfile.TemporaryDirectory(prefix="logitd-files-")
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)
        self.input, self.out = self.folder / "in.jsonl", self.folder / "out.jsonl"

    def write_items(self, count: int = 20) -> None:
        self.input.write_text("".join(json.dumps(item(i)) + "\n" for i in range(count)))

    def score(self, **options) -> files.Summary:
        return files.score(self.client, self.input, self.out, **options)

    def check_answers(self, count: int) -> None:
        lines = self.out.read_text().splitlines()
        self.assertEqual(len(lines), count)
        for index, line in enumerate(lines):
            answer, asked = json.loads(line), item(index)
            self.assertEqual((answer["item_index"], answer["id"]), (index, f"item-{index}"))
            for got, given in zip(answer["item"]["continuations"], asked["continuations"], strict=True):
                self.assertAlmostEqual(got["score"]["totals"]["cumulative_model_log_prob"],
                                       self.tables.sum(ids(asked["context"]), ids(given)), delta=DELTA)


class JsonLinesTest(FilesCase):
    def logit(self, *flags: str, command: str = "score") -> harness.Outcome:
        return harness.logit(command, self.input, "--out", self.out, *flags, server=self.server)

    def test_the_lines_are_those_of_the_command_line(self):
        self.write_items(40)
        self.assertEqual(self.logit().status, 0)
        wanted, checkpoint = self.out.read_text(), (self.folder / "out.jsonl.checkpoint").read_text()
        self.out.unlink()
        self.assertEqual(self.score(), files.Summary(40, 0, 0, str(self.out)))
        self.assertEqual((self.folder / "out.jsonl.checkpoint").read_text(), checkpoint)
        self.assertEqual(without_usage(self.out.read_text()), without_usage(wanted))
        # Also byte for byte.
        cut = [line[:line.index('"usage"')] for line in wanted.splitlines()]
        self.assertEqual([line[:line.index('"usage"')] for line in self.out.read_text().splitlines()], cut)
        self.check_answers(40)

    def test_either_goes_on_with_the_others_file(self):
        for flags, options in (((), {}), (("--top-n", "2", "--rank"), {"record": logitd.Record(top_n=2, rank=True)}),
                               (("--boundary", "lm-eval", "--no-cache", "--cache-salt", "<é\u2028>", "--temperature", "0.7"),
                                {"boundary": "lm-eval", "no_cache": True, "cache_salt": "<é\u2028>",
                                 "sampling": {"temperature": 0.7}})):
            for path in (self.out, self.folder / "out.jsonl.checkpoint"):
                path.unlink(missing_ok=True)
            self.write_items(50)
            self.assertEqual(self.logit(*flags).status, 0)
            whole = self.out.read_text()
            lines = whole.splitlines(keepends=True)
            self.out.write_text("".join(lines[:20]) + lines[20][:30])
            self.assertEqual(self.score(resume=True, **options).resumed, 20)
            self.assertEqual(without_usage(self.out.read_text()), without_usage(whole))
            self.out.write_text("".join(lines[:30]) + lines[30][:7])
            self.assertEqual(self.logit("--resume", *flags).json()["resumed"], 30)
            self.assertEqual(without_usage(self.out.read_text()), without_usage(whole))
            # A finished file: nothing to do.
            before = self.out.read_bytes()
            self.assertEqual(self.score(resume=True, **options).resumed, 50)
            self.assertEqual(self.out.read_bytes(), before)

    def test_rank_and_decide(self):
        rows = [item(i) for i in range(40)]
        self.input.write_text("".join(json.dumps({"id": r["id"], "context": r["context"], "candidates": r["continuations"]})
                                      + "\n" for r in rows))
        self.assertEqual(files.rank(self.client, self.input, self.out, order_by="per_token").failed, 0)
        self.assertEqual(self.logit("--resume", "--order-by", "per-token", command="rank").json()["resumed"], 40)
        answer = json.loads(self.out.read_text().splitlines()[7])
        self.assertAlmostEqual(answer["item"]["candidates"][0]["sum"],
                               self.tables.sum(ids(rows[7]["context"]), ids(rows[7]["continuations"][0])), delta=DELTA)
        self.out.unlink()
        self.input.write_text("".join(json.dumps({"context": r["context"], "choice": {"options": r["continuations"]}})
                                      + "\n" for r in rows))
        self.assertEqual(files.decide(self.client, self.input, self.out, temperature=2).failed, 0)
        self.assertEqual(self.logit("--resume", "--temperature", "2", command="decide").json()["resumed"], 40)

    def test_bad_lines_have_errors_in_their_places(self):
        good = json.dumps(item(0)).encode()
        lines = [b"\xef\xbb\xbf" + good + b"\r", b"nonsense", b" \r", b'{"id": "typo", "contxt": 1}', b'{"id": "\xff"}', good,
                 b'{"id": "none", "context": {"tokens": {"token_ids": [5]}}}',
                 b'{"id": "far", "context": {"tokens": {"token_ids": [999]}}, "continuations": [{"text": "a"}]}', good]
        self.input.write_bytes(b"\n".join(lines))
        self.assertEqual(self.score(), files.Summary(9, 6, 0, str(self.out)))
        answers = [json.loads(line) for line in self.out.read_text().splitlines()]
        self.assertEqual([answer["item_index"] for answer in answers], list(range(9)))
        self.assertEqual([answer["id"] for answer in answers],
                         ["item-0", "", "", "typo", "", "item-0", "none", "far", "item-0"])
        for index, reason, words in ((1, "MALFORMED_MESSAGE", "is not a ScoreItem"), (2, "MALFORMED_MESSAGE", "is blank"),
                                     (3, "MALFORMED_MESSAGE", "contxt"), (4, "MALFORMED_MESSAGE", "is not a ScoreItem"),
                                     (6, "NO_CANDIDATES", ""), (7, "TOKEN_ID_OUT_OF_RANGE", "999")):
            error = answers[index]["item"]["error"]
            self.assertEqual(error["reason"], f"ERROR_REASON_{reason}", error)
            self.assertTrue(error["message"].startswith(f"line {index + 1} of {self.input}"), error["message"])
            self.assertIn(words, error["message"])
            self.assertNotIn("items[", error["message"] + error["field"])
        before = self.out.read_bytes()
        # The failures that are there already count again, also for the command line.
        self.assertEqual(self.score(resume=True).failed, 6)
        outcome = self.logit("--resume")
        self.assertEqual((outcome.status, json.loads(outcome.stdout)["failed"]), (1, 6))
        self.assertEqual(self.out.read_bytes(), before)

    def test_an_empty_file(self):
        self.input.write_bytes(b"")
        self.assertEqual(self.score().items, 0)
        self.assertEqual(self.out.read_bytes(), b"")

    def test_a_run_that_is_refused(self):
        self.write_items()
        self.score(record=logitd.Record(top_n=2))
        before = self.out.read_bytes()

        def refused(field: str, words: str, **options) -> None:
            with self.assertRaisesRegex(files.FileError, words) as raised:
                self.score(**options)
            self.assertEqual(raised.exception.field, field)
            self.assertEqual(self.out.read_bytes(), before)

        refused("out", "resume it, remove it")
        refused("options", "belongs to another options", resume=True, record=logitd.Record(top_n=3))
        with self.assertRaises(files.FileError) as raised:
            files.rank(self.client, self.input, self.out, resume=True)
        self.assertEqual(raised.exception.field, "command")
        self.write_items(19)
        refused("input", "belongs to another input", resume=True, record=logitd.Record(top_n=2))
        self.write_items()
        lines = before.splitlines(keepends=True)
        self.out.write_bytes(b"".join([lines[1], lines[0], *lines[2:]]))
        with self.assertRaisesRegex(files.FileError, "line 1 of .* is not the answer to line 1 of"):
            self.score(resume=True, record=logitd.Record(top_n=2))
        self.out.write_bytes(before)
        (self.folder / "out.jsonl.checkpoint").unlink()
        refused("checkpoint", "no checkpoint", resume=True)
        for source, out, words in ((self.folder / "none.jsonl", self.out, "cannot read"), (self.folder, self.out, "end with"),
                                   (self.input, self.input, "is the input itself"), (self.input, "out.txt", "must end with"),
                                   (self.input, self.out, "resume it")):
            with self.assertRaisesRegex(files.FileError, words):
                files.score(self.client, source, out)
        with self.assertRaisesRegex(files.FileError, "has no columns"):
            files.score(self.client, self.input, self.folder / "new.jsonl", columns={"context": "a"})
        with self.assertRaisesRegex(TypeError, "no option 'recrd'"):
            self.score(recrd=1)

    def test_two_runs_at_once(self):
        self.write_items()
        origin = {"input": "x"}
        first = _answer_file.AnswerFile(str(self.out), origin, resume=False, check_line=lambda index, line: None)
        self.addCleanup(first.close)
        with self.assertRaisesRegex(files.FileError, "another job writes"):
            self.score()

    def test_bytes_of_zero_that_a_power_cut_leaves_are_answered_again(self):
        self.write_items()
        self.score()
        whole = self.out.read_bytes()
        cut = whole.index(b"\n", len(whole) // 2) + 1
        self.out.write_bytes(whole[:cut] + bytes(200) + b"\n" + whole[cut + 201:])
        self.assertEqual(self.score(resume=True).resumed, whole[:cut].count(b"\n"))
        self.assertEqual(without_usage(self.out.read_text()), without_usage(whole.decode()))

    def test_an_input_that_changes_is_noticed(self):
        self.write_items()
        with unittest.mock.patch.object(_answer_file, "_write_checkpoint", side_effect=lambda *_: self.write_items(19)):
            with self.assertRaisesRegex(files.FileError, "changed while it was read"):
                self.score()

    def test_another_model_ends_the_run(self):
        self.write_items()
        with unittest.mock.patch.object(files, "_whose") as whose:
            whose.return_value.model_fingerprint, whose.return_value.precision = b"other", "f32"
            whose.return_value.numerics_version = 1
            with self.assertRaisesRegex(logitd.PreconditionError, "another model"):
                self.score()
        self.assertEqual(self.out.read_bytes(), b"")

    def test_the_servers_absence_ends_the_run_in_time(self):
        self.write_items()
        with logitd.Client(f"unix:{self.folder}/nobody.sock", retry_for=0.2) as client:
            with self.assertRaisesRegex(logitd.UnavailableError, "no answer for 0.2 s"):
                files.score(client, self.input, self.out)


class KillTest(FilesCase):
    def test_nothing_is_lost_repeated_or_moved_when_client_and_server_are_killed(self):
        self.write_items(ITEMS)
        address = f"unix:{self.folder}/logitd.sock"
        servers = [harness.Server(listen=address)]
        runners = [transition.attach(servers[0])]

        def kill_server() -> None:
            servers[-1].kill()
            runners[-1]._process.kill()
            runners[-1]._process.communicate()
            servers.append(harness.Server(listen=address))
            runners.append(transition.attach(servers[-1]))

        with logitd.Client(address) as client:
            whole = self.folder / "whole.jsonl"
            files.score(client, self.input, whole)
        command = [sys.executable, "-c", PROGRAM, address, self.input, self.out]
        kills = {"client": CLIENT_KILLS, "server": SERVER_KILLS}
        run = killed_run.run(command, self.out, whole.stat().st_size, kills, kill_server, seed=6)
        self.assertEqual((run.summary["items"], run.kills), (ITEMS, kills))
        self.check_answers(ITEMS)
        self.assertEqual(without_usage(self.out.read_text()), without_usage(whole.read_text()))
        runners[-1].stop()
        servers[-1].stop()

    def test_ctrl_c_leaves_a_checkpoint_that_the_next_run_continues(self):
        # So many that the run has not ended when the signal comes.
        count = 5 * ITEMS
        self.write_items(count)
        client = subprocess.Popen([sys.executable, "-c", PROGRAM, self.server.address, self.input, self.out],
                                  stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                                  preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL))
        while client.poll() is None and (not self.out.exists() or self.out.read_bytes().count(b"\n") < 100):
            try:
                client.wait(timeout=0.001)
            except subprocess.TimeoutExpired:
                pass
        client.send_signal(signal.SIGINT)
        _, errors = client.communicate(timeout=60)
        self.assertIn("KeyboardInterrupt", errors)
        left = self.out.read_bytes()
        self.assertTrue(left.endswith(b"\n"))
        summary = self.score(resume=True)
        self.assertEqual((summary.items, summary.resumed), (count, left.count(b"\n")))
        self.assertGreaterEqual(summary.resumed, 100)
        self.assertTrue(self.out.read_bytes().startswith(left))
        self.check_answers(count)


class TableTest(FilesCase):
    QUESTIONS = [("q1", "1 + 1 =", " 2", " 3"), ("q2", "The sky is", "", " blue"), ("q3", 'a "quoted", text\nof two lines', " a", " b")]

    def check_rows(self, rows: list[dict]) -> None:
        self.assertEqual([(row["id"], int(row["item_index"]), int(row["continuation_index"])) for row in rows],
                         [("q1", 0, 0), ("q1", 0, 1), ("q2", 1, 0), ("q2", 1, 1), ("q3", 2, 0), ("q3", 2, 1)])
        scores = self.client.score([(context, choices) for _, context, *choices in self.QUESTIONS])
        for row, wanted in zip(rows, scores.rows(), strict=True):
            if wanted["cumulative_model_log_prob"] is None:
                self.assertIn(row["cumulative_model_log_prob"], ("", None))
                self.assertIn("EMPTY_CONTINUATION", row["error"])
            else:
                self.assertEqual(float(row["cumulative_model_log_prob"]), wanted["cumulative_model_log_prob"])

    def write_csv(self, name: str, header: list[str], rows: list) -> pathlib.Path:
        path = self.folder / name
        with open(path, "w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(header)
            writer.writerows(rows)
        return path

    def read_csv(self, path: pathlib.Path) -> list[dict]:
        with open(path, encoding="utf-8", newline="") as file:
            return list(csv.DictReader(file))

    def test_csv_in_and_out(self):
        source = self.write_csv("in.csv", ["qid", "question", "A", "B"], self.QUESTIONS)
        out = self.folder / "out.csv"
        columns = {"id": "qid", "context": "question", "continuations": ["A", "B"]}
        self.assertEqual(files.score(self.client, source, out, columns=columns), files.Summary(3, 1, 0, str(out)))
        self.check_rows(self.read_csv(out))
        # A list in JSON, in one column.
        source = self.write_csv("in2.csv", ["id", "context", "continuations"],
                                [(name, context, json.dumps(choices)) for name, context, *choices in self.QUESTIONS])
        files.score(self.client, source, self.folder / "out2.csv")
        self.assertEqual((self.folder / "out2.csv").read_text(), out.read_text())
        # The answers can be resumed.
        before = out.read_bytes()
        answers = self.folder / "out.csv.jsonl"
        lines = answers.read_bytes().splitlines(keepends=True)
        answers.write_bytes(lines[0] + lines[1][:20])
        self.assertEqual(files.score(self.client, self.folder / "in.csv", out, columns=columns, resume=True).resumed, 1)
        self.assertEqual(out.read_bytes(), before)
        with self.assertRaisesRegex(files.FileError, "another columns"):
            files.score(self.client, self.folder / "in.csv", out, resume=True,
                        columns={**columns, "continuations": ["B", "A"]})

    def test_questions_with_fewer_answers_than_columns(self):
        source = self.write_csv("in.csv", ["context", "A", "B", "C"], [("a", "b", "c", "d"), ("a", "b", "", ""),
                                                                      ("a", "", "", "")])
        out = self.folder / "out.csv"
        self.assertEqual(files.score(self.client, source, out, columns={"continuations": ["A", "B", "C"]}).failed, 1)
        self.assertEqual([row["item_index"] for row in self.read_csv(out)], ["0", "0", "0", "1", "2"])

    def test_a_table_that_is_there_is_kept(self):
        source = self.write_csv("in.csv", ["context", "continuations"], [("a", '["b"]')])
        out = self.write_csv("gold.csv", ["mine"], [("x",)])
        before = out.read_bytes()
        for resume in (False, True):
            with self.assertRaisesRegex(files.FileError, "gold.csv is there already"):
                files.score(self.client, source, out, resume=resume)
        self.assertEqual(out.read_bytes(), before)

    def test_a_long_cell(self):
        source = self.write_csv("in.csv", ["context", "continuations"], [("a" * 300_000, '["b"]')])
        files.score(self.client, source, self.out)
        self.assertNotIn("field larger", self.out.read_text())

    def test_rows_that_are_no_items(self):
        source = self.folder / "in.csv"
        source.write_text('context,continuations\na,"[""b""]"\na,not a list\na\nb,"[5]"\nb,"[[5]]"\n')
        out = self.folder / "out.jsonl"
        self.assertEqual(files.score(self.client, source, out).failed, 3)
        answers = [json.loads(line)["item"] for line in out.read_text().splitlines()]
        for index, words in ((1, "row 2 of .* has no list in column 'continuations'"),
                             (2, "row 3 of .* has 1 values, and not one for each column"),
                             (3, "row 4 of .* is no item: it.continuations must be a list of continuations, got token ids")):
            self.assertRegex(answers[index]["error"]["message"], words)
        self.assertEqual(len(answers[4]["continuations"]), 1)

    def test_columns_that_are_not_there(self):
        source = self.write_csv("in.csv", ["question", "A"], [("a", "b")])
        for columns, words in ((None, "has no column 'context'; its columns are question, A"),
                               ({"context": "question", "continuations": ["A", "B"]}, "has no column 'B'"),
                               ({"contxt": "question"}, "columns has the field 'contxt'"),
                               ({"context": ["question"]}, r"columns\['context'\] must be the name of a column")):
            with self.assertRaisesRegex(files.FileError, words):
                files.score(self.client, source, self.folder / "out.csv", columns=columns)
        (self.folder / "latin.csv").write_bytes(b"context,continuations\n\xe9,[]\n")
        with self.assertRaisesRegex(files.FileError, "no csv file in UTF-8"):
            files.score(self.client, self.folder / "latin.csv", self.out)

    def test_other_formats_of_rank_and_decide(self):
        source = self.write_csv("in.csv", ["context", "x", "y"], [("a", "b", "c"), ("d", "e", "f")])
        files.rank(self.client, source, self.folder / "rank.csv", columns={"candidates": ["x", "y"]})
        self.assertEqual(sorted(row["place"] for row in self.read_csv(self.folder / "rank.csv")), ["1", "1", "2", "2"])
        files.decide(self.client, source, self.folder / "decide.csv", columns={"options": ["x", "y"]})
        self.assertAlmostEqual(sum(float(row["probability"]) for row in self.read_csv(self.folder / "decide.csv")), 2)

    @unittest.skipIf(pyarrow is None, "pyarrow is missing")
    def test_parquet_in_and_out(self):
        source, out = self.folder / "in.parquet", self.folder / "out.parquet"
        pyarrow.parquet.write_table(pyarrow.table({
            "id": [q[0] for q in self.QUESTIONS], "context": [q[1] for q in self.QUESTIONS],
            "continuations": [list(q[2:]) for q in self.QUESTIONS]}), source)
        self.assertEqual(files.score(self.client, source, out).failed, 1)
        table = pyarrow.parquet.read_table(out)
        self.check_rows(table.to_pylist())
        self.assertEqual(table.schema.field("cumulative_model_log_prob").type, pyarrow.float64())
        self.assertEqual(table.column("cumulative_model_log_prob").null_count, 1)
        # Token ids.
        pyarrow.parquet.write_table(pyarrow.table({"context": [[5, 6]], "continuations": [[[7], [8, 9]]]}), source)
        files.score(self.client, source, self.folder / "ids.jsonl")
        answer = json.loads((self.folder / "ids.jsonl").read_text())
        self.assertAlmostEqual(answer["item"]["continuations"][1]["score"]["totals"]["cumulative_model_log_prob"],
                               self.tables.sum([5, 6], [8, 9]), delta=DELTA)
        source.write_bytes(b"nonsense")
        with self.assertRaisesRegex(files.FileError, "no parquet file"):
            files.score(self.client, source, self.folder / "new.jsonl")

    def test_a_missing_package_is_named_with_its_extra(self):
        source = self.folder / "in.parquet"
        source.write_bytes(b"x")
        with unittest.mock.patch.dict(sys.modules, {"pyarrow": None}):
            with self.assertRaisesRegex(ImportError, r'pip install "logitd\[files\]"'):
                files.score(self.client, source, self.out)


class HashTest(unittest.TestCase):
    def test_survey(self):
        with tempfile.TemporaryDirectory() as folder:
            path = pathlib.Path(folder) / "x"
            path.write_bytes(b"")
            self.assertEqual(_answer_file.survey(str(path)),
                             (0, "0 lines, 0 bytes, SHA-256 "
                              "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"))
            path.write_bytes(b"a")
            self.assertEqual(_answer_file.survey(str(path)),
                             (1, "1 lines, 1 bytes, SHA-256 "
                              "ca978112ca1bbdcafac231b39a23dc4da786eff8147c4e72b9807785afee48bb"))

    def test_json(self):
        message = scoring_service_pb2.RankRequest(gnmt_alpha=0.1, inverse_temperature=2, winner_only=True, model="a\"\n\x7f")
        self.assertEqual(_json_lines.to_json(message, False),
                         r'{"model":"a\"\n\u007f","inverse_temperature":2,"gnmt_alpha":0.1,"winner_only":true}')


if __name__ == "__main__":
    unittest.main()
