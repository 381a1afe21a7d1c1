"""Honest probabilities: one temperature by maximum likelihood, as an output of its own.

Guo, Pleiss, Sun, Weinberger: On Calibration of Modern Neural Networks, 2017 (arXiv:1706.04599), section 4.2: the scores
are divided by one number, which leaves the order of the classes as it is, before they become probabilities.
"""

from __future__ import annotations

import math
import os
from typing import Any

import numpy as np
from numpy.typing import NDArray

from exporters.attaching.pictures import find_by_class, read_values, split_halves
from exporters.attaching.sizes import TensorSizes
from exporters.attaching.workbench import AttachError, Workbench
from inspector.errors import NotComputable
from inspector.metrics import measure_calibration_error
from inspector.model import to_probabilities
from inspector.model.probabilities import are_probabilities

Rows = NDArray[np.float64]
_FEWEST = 20
"""Pictures below which a temperature says nothing."""
_ROUNDS = 200
_DRAWS = 1000
_SMALLEST = 1e-30
"""What a probability of 0 counts as before its logarithm."""


def fit_temperature(scores: Rows, labels: NDArray[np.int64]) -> float:
    """The temperature T that makes the labels likeliest: argmax of sum_n log softmax(z_n / T)[y_n].

    In 1 / T the negative logarithm is convex, so that its minimum is the one zero of its derivative,
    sum_n (E_p[z] - z_y), which Newton's steps find, kept inside an interval that shrinks.

    Args:
        scores: float64 (N, K), K of 2 or more.
        labels: int64 (N,), the right classes.

    Raises:
        AttachError: There is no such temperature: the scores say nothing about the classes, or are always right.
    """
    right = scores[np.arange(len(labels)), labels]

    def slope(sharpness: float) -> tuple[float, float]:
        p = to_probabilities(scores * sharpness, "softmax")
        mean = (p * scores).sum(axis=1)
        bend = (p * np.square(scores - mean[:, None])).sum(axis=1)
        return float((mean - right).mean()), float(bend.mean())

    unit = float(np.abs(scores - scores.mean(axis=1, keepdims=True)).max()) or 1.0
    low, high = 1e-4 / unit, 1e4 / unit
    if slope(low)[0] >= 0:
        raise AttachError(
            "the scores say nothing about the classes of these pictures: they are likeliest when all classes are alike",
            "check that the folders are named after the right classes, and the preprocess (inspector audit)",
        )
    if slope(high)[0] < 0 and bool((scores.argmax(axis=1) == labels).all()):
        raise AttachError(
            f"all {len(labels)} pictures are right, and the more certain the likelier: there is no temperature",
            "give --calibrate more pictures, which the network was not trained on",
        )
    at = math.sqrt(low * high)
    for _ in range(_ROUNDS):
        value, bend = slope(at)
        low, high = (at, high) if value < 0 else (low, at)
        step = at - value / bend if bend > 0 else math.inf
        following = step if low < step < high else math.sqrt(low * high)
        if abs(following - at) <= 1e-12 * at:
            break
        at = following
    return 1 / at


def attach_probability(bench: Workbench, folder: str | os.PathLike[str]) -> tuple[dict[str, Any], list[str]]:
    """Add the calibrated probabilities of the classes.

    Args:
        bench: The network that is added to.
        folder: Pictures in folders named after classes, which the network was not trained on.

    Returns:
        The figures: temperature, calibration error before and after; and notes.

    Raises:
        NotComputable: The network is no classifier, or one whose classes do not exclude each other.
        ImageError: There are no labelled pictures.
        AttachError: There are too few pictures, or no temperature.
    """
    model, classifier = bench.model, bench.model.classifier
    if classifier is None:
        raise NotComputable(f"{model.path} is no classifier", "--calibrate makes probabilities of classes")
    if model.classes == 1 and model.labels and len(model.labels) == 1:
        raise NotComputable(
            f"{model.path} knows one class, and folders named after it hold nothing else",
            "name both classes (annotate --labels), the second being that which a high score says",
        )
    pictures = find_by_class(model, folder, "--calibrate")
    values, read, notes = read_values(model, pictures.paths, [classifier.scores])
    raw = values[classifier.scores].reshape(len(read), -1).astype(np.float64)
    labels = pictures.labels[read]
    activation = "none" if classifier.guessed and are_probabilities(raw) else classifier.activation
    if raw.shape[1] > 1 and activation == "sigmoid":
        raise NotComputable(
            f"the classes of {model.path} do not exclude each other, and a folder says no more than one of them",
            "--calibrate is for one class a picture (annotate --activation softmax, if that is what it means)",
        )
    if len(labels) < _FEWEST:
        raise AttachError(f"{len(labels)} labelled pictures are too few to calibrate with", f"give {_FEWEST} or more")
    scores = to_logits(raw, activation)
    temperature, figures = measure_temperature(scores, labels)
    sizes = bench.measure()
    name = bench.add_output(
        _emit_probability(bench, classifier.scores, activation, temperature, sizes),
        "probability",
        f"probability of each class: the scores divided by {temperature:.4g}, then softmax",
        (bench.batch, raw.shape[1]),
        {"temperature": temperature, "pictures": len(labels), "logarithm": activation == "none"},
    )
    return {"output": name, **figures}, [*pictures.notes, *notes]


def to_logits(rows: Rows, activation: str) -> Rows:
    """Scores as (N, K) of which a softmax makes probabilities: of one score those of two classes."""
    if rows.shape[1] == 1:
        first = np.clip(rows, _SMALLEST, 1 - 1e-16) if activation == "none" else rows
        value = np.log(first / (1 - first)) if activation == "none" else first
        return np.concatenate([np.zeros_like(value), value], axis=1)
    return np.log(np.maximum(rows, _SMALLEST)) if activation == "none" else rows


def measure_temperature(scores: Rows, labels: NDArray[np.int64]) -> tuple[float, dict[str, Any]]:
    """(temperature, figures): fitted on all; the figures are those of each half under the other half's temperature."""
    first = split_halves(labels)
    halves = [fit_temperature(scores[part], labels[part]) for part in (first, ~first)]
    after = np.empty_like(scores)
    after[~first], after[first] = scores[~first] / halves[0], scores[first] / halves[1]
    rows = [to_probabilities(some, "softmax") for some in (scores, after)]
    right = scores.argmax(axis=1) == labels
    confidence = [p.max(axis=1) for p in rows]
    ece = [measure_calibration_error(sure, right)[0] for sure in confidence]
    rng = np.random.default_rng(0)
    drawn = np.array(
        [
            [measure_calibration_error(sure[places], right[places])[0] for sure in confidence]
            for places in rng.integers(0, len(labels), (_DRAWS, len(labels)))
        ]
    )
    likelihood = [float(-np.log(np.maximum(p[np.arange(len(labels)), labels], _SMALLEST)).mean()) for p in rows]
    figures: dict[str, Any] = {
        "temperature": fit_temperature(scores, labels),
        "temperature_halves": halves,
        "pictures": len(labels),
        "accuracy": float(right.mean()),
    }
    for k, when in enumerate(("before", "after")):
        low, high = (float(x) for x in np.quantile(drawn[:, k], (0.025, 0.975)))
        figures[f"ece_{when}"] = {"value": ece[k], "low": low, "high": high}
        figures[f"nll_{when}"] = likelihood[k]
    change = np.quantile(drawn[:, 1] - drawn[:, 0], (0.025, 0.975))
    figures["ece_change"] = {"value": ece[1] - ece[0], "low": float(change[0]), "high": float(change[1])}
    return float(figures["temperature"]), figures


def _emit_probability(bench: Workbench, scores: str, activation: str, temperature: float, sizes: TensorSizes) -> str:
    write, model = bench.write, bench.model
    name = write.to_float(scores) if sizes.is_half(scores) else scores
    count = model.classes or -1
    rows = write.reshape(name, model.input.batch or -1, count) if count > 0 else name
    if activation == "none":
        certain = write.emit("Max", rows, write.number(_SMALLEST))
        odds = write.emit("Div", certain, write.emit("Sub", write.number(1), rows)) if count == 1 else certain
        rows = write.emit("Log", odds)
    scaled = write.emit("Div", rows, write.number(temperature))
    if count == 1:
        return write.emit("Sigmoid", scaled)
    return write.emit("Softmax", scaled, axis=-1)
