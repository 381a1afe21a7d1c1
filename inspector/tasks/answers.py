"""What networks answer, beside the scores of classes: boxes, keypoints, masks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import field
from typing import overload

import numpy as np
from numpy.typing import NDArray

from inspector.metadata import Task as Task
from inspector.records import record

Corners = tuple[float, float, float, float]
"""x1, y1, x2, y2: left, top, right, bottom."""


@record
class Element:
    """One number of a tensor of the graph.

    Attributes:
        tensor: Name of the tensor.
        index: Its place along each axis, the batch axis included.
    """

    tensor: str
    index: tuple[int, ...]


@record(eq=False)
class Detection:
    """One object that a detector found.

    Attributes:
        index: Its class, 0 or more.
        score: In [0, 1] where the network is sound.
        box: x1, y1, x2, y2, in pixels of the picture as a person sees it; of the network's input before
            :class:`Detections` takes them back to the picture.
        element: The number of the graph that is its class score, for what explains it; None where no single one is.
        corners: float32 (4, 2), the x and y of the corners of an oriented box, in the order around it; else None.
        keypoints: float32 (P, 3), x, y and visibility in [0, 1]; None for a head without keypoints.
        mask: bool (H, W) of the picture's size; None for a head without masks.
    """

    index: int
    score: float
    box: Corners
    element: Element | None = None
    corners: NDArray[np.float32] | None = field(default=None, repr=False)
    keypoints: NDArray[np.float32] | None = field(default=None, repr=False)
    mask: NDArray[np.bool_] | None = field(default=None, repr=False)


@record(eq=False)
class Detections(Sequence[Detection]):
    """All objects found on one picture, highest score first.

    Attributes:
        found: The objects.
        size: (width, height) of the picture in pixels, as a person sees it.
    """

    found: tuple[Detection, ...]
    size: tuple[int, int]

    @overload
    def __getitem__(self, at: int) -> Detection: ...
    @overload
    def __getitem__(self, at: slice) -> Sequence[Detection]: ...
    def __getitem__(self, at: int | slice) -> Detection | Sequence[Detection]:
        return self.found[at]

    def __len__(self) -> int:
        return len(self.found)

    def __iter__(self) -> Iterator[Detection]:
        return iter(self.found)

    @property
    def boxes(self) -> NDArray[np.float32]:
        """float32 (n, 4): x1, y1, x2, y2 in pixels of the picture."""
        return np.array([one.box for one in self.found], np.float32).reshape(-1, 4)

    @property
    def scores(self) -> NDArray[np.float32]:
        """float32 (n,)."""
        return np.array([one.score for one in self.found], np.float32)

    @property
    def classes(self) -> NDArray[np.int64]:
        """int64 (n,)."""
        return np.array([one.index for one in self.found], np.int64)


@record(eq=False)
class Segmentation:
    """What a segmenter makes of one picture: a class for every pixel.

    Attributes:
        classes: int32 (H, W) of the picture's size, as a person sees it: the class of each pixel, 0 or more. -1 where
            the network saw nothing of the picture, as beyond a centre crop.
        confidence: float32 (H, W) in [0, 1], the probability of that class; None where the graph gives classes alone.
        count: Number of classes K that the network knows; of one foreground map it is 2, the background being 0.
    """

    classes: NDArray[np.int32]
    confidence: NDArray[np.float32] | None
    count: int

    @property
    def shares(self) -> list[tuple[int, float]]:
        """(class, its share of the picture's pixels in [0, 1]), the largest first."""
        # Not bincount: a class that a broken graph gives may be any number.
        there, many = np.unique(self.classes[self.classes >= 0], return_counts=True)
        order = np.argsort(-many, kind="stable")
        return [(int(there[i]), float(many[i] / self.classes.size)) for i in order]
