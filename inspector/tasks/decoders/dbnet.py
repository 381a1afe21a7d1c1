"""DBNet: text, from a map of how likely each pixel is part of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Self

import numpy as np

from inspector.image import Preprocess
from inspector.tasks.candidates import Candidates, enclose, find_corners
from inspector.tasks.components import find_components, find_rectangle
from inspector.tasks.decoder import Arrays, BoxDecoder, Habit
from inspector.tasks.layout import HeadLayout, MapPieces, OutputTable, number_box
from inspector.tasks.seen import Seen

_THRESHOLD = 0.3
_GROWTH = 1.5
_SMALLEST = 3


@dataclass(frozen=True, eq=False)
class DbNet(BoxDecoder):
    """Pixels above 0.3 that touch are a piece of text, and the smallest rectangle around them, grown, its box.

    A rectangle grows on each side by area x 1.5 / perimeter (Liao et al. 2020, arXiv 1911.08947), since the map was
    taught the shrunken shapes. The score is the mean of the map over the piece.
    """

    family: ClassVar[str] = "DBNet (text; PaddleOCR, RapidOCR)"
    looks: ClassVar[str] = "(1, 1, H, W) probability"
    order: ClassVar[int] = 70
    iou: ClassVar[float | None] = None
    confidence: ClassVar[float] = 0.5

    @property
    def names(self) -> tuple[str, ...]:
        """The one class."""
        return ("text",)

    @property
    def habit(self) -> Habit:
        """In [-1, 1]; PaddleOCR has the order blue, green, red."""
        usual = Preprocess(
            size=(960, 960), resize="pad", fill=(0, 0, 0), place="corner", colour="BGR", mean=(0.5,) * 3, std=(0.5,) * 3
        )
        return Habit(usual, "as PaddleOCR takes it: BGR, -1 to 1, in the corner of a black frame")

    @classmethod
    def match(cls, seen: Seen) -> Self | None:
        """One map of probabilities that ends in a transposed convolution and a sigmoid."""
        for output in seen.of_axes(4):
            if output.size(1) == 1 and len(seen.outputs) == 1 and (seen.said or seen.ends_transposed(output)):
                return cls((output.name,), "detect", 1, f"{output}: one map, from a transposed convolution")
        return None

    @property
    def layout(self) -> HeadLayout:
        """The same as data."""
        pieces = MapPieces(_THRESHOLD, _GROWTH, _SMALLEST)
        tables = (OutputTable(self.outputs, first=True),)
        return HeadLayout(tables=tables, box=number_box(0), scores=(0, 0, 1), pieces=pieces)

    def decode(self, values: Arrays, size: tuple[int, int]) -> Candidates:
        """Find the pieces, and the rectangle around each."""
        (name,) = self.outputs
        plane = self.fit(values, name, 4)[0]
        scale = np.array([size[1] / plane.shape[1], size[0] / plane.shape[0]])
        rows, scores = [], []
        for y, x in find_components(plane > _THRESHOLD):
            rectangle = find_rectangle(y, x)
            if min(rectangle[2:4]) < _SMALLEST:
                continue
            w, h = rectangle[2:4]
            rectangle[2:4] += 2 * w * h * _GROWTH / (2 * (w + h))
            rows.append(rectangle)
            scores.append(float(plane[y, x].mean()))
        rotated = np.array(rows, np.float32).reshape(-1, 5)
        rotated[:, :2] *= scale
        rotated[:, 2:4] *= float(scale.mean())
        classes = np.zeros(len(rotated), np.int64)
        boxes = enclose(find_corners(rotated))
        return Candidates(boxes, np.array(scores, np.float32), classes, rotated=rotated)


DECODER = DbNet
