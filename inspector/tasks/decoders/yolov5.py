"""YOLOv5, v6, v7, and YOLOX decoded in the graph: objectness and class probabilities at every place."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar, Self

import numpy as np

from inspector.tasks.candidates import Candidates
from inspector.tasks.decoder import Arrays, BoxDecoder
from inspector.tasks.decoders._yolo import (
    decode_classes,
    find_places_first,
    find_prototypes,
    find_pyramid,
    place_anchors,
    prepare_masks,
)
from inspector.tasks.layout import HeadLayout, Masks, OutputTable, number_box
from inspector.tasks.seen import Seen


@dataclass(frozen=True, eq=False)
class YoloV5(BoxDecoder):
    """cx, cy, w, h in pixels, objectness, K class probabilities; score = objectness x class.

    Attributes:
        many: Prototypes of masks; 0 without masks.
    """

    many: int = 0

    family: ClassVar[str] = "YOLOv5, v6, v7"
    looks: ClassVar[str] = "(1, A, 5+K), with masks (1, A, 5+K+32) and (1, 32, H/4, W/4)"
    order: ClassVar[int] = 54
    iou: ClassVar[float | None] = 0.45

    @classmethod
    def match(cls, seen: Seen) -> Self | None:
        """Numbers of a place on the last axis, three anchors at each place of the grids, or one that is decoded."""
        found = find_places_first(seen)
        if found is None:
            return None
        output, channels, places = found
        fits = find_pyramid(seen, places, 3) or (find_pyramid(seen, places) and not seen.is_raw(output))
        named = seen.labels is not None and channels >= 5 + seen.labels and (places is None or places > 1000)
        if not (fits or seen.said or named or (places is None and seen.hints.task == "detect")):
            return None
        prototypes = find_prototypes(seen)
        many = (prototypes.size(1) or 0) if prototypes is not None else 0
        if prototypes is None or channels - 5 - many < 1:
            return cls((output.name,), "detect", channels - 5, f"{output}: 5 + {channels - 5} numbers at every place")
        why = f"{output} and {prototypes}: boxes, objectness, classes and {many} prototypes of masks"
        return cls((output.name, prototypes.name), "detect", channels - 5 - many, why, many)

    @property
    def layout(self) -> HeadLayout:
        """The same as data."""
        end = 5 + (self.classes or 0)
        return HeadLayout(
            tables=(OutputTable(self.outputs[:1]),),
            box=number_box(0),
            scores=(0, 5, self.classes),
            sure=(0, 4),
            masks=Masks(self.outputs[1], (0, end, self.many)) if self.many else None,
        )

    def decode(self, values: Arrays, size: tuple[int, int]) -> Candidates:
        """Multiply objectness and classes, and take the best class of each place."""
        name = self.outputs[0]
        rows = self.fit(values, name, 3)
        end = rows.shape[1] - self.many
        scores = rows[:, 4:5] * rows[:, 5:end]
        found = decode_classes(rows[:, :4], scores, name, lambda classes: place_anchors(classes, 5, True))
        if not self.many:
            return found
        masks = prepare_masks(np.ascontiguousarray(rows[:, end:]), self.fit(values, self.outputs[1], 4))
        return replace(found, masks=masks)


DECODER = YoloV5
