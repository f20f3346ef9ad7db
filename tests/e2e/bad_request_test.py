"""Bad requests to a server with a model: a typed error each, naming field, value and bound; then it works as before."""

import unittest

import harness
import wire

server = None


def setUpModule():
    global server
    server = harness.Server(model=harness.model_path())


def tearDownModule():
    server.stop()


class BadRequestTest(unittest.TestCase):
    def setUp(self):
        self.pid = server.pid

    def tearDown(self):
        """The next request works, in the same process."""
        self.assertTrue(server.is_alive())
        self.assertEqual(server.pid, self.pid)
        reply = harness.logit("complete", "The capital of France is", "--temperature", 0, "--max-tokens", 2,
                              server=server).json()
        self.assertIn("Paris", reply["completions"][0]["text"])

    def refused(self, *arguments: object) -> dict:
        outcome = harness.logit(*arguments, server=server)
        self.assertEqual(outcome.status, 3, outcome)
        return outcome.error()

    def test_empty_prompt(self):
        error = self.refused("complete", "")
        self.assertEqual(error["reason"], "ERROR_REASON_EMPTY_PROMPT")
        self.assertEqual(error["field"], "prompt.text")

    def test_prompt_of_one_token_too_many(self):
        with wire.connect(server.address) as client:
            length = client.context_length()
            text = " the" * (length + 1)
            self.assertEqual(len(client.tokenize(text)), length + 1)
        error = self.refused("complete", text)
        self.assertEqual(error["reason"], "ERROR_REASON_CONTEXT_LENGTH_EXCEEDED")
        self.assertTrue(error["field"].startswith("prompt"), error)
        self.assertEqual(error["value"], str(length + 1))
        self.assertIn(str(length), error["bound"])

    def test_temperature_out_of_range(self):
        for value, shown in [("-1", "-1"), ("nan", "nan"), ("1e9", "1e+09")]:
            with self.subTest(temperature=value):
                error = self.refused("complete", "a", f"--temperature={value}")
                self.assertEqual(error["reason"], "ERROR_REASON_FIELD_OUT_OF_RANGE")
                self.assertEqual(error["field"], "sampling.temperature")
                self.assertEqual(error["value"], shown)
                self.assertIn("1e+06", error["bound"])

    def test_max_tokens_out_of_range(self):
        error = self.refused("complete", "a", "--max-tokens=2147483647")
        self.assertEqual(error["field"], "stop.max_tokens")
        self.assertEqual(error["value"], "2147483647")
        self.assertIn("131072", error["bound"])

    def test_empty_continuation_fails_alone(self):
        outcome = harness.logit("score", "The capital of France is", " Paris", "", server=server)
        self.assertEqual(outcome.status, 1, outcome)
        good, bad = harness.Outcome(0, outcome.stdout, "").json()["item"]["continuations"]
        self.assertLess(good["score"]["totals"]["cumulative_model_log_prob"], 0)
        self.assertEqual(bad["error"]["reason"], "ERROR_REASON_EMPTY_CONTINUATION")
        self.assertNotIn("score", bad)

    def test_empty_candidate_never_ranks(self):
        outcome = harness.logit("rank", "The capital of France is", "", " Paris", server=server)
        self.assertEqual(outcome.status, 1, outcome)
        item = harness.Outcome(0, outcome.stdout, "").json()["item"]
        self.assertEqual(item["candidates"][0]["error"]["reason"], "ERROR_REASON_EMPTY_CONTINUATION")
        self.assertEqual(item["orderings"][0]["candidate_indices"], [1])

    def test_token_id_out_of_range(self):
        outcome = harness.logit("score", "--context-tokens", "1", "--continuation-tokens", "49152", server=server)
        self.assertEqual(outcome.status, 1, outcome)
        (bad,) = harness.Outcome(0, outcome.stdout, "").json()["item"]["continuations"]
        self.assertEqual(bad["error"]["reason"], "ERROR_REASON_TOKEN_ID_OUT_OF_RANGE")
        self.assertEqual(bad["error"]["value"], "49152")
        self.assertEqual(bad["error"]["bound"], "[0, 49152)")

    def test_model_that_is_not_there(self):
        error = self.refused("complete", "a", "--model", "another")
        self.assertEqual(error["reason"], "ERROR_REASON_MODEL_NOT_FOUND")


if __name__ == "__main__":
    unittest.main()
