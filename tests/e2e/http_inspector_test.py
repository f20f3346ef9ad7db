"""The inspector in Debian's Chromium: what it shows equals the gRPC replies, and nothing that it shows can act."""

import json
import math
import os
import pathlib
import random
import shlex
import subprocess
import sys
import tempfile
import unittest

import browser
import harness
import http_case
import transition
import wire
from logitd.v1 import completion_pb2 as completion
from logitd.v1 import decoding_service_pb2 as decoding
from logitd.v1 import logits_pb2 as rows
from logitd.v1 import sampling_pb2 as sampling
from logitd.v1 import scoring_service_pb2 as scoring

MARKUP = "<img src=x onerror=\"document.title='owned'\">"
# Turns the direction of the text, shows nothing, ends a line, is half a character.
UNSEEN = ["\u202e", "\u200b", "\n\x07", b"\xe2\x82"]
# The page's probabilities are sums in doubles; the server's weights are float32 exponentials: docs/numerics.md.
ERROR = 3e-7


def tables(size: int) -> transition.Tables:
    """A byte vocabulary with words, two tokens of one text, and tokens that are hostile to a page. After "go" the
    greedy completion walks through the hostile ones. Some probabilities are zero."""
    tokens: list[bytes | str] = ["<s>", "</s>", *(bytes([b]) for b in range(256)), "the", " the", " cat", " cats", " dog",
                                 " tie", " tie", MARKUP, *UNSEEN]
    tokens += [f" w{i}" for i in range(size - len(tokens))]
    draw = random.Random(5)
    kinds = [[draw.randrange(-40, 40) / 8 for _ in range(size)] for _ in range(16)]
    logits = [list(kinds[i % len(kinds)]) for i in range(size)]
    walk = [tokens.index(b"o"), tokens.index(MARKUP), *(tokens.index(text) for text in UNSEEN), tokens.index(" tie"),
            tokens.index(" cat")]
    for before, after in zip(walk, walk[1:]):
        logits[before][after] = 7.0
    # The other token of that text is almost as likely.
    logits[walk[-3]][tokens.index(" tie") + 1] = 6.5
    for row in logits:
        row[tokens.index(b"\x7f")] = None
    return transition.Tables(tokens, logits, [0, 1], 0, 1)


class InspectorCase(http_case.HttpCase):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.browser = browser.Browser()
        cls.addClassCleanup(cls.browser.close)
        cls.url = f"http://127.0.0.1:{cls.http.port}/"

    def open(self, **options) -> browser.Page:
        page = self.browser.open(self.url, **options)
        page.wait("document.querySelector('#model').value")
        return page

    def run_prompt(self, page: browser.Page, prompt: str, max_tokens: int = 8) -> None:
        page.fill("#prompt", prompt)
        page.fill("#max-tokens", str(max_tokens))
        page.press("Enter", ctrl=True)
        page.wait("!document.body.dataset.busy && document.querySelector('#tokens button')")

    def check_quiet(self, page: browser.Page) -> None:
        """Nothing was refused by the policy, nothing failed, and no request went elsewhere."""
        self.assertEqual(page.complaints, [])
        self.assertEqual(page.failures, [])
        self.assertTrue(page.requests)
        for url in page.requests:
            self.assertTrue(url.startswith(self.url), url)

    def set_slider(self, page: browser.Page, temperature: float) -> None:
        page.value("(() => { const slider = document.querySelector('#slider');"
                   f"slider.value = {temperature}; slider.dispatchEvent(new Event('input', {{bubbles: true}})); }})()")

    def alternatives(self, page: browser.Page) -> dict[int, dict[str, float]]:
        """By id: probability and log_prob, as [low, high]."""
        listed = page.value(
            "[...document.querySelectorAll('#alternatives tr')].map(line => [line.dataset.id,"
            "...['probability', 'log-prob'].map(name => { const data = line.querySelector(`.${name} data`);"
            "return [data.value, data.dataset.high ?? data.value]; })])")
        return {int(token): {"probability": [*map(number, p)], "log_prob": [*map(number, l)]} for token, p, l in listed}

    def distribution(self, before: int, temperature: float) -> dict[int, tuple[float, float]]:
        """ComputeDistribution's probability and log-prob of every token after the token `before`."""
        request = decoding.ComputeDistributionRequest(logits=rows.Logits(float_values=self.tables.logits[before]),
                                                      sampling=sampling.SamplingParams(temperature=temperature))
        with wire.connect(self.server.address) as client:
            reply = client.decoding.ComputeDistribution(request, timeout=wire.TIMEOUT_S)
        return {token: (p, l) for token, p, l in zip(reply.token_ids, reply.probabilities, reply.sampling_log_probs)}

    def check_alternatives(self, page: browser.Page, before: int, temperature: float) -> None:
        """The page's numbers are those of ComputeDistribution."""
        shown = self.alternatives(page)
        wanted = self.distribution(before, temperature)
        self.assertGreaterEqual(len(shown), 10)
        likely = sorted(wanted, key=lambda token: (-self.tables.logits[before][token], token))[:10]
        self.assertLessEqual(set(likely), set(shown))
        for token, bounds in shown.items():
            probability, log_prob = wanted[token]
            for i in (0, 1):
                self.assertAlmostEqual(bounds["probability"][i], probability, delta=ERROR, msg=(token, temperature))
                if log_prob > -math.inf:
                    self.assertAlmostEqual(bounds["log_prob"][i], log_prob, delta=ERROR * max(1, -log_prob))
                else:
                    self.assertEqual(bounds["log_prob"][i], -math.inf)


def number(text: str) -> float:
    return float(text.replace("Infinity", "inf"))


class InspectorTest(InspectorCase):
    """A vocabulary that the server lists whole."""

    TABLES = tables(320)

    def test_the_slider_gives_compute_distributions_numbers(self):
        page = self.open()
        self.run_prompt(page, "go on", max_tokens=3)
        ids = self.ids(page)
        for index in (2, len(ids) - 1):
            page.click(f"#tokens button[data-index='{index}']")
            for temperature in (0.7, 1.9, 1, 0.15, 3, 0):
                self.set_slider(page, temperature)
                page.wait("document.querySelector('#details').dataset.state === 'exact'")
                self.assertEqual(page.value("document.querySelector('#view-temperature').valueAsNumber"), temperature)
                self.check_alternatives(page, ids[index - 1], temperature)
        # The number beside the slider takes what the slider cannot reach.
        page.fill("#view-temperature", "12.5")
        page.wait("document.querySelector('#exactness').textContent.startsWith('Exact')")
        self.check_alternatives(page, ids[-2], 12.5)
        page.fill("#view-temperature", "-1")
        self.assertEqual(page.value("document.querySelector('#view-temperature').getAttribute('aria-invalid')"), "true")
        page.click("#reset-temperature")
        self.check_alternatives(page, ids[-2], 1)
        self.check_quiet(page)

    def ids(self, page: browser.Page) -> list[int]:
        """The ids of all tokens, as the page shows them one by one."""
        count = page.value("document.querySelectorAll('#tokens button').length")
        ids = []
        for index in range(count):
            page.value(f"document.querySelector(\"#tokens button[data-index='{index}']\").focus()")
            ids.append(int(page.value("document.querySelector('#token-id').textContent")))
        return ids

    def test_each_token_has_its_record(self):
        page = self.open()
        self.run_prompt(page, "the cats", max_tokens=6)
        ids = self.ids(page)
        prompt = self.tables.tokenize("the cats")
        self.assertEqual(ids[:len(prompt)], prompt)
        self.assertEqual(len(ids), len(prompt) + 6)
        for index in range(1, len(ids)):
            page.value(f"document.querySelector(\"#tokens button[data-index='{index}']\").focus()")
            fact = lambda name: number(page.value(f"document.querySelector('#token-{name} data').value"))
            log_prob = self.tables.log_prob(ids[index - 1], ids[index])
            self.assertAlmostEqual(fact("log-prob"), log_prob, delta=5e-6)
            self.assertAlmostEqual(fact("probability"), math.exp(log_prob), delta=5e-6)
            row = self.tables.logits[ids[index - 1]]
            self.assertEqual(fact("rank"), 1 + sum(x > row[ids[index]] for x in row))
            log_probs = [l for l in self.tables.log_probs[ids[index - 1]] if l > -math.inf]
            self.assertAlmostEqual(fact("entropy"), -math.fsum(math.exp(l) * l for l in log_probs), delta=5e-6)
            # Prompt and completion differ, and unlikely tokens differ from likely ones.
            button = f"document.querySelector(\"#tokens button[data-index='{index}']\")"
            self.assertEqual(page.value(f"{button}.classList.contains('prompt-token')"), index < len(prompt))
            level = sum(math.exp(log_prob) < bound for bound in (0.5, 0.2, 0.05, 0.01, 0.001, 0.0001))
            self.assertEqual(page.value(f"{button}.dataset.level"), str(level))
        page.value("document.querySelector(\"#tokens button[data-index='0']\").focus()")
        self.assertTrue(page.value("document.querySelector('#distribution').hidden"))
        self.check_quiet(page)

    def test_hostile_tokens_are_text(self):
        page = self.open()
        self.run_prompt(page, "go", max_tokens=6)
        shown = page.value("[...document.querySelectorAll('#tokens button')].map(button => button.textContent)")
        self.assertEqual(shown[2:], [MARKUP.replace(" ", "·"), "\\u{202e}", "\\u{200b}", "↵\\x07", "\\xe2\\x82", "·tie"])
        page.click("#tokens button[data-index='2']")
        self.assertEqual(page.value("document.querySelector('#token-text').textContent"), MARKUP.replace(" ", "·"))
        page.click("#use-completion")
        page.fill("#candidates li:nth-child(2) textarea", MARKUP)
        page.click("#candidates-form .main")
        page.wait("document.querySelectorAll('.candidate').length === 2")
        self.assertEqual(page.value("document.querySelectorAll('img').length"), 0)
        self.assertEqual(page.value("document.title"), "logitd inspector")
        # No invisible character is left in what is shown.
        self.assertTrue(page.value("!/[\\u202e\\u200b\\x07]/.test(document.querySelector('main').innerText)"))
        self.check_quiet(page)

    def test_the_policy_refuses_code_in_the_page(self):
        """And this test's way of noticing it works."""
        page = self.open()
        page.value("try { document.body.innerHTML = '<img src=x onerror=alert(1)>'; } catch (e) {}")
        self.assertEqual(page.value("document.querySelectorAll('img').length"), 0)
        self.assertTrue(page.complaints)
        page = self.open()
        page.value("(() => { const image = document.createElement('img'); image.src = 'http://127.0.0.2:9/x'; "
                   "document.body.append(image); })()")
        self.browser.wait_for(lambda: page.complaints, "a refusal of the policy")

    def test_tokens_of_one_text_are_apart(self):
        page = self.open()
        self.run_prompt(page, "go", max_tokens=6)
        one = self.tables.tokens.index(b" tie")
        page.click("#tokens button[data-index='7']")
        self.set_slider(page, 0.6)
        page.wait("document.querySelector('#exactness').textContent.startsWith('Exact')")
        shown = self.alternatives(page)
        self.assertIn(one, shown)
        self.assertIn(one + 1, shown)
        self.assertGreater(shown[one]["probability"][0], shown[one + 1]["probability"][0])
        self.check_alternatives(page, self.tables.tokens.index(UNSEEN[-1]), 0.6)

    def test_the_keyboard_is_enough(self):
        page = self.open()
        focused = lambda: page.value("document.activeElement.id || document.activeElement.dataset.index || "
                                     "document.activeElement.textContent.trim()")
        page.value("document.querySelector('#prompt').focus()")
        page.press("Enter", ctrl=True)
        page.wait("!document.body.dataset.busy && document.querySelector('#tokens button')")
        self.assertEqual(focused(), "prompt")
        seen = []
        while not seen or not seen[-1].isdigit():
            page.press("Tab")
            seen.append(focused())
            self.assertLess(len(seen), 20, seen)
        self.assertEqual(seen[:4], ["model", "max-tokens", "temperature", "seed"])
        # One stop for all tokens; the arrow keys walk, and the details follow.
        chosen = int(seen[-1])
        page.press("ArrowRight")
        self.assertEqual(focused(), str(chosen + 1))
        self.assertEqual(page.value("document.querySelector('#token-position').textContent"), str(chosen + 1))
        page.press("Home")
        self.assertEqual(focused(), "0")
        page.press("ArrowLeft")
        self.assertEqual(focused(), "0")
        page.press("End")
        last = page.value("document.querySelectorAll('#tokens button').length") - 1
        self.assertEqual(focused(), str(last))
        page.press("Tab")
        self.assertEqual(focused(), "use-completion")
        page.press("Tab")
        self.assertEqual(focused(), "slider")
        page.press("ArrowRight")
        self.assertEqual(page.value("document.querySelector('#view-temperature').valueAsNumber"), 1.05)
        page.wait("document.querySelector('#exactness').textContent.startsWith('Exact')")
        # A focused element has an outline.
        self.assertNotEqual(page.value("getComputedStyle(document.activeElement).outlineStyle"), "none")
        page.press("Tab", shift=True)
        page.press("Enter")
        self.assertNotEqual(page.value("document.querySelector('#candidates textarea').value"), "")
        page.value("document.querySelector('#copy-curl').focus()")
        page.press("Enter")
        self.assertTrue(page.value("document.querySelector('#snippet').open"))
        page.press("Escape")
        self.assertFalse(page.value("document.querySelector('#snippet').open"))
        self.assertEqual(focused(), "copy-curl")
        self.check_quiet(page)

    def score(self, context: str, texts: list[str]) -> list[scoring.ScoredContinuation]:
        item = scoring.ScoreItem(context=completion.Input(text=context),
                                 continuations=[scoring.Continuation(text=text) for text in texts])
        with wire.connect(self.server.address) as client:
            response, = client.scoring.Score(scoring.ScoreRequest(items=[item]), timeout=wire.TIMEOUT_S)
        return list(response.item.continuations)

    def test_candidates_have_scores_sums_and_part_where_their_tokens_differ(self):
        cases = [("go", [" cat sat", " cats sat", " the dog", "\u20ac\u20ac"]),
                 # A token that spans the border counts whole, as under Score's rule.
                 ("by th", ["e cat", "e dog", "ick"]),
                 # One is the beginning of the other; one has the probability zero.
                 ("the", [" cat", " cat cat", "\x7f"])]
        for prompt, texts in cases:
            with self.subTest(prompt=prompt):
                page = self.open()
                page.fill("#prompt", prompt)
                for i, text in enumerate(texts):
                    if i >= 2:
                        page.click("#add-candidate")
                    page.fill(f"#candidates li:nth-child({i + 1}) textarea", text)
                page.click("#candidates-form .main")
                page.wait(f"document.querySelectorAll('.candidate').length === {len(texts)}")
                scored = self.score(prompt, texts)
                cards = page.value(
                    "[...document.querySelectorAll('.candidate')].map(card => ({place: Number(card.dataset.place),"
                    "sum: card.querySelector('.facts data').value,"
                    "ids: [...card.querySelectorAll('tr[data-id]')].map(line => Number(line.dataset.id)),"
                    "sums: [...card.querySelectorAll('td.sum data')].map(data => data.value),"
                    "shared: card.querySelectorAll('tr.shared').length,"
                    "parts: card.querySelectorAll('tr.parting').length}))")
                self.assertEqual([card["place"] for card in cards],
                                 sorted(range(len(texts)), key=lambda i: (-sum_of(scored[i]), i)))
                best = cards[0]
                for card in cards:
                    score = scored[card["place"]].score
                    self.assertEqual(card["ids"], [record.token_id for record in score.tokens])
                    self.assertEqual(number(card["sum"]), sum_of(scored[card["place"]]))
                    running = 0.0
                    for shown, record in zip(card["sums"], score.tokens):
                        running += record.model_log_prob if record.HasField("model_log_prob") else -math.inf
                        close = number(shown) == running or abs(number(shown) - running) < 1e-12
                        self.assertTrue(close, (shown, running))
                    if card is not best:
                        shared = len(os.path.commonprefix([best["ids"], card["ids"]]))
                        self.assertEqual(card["shared"], shared)
                        self.assertEqual(card["parts"], int(shared < len(card["ids"])))
                self.assertEqual(page.value("document.querySelector('.parting-summary').dataset.parting"),
                                 str(cards[1]["shared"]))
                self.check_quiet(page)

    def test_copied_requests_run(self):
        page = self.open()
        prompt = "it's \"go\" \u202e$HOME `x` \\ \U0001f600"
        self.run_prompt(page, prompt, max_tokens=4)
        page.click("#copy-curl")
        text = page.value("document.querySelector('#snippet-text').value")
        self.assertTrue(text.isascii())
        program, url, *arguments = shlex.split(text.replace("\\\n", " "))
        self.assertEqual((program, url), ("curl", f"{self.url}v1/completions"))
        body = json.loads(arguments[arguments.index("-d") + 1])
        self.assertEqual((body["prompt"], body["max_tokens"], body["echo"]), (prompt, 4, True))
        by_curl = self.post("/v1/completions", body)["choices"]
        page.press("Escape")
        page.click("#copy-python")
        text = page.value("document.querySelector('#snippet-text').value")
        self.assertTrue(text.isascii())
        with tempfile.TemporaryDirectory(prefix="logitd-e2e-") as folder:
            (pathlib.Path(folder) / "openai.py").write_text(FAKE_OPENAI, encoding="utf-8")
            done = subprocess.run([sys.executable, "-c", text], env={**os.environ, "PYTHONPATH": folder},
                                  capture_output=True, text=True, check=False, timeout=http_case.TIMEOUT_S)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(json.loads(done.stdout)["choices"], by_curl)

    def test_a_drawn_completion_is_drawn_again_with_its_seed(self):
        page = self.open()
        page.fill("#temperature", "1.5")
        self.run_prompt(page, "go", max_tokens=12)
        shown = page.value("[...document.querySelectorAll('#tokens button')].map(button => button.textContent)")
        page.click("#copy-curl")
        arguments = shlex.split(page.value("document.querySelector('#snippet-text').value").replace("\\\n", " "))
        text = arguments[arguments.index("-d") + 1]
        seed = str(json.loads(text)["seed"])
        page.press("Escape")
        page.fill("#seed", seed)
        self.run_prompt(page, "go", max_tokens=12)
        again = page.value("[...document.querySelectorAll('#tokens button')].map(button => button.textContent)")
        self.assertEqual(again, shown)
        self.check_quiet(page)

    def test_it_fits_400_pixels(self):
        for dark in (False, True):
            page = self.open(width=400, height=800, dark=dark)
            self.run_prompt(page, "go " + "x" * 300, max_tokens=12)
            page.fill("#candidates li:nth-child(1) textarea", " " + "y" * 200)
            page.fill("#candidates li:nth-child(2) textarea", " " + "y" * 190 + "z")
            page.click("#candidates-form .main")
            page.wait("document.querySelectorAll('.candidate').length === 2")
            page.click("#copy-curl")
            page.press("Escape")
            self.assertLessEqual(page.value("document.documentElement.scrollWidth"), 400)
            clipped = page.value("[...document.querySelectorAll('button, input, td, textarea')].filter(e =>"
                                 "e.getBoundingClientRect().right > 400.5).map(e => e.outerHTML)")
            self.assertEqual(clipped, [])
            luminance = page.value("getComputedStyle(document.body).backgroundColor.match(/[0-9]+/g).map(Number)"
                                   ".reduce((a, b) => a + b)")
            self.assertEqual(luminance < 384, dark)
            self.check_quiet(page)

    def test_errors_have_the_servers_words(self):
        page = self.open()
        page.fill("#max-tokens", "999999999")
        page.press("Enter", ctrl=True)
        page.wait("!document.querySelector('#error').hidden && !document.body.dataset.busy")
        error = self.refused(400, "/v1/completions", {"prompt": "The capital of France is", "max_tokens": 999999999,
                                                      "temperature": 0})
        self.assertEqual(page.value("document.querySelector('#error-message').textContent"), error["message"])
        self.assertIn(error["code"], page.value("document.querySelector('#error-facts').textContent"))
        self.assertEqual(page.value("document.querySelector('#max-tokens').getAttribute('aria-invalid')"), "true")
        # The next run clears it.
        self.run_prompt(page, "go", max_tokens=1)
        self.assertTrue(page.value("document.querySelector('#error').hidden"))
        self.assertIsNone(page.value("document.querySelector('#max-tokens').getAttribute('aria-invalid')"))

    def test_the_bearer_token_stays_in_memory(self):
        page = self.open()
        page.click("#access summary")
        page.fill("#token", "sekrit-7")
        page.press("Tab")
        self.run_prompt(page, "go", max_tokens=1)
        self.assertIn("Bearer sekrit-7", page.authorizations)
        page.click("#copy-curl")
        text = page.value("document.querySelector('#snippet-text').value")
        self.assertIn("$LOGITD_TOKEN", text)
        self.assertNotIn("sekrit-7", text)
        kept = page.value("JSON.stringify([{...localStorage}, {...sessionStorage}, document.cookie, location.href, history.state])")
        self.assertNotIn("sekrit", kept)
        page.go(self.url)
        page.wait("document.querySelector('#model').value")
        self.assertEqual(page.value("document.querySelector('#token').value"), "")
        page.authorizations.clear()
        self.run_prompt(page, "go", max_tokens=1)
        self.assertEqual(page.authorizations, [])

    def test_foreign_hosts_are_refused(self):
        for path in ("/", "/inspector/inspector.js"):
            reply = self.http.send("GET", path, headers={"Host": "evil.example"})
            self.assertEqual(self.error_of(reply, 403)["code"], "host_not_allowed")


class LargeVocabularyTest(InspectorCase):
    """A vocabulary of which the server lists a part: bounds while the pointer passes, exact numbers at rest."""

    TABLES = tables(1100)

    def test_bounds_hold_and_become_exact(self):
        page = self.open()
        self.run_prompt(page, "go on", max_tokens=3)
        before = self.tables.tokenize("go on")[-1]
        index = len(self.tables.tokenize("go on"))
        for temperature in (0.7, 1.9):
            with self.subTest(temperature=temperature):
                page.click("#tokens button[data-index='1']")
                self.set_slider(page, temperature)
                page.hover(f"#tokens button[data-index='{index}']")
                page.wait(f"document.querySelector('#token-position').textContent === '{index}'")
                self.assertEqual(page.value("document.querySelector('#details').dataset.state"), "bounds")
                self.assertIn("of 1,100 tokens are known", page.value("document.querySelector('#exactness').textContent"))
                wanted = self.distribution(before, temperature)
                for token, bounds in self.alternatives(page).items():
                    low, high = bounds["probability"]
                    self.assertLess(low, high)
                    self.assertLess(low - ERROR, wanted[token][0])
                    self.assertLess(wanted[token][0], high + ERROR)
                page.click(f"#tokens button[data-index='{index}']")
                page.wait("document.querySelector('#details').dataset.state === 'exact'")
                self.assertIn("server's normalisation", page.value("document.querySelector('#exactness').textContent"))
                self.check_alternatives(page, before, temperature)
        self.check_quiet(page)

    def test_bounds_hold_for_every_row(self):
        """The page's own arithmetic, with the n most likely tokens of rows of all shapes."""
        draw = random.Random(11)
        page = self.open()
        for size, spread in ((2, 1), (11, 4), (50, 0), (400, 0.1), (400, 3), (1100, 8)):
            logits = [draw.gauss(0, spread) for _ in range(size)]
            total = math.log(math.fsum(map(math.exp, logits)))
            log_probs = sorted((x - total for x in logits), reverse=True)
            for count in {1, size // 3 or 1, size - 1, size}:
                for temperature in (0.01, 0.3, 0.999, 1.001, 2.5, 1000):
                    low, high = page.value(
                        "import('/inspector/distribution.js').then(({Row}) => {"
                        f"const known = new Map({json.dumps(list(enumerate(log_probs[:count])))});"
                        f"const row = new Row(known, {size - count}, {log_probs[count - 1]!r});"
                        f"const {{low, high}} = row.logProbAt(0, {temperature}); return [low, high]; }})")
                    scaled = [(x - log_probs[0]) / temperature for x in log_probs]
                    wanted = -math.log(math.fsum(map(math.exp, scaled)))
                    message = (size, spread, count, temperature, low, wanted, high)
                    self.assertLessEqual(low, wanted + 1e-12, message)
                    self.assertGreaterEqual(high, wanted - 1e-12, message)
                    if count == size:
                        self.assertAlmostEqual(low, wanted, delta=1e-12, msg=message)


class AwayTest(unittest.TestCase):
    def test_what_to_do_is_said_when_a_server_is_away(self):
        server = harness.Server()
        runner = transition.attach(server)
        served = http_case.HttpServer(server.address)
        try:
            with browser.Browser() as chromium:
                page = chromium.open(f"http://127.0.0.1:{served.port}/")
                page.wait("document.querySelector('#model').value")
                runner.stop()
                server.stop()
                page.click("#form .main")
                page.wait("!document.querySelector('#error').hidden")
                self.assertIn("cannot be reached", page.value("document.querySelector('#error-message').textContent"))
                self.assertIn("Start logitd", page.value("document.querySelector('#error-advice').textContent"))
                served.stop()
                page.click("#form .main")
                page.wait("document.querySelector('#error-message').textContent.startsWith('No reply from')")
                self.assertIn("Check that logitd-http still runs",
                              page.value("document.querySelector('#error-advice').textContent"))
        finally:
            for program in (served, server):
                if program.is_alive():
                    program.stop()


def sum_of(continuation: scoring.ScoredContinuation) -> float:
    totals = continuation.score.totals
    return totals.cumulative_model_log_prob if totals.HasField("cumulative_model_log_prob") else -math.inf


# The part of the openai client that a copied request uses.
FAKE_OPENAI = """
import json, urllib.request

class Reply:
    def __init__(self, text): self.text = text
    def model_dump_json(self, indent): return json.dumps(json.loads(self.text), indent=indent)

class OpenAI:
    def __init__(self, base_url, api_key):
        self.base_url = base_url
        self.completions = self
    def create(self, extra_body=None, **fields):
        body = json.dumps({**fields, **(extra_body or {})}).encode()
        request = urllib.request.Request(self.base_url + "/completions", body, {"Content-Type": "application/json"})
        return Reply(urllib.request.urlopen(request).read())
"""

if __name__ == "__main__":
    unittest.main()
