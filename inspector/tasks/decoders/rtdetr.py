"""RT-DETR as Ultralytics exports it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Self

import numpy as np

from inspector.image import Preprocess
from inspector.tasks.candidates import Candidates
from inspector.tasks.decoder import Arrays, BoxDecoder, Habit
from inspector.tasks.decoders._yolo import decode_classes, find_places_first, find_pyramid, place_anchors
from inspector.tasks.layout import HeadLayout, OutputTable, number_box
from inspector.tasks.seen import Seen

_QUERIES = 300


@dataclass(frozen=True, eq=False)
class RtDetr(BoxDecoder):
    """cx, cy, w, h in [0, 1] and K class probabilities of each query; nothing to suppress."""

    family: ClassVar[str] = "RT-DETR (Ultralytics)"
    looks: ClassVar[str] = "(1, 300, 4+K)"
    order: ClassVar[int] = 44
    iou: ClassVar[float | None] = None

    @property
    def habit(self) -> Habit:
        """Stretched, in [0, 1]."""
        return Habit(Preprocess(size=(640, 640)), "as RT-DETR takes it: RGB / 255")

    @classmethod
    def match(cls, seen: Seen) -> Self | None:
        """Three hundred queries with four numbers more than there are classes."""
        found = find_places_first(seen)
        if found is None:
            return None
        output, channels, places = found
        few = places == _QUERIES and not find_pyramid(seen, places)
        if not (seen.said or (few and seen.labels in (None, channels - 4))):
            return None
        return cls((output.name,), "detect", channels - 4, f"{output}: 4 + {channels - 4} numbers of each query")

    @property
    def layout(self) -> HeadLayout:
        """The same as data."""
        tables = (OutputTable(self.outputs),)
        return HeadLayout(tables=tables, box=number_box(0), shares=True, scores=(0, 4, self.classes))

    def decode(self, values: Arrays, size: tuple[int, int]) -> Candidates:
        """Scale the boxes to the input."""
        (name,) = self.outputs
        rows = self.fit(values, name, 3)
        height, width = size
        boxes = rows[:, :4] * np.array([width, height, width, height], np.float32)
        return decode_classes(boxes, rows[:, 4:], name, lambda classes: place_anchors(classes, 4, True))


DECODER = RtDetr
