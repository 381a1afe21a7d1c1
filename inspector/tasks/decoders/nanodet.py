"""NanoDet: class probabilities, and a distribution over distances for each side of a box."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Self

import numpy as np

from inspector.image import Preprocess
from inspector.tasks.candidates import Candidates, choose_classes
from inspector.tasks.decoder import Arrays, BoxDecoder, Habit
from inspector.tasks.decoders._yolo import PYRAMIDS, find_places_first, find_pyramid, fit_grid, place_anchors
from inspector.tasks.layout import HeadLayout, OutputTable, PlaceGrid
from inspector.tasks.seen import Seen

_BINS = 8


@dataclass(frozen=True, eq=False)
class NanoDet(BoxDecoder):
    """K class probabilities, then 4 sides of 8 numbers; a side is the mean of 0 to 7 under their softmax, in strides.

    NanoDet-Plus, which looks at four grids, measures from the corners of cells; NanoDet from their centres.
    """

    family: ClassVar[str] = "NanoDet, NanoDet-Plus"
    looks: ClassVar[str] = "(1, A, K+32)"
    order: ClassVar[int] = 52
    iou: ClassVar[float | None] = 0.6

    @property
    def habit(self) -> Habit:
        """Blue, green, red, normalised by ImageNet's numbers; the picture stretched."""
        mean, std = (103.53, 116.28, 123.675), (57.375, 57.12, 58.395)
        usual = Preprocess(size=(416, 416), colour="BGR", scale=1.0, mean=mean, std=std)
        return Habit(usual, "as NanoDet takes it: BGR with ImageNet mean and std")

    @classmethod
    def match(cls, seen: Seen) -> Self | None:
        """As many numbers as classes and 32 more: 112 for COCO."""
        found = find_places_first(seen)
        if found is None:
            return None
        output, channels, places = found
        known = channels == 4 * _BINS + (seen.labels if seen.labels is not None else 80)
        if channels <= 4 * _BINS or not (seen.said or (known and find_pyramid(seen, places))):
            return None
        why = f"{output}: {channels - 32} classes and 4 x 8 numbers of a box at every place"
        return cls((output.name,), "detect", channels - 32, why)

    @property
    def layout(self) -> HeadLayout:
        """The same as data."""
        many = self.classes or 0
        shifts = tuple(0.0 if len(strides) == 4 else 0.5 for strides in PYRAMIDS)
        return HeadLayout(
            tables=(OutputTable(self.outputs),),
            box=((0, many), (0, many + _BINS), (0, many + 2 * _BINS), (0, many + 3 * _BINS)),
            grid=PlaceGrid(PYRAMIDS, shifts, "bins", _BINS),
            scores=(0, 0, many),
        )

    def decode(self, values: Arrays, size: tuple[int, int]) -> Candidates:
        """Take the mean of each distribution, and measure from the places of the grids."""
        (name,) = self.outputs
        rows = self.fit(values, name, 3)
        cells, steps, strides = fit_grid(name, len(rows), size)
        logits = rows[:, -4 * _BINS :].reshape(len(rows), 4, _BINS)
        shares = np.exp(logits - logits.max(axis=2, keepdims=True))
        sides = (shares / shares.sum(axis=2, keepdims=True)) @ np.arange(_BINS, dtype=np.float32) * steps
        centres = (cells + (0.0 if len(strides) == 4 else 0.5)) * steps
        boxes = np.concatenate([centres - sides[:, :2], centres + sides[:, 2:]], axis=1).astype(np.float32)
        classes, scores = choose_classes(rows[:, : -4 * _BINS])
        return Candidates(boxes, scores, classes, name, place_anchors(classes, 0, True))


DECODER = NanoDet
