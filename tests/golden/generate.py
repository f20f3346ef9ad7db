#!/usr/bin/python3
"""Makes the golden vectors beside it: exact_math.json, softmax.json, weights.json, head.json, plackett_luce.json.

    /usr/bin/python3 tests/golden/generate.py    # needs Debian's python3-mpmath; about a minute

exact_math.json, softmax.json and plackett_luce.json are real-number values, computed with 50 digits. weights.json and
head.json are the normative arithmetic of docs/numerics.md again, with exact rationals rounded step by step: they share
no code with core/.
Floats stand in the files as C99 hexadecimal strings, so that nothing is lost.
"""

import fractions
import json
import math
import pathlib
import random
import struct

import mpmath

mpmath.mp.dps = 50
HERE = pathlib.Path(__file__).parent
TEMPERATURES = [1.0, 0.5, 2.0, 0.3, 0.7, 2.5, 1e-4, 1e6]
MASK64 = (1 << 64) - 1
Fraction = fractions.Fraction


def write(name, content):
    content = {"made_by": f"tests/golden/generate.py, mpmath {mpmath.__version__}, {mpmath.mp.dps} digits", **content}
    (HERE / name).write_text(json.dumps(content, indent=1) + "\n")


def to_f32(value):
    """The float nearest to a double, as a double."""
    return struct.unpack("<f", struct.pack("<f", value))[0]


def hex_of(value):
    return str(value) if math.isinf(value) else value.hex()


def generated_row(vocab_size, seed, scale):
    """vocab_size multiples of scale * 2^-24 in [-scale / 2, scale / 2), from a linear congruential generator."""
    state = seed
    row = []
    for _ in range(vocab_size):
        state = (state * 6364136223846793005 + 1442695040888963407) & MASK64
        row.append(((state >> 40) - (1 << 23)) * scale / (1 << 24))
    return row


# --- exact_math.json ---------------------------------------------------------------------------------------------


def split(value):
    """A 50-digit number as the sum of two doubles."""
    high = float(value)
    return {"high": high.hex(), "low": float(value - mpmath.mpf(high)).hex()}


def exact_math():
    rng = random.Random(1)
    logs = [1.0, 2.0, 0.5, 10.0, 0.1, 5e-324, 2.0**-1022, 1.7976931348623157e308, math.sqrt(0.5), math.sqrt(2)]
    logs += [1 + k * 2.0**-52 for k in range(1, 40)] + [1 - k * 2.0**-53 for k in range(1, 40)]
    logs += [1 + 2.0**-k for k in range(1, 52)] + [1 - 2.0**-k for k in range(2, 53)]
    logs += [math.sqrt(2) * (1 + k * 2.0**-52) for k in range(-20, 20)]
    logs += [rng.uniform(0.5, 2) for _ in range(400)] + [2 ** rng.uniform(-1070, 1020) for _ in range(200)]
    logs += [rng.randrange(1 << 42, 1 << 62) * 2.0**-42 for _ in range(200)]
    exps = [0.0, -0.0, -1.0, -745.0, -708.0, 709.5, -1e-300, -(2.0**-54), -(2.0**-53)]
    exps += [-k * math.log(2) / 2 for k in range(1, 200)]
    exps += [-rng.uniform(0, 1) for _ in range(300)] + [-rng.uniform(0, 708) for _ in range(300)]
    exps += [rng.uniform(0, 709) for _ in range(100)] + [-(2 ** rng.uniform(-60, 0)) for _ in range(100)]
    write(
        "exact_math.json",
        {
            "tolerance_ulp": 1.0,
            "log": [{"x": x.hex(), **split(mpmath.log(mpmath.mpf(x)))} for x in logs],
            "exp": [{"x": x.hex(), **split(mpmath.exp(mpmath.mpf(x)))} for x in exps],
        },
    )


# --- softmax.json ------------------------------------------------------------------------------------------------

INF = math.inf
SMALL_ROWS = {
    "mat rug floor chair": [6, 3, 0.5, 0.5],
    "one token": [-3.25],
    "thousands": [1000, 1001, 1002],
    "huge": [to_f32(1e30), to_f32(-1e30), 0],
    "nine equal": [0.125] * 9,
    "some excluded": [-INF, 1, -INF, 0.25, -2, -INF],
    "all but one excluded": [-INF, -INF, 4, -INF],
    "subnormal": [1e-40, 0, -1e-40, 2e-45],
    "both zeros": [0.0, -0.0, -1],
    "steep": [to_f32(-k * 1.1) for k in range(40)],
}
SMALL_ROWS = {name: [to_f32(x) for x in row] for name, row in SMALL_ROWS.items()}
# name, vocabulary size, seed, scale
GENERATED_ROWS = [
    ("7", 7, 11, 8),
    ("8", 8, 12, 16),
    ("257", 257, 13, 32),
    ("1025 flat", 1025, 14, 0.125),
    ("50257", 50257, 15, 16),
    ("152064 steep", 152064, 16, 64),
]


def softmax_case(row, temperature):
    t = mpmath.mpf(temperature)
    top = max(row)
    differences = [mpmath.mpf(x) - mpmath.mpf(top) if x > -INF else None for x in row]
    exps = [mpmath.exp(d / t) if d is not None else mpmath.mpf(0) for d in differences]
    total = mpmath.fsum(exps)
    log_total = mpmath.log(total)
    entropy = log_total - mpmath.fsum(e * d for e, d in zip(exps, differences) if d is not None) / t / total
    n = len(row)
    ids = sorted({row.index(top), n - 1, *range(min(n, 10)), *(i * n // 12 for i in range(12))})
    show = lambda value: mpmath.nstr(value, 30)
    return {
        "temperature": temperature.hex(),
        "log_total": show(log_total),
        "entropy": show(entropy),
        "tokens": [
            {"id": i, "exp": show(exps[i]), "log_prob": show(differences[i] / t - log_total)}
            for i in ids
            if row[i] > -INF
        ],
    }


def softmax():
    rows = []
    for name, row in SMALL_ROWS.items():
        cases = [softmax_case(row, t) for t in TEMPERATURES]
        rows.append({"name": name, "logits": [hex_of(x) for x in row], "cases": cases})
    for name, vocab_size, seed, scale in GENERATED_ROWS:
        row = generated_row(vocab_size, seed, scale)
        cases = [softmax_case(row, t) for t in TEMPERATURES]
        rows.append({"name": name, "vocab_size": vocab_size, "seed": seed, "scale": scale, "cases": cases})
    write("softmax.json", {"tolerance_log_prob_nats": 1e-6, "rows": rows})


# --- weights.json ------------------------------------------------------------------------------------------------


def rounded(value, digits, lowest_exponent):
    """A rational rounded to a binary float with `digits` digits, ties to even."""
    if value == 0:
        return value
    magnitude = abs(value)
    exponent = magnitude.numerator.bit_length() - magnitude.denominator.bit_length()
    if magnitude < Fraction(2) ** exponent:
        exponent -= 1
    unit = Fraction(2) ** (max(exponent, lowest_exponent) - digits + 1)
    return round(value / unit) * unit


def f32(value):
    return rounded(value, 24, -126)


def fma(a, b, c):
    return f32(a * b + c)


def bits_of_f32(value):
    return struct.unpack("<I", struct.pack("<f", float(value)))[0]


HEX = lambda text: Fraction(float.fromhex(text))
COEFFICIENTS = [HEX(h) for h in "0x1.41fbbap-13 0x1.5f3e54p-10 0x1.3b2d4cp-7 0x1.c6aee8p-5 0x1.ebfbdcp-3 0x1.62e430p-1 1".split()]


def fixed_point(value):
    """rne(2^42 value), by the rounding of a double addition."""
    total = rounded(value + 1536, 53, -1022)
    return int((total - 1536) * 2**42)


def normative_row(row, temperature):
    """Weights and entropy terms of a row, each step rounded as docs/numerics.md says."""
    scale = float.fromhex("0x1.71547652b82fep+0") / temperature
    high = to_f32(scale)
    low = to_f32(scale - high)
    lowest = Fraction(to_f32(-126.0 / scale))
    inverse = Fraction(to_f32(1.0 / temperature))
    high, low, magic = Fraction(high), Fraction(low), Fraction(3 << 22)
    top = Fraction(max(row))
    weights, terms = [], []
    for x in row:
        d = lowest if x == -INF else max(f32(Fraction(x) - top), lowest)
        shifted = fma(d, high, magic)
        n = f32(shifted - magic)
        f = fma(d, low, fma(d, high, -n))
        p = COEFFICIENTS[0]
        for coefficient in COEFFICIENTS[1:]:
            p = fma(p, f, coefficient)
        bits = (bits_of_f32(p) + (bits_of_f32(shifted) << 23)) & 0xFFFFFFFF
        e = Fraction(struct.unpack("<f", struct.pack("<I", bits))[0])
        weights.append(fixed_point(e))
        terms.append(fixed_point(f32(e * f32(-d * inverse))))
    return weights, terms


def philox(counter, key):
    c, k = list(counter), list(key)
    for _ in range(10):
        p0, p1 = 0xD2511F53 * c[0], 0xCD9E8D57 * c[2]
        c = [(p1 >> 32) ^ c[1] ^ k[0], p1 & 0xFFFFFFFF, (p0 >> 32) ^ c[3] ^ k[1], p0 & 0xFFFFFFFF]
        k = [(k[0] + 0x9E3779B9) & 0xFFFFFFFF, (k[1] + 0xBB67AE85) & 0xFFFFFFFF]
    return c


def draw(weights, seed, sequence_key, position):
    stream = sequence_key << 8
    x = philox([0, position, stream & 0xFFFFFFFF, stream >> 32], [seed & 0xFFFFFFFF, seed >> 32])
    r = (((x[1] << 32) | x[0]) * sum(weights)) >> 64
    for i, weight in enumerate(weights):
        if r < weight:
            return i
        r -= weight
    raise AssertionError


def weights():
    rows = {
        "mat rug floor chair": [6, 3, 0.5, 0.5],
        "huge": [to_f32(1e30), to_f32(-1e30), 0],
        "excluded and zeros": [-INF, 0.0, -0.0, -1.5, -INF, 3.25, 3.25],
        "flat 64": generated_row(64, 21, 0.25),
        "steep 65": generated_row(65, 22, 128),
        "middle 200": generated_row(200, 23, 16),
    }
    seed, sequence_key = 0x0123456789ABCDEF, 0xA5A5A5A5A5A5A5
    cases = []
    for name, row in rows.items():
        for temperature in TEMPERATURES:
            w, terms = normative_row(row, temperature)
            cases.append(
                {
                    "name": name,
                    "temperature": temperature.hex(),
                    "logits": [hex_of(to_f32(x)) for x in row],
                    "weights": w,
                    "total_weight": sum(w),
                    "entropy_terms": sum(terms),
                    "tokens": [draw(w, seed, sequence_key, position) for position in range(32)],
                }
            )
    write("weights.json", {"seed": seed, "sequence_key": sequence_key, "cases": cases})


# --- plackett_luce.json ------------------------------------------------------------------------------------------


def order_log_prob(log_strengths, top, item_count):
    """ln P(the first places are `top`), straight from the definition."""
    left = set(range(item_count))
    total = mpmath.mpf(0)
    for item in top:
        total += mpmath.mpf(log_strengths[item]) - mpmath.log(mpmath.fsum(mpmath.exp(log_strengths[i]) for i in left))
        left.remove(item)
    return total


def order_cases():
    rng = random.Random(7)
    strengths = {
        "10, 6, 3 as logarithms": [math.log(10), math.log(6), math.log(3)],
        "equal": [-2.5] * 5,
        "thousands of nats apart": [0.0, 1000.0, -1000.0, 1000.25, -3.5, -1000.0],
        "nearly certain": [40.0, 0.0, -40.0, -80.5],
        "normal": [rng.gauss(0, 1) for _ in range(12)],
        "steep": [-0.7 * i for i in range(200)],
        "long and flat": [rng.gauss(0, 0.01) for _ in range(400)],
        "sums of log-probs": [-rng.uniform(0, 400) for _ in range(100)],
    }
    cases = []
    for name, values in strengths.items():
        n = len(values)
        exact = [mpmath.mpf(v) for v in values]
        best = sorted(range(n), key=lambda i: (-values[i], i))
        for kind, order in (("best first", best), ("worst first", best[::-1]), ("any", rng.sample(range(n), n))):
            tops = [{"place_count": k, "log_prob": mpmath.nstr(order_log_prob(exact, order[:k], n), 30)}
                    for k in sorted({1, 2, n // 2, n})]
            cases.append({"name": f"{name}, {kind}", "log_strengths": [v.hex() for v in values], "order": order,
                          "tops": tops})
    return cases


def stages_of(ranking, item_count):
    """(chosen, left) of each stage of a ranking."""
    items = ranking["items"]
    others = [i for i in range(item_count) if i not in items] if ranking["others_below"] else []
    everything = items + others
    return [(items[t], everything[t:]) for t in range(len(items)) if len(everything) - t > 1]


def fit_case(name, item_count, rankings):
    """The maximum by Newton's steps in 50 digits; the information is a sum over stages of diag(p) - p p'."""
    stages = [(r["count"], chosen, left) for r in rankings for chosen, left in stages_of(r, item_count)]
    n = item_count
    s = mpmath.matrix(n, 1)
    for _ in range(200):
        gradient, information = mpmath.matrix(n, 1), mpmath.matrix(n, n)
        likelihood = mpmath.mpf(0)
        for count, chosen, left in stages:
            total = mpmath.fsum(mpmath.exp(s[i]) for i in left)
            p = {i: mpmath.exp(s[i]) / total for i in left}
            likelihood += count * mpmath.log(p[chosen])
            gradient[chosen] += count
            for i in left:
                gradient[i] -= count * p[i]
                information[i, i] += count * p[i]
                for j in left:
                    information[i, j] -= count * p[i] * p[j]
        for i in range(n):
            for j in range(n):
                information[i, j] += mpmath.mpf(1) / n
        step = mpmath.lu_solve(information, gradient)
        largest = max(abs(x) for x in step)
        s += step / max(1, largest)
        if largest < mpmath.mpf(10) ** -45:
            break
    else:
        raise AssertionError(name)
    inverse = information**-1
    return {
        "name": name,
        "item_count": n,
        "rankings": rankings,
        "log_strengths": [mpmath.nstr(x, 30) for x in s],
        "standard_errors": [mpmath.nstr(mpmath.sqrt(inverse[i, i] - mpmath.mpf(1) / n), 30) for i in range(n)],
        "log_likelihood": mpmath.nstr(likelihood, 30),
    }


def fit_cases():
    rng = random.Random(8)
    ranking = lambda items, others_below=False, count=1: {
        "items": items, "others_below": others_below, "count": count}
    shuffled = [ranking(rng.sample(range(5), 5)) for _ in range(30)]
    partial = [ranking(rng.sample(range(6), rng.randrange(2, 6)), count=rng.randrange(1, 9)) for _ in range(40)]
    top = [ranking(rng.sample(range(6), rng.randrange(1, 4)), others_below=True) for _ in range(40)]
    return [
        fit_case("two items", 2, [ranking([0, 1], count=3), ranking([1, 0])]),
        fit_case("full rankings", 5, shuffled),
        fit_case("partial rankings with counts", 6, partial),
        fit_case("the top of each", 6, top),
        fit_case("all kinds", 6, shuffled + partial + top),
        fit_case("a chain that hangs together by single wins", 8,
                 [r for i in range(7) for r in (ranking([i, i + 1], count=1000), ranking([i + 1, i]))]),
    ]


def plackett_luce():
    write(
        "plackett_luce.json",
        {
            "tolerance_order": {"relative": 1e-15, "nats_per_item": 1e-15},
            "tolerance_fit_nats": 1e-10,
            "orders": order_cases(),
            "fits": fit_cases(),
        },
    )
# --- head.json ---------------------------------------------------------------------------------------------------


def rational(value):
    """A 50-digit number as a rational."""
    return Fraction(*mpmath.libmp.to_rational(mpmath.mpf(value)._mpf_))


def normed(row, weight, epsilon):
    """The RMS norm of a row, each value rounded once."""
    mean = sum(x * x for x in row) / len(row)
    root = mpmath.sqrt(mpmath.mpf(mean.numerator) / mean.denominator + mpmath.mpf(epsilon))
    return [f32(rational(mpmath.mpf((x * w).numerator) / (x * w).denominator / root)) for x, w in zip(row, weight)]


def head_logit(row, column, bias, scale, soft_cap):
    total = None
    for begin in range(0, len(row), 128):
        block = Fraction(0)
        for h, w in zip(row[begin : begin + 128], column[begin : begin + 128]):
            block = fma(h, w, block)
        total = block if total is None else f32(total + block)
    logit = f32(f32(total + bias) * scale)
    if soft_cap:
        x = mpmath.mpf(logit.numerator) / logit.denominator
        logit = f32(rational(soft_cap * mpmath.tanh(x / soft_cap)))
    return logit


def head():
    cases = []
    for hidden_size in [1, 5, 127, 128, 129, 600, 1100]:
        settings = [(False, 1.0, 0, None), (True, 0.7, 0, 1e-5), (True, -1.5, 30, None), (False, 1.0, 5, 1e-6)]
        for with_bias, scale, soft_cap, epsilon in settings:
            hidden = [Fraction(x) for x in generated_row(2 * hidden_size, 41 + hidden_size, 8)]
            weights = [Fraction(x) for x in generated_row(3 * hidden_size, 42, 1)]
            bias = [Fraction(x) * with_bias for x in generated_row(3, 43, 4)]
            norm = [Fraction(x) for x in generated_row(hidden_size, 44, 4)]
            logits = []
            for i in range(2):
                row = hidden[i * hidden_size : (i + 1) * hidden_size]
                if epsilon is not None:
                    row = normed(row, norm, epsilon)
                for j in range(3):
                    column = weights[j * hidden_size : (j + 1) * hidden_size]
                    logits.append(head_logit(row, column, bias[j], Fraction(to_f32(scale)), soft_cap))
            case = {"hidden_size": hidden_size, "with_bias": with_bias, "scale": scale.hex(), "soft_cap": soft_cap}
            if epsilon is not None:
                case["epsilon"] = epsilon.hex()
            cases.append({**case, "logits": [bits_of_f32(logit) for logit in logits]})
    write("head.json", {"cases": cases})


if __name__ == "__main__":
    exact_math()
    weights()
    head()
    softmax()
    plackett_luce()
