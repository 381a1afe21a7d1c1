"""How good a set of scores is: loss, accuracy, balanced accuracy, recall and the confusion matrix."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Metrics:
    """Figures on N pictures of K classes.

    Attributes:
        loss: Mean cross-entropy in nats.
        accuracy: Share of right answers.
        balanced_accuracy: Mean of the recalls of the classes that occur (https://doi.org/10.1109/ICPR.2010.764).
        recall: K shares, None where a class does not occur.
        confusion: int (K, K), row the true class, column the answer.
    """

    loss: float
    accuracy: float
    balanced_accuracy: float
    recall: tuple[float | None, ...]
    confusion: tuple[tuple[int, ...], ...]

    def to_json(self) -> dict[str, Any]:
        """Every figure."""
        return {
            "loss": self.loss,
            "accuracy": self.accuracy,
            "balanced_accuracy": self.balanced_accuracy,
            "recall": list(self.recall),
            "confusion": [list(row) for row in self.confusion],
        }


def measure(scores: NDArray[Any], labels: NDArray[Any]) -> Metrics:
    """What answers are worth.

    Args:
        scores: float (N, K), before softmax.
        labels: int (N,) in 0..K-1.
    """
    values = np.asarray(scores, np.float64)
    classes = values.shape[1]
    shifted = values - values.max(axis=1, keepdims=True)
    log_sum = np.log(np.exp(shifted).sum(axis=1))
    loss = float((log_sum - shifted[np.arange(len(labels)), labels]).mean())
    confusion = np.zeros((classes, classes), np.int64)
    np.add.at(confusion, (labels, values.argmax(axis=1)), 1)
    totals = confusion.sum(axis=1)
    recall = tuple(float(confusion[k, k] / totals[k]) if totals[k] else None for k in range(classes))
    known = [r for r in recall if r is not None]
    return Metrics(
        loss,
        float(np.trace(confusion) / len(labels)),
        float(np.mean(known)),
        recall,
        tuple(tuple(int(n) for n in row) for row in confusion),
    )


def is_better(one: Mapping[str, Any], other: Mapping[str, Any] | None, select: str) -> bool:
    """Whether the figures `one` beat `other`: in `select`, and at a tie in the loss."""
    if other is None:
        return True
    if select == "loss":
        return bool(one["loss"] < other["loss"])
    return bool((one[select], -one["loss"]) > (other[select], -other["loss"]))
