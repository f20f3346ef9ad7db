"""/tokenize, /detokenize and /tokenizer_info, from which lm-evaluation-harness makes its tokenizer."""

import unittest

import http_case
import wire


class TokenizerTest(http_case.HttpCase):
    def test_the_steps_of_the_harness(self):
        info = self.get("/tokenizer_info")
        self.assertEqual((info["eos_token"], info["bos_token"], info["pad_token"]), ("</s>", "<s>", None))
        probe = self.post("/tokenize", {"prompt": "test", "add_special_tokens": False})
        self.assertIsInstance(probe["tokens"], list)
        # It takes the ids of BOS and EOS by tokenising their names.
        for name, token in (("eos_token", 1), ("bos_token", 0)):
            reply = self.post("/tokenize", {"prompt": info[name], "add_special_tokens": False})
            self.assertEqual(reply["tokens"], [token])
            self.assertEqual(info[f"{name}_id"], token)
        text = "the cat </s> sat"
        tokens = self.post("/tokenize", {"prompt": text, "add_special_tokens": False})["tokens"]
        self.assertIn(1, tokens)
        self.assertEqual(self.post("/detokenize", {"tokens": tokens}), {"prompt": text})
        self.assertEqual(self.post("/detokenize", {"tokens": tokens, "skip_special_tokens": True}), {"prompt": "the cat  sat"})

    def test_the_tokens_are_those_of_the_server(self):
        for text in ("", "a", "the end of it", "\u00fc\u20ac\U0001F600", "\x00\n"):
            reply = self.post("/tokenize", {"prompt": text, "model": "transition", "return_token_strs": True})
            with wire.connect(self.server.address) as client:
                self.assertEqual(reply["tokens"], client.tokenize(text))
            self.assertEqual((reply["count"], reply["max_model_len"]), (len(reply["tokens"]), 131072))
            self.assertEqual(len(reply["token_strs"]), reply["count"])
        self.assertIsNone(self.post("/tokenize", {"prompt": "a"})["token_strs"])

    def test_names_may_be_plain_text(self):
        plain = self.post("/tokenize", {"prompt": "</s>", "parse_special_tokens": False})["tokens"]
        self.assertNotIn(1, plain)
        self.assertGreater(len(plain), 1)

    def test_refusals(self):
        for body, code, param in (({}, "missing_required_parameter", "prompt"),
                                  ({"prompt": {"role": "user", "content": "hi"}}, "invalid_type", "prompt"),
                                  ({"prompt": ["a"]}, "invalid_type", "prompt"),
                                  ({"messages": []}, "invalid_value", "messages"),
                                  ({"messages": [{"role": "user", "content": "hi"}], "prompt": "a"}, "invalid_value", "messages"),
                                  ({"prompt": "a", "x": 1}, "unknown_parameter", "x")):
            error = self.refused(400, "/tokenize", body)
            self.assertEqual((error["code"], error["param"]), (code, param))
        for body, code in (({}, "missing_required_parameter"), ({"tokens": "a"}, "invalid_type"),
                           ({"tokens": [100000]}, "token_id_out_of_range")):
            self.assertEqual(self.refused(400, "/detokenize", body)["code"], code)
        self.assertEqual(self.refused(404, "/tokenize", {"prompt": "a", "model": "nobody"})["code"], "model_not_found")


class AddedBosTest(http_case.HttpCase):
    RUNNER_FLAGS = ("--adds-bos",)

    def test_special_tokens_are_added_as_the_tokenizer_says(self):
        with_bos = self.post("/tokenize", {"prompt": "a"})["tokens"]
        without = self.post("/tokenize", {"prompt": "a", "add_special_tokens": False})["tokens"]
        self.assertEqual(with_bos, [0, *without])
        self.assertEqual(self.post("/tokenize", {"prompt": "a", "add_special_tokens": True})["tokens"], with_bos)
        self.assertTrue(self.get("/tokenizer_info")["add_bos_token"])


if __name__ == "__main__":
    unittest.main()
