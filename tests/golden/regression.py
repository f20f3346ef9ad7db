#!/usr/bin/env python3
"""Makes regression.json beside it: softmax regressions by scikit-learn, and the cross-entropy's differences by mpmath.

    python3 -m venv /tmp/golden && /tmp/golden/bin/pip install --require-hashes -r tests/golden/requirements-regression.txt
    /tmp/golden/bin/python tests/golden/regression.py

The fits are scikit-learn's LogisticRegression (C = 1 / l2, the newton-cholesky solver) with its tolerance at the limit
of doubles; the script stops if the gradient of a fit is not below 1e-9. Two data sets are multiples of 2^-12 from a
linear congruential generator; the third is Fisher's iris flowers (1936), which scikit-learn brings along.
"""

import json
import pathlib
import random

import mpmath
import numpy
import sklearn
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression

HERE = pathlib.Path(__file__).parent
MASK64 = (1 << 64) - 1


def uniforms(seed):
    """Multiples of 2^-12 in [0, 1) from a linear congruential generator."""
    state = seed
    while True:
        state = (state * 6364136223846793005 + 1442695040888963407) & MASK64
        yield (state >> 52) / 4096


def generated(seed, samples, width, labels, scales):
    """Features around a centre of each label, in the given scales; the clouds of labels overlap."""
    stream = uniforms(seed)
    centres = [[2 * next(stream) for _ in range(width)] for _ in range(labels)]
    values, targets = [], []
    for i in range(samples):
        label = i % labels
        noise = [sum(next(stream) for _ in range(4)) - 2 for _ in range(width)]
        values.append([scales[j] * (centres[label][j] + 2 * noise[j]) for j in range(width)])
        targets.append(label)
    return numpy.array(values), numpy.array(targets)


def gradient_size(values, targets, coefficients, intercepts, l2, labels):
    logits = values @ coefficients.T + intercepts
    p = numpy.exp(logits - logits.max(axis=1, keepdims=True))
    p /= p.sum(axis=1, keepdims=True)
    residual = p - numpy.eye(labels)[targets]
    scale = numpy.abs(values).max(axis=0)
    return max(
        numpy.abs((residual.T @ values + l2 * coefficients) / scale).max(), numpy.abs(residual.sum(axis=0)).max()
    )


def fit(name, values, targets, l2):
    labels = int(targets.max()) + 1
    if labels == 2:
        # scikit-learn fits one vector w with the penalty |w|^2 / 2; two symmetric ones, w/2 and -w/2, have half of it.
        model = LogisticRegression(C=2 / l2, solver="newton-cholesky", tol=1e-14, max_iter=10000).fit(values, targets)
        coefficients = numpy.concatenate([-model.coef_ / 2, model.coef_ / 2])
        intercepts = numpy.array([-model.intercept_[0] / 2, model.intercept_[0] / 2])
    else:
        model = LogisticRegression(C=1 / l2, solver="newton-cholesky", tol=1e-14, max_iter=10000).fit(values, targets)
        coefficients, intercepts = model.coef_, model.intercept_
    intercepts = intercepts - intercepts.mean()
    size = gradient_size(values, targets, coefficients, intercepts, l2, labels)
    if size > 1e-9:
        raise SystemExit(f"{name}, l2 = {l2}: the gradient is {size}")
    return {"l2": l2, "weights": coefficients.tolist(), "offsets": intercepts.tolist()}


def data_set(name, values, targets, penalties):
    return {
        "name": name,
        "width": values.shape[1],
        "label_count": int(targets.max()) + 1,
        "values": [float(x) for x in values.ravel()],
        "labels": [int(t) for t in targets],
        "fits": [fit(name, values, targets, l2) for l2 in penalties],
    }


def gradient_case(seed, vocab_size, scale, subset, temperature):
    """A row of f32 logits, a target, and central differences of -ln p(target) by 50-digit arithmetic."""
    mpmath.mp.dps = 50
    rng = random.Random(seed)
    row = [float(numpy.float32(rng.gauss(0, scale))) for _ in range(vocab_size)]
    kept = sorted(rng.sample(range(vocab_size), vocab_size // 2)) if subset else list(range(vocab_size))
    target = rng.choice(kept)
    step = mpmath.mpf(10) ** -15

    def loss(logits):
        terms = [mpmath.exp(logits[i] / mpmath.mpf(temperature)) for i in kept]
        return mpmath.log(mpmath.fsum(terms)) - logits[target] / mpmath.mpf(temperature)

    exact = [mpmath.mpf(x) for x in row]
    differences = []
    for i in range(vocab_size):
        up, down = list(exact), list(exact)
        up[i] += step
        down[i] -= step
        differences.append(float((loss(up) - loss(down)) / (2 * step)))
    return {
        "row": row,
        "allowed": kept if subset else [],
        "temperature": temperature,
        "target": target,
        "loss": float(loss(exact)),
        "differences": differences,
    }


def main():
    iris = load_iris()
    wide = [0.01, 0.1, 1.0, 10.0, 100.0, 1000.0]
    sets = [
        data_set("iris", iris.data, iris.target, [0.1, 1.0, 10.0]),
        data_set("ten labels", *generated(1, 200, 8, 10, [1.0] * 8), [0.1, 1.0, 10.0]),
        data_set("unscaled columns", *generated(2, 150, 6, 3, wide), [0.1, 1.0, 10.0]),
        data_set("two labels", *generated(3, 120, 3, 2, [1.0] * 3), [1e-6, 1.0, 10.0]),
    ]
    cases = [
        gradient_case(1, 4, 2, False, 1.0),
        gradient_case(2, 60, 3, False, 1.0),
        gradient_case(3, 60, 3, True, 1.0),
        gradient_case(4, 60, 3, True, 0.7),
        gradient_case(5, 60, 3, False, 2.5),
        gradient_case(6, 300, 10, False, 0.3),
    ]
    content = {
        "made_by": f"tests/golden/regression.py, scikit-learn {sklearn.__version__}, numpy {numpy.__version__}, "
        f"mpmath {mpmath.__version__}",
        "regressions": sets,
        "gradients": cases,
    }
    (HERE / "regression.json").write_text(json.dumps(content) + "\n")


if __name__ == "__main__":
    main()
