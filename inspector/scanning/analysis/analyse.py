"""All of it together: the columns of pictures.parquet that need every picture, and what scan.json says of the set."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from inspector.scanning.analysis.copies import find_copies_of
from inspector.scanning.analysis.figures import measure_answers
from inspector.scanning.analysis.maps import PictureMap, draw_map
from inspector.scanning.analysis.neighbours import (
    Components,
    find_clusters,
    measure_class_distances,
    measure_outliers,
    reduce_embeddings,
)
from inspector.scanning.analysis.suspects import LabelSuspects, find_suspects
from inspector.scanning.columns import Columns
from inspector.scanning.plan import ScanPlan

UNUSUAL_CHANNELS = 5
"""Numbers of the embedding that are told for each picture."""


@dataclass(frozen=True)
class Analysis:
    """What all pictures say together: n of them.

    Attributes:
        suspects: Pictures whose label is probably wrong.
        components: Where they lie in the embedding.
        map: Where they lie on a map.
        outlier: Mean distance to the nearest others, over its median, float64 (n,).
        class_distance: Distance to the mean of the class, over the class's own, float64 (n,); NaN without class.
        cluster: int64 (n,).
        copy_of: The row of the first of its group of copies, its own where it has none, int64 (n,).
        channels: Numbers of the embedding that are furthest above their mean, in standard deviations, int32 (n, u).
        answers: `answers` of scan.json.
    """

    suspects: LabelSuspects
    components: Components
    map: PictureMap
    outlier: NDArray[np.float64]
    class_distance: NDArray[np.float64]
    cluster: NDArray[np.int64]
    copy_of: NDArray[np.int64]
    channels: NDArray[np.int32]
    answers: dict[str, Any]


def analyse_pictures(plan: ScanPlan, columns: Columns, on_progress: Callable[..., None]) -> Analysis:
    """Work out what all pictures say together.

    Args:
        plan: The plan of the scan.
        columns: What is known of each picture.
        on_progress: Called with how much is done, how much there is, and what is done.
    """
    label, predicted = columns.label.astype(np.int64), columns.predicted.astype(np.int64)
    steps = 7

    def tell(done: int) -> None:
        on_progress(done, steps, "analysis")

    tell(0)
    suspects = find_suspects(columns, plan.known if plan.classifies else 0)
    tell(1)
    components = reduce_embeddings(columns)
    tell(2)
    outlier = measure_outliers(components.values)
    tell(3)
    copy_of = find_copies_of(columns, components.values)
    tell(4)
    cluster = find_clusters(components.values)
    distance = measure_class_distances(components.values, np.where(label >= 0, label, predicted))
    tell(5)
    channels = _find_unusual(columns, components)
    tell(6)
    answers = measure_answers(plan, columns)
    placed = draw_map(components.values)
    tell(7)
    return Analysis(suspects, components, placed, outlier, distance, cluster, copy_of, channels, answers)


def _find_unusual(columns: Columns, components: Components) -> NDArray[np.int32]:
    kept = min(UNUSUAL_CHANNELS, columns.embedding.shape[1])
    found = np.zeros((len(columns), kept), np.int32)
    for start, rows in columns.walk("embedding"):
        far = (rows.astype(np.float64) - components.mean) / np.maximum(components.std, 1e-12)
        best = np.argpartition(-far, kept - 1, axis=1)[:, :kept]
        order = np.lexsort((best, -np.take_along_axis(far, best, axis=1)), axis=1)
        found[start : start + len(rows)] = np.take_along_axis(best, order, axis=1)
    return found


def make_analysis_columns(columns: Columns, found: Analysis) -> dict[str, Any]:
    """What the analysis adds to pictures.parquet, by column; `suggested` as numbers of classes."""
    suggested, label = found.suspects.suggested, columns.label
    suspect = (suggested >= 0) & (suggested != label)
    first = columns.number[found.copy_of]
    sizes = np.bincount(found.copy_of, minlength=len(columns))[found.copy_of]
    return {
        "suspect": suspect,
        "suggested": np.where(suspect, suggested, -1),
        "copy_of": np.where(sizes > 1, first, -1),
        "copies": sizes.astype(np.int32),
        "outlier": found.outlier.astype(np.float32),
        "class_distance": found.class_distance.astype(np.float32),
        "cluster": found.cluster.astype(np.int32),
        "x": found.map.values[:, 0],
        "y": found.map.values[:, 1],
        "channels": found.channels,
    }
