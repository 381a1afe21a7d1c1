"""YOLOv8, 11 with oriented boxes."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar, Self

import numpy as np

from inspector.tasks.candidates import Candidates, enclose, find_corners
from inspector.tasks.decoder import Arrays, BoxDecoder
from inspector.tasks.decoders._yolo import decode_classes, find_channels_first, place_anchors
from inspector.tasks.layout import HeadLayout, OutputTable, number_box
from inspector.tasks.seen import Seen


@dataclass(frozen=True, eq=False)
class YoloV8Obb(BoxDecoder):
    """As yolov8, and an angle in radians, by which a box is turned about its centre."""

    family: ClassVar[str] = "YOLOv8, 11 with oriented boxes"
    looks: ClassVar[str] = "(1, 4+K+1, A)"
    order: ClassVar[int] = 48

    @classmethod
    def match(cls, seen: Seen) -> Self | None:
        """A head as yolov8's, with one number more than box and classes need."""
        found = find_channels_first(seen)
        if found is None:
            return None
        output, channels, _ = found
        told = seen.said or seen.hints.oriented
        if not told and not (seen.labels == channels - 5 and seen.hints.task is None):
            return None
        why = f"{output}: a box, {channels - 5} classes and an angle at every place"
        return cls((output.name,), "detect", channels - 5, why)

    @property
    def layout(self) -> HeadLayout:
        """The same as data."""
        tables, angle = (OutputTable(self.outputs, first=True),), (0, 4 + (self.classes or 0))
        return HeadLayout(tables=tables, box=number_box(0), scores=(0, 4, self.classes), angle=angle)

    def decode(self, values: Arrays, size: tuple[int, int]) -> Candidates:
        """As yolov8; `boxes` are the upright ones around the oriented ones."""
        (name,) = self.outputs
        rows = self.fit(values, name, 3).T
        found = decode_classes(rows[:, :4], rows[:, 4:-1], name, lambda classes: place_anchors(classes, 4, False))
        rotated = np.concatenate([rows[:, :4], rows[:, -1:]], axis=1)
        return replace(found, rotated=rotated, boxes=enclose(find_corners(rotated)))


DECODER = YoloV8Obb
