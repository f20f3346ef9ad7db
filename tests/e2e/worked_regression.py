"""The numbers of the worked examples of docs/calibration.md, computed by a server."""

import math
import struct

import wire
from logitd.v1 import calibration_pb2 as calibration
from logitd.v1 import logits_pb2 as rows
from logitd.v1 import scoring_service_pb2 as scoring


def lines(address: str) -> list[str]:
    """The lines that the page must have."""
    with wire.connect(address) as client:
        return [*two_labels(client), *derivative(client)]


def two_labels(client: wire.Client) -> list[str]:
    """Softmax regression with two labels is logistic regression."""
    request = calibration.FitCalibrationRequest(
        kind=calibration.CALIBRATION_KIND_MULTINOMIAL, input=calibration.CALIBRATION_INPUT_FEATURES,
        label_count=2, width=1, values=[1, 2, 3, 4], labels=[0, 1, 0, 1], folds=0)
    fitted = client.fitting.FitCalibration(request, timeout=wire.TIMEOUT_S).calibration
    w = fitted.weights[1] - fitted.weights[0]
    b = fitted.offsets[1] - fitted.offsets[0]
    return [f"w = w_1 - w_0 = {w:.4f}", f"b = b_1 - b_0 = {b:.4f}",
            f"p(1 | x = 3) = {1 / (1 + math.exp(-(w * 3 + b))):.4f}"]


def derivative(client: wire.Client) -> list[str]:
    """The gradient of the cross-entropy, and a central difference of it."""
    row, target, step = (6.0, 3.0, 0.5, 0.5), 1, 1 / 64
    answer = score(client, row, target)
    gradient = struct.unpack("<4f", answer.gradient.values)
    up, down = (loss(score(client, (6 + sign * step, *row[1:]), target)) for sign in (1, -1))
    return [f"L = {loss(answer):.4f}", "p - y = " + "  ".join(f"{value:.4f}" for value in gradient),
            f"(L(6 + h) - L(6 - h)) / 2h = {(up - down) / (2 * step):.3f}"]


def score(client: wire.Client, row: tuple[float, ...], target: int) -> scoring.ScoreLogitsResponse:
    """The loss of one row, and its gradient."""
    block = rows.LogitsBlock(dtype=rows.LOGITS_DTYPE_F32, row_count=1, width=len(row))
    messages = [
        scoring.ScoreLogitsRequest(config=scoring.ScoreLogitsConfig(vocab_size=len(row), gradient=True)),
        scoring.ScoreLogitsRequest(payload=struct.pack(f"<{len(row)}f", *row), rows=scoring.ScoreLogitsRows(
            blocks=[block], target_token_ids=[target], last=True))]
    answer, = client.scoring.ScoreLogits(iter(messages), timeout=wire.TIMEOUT_S)
    return answer


def loss(answer: scoring.ScoreLogitsResponse) -> float:
    return -answer.score.totals.cumulative_model_log_prob
