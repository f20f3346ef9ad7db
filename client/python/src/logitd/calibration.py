"""Calibrations: probabilities of labels from scores or features, fitted to labelled samples.

    fitted = client.fit_calibration(scores, labels, kind="temperature")
    fitted.evaluation.after.nll.value, fitted.evaluation.before.nll.value
    fitted.save("sentiment.json")                       # for logitd --calibration sentiment=sentiment.json
    fitted.probabilities([-3.2, -4.0])

docs/calibration.md explains the forms, the metrics and the file.
"""

from __future__ import annotations

import dataclasses
import hashlib
import math
import os
import struct
from collections.abc import Iterable
from typing import Any, SupportsFloat, SupportsIndex

from google.protobuf import json_format

from logitd import _replies, _unary, _values
from logitd._replies import reply
from logitd.v1 import calibration_pb2, completion_pb2

_PATH = "/logitd.v1.FittingService/FitCalibration"


@reply("logitd.v1.MetricEstimate")
@dataclasses.dataclass(frozen=True, slots=True)
class MetricEstimate:
    """A mean over samples with its 95 % bootstrap interval; None: no bootstrap."""

    value: float = 0.0
    lower: float | None = None
    upper: float | None = None


@reply("logitd.v1.CalibrationMetrics")
@dataclasses.dataclass(frozen=True, slots=True)
class CalibrationMetrics:
    """Means over samples."""

    # -ln p(label), nats.
    nll: MetricEstimate = MetricEstimate()
    # Sum over the labels of (p - y)^2, in [0, 2].
    brier: MetricEstimate = MetricEstimate()
    # Expected calibration error, in [0, 1].
    ece: MetricEstimate = MetricEstimate()
    accuracy: MetricEstimate = MetricEstimate()


@reply("logitd.v1.ReliabilityBin")
@dataclasses.dataclass(frozen=True, slots=True)
class ReliabilityBin:
    """The samples whose largest probability lies in [lower, upper); the last bin is closed."""

    lower: float = 0.0
    upper: float = 0.0
    count: int = 0
    # Means; 0 without a sample.
    confidence: float = 0.0
    accuracy: float = 0.0


@reply("logitd.v1.CalibrationEvaluation")
@dataclasses.dataclass(frozen=True, slots=True)
class CalibrationEvaluation:
    """Predictions for each sample by a fit that has not seen it. None: the samples have features, and no prediction of
    their own."""

    folds: int = 0
    bootstrap_count: int = 0
    seed: int = 0
    before: CalibrationMetrics | None = None
    after: CalibrationMetrics = CalibrationMetrics()
    # after - before, over the same bootstrap samples.
    difference: CalibrationMetrics | None = None
    # Of difference.nll, nats.
    nll_difference_standard_error: float | None = None
    bins_before: tuple[ReliabilityBin, ...] = ()
    bins_after: tuple[ReliabilityBin, ...] = ()


@reply("logitd.v1.Calibration")
@dataclasses.dataclass(frozen=True, slots=True)
class Calibration:
    """A fitted softmax regression."""

    # "temperature", "vector_scaling" or "multinomial".
    kind: str = ""
    # "scores" or "features".
    input: str = ""
    # The score that it was fitted to: "sum", "per_token", ...
    score: str = ""
    gnmt_alpha: float | None = None
    label_count: int = 0
    width: int = 0
    label_names: tuple[str, ...] = ()
    # "temperature": (1 / temperature,). "vector_scaling": a scale for each label. "multinomial": [label_count, width].
    weights: tuple[float, ...] = ()
    # For each label; of "temperature" none. Their sum is 0.
    offsets: tuple[float, ...] = ()
    l2: float = 0.0
    sample_count: int = 0
    evaluation: CalibrationEvaluation | None = None
    # SHA-256 of the numbers, as 64 hexadecimal digits.
    fingerprint: str = ""

    @property
    def temperature(self) -> float | None:
        """Of kind "temperature"."""
        return 1 / self.weights[0] if self.kind == "temperature" else None

    def log_probs(self, values: Iterable[SupportsFloat]) -> list[float]:
        """ln p of each label, nats, for one sample's numbers, [width]. The server's own differ in the last digits.
        -inf: that label is not possible, which a "multinomial" cannot take. Raises ValueError for another number of
        them, and for values that are not numbers."""
        x = [float(value) for value in values]
        if len(x) != self.width:
            raise ValueError(f"values must be {self.width} numbers, got {len(x)}")
        for i, value in enumerate(x):
            if math.isnan(value) or value == math.inf:
                raise ValueError(f"values[{i}] must be finite or -inf, got {value}")
            if value == -math.inf and self.kind == "multinomial":
                raise ValueError(f"values[{i}] must be finite for a multinomial, got {value}")
        if not math.isfinite(max(x)):
            raise ValueError("values must have one that is finite")
        if self.kind == "temperature":
            z = [self.weights[0] * value for value in x]
        elif self.kind == "vector_scaling":
            z = [a * value + b for a, value, b in zip(self.weights, x, self.offsets)]
        else:
            rows = (self.weights[k * self.width:(k + 1) * self.width] for k in range(self.label_count))
            z = [math.fsum(w * value for w, value in zip(row, x)) + b for row, b in zip(rows, self.offsets)]
        most = max(z)
        log_sum = math.log(math.fsum(math.exp(value - most) for value in z))
        return [(value - most) - log_sum for value in z]

    def probabilities(self, values: Iterable[SupportsFloat]) -> list[float]:
        """p of each label for one sample's numbers, [width]."""
        return [math.exp(value) for value in self.log_probs(values)]

    def to_json(self) -> str:
        """The content of the file that `logitd --calibration NAME=FILE` reads."""
        return json_format.MessageToJson(_message(self, calibration_pb2.Calibration()),
                                         preserving_proto_field_name=True) + "\n"

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes that file. A file that is there is replaced, once the new one is whole."""
        temporary = f"{os.fspath(path)}.{os.getpid()}.tmp"
        try:
            with open(temporary, "w", encoding="utf-8") as file:
                file.write(self.to_json())
            os.replace(temporary, path)
        except BaseException:
            if os.path.exists(temporary):
                os.unlink(temporary)
            raise

    @staticmethod
    def load(path: str | os.PathLike[str]) -> Calibration:
        """Reads such a file. Raises ValueError if it is none, or if its numbers were changed after the fit."""
        with open(path, encoding="utf-8") as file:
            text = file.read()
        try:
            message = json_format.Parse(text, calibration_pb2.Calibration())
        except json_format.ParseError as error:
            raise ValueError(f"{os.fspath(path)} is no calibration: {error}") from None
        fingerprint = _fingerprint(message)
        if message.fingerprint != fingerprint:
            raise ValueError(f"{os.fspath(path)}: fingerprint must be {fingerprint}, that of its numbers, got "
                             f"{message.fingerprint!r}: they were changed after the fit")
        return _replies.convert(Calibration, message)


def _fingerprint(message: calibration_pb2.Calibration) -> str:
    """Of the numbers, as the server computes it: docs/numerics.md, section 10."""
    numbers = [*message.weights, *message.offsets]
    head = struct.pack("<iiidii", message.kind, message.input, message.score, message.gnmt_alpha, message.label_count,
                       message.width)
    return hashlib.sha256(head + struct.pack(f"<{len(numbers)}d", *numbers)).hexdigest()


@reply("logitd.v1.FitCalibrationResponse")
@dataclasses.dataclass(frozen=True, slots=True)
class _Fitted:
    calibration: Calibration = Calibration()
    provenance: Any = None


def _message(value: Any, message: Any) -> Any:
    """Puts a dataclass of a reply back into its message."""
    for field in message.DESCRIPTOR.fields:
        part = getattr(value, field.name)
        if part is None or part == ():
            continue
        if field.message_type is not None:
            parts = part if isinstance(part, tuple) else (part,)
            for one in parts:
                into = getattr(message, field.name)
                _message(one, into.add() if isinstance(part, tuple) else into)
                if not isinstance(part, tuple):
                    into.SetInParent()
        elif field.enum_type is not None:
            if part:
                enum = getattr(calibration_pb2, field.enum_type.name, None) or getattr(completion_pb2,
                                                                                       field.enum_type.name)
                setattr(message, field.name, _values.enum_value(enum, part, field.name))
        elif isinstance(part, tuple):
            getattr(message, field.name).extend(part)
        else:
            setattr(message, field.name, part)
    return message


def _rows(values: Any) -> tuple[list[float], int]:
    """The numbers of [samples, width], and the width. Raises ValueError for rows of different lengths."""
    if _values.is_array(values):
        if values.ndim != 2:
            raise ValueError(f"values must be of shape [samples, width], got {tuple(values.shape)}")
        return [float(x) for x in values.reshape(-1).tolist()], int(values.shape[1])
    flat: list[float] = []
    width: int | None = None
    for i, row in enumerate(_values.items(values, "values", "lists of numbers")):
        numbers = row.tolist() if _values.is_array(row) else _values.items(row, f"values[{i}]", "numbers")
        width = len(numbers) if width is None else width
        if len(numbers) != width:
            raise ValueError(f"values[{i}] must have {width} numbers, as values[0], got {len(numbers)}")
        flat.extend(_values.number(x, f"values[{i}]") for x in numbers)
    return flat, width or 0


def fit_request(values: Any, labels: Iterable[SupportsIndex], *, kind: str = "temperature", input: str = "scores",
                label_count: SupportsIndex | None = None, l2: SupportsFloat = 0.0, score: str | None = None,
                gnmt_alpha: SupportsFloat | None = None, label_names: Iterable[str] = (),
                folds: SupportsIndex | None = None, bootstrap_count: SupportsIndex | None = None,
                seed: SupportsIndex = 0, bin_count: SupportsIndex | None = None, timeout: float | None = None
                ) -> _unary.Unary[Calibration]:
    """FittingService.FitCalibration; Client.fit_calibration explains the arguments."""
    flat, width = _rows(values)
    names = [_values.text(name, f"label_names[{k}]")
             for k, name in enumerate(_values.items(label_names, "label_names", "texts"))]
    ids = _values.token_ids(labels, "labels", "a list of labels")
    request = calibration_pb2.FitCalibrationRequest(
        kind=_values.enum_value(calibration_pb2.CalibrationKind, kind, "kind"),  # type: ignore[arg-type]
        input=_values.enum_value(calibration_pb2.CalibrationInput, input, "input"),  # type: ignore[arg-type]
        width=width, values=flat, labels=ids, label_names=names, l2=_values.number(l2, "l2"),
        seed=_values.uint64(seed, "seed"))
    if label_count is not None:
        request.label_count = _values.int32(label_count, "label_count")
    elif input == "features":
        request.label_count = len(names) or max(ids, default=-1) + 1
    else:
        request.label_count = width
    if score is not None:
        request.score = _values.enum_value(completion_pb2.Normalization, score, "score")  # type: ignore[assignment]
    if gnmt_alpha is not None:
        request.gnmt_alpha = _values.number(gnmt_alpha, "gnmt_alpha")
    for name, value in (("folds", folds), ("bootstrap_count", bootstrap_count), ("bin_count", bin_count)):
        if value is not None:
            setattr(request, name, _values.int32(value, name))
    return _unary.Unary(_PATH, request, calibration_pb2.FitCalibrationResponse,
                        lambda response: _replies.convert(_Fitted, response).calibration, timeout)
