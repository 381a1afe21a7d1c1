"""Maps of a few cells, laid over the whole of a network's input."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from inspector.cam.resize import sampling_weights
from inspector.cam.result import NOISE
from inspector.image import Box
from inspector.records import record

Map = NDArray[np.float32]


@record(eq=False)
class MapPatch:
    """The part of a map that is not zero.

    Attributes:
        values: float32 (h, w).
        start: Row and column of its first cell in the whole map.
        shape: (rows, columns) of the whole map.
    """

    values: Map
    start: tuple[int, int]
    shape: tuple[int, int]

    def spread(self, size: tuple[int, int], positive: bool) -> tuple[slice, slice, Map]:
        """The map at `size` (H, W), bilinear; its positive part alone where that is asked for.

        Returns:
            The rows and columns that it lights, and what stands there; it is zero elsewhere.
        """
        values = np.maximum(self.values, 0) if positive else self.values
        sides = []
        for axis in (0, 1):
            weights = sampling_weights(self.shape[axis], size[axis])
            mine = weights[:, self.start[axis] : self.start[axis] + values.shape[axis]]
            lit = np.flatnonzero(mine.any(axis=1))
            sides.append((slice(int(lit[0]), int(lit[-1]) + 1), mine[lit[0] : lit[-1] + 1]))
        (rows, down), (columns, across) = sides
        return rows, columns, np.asarray(down @ values @ across.T, np.float32)


def join_scales(patches: Sequence[MapPatch], size: tuple[int, int]) -> tuple[Map, Map, bool]:
    """(raw, heatmap, empty) at `size` (H, W) of the maps of several layers.

    Each is enlarged and divided by its maximum, and the largest at every place is taken. The raw map is that of the one
    layer, as it is; of several each is divided by its largest magnitude before.
    """
    raws = []
    heat = np.zeros(size, np.float32)
    for patch in patches:
        rows, columns, part = patch.spread(size, positive=False)
        raw = np.zeros(size, np.float32)
        raw[rows, columns] = part
        raws.append(raw)
        high, reach = float(patch.values.max(initial=0)), float(np.abs(patch.values).max(initial=0))
        if np.isfinite(reach) and high > NOISE * reach:
            if not (patch.values >= 0).all():
                rows, columns, part = patch.spread(size, positive=True)
            # Most of a map of one box is zero, and is left alone.
            np.maximum(heat[rows, columns], part / part.max(), out=heat[rows, columns])
    if len(raws) > 1:
        units = [float(np.abs(raw).max()) or 1.0 for raw in raws]
        raws = [np.max([raw / unit for raw, unit in zip(raws, units, strict=True)], axis=0)]
    raw = raws[0] if raws else np.zeros(size, np.float32)
    return raw, heat, not heat.any()


def measure_inside(heatmap: Map, box: Box, seen: Box) -> float | None:
    """The share of a map that lies inside a box, in [0, 1]; None for a map that is zero everywhere.

    A pixel that the box cuts counts with the share of its area that lies inside.

    Args:
        heatmap: float32 (h, w), not negative.
        box: x1, y1, x2, y2 in pixels of the picture.
        seen: The part of the picture that the map lies on.
    """
    lit = heatmap.any(axis=1)
    if not lit.any():
        return None
    # Most of a map of one box is zero.
    first, last = (int(i) for i in np.flatnonzero(lit)[[0, -1]])
    rows = slice(first, last + 1)
    part = heatmap[rows].astype(np.float64)
    sides = []
    for low, high, start, end, cells in (
        (box[1], box[3], seen[1], seen[3], heatmap.shape[0]),
        (box[0], box[2], seen[0], seen[2], heatmap.shape[1]),
    ):
        step = (end - start) / cells
        edges = np.arange(cells + 1)
        a, b = (low - start) / step, (high - start) / step
        sides.append(np.clip(np.minimum(edges[1:], b) - np.maximum(edges[:-1], a), 0, 1))
    return float(sides[0][rows] @ part @ sides[1]) / float(part.sum())
