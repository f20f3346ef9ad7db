"""Completions of the real model: deterministic, and their cumulative log-prob is the sum of their tokens'."""

import base64
import math
import unittest

import harness

server = None


def setUpModule():
    global server
    server = harness.Server(model=harness.model_path())


def tearDownModule():
    server.stop()


def complete(*flags: object, where: harness.Server | None = None) -> dict:
    # A prompt that is cached is evaluated in another batch, whose log-probs differ within the model's tolerance.
    return harness.logit("complete", "The capital of France is", "--no-cache", *flags, server=where or server).json()


GREEDY = ("--temperature", 0, "--max-tokens", 16)
DRAWN = ("--temperature", 0.8, "--seed", 7, "-n", 4, "--max-tokens", 32)


class CompletionTest(unittest.TestCase):
    def assert_sums_are_right(self, completion: dict) -> None:
        tokens = completion["tokens"]
        self.assertEqual(completion["totals"]["token_count"], len(tokens))
        for kind in ("model_log_prob", "sampling_log_prob"):
            values = [token[kind] for token in tokens]
            self.assertTrue(all(math.isfinite(value) and value <= 0 for value in values), values)
            self.assertAlmostEqual(completion["totals"][f"cumulative_{kind}"], math.fsum(values), delta=1e-12)
        self.assertEqual([token["position"] for token in tokens], list(range(len(tokens))))

    def test_greedy_is_the_same_on_every_run(self):
        first = complete(*GREEDY)
        self.assertEqual(complete(*GREEDY)["completions"], first["completions"])
        (completion,) = first["completions"]
        self.assertIn("Paris", completion["text"])
        self.assert_sums_are_right(completion)
        # Greedy: each token was certain.
        self.assertEqual({token["sampling_log_prob"] for token in completion["tokens"]}, {0})

    def test_drawn_with_a_seed_is_the_same_on_every_run(self):
        first = complete(*DRAWN)
        self.assertEqual(complete(*DRAWN)["completions"], first["completions"])
        self.assertEqual(len(first["completions"]), 4)
        self.assertEqual(len({completion["text"] for completion in first["completions"]}), 4)
        self.assertEqual([completion["index"] for completion in first["completions"]], [0, 1, 2, 3])
        for completion in first["completions"]:
            self.assert_sums_are_right(completion)
            self.assertLessEqual(len(completion["tokens"]), 32)

    def test_another_seed_draws_another_text(self):
        flags = ("--temperature", 0.8, "--max-tokens", 32)
        self.assertNotEqual(complete(*flags, "--seed", 7)["completions"][0]["text"],
                            complete(*flags, "--seed", 8)["completions"][0]["text"])

    def test_is_the_same_after_the_server_is_started_again(self):
        before = complete(*DRAWN)["completions"]
        other = harness.Server(model=harness.model_path())
        try:
            after = complete(*DRAWN, where=other)["completions"]
        finally:
            other.stop()
        self.assertEqual(after, before)

    def test_a_stop_string_cuts_tokens_text_and_sums_alike(self):
        (whole,) = complete(*GREEDY)["completions"]
        text = whole["text"]
        spans = [bytes(base64.b64decode(token.get("token_bytes", ""))) for token in whole["tokens"]]
        self.assertEqual(b"".join(spans).decode(), text)
        # Every part of the text that can be one, across token borders or within a token.
        for begin in range(0, len(text), 3):
            for length in (1, 2, 7):
                stop = text[begin:begin + length]
                (cut,) = complete(*GREEDY, "--stop", "never in it", "--stop", stop)["completions"]
                expected = text[:text.find(stop)]
                self.assertEqual(cut.get("text", ""), expected)
                self.assertEqual(cut["finish"]["reason"], "FINISH_REASON_STOP_STRING")
                self.assertEqual(cut["finish"]["stop_string_index"], 1)
                count = end = 0
                while end < len(expected.encode()):
                    end += len(spans[count])
                    count += 1
                self.assertEqual(cut["finish"]["cut_byte_count"], end - len(expected.encode()))
                self.assertEqual(cut.get("tokens", []), whole["tokens"][:count])
                if count == 0:
                    self.assertNotIn("cumulative_model_log_prob", cut["totals"])
                    continue
                # Bit for bit the sums of a completion that ends there.
                (shorter,) = complete("--temperature", 0, "--max-tokens", count)["completions"]
                self.assertEqual(cut["totals"], shorter["totals"])

    def test_the_best_of_several_is_the_one_with_the_best_log_prob(self):
        flags = ("--temperature", 0.8, "--seed", 7, "--max-tokens", 12)
        all_four = complete(*flags, "-n", 4)["completions"]
        values = {"sum": lambda c: c["totals"]["cumulative_model_log_prob"],
                  "per-token": lambda c: c["totals"]["cumulative_model_log_prob"] / c["totals"]["token_count"],
                  "per-byte": lambda c: c["totals"]["cumulative_model_log_prob"] / c["byte_count"]}
        for by, value in values.items():
            best = complete(*flags, "-n", 2, "--best-of", 4, "--best-by", by)
            self.assertEqual(best["completions"], sorted(all_four, key=value, reverse=True)[:2], by)
            self.assertEqual(best["usage"]["generated_token_count"], sum(len(c["tokens"]) for c in all_four))

    def test_a_time_limit_ends_in_order(self):
        (completion,) = complete("--temperature", 0, "--ignore-eos", "--max-tokens", 4000, "--time-limit",
                                 2000)["completions"]
        self.assertEqual(completion["finish"], {"reason": "FINISH_REASON_TIME_LIMIT"})
        self.assert_sums_are_right(completion)
        self.assertLess(len(completion["tokens"]), 4000)
        (whole,) = complete("--temperature", 0, "--ignore-eos", "--max-tokens",
                            max(1, len(completion["tokens"])))["completions"]
        self.assertEqual(completion["tokens"], whole["tokens"][:len(completion["tokens"])])

    def test_bad_stop_strings_are_named(self):
        for stop, bound in (("", "UTF-8 of [1, 256] bytes"), ("x" * 257, "[1, 256] bytes")):
            outcome = harness.run("logit", "complete", "a", "--stop", "a", "--stop", stop, "--json", "--server",
                                  server.address)
            self.assertEqual(outcome.status, 3)
            error = outcome.error()
            self.assertEqual(error["field"], "stop.stop_strings[1]")
            self.assertIn(bound, error["bound"])

    def test_text_is_shown_without_json(self):
        outcome = harness.run("logit", "complete", "The capital of France is", *GREEDY, "--server", server.address)
        self.assertEqual(outcome.status, 0, outcome.stderr)
        self.assertIn("Paris", outcome.stdout)


if __name__ == "__main__":
    unittest.main()
