#!/usr/bin/python3
"""Makes divergence.json beside it: KL, JS, total variation and entropy of pairs of rows, with 50 digits.

    /usr/bin/python3 tests/golden/generate_divergence.py    # needs Debian's python3-mpmath; a few seconds

The definitions are written out as sums of p ln(p / q), not in the form that client/comparison computes.
"""

import json
import math
import pathlib
import random

import mpmath

mpmath.mp.dps = 50
INF = math.inf
HERE = pathlib.Path(__file__).parent


def softmax(row, temperature):
    top = mpmath.mpf(max(row))
    t = mpmath.mpf(temperature)
    weights = [mpmath.mpf(0) if x == -INF else mpmath.exp((mpmath.mpf(x) - top) / t) for x in row]
    total = mpmath.fsum(weights)
    return [w / total for w in weights]


def kl(p, q, p_row, q_row):
    """Infinite where q excludes a token that p does not."""
    if any(b == -INF < a for a, b in zip(p_row, q_row)):
        return mpmath.inf
    return mpmath.fsum(a * mpmath.log(a / b) for a, b in zip(p, q) if a > 0)


def js(p, q):
    middle = [(a + b) / 2 for a, b in zip(p, q)]
    half = lambda x: mpmath.fsum(a * mpmath.log(a / m) for a, m in zip(x, middle) if a > 0)
    return (half(p) + half(q)) / 2


def case(name, p_row, q_row, temperature=1.0):
    p, q = softmax(p_row, temperature), softmax(q_row, temperature)
    show = lambda value: mpmath.nstr(value, 30) if mpmath.isfinite(value) else "inf"
    differences = [abs(a - b) for a, b in zip(p, q)]
    return {
        "name": name,
        "temperature": temperature,
        "p": [str(x) if math.isinf(x) else x.hex() for x in map(float, p_row)],
        "q": [str(x) if math.isinf(x) else x.hex() for x in map(float, q_row)],
        "kl_pq": show(kl(p, q, p_row, q_row)),
        "kl_qp": show(kl(q, p, q_row, p_row)),
        "js": show(js(p, q)),
        "total_variation": show(mpmath.fsum(differences) / 2),
        "p_entropy": show(-mpmath.fsum(a * mpmath.log(a) for a in p if a > 0)),
        "largest": max(range(len(p)), key=lambda i: (differences[i], -i)),
    }


def main():
    rng = random.Random(5)
    normal = lambda n, scale: [rng.gauss(0, scale) for _ in range(n)]
    moved = lambda row, scale: [x + rng.gauss(0, scale) for x in row]
    cases = [
        case("four tokens", [2.0, 1.0, 1.0, -INF], [1.0, 1.0, 1.0, 1.0]),
        case("excluded by both", [2.0, -INF, 1.0], [1.0, -INF, 3.0], 0.7),
        case("nothing in common", [1.0, -INF], [-INF, 1.0]),
        case("far apart", [100.0, -100.0, 0.0], [-100.0, 100.0, 0.0]),
        case("beyond a double", [0.0, -800.0, -1.0], [-800.0, 0.0, -1.0]),
        case("one token", [3.0], [-7.0]),
        case("shifted by a constant", [1.0, 2.0, 4.0], [1001.0, 1002.0, 1004.0]),
    ]
    for scale in (1e-9, 1e-6, 1e-3, 0.1, 0.24, 0.26, 1.0, 10.0):
        row = normal(200, 3)
        cases.append(case(f"moved by {scale}", row, moved(row, scale)))
    for temperature in (1e-4, 0.3, 0.7, 2.5, 1e6):
        cases.append(case(f"temperature {temperature}", normal(50, 4), normal(50, 4), temperature))
    content = {
        "made_by": f"tests/golden/generate_divergence.py, mpmath {mpmath.__version__}, {mpmath.mp.dps} digits",
        "cases": cases,
    }
    (HERE / "divergence.json").write_text(json.dumps(content, indent=1) + "\n")


if __name__ == "__main__":
    main()
