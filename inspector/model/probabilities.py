"""From raw scores to probabilities and predictions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from inspector.metadata import Activation


@dataclass(frozen=True)
class Prediction:
    """One class. probability: float in [0, 1]. score: the model's raw output."""

    index: int
    label: str
    probability: float
    score: float


class Predictions(list[Prediction]):
    """Classes, most likely first: a list that a notebook shows with bars."""

    def _repr_html_(self) -> str:
        from inspector.notebook import show_bars

        return show_bars([(x.label, x.probability) for x in self])


def to_probabilities(scores: NDArray[Any], activation: Activation) -> NDArray[np.float64]:
    """Scores (N, K) -> probabilities (N, K) in float64, without overflow."""
    values = np.asarray(scores, np.float64)
    if activation == "softmax":
        with np.errstate(invalid="ignore"):  # inf - inf in a broken model gives NaN, which is the right answer
            exponents = np.exp(values - values.max(axis=-1, keepdims=True))
            ratio: NDArray[np.float64] = exponents / exponents.sum(axis=-1, keepdims=True)
        return ratio
    if activation == "sigmoid":
        logistic: NDArray[np.float64] = 0.5 * (1 + np.tanh(0.5 * values))
        return logistic
    return values
