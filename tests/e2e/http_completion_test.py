"""/v1/completions of logitd-http against the gRPC replies of the same server, and against known log-probs."""

import json
import re
import unittest

import http_case
import transition
import wire
from logitd.v1 import completion_pb2 as completion
from logitd.v1 import generation_service_pb2 as generation
from logitd.v1 import sampling_pb2 as sampling
from logitd.v1 import scoring_service_pb2 as scoring

EOS = 1
PROMPT = [70, 300, 280, 99, 310]
# Rounding of a log-prob, and of a sum of a few, against float64.
NATS = 5e-6


def ids(tokens) -> completion.Input:
    return completion.Input(tokens=sampling.TokenIds(token_ids=tokens))


class CompletionCase(http_case.HttpCase):
    def generate(self, prompt: completion.Input, **fields) -> generation.GenerateFinal:
        with wire.connect(self.server.address) as client:
            request = generation.GenerateRequest(prompt=prompt, stream=False, **fields)
            *_, last = client.generation.Generate(request, timeout=wire.TIMEOUT_S)
        return last.final

    def name(self, token: int) -> str:
        """The token as `logprobs` writes it."""
        text = self.tables.tokens[token]
        try:
            return text.decode()
        except UnicodeDecodeError:
            return "bytes:" + "".join(f"\\x{byte:02x}" for byte in text)


class CompletionTest(CompletionCase):
    def check_lists(self, lists: dict, tokens: list[int], records, depth: int) -> None:
        """The lists are those of the gRPC records, double by double."""
        self.assertEqual(lists["tokens"], [self.name(token) for token in tokens])
        self.assertEqual([record.token_id for record in records], tokens)
        for i, record in enumerate(records):
            if not record.HasField("model_log_prob"):
                self.assertIsNone(lists["token_logprobs"][i])
                self.assertIsNone(lists["top_logprobs"][i])
                continue
            # Equal as floats is equal in every bit but the sign of 0.
            self.assertEqual(lists["token_logprobs"][i], record.model_log_prob)
            expected = {}
            for token, log_prob in zip(record.top.token_ids[:depth], record.top.model_log_probs[:depth]):
                expected.setdefault(self.name(token), log_prob)
            expected.setdefault(self.name(record.token_id), record.model_log_prob)
            self.assertEqual(lists["top_logprobs"][i], expected)
            self.assertEqual(lists["top_logprobs"][i][self.name(record.token_id)], lists["token_logprobs"][i])

    def test_echo_has_the_doubles_of_the_grpc_reply(self):
        for depth in (0, 1, 5):
            for max_tokens in (0, 1, 4):
                with self.subTest(depth=depth, max_tokens=max_tokens):
                    choice, = self.complete(prompt=PROMPT, echo=True, logprobs=depth, max_tokens=max_tokens,
                                            temperature=0)
                    record = completion.RecordOptions(top_n=depth)
                    final = self.generate(ids(PROMPT), record=record, prompt_record=record,
                                          sampling=sampling.SamplingParams(temperature=0),
                                          stop=sampling.StopCriteria(max_tokens=max_tokens))
                    generated = final.completions[0].tokens
                    self.check_lists(choice["logprobs"], PROMPT + [record.token_id for record in generated],
                                     [*final.prompt.tokens, *generated], depth)
                    self.assertEqual(choice["text"], self.tables.spell(PROMPT).decode() + final.completions[0].text)
                    self.assertEqual(choice["finish_reason"], "length")

    def test_a_prompt_of_one_token(self):
        for max_tokens in (0, 1):
            choice, = self.complete(prompt=[70], echo=True, logprobs=1, max_tokens=max_tokens, temperature=0)
            lists = choice["logprobs"]
            self.assertEqual(len(lists["tokens"]), 1 + max_tokens)
            self.assertIsNone(lists["token_logprobs"][0])
            self.assertIsNone(lists["top_logprobs"][0])
            if max_tokens:
                self.assertEqual(lists["token_logprobs"][1], max(lists["top_logprobs"][1].values()))

    def test_a_harness_reads_sums_and_greedy_flags(self):
        """The slice [ctxlen:-1] of lm-evaluation-harness, against Score and against the matrix."""
        greedy = [row.index(max(row)) for row in self.tables.logits]
        for context, continuation in (([70, 300], [280, 99]), ([5], [greedy[5], greedy[greedy[5]]]), ([7, 8, 9], [12]),
                                      ([0], [70, 71, 72])):
            choice, = self.complete(prompt=[[*context, *continuation]], temperature=0, max_tokens=1, logprobs=1,
                                    seed=1234, echo=True)
            lists = choice["logprobs"]
            self.assertEqual(len(lists["token_logprobs"]), len(context) + len(continuation) + 1)
            log_probs = lists["token_logprobs"][len(context):-1]
            tops = lists["top_logprobs"][len(context):-1]
            is_greedy = all(log_prob == max(top.values()) for log_prob, top in zip(log_probs, tops))
            item = scoring.ScoreItem(context=ids(context),
                                     continuations=[scoring.Continuation(tokens=sampling.TokenIds(token_ids=continuation))])
            with wire.connect(self.server.address) as client:
                response, = client.scoring.Score(scoring.ScoreRequest(items=[item]), timeout=wire.TIMEOUT_S)
            score = response.item.continuations[0].score
            self.assertEqual(log_probs, [record.model_log_prob for record in score.tokens])
            self.assertEqual(is_greedy, score.is_greedy)
            self.assertEqual(is_greedy, self.tables.is_greedy(context, continuation))
            self.assertAlmostEqual(sum(log_probs), self.tables.sum(context, continuation), delta=NATS)

    def test_many_prompts_are_as_each_by_itself(self):
        prompts = [[70 + i, *PROMPT[: i % 5 + 1]] for i in range(40)]
        together = self.complete(prompt=prompts, n=2, max_tokens=4, logprobs=2, echo=True, seed=9, temperature=0.8)
        self.assertEqual(len(together), 80)
        for i in (0, 1, 17, 39):
            alone = self.complete(prompt=prompts[i], n=2, max_tokens=4, logprobs=2, echo=True, seed=9, temperature=0.8)
            for j in range(2):
                self.assertEqual({**together[2 * i + j], "index": j}, alone[j])

    def test_texts_and_ids_are_one_prompt(self):
        text = "the cat"
        tokens = self.tables.tokenize(text)
        by_text, by_ids = self.complete(prompt=[text, tokens], max_tokens=3, logprobs=1, echo=True, temperature=0,
                                        return_token_ids=True)
        self.assertEqual(by_text["logprobs"], by_ids["logprobs"])
        self.assertEqual(by_text["prompt_token_ids"], tokens)
        self.assertEqual(by_text["text"], by_ids["text"])
        self.assertTrue(by_text["text"].startswith(text))
        # Without records the prompt is echoed all the same.
        plain, plain_ids = self.complete(prompt=[text, tokens], max_tokens=3, echo=True, temperature=0,
                                         return_token_ids=True)
        self.assertEqual(plain["text"], by_text["text"])
        self.assertEqual(plain_ids["text"], by_text["text"])
        self.assertEqual(plain["prompt_token_ids"], tokens)
        self.assertEqual(plain["token_ids"], by_ids["token_ids"])
        self.assertIsNone(plain["logprobs"])

    def test_offsets_are_characters_of_the_text(self):
        text = "a\u00fc\u20acb the end"
        choice, = self.complete(prompt=text, echo=True, logprobs=0, max_tokens=0)
        lists = choice["logprobs"]
        self.assertEqual(choice["text"], text)
        for token, offset in zip(lists["tokens"], lists["text_offset"]):
            if not token.startswith("bytes:"):
                self.assertEqual(choice["text"][offset: offset + len(token)], token)
        # The euro sign is three tokens, which begin in the same character.
        self.assertEqual(lists["text_offset"].count(text.index("\u20ac")), 3)

    def test_prompt_logprobs(self):
        for depth in (0, 1, 4):
            choice, = self.complete(prompt=PROMPT, max_tokens=1, temperature=0, prompt_logprobs=depth, logprobs=1)
            entries = choice["prompt_logprobs"]
            record = completion.RecordOptions(top_n=depth, rank=True)
            final = self.generate(ids(PROMPT), prompt_record=record, stop=sampling.StopCriteria(max_tokens=0))
            self.assertEqual(len(entries), len(PROMPT))
            self.assertIsNone(entries[0])
            # The lists of logprobs are of the completion alone.
            self.assertEqual(len(choice["logprobs"]["tokens"]), 1)
            for token, entry, expected in zip(PROMPT[1:], entries[1:], final.prompt.tokens[1:]):
                self.assertEqual(next(iter(entry)), str(token))
                self.assertEqual(entry[str(token)], {"logprob": expected.model_log_prob, "rank": expected.rank,
                                                     "decoded_token": self.name(token)})
                others = {str(i): x for i, x in zip(expected.top.token_ids, expected.top.model_log_probs)}
                self.assertEqual({key: value["logprob"] for key, value in entry.items()},
                                 {**others, str(token): expected.model_log_prob})
                self.assertLessEqual(len(entry), depth + 1)

    def test_tokens_as_token_ids(self):
        choice, = self.complete(prompt=PROMPT, echo=True, logprobs=2, max_tokens=0, return_tokens_as_token_ids=True)
        self.assertEqual(choice["logprobs"]["tokens"], [f"token_id:{token}" for token in PROMPT])
        for top in choice["logprobs"]["top_logprobs"][1:]:
            self.assertTrue(all(key.startswith("token_id:") for key in top))

    def test_sampling_fields_reach_the_server(self):
        fields = {"prompt": PROMPT, "max_tokens": 8, "seed": 77, "return_token_ids": True}
        params = [
            ({"temperature": 0.7, "top_p": 0.9, "top_k": 40, "min_p": 0.01},
             sampling.SamplingParams(temperature=0.7, top_p=0.9, top_k=40, min_p=0.01, seed=77)),
            ({"repetition_penalty": 1.3, "frequency_penalty": 0.5, "presence_penalty": 0.25},
             sampling.SamplingParams(repetition_penalty=1.3, frequency_penalty=0.5, presence_penalty=0.25, seed=77)),
            ({"logit_bias": {"80": 30, "81": 29.5}},
             sampling.SamplingParams(seed=77, logit_biases=[sampling.LogitBias(token_id=80, bias=30),
                                                            sampling.LogitBias(token_id=81, bias=29.5)])),
            ({"allowed_token_ids": [5, 6, 7]},
             sampling.SamplingParams(seed=77, allowed_tokens=sampling.TokenSet(
                 ids=sampling.TokenIds(token_ids=[5, 6, 7])))),
        ]
        for extra, expected in params:
            with self.subTest(**extra):
                choice, = self.complete(**fields, **extra)
                final = self.generate(ids(PROMPT), sampling=expected, stop=sampling.StopCriteria(max_tokens=8))
                self.assertEqual(choice["token_ids"], [record.token_id for record in final.completions[0].tokens])

    def test_best_of(self):
        fields = {"prompt": PROMPT, "max_tokens": 5, "seed": 3, "temperature": 1.2, "n": 2,
                  "logitd": {"sampling_log_prob": True}}
        best = self.complete(best_of=6, **fields)
        everything = self.complete(**{**fields, "n": 6})
        values = sorted((c["logitd"]["cumulative_log_prob"] / c["logitd"]["token_count"] for c in everything),
                        reverse=True)
        self.assertEqual([c["logitd"]["cumulative_log_prob"] / c["logitd"]["token_count"] for c in best], values[:2])
        # As many as are returned: in order, too.
        all_six = self.complete(**{**fields, "n": 6}, best_of=6)
        self.assertEqual([c["logitd"]["cumulative_log_prob"] / c["logitd"]["token_count"] for c in all_six], values)

    def test_extensions(self):
        reply = self.post("/v1/completions", {
            "prompt": PROMPT, "max_tokens": 3, "seed": 5, "echo": True,
            "logitd": {"rank": True, "entropy": True, "sampling_log_prob": True}})
        record = completion.RecordOptions(rank=True, entropy=True, sampling_log_prob=True)
        prompt_record = completion.RecordOptions(rank=True, entropy=True)
        final = self.generate(ids(PROMPT), record=record, prompt_record=prompt_record,
                              sampling=sampling.SamplingParams(seed=5), stop=sampling.StopCriteria(max_tokens=3))
        extension = reply["choices"][0]["logitd"]
        tokens = final.completions[0].tokens
        self.assertEqual(extension["ranks"], [record.rank for record in tokens])
        self.assertEqual(extension["entropies"], [record.model_entropy for record in tokens])
        self.assertEqual(extension["sampling_log_probs"], [record.sampling_log_prob for record in tokens])
        totals = final.completions[0].totals
        self.assertEqual(extension["cumulative_log_prob"], totals.cumulative_model_log_prob)
        self.assertEqual(extension["cumulative_sampling_log_prob"], totals.cumulative_sampling_log_prob)
        self.assertEqual(extension["prompt"]["cumulative_log_prob"], final.prompt.totals.cumulative_model_log_prob)
        self.assertEqual(extension["prompt"]["entropies"],
                         [record.model_entropy if record.HasField("model_entropy") else None
                          for record in final.prompt.tokens])
        self.assertEqual(reply["logitd"]["seed"], "5")
        self.assertEqual(reply["logitd"]["provenance"]["model"], transition.NAME)

    def test_the_seed_of_each_choice_repeats_it(self):
        fields = {"max_tokens": 8, "temperature": 1.5, "logitd": {}}
        choices = self.complete(prompt=[PROMPT, PROMPT], **fields)
        self.assertNotEqual(choices[0]["logitd"]["seed"], choices[1]["logitd"]["seed"])
        for choice in choices:
            again, = self.complete(prompt=PROMPT, seed=int(choice["logitd"]["seed"]), **fields)
            self.assertEqual(again["text"], choice["text"])

    def test_a_choice_that_has_no_token_to_choose_is_an_error(self):
        # Only the end token is allowed, and it may not come first.
        error = self.refused(400, "/v1/completions", {"prompt": PROMPT, "allowed_token_ids": [1],
                                                      "min_tokens": 1})
        self.assertEqual(error["code"], "all_tokens_excluded")

    def test_stop_strings(self):
        # A model that goes on and on.
        plain, = self.complete(prompt=PROMPT, max_tokens=30, seed=11, ignore_eos=True)
        # Not one of the U+FFFD that stand for bytes of incomplete characters.
        stop = re.search("[!-~]{2}", plain["text"][4:]).group()
        place = plain["text"].index(stop)
        choice, = self.complete(prompt=PROMPT, max_tokens=30, seed=11, ignore_eos=True, stop=[stop, "\x00none"],
                                logprobs=0)
        self.assertEqual(choice["text"], plain["text"][:place])
        self.assertEqual((choice["finish_reason"], choice["stop_reason"]), ("stop", stop))
        one, = self.complete(prompt=PROMPT, max_tokens=30, seed=11, ignore_eos=True, stop=stop)
        self.assertEqual(one["text"], choice["text"])

    def test_stream_is_the_reply_in_parts(self):
        fields = {"prompt": [PROMPT, [7], "the end"], "n": 2, "max_tokens": 6, "seed": 8, "logprobs": 2, "echo": True,
                  "return_token_ids": True, "temperature": 0.9}
        events = self.stream(**fields, stream_options={"include_usage": True})
        reply = self.post("/v1/completions", fields)
        for choice in reply["choices"]:
            parts = [event["choices"][0] for event in events
                     if event["choices"] and event["choices"][0]["index"] == choice["index"]]
            self.assertGreater(len(parts), 1)
            self.assertEqual("".join(part["text"] for part in parts), choice["text"])
            for name, values in choice["logprobs"].items():
                self.assertEqual(sum((part["logprobs"][name] for part in parts if part["logprobs"]), []), values, name)
            self.assertEqual([part["finish_reason"] for part in parts if part["finish_reason"]],
                             [choice["finish_reason"]])
            self.assertEqual(parts[0]["prompt_token_ids"], choice["prompt_token_ids"])
            self.assertEqual(sum((part.get("token_ids", []) for part in parts), []), choice["token_ids"])
        *others, last = events
        self.assertEqual((last["choices"], last["usage"]["total_tokens"]), ([], reply["usage"]["total_tokens"]))
        self.assertTrue(all(event["usage"] is None for event in others))
        self.assertEqual(len({event["id"] for event in events}), 1)
        self.assertEqual({event["system_fingerprint"] for event in events}, {reply["system_fingerprint"]})

    def test_a_stream_that_is_refused_has_a_status(self):
        error = self.refused(404, "/v1/completions", {"model": "nobody", "prompt": "a", "stream": True})
        self.assertEqual(error["code"], "model_not_found")
        error = self.refused(400, "/v1/completions", {"prompt": "a", "stream": True, "temperature": -1})
        self.assertEqual(error["param"], "temperature")
        # The second prompt is refused when events have begun.
        reply = self.http.post("/v1/completions", {"prompt": ["a", [999999]], "stream": True, "max_tokens": 1})
        self.assertEqual(reply.status, 200)
        self.assertEqual(json.loads(reply.events()[-1])["error"]["code"], "token_id_out_of_range")

    def test_usage(self):
        usage = self.post("/v1/completions", {"prompt": [PROMPT, [7]], "n": 2, "max_tokens": 3, "ignore_eos": True})["usage"]
        self.assertEqual((usage["prompt_tokens"], usage["completion_tokens"], usage["total_tokens"]), (6, 12, 18))

    def test_errors_of_the_server_name_the_field_of_this_api(self):
        for fields, status, code, param in (
                ({"model": "nobody"}, 404, "model_not_found", "model"),
                ({"temperature": 1e9}, 400, "field_out_of_range", "temperature"),
                ({"top_p": 1.5}, 400, "field_out_of_range", "top_p"),
                ({"logprobs": 5000}, 400, "limit_exceeded", "logprobs"),
                ({"n": 1000}, 400, "limit_exceeded", "n"),
                ({"n": 0}, 400, "invalid_value", "n"),
                ({"max_tokens": 131073}, 400, "limit_exceeded", "max_tokens"),
                ({"logit_bias": {"7": 1, "81": 1000}}, 400, "field_out_of_range", "logit_bias.81"),
                ({"logit_bias": {"7": 1, "99999": 1}}, 400, "token_id_out_of_range", "logit_bias.99999"),
                ({"stop": [""]}, 400, "field_out_of_range", "stop[0]"),
                ({"min_tokens": 20, "max_tokens": 10}, 400, "field_out_of_range", "min_tokens"),
        ):
            with self.subTest(**fields):
                error = self.refused(status, "/v1/completions", {"prompt": "a", **fields})
                self.assertEqual((error["code"], error["param"]), (code, param), error)
                self.assertNotIn("sampling.", error["message"])
                self.assertIn(param, error["message"])
        for prompt, code, param in (([], "invalid_value", "prompt"), ("", "empty_prompt", "prompt"),
                                    (["a", ""], "empty_prompt", "prompt[1]"),
                                    ([5, 999999], "token_id_out_of_range", "prompt[1]"),
                                    ([[5], [6, 999999]], "token_id_out_of_range", "prompt[1][1]")):
            for stream in (False, True):
                if stream and isinstance(prompt, list) and prompt and not isinstance(prompt[0], int):
                    continue  # The stream has begun when its second prompt fails.
                error = self.refused(400, "/v1/completions", {"prompt": prompt, "stream": stream})
                self.assertEqual((error["code"], error["param"]), (code, param), error)

    def test_equal_requests_have_equal_choices(self):
        fields = {"prompt": PROMPT, "max_tokens": 8, "seed": 1234, "temperature": 1.0, "logprobs": 3}
        self.assertEqual(self.complete(**fields), self.complete(**fields))


class EndTokenTest(CompletionCase):
    """A model whose most likely token is the end."""

    TABLES = transition.Tables(["<s>", "</s>", "a", "b"],
                               [[0, 0, 1, 0], [0, 0, 0, 0], [0, 5, 1, 0], [None, 2, None, 1]], [0, 1], 0, 1)

    def test_the_generated_end_is_in_the_lists(self):
        choice, = self.complete(prompt=[3, 2], echo=True, logprobs=1, max_tokens=1, temperature=0)
        lists = choice["logprobs"]
        self.assertEqual(lists["tokens"], ["b", "a", "</s>"])
        self.assertEqual((choice["text"], choice["finish_reason"], choice["stop_reason"]), ("ba", "stop", None))
        self.assertEqual(lists["text_offset"], [0, 1, 2])
        self.assertEqual(list(lists["top_logprobs"][2]), ["</s>"])

    def test_a_token_of_probability_zero_is_null(self):
        choice, = self.complete(prompt=[3, 2, 3], echo=True, logprobs=4, max_tokens=0)
        lists = choice["logprobs"]
        self.assertEqual([x is None for x in lists["token_logprobs"]], [True, True, False])
        # Tokens that are impossible are no alternatives.
        self.assertEqual(set(lists["top_logprobs"][1]), {"</s>", "b"})
        prompt, = self.complete(prompt=[3, 2], prompt_logprobs=4, max_tokens=0)
        self.assertEqual(prompt["prompt_logprobs"][1]["2"]["logprob"], None)

    def test_names_of_control_tokens_in_a_text_are_tokens(self):
        parsed, plain = (self.complete(prompt="a</s>b" if parse else "ab", echo=True, logprobs=0, max_tokens=0,
                                       parse_special_tokens=parse)[0] for parse in (True, False))
        self.assertEqual(parsed["logprobs"]["tokens"], ["a", "</s>", "b"])
        self.assertEqual(parsed["text"], "a</s>b")
        self.assertEqual(plain["logprobs"]["tokens"], ["a", "b"])

    def test_min_tokens_and_ignore_eos(self):
        choice, = self.complete(prompt=[2], max_tokens=4, temperature=0, min_tokens=2, return_token_ids=True)
        self.assertNotIn(1, choice["token_ids"][:2])
        choice, = self.complete(prompt=[2], max_tokens=4, temperature=0, ignore_eos=True, return_token_ids=True)
        self.assertEqual(len(choice["token_ids"]), 4)
        choice, = self.complete(prompt=[3], max_tokens=4, allowed_token_ids=[3], stop_token_ids=[3])
        self.assertEqual((choice["finish_reason"], choice["stop_reason"]), ("stop", 3))

    def test_a_stop_may_be_the_name_of_a_control_token(self):
        # <s> ends nothing by itself, and </s> ends nothing with ignore_eos.
        for name, token in (("<s>", 0), ("</s>", 1)):
            fields = {"prompt": [2], "max_tokens": 4, "seed": 1, "allowed_token_ids": [token], "ignore_eos": True, "logprobs": 0}
            for stop in (name, ["x", name]):
                choice, = self.complete(**fields, stop=stop)
                self.assertEqual((choice["text"], choice["logprobs"]["tokens"]), ("", [name]))
                self.assertEqual((choice["finish_reason"], choice["stop_reason"]), ("stop", token))
                events = self.stream(**fields, stop=stop)
                self.assertEqual(events[-1]["choices"][0]["finish_reason"], "stop")
            choice, = self.complete(**fields)
            self.assertEqual(choice["logprobs"]["tokens"], [name] * 4)
        # A harness appends the end token's name to every stop.
        choice, = self.complete(prompt=[2], max_tokens=4, temperature=0, stop=["b", "</s>"], seed=None)
        self.assertEqual((choice["text"], choice["finish_reason"]), ("", "stop"))
        choice, = self.complete(prompt=[2], max_tokens=4, temperature=0, stop=["</s>\n"])
        self.assertEqual(choice["finish_reason"], "stop")
        for stop in (["b", "<s>a"], ["b", "a</s>"]):
            error = self.refused(400, "/v1/completions", {"prompt": [2], "stop": stop})
            self.assertEqual((error["code"], error["param"]), ("invalid_value", "stop[1]"))


class AddedBosTest(CompletionCase):
    """A model whose tokenizer puts BOS before a text."""

    RUNNER_FLAGS = ("--adds-bos",)

    def test_an_added_bos_moves_no_entry(self):
        text = "the end"
        tokens = self.tables.tokenize(text)
        by_text, by_ids = self.complete(prompt=[text, tokens], echo=True, logprobs=1, max_tokens=1, temperature=0,
                                        return_token_ids=True)
        self.assertEqual(len(by_text["logprobs"]["tokens"]), len(by_ids["logprobs"]["tokens"]))
        self.assertEqual(by_text["logprobs"]["tokens"][: len(tokens)], [self.name(token) for token in tokens])
        self.assertEqual(by_text["prompt_token_ids"], [0, *tokens])
        self.assertEqual(by_text["text"][: len(text)], text)
        # The first token is scored after BOS.
        self.assertAlmostEqual(by_text["logprobs"]["token_logprobs"][0], self.tables.log_prob(0, tokens[0]), delta=NATS)
        self.assertIsNone(by_ids["logprobs"]["token_logprobs"][0])
        without, = self.complete(prompt=text, echo=True, logprobs=1, max_tokens=1, temperature=0,
                                 add_special_tokens=False, return_token_ids=True)
        self.assertEqual(without["logprobs"], by_ids["logprobs"])
        self.assertEqual(without["prompt_token_ids"], tokens)

    def test_prompt_logprobs_have_the_bos(self):
        choice, = self.complete(prompt="the end", prompt_logprobs=0, max_tokens=0, return_token_ids=True)
        self.assertEqual(len(choice["prompt_logprobs"]), len(choice["prompt_token_ids"]))
        self.assertIsNone(choice["prompt_logprobs"][0])
        self.assertIsNotNone(choice["prompt_logprobs"][1])


if __name__ == "__main__":
    unittest.main()
