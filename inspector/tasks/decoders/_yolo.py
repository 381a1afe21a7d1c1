"""What the heads of the YOLO family share: grids, anchors on the last axis, masks from prototypes."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from inspector.errors import NotComputable
from inspector.tasks.candidates import Candidates, choose_classes, to_corners
from inspector.tasks.seen import Output, Seen

PYRAMIDS: tuple[tuple[int, ...], ...] = (
    (8, 16, 32),
    (8, 16, 32, 64),
    (4, 8, 16, 32),
    (8, 16),
    (16, 32),
)
"""Strides of the maps that heads look at."""
MOST_CHANNELS = 2048
"""Numbers of one place at most; with more of them, it is something else."""


def find_pyramid(seen: Seen, places: int | None, anchors: int = 1) -> tuple[int, ...] | None:
    """The strides whose grids have so many places together; None where there are none."""
    if places is None:
        return None
    return next((one for one in PYRAMIDS if (many := seen.cells(one)) is not None and anchors * many == places), None)


def find_channels_first(seen: Seen) -> tuple[Output, int, int | None] | None:
    """(output, C, A) of a head (N, C, A); None where no output looks like one."""
    for output in seen.of_axes(3):
        channels, places = output.size(1), output.size(2)
        if not output.is_float or channels is None or not 5 <= channels <= MOST_CHANNELS:
            continue
        fits = find_pyramid(seen, places) is not None
        told = seen.said or seen.hints.task in ("detect", "pose")
        named = seen.labels is not None and channels - 4 - seen.labels >= 0 and (places is None or places > channels)
        open_ = places is None and output.size(0) in (1, None)
        if fits or (told and (places is None or places > 4)) or named or open_:
            return output, channels, places
    return None


def find_prototypes(seen: Seen) -> Output | None:
    """The output (1, 32, H/4, W/4) that masks are made of."""
    found = [one for one in seen.of_axes(4) if one.is_float and one.size(1) not in (None, 1, 3)]
    return found[0] if len(found) == 1 else None


def make_grid(size: tuple[int, int], strides: Sequence[int]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """The places of all grids: x and y in cells, float32 (A, 2), and their strides, float32 (A, 1)."""
    cells, steps = [], []
    for stride in strides:
        rows, columns = -(-size[0] // stride), -(-size[1] // stride)
        y, x = np.mgrid[:rows, :columns].reshape(2, -1)
        cells.append(np.stack([x, y], axis=1))
        steps.append(np.full((rows * columns, 1), stride))
    return np.concatenate(cells).astype(np.float32), np.concatenate(steps).astype(np.float32)


def fit_grid(
    name: str, places: int, size: tuple[int, int]
) -> tuple[NDArray[np.float32], NDArray[np.float32], tuple[int, ...]]:
    """The grids that have so many places together, as :func:`make_grid` gives them, and their strides.

    Raises:
        NotComputable: None have; `name` is the output that is told.
    """
    for strides in PYRAMIDS:
        cells, steps = make_grid(size, strides)
        if len(cells) == places:
            return cells, steps, strides
    raise NotComputable(f"output {name!r} has {places} places, and no grids of {size} have as many")


def decode_classes(
    boxes: NDArray[np.float32], scores: NDArray[np.float32], tensor: str, place: Callable[..., NDArray[np.int64]]
) -> Candidates:
    """Candidates of boxes and the scores of all classes, each with its best class.

    Args:
        boxes: (A, 4): cx, cy, w, h.
        scores: (A, K).
        tensor: The tensor that holds the class scores.
        place: Called with the classes, gives where each class score lies in `tensor`.
    """
    classes, best = choose_classes(scores)
    return Candidates(to_corners(boxes), best, classes, tensor, place(classes))


def prepare_masks(
    coefficients: NDArray[np.float32], prototypes: NDArray[np.float32]
) -> Callable[[NDArray[np.int64]], NDArray[np.float32]]:
    """What makes masks of coefficients (A, m) and prototypes (m, h, w): above 0 is sigmoid(...) above one half."""

    def make(which: NDArray[np.int64]) -> NDArray[np.float32]:
        shape = prototypes.shape
        flat = coefficients[which] @ prototypes.reshape(shape[0], -1)
        return np.asarray(flat.reshape(-1, *shape[1:]), np.float32)

    return make


def place_anchors(classes: NDArray[np.int64], offset: int, last: bool) -> NDArray[np.int64]:
    """Where class scores lie: (0, a, offset + k) with the numbers of a place `last`, else (0, offset + k, a)."""
    zero, anchors = np.zeros(len(classes), np.int64), np.arange(len(classes))
    return np.stack([zero, anchors, classes + offset] if last else [zero, classes + offset, anchors], axis=1)


def to_keypoints(rows: NDArray[np.float32], numbers: int) -> NDArray[np.float32]:
    """Keypoints of rows (A, P * numbers) as (A, P, 3); those without a visibility count as visible."""
    points = rows.reshape(len(rows), -1, numbers)
    if numbers == 2:
        points = np.concatenate([points, np.ones_like(points[:, :, :1])], axis=2)
    return points.astype(np.float32)


def find_places_first(seen: Seen) -> tuple[Output, int, int | None] | None:
    """(output, C, A) of a head (N, A, C) that looks at grids; None where no output looks like one."""
    for output in seen.of_axes(3):
        places, channels = output.size(1), output.size(2)
        if output.is_float and channels is not None and 6 <= channels <= MOST_CHANNELS:
            return output, channels, places
    return None
