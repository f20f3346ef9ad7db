"""`logit distribution` against numbers that can be checked by hand: softmax to six digits, without a model."""

import math
import unittest

import harness

server = None


def setUpModule():
    global server
    server = harness.Server()


def tearDownModule():
    server.stop()


def probabilities(logits: str, *flags: object) -> list[float]:
    return harness.logit("distribution", f"--logits={logits}", *flags, server=server).json()["probabilities"]


# (logits, flags, probabilities to six digits).
TABLE = [
    ("6,3,0.5,0.5", ("--labels", "mat,rug,floor,chair"), [0.945215, 0.047059, 0.003863, 0.003863]),
    ("6,3,0.5,0.5", ("--temperature", 0.5), [0.997494, 0.002473, 0.000017, 0.000017]),
    ("6,3,0.5,0.5", ("--temperature", 2), [0.740200, 0.165161, 0.047319, 0.047319]),
    ("6,3,0.5,0.5", ("--labels", "mat,rug,floor,chair", "--allowed", "rug,floor"), [0.924142, 0.075858]),
    ("2,1,0.1", (), [0.659001, 0.242433, 0.098566]),
    ("2,1,0.5", (), [0.628532, 0.231224, 0.140244]),
    ("2,1,0.5", ("--temperature", 0.5), [0.843795, 0.114195, 0.042010]),
    ("2,1,0.5", ("--temperature", 2), [0.481024, 0.291756, 0.227220]),
    ("1,2,3", (), [0.090031, 0.244728, 0.665241]),
    ("1,5,10", (), [0.000123, 0.006692, 0.993185]),
    ("4,4,2", (), [0.468311, 0.468311, 0.063379]),
    ("4,4,12", (), [0.000335, 0.000335, 0.999330]),
    ("3,3,3", (), [1 / 3, 1 / 3, 1 / 3]),
    ("3,1,0", (), [0.843795, 0.114195, 0.042010]),
    ("13,11,10", (), [0.843795, 0.114195, 0.042010]),
    ("1000,1001,1002", (), [0.090031, 0.244728, 0.665241]),
    ("1e30,-1e30,0", (), [1, 0, 0]),
    ("2,5,5,1", ("--temperature", 0), [0, 1, 0, 0]),
    # Negative logits, and a temperature that is neither 0 nor 1 together with a subset by id.
    ("-1,-2,-3", ("--temperature", 0.7, "--allowed", "0,2"),
     [1 / (1 + math.exp(-2 / 0.7)), math.exp(-2 / 0.7) / (1 + math.exp(-2 / 0.7))]),
]


class DistributionTest(unittest.TestCase):
    def test_matches_numbers_checked_by_hand(self):
        for logits, flags, expected in TABLE:
            with self.subTest(logits=logits, flags=flags):
                actual = probabilities(logits, *flags)
                self.assertEqual(len(actual), len(expected))
                for value, wanted in zip(actual, expected):
                    self.assertAlmostEqual(value, wanted, delta=0.5e-6 + 1e-9)

    def test_adding_a_constant_changes_no_bit(self):
        self.assertEqual(probabilities("3,1,0", "--temperature", 0.3), probabilities("13,11,10", "--temperature", 0.3))

    def test_huge_temperature_is_uniform(self):
        for value in probabilities("6,3,0.5,0.5", "--temperature", 1e6):
            self.assertAlmostEqual(value, 0.25, delta=1e-5)

    def test_temperature_zero_is_one_hot_on_the_lowest_id_of_the_maximum(self):
        self.assertEqual(probabilities("4,4,2", "--temperature", 0), [1.0, 0.0, 0.0])
        self.assertEqual(probabilities("-0.0,0.0", "--temperature", 0), [1.0, 0.0])

    def test_minus_infinity_excludes(self):
        reply = harness.logit("distribution", "--logits=1,-inf,2", server=server).json()
        self.assertEqual(reply["token_ids"], [0, 2])

    def test_lists_are_parallel_and_in_order_of_id(self):
        reply = harness.logit("distribution", "--logits=6,3,0.5,0.5", "--temperature", 2, server=server).json()
        self.assertEqual(reply["token_ids"], [0, 1, 2, 3])
        self.assertAlmostEqual(sum(reply["probabilities"]), 1, delta=2e-7)
        for probability, log_prob in zip(reply["probabilities"], reply["sampling_log_probs"]):
            self.assertAlmostEqual(math.log(probability), log_prob, delta=1e-12)
        for logit, log_prob in zip([6, 3, 0.5, 0.5], reply["model_log_probs"]):
            exact = logit - math.log(math.exp(6) + math.exp(3) + 2 * math.exp(0.5))
            self.assertAlmostEqual(exact, log_prob, delta=1e-6)


if __name__ == "__main__":
    unittest.main()
