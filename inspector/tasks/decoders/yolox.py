"""YOLOX whose boxes are not decoded in the graph."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Self

import numpy as np

from inspector.image import Preprocess
from inspector.tasks.candidates import Candidates
from inspector.tasks.decoder import Arrays, BoxDecoder, Habit
from inspector.tasks.decoders._yolo import (
    PYRAMIDS,
    decode_classes,
    find_places_first,
    find_pyramid,
    fit_grid,
    place_anchors,
)
from inspector.tasks.layout import HeadLayout, OutputTable, PlaceGrid, number_box
from inspector.tasks.seen import Seen


@dataclass(frozen=True, eq=False)
class YoloX(BoxDecoder):
    """x = (x + column) stride, y = (y + row) stride, w = exp(w) stride, h = exp(h) stride; then as yolov5."""

    family: ClassVar[str] = "YOLOX, not decoded"
    looks: ClassVar[str] = "(1, A, 5+K)"
    order: ClassVar[int] = 53
    iou: ClassVar[float | None] = 0.45

    @property
    def habit(self) -> Habit:
        """YOLOX has the bytes in the order blue, green, red, the picture in the upper left corner."""
        usual = Preprocess.named("raw", (640, 640))
        return Habit(
            Preprocess(size=usual.size, resize="pad", place="corner", colour="BGR", scale=1.0),
            "as YOLOX takes it: BGR, 0 to 255, in the corner of a frame of grey",
        )

    @classmethod
    def match(cls, seen: Seen) -> Self | None:
        """Numbers of a place on the last axis, which nothing has been done to behind the last convolutions."""
        found = find_places_first(seen)
        if found is None:
            return None
        output, channels, places = found
        if not (seen.said or (find_pyramid(seen, places) and seen.is_raw(output))):
            return None
        why = f"{output}: 5 + {channels - 5} numbers at every place, the box straight from a convolution"
        return cls((output.name,), "detect", channels - 5, why)

    @property
    def layout(self) -> HeadLayout:
        """The same as data."""
        grid = PlaceGrid(PYRAMIDS, (0.0,) * len(PYRAMIDS))
        tables = (OutputTable(self.outputs),)
        return HeadLayout(tables=tables, box=number_box(0), grid=grid, scores=(0, 5, self.classes), sure=(0, 4))

    def decode(self, values: Arrays, size: tuple[int, int]) -> Candidates:
        """Add the places of the grid."""
        (name,) = self.outputs
        rows = self.fit(values, name, 3)
        cells, steps, _ = fit_grid(name, len(rows), size)
        boxes = np.concatenate([(rows[:, :2] + cells) * steps, np.exp(rows[:, 2:4]) * steps], axis=1)
        scores = rows[:, 4:5] * rows[:, 5:]
        return decode_classes(boxes, scores, name, lambda classes: place_anchors(classes, 5, True))


DECODER = YoloX
