"""`logit compare` on models whose log-probs are known by hand, and on files of numpy."""

import base64
import hashlib
import html.parser
import json
import math
import os
import pathlib
import re
import subprocess
import tempfile
import threading
import unittest

import harness
import numpy
import transition
import transition_case

# Rounding of a log-prob, and of a sum of a few.
NATS = 5e-6
EVIL = "</script><img src=x onerror=alert(1)>"
TOKENS = ["<s>", "C", "a", "b", "c", "x", "y", "z", EVIL, "S", "K", "_"]
FILLER = len(TOKENS) - 1
# ln P(token | row); the filler has what is left.
ROWS = {"C": {"a": -0.6, "x": -1.0, EVIL: -5},
        "a": {"b": -0.4}, "b": {"c": -6},
        "x": {"y": -1.2}, "y": {"z": -1.3},
        EVIL: {"S": math.log(0.93), "K": math.log(0.02)}, "S": {"a": -0.1}, "K": {"a": -0.1}}


def tables(rows: dict[str, dict[str, float]], tokens: list[str] = TOKENS) -> transition.Tables:
    logits = []
    for token in tokens:
        row: list[float | None] = [None] * len(tokens)
        for name, log_prob in rows.get(token, {}).items():
            row[tokens.index(name)] = log_prob
        left = 1 - sum(math.exp(x) for x in row if x is not None)
        row[len(tokens) - 1] = math.log(left)
        logits.append(row)
    return transition.Tables(tokens, logits, [0], bos_token_id=0)


def softmax(row: numpy.ndarray, temperature: float = 1) -> numpy.ndarray:
    scaled = (numpy.float64(row) - numpy.max(numpy.float64(row))) / temperature
    weights = numpy.exp(scaled)
    return weights / math.fsum(weights)


def kl(p: numpy.ndarray, q: numpy.ndarray) -> float:
    if numpy.any((p > 0) & (q == 0)):
        return math.inf
    return math.fsum(a * math.log(a / b) for a, b in zip(p, q) if a > 0)


def js(p: numpy.ndarray, q: numpy.ndarray) -> float:
    return (kl(p, (p + q) / 2) + kl(q, (p + q) / 2)) / 2


class ContinuationsTest(transition_case.TransitionCase):
    def compare(self, *arguments: object) -> dict:
        return harness.logit("compare", *arguments, server=self.server).json()

    def test_the_one_that_wins_token_by_token_loses_in_total(self):
        self.attach(tables(ROWS))
        found = self.compare("C", "abc", "xyz")
        self.assertEqual(found["kind"], "continuations")
        self.assertEqual((found["token_winner"], found["total_winner"]), (0, 1))
        self.assertEqual(found["lead_lost_at"], 2)
        self.assertEqual(found["deciding_positions"], [2])
        self.assertAlmostEqual(found["total_margin"], 3.5, delta=NATS)
        first, second = found["continuations"]
        self.assertEqual((first["positions_won"], second["positions_won"]), (2, 1))
        self.assertAlmostEqual(first["sum_model_log_prob"], -7, delta=NATS)
        self.assertAlmostEqual(second["per_token"], -3.5 / 3, delta=NATS)
        self.assertAlmostEqual(second["bits_per_byte"], 3.5 / 3 / math.log(2), delta=NATS)
        self.assertAlmostEqual(found["positions"][1]["running_difference"], 1.2, delta=NATS)
        self.assertEqual([token["rank"] for token in first["tokens"]], [1, 1, 2])
        self.assertAlmostEqual(first["tokens"][2]["top"][0]["model_log_prob"], math.log(1 - math.exp(-6)), delta=NATS)
        words = harness.run("logit", "compare", "C", "abc", "xyz", "--server", self.server.address).stdout
        for sentence in [
                'They part at once: "a" in continuation 0, "x" in continuation 1.',
                "continuation 0 wins token by token, with the likelier token at 2 of 3 positions, but loses in total: "
                "-7.000000 against -3.500000, by 3.500000 nats.",
                'continuation 0 is ahead until position 2, by 1.200000 nats. There its token "c" costs 6.000000 nats, '
                'and "z" in continuation 1 1.300000: 4.700000 nats more, and the lead is lost.',
                "Position 2 decides: without it continuation 0 would not lose.",
        ]:
            self.assertIn(sentence, rounded(words))
        self.assertIn("positions won: continuation 0: 2, continuation 1: 1", words)

    def test_the_confident_wrong_token_is_named(self):
        self.attach(tables(ROWS))
        found = self.compare(EVIL, "Sa", "Ka")
        confident, = found["continuations"][1]["confident_tokens"]
        self.assertEqual(found["continuations"][0]["confident_tokens"], [])
        self.assertEqual((confident["position"], confident["token"], confident["most_likely"]), (0, '"K"', '"S"'))
        self.assertAlmostEqual(confident["probability"], 0.02, delta=1e-6)
        self.assertAlmostEqual(confident["most_likely_probability"], 0.93, delta=1e-6)
        self.assertEqual(confident["rank"], 3)
        self.assertIn(
            'At position 0 the model is confident of "S" (probability 0.930000), but "K" stands there in continuation 1 '
            '(probability 0.020000, rank 3, a cost of 3.912023 nats). "S" is the token of continuation 0: if '
            "continuation 1 is right, it is the confident wrong token.", [rounded(answer) for answer in found["answer"]])
        # With a higher bar nobody is confident, except by the entropy of the row.
        self.assertEqual(self.compare(EVIL, "Sa", "Ka", "--confidence", 0.97,
                                      "--low-entropy", 0.1)["continuations"][1]["confident_tokens"], [])
        words = json.dumps(self.compare(EVIL, "Sa", "Ka", "--confidence", 0.95, "--low-entropy", 0.5)["answer"])
        self.assertIn("has few tokens in mind", words)

    def test_shared_beginnings_and_ends_of_their_own(self):
        self.attach(tables(ROWS))
        found = self.compare("C", "abc", "ab")
        self.assertEqual((found["shared_token_count"], found["total_winner"]), (2, 1))
        self.assertIn("continuation 1 is the beginning of continuation 0: they part at position 2, where it ends.",
                      found["answer"])
        self.assertIn("continuation 0 has 1 token more, which costs 6.000000 nats.", [rounded(a) for a in found["answer"]])
        found = self.compare("C", "ab", "ab")
        self.assertEqual(found["answer"], ["continuation 0 and continuation 1 are the same 2 tokens."])
        self.assertNotIn("total_winner", found)

    def test_an_impossible_token_is_excluded_and_never_nan(self):
        self.attach(tables(ROWS))
        found = self.compare("C", "az", "ab")
        self.assertEqual(found["continuations"][0]["sum_model_log_prob"], "-Infinity")
        self.assertEqual(found["total_margin"], "Infinity")
        self.assertEqual(found["total_winner"], 1)
        done = harness.run("logit", "compare", "C", "az", "ab", "--server", self.server.address)
        self.assertIn("excluded", done.stdout)
        self.assertIn("of probability zero, at position 1", done.stdout)
        both = harness.run("logit", "compare", "C", "az", "ay", "--server", self.server.address)
        self.assertIn("Neither wins", both.stdout)
        for text in (done.stdout, both.stdout):
            self.assertNotIn("nan", text)

    def test_tables_fit_the_terminal_and_ids_are_taken(self):
        self.attach(tables(ROWS))
        found = self.compare("--context-tokens", "1", "--continuation-tokens", "2,3,4", "--continuation-tokens", "5,6,7")
        self.assertEqual(found["total_winner"], 1)

    def test_errors_name_what_is_wrong(self):
        self.attach(tables(ROWS))
        for arguments, status, field, words in [
                (("C", "a"), 2, "CONTINUATION", "two continuations"),
                (("C", "a", "x", "b"), 2, "CONTINUATION", 'got "3"'),
                (("C",), 2, "CONTINUATION", "missing"),
                (("C", "a", ""), 3, "items[0].continuations[1]", ""),
                (("C", "a", "x", "--confidence", 0.5), 2, "--confidence", 'in (0.5, 1), got "0.5"'),
                (("C", "a", "x", "--low-entropy", -1), 2, "--low-entropy", ">= 0"),
                (("C", "a", "x", "--top-n", 0), 2, "--top-n", 'in [1, 1024], got "0"'),
                (("C", "a", "x", "--temperature", 0.5), 2, "--temperature", "goes with two models"),
                (("C", "a", "--against-model", "nobody"), 2, "--against-model", "transition"),
                (("C", "a", "--against-model", "transition"), 2, "--against-model", "another model"),
                (("C", "a", "--model", "nobody", "--against-model", "transition"), 2, "--model", "transition"),
                (("C", "a", "--against-server", "nowhere"), 2, "--against-server", "HOST:PORT"),
                (("C", "a", "--against-model", "x", "--boundary", "separate"), 2, "--boundary", "two continuations"),
                (("C", "a", "--logits", "x.npy"), 2, "--against-logits", "missing"),
        ]:
            with self.subTest(arguments=arguments):
                outcome = harness.logit("compare", *arguments, server=self.server)
                self.assertEqual(outcome.status, status, outcome)
                error = outcome.error()
                self.assertIn(field, error["field"])
                self.assertIn(words, error["message"])

    def test_an_unreachable_second_server_is_named(self):
        self.attach(tables(ROWS))
        outcome = harness.logit("compare", "C", "a", "--against-server", "127.0.0.1:1", server=self.server)
        self.assertEqual(outcome.status, 4, outcome)
        self.assertIn("127.0.0.1:1", outcome.error()["message"])


def rounded(text: str) -> str:
    """Numbers with six decimals, of which the last may differ by rounding, to those that the test wrote down."""
    return re.sub(r"-?\d+\.\d{6}", lambda match: f"{round(float(match[0]), 5):.6f}"
                  if abs(float(match[0]) * 1e3 - round(float(match[0]) * 1e3)) < 0.01 else match[0], text)


class ModelsTest(transition_case.TransitionCase):
    def two(self, first: transition.Tables, second: transition.Tables) -> None:
        for model, name in ((first, "one"), (second, "two")):
            runner = transition.Runner(self.server.runner_address, model, ("--name", name))
            self.addCleanup(runner.stop)
            self.wait_for(name)

    def wait_for(self, name: str, server: harness.Server | None = None) -> None:
        while harness.run("logit", "health", name, "--server", (server or self.server).address).status != 0:
            pass

    def compare(self, *arguments: object, server: harness.Server | None = None) -> dict:
        return harness.logit("compare", *arguments, server=server or self.server).json()

    def rows(self, model: transition.Tables, context: list[int], tokens: list[int]) -> list[numpy.ndarray]:
        return [numpy.array(model.logits[t]) for t in [context[-1], *tokens[:-1]]]

    def test_whole_rows_give_exact_divergences(self):
        first, second = transition.random_tables(1), transition.random_tables(2)
        self.two(first, second)
        text, tokens = "hello world, again", first.tokenize("hello world, again")
        for temperature in (1, 0.7, 2.5):
            with self.subTest(temperature=temperature):
                flags = ("--temperature", temperature) if temperature != 1 else ()
                found = self.compare("The", text, "--model", "one", "--against-model", "two", *flags)
                self.assertTrue(found["equal_vocabularies"])
                self.assertEqual([at["token_id"] for at in found["positions"]], tokens)
                context = first.tokenize("The")
                for at, p_row, q_row in zip(found["positions"], self.rows(first, context, tokens),
                                            self.rows(second, context, tokens)):
                    p, q = softmax(p_row, temperature), softmax(q_row, temperature)
                    for name, exact in (("kl_01", kl(p, q)), ("kl_10", kl(q, p)), ("js", js(p, q)),
                                        ("total_variation", math.fsum(abs(p - q)) / 2)):
                        self.assertAlmostEqual(at[name], exact, delta=1e-8 * max(1, exact), msg=name)
                    self.assertEqual([side["top_token_id"] for side in at["sides"]], [int(p.argmax()), int(q.argmax())])
                    for side, row in zip(at["sides"], (p, q)):
                        self.assertAlmostEqual(side["log_prob"], math.log(row[at["token_id"]]), delta=NATS)
                    self.assertEqual(at["largest_differences"][0]["token_id"], int(abs(p - q).argmax()))
                self.assertAlmostEqual(found["mean"]["js"], sum(at["js"] for at in found["positions"]) / len(tokens),
                                       delta=1e-12)
        words = harness.run("logit", "compare", "The", text, "--model", "one", "--against-model", "two", "--server",
                            self.server.address).stdout
        self.assertIn("computed from whole rows", words)
        self.assertIn(f"of {len(tokens)} positions", words)

    def test_a_path_longer_than_a_reply_goes_in_pieces(self):
        first, second = transition.random_tables(1), transition.random_tables(2)
        self.two(first, second)
        # 320 tokens: a reply holds 3,276 rows.
        tokens = [i * 7 % 318 + 2 for i in range(3400)]
        found = self.compare("--context-tokens", "5", "--continuation-tokens", ",".join(map(str, tokens)), "--model",
                             "one", "--against-model", "two")
        self.assertEqual([at["token_id"] for at in found["positions"]], tokens)
        for t in (0, 3275, 3276, 3399):
            before = 5 if t == 0 else tokens[t - 1]
            exact = kl(softmax(numpy.array(first.logits[before])), softmax(numpy.array(second.logits[before])))
            self.assertAlmostEqual(found["positions"][t]["kl_01"], exact, delta=1e-8 * max(1, exact))

    def test_bounds_are_named_as_bounds_and_hold(self):
        self.two(transition.random_tables(1), transition.random_tables(2))
        arguments = ("The", "hello world", "--model", "one", "--against-model", "two")
        exact = self.compare(*arguments)
        for top_n in (1, 8, 320):
            found = self.compare(*arguments, "--top-n", top_n)
            for at, true in zip(found["positions"], exact["positions"]):
                self.assertNotIn("kl_01", at)
                for name in ("kl_01", "kl_10", "js"):
                    bounds = at[f"{name}_bounds"]
                    # The log-probs of a top list are rounded by the server's integer weights; whole rows are normalised again.
                    self.assertLessEqual(bounds["lower"], true[name] + 1e-8 * max(1, true[name]))
                    self.assertGreaterEqual(float(bounds["upper"]), true[name] - 1e-8 * max(1, true[name]))
                    if top_n == 320:
                        self.assertAlmostEqual(bounds["lower"], bounds["upper"], delta=1e-12)
                    elif name != "js":
                        self.assertEqual(bounds["upper"], "Infinity")
                self.assertEqual(at["top_agrees"], true["top_agrees"])
                self.assertEqual([s["top_token_id"] for s in at["sides"]], [s["top_token_id"] for s in true["sides"]])
        shown = harness.run("logit", "compare", *arguments, "--top-n", 8, "--server", self.server.address).stdout
        self.assertIn("are bounds from the 8 most likely tokens of each, not values", shown)
        self.assertIn("JS >=", shown)

    def test_an_excluded_token_makes_kl_infinite(self):
        self.two(tables(ROWS), tables({**ROWS, "C": {"a": -0.6, EVIL: -5}}))
        found = self.compare("C", "ab", "--model", "one", "--against-model", "two")
        self.assertEqual(found["positions"][0]["kl_01"], "Infinity")
        self.assertEqual(found["mean"]["kl_01"], "Infinity")
        self.assertEqual(found["positions"][0]["excluded_by_1_alone"], 1)
        self.assertEqual(found["positions"][1]["js"], 0)
        self.assertIn("KL(0||1) is infinite at 1 position, because two excludes tokens there that one does not.",
                      found["answer"])
        self.assertNotIn("NaN", json.dumps(found))

    def test_other_vocabularies_are_compared_by_bits_alone(self):
        whole = ["<s>", "C", "abc", "xyz", "_"]
        self.two(tables(ROWS), tables({"C": {"abc": -2, "xyz": -3}}, whole))
        found = self.compare("C", "abc", "--model", "one", "--against-model", "two")
        self.assertFalse(found["equal_vocabularies"])
        self.assertNotIn("positions", found)
        for side, nats in zip(found["sides"], (7, 2)):
            self.assertAlmostEqual(side["bits"], nats / math.log(2), delta=NATS)
            self.assertAlmostEqual(side["bits_per_byte"], nats / math.log(2) / 3, delta=NATS)
        piece, = found["pieces"]
        self.assertEqual((piece["begin_byte"], piece["end_byte"], piece["token_counts"]), (0, 3, [3, 1]))
        self.assertIn("The vocabularies differ (12 tokens of one, 5 of two), so KL, JS and top-1 agreement are not defined",
                      found["answer"][0])
        for flags, field in [(("--temperature", 2), "--temperature"), (("--top-n", 3), "--top-n")]:
            outcome = harness.logit("compare", "C", "abc", "--model", "one", "--against-model", "two", *flags,
                                    server=self.server)
            self.assertEqual((outcome.status, outcome.error()["field"]), (2, field))
        outcome = harness.logit("compare", "--context-tokens", "1", "--continuation-tokens", "2", "--model", "one",
                                "--against-model", "two", server=self.server)
        self.assertEqual((outcome.status, outcome.error()["field"]), (2, "--context-tokens"))

    def test_equally_many_other_tokens_are_another_vocabulary(self):
        renamed = [{"z": "zz"}.get(token, token) for token in TOKENS]
        self.two(tables(ROWS), tables({name: {t: p for t, p in row.items() if t != "z"} for name, row in ROWS.items()
                                       if name != "z"}, renamed))
        found = self.compare("C", "ab", "--model", "one", "--against-model", "two")
        self.assertFalse(found["equal_vocabularies"])
        self.assertEqual([m["vocab_size"] for m in found["models"]], [12, 12])
        self.assertEqual([(p["begin_byte"], p["end_byte"]) for p in found["pieces"]], [(0, 1), (1, 2)])
        self.assertEqual(found["pieces"][0]["bits"][0], found["pieces"][0]["bits"][1])

    def test_two_servers(self):
        other = harness.Server()
        self.addCleanup(other.stop)
        model = transition.random_tables(1)
        for server, seed in ((self.server, 1), (other, 3)):
            runner = transition.Runner(server.runner_address, transition.random_tables(seed), ("--name", "same"))
            self.addCleanup(runner.stop)
            self.wait_for("same", server)
        found = self.compare("The", "hello", "--model", "same", "--against-server", other.address)
        self.assertEqual([m["server"] for m in found["models"]], [self.server.address, other.address])
        tokens, context = model.tokenize("hello"), model.tokenize("The")
        p = softmax(self.rows(model, context, tokens)[0])
        q = softmax(self.rows(transition.random_tables(3), context, tokens)[0])
        self.assertAlmostEqual(found["positions"][0]["kl_01"], kl(p, q), delta=1e-8)


class Page(html.parser.HTMLParser):
    """The elements and the attributes of a page."""

    def __init__(self, text: str):
        super().__init__()
        self.tags, self.attributes, self.style = [], [], ""
        self._in_style = False
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.attributes += [(tag, *attribute) for attribute in attributes]
        self._in_style = tag == "style"

    def handle_endtag(self, tag):
        self._in_style = False

    def handle_data(self, data):
        if self._in_style:
            self.style += data


class PageTest(transition_case.TransitionCase):
    def test_the_page_stands_alone_and_no_token_is_markup(self):
        self.attach(tables(ROWS))
        with tempfile.TemporaryDirectory() as folder:
            path = pathlib.Path(folder) / "page.html"
            done = harness.run("logit", "compare", "C", EVIL + "S", "abc", "--html", path, "--server", self.server.address)
            self.assertEqual(done.status, 0, done.stderr)
            text = path.read_text(encoding="utf-8")
        self.assertNotIn("<script", text)
        self.assertNotIn("</script>", text)
        self.assertNotIn("<img", text)
        self.assertIn("&lt;/script&gt;&lt;img src=x onerror=alert(1)&gt;", text)
        page = Page(text)
        self.assertLessEqual({"svg", "table", "style", "h1"}, set(page.tags))
        self.assertFalse({"script", "img", "link", "iframe", "object", "base", "a"} & set(page.tags))
        for tag, name, value in page.attributes:
            self.assertFalse(name.startswith("on") or name in ("src", "href", "style", "xlink:href"), (tag, name))
            self.assertNotRegex(value or "", r"https?:|url\(")
        self.assertNotIn("url(", page.style)
        policy = next(value for tag, name, value in page.attributes if name == "content" and "default-src" in value)
        digest = base64.b64encode(hashlib.sha256(page.style.encode()).digest()).decode()
        self.assertEqual(policy, f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'")
        self.assertIn("prefers-color-scheme:dark", page.style)
        self.assertIn(("meta", "content", "width=device-width, initial-scale=1"), page.attributes)

    def test_a_page_that_cannot_be_written_is_exit_code_5(self):
        self.attach(tables(ROWS))
        for path in ("/nowhere/page.html", "/dev/full"):
            outcome = harness.logit("compare", "C", "a", "x", "--html", path, server=self.server)
            self.assertEqual(outcome.status, 5, outcome)
            self.assertIn(path, outcome.error()["message"])


class FilesTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory(prefix="logitd-e2e-compare-")
        cls.addClassCleanup(cls.folder.cleanup)

    def save(self, name: str, array: numpy.ndarray) -> pathlib.Path:
        path = pathlib.Path(self.folder.name) / f"{name}.npy"
        numpy.save(path, array)
        return path

    # No server is there: files need none.
    def run_compare(self, *arguments: object, stdin: bytes = b"") -> harness.Outcome:
        done = subprocess.run([str(harness.BIN / "logit"), "compare", *map(str, arguments), "--json", "--server",
                               "127.0.0.1:1"], input=stdin, capture_output=True, check=False,
                              timeout=harness.CALL_TIMEOUT_S)
        return harness.Outcome(done.returncode, done.stdout.decode(), done.stderr.decode())

    def compare(self, first: pathlib.Path, second: pathlib.Path, *flags: object) -> dict:
        return self.run_compare("--logits", first, "--against-logits", second, *flags).json()

    def test_divergences_are_those_of_float64(self):
        random = numpy.random.default_rng(8)
        p_rows = random.normal(0, 3, (9, 500))
        q_rows = p_rows + random.normal(0, 0.5, p_rows.shape) * 10.0 ** -numpy.arange(9)[:, None]
        q_rows[2, 7] = p_rows[2, 7] = -numpy.inf
        for dtype, flags, digits in [("<f4", (), 1e-9), ("<f2", (), 1e-9), ("<f8", (), 1e-9)]:
            for temperature in (1, 0.7, 3):
                with self.subTest(dtype=dtype, temperature=temperature):
                    p_file, q_file = p_rows.astype(dtype), q_rows.astype(dtype)
                    found = self.compare(self.save("p", p_file), self.save("q", q_file), "--temperature", temperature, *flags)
                    self.assertEqual(found["kind"], "rows")
                    agreements = 0
                    for at, p_row, q_row in zip(found["positions"], p_file, q_file):
                        p, q = softmax(p_row, temperature), softmax(q_row, temperature)
                        for name, exact in (("kl_01", kl(p, q)), ("kl_10", kl(q, p)), ("js", js(p, q)),
                                            ("total_variation", math.fsum(abs(p - q)) / 2)):
                            # The reference itself rounds: it adds terms of both signs.
                            self.assertAlmostEqual(at[name], exact, delta=digits * exact + 1e-14, msg=name)
                        agreements += p.argmax() == q.argmax()
                        self.assertEqual(at["top_agrees"], p.argmax() == q.argmax())
                    self.assertEqual(found["mean"]["top_agreement"], agreements / 9)

    def test_targets_are_compared_as_tokens(self):
        p_rows = numpy.random.default_rng(1).normal(0, 2, (4, 6)).astype("<f4")
        q_rows = numpy.random.default_rng(2).normal(0, 2, (4, 6)).astype("<f4")
        paths = self.save("p", p_rows), self.save("q", q_rows)
        found = self.compare(*paths, "--targets", "1,-100,3,0")
        self.assertEqual(found, self.compare(*paths, "--targets-file", self.save("t", numpy.array([1, -100, 3, 0]))))
        for side, rows in enumerate((p_rows, q_rows)):
            total = sum(math.log(softmax(rows[t])[target]) for t, target in ((0, 1), (2, 3), (3, 0)))
            self.assertAlmostEqual(found["sides"][side]["sum_log_prob"], total, delta=1e-12)
        self.assertNotIn("token_id", found["positions"][1])
        self.assertEqual(sum(side["positions_won"] for side in found["sides"]), 3)

    def test_equal_files_have_no_difference(self):
        path = self.save("same", numpy.float32([[1, 2, 3], [3, 3, 1]]))
        found = self.compare(path, path)
        self.assertEqual([at["kl_01"] for at in found["positions"]], [0, 0])
        self.assertIn("All distributions are equal: every divergence is 0.", found["answer"])

    def test_standard_input_is_a_file_too(self):
        array = numpy.float32([[1, 2, 3]])
        path = self.save("p", array)
        found = self.run_compare("--logits", "-", "--against-logits", path, stdin=path.read_bytes()).json()
        self.assertEqual(found["mean"]["js"], 0)
        outcome = self.run_compare("--logits", "-", "--against-logits", "-")
        self.assertEqual((outcome.status, outcome.error()["field"]), (2, "--against-logits"))

    def test_files_that_cannot_be_compared(self):
        good = self.save("good", numpy.float32([[1, 2, 3], [4, 5, 6]]))
        nan, inf, empty = (numpy.float32([[1, 2, 3], [4, 5, 6]]) for _ in range(3))
        nan[1, 2], inf[0, 1], empty[1] = numpy.nan, numpy.inf, -numpy.inf
        for name, array, field, reason, words in [
                ("wide", numpy.zeros((2, 4), "<f4"), "--against-logits", "UNSPECIFIED", "V = 3 of shape (2, 3), got V = 4"),
                ("long", numpy.zeros((3, 3), "<f4"), "--against-logits", "UNSPECIFIED", "T = 2 of shape (2, 3), got T = 3"),
                ("nan", nan, "--against-logits", "NON_FINITE_LOGIT", "row 1, token 2 must be"),
                ("inf", inf, "--against-logits", "NON_FINITE_LOGIT", "row 0, token 1 must be"),
                ("empty", empty, "--against-logits", "NO_FINITE_LOGIT", "row 1 must have at least one finite value"),
                ("integers", numpy.zeros((2, 3), int), "--against-logits", "UNSPECIFIED", "float64, float32 or float16"),
                ("big endian", numpy.zeros((2, 3), ">f8"), "--against-logits", "UNSPECIFIED", "a.astype('<f8')"),
                ("cube", numpy.zeros((1, 2, 3), "<f4"), "--against-logits", "UNSPECIFIED", "[V] or [T, V], got (1, 2, 3)"),
                ("none", numpy.zeros((0, 3), "<f4"), "--against-logits", "UNSPECIFIED", "[1, 131072], got 0"),
        ]:
            with self.subTest(name):
                outcome = self.run_compare("--logits", good, "--against-logits", self.save(name, array))
                self.assertEqual((outcome.status, outcome.stdout), (2, ""), outcome)
                error = outcome.error()
                self.assertEqual((error["field"], error["reason"]), (field, f"ERROR_REASON_{reason}"))
                self.assertIn(words, error["message"])
        for flags, field, words in [(("--targets", "1"), "--targets", "2 rows"), (("--targets", "1,3"), "--targets", "[0, 3)"),
                                    (("--temperature", 0), "--temperature", "[1e-4, 1e6]"),
                                    (("--temperature", "nan"), "--temperature", ""),
                                    (("--top-n", 3), "--top-n", "whole rows"), (("--model", "m"), "--model", "no model"),
                                    (("--positions", 0), "--positions", 'got "0"'),
                                    (("text",), "CONTEXT", "do not go with --logits")]:
            with self.subTest(flags):
                outcome = self.run_compare("--logits", good, "--against-logits", good, *flags)
                self.assertEqual(outcome.status, 2, outcome)
                self.assertEqual(outcome.error()["field"], field)
                self.assertIn(words, outcome.error()["message"])

    def test_a_file_that_shrinks_is_an_error(self):
        # A pipe has no size that could be checked before: it ends in the middle of the second row.
        path = self.save("whole", numpy.zeros((3, 1000), "<f4"))
        fifo = pathlib.Path(self.folder.name) / "fifo"
        os.mkfifo(fifo)
        writer = threading.Thread(target=lambda: fifo.write_bytes(path.read_bytes()[:6000]))
        writer.start()
        outcome = self.run_compare("--logits", path, "--against-logits", fifo)
        writer.join()
        self.assertEqual(outcome.status, 2, outcome)
        self.assertEqual(outcome.error()["field"], "--against-logits")
        self.assertRegex(outcome.error()["message"], "it ends after 14\\d\\d of its 3000 values")

    def test_many_positions_are_cut_to_those_that_differ_most(self):
        p_rows = numpy.random.default_rng(1).normal(0, 2, (100, 6)).astype("<f4")
        q_rows = p_rows.copy()
        q_rows[70] += numpy.float32([5, 0, 0, 0, 0, 0])
        done = harness.run("logit", "compare", "--logits", self.save("p", p_rows), "--against-logits",
                           self.save("q", q_rows), "--positions", 3)
        self.assertIn("the 3 of 100 positions that differ most", done.stdout)
        self.assertIn("They differ most at position 70", done.stdout)


if __name__ == "__main__":
    unittest.main()
