"""docs/worked-example.md shows the real output of the programs, and its story is true."""

import unittest

import console_examples
import harness

DOCUMENT = harness.ROOT / "docs/worked-example.md"
server = None


def setUpModule():
    global server
    server = harness.Server(model=harness.model_path())


def tearDownModule():
    server.stop()


def sums_and_wins(context: str, *continuations: str) -> tuple[list[float], list[int]]:
    """The total of each continuation, and at how many positions it has the likeliest token."""
    reply = harness.logit("score", context, *continuations, server=server).json()
    scored = [c["score"] for c in reply["item"]["continuations"]]
    log_probs = [[token["model_log_prob"] for token in score["tokens"]] for score in scored]
    wins = [0] * len(log_probs)
    for position in range(min(map(len, log_probs))):
        values = [row[position] for row in log_probs]
        wins[values.index(max(values))] += 1
    return [score["totals"]["cumulative_model_log_prob"] for score in scored], wins


class WorkedExampleTest(unittest.TestCase):
    def test_commands_print_what_the_document_shows(self):
        self.assertGreaterEqual(len(console_examples.examples(DOCUMENT)), 2)
        console_examples.check(self, DOCUMENT, server)

    def test_the_one_that_wins_more_positions_loses_in_total(self):
        sums, wins = sums_and_wins("The meeting will be held", " at the zoo", " on Monday morning")
        self.assertEqual(wins, [2, 1])
        self.assertLess(sums[0], sums[1] - 1)

    def test_the_one_whose_first_token_is_the_likeliest_loses_in_total(self):
        context = "The first president of the United States of America was"
        reply = harness.logit("score", context, " John Adams", " George Washington", "--rank", server=server).json()
        adams, washington = [c["score"] for c in reply["item"]["continuations"]]
        self.assertEqual(adams["tokens"][0]["rank"], 1)
        self.assertGreater(washington["tokens"][0]["rank"], 1)
        self.assertLess(adams["totals"]["cumulative_model_log_prob"],
                        washington["totals"]["cumulative_model_log_prob"] - 0.3)


if __name__ == "__main__":
    unittest.main()
