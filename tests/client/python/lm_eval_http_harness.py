"""lm-evaluation-harness's own HTTP models, unmodified, against logitd-http: the metrics of logitd.lm_eval.

Needs the packages of requirements-lm-eval.txt; `scripts/test --http-clients` runs it.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import pathlib
import statistics
import sys
import tempfile
import threading
import time
import unittest


from lm_eval_harness import GENERATED, SCORED, evaluate, lines, metrics

import gguf_file
import harness
import http_case
import http_recorder
import lm_eval_reference
import tokenizer_folder
from lm_eval.api.instance import Instance
from lm_eval.api.registry import get_model
from logitd.lm_eval import LogitdLM

import logitd

# The harness's window: a request has one token more than the window, and one is generated.
WINDOW = 192
MAX_LENGTH = WINDOW + 2
CONTEXT_LENGTH = 256
# Other batches and cuts of the cache move the last digits of a sum.
TOLERANCE = 1e-3
# What the task logitd_sampled asks for twice.
REPEATED = "logitd_sampled"


def setUpModule():
    global stack, server, front, native, folder
    stack = contextlib.ExitStack()
    unittest.addModuleCleanup(stack.close)
    folder = pathlib.Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="logitd-lm-eval-http-")))
    server = harness.Server(model=harness.model_path(), flags=(
        "--precision", "f32", "--context-length", str(CONTEXT_LENGTH), "--cache-tokens", "8192"))
    stack.callback(server.stop)
    front = http_case.HttpServer(server.address)
    stack.callback(front.stop)
    tokenizer_folder.write(gguf_file.Keys(harness.model_path()), folder / "tokenizer")
    # The harness's HTTP models read names of control tokens in texts, as every tokenizer of transformers does.
    native = LogitdLM(server.address, max_length=WINDOW, parse_special_tokens=True)


def tokenizer_arguments(backend: str) -> dict:
    """huggingface: a local folder; no hub is asked."""
    if backend == "huggingface":
        return {"tokenizer_backend": backend, "tokenizer": str(folder / "tokenizer")}
    return {"tokenizer_backend": backend}


def local_completions(backend: str, *, port: int | None = None, batch_size: int = 1, **arguments):
    """The model type as the command line makes it."""
    return get_model("local-completions").create_from_arg_obj(
        {"model": "smollm2", "base_url": f"http://127.0.0.1:{port or front.port}/v1/completions", "max_length": MAX_LENGTH,
         **tokenizer_arguments(backend), **arguments}, {"batch_size": batch_size})


class Compared(unittest.TestCase):
    references: dict[str, dict] = {}

    def native_of(self, tasks: list[str], lm: LogitdLM | None = None, **options) -> dict:
        key = json.dumps([tasks, lm is None, options])
        if key not in self.references:
            self.references[key] = evaluate(lm or native, tasks, **options)
        return self.references[key]

    def compare(self, mine: dict, reference: dict) -> None:
        """Equal texts, is_greedy and accuracies; sums within TOLERANCE."""
        worst = count = 0
        for task, wanted in reference["samples"].items():
            for got, want in zip(mine["samples"][task], wanted, strict=True):
                answers, rights = got["resps"], want["resps"]
                if task == REPEATED:
                    # The harness sends one body twice, with one seed: each repeat is the first sample of logitd.lm_eval.
                    rights = [[right[0]] * len(right) for right in rights]
                for answer, right in zip(itertools.chain(*answers), itertools.chain(*rights), strict=True):
                    if isinstance(right, str):
                        self.assertEqual(answer, right, want["arguments"])
                        continue
                    (a, a_greedy), (b, b_greedy) = (x if isinstance(x, tuple) else (x, None) for x in (answer, right))
                    self.assertEqual(a_greedy, b_greedy, want["arguments"])
                    self.assertLessEqual(abs(a - b), TOLERANCE, want["arguments"])
                    worst, count = max(worst, abs(a - b)), count + 1
        left, right = metrics(mine), metrics(reference)
        self.assertEqual(left.keys(), right.keys())
        for task, values in right.items():
            self.assertEqual(left[task].keys(), values.keys())
            for name, value in values.items():
                is_count = "acc" in name or "match" in name
                self.assertAlmostEqual(left[task][name], value, msg=f"{task} {name}",
                                       delta=1e-12 if is_count else TOLERANCE * max(1.0, abs(value)))
        print(f"{self.id()}: {count} sums, largest difference {worst:.1e}", file=sys.stderr)


class LocalCompletionsTest(Compared):
    @classmethod
    def setUpClass(cls):
        reference = lm_eval_reference.ReferenceLM(server.address, parse=True)
        # Of those with another document the harness's own run ends with an assertion.
        edges = [i for i, doc in enumerate(lines("edges"))
                 if all(reference.can_score(doc["query"], choice) for choice in doc["choices"])]
        assert len(edges) > 20
        # So few that all of their tokens stay in the cache from one run to the next.
        cls.samples = {"logitd_edges": edges[::3], "logitd_multiple_choice": list(range(0, 20, 2)),
                       "logitd_last_word": list(range(0, 24, 3)), "logitd_rolling": [0, 1, 2, 4, 6, 7]}

    def compare_runs(self, backend: str, tasks: list[str], **options) -> None:
        wanted = self.native_of(tasks, **options)
        for batch_size, num_concurrent in itertools.product((1, 16), (1, 8, 64)):
            with self.subTest(batch_size=batch_size, num_concurrent=num_concurrent):
                lm = local_completions(backend, batch_size=batch_size, num_concurrent=num_concurrent)
                self.compare(evaluate(lm, tasks, **options), wanted)

    def test_scores_with_the_servers_tokenizer(self):
        self.compare_runs("remote", SCORED, samples=self.samples)

    def test_scores_with_a_local_tokenizer(self):
        self.compare_runs("huggingface", SCORED, samples=self.samples)

    def test_completions(self):
        for backend in ("remote", "huggingface", "none"):
            with self.subTest(backend=backend):
                self.compare_runs(backend, GENERATED)

    def test_texts_instead_of_tokens(self):
        """The local tokenizer counts, the server's makes the tokens."""
        options = {"samples": {task: self.samples[task] for task in ("logitd_multiple_choice", "logitd_last_word")}}
        tasks = list(options["samples"])
        for backend in ("remote", "huggingface"):
            with self.subTest(backend=backend):
                lm = local_completions(backend, tokenized_requests=False, num_concurrent=8)
                self.compare(evaluate(lm, tasks, **options), self.native_of(tasks, **options))

    def test_the_local_tokenizer_is_the_servers(self):
        local = local_completions("huggingface").tokenizer
        texts = [text for name in ("edges", "multiple_choice") for doc in lines(name)
                 for text in (doc["query"], *doc["choices"], *(doc["query"] + choice for choice in doc["choices"])) if text]
        with logitd.Client(server.address) as client:
            theirs = client.tokenize(texts, parse_special_tokens=True)
        for text, tokens in zip(texts, theirs, strict=True):
            self.assertEqual(local(text, add_special_tokens=False).input_ids, list(tokens.token_ids), text)


class LocalChatCompletionsTest(Compared):
    def test_completions(self):
        """The template is rendered by the server here, by logitd.lm_eval there. Names of control tokens in messages are
        text, so that nobody can end a turn."""
        plain = LogitdLM(server.address, max_length=WINDOW)
        for num_concurrent in (1, 8):
            with self.subTest(num_concurrent=num_concurrent):
                lm = get_model("local-chat-completions").create_from_arg_obj(
                    {"model": "smollm2", "base_url": f"http://127.0.0.1:{front.port}/v1/chat/completions",
                     "num_concurrent": num_concurrent}, {})
                for options in ({}, {"system_instruction": "Answer briefly."}):
                    self.compare(evaluate(lm, GENERATED, apply_chat_template=True, **options),
                                 self.native_of(GENERATED, plain, apply_chat_template=True, **options))


class GgufTest(Compared):
    """The model type `gguf`: texts alone. It has no rolling texts and no empty contexts, and scores the tokens that begin
    at the context's end or behind it; the pairs here have a token that begins there."""

    def lm(self):
        return get_model("gguf").create_from_arg_obj({"base_url": f"http://127.0.0.1:{front.port}"}, {})

    def test_scores(self):
        pairs = [(doc["query"], choice) for doc in lines("multiple_choice")[::2] for choice in doc["choices"]]
        requests = [Instance("loglikelihood", {}, pair, 0) for pair in pairs]
        for pair, mine, right in zip(pairs, self.lm().loglikelihood(requests, disable_tqdm=True),
                                     native.loglikelihood(requests, disable_tqdm=True), strict=True):
            self.assertAlmostEqual(mine[0], right[0], delta=TOLERANCE, msg=pair)
            self.assertEqual(mine[1], right[1], pair)
        tasks, options = ["logitd_last_word"], {"samples": {"logitd_last_word": list(range(0, 24, 3))}}
        self.compare(evaluate(self.lm(), tasks, **options), self.native_of(tasks, **options))

    def test_completions(self):
        """It asks for 16 tokens, whatever the task says, and strips the text."""
        requests = [Instance("generate_until", {}, (doc["query"], {"until": ["\n"], "max_gen_toks": 16, "do_sample": False}), 0)
                    for doc in lines("completions")]
        self.assertEqual(self.lm().generate_until(requests, disable_tqdm=True),
                         [text.strip() for text in native.generate_until(requests, disable_tqdm=True)])


class LoadTest(Compared):
    def start(self, *flags: object, server_flags: tuple[str, ...] = ()) -> tuple[harness.Server, http_case.HttpServer]:
        crowded = server
        if server_flags:
            crowded = harness.Server(model=harness.model_path(), flags=("--precision", "f32", *server_flags))
            self.addCleanup(crowded.stop)
        waiting = http_case.HttpServer(crowded.address, *flags)
        self.addCleanup(waiting.stop)
        return crowded, waiting

    def pairs(self, count: int) -> list[Instance]:
        words = [choice for doc in lines("multiple_choice") for choice in doc["choices"]]
        return [Instance("loglikelihood", {}, (words[i % len(words)].strip(), words[i // len(words)]), i)
                for i in range(count)]

    def compare_pairs(self, lm, requests: list[Instance]) -> None:
        for request, mine, right in zip(requests, lm.loglikelihood(requests, disable_tqdm=True),
                                        native.loglikelihood(requests, disable_tqdm=True), strict=True):
            self.assertAlmostEqual(mine[0], right[0], delta=TOLERANCE, msg=request.args)
            self.assertEqual(mine[1], right[1], request.args)

    def test_requests_that_wait_for_a_place(self):
        """Two places for 64 requests at once: nearly all of them wait."""
        _, waiting = self.start("--max-calls", 2)
        proxy = http_recorder.Recorder(waiting.port)
        self.addCleanup(proxy.stop)
        self.compare_pairs(local_completions("huggingface", port=proxy.port, num_concurrent=64), self.pairs(100))
        self.check_delays(proxy, 100)

    def test_a_server_that_refuses_for_overload(self):
        """The server takes eight calls, others hold some of them, and 64 requests come at once."""
        crowded, waiting = self.start(server_flags=("--max-calls", "8"))
        proxy = http_recorder.Recorder(waiting.port)
        self.addCleanup(proxy.stop)
        stop = threading.Event()

        def load() -> None:
            with logitd.Client(crowded.address) as client:
                while not stop.is_set():
                    client.generate(["Once upon a time"], max_tokens=16)

        threads = [threading.Thread(target=load) for _ in range(3)]
        for thread in threads:
            thread.start()
        try:
            self.compare_pairs(local_completions("huggingface", port=proxy.port, num_concurrent=64), self.pairs(100))
        finally:
            stop.set()
            for thread in threads:
                thread.join()
        self.check_delays(proxy, 100)

    def check_delays(self, proxy: http_recorder.Recorder, count: int) -> None:
        """No request was refused, and three of ten took more than twice the time of the fastest ones."""
        taken = sorted(exchange.seconds for exchange in proxy.exchanges)
        self.assertEqual([exchange.status for exchange in proxy.exchanges], [200] * count)
        usual = statistics.median(taken[:count // 10])
        delayed = sum(seconds > 2 * usual for seconds in taken)
        print(f"{self.id()}: {delayed} of {count} requests delayed; fastest {taken[0]:.3f} s, median "
              f"{statistics.median(taken):.3f} s, slowest {taken[-1]:.3f} s", file=sys.stderr)
        self.assertGreaterEqual(delayed, 0.3 * count)

    def test_999_requests_at_once(self):
        requests = self.pairs(1200)
        self.compare_pairs(local_completions("huggingface", num_concurrent=999), requests)


class SpeedTest(unittest.TestCase):
    ROUNDS = 3
    DOCS = 20

    def test_short_contexts(self):
        """Contexts of 40 tokens: what the harness asks for beyond the choices, the rows of the context and a token behind
        each choice, is half of the work."""
        self.compare_times(shots=4)

    def test_contexts_of_many_examples(self):
        self.compare_times(shots=19)

    def compare_times(self, shots: int) -> None:
        """local-completions with a local tokenizer against logitd.lm_eval, 16 requests in flight, contexts that differ."""
        quick = harness.Server(model=harness.model_path(), flags=("--precision", "f32"))
        self.addCleanup(quick.stop)
        face = http_case.HttpServer(quick.address)
        self.addCleanup(face.stop)
        docs = lines("multiple_choice")[:self.DOCS]
        times: dict[str, list[float]] = {"http": [], "native": []}
        for number in range(self.ROUNDS):
            # Neither finds anything in the cache: the first words are new, and logitd.lm_eval has a salt.
            requests = []
            for i, doc in enumerate(docs):
                examples = [(docs + docs)[i + 1 + k] for k in range(shots)]
                context = " ".join([f"Round {number}, {i}.", *(e["query"] + e["choices"][e["gold"]] + "." for e in examples)])
                requests += [Instance("loglikelihood", {}, (f"{context} {doc['query']}", choice), 0) for choice in doc["choices"]]
            models = [("http", local_completions("huggingface", port=face.port, num_concurrent=16, max_length=1024)),
                      ("native", LogitdLM(quick.address, parse_special_tokens=True, in_flight=16, cache_salt=f"{number}"))]
            answers = {}
            for name, lm in models if number % 2 == 0 else reversed(models):
                begin = time.monotonic()
                answers[name] = lm.loglikelihood(requests, disable_tqdm=True)
                times[name].append(time.monotonic() - begin)
            for mine, right in zip(answers["http"], answers["native"], strict=True):
                self.assertAlmostEqual(mine[0], right[0], delta=TOLERANCE)
        http, own = (statistics.median(times[name]) for name in ("http", "native"))
        print(f"{self.id()}: {len(requests)} pairs, the last of {len(models[0][1].tok_encode(context))} tokens: "
              f"local-completions {http:.2f} s, logitd.lm_eval {own:.2f} s, ratio {http / own:.2f}; all: {times}",
              file=sys.stderr)


if __name__ == "__main__":
    unittest.main()
