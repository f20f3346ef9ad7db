"""Python values as messages: every form of a text and an item, every stage, and the errors of wrong ones."""

import array
import types
import unittest

try:
    import numpy
except ImportError:
    numpy = None

from google.protobuf import json_format

import logitd
from logitd import _calls, _strengths, requests, sampling
from logitd.v1 import completion_pb2, sampling_pb2, scoring_service_pb2


def as_dict(message) -> dict:
    return json_format.MessageToDict(message, preserving_proto_field_name=True)


class TextTest(unittest.TestCase):
    def test_forms_of_a_text(self):
        self.assertEqual(as_dict(requests.input_of("abc")), {"text": "abc"})
        self.assertEqual(as_dict(requests.input_of("")), {"text": ""})
        ids = {"tokens": {"token_ids": [5, 6]}}
        for value in ([5, 6], (5, 6), range(5, 7), array.array("i", [5, 6]), iter([5, 6])):
            self.assertEqual(as_dict(requests.input_of(value)), ids)
        self.assertEqual(as_dict(requests.input_of([])), {"tokens": {}})
        self.assertEqual(as_dict(requests.input_of(ids)), ids)
        message = completion_pb2.Input(text="x")
        self.assertIs(requests.input_of(message), message)
        segments = [logitd.Segment("<|im_start|>", parse_special_tokens=True), logitd.Segment("a"), logitd.Segment([1])]
        self.assertEqual(as_dict(requests.input_of(segments)), {"segments": [
            {"text": "<|im_start|>", "parse_special_tokens": True}, {"text": "a"}, {"tokens": {"token_ids": [1]}}]})

    @unittest.skipIf(numpy is None, "numpy is missing")
    def test_numpy_ids(self):
        ids = {"tokens": {"token_ids": [5, 6]}}
        for dtype in ("i4", "i8", "u1", ">i4"):
            self.assertEqual(as_dict(requests.input_of(numpy.array([5, 6], dtype))), ids)
        self.assertEqual(as_dict(requests.input_of([numpy.int64(5), numpy.int32(6)])), ids)
        self.assertEqual(as_dict(requests.input_of(numpy.array([5, 9, 6])[::2])), ids)
        with self.assertRaisesRegex(TypeError, r"x\[0\] must be an integer, got float 5.0"):
            requests.input_of(numpy.array([5.0]), "x")
        with self.assertRaisesRegex(TypeError, r"x\[0\] must be an integer, got list"):
            requests.input_of(numpy.array([[5]]), "x")
        with self.assertRaisesRegex(TypeError, "must be an integer, got bool"):
            requests.input_of(numpy.array([True]), "x")

    def test_texts_that_are_none(self):
        for value, kind, words in (
                (b"abc", TypeError, r"x must be text, got bytes b'abc': decode them first"),
                (None, TypeError, "x must be text or a list of token ids, got NoneType"),
                (5, TypeError, "x must be text or a list of token ids, got int 5"),
                ([5, "a"], TypeError, r"x\[1\] must be an integer, got str 'a'"),
                (["a", "b"], TypeError, r"x\[0\] must be a Segment"),
                ([True], TypeError, r"x\[0\] must be an integer, got bool"),
                ([1.0], TypeError, r"x\[0\] must be an integer, got float"),
                ([1 << 31], ValueError, r"x\[0\] must be in \[-2147483648, 2147483647\], got 2147483648"),
                ("a\ud800", ValueError, r"x has the lone surrogate '\\ud800' at character 1"),
                ({"txt": "a"}, ValueError, "x is no Input: .*txt")):
            with self.assertRaisesRegex(kind, words):
                requests.input_of(value, "x")

    def test_one_text_or_many(self):
        for one in ("a", [1], range(2), (1, 2), [logitd.Segment("a")], completion_pb2.Input()):
            self.assertTrue(requests.is_one_text(one), one)
        for many in (["a"], [[1]], [], iter("ab"), (text for text in "ab"), [[logitd.Segment("a")]]):
            self.assertFalse(requests.is_one_text(many), many)
        if numpy is not None:
            self.assertTrue(requests.is_one_text(numpy.array([1, 2])))
            self.assertFalse(requests.is_one_text(numpy.array([[1, 2]])))
            self.assertFalse(requests.is_one_text([numpy.array([1, 2])]))
            self.assertFalse(requests.is_one_text(numpy.array(["a", "b"])))
            self.assertFalse(requests.is_one_text(numpy.array(["a", "b"], dtype=object)))


class ItemTest(unittest.TestCase):
    def test_forms_of_an_item(self):
        wanted = {"context": {"text": "a"}, "continuations": [{"text": " b"}, {"text": " c"}]}
        for item in (logitd.ScoreItem("a", [" b", " c"]), ("a", [" b", " c"]), ("a", (" b", " c")),
                     {"context": "a", "continuations": [" b", " c"]}, wanted,
                     json_format.ParseDict(wanted, scoring_service_pb2.ScoreItem()),
                     {**wanted, "rolling": None}):
            self.assertEqual(as_dict(requests.score_item(item)), wanted)
        self.assertEqual(as_dict(requests.score_item(logitd.ScoreItem(None, [[5]], id="x"))),
                         {"id": "x", "continuations": [{"tokens": {"token_ids": [5]}}]})
        self.assertEqual(as_dict(requests.score_item(("a", []))), {"context": {"text": "a"}})
        rich = logitd.Continuation([5, 6], uncounted_prefix_bytes=1, byte_count=2, character_count=3,
                                   named_by_position=[[1], []])
        self.assertEqual(as_dict(requests.score_item(("a", [rich])))["continuations"], [
            {"tokens": {"token_ids": [5, 6]}, "uncounted_prefix_bytes": 1, "byte_count": 2, "character_count": 3,
             "named_by_position": [{"token_ids": [1]}, {}]}])
        rolling = {"id": "r", "rolling": {"input": {"text": "a"}, "window": 5}}
        self.assertEqual(as_dict(requests.score_item(rolling)), rolling)
        if numpy is not None:
            # A list column of a table.
            self.assertEqual(as_dict(requests.score_item(
                {"context": "a", "continuations": numpy.array([" b", " c"], dtype=object)})), wanted)

    def test_items_that_are_none(self):
        for item, kind, words in (
                (("a", " b"), TypeError, r"x.continuations must be a list of continuations, got str ' b': write \[' b'\]"),
                ("ab", TypeError, r"x must be a ScoreItem, a tuple \(context, continuations\) or a dict, got 'ab'"),
                (["a", ["b"]], TypeError, "x must be a ScoreItem"),
                (("a", [5, 6]), TypeError, "x.continuations must be a list of continuations, got token ids"),
                (("a", [None]), TypeError, r"x.continuations\[0\] must be text or a list of token ids"),
                (("a", None), TypeError, "x.continuations must be a list"),
                (("a", ["b"], 1), TypeError, "x must be a ScoreItem"),
                ({"context": "a", "continuation": ["b"]}, ValueError, "x is no ScoreItem: .*continuation"),
                ({"context": b"a", "continuations": ["b"]}, TypeError, "x.context must be text, got bytes")):
            with self.assertRaisesRegex(kind, words):
                requests.score_item(item, "x")

    def test_rank_items(self):
        item = logitd.RankItem("a", ["b", [5], logitd.Candidate("c", byte_count=2, alternative_tokenizations=[[1, 2]]),
                                     logitd.Sums(-2.5, 2, byte_count=7, sum_unconditional_log_prob=-3),
                                     {"text": "d"}], id="i", unconditional_context="u")
        self.assertEqual(as_dict(requests.rank_item(item)), {
            "id": "i", "context": {"text": "a"}, "unconditional_context": {"text": "u"}, "candidates": [
                {"text": "b"}, {"tokens": {"token_ids": [5]}},
                {"text": "c", "byte_count": 2, "alternative_tokenizations": [{"token_ids": [1, 2]}]},
                {"sums": {"sum_model_log_prob": -2.5, "token_count": 2, "byte_count": 7,
                          "sum_unconditional_log_prob": -3.0}}, {"text": "d"}]})
        self.assertEqual(requests.rank_item({"context": "a", "candidates": ["b"], "unconditional_context": "u"}),
                         requests.rank_item(logitd.RankItem("a", ["b"], unconditional_context="u")))

    def test_a_given_order_is_a_list_of_indices(self):
        self.assertEqual(list(requests.rank_item(logitd.RankItem("a", ["b", "c"], given_order=(1, 0))).given_order), [1, 0])
        self.assertEqual(list(requests.rank_item({"context": "a", "candidates": ["b"], "given_order": [0]}).given_order), [0])
        with self.assertRaisesRegex(TypeError, r"x.given_order\[1\] must be an integer"):
            requests.rank_item(logitd.RankItem("a", ["b", "c"], given_order=[1, "b"]), "x")
        with self.assertRaisesRegex(ValueError, "x.given_order must have the index of each candidate once, got none"):
            requests.rank_item(logitd.RankItem("a", ["b", "c"], given_order=[]), "x")
        with self.assertRaisesRegex(TypeError, "x.given_order must be a list of indices of candidates"):
            requests.rank_item(logitd.RankItem("a", ["b", "c"], given_order="bc"), "x")

    def test_rankings_to_fit(self):
        fit = _strengths.fit([["a", "b", "c"], ["c", ["a", "b"]], logitd.Ranking(["b"], others_below=True, count=3),
                              {"order": ["b", "a"], "count": 2}], ties="by-index", numerics_version=1, timeout=2)
        self.assertEqual(fit.names, ("a", "b", "c"))
        self.assertEqual(fit.call.timeout, 2.0)
        self.assertEqual(as_dict(fit.call.request), {
            "item_count": 3, "ties": "ORDER_TIES_BY_INDEX", "numerics_version": 1, "rankings": [
                {"item_indices": [0, 1, 2]}, {"item_indices": [2, 0, 1], "places": [1, 2, 2]},
                {"item_indices": [1], "others_below": True, "count": "3"}, {"item_indices": [1, 0], "count": "2"}]})
        named = _strengths.fit([[5, 7]], items=[7, 5, 6])
        self.assertEqual((named.names, as_dict(named.call.request)),
                         ((7, 5, 6), {"item_count": 3, "rankings": [{"item_indices": [1, 0]}]}))

    def test_wrong_rankings_are_named(self):
        for rankings, options, kind, words in (
                ("ab", {}, TypeError, "rankings must be an iterable of rankings, got str"),
                (["ab"], {}, TypeError, r"rankings\[0\].order must be a list of items"),
                ([["a", 1.5]], {}, TypeError, r"rankings\[0\].order\[1\] must be a text or an int, got float"),
                ([["a", True]], {}, TypeError, r"rankings\[0\].order\[1\] must be a text or an int, got bool"),
                ([["a", "b"]], {"items": ["a"]}, ValueError, r"rankings\[0\].order\[1\] must be one of items, got 'b'"),
                ([["a", "b"]], {"items": ["a", "a"]}, ValueError, r"items\[1\] must be another item"),
                ([["a", "b"]], {"ties": "coin"}, ValueError, "ties must be one of refuse, by_index"),
                ([{"order": ["a"], "weight": 2}], {}, TypeError, r"rankings\[0\] is no Ranking"),
                ([logitd.Ranking(["a", "b"], count=0.5)], {}, TypeError, r"rankings\[0\].count must be an integer"),
                ([logitd.Ranking(["a", "b"], others_below=1)], {}, TypeError, "others_below must be True or False")):
            with self.subTest(words), self.assertRaisesRegex(kind, words):
                _strengths.fit(rankings, **options)

    def test_decide_items(self):
        choice = {"context": {"text": "a"}, "choice": {"options": [{"text": "b"}, {"text": "c", "log_offset": 0.5}]}}
        for item in (("a", ["b", logitd.Option("c", log_offset=0.5)]), choice,
                     {"context": "a", "options": ["b", logitd.Option("c", 0.5)]}):
            self.assertEqual(as_dict(requests.decide_item(item)), choice)
        self.assertEqual(as_dict(requests.decide_item(logitd.DecideItem("a", if_true="y", if_false=[5]))), {
            "context": {"text": "a"}, "predicate": {"if_true": {"text": "y"}, "if_false": {"tokens": {"token_ids": [5]}}}})
        self.assertEqual(as_dict(requests.decide_item(logitd.DecideItem("a", levels=[("b", 1), ("c", 0)]))), {
            "context": {"text": "a"}, "score": {"levels": [{"option": {"text": "b"}, "value": 1.0},
                                                           {"option": {"text": "c"}, "value": 0.0}]}})
        for item, kind, words in (
                (logitd.DecideItem("a"), ValueError, "exactly one of options, if_true with if_false, and levels; it has none"),
                (logitd.DecideItem("a", ["b"], levels=[("c", 1)]), ValueError, "it has options and levels"),
                (logitd.DecideItem("a", ["b"], if_false="c"), ValueError, "it has options and if_false"),
                (logitd.DecideItem("a", if_true="c"), ValueError, "it has if_true"),
                (logitd.DecideItem("a", levels=["b"]), TypeError, r"levels\[0\] must be a pair \(answer, value\)")):
            with self.assertRaisesRegex(kind, words):
                requests.decide_item(item)


class SamplingTest(unittest.TestCase):
    def test_every_field_of_the_message_is_an_option(self):
        self.assertEqual(sampling.STAGE_NAMES, {f.name for f in sampling_pb2.SamplingParams.DESCRIPTOR.fields})
        self.assertEqual(sampling.STAGE_NAMES, set(sampling.Stages.__annotations__))
        self.assertEqual({f.name for f in completion_pb2.RecordOptions.DESCRIPTOR.fields},
                         set(logitd.Record.__dataclass_fields__))

    def test_stages(self):
        made = sampling.sampling_params({
            "temperature": 0, "top_k": 40, "seed": (1 << 64) - 1, "top_p": None, "repetition_scope": "prompt",
            "dry": {"multiplier": 0.8, "base": None, "breakers": [[1], [2, 3]]}, "xtc": {"probability": 0.5},
            "allowed_tokens": [1, 2], "banned_tokens": b"\x01", "logit_biases": {5: -1.5, 7: 2},
            "sequence_biases": [([1, 2], None), ([3], 4)], "stage_order": ["temperature", "top-k"],
            "top_k_ties": "keep-all", "top_p_boundary": "MASS_ABOVE"})
        self.assertEqual(as_dict(made), {
            "temperature": 0.0, "top_k": 40, "seed": str((1 << 64) - 1), "repetition_scope": "PENALTY_SCOPE_PROMPT",
            "dry": {"multiplier": 0.8, "breakers": [{"token_ids": [1]}, {"token_ids": [2, 3]}]},
            "xtc": {"probability": 0.5}, "allowed_tokens": {"ids": {"token_ids": [1, 2]}},
            "banned_tokens": {"bitmask": "AQ=="},
            "logit_biases": [{"token_id": 5, "bias": -1.5}, {"token_id": 7, "bias": 2.0}],
            "sequence_biases": [{"token_ids": [1, 2]}, {"token_ids": [3], "bias": 4.0}],
            "stage_order": {"stages": ["STAGE_TEMPERATURE", "STAGE_TOP_K"]}, "top_k_ties": "TIE_RULE_KEEP_ALL",
            "top_p_boundary": "TOP_P_BOUNDARY_MASS_ABOVE"})
        self.assertEqual(as_dict(sampling.sampling_params({"stage_order": "hf"})),
                         {"stage_order": {"preset": "STAGE_PRESET_HF"}})
        self.assertIsNone(sampling.sampling_params({"temperature": None}))
        # Set but empty is not unset: the server refuses it.
        self.assertTrue(sampling.sampling_params({"allowed_tokens": []}).HasField("allowed_tokens"))

    def test_stages_that_are_wrong(self):
        for stages, kind, words in (
                ({"temprature": 1}, TypeError, "no option 'temprature'; did you mean 'temperature'"),
                ({"temperature": "0.7"}, TypeError, "temperature must be a number, got str '0.7'"),
                ({"temperature": True}, TypeError, "temperature must be a number, got bool"),
                ({"top_k": 40.0}, TypeError, "top_k must be an integer, got float 40.0"),
                ({"seed": -1}, ValueError, r"seed must be in \[0, 18446744073709551615\], got -1"),
                ({"top_k_ties": "both"}, ValueError, "top_k_ties must be one of lowest_id, keep_all; got 'both'"),
                ({"dry": 0.8}, TypeError, "dry must be a dict of multiplier"),
                ({"dry": {"strength": 1}}, TypeError, "no option 'strength'"),
                ({"xtc": {"probability": "x"}}, TypeError, r"xtc\['probability'\] must be a number"),
                ({"logit_biases": [(5, 1)]}, TypeError, "logit_biases must be a dict"),
                ({"sequence_biases": [[1, 2, 3]]}, TypeError, r"sequence_biases\[0\] must be a pair"),
                ({"stage_order": "hugging"}, ValueError, "stage_order must be one of logitd, hf"),
                ({"allowed_tokens": 5}, TypeError, "allowed_tokens must be a list of token ids")):
            with self.assertRaisesRegex(kind, words):
                sampling.sampling_params(stages, "generate")

    @unittest.skipIf(numpy is None, "numpy is missing")
    def test_numpy_values(self):
        made = sampling.sampling_params({"temperature": numpy.float32(0.5), "top_k": numpy.int64(3),
                                         "allowed_tokens": numpy.array([1, 2])})
        self.assertEqual((made.temperature, made.top_k, list(made.allowed_tokens.ids.token_ids)), (0.5, 3, [1, 2]))
        with self.assertRaisesRegex(TypeError, "numpy.flatnonzero"):
            sampling.sampling_params({"allowed_tokens": numpy.array([True, False])})

    def test_stop_and_record(self):
        self.assertIsNone(sampling.stop_criteria())
        self.assertEqual(as_dict(sampling.stop_criteria(max_tokens=0, stop="\n", stop_token_ids=[2], ignore_eos=True,
                                                        min_tokens=0, time_limit_ms=5)),
                         {"max_tokens": 0, "stop_strings": ["\n"], "stop_token_ids": [2], "ignore_eos": True,
                          "min_tokens": 0, "time_limit_ms": 5})
        with self.assertRaisesRegex(TypeError, r"stop\[1\] must be text, got bytes"):
            sampling.stop_criteria(stop=["a", b"b"])
        self.assertIsNone(sampling.record_options(None))
        for empty in (logitd.Record(), {}, {"rank": None}):
            self.assertTrue(_calls.rank([], {"record": empty}).method.base.HasField("record"))
        self.assertEqual(as_dict(sampling.record_options(logitd.Record(rank=True, top_n=3, named_token_ids=[7],
                                                                       layout="none", token_bytes=False))),
                         {"rank": True, "top_n": 3, "named_token_ids": [7], "layout": "RECORD_LAYOUT_NONE",
                          "token_bytes": False})
        with self.assertRaisesRegex(TypeError, "no option 'topn'; did you mean 'top_n'"):
            sampling.record_options({"topn": 3})
        with self.assertRaisesRegex(TypeError, "record must be a Record or a dict, got True"):
            sampling.record_options(True)


class CallTest(unittest.TestCase):
    def test_a_request_has_only_what_is_given(self):
        self.assertEqual(as_dict(_calls.score([], {}).method.base), {})
        self.assertEqual(as_dict(_calls.score([], {"boundary": None, "sampling": None, "record": None}).method.base), {})
        call = _calls.score([], {"model": "m", "boundary": "lm-eval", "truncation": "context_left", "no_cache": True,
                                 "cache_salt": "s", "add_special_tokens": False, "parse_special_tokens": True,
                                 "numerics_version": 1, "sampling": {"temperature": 0.5}, "record": {"rank": True},
                                 "timeout": 3, "progress": True})
        self.assertEqual(as_dict(call.method.base), {
            "model": "m", "record": {"rank": True}, "sampling": {"temperature": 0.5}, "numerics_version": 1,
            "tokenization": {"add_special_tokens": False, "parse_special_tokens": True,
                             "boundary": "BOUNDARY_LM_EVAL", "truncation": "TRUNCATION_CONTEXT_LEFT"},
            "evaluation": {"cache_salt": "s", "no_cache": True}})
        self.assertEqual((call.timeout, call.progress), (3.0, True))
        self.assertEqual(as_dict(_calls.rank([], {"order_by": "per_token", "gnmt_alpha": 0.5, "inverse_temperature": 2,
                                                  "unconditional_context": "", "winner_only": True}).method.base),
                         {"order_by": "NORMALIZATION_PER_TOKEN", "gnmt_alpha": 0.5, "inverse_temperature": 2.0,
                          "unconditional_context": {"text": ""}, "winner_only": True})
        for options, wanted in (({"order": True}, {"order": {}}), ({"order_top_k": 2}, {"order": {"top_k": 2}}),
                                ({"order": False}, {})):
            self.assertEqual(as_dict(_calls.rank([], options).method.base), wanted)
        self.assertEqual(as_dict(_calls.decide([], {"temperature": 0}).method.base), {"temperature": 0.0})
        self.assertEqual(as_dict(_calls.generate([], {"max_tokens": 5, "n": 2, "best_of": 3, "best_by": "gnmt",
                                                      "gnmt_alpha": 0.6, "seed": 7, "first_sequence_key": 9, "stop": "x",
                                                      "prompt_record": logitd.Record(rank=True)}).method.base),
                         {"n": 2, "best_of": 3, "best_by": "NORMALIZATION_GNMT", "gnmt_alpha": 0.6,
                          "first_sequence_key": "9",
                          "sampling": {"seed": "7"}, "stop": {"max_tokens": 5, "stop_strings": ["x"]},
                          "prompt_record": {"rank": True}, "stream": False})

    @unittest.skipUnless("reproducible" in completion_pb2.EvaluationOptions.DESCRIPTOR.fields_by_name, "an older .proto")
    def test_reproducible(self):
        for value in (True, False):
            self.assertEqual(as_dict(_calls.score([], {"reproducible": value}).method.base),
                             {"evaluation": {"reproducible": value}})

    def test_unknown_options_are_named(self):
        for call, options, words in (
                (_calls.score, {"boundry": "joint"}, r"score\(\) has no option 'boundry'; did you mean 'boundary'"),
                (_calls.score, {"temperature": 1}, r"score\(\) has no option 'temperature'"),
                (_calls.rank, {"sampling": {}}, r"rank\(\) has no option 'sampling'"),
                (_calls.rolling, {"boundary": "joint"}, r"rolling\(\) has no option 'boundary'"),
                (_calls.decide, {"order_by": "sum"}, r"decide\(\) has no option 'order_by'"),
                (_calls.generate, {"stops": "x"}, r"generate\(\) has no option 'stops'; did you mean 'stop'"),
                (_calls.tokenize, {"boundary": "joint"}, r"tokenize\(\) has no option"),
                (_calls.detokenize, {"token_bytes": True}, r"detokenize\(\) has no option")):
            with self.assertRaisesRegex(TypeError, words):
                call([], options)

    def test_wrong_values_are_named(self):
        for call, options, kind, words in (
                (_calls.score, {"boundary": "lmeval"}, ValueError, "boundary must be one of joint, separate, lm_eval"),
                (_calls.score, {"no_cache": 1}, TypeError, "no_cache must be True or False, got int 1"),
                (_calls.score, {"numerics_version": "1"}, TypeError, "numerics_version must be an integer"),
                (_calls.rank, {"order_by": 1}, TypeError, "order_by must be one of sum"),
                (_calls.rolling, {"rule": "windows"}, ValueError, "rule must be one of lm_eval, strided"),
                (_calls.generate, {"max_tokens": 1.5}, TypeError, "max_tokens must be an integer"),
                (_calls.score, {"progress": "yes"}, TypeError, "progress must be True or False"),
                (_calls.score, {"timeout": "3"}, TypeError, "timeout must be a number")):
            with self.assertRaisesRegex(kind, words):
                call([], options)

    def test_items_that_are_no_list(self):
        for call in (_calls.score, _calls.rank, _calls.decide):
            for value in ("abc", b"abc", {"context": "a"}, 5, None):
                with self.assertRaisesRegex(TypeError, "items must be a list of"):
                    call(value, {})
        with self.assertRaisesRegex(TypeError, "must be a list of texts"):
            _calls.tokenize(5, {})

    def test_options_are_those_of_the_type_checkers_dictionaries(self):
        from logitd import options

        for kind, known in ((options.ScoreOptions, _calls._ITEM | {"sampling"}), (options.GenerateOptions, _calls._GENERATE)):
            self.assertEqual(set(kind.__annotations__), set(known))
        self.assertIsInstance(options, types.ModuleType)


if __name__ == "__main__":
    unittest.main()
