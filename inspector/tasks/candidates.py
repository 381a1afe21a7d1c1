"""The objects that a head puts out before suppression, as arrays."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from inspector.records import record
from inspector.tasks.answers import Detection, Element

MOST = 300
"""Objects of one picture that are kept at most."""


@record(eq=False)
class Candidates:
    """n objects in pixels of the network's input.

    Attributes:
        boxes: float32 (n, 4): x1, y1, x2, y2.
        scores: float32 (n,).
        classes: int64 (n,), 0 or more.
        tensor: The tensor of the graph that holds the class scores; empty where no single number is one.
        places: int64 (n, axes), the place of each class score in it.
        tensors: Where class scores lie in several tensors: these; `places` then begins with the number of one of them.
        rotated: float32 (n, 5): centre x and y, width, height, angle in radians, of oriented boxes; else None.
        keypoints: float32 (n, P, 3): x, y, visibility; else None.
        masks: Called with an int64 array of indices of candidates, gives maps over the whole input for them, float32
            (m, h, w), above 0 inside the object; None without masks.
    """

    boxes: NDArray[np.float32]
    scores: NDArray[np.float32]
    classes: NDArray[np.int64]
    tensor: str = ""
    places: NDArray[np.int64] | None = None
    rotated: NDArray[np.float32] | None = None
    keypoints: NDArray[np.float32] | None = None
    masks: Callable[[NDArray[np.int64]], NDArray[np.float32]] | None = None
    tensors: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.scores)

    def pick(self, which: NDArray[Any]) -> Candidates:
        """Those that an array of indices or of yes and no names, in its order."""
        index = np.arange(len(self))[which]
        changes: dict[str, Any] = {
            one.name: value[index] for one in fields(self) if isinstance(value := getattr(self, one.name), np.ndarray)
        }
        if (masks := self.masks) is not None:
            changes["masks"] = lambda wanted: masks(index[wanted])
        return replace(self, **changes)

    def sound(self) -> NDArray[np.bool_]:
        """Which have a score and a box of numbers: bool (n,)."""
        return np.isfinite(self.scores) & np.isfinite(self.boxes).all(axis=1)

    def detections(self) -> list[Detection]:
        """The objects one by one, without masks."""
        turned = None if self.rotated is None else find_corners(self.rotated)
        return [
            Detection(
                int(self.classes[i]),
                float(self.scores[i]),
                (float(box[0]), float(box[1]), float(box[2]), float(box[3])),
                self._element(i),
                None if turned is None else turned[i],
                None if self.keypoints is None else self.keypoints[i],
            )
            for i, box in enumerate(self.boxes)
        ]

    def _element(self, at: int) -> Element | None:
        if self.places is None:
            return None
        place = tuple(map(int, self.places[at]))
        return Element(self.tensors[place[0]], place[1:]) if self.tensors else Element(self.tensor, place)


def to_corners(boxes: NDArray[Any]) -> NDArray[np.float32]:
    """Boxes of cx, cy, w, h as x1, y1, x2, y2: (n, 4) -> float32 (n, 4)."""
    centre, half = boxes[:, :2].astype(np.float32), boxes[:, 2:4].astype(np.float32) / 2
    return np.concatenate([centre - half, centre + half], axis=1)


def to_shares(values: NDArray[Any]) -> NDArray[np.float32]:
    """1 / (1 + exp(-x)), float32."""
    with np.errstate(over="ignore"):
        return np.asarray(1 / (1 + np.exp(-values.astype(np.float32))), np.float32)


def find_corners(rotated: NDArray[Any]) -> NDArray[np.float32]:
    """The corners of oriented boxes in the order around them: (n, 5) as in `Candidates` -> float32 (n, 4, 2)."""
    x, y, w, h, angle = rotated.astype(np.float64).T
    along = np.stack([np.cos(angle) * w / 2, np.sin(angle) * w / 2], axis=1)
    across = np.stack([-np.sin(angle) * h / 2, np.cos(angle) * h / 2], axis=1)
    centre = np.stack([x, y], axis=1)
    around = [centre + a * along + b * across for a, b in ((-1, -1), (1, -1), (1, 1), (-1, 1))]
    return np.stack(around, axis=1).astype(np.float32)


def enclose(corners: NDArray[Any]) -> NDArray[np.float32]:
    """The upright boxes around corners: (n, k, 2) -> float32 (n, 4)."""
    return np.concatenate([corners.min(axis=1), corners.max(axis=1)], axis=1).astype(np.float32)


def choose_classes(scores: NDArray[Any]) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """The best class of each row and its score: (n, K) -> int64 (n,), float32 (n,).

    A row with a NaN keeps NaN as its score, so that it is found out.
    """
    best = scores.argmax(axis=1)
    return best.astype(np.int64), scores[np.arange(len(scores)), best].astype(np.float32)
