"""YOLO-NAS and other heads with decoded boxes and class probabilities in two outputs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Self

from inspector.tasks.candidates import Candidates, choose_classes
from inspector.tasks.decoder import Arrays, BoxDecoder
from inspector.tasks.decoders._pairs import find_pair
from inspector.tasks.decoders._yolo import find_pyramid, place_anchors
from inspector.tasks.layout import HeadLayout, OutputTable, number_box
from inspector.tasks.seen import Seen


@dataclass(frozen=True, eq=False)
class YoloNas(BoxDecoder):
    """x1, y1, x2, y2 in pixels and K class probabilities at every place."""

    family: ClassVar[str] = "YOLO-NAS"
    looks: ClassVar[str] = "(1, A, 4), (1, A, K)"
    order: ClassVar[int] = 40
    over_classifier: ClassVar[bool] = True

    @classmethod
    def match(cls, seen: Seen) -> Self | None:
        """Two outputs, for as many places as the grids of strides 8, 16, 32 have."""
        pair = find_pair(seen)
        if pair is None or not (seen.said or find_pyramid(seen, pair[0].size(1))):
            return None
        boxes, scores = pair
        why = f"{boxes} and {scores}: a box and class probabilities at every place"
        return cls((boxes.name, scores.name), "detect", scores.size(2), why)

    @property
    def layout(self) -> HeadLayout:
        """The same as data."""
        tables = tuple(OutputTable((name,)) for name in self.outputs)
        return HeadLayout(tables=tables, box=number_box(0), corners=True, scores=(1, 0, None))

    def decode(self, values: Arrays, size: tuple[int, int]) -> Candidates:
        """Take the best class of each place."""
        name = self.outputs[1]
        classes, scores = choose_classes(self.fit(values, name, 3))
        return Candidates(self.fit(values, self.outputs[0], 3), scores, classes, name, place_anchors(classes, 0, True))


DECODER = YoloNas
