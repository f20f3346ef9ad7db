"""docs/compare.md shows the real output of `logit compare`, and its story is true."""

import json
import unittest

import console_examples
import harness

DOCUMENT = harness.ROOT / "docs/compare.md"
server = None


def setUpModule():
    global server
    server = harness.Server(model=harness.model_path())


def tearDownModule():
    server.stop()


class CompareExampleTest(unittest.TestCase):
    def test_commands_print_what_the_document_shows(self):
        self.assertGreaterEqual(len(console_examples.examples(DOCUMENT)), 4)
        console_examples.check(self, DOCUMENT, server)

    def test_the_one_that_wins_token_by_token_loses_in_total(self):
        found = harness.logit("compare", "The meeting will be held", " at the zoo", " on Monday morning",
                              server=server).json()
        self.assertEqual((found["token_winner"], found["total_winner"]), (0, 1))
        self.assertEqual(found["deciding_positions"], [2])
        self.assertEqual(found["lead_lost_at"], 2)

    def test_the_confident_token_is_the_wrong_one(self):
        context = "Paris is the capital of France. Berlin is the capital of Germany. Sydney is the capital of"
        found = harness.logit("compare", context, " Australia", " New South Wales", server=server).json()
        confident = found["continuations"][1]["confident_tokens"][0]
        self.assertEqual((confident["position"], confident["most_likely"]), (0, '" Australia"'))
        self.assertGreater(confident["most_likely_probability"], 0.9)
        self.assertEqual(found["continuations"][0]["confident_tokens"], [])
        self.assertIn("it is the confident wrong token", json.dumps(found["answer"]))


if __name__ == "__main__":
    unittest.main()
