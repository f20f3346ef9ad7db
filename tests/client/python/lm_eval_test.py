"""LogitdLM without lm-evaluation-harness: a recorded run of the harness, and the details of each method.

The transcript holds the requests that the harness made, and the answers and metrics of a float64 reference over dumped
rows (lm_eval_harness.py made it). The details are tested with a model of known log-probs.
"""

from __future__ import annotations

import itertools
import json
import logging
import math
import pathlib
import unittest

import lm_eval_standin

lm_eval_standin.install()

import harness
import logitd
import transition
from lm_eval_standin import Request
from logitd.lm_eval import LogitdLM
from logitd.lm_eval.chat import Prompt

TRANSCRIPT = pathlib.Path(__file__).with_name("lm_eval_transcript.jsonl")
TOLERANCE = 1e-3


def argmax(values) -> int:
    values = list(values)
    return values.index(max(values))


def mean(values) -> float:
    values = list(values)
    return sum(values) / len(values)


def choice_metrics(docs) -> dict[str, float]:
    rights: dict[str, list[bool]] = {}
    for doc, answers in docs:
        choices, gold = doc["choices"], doc["gold"]
        sums, unconditional = [a for a, _ in answers[:len(choices)]], [a for a, _ in answers[len(choices):]]
        for name, values in (("acc", sums), ("acc_norm", [s / len(c) for s, c in zip(sums, choices)]),
                             ("acc_bytes", [s / len(c.encode()) for s, c in zip(sums, choices)]),
                             ("acc_mutual_info", [s - u for s, u in zip(sums, unconditional, strict=True)])):
            rights.setdefault(name, []).append(argmax(values) == gold)
        rights.setdefault("exact_match", []).append(answers[gold][1])
    return {name: mean(values) for name, values in rights.items()}


def rolling_metrics(docs) -> dict[str, float]:
    total = sum(answers[0] for _, answers in docs)
    size = sum(len(doc["text"].encode()) for doc, _ in docs)
    return {"byte_perplexity": math.exp(-total / size), "bits_per_byte": -total / size / math.log(2)}


def last_word_metrics(docs) -> dict[str, float]:
    return {"perplexity": math.exp(-mean(answers[0][0] for _, answers in docs)),
            "acc": mean(answers[0][1] for _, answers in docs)}


METRICS = {"logitd_multiple_choice": choice_metrics, "logitd_edges": choice_metrics, "logitd_rolling": rolling_metrics,
           "logitd_last_word": last_word_metrics}
METHODS = {"logitd_rolling": "loglikelihood_rolling", "logitd_greedy": "generate_until",
           "logitd_sampled": "generate_until"}


class TranscriptTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        head, *lines = map(json.loads, TRANSCRIPT.read_text(encoding="utf-8").splitlines())
        cls.tasks: list[dict] = []
        for line in lines:
            if "task" in line:
                cls.tasks.append({**line, "docs": []})
            else:
                cls.tasks[-1]["docs"].append(line)
        cls.server = harness.Server(model=harness.model_path(), flags=(
            "--precision", "f32", "--context-length", str(head["context_length"])))
        cls.addClassCleanup(cls.server.stop)

    def test_it_is_repeated(self):
        """All tasks that call a method at once, as the harness does."""
        lm = LogitdLM(self.server.address)
        requests: dict[str, list[Request]] = {}
        asked: list[tuple[dict, list[tuple[dict, list[Request]]]]] = []
        for task in self.tasks:
            docs = []
            for doc in task["docs"]:
                own = []
                for args, answers in zip(doc["requests"], doc["answers"], strict=True):
                    context = Prompt([(args[0], True)]) if task["contexts_are_parsed"] and args[0] else args[0]
                    own += [Request((context, *args[1:]), answer) for answer in answers]
                docs.append((doc["doc"], own))
                requests.setdefault(METHODS.get(task["task"], "loglikelihood"), []).extend(own)
            asked.append((task, docs))
        given: dict[int, object] = {}
        worst = 0.0
        for method, own in requests.items():
            for request, answer in zip(own, getattr(lm, method)(own, disable_tqdm=True), strict=True):
                given[id(request)] = answer
                if method == "generate_until":
                    self.assertEqual(answer, request.answer, request.args)
                    continue
                total, right = (answer, request.answer) if method != "loglikelihood" else (answer[0], request.answer[0])
                self.assertAlmostEqual(total, right, delta=TOLERANCE, msg=request.args)
                worst = max(worst, abs(total - right))
                if method == "loglikelihood":
                    self.assertIs(answer[1], request.answer[1], request.args)
        for task, docs in asked:
            if task["task"] in METRICS:
                metrics = METRICS[task["task"]]([(doc, [given[id(r)] for r in own]) for doc, own in docs])
                for name, value in metrics.items():
                    right = task["metrics"][f"{name},none"]
                    self.assertAlmostEqual(value, right, delta=TOLERANCE * max(1, right), msg=f"{task['task']} {name}")
        print(f"{sum(map(len, requests.values()))} requests, largest difference of a sum {worst:.1e} nats")
        self.assertEqual(len(lm.cache_hook.told), sum(map(len, requests.values())) - sum(
            request.args[0] == "" and len(request.args) == 1 for own in requests.values() for request in own))


class DetailsTest(unittest.TestCase):
    """With 320 tokens: BOS <s> is 0, EOS </s> is 1, and the row after a token depends on that token alone."""

    @classmethod
    def setUpClass(cls):
        cls.server = harness.Server()
        cls.addClassCleanup(cls.server.stop)
        cls.runner = transition.attach(cls.server, flags=("--context-length", 100))
        cls.addClassCleanup(cls.runner.stop)
        cls.tables = cls.runner.tables

    def lm(self, **arguments) -> LogitdLM:
        return LogitdLM.create_from_arg_obj({"server": self.server.address, **arguments},
                                            {"batch_size": 1, "device": None})

    def check(self, lm: LogitdLM, pairs, rights) -> None:
        answers = lm.loglikelihood([Request(pair) for pair in pairs], disable_tqdm=True)
        for pair, (total, is_greedy), (context, continuation) in zip(pairs, answers, rights, strict=True):
            self.assertAlmostEqual(total, self.tables.sum(context, continuation), delta=1e-6, msg=pair)
            self.assertIs(is_greedy, self.tables.is_greedy(context, continuation))

    def test_pairs_in_any_order_and_more_than_once(self):
        ids = self.tables.tokenize
        pairs = list(itertools.product(("one", "", "two words"), (" a", " b", "x"))) * 2
        rights = []
        for context, continuation in pairs:
            alone = ids(context)
            rights.append((alone or [0], ids(context + continuation)[len(alone):]))
        lm = self.lm()
        self.check(lm, pairs, rights)
        self.check(self.lm(in_flight=1, max_length=99), pairs[::-1], rights[::-1])
        told = {(args, answer) for method, args, answer in lm.cache_hook.told if method == "loglikelihood"}
        self.assertEqual(len(told), 9)
        self.assertEqual(len(lm.cache_hook.told), 18)

    def test_names_of_control_tokens(self):
        ids = self.tables.tokenize
        with self.assertLogs(level=logging.WARNING) as logs:
            self.check(self.lm(), [("a</s>", "b"), ("", "<s>")], [(ids("a</s>"), ids("b")), ([0], ids("<s>"))])
        self.assertEqual(len(logs.output), 1)
        self.assertIn("</s>", logs.output[0])
        self.check(self.lm(parse_special_tokens=True), [("a</s>", "b"), ("", "<s>b")],
                   [([1], ids("b")), ([0], ids("b"))])

    def test_conversations(self):
        ids = self.tables.tokenize
        parsed = Prompt([("<s>a</s>\n", True)])
        guarded = Prompt([("<s>", True), ("x</s>", False), ("</s>y", True)])
        self.check(self.lm(), [(parsed, "b"), (parsed, "</s>"), (guarded, "b")],
                   [([1], ids("\nb")), ([1], ids("\n</s>")), (ids("y"), ids("b"))])
        # A BOS that the template wrote is not put there again.
        self.assertEqual(len(set(self.lm(add_bos_token=True)._encoder.prompts([parsed, "<s>a</s>\n"])[0])), 4)

    def test_long_contexts_lose_their_beginning(self):
        ids = self.tables.tokenize
        for arguments, most in (({}, 100), ({"max_length": 10}, 10)):
            lm = self.lm(**arguments)
            with self.assertLogs(level=logging.WARNING):
                self.check(lm, [("x" * 300, "yz")], [(ids("x"), ids("yz"))])
            with self.assertRaises(ValueError):
                lm.loglikelihood([Request(("x", "qj" * most))], disable_tqdm=True)
        with self.assertRaisesRegex(ValueError, "max_length"):
            self.lm(max_length=101)

    def test_what_cannot_be_scored_raises(self):
        tokens = {text: self.tables.tokenize(text) for text in ("", "a", "b")}
        self.assertTrue(all(tokens[text] for text in "ab"))
        with self.assertRaisesRegex(logitd.InvalidRequestError, "EMPTY_CONTINUATION") as caught:
            self.lm().loglikelihood([Request(("a", "b")), Request(("the context", ""))], disable_tqdm=True)
        self.assertIn("the context", str(caught.exception))

    def test_rolling(self):
        ids = self.tables.tokenize
        texts = ["abc", "", "one two " * 200, "abc", "日本"]
        for arguments in ({}, {"max_length": 7, "in_flight": 2}):
            lm = self.lm(**arguments)
            answers = lm.loglikelihood_rolling([Request((text,)) for text in texts], disable_tqdm=True)
            for text, answer in zip(texts, answers, strict=True):
                self.assertAlmostEqual(answer, self.tables.sum([0], ids(text)) if text else 0.0,
                                       delta=1e-6 * (1 + len(text)))
            self.assertEqual({args for _, args, _ in lm.cache_hook.told}, {(text,) for text in texts if text})

    def greedy(self, token: int, count: int) -> list[int]:
        tokens = []
        while len(tokens) < count and token != 1:
            token = argmax(self.tables.logits[token])
            tokens.append(token)
        return tokens

    def test_greedy_completions(self):
        lm = self.lm()
        prompt = next(chr(c) for c in range(97, 123) if 1 not in self.greedy(2 + c, 6))
        text = self.tables.spell(self.greedy(2 + ord(prompt), 6)).decode("utf-8", "replace")
        requests = [*(Request((prompt, {"max_gen_toks": 6, "until": []})) for _ in range(2)),
                    Request(("x" * 300 + prompt, {"max_gen_toks": 6, "until": "never", "do_sample": False})),
                    Request((prompt, {"max_gen_toks": 0}))]
        with self.assertLogs(level=logging.WARNING):
            self.assertEqual(lm.generate_until(requests, disable_tqdm=True), [text, text, text, ""])
        self.assertEqual([(method, args) for method, args, _ in lm.cache_hook.told],
                         [("generate_until", request.args) for request in requests])
        until = text[2:4]
        stopping = Request((prompt, {"max_gen_toks": 6, "until": [until]}))
        self.assertEqual(lm.generate_until([stopping], disable_tqdm=True), [text[:text.index(until)]])
        thinking = self.lm(think_end_token=text[1:3])
        self.assertEqual(thinking.generate_until(requests[:1], disable_tqdm=True),
                         [text.rpartition(text[1:3])[2].lstrip()])

    def test_samples(self):
        kwargs = {"max_gen_toks": 5, "do_sample": True, "temperature": 0.7, "top_k": 30, "until": []}
        requests = [Request((prompt, kwargs)) for prompt in ("a", "b", "a", "c", "a", "b")]
        texts = self.lm().generate_until(requests, disable_tqdm=True)
        keys = {"a": itertools.count(), "b": itertools.count(), "c": itertools.count()}
        with logitd.Client(self.server.address) as client:
            alone = [client.generate(self.tables.tokenize(request.args[0]), max_tokens=5, temperature=0.7, top_k=30,
                                     seed=1234, first_sequence_key=next(keys[request.args[0]]))[0].text
                     for request in requests]
        self.assertEqual(texts, alone)
        self.assertEqual(self.lm(seed=5, in_flight=1).generate_until(requests, disable_tqdm=True),
                         self.lm().generate_until([Request((r.args[0], {**kwargs, "seed": 5})) for r in requests],
                                                  disable_tqdm=True))
        self.assertNotEqual(self.lm(seed=5).generate_until(requests, disable_tqdm=True), texts)

    def test_refused_arguments(self):
        with self.assertRaisesRegex(TypeError, "top_q"):
            self.lm().generate_until([Request(("a", {"top_q": 1}))], disable_tqdm=True)
        with self.assertRaisesRegex(ValueError, "max_gen_toks 100 must be less than max_length 100"):
            self.lm().generate_until([Request(("a", {"max_gen_toks": 100}))], disable_tqdm=True)
        for arguments, words in (({"pretrained": "x"}, "pretrained"), ({"model": "nobody"}, "transition"),
                                 ({"in_flight": 0}, "in_flight"), ({"max_length": 1}, "max_length"),
                                 ({"think_end_token": 7}, "think_end_token")):
            with self.assertRaisesRegex((TypeError, ValueError), words):
                self.lm(**arguments)
        for batch_size in (0, "big", "auto4", -1):
            with self.assertRaisesRegex(ValueError, "batch_size"):
                LogitdLM(self.server.address, batch_size=batch_size)
        for batch_size in (8, "auto", "auto:4", "16"):
            LogitdLM(self.server.address, batch_size=batch_size, max_batch_size=64, device="cuda:0")

    def test_the_models_facts(self):
        lm = self.lm()
        self.assertEqual((lm.prefix_token_id, lm.eot_token_id, lm.max_length), (0, 1, 100))
        self.assertEqual(lm.get_model_info()["model_name"], "transition")
        self.assertNotIn("/", lm.tokenizer_name)
        self.assertNotEqual(lm.tokenizer_name, self.lm(enable_thinking=True).tokenizer_name)
        self.assertIsNone(lm.chat_template(False))
        with self.assertRaisesRegex(ValueError, "tool_use"):
            lm.chat_template("tool_use")
        with self.assertRaisesRegex(ValueError, "no chat template"):
            lm.apply_chat_template([{"role": "user", "content": "a"}])


if __name__ == "__main__":
    unittest.main()
