"""How right the network is on pictures whose label it knows: by class, and whether its confidence is honest."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from inspector.metrics import measure_calibration_error
from inspector.scanning.columns import Columns
from inspector.scanning.plan import ScanPlan

MOST_CONFUSIONS = 50
"""Pairs of classes that are told at most."""


def measure_answers(plan: ScanPlan, columns: Columns) -> dict[str, Any]:
    """`answers` of scan.json: accuracy, calibration, the figures of each class, and what is taken for what."""
    label, predicted = columns.label.astype(np.int64), columns.predicted.astype(np.int64)
    judged = (label >= 0) & (label < plan.known)
    right = judged & (label == predicted)
    error, bins = measure_calibration_error(columns.confidence[judged], right[judged])
    some = bool(judged.any())
    return {
        "judged": int(judged.sum()),
        "accuracy": float(right.sum() / judged.sum()) if some else None,
        "balanced_accuracy": _balance(label, judged, right) if some else None,
        "calibration_error": error if some else None,
        "calibration": bins,
        "classes": _describe_classes(plan, columns, label, predicted, judged),
        "confusions": _list_confusions(plan, label[judged], predicted[judged]),
    }


def _balance(label: NDArray[np.int64], judged: NDArray[np.bool_], right: NDArray[np.bool_]) -> float:
    counts, hits = np.bincount(label[judged]), np.bincount(label[judged], right[judged])
    return float((hits[counts > 0] / counts[counts > 0]).mean())


def _describe_classes(
    plan: ScanPlan,
    columns: Columns,
    label: NDArray[np.int64],
    predicted: NDArray[np.int64],
    judged: NDArray[np.bool_],
) -> list[dict[str, Any]]:
    size = len(plan.classes)
    labelled, named = (
        np.bincount(label[label >= 0], minlength=size),
        np.bincount(predicted[predicted >= 0], minlength=size),
    )
    hits = np.bincount(label[judged & (label == predicted)], minlength=size)
    named_judged = np.bincount(predicted[judged & (predicted >= 0)], minlength=size)
    told = columns.confidence.astype(np.float64)
    sure = np.bincount(predicted[predicted >= 0], told[predicted >= 0], size)
    return [
        {
            "class": plan.classes[k],
            "labelled": int(labelled[k]),
            "predicted": int(named[k]),
            "recall": float(hits[k] / labelled[k]) if k < plan.known and labelled[k] else None,
            "precision": float(hits[k] / named_judged[k]) if named_judged[k] else None,
            "confidence": float(sure[k] / named[k]) if named[k] else None,
        }
        for k in np.flatnonzero(labelled + named).tolist()
    ]


def _list_confusions(plan: ScanPlan, label: NDArray[np.int64], predicted: NDArray[np.int64]) -> list[dict[str, Any]]:
    wrong = (label != predicted) & (predicted >= 0)
    size = len(plan.classes)
    pairs, counts = np.unique(label[wrong] * size + predicted[wrong], return_counts=True)
    order = np.argsort(-counts, kind="stable")[:MOST_CONFUSIONS]
    return [
        {"label": plan.classes[pair // size], "predicted": plan.classes[pair % size], "pictures": count}
        for pair, count in zip(pairs[order].tolist(), counts[order].tolist(), strict=True)
    ]
