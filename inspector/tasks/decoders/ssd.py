"""UltraFace and other SSDs whose suppression is not in the graph."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Self

import numpy as np

from inspector.image import Preprocess
from inspector.tasks.candidates import Candidates, choose_classes
from inspector.tasks.decoder import Arrays, BoxDecoder, Habit
from inspector.tasks.decoders._pairs import find_pair
from inspector.tasks.decoders._yolo import find_pyramid, place_anchors
from inspector.tasks.layout import HeadLayout, OutputTable, number_box
from inspector.tasks.seen import Seen


@dataclass(frozen=True, eq=False)
class Ssd(BoxDecoder):
    """x1, y1, x2, y2 in [0, 1] and K probabilities of every anchor, the first of which is the background's."""

    family: ClassVar[str] = "UltraFace, SSD without suppression"
    looks: ClassVar[str] = "scores (1, A, K), boxes (1, A, 4)"
    order: ClassVar[int] = 41
    iou: ClassVar[float | None] = 0.3
    confidence: ClassVar[float] = 0.5

    @property
    def habit(self) -> Habit:
        """The mean 127 and the deviation 128 of UltraFace."""
        usual = Preprocess(size=(240, 320), scale=1.0, mean=(127.0,) * 3, std=(128.0,) * 3)
        return Habit(usual, "as UltraFace takes it: RGB, (x - 127) / 128")

    @classmethod
    def match(cls, seen: Seen) -> Self | None:
        """Two outputs for the same anchors, one of them with four numbers each."""
        pair = find_pair(seen)
        if pair is None or (pair[1].size(2) or 2) < 2:
            return None
        boxes, scores = pair
        if find_pyramid(seen, boxes.size(1)) and not seen.said:
            return None
        why = f"{boxes} and {scores}: a box and probabilities of every anchor, the first for the background"
        return cls((boxes.name, scores.name), "detect", scores.size(2), why)

    @property
    def layout(self) -> HeadLayout:
        """The same as data."""
        tables = tuple(OutputTable((name,)) for name in self.outputs)
        return HeadLayout(
            tables=tables, box=number_box(0), corners=True, shares=True, scores=(1, 1, None), first_class=1
        )

    def decode(self, values: Arrays, size: tuple[int, int]) -> Candidates:
        """Leave out the background, scale the boxes to the input."""
        boxes, name = self.fit(values, self.outputs[0], 3), self.outputs[1]
        height, width = size
        classes, scores = choose_classes(self.fit(values, name, 3)[:, 1:])
        corners = boxes * np.array([width, height, width, height], np.float32)
        return Candidates(corners, scores, classes + 1, name, place_anchors(classes, 1, True))


DECODER = Ssd
