"""Pictures whose label is probably wrong, by confident learning.

C. G. Northcutt, L. Jiang, I. L. Chuang, "Confident Learning: Estimating Uncertainty in Dataset Labels" (JAIR 2021).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from inspector.scanning.columns import STEP, Columns


@dataclass(frozen=True)
class LabelSuspects:
    """What confident learning finds in n pictures.

    Attributes:
        suggested: The class that a picture confidently belongs to, int64 (n,); -1 where there is none. It is a suspect
            where this is another class than its label.
        quality: The probability of its label's class, which is the score that suspects are ranked by: the smaller the
            more suspect, float64 (n,); NaN without a label that the network knows.
        joint: Counts of the confident joint, int64 (K, K): label by row, confident class by column.
        thresholds: Mean probability of class k over the pictures with label k, float64 (K,); NaN for a class without.
    """

    suggested: NDArray[np.int64]
    quality: NDArray[np.float64]
    joint: NDArray[np.int64]
    thresholds: NDArray[np.float64]


def find_suspects(columns: Columns, known: int, step: int = STEP) -> LabelSuspects:
    """Find the pictures that confidently belong to another class than their label says.

    The threshold of class j is its mean probability over the pictures with label j (equation 2). A picture with label i
    counts in (i, j) of the confident joint where j is the most likely of the classes whose probability reaches their
    threshold (equation 1); off the diagonal it is a suspect. Of each picture the KEPT_CLASSES most likely classes are
    looked at, which is all of them for up to so many classes.

    Args:
        columns: The pictures.
        known: How many classes K the network has; labels beyond are not judged.
        step: Pictures that are looked at together.
    """
    label = columns.label.astype(np.int64)
    own = (label >= 0) & (label < known)
    quality = np.where(own, columns.label_probability.astype(np.float64), np.nan)
    counts = np.bincount(label[own], minlength=known)
    with np.errstate(invalid="ignore", divide="ignore"):
        thresholds = np.bincount(label[own], quality[own], known) / counts
    suggested = np.full(len(columns), -1, np.int64)
    # A class that no picture is labelled with is suggested to none.
    reached = np.append(np.where(counts > 0, thresholds, np.inf), np.inf)
    pieces = zip(columns.walk("top_classes", step), columns.walk("top_probabilities", step), strict=True)
    for (start, classes), (_, probabilities) in pieces:
        if not classes.shape[1]:
            break
        # They are sorted: the first that reaches its threshold is the most likely of those that do.
        confident = probabilities.astype(np.float64) >= reached[classes] - 1e-9
        first = confident.argmax(axis=1)
        rows = np.arange(len(classes))
        found = np.where(confident[rows, first], classes[rows, first], -1)
        suggested[start : start + len(classes)] = np.where(own[start : start + len(classes)], found, -1)
    both = suggested >= 0
    joint = np.bincount(label[both] * known + suggested[both], minlength=known * known) if known <= 4096 else None
    table = joint.reshape(known, known) if joint is not None else np.zeros((0, 0), np.int64)
    return LabelSuspects(suggested, quality, table.astype(np.int64), thresholds)
