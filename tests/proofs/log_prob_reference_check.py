"""Judges the 106-bit reference of log_prob_proof_test by 50 digits: ten rows, several temperatures.

LOGITD_LONG=1 takes rows of 262,144 tokens (some minutes, for mpmath takes 20 us a term); otherwise rows of 1,000.
"""

import math
import os
import pathlib
import random
import struct
import subprocess
import unittest

import mpmath

BIN = pathlib.Path(os.environ["LOGITD_BIN"])
IS_LONG = os.environ.get("LOGITD_LONG") == "1"
VOCAB_SIZE = 262144 if IS_LONG else 1000
# What log_prob_proof_test needs is 1e-12; the reference promises this.
BOUND = mpmath.mpf("1e-27")
mpmath.mp.dps = 50

# (standard deviation, temperature)
ROWS = [(1, 1.0), (3, 1.0), (3, 0.7), (10, 2.5), (0, 0.3), (1e-3, 1e-4), (30, 1e-4), (1e6, 1e6), (0.5, 1e6), (5, 0.05)]


def make_row(scale: float, seed: int) -> tuple[bytes, tuple[float, ...]]:
    """A row as f32 bytes and as what these hold."""
    rng = random.Random(seed)
    data = struct.pack(f"<{VOCAB_SIZE}f", *(rng.gauss(0, 1) * scale for _ in range(VOCAB_SIZE)))
    return data, struct.unpack(f"<{VOCAB_SIZE}f", data)


def exact_log_sum(row: tuple[float, ...], temperature: float) -> mpmath.mpf:
    top = mpmath.mpf(max(row))
    # Beyond 130 all tokens together weigh less than 1e-50.
    far = max(row) - 130 * temperature
    return mpmath.log(mpmath.fsum(mpmath.exp((mpmath.mpf(x) - top) / mpmath.mpf(temperature)) for x in row if x >= far))


class LogProbReferenceCheck(unittest.TestCase):
    def test_the_reference_is_right_to_27_digits(self):
        worst = mpmath.mpf(0)
        for seed, (scale, temperature) in enumerate(ROWS):
            with self.subTest(scale=scale, temperature=temperature):
                data, row = make_row(scale, seed)
                out = subprocess.run([BIN / "log_prob_reference", repr(temperature)], input=data, check=True,
                                     capture_output=True).stdout
                high, low = (mpmath.mpf(float.fromhex(part.decode())) for part in out.split())
                error = abs(high + low - exact_log_sum(row, temperature))
                self.assertTrue(math.isfinite(high))
                self.assertLessEqual(error, BOUND)
                worst = max(worst, error)
        print(f"{len(ROWS)} rows of {VOCAB_SIZE} tokens: worst error of the reference {mpmath.nstr(worst, 3)} nats")


if __name__ == "__main__":
    unittest.main()
