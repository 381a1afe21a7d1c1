"""YOLOv8, v9, 11, 12: boxes and class probabilities at every place, no objectness."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Self

from inspector.tasks.candidates import Candidates
from inspector.tasks.decoder import Arrays, BoxDecoder
from inspector.tasks.decoders._yolo import decode_classes, find_channels_first, place_anchors
from inspector.tasks.layout import HeadLayout, OutputTable, number_box
from inspector.tasks.seen import Seen


@dataclass(frozen=True, eq=False)
class YoloV8(BoxDecoder):
    """cx, cy, w, h in pixels, then K class probabilities: (1, 4+K, A)."""

    family: ClassVar[str] = "YOLOv8, v9, 11, 12"
    looks: ClassVar[str] = "(1, 4+K, A)"
    order: ClassVar[int] = 50

    @classmethod
    def match(cls, seen: Seen) -> Self | None:
        """Numbers of a place on axis 1, and as many places as the grids of strides 8, 16, 32 have."""
        found = find_channels_first(seen)
        if found is None:
            return None
        output, channels, _ = found
        return cls((output.name,), "detect", channels - 4, f"{output}: 4 + {channels - 4} numbers at every place")

    @property
    def layout(self) -> HeadLayout:
        """The same as data."""
        tables = (OutputTable(self.outputs, first=True),)
        return HeadLayout(tables=tables, box=number_box(0), scores=(0, 4, self.classes))

    def decode(self, values: Arrays, size: tuple[int, int]) -> Candidates:
        """Transpose, and take the best class of each place."""
        (name,) = self.outputs
        rows = self.fit(values, name, 3).T
        return decode_classes(rows[:, :4], rows[:, 4:], name, lambda classes: place_anchors(classes, 4, False))


DECODER = YoloV8
