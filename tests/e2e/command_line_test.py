"""The command line as a new user meets it: files of items, terminals of any width, calls that end before their time."""

import fcntl
import json
import os
import pty
import re
import signal
import struct
import subprocess
import termios
import threading
import unicodedata
import unittest
from concurrent import futures

import fake_runner
import grpc
import harness
import wire
from logitd.v1 import decoding_service_pb2
from logitd.v1 import generation_service_pb2 as pb
from logitd.v1 import generation_service_pb2_grpc

server = None
runner = None

TOLERANCE = 0.0625
CACHE_CHOICE = ("1000 tokens, as many as fit: 1.3 GiB of the 1.3 GiB that this runner may use (the control group's limit "
                "of 2.0 GiB); less than the context length of 131072")

PAIR = {"candidates": [{"sums": {"sum_model_log_prob": -2.5, "token_count": 2}},
                       {"sums": {"sum_model_log_prob": -3, "token_count": 3}}]}


def setUpModule():
    global server, runner
    server = harness.Server()
    runner = fake_runner.FakeRunner(server.runner_address, batch_tolerance_nats=TOLERANCE, cache_choice=CACHE_CHOICE)
    assert runner.attached.wait(10)


def tearDownModule():
    runner.stop()
    server.stop()


def score_item(*token_ids: int) -> str:
    return json.dumps({"context": {"tokens": {"token_ids": [1]}},
                       "continuations": [{"tokens": {"token_ids": list(token_ids)}}]})


def run_bytes(*arguments: object, stdin: bytes) -> harness.Outcome:
    done = subprocess.run([str(harness.BIN / "logit"), *map(str, arguments), "--server", server.address], input=stdin,
                          capture_output=True, timeout=harness.CALL_TIMEOUT_S, check=False)
    return harness.Outcome(done.returncode, done.stdout.decode(), done.stderr.decode())


class ItemsTest(unittest.TestCase):
    """The fake runner's rows are equal: each of 8 tokens has the log-prob -ln 8."""

    def test_a_byte_order_mark_is_no_part_of_the_first_item(self):
        for ending in ("\n", "\r\n"):
            text = ending.join([score_item(2), score_item(3, 4), ""])
            outcome = run_bytes("score", stdin=b"\xef\xbb\xbf" + text.encode())
            self.assertEqual(outcome.status, 0, outcome)
            self.assertEqual(outcome.stdout, "0\t-2.079442\n1\t-4.158883\n")
            ranked = run_bytes("rank", "--json", stdin=b"\xef\xbb\xbf" + (json.dumps(PAIR) + ending).encode())
            self.assertEqual(ranked.status, 0, ranked)
            self.assertEqual(len(json.loads(ranked.stdout)["item"]["orderings"][0]["places"]), 2)

    def test_a_line_that_is_too_long_is_one_item_that_failed(self):
        long_line = b'{"context":{"text":"' + b"x" * (64 << 20) + b'"}}'
        text = b"\n".join([score_item(2).encode(), long_line, score_item(3).encode(), b""])
        outcome = run_bytes("score", stdin=text)
        self.assertEqual(outcome.status, 1)
        self.assertEqual(outcome.stdout, "0\t-2.079442\n1\terror:LIMIT_EXCEEDED\n2\t-2.079442\n")
        self.assertIn("item 1: line 2 of standard input must have at most 67108864 bytes", outcome.stderr)
        text = b"\n".join([json.dumps(PAIR).encode(), long_line, json.dumps(PAIR).encode(), b""])
        ranked = run_bytes("rank", "--json", stdin=text)
        self.assertEqual(ranked.status, 1)
        items = [json.loads(line)["item"] for line in ranked.stdout.splitlines()]
        self.assertEqual([len(item["candidates"]) for item in items], [2, 0, 2])
        self.assertEqual(items[1]["error"]["limit"], "max_message_bytes")

    def test_a_line_that_a_request_has_no_room_for_is_one_item_too(self):
        """Below 64 MiB as a line, above the server's limit together with the lines before it."""
        long_line = b'{"context":{"text":"' + b"x" * ((63 << 20) - 100) + b'"}}'
        text = b"\n".join([score_item(2).encode()] * 20 + [long_line, score_item(3).encode(), b""])
        outcome = run_bytes("score", stdin=text)
        self.assertEqual(outcome.status, 1)
        answers = [line.split("\t") for line in outcome.stdout.splitlines()]
        self.assertEqual([answer[0] for answer in answers], [str(i) for i in range(22)])
        self.assertTrue(answers[20][1].startswith("error:"), answers[20])
        self.assertEqual({answer[1] for answer in answers[:20] + answers[21:]}, {"-2.079442"})

    def test_what_is_asked_of_each_token_is_shown(self):
        one = harness.run("logit", "score", "--context-tokens", "1", "--continuation-tokens", "2,3", "--rank",
                          "--server", server.address)
        self.assertEqual(one.status, 0, one)
        self.assertIn("rank", one.stdout.splitlines()[1])
        self.assertIn("in total", one.stdout)
        many = run_bytes("score", "--top-n", 1, stdin=(score_item(2) + "\n" + score_item(3) + "\n").encode())
        self.assertEqual(many.stdout.count("alternatives"), 2, many.stdout)


    def test_no_items_are_an_error(self):
        """`score` without arguments, in a script: nothing was meant to be scored silently."""
        for command, message_name in (("score", "ScoreItem"), ("rank", "RankItem")):
            for stdin in (b"", b"\n \n"):
                with self.subTest(command, stdin=stdin):
                    outcome = run_bytes(command, "--json", stdin=stdin)
                    self.assertEqual((outcome.status, outcome.stdout), (2, ""))
                    self.assertEqual(outcome.error()["field"], "stdin")
                    self.assertIn(f"holds no items: give one {message_name} a line", outcome.error()["message"])

    def test_a_line_that_is_no_item_is_said_in_one_line(self):
        lines = {'{"context" {"text": "a"}}': 'Expected : between key:value pair, at "{',
                 '{"context": {"text": "a"': "Unexpected end of string. Expected , or } after key:value pair, at the end",
                 "nonsense": 'Unexpected token, at "nonsense"',
                 "[1,2]": "Root element must be a message",
                 '{"contxt": 1}': "contxt: Cannot find field",
                 '{"context":{"tokens":{"token_ids":[1 2]}}}': 'Expected , or ] after array value, at "2]}}}"'}
        for command, message_name in (("score", "ScoreItem"), ("rank", "RankItem")):
            outcome = run_bytes(command, "--json", stdin="".join(f"\n{line}\n" for line in lines).encode())
            self.assertEqual(outcome.status, 1)
            answers = [json.loads(line) for line in outcome.stdout.splitlines()]
            errors = [answer["item"]["error"] for answer in answers]
            self.assertEqual(len(errors), len(lines))
            for number, (error, (line, what)) in enumerate(zip(errors, lines.items())):
                with self.subTest(command, line=line):
                    self.assertNotIn("\n", error["message"])
                    start = f"line {2 * number + 2} of standard input is not a {message_name} in JSON: "
                    self.assertTrue(error["message"].startswith(start + what), error["message"])

    def test_an_undefined_normalisation_names_the_flag(self):
        outcome = run_bytes("rank", "--order-by", "per-byte", stdin=json.dumps(PAIR).encode())
        self.assertEqual(outcome.status, 1)
        self.assertIn("error: --order-by: NORMALIZATION_PER_BYTE needs byte_count", outcome.stdout)


class OutputTest(unittest.TestCase):
    COMMANDS = [
        ("--help",), ("--version",), ("score", "--help"), ("info",),
        ("complete", "--prompt-tokens", "1", "--max-tokens", "2"),
        ("score", "--context-tokens", "1", "--continuation-tokens", "2"),
        ("rank", "--context-tokens", "1", "--candidate-tokens", "2"),
        ("distribution", "--logits", "1,2"), ("decode", "--logits", "1,2", "--seed", "1"),
        ("score", "--logits", "1,2", "--targets", "1"),
        ("verify", "--logits", "1,2", "--temperature", "0", "--token", "1")]

    def test_a_full_disk_is_an_error(self):
        for command in self.COMMANDS:
            for flags in ((), ("--json",)):
                with self.subTest(command, flags=flags), open("/dev/full", "wb") as full:
                    prefix = flags if command[0].startswith("--") else ()
                    done = subprocess.run([str(harness.BIN / "logit"), *prefix, *command, *(() if prefix else flags)],
                                          env={**os.environ, "LOGITD_SERVER": server.address}, stdin=subprocess.DEVNULL,
                                          stdout=full, stderr=subprocess.PIPE, text=True, timeout=60, check=False)
                    self.assertEqual(done.returncode, 5, done)
                    said = json.loads(done.stderr)["error"]["message"] if flags else done.stderr.removeprefix("logit: ")
                    self.assertEqual(said.rstrip("\n"), "cannot write standard output: No space left on device")

    def test_many_items_end_where_nobody_takes_them(self):
        with open("/dev/full", "wb") as full:
            done = subprocess.run([str(harness.BIN / "logit"), "score", "--server", server.address],
                                  input=(score_item(2) + "\n") * 5000, stdout=full, stderr=subprocess.PIPE, text=True,
                                  timeout=60, check=False)
        self.assertEqual(done.returncode, 5)
        self.assertEqual(done.stderr, "logit: cannot write standard output: No space left on device\n")

    def test_a_reader_that_goes_away_is_no_error(self):
        """`logit ... | head`, with SIGPIPE as a shell has it and ignored, as many programs leave it."""
        for reset in (lambda: signal.signal(signal.SIGPIPE, signal.SIG_DFL),
                      lambda: signal.signal(signal.SIGPIPE, signal.SIG_IGN)):
            for command in self.COMMANDS:
                with self.subTest(command):
                    read, write = os.pipe()
                    os.close(read)
                    done = subprocess.run([str(harness.BIN / "logit"), *command], stdin=subprocess.DEVNULL, stdout=write,
                                          env={**os.environ, "LOGITD_SERVER": server.address}, stderr=subprocess.PIPE,
                                          text=True, timeout=60, check=False, restore_signals=False, preexec_fn=reset)
                    os.close(write)
                    self.assertEqual(done.stderr, "")
                    self.assertIn(done.returncode, (-signal.SIGPIPE, 5))

    def test_every_reply_of_a_model_has_its_tolerance(self):
        for command in (("complete", "--prompt-tokens", "1", "--max-tokens", "2"),
                        ("score", "--context-tokens", "1", "--continuation-tokens", "2"),
                        ("rank", "--context-tokens", "1", "--candidate-tokens", "2")):
            with self.subTest(command):
                reply = harness.logit(*command, server=server).json()
                self.assertEqual(reply["provenance"], {
                    "model": "fake", "model_fingerprint": "ZmFrZQ==", "precision": "f32",
                    "batch_tolerance_nats": TOLERANCE, "numerics_version": 1, "reproducible": False, "server_version": "0.1.0"})
        model = harness.logit("info", server=server).json()["models"][0]["model"]
        self.assertEqual(model["batch_tolerance_nats"], TOLERANCE)


class CutShortTest(unittest.TestCase):
    """A runner that answers five batches and then no more: a completion of four or five tokens that does not end."""

    def begin(self, *flags: object) -> tuple[harness.Server, fake_runner.FakeRunner, subprocess.Popen]:
        own = harness.Server(flags=("--grace-period", "2s", "--log-level", "debug"))
        self.addCleanup(self.stop, own)
        slow = fake_runner.FakeRunner(own.runner_address, max_batches=5)
        self.addCleanup(slow.stop)
        self.assertTrue(slow.attached.wait(10))
        process = subprocess.Popen([str(harness.BIN / "logit"), "complete", "--prompt-tokens", "1,2", "--max-tokens", "100",
                                    "--seed", "3", "--server", own.address, *map(str, flags)], stdout=subprocess.PIPE,
                                   stderr=subprocess.PIPE, text=True)
        self.assertTrue(slow.stuck.wait(30))
        return own, slow, process

    @staticmethod
    def stop(own: harness.Server) -> None:
        try:
            own.stop()
        except AssertionError:  # It was killed.
            pass

    def test_a_server_that_shuts_down(self):
        own, _, process = self.begin("--json")
        own.signal_stop()
        out, err = process.communicate(timeout=60)
        self.assertEqual(process.returncode, 3, err)
        completion = json.loads(out)["completions"][0]
        self.assertGreaterEqual(len(completion["tokens"]), 4)
        self.assertEqual(completion["totals"]["token_count"], len(completion["tokens"]))
        self.assertNotIn("finish", completion)
        self.assertEqual(completion["error"]["reason"], "ERROR_REASON_DRAINING")
        self.assertEqual(json.loads(err)["error"], completion["error"])
        self.assertEqual(json.loads(out)["seed"], "3")

    def test_a_deadline(self):
        _, _, process = self.begin("--timeout", "3", "--tokens")
        out, err = process.communicate(timeout=60)
        self.assertEqual(process.returncode, 4, err)
        self.assertIn("failed: no complete answer from logitd", out)
        self.assertRegex(out, r"(?m)^tokens: [1-5]$")
        self.assertIn("running sum", out)

    def test_an_interrupt(self):
        """On a terminal, where it shows when a token has come. The server is a few lines of Python: it has text."""
        token = {"token_id": 7, "token_bytes": b" Paris", "model_log_prob": -0.5}

        class Generation(generation_service_pb2_grpc.GenerationServiceServicer):
            def Generate(self, request, context):  # pylint: disable=invalid-name
                ended = threading.Event()
                context.add_callback(ended.set)
                yield pb.GenerateResponse(started={"seed": 3})
                yield pb.GenerateResponse(delta={"text": " Paris", "tokens": [token],
                                                 "totals": {"token_count": 1, "cumulative_model_log_prob": -0.5}})
                ended.wait(60)

        other = grpc.server(futures.ThreadPoolExecutor(2))
        generation_service_pb2_grpc.add_GenerationServiceServicer_to_server(Generation(), other)
        port = other.add_insecure_port("127.0.0.1:0")
        other.start()
        self.addCleanup(other.stop, None)
        for flags in ((), ("--tokens",)):
            master, slave = pty.openpty()
            process = subprocess.Popen([str(harness.BIN / "logit"), "complete", "The capital of France is", "--color",
                                        "never", "--server", f"127.0.0.1:{port}", *flags], stdin=subprocess.DEVNULL,
                                       stdout=slave, stderr=subprocess.PIPE, text=True)
            os.close(slave)
            out = b""
            while b" Paris" not in out:
                out += os.read(master, 4096)
            process.send_signal(signal.SIGINT)
            err = process.communicate(timeout=60)[1]
            try:
                while part := os.read(master, 4096):
                    out += part
            except OSError:  # The other side is closed.
                pass
            os.close(master)
            self.assertEqual(process.returncode, 130, err)
            self.assertEqual(err, "logit: interrupted\n")
            text = out.decode().replace("\r\n", "\n")
            self.assertTrue(text.startswith("The capital of France is Paris\n\n"), text)
            self.assertIn("failed: interrupted\ntokens: 1\ncumulative model log-prob: -0.500000\n", text)
            self.assertEqual("running sum" in text, bool(flags))

    def test_a_server_that_is_killed(self):
        own, _, process = self.begin()
        os.kill(own.pid, signal.SIGKILL)
        out, err = process.communicate(timeout=60)
        self.assertEqual(process.returncode, 4, err)
        self.assertRegex(out, r"(?m)^tokens: [1-5]$")
        self.assertIn("was lost", err)


class WidthTest(unittest.TestCase):
    def on_terminal(self, columns: int, *arguments: object, stdin: str = "", colour: str = "never") -> list[str]:
        """The lines that a command writes to a terminal of that many columns, without their colours."""
        master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 50, columns, 0, 0))
        process = subprocess.Popen([str(harness.BIN / "logit"), *map(str, arguments), "--color", colour, "--server",
                                    server.address], stdin=subprocess.PIPE, stdout=slave, stderr=subprocess.DEVNULL,
                                   text=True)
        os.close(slave)
        text = bytearray()

        def read() -> None:
            while True:
                try:
                    part = os.read(master, 65536)
                except OSError:  # The other side is closed.
                    return
                if not part:
                    return
                text.extend(part)

        reader = threading.Thread(target=read)
        reader.start()
        process.communicate(stdin, timeout=60)
        reader.join(timeout=60)
        os.close(master)
        return re.sub(r"\x1b\[[0-9;]*m", "", text.decode()).replace("\r\n", "\n").splitlines()

    @staticmethod
    def width(line: str) -> int:
        return sum(0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in line)

    def test_tables_fit(self):
        labels = "mat,\u65e5\u672c\u8a9e\u306e\u9577\u3044\u540d\u524d\u3067\u3059,a rather long label of something,\U0001f680"
        commands = {
            "rank": (("rank",), json.dumps(PAIR)),
            "rank tokens": (("rank", "--context-tokens", "1", "--candidate-tokens", ",".join("23" * 30),
                             "--candidate-tokens", "4"), ""),
            "score": (("score", "--context-tokens", "1", "--continuation-tokens", "2,3,4,5,6,7,2,3,4,5,6,7",
                       "--temperature", "0.7", "--explain", "--top-n", "5", "--kept-set"), ""),
            "score --logits": (("score", "--logits", "6,3,0.5", "--targets", "1", "--top-p", "0.9", "--top-n", "3",
                                "--kept-set", "--rank", "--entropy"), ""),
            "decode": (("decode", "--logits", "6,3,0.5", "--seed", "1", "--rank", "--entropy", "--kept-set", "--draw"), ""),
            "distribution": (("distribution", "--logits", "6,3,0.5,0.5", "--labels", labels, "--explain"), ""),
            "verify": (("verify", "--logits", "6,3,0.5,0.5", "--temperature", "2", "--top-p", "0.95", "--seed", "7",
                        "--sequence-key", "0", "--position", "0", "--token", "0"), ""),
            "rank ties": (("rank",), json.dumps({"candidates": [
                {"tokens": {"token_ids": [2, 3, 4, 5, 6] * 12}},
                {"tokens": {"token_ids": [3, 2, 4, 5, 6] * 12}}],
                "context": {"tokens": {"token_ids": [1]}}})),
            "info": (("info",), ""),
            "complete": (("complete", "--prompt-tokens", "1", "--max-tokens", "3", "--rank", "--entropy", "--kept-set",
                          "--draw", "--top-n", "4"), ""),
        }
        for name, (arguments, stdin) in commands.items():
            whole = run_bytes(*arguments, "--color", "never", stdin=stdin.encode())
            for columns in (100, 80, 60, 50):
                with self.subTest(name, columns=columns):
                    lines = self.on_terminal(columns, *arguments, stdin=stdin)
                    self.assertTrue(lines)
                    for line in lines:
                        self.assertLessEqual(self.width(line), columns, line)
                    # Every number of the wide table is there.
                    # (complete draws a seed of its own.)
                    if name != "complete":
                        shown = " ".join(lines).split()
                        for word in whole.stdout.split():
                            if word.replace(".", "").replace("-", "").isdigit():
                                self.assertIn(word, shown, name)

    def test_a_legend_fits(self):
        for columns in (100, 80, 60, 30):
            lines = self.on_terminal(columns, "decode", "--logits", "6,3,0.5", "--seed", "1", colour="always")
            legend = [line for line in lines if "\u25a0" in line]
            self.assertEqual(sum(line.count("\u25a0") for line in legend), 6)
            for line in legend:
                self.assertLessEqual(self.width(line), columns, line)

    def test_nothing_is_shortened_in_a_pipe(self):
        long = ["2,3,4,5,6,7," * 12 + "2", "7,3,4,5,6,7," * 12 + "2"]
        tokens = [flag for ids in long for flag in ("--candidate-tokens", ids)]
        outcome = run_bytes("rank", "--context-tokens", "1", *tokens, stdin=b"")
        self.assertEqual(outcome.status, 0, outcome)
        for ids in long:  # In its row, and as a winner (all tie).
            self.assertEqual(outcome.stdout.count(f"[{ids}]"), 3, outcome.stdout)
        tokens = [flag for ids in long for flag in ("--continuation-tokens", ids)]
        for flags, count in (((), 1), (("--explain",), 2)):
            outcome = run_bytes("score", "--context-tokens", "1", *tokens, *flags, stdin=b"")
            for ids in long:
                self.assertEqual(outcome.stdout.count(f"[{ids}]"), count, outcome.stdout)
        label = "a label of more columns than any table has room for " * 4
        outcome = run_bytes("distribution", "--logits", "1,2", "--labels", f"{label},b", stdin=b"")
        self.assertIn(label, outcome.stdout)
        rows = ",".join(["1"] * 30)
        outcome = run_bytes("distribution", "--logits", rows, "--seed", 1, "--sequence-key", 0, "--labels",
                            ",".join(label + str(i) for i in range(30)), stdin=b"")
        self.assertIn("drawn: " + label, outcome.stdout)
        self.assertNotIn("\u2026", outcome.stdout)

    def test_a_pipe_has_any_width(self):
        outcome = run_bytes("rank", stdin=json.dumps(PAIR).encode())
        self.assertEqual("item 0", outcome.stdout.splitlines()[0])
        self.assertIn("probability", outcome.stdout.splitlines()[1])
        self.assertIn("perplexity", outcome.stdout.splitlines()[1])

    def test_help_fits(self):
        for command in ("complete", "score", "compare", "rank", "strengths", "calibrate", "distribution", "decode", "verify",
                        "info"):
            for columns in (100, 80, 60):
                lines = self.on_terminal(columns, command, "--help")
                examples = lines.index("Examples:")
                with self.subTest(command, columns=columns):
                    self.assertTrue(any(line.startswith("  -h, --help ") or line == "  -h, --help" for line in lines))
                    for line in lines[:examples]:
                        self.assertLessEqual(self.width(line), columns, line)
                    for line in lines[examples:]:
                        self.assertLessEqual(self.width(line), max(columns, 80), line)
                    # Filled by the width: a line of a paragraph that goes on had no room for the next word.
                    summary = lines[:lines.index("")]
                    for line, following in zip(summary, summary[1:]):
                        self.assertGreater(self.width(line) + 1 + len(following.split()[0]), columns, summary)
        for columns in (100, 80, 60):
            for line in self.on_terminal(columns, "--help"):
                self.assertLessEqual(self.width(line), max(columns, 80), line)

    def test_help_in_a_pipe_fits_every_terminal(self):
        for command in ("", "complete", "score", "compare", "rank", "distribution", "decode", "verify", "info"):
            done = subprocess.run([str(harness.BIN / "logit"), *command.split(), "--help"], capture_output=True, text=True,
                                  check=True)
            for line in done.stdout.splitlines():
                self.assertLessEqual(self.width(line), 80, line)

    def test_examples_of_help_are_commands(self):
        """A shell reads them: lines that end with a backslash go on."""
        done = subprocess.run([str(harness.BIN / "logit"), "rank", "--help"], capture_output=True, text=True, check=True)
        example = done.stdout[done.stdout.index("  echo "):done.stdout.index("\nExit codes")]
        path = {**os.environ, "PATH": f"{harness.BIN}:{os.environ['PATH']}", "LOGITD_SERVER": server.address}
        ranked = subprocess.run(["bash", "-c", example], capture_output=True, text=True, env=path, check=True)
        self.assertIn("winner by sum: 0\nwinner by per token: 1\n", ranked.stdout)


class UsageErrorTest(unittest.TestCase):
    def test_every_usage_error_names_its_field(self):
        for arguments, field in [
                (("complete",), "PROMPT"), (("complete", "a", "b"), "PROMPT"), (("complete", "a", "--seed", "x"), "--seed"),
                (("complete", "a", "--packed-top"), "--packed-top"), (("complete", "a", "--bogus"), "--bogus"),
                (("complete", "a", "--seed", "1", "--seed", "2"), "--seed"),
                (("score", "a"), "CONTINUATION"), (("rank", "a"), "CANDIDATE"), (("score", "a", "b", "--kept-set"), "--kept-set"),
                (("rank", "a", "b", "--order-by", "x"), "--order-by"), (("score", "--targets", "1"), "--logits"),
                (("score", "--logits", "1,2", "--targets", "1", "--model", "x"), "--model"),
                (("score", "--logits", "1,2"), "--targets"), (("score", "--logits", "1,2", "--targets", "1,2"), "--targets"),
                (("score", "--logits", "1,2", "--targets", "1", "--sums-only", "--rank"), "--sums-only"),
                (("compare",), "CONTEXT"), (("compare", "a", "b"), "CONTINUATION"), (("compare", "--logits", "x"), "--against-logits"),
                (("distribution",), "--logits"), (("distribution", "--logits", "1,x"), "--logits"),
                (("distribution", "--logits", "no.npy"), "--logits"), (("distribution", "--logits", "1,2", "x"), "argument 3"),
                (("distribution", "--logits", "1", "--dtype", "bf16"), "--dtype"),
                (("distribution", "--logits", "1,2", "--labels", "a"), "--labels"),
                (("distribution", "--logits", "1,2", "--allowed", "x"), "--allowed"),
                (("decode",), "--logits"), (("verify", "--logits", "1,2"), "--token"), (("compleat",), "COMMAND"),
                (("info", "--timeout", "0"), "--timeout"), (("info", "--color", "pink"), "--color"), (("info", "x"), "argument 1")]:
            with self.subTest(arguments):
                outcome = harness.logit(*arguments, server=server)
                self.assertEqual(outcome.status, 2, outcome)
                self.assertEqual(outcome.stdout, "")
                self.assertEqual(outcome.error()["field"], field)

    def test_the_server_asks_whether_rows_are_doubles(self):
        request = decoding_service_pb2.DecodeRequest
        requests = [request(config={"vocab_size": 4}),
                    request(batch={"batch_id": 1, "opens": [{"sequence_id": 1}],
                                   "blocks": [{"dtype": "LOGITS_DTYPE_F32", "row_count": 1, "width": 4}],
                                   "steps": [{"sequence_id": 1}]}, payload=bytes(32))]
        with wire.connect(server.address) as client, self.assertRaises(grpc.RpcError) as raised:
            list(client.decoding.Decode(iter(requests), timeout=wire.TIMEOUT_S))
        self.assertEqual(raised.exception.code(), grpc.StatusCode.INVALID_ARGUMENT)
        self.assertIn("payload must be 16 bytes, got 32: are the values float64?", raised.exception.details())


if __name__ == "__main__":
    unittest.main()
