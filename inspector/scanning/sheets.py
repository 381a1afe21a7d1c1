"""What is shown of the pictures: suspects, outliers, copies, and the points of the map; the rest is in the tables."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from inspector.image import choose_evenly
from inspector.scanning.analysis.analyse import Analysis
from inspector.scanning.columns import Columns
from inspector.scanning.listing import read_shard
from inspector.scanning.plan import ScanPlan

MOST_SHOWN = 200
"""Suspects, outliers and groups of copies that are shown."""
MOST_COPIES = 12
"""Pictures of a group of copies that are shown."""
MOST_POINTS = 2000
"""Points of the map."""


@dataclass(frozen=True)
class Sheets:
    """Which pictures are shown, as places in `numbers`.

    Attributes:
        numbers: Numbers of all pictures that are shown, ascending.
        pictures: What is told of each of them.
        suspects: Label suspects, the least probable label first.
        outliers: The furthest from all others first.
        copies: Groups of copies, the largest first.
        points: The pictures of the map.
        counts: How many suspects and groups of copies there are in all.
    """

    numbers: list[int]
    pictures: list[dict[str, Any]]
    suspects: list[int]
    outliers: list[int]
    copies: list[list[int]]
    points: list[int]
    counts: dict[str, int]

    def to_json(self) -> dict[str, Any]:
        """The sheets as they stand in scan.json."""
        return {**vars(self)}


def make_sheets(folder: Path, plan: ScanPlan, columns: Columns, found: Analysis) -> Sheets:
    """Choose what is shown.

    Args:
        folder: The folder of the scan.
        plan: Its plan.
        columns: What is known of each picture.
        found: What they say together.
    """
    suggested = found.suspects.suggested
    suspects = np.flatnonzero((suggested >= 0) & (suggested != columns.label))
    suspects = suspects[np.argsort(found.suspects.quality[suspects], kind="stable")]
    outliers = np.argsort(-found.outlier, kind="stable")[:MOST_SHOWN]
    groups = _list_groups(found.copy_of)
    points = np.array(choose_evenly(len(columns), MOST_POINTS), np.int64)
    shown = groups[:MOST_SHOWN]
    rows = np.unique(np.concatenate([suspects[:MOST_SHOWN], outliers, points, *[g[:MOST_COPIES] for g in shown]]))
    place = {row: k for k, row in enumerate(rows.tolist())}
    return Sheets(
        numbers=columns.number[rows].tolist(),
        pictures=_describe(folder, plan, columns, found, rows),
        suspects=[place[row] for row in suspects[:MOST_SHOWN].tolist()],
        outliers=[place[row] for row in outliers.tolist()],
        copies=[[place[row] for row in group[:MOST_COPIES].tolist()] for group in shown],
        points=[place[row] for row in points.tolist()],
        counts={"suspects": len(suspects), "copies": len(groups)},
    )


def _list_groups(copy_of: NDArray[np.int64]) -> list[NDArray[np.int64]]:
    """The rows of each group of copies, the largest first."""
    order = np.argsort(copy_of, kind="stable")
    order = order[np.bincount(copy_of, minlength=len(copy_of))[copy_of[order]] > 1]
    if not len(order):
        return []
    groups = np.split(order, np.flatnonzero(np.diff(copy_of[order])) + 1)
    return sorted(groups, key=lambda g: (-len(g), int(g[0])))


def _describe(
    folder: Path, plan: ScanPlan, columns: Columns, found: Analysis, rows: NDArray[np.int64]
) -> list[dict[str, Any]]:
    shard, held, told = -1, [], []
    predicted, confidence = columns.predicted, columns.confidence
    for row in rows.tolist():
        number = int(columns.number[row])
        if number // plan.shard_size != shard:
            shard = number // plan.shard_size
            held = read_shard(folder, shard)
        picture = held[number - shard * plan.shard_size]
        suggested = int(found.suspects.suggested[row])
        told.append(
            {
                "path": picture.name,
                "label": picture.label,
                "predicted": plan.classes[predicted[row]] if predicted[row] >= 0 else None,
                "confidence": _round(confidence[row]),
                "own": _round(columns.label_probability[row]),
                "suggested": plan.classes[suggested] if 0 <= suggested != columns.label[row] else None,
                "outlier": _round(found.outlier[row]),
                "cluster": int(found.cluster[row]),
                "x": _round(found.map.values[row, 0]),
                "y": _round(found.map.values[row, 1]),
                "channels": found.channels[row].tolist(),
            }
        )
    return told


def _round(value: Any) -> float | None:
    """Six digits are more than a page shows, and a third of the bytes."""
    return None if np.isnan(value) else float(f"{float(value):.6g}")
