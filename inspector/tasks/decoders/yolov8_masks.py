"""YOLOv8, v9, 11, 12 with a mask for each object."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Self

import numpy as np

from inspector.tasks.candidates import Candidates
from inspector.tasks.decoder import Arrays, BoxDecoder
from inspector.tasks.decoders._yolo import (
    decode_classes,
    find_channels_first,
    find_prototypes,
    place_anchors,
    prepare_masks,
)
from inspector.tasks.layout import HeadLayout, Masks, OutputTable, number_box
from inspector.tasks.seen import Seen


@dataclass(frozen=True, eq=False)
class YoloV8Masks(BoxDecoder):
    """As yolov8, and m coefficients of prototypes: mask = sigmoid(coefficients . prototypes), cut to the box.

    Attributes:
        many: Number m of prototypes.
    """

    many: int = 32

    family: ClassVar[str] = "YOLOv8, v9, 11, 12 with masks"
    looks: ClassVar[str] = "(1, 4+K+32, A), (1, 32, H/4, W/4)"
    order: ClassVar[int] = 46

    @classmethod
    def match(cls, seen: Seen) -> Self | None:
        """A head as yolov8's, and one output of prototypes."""
        found, prototypes = find_channels_first(seen), find_prototypes(seen)
        if found is None or prototypes is None:
            return None
        output, channels, _ = found
        many = prototypes.size(1)
        if many is None or channels - 4 - many < 1:
            return None
        why = f"{output} and {prototypes}: boxes, classes and {many} prototypes of masks"
        return cls((output.name, prototypes.name), "detect", channels - 4 - many, why, many)

    @property
    def layout(self) -> HeadLayout:
        """The same as data."""
        end = 4 + (self.classes or 0)
        return HeadLayout(
            tables=(OutputTable(self.outputs[:1], first=True),),
            box=number_box(0),
            scores=(0, 4, self.classes),
            masks=Masks(self.outputs[1], (0, end, self.many)),
        )

    def decode(self, values: Arrays, size: tuple[int, int]) -> Candidates:
        """As yolov8; masks are made for those that stay."""
        name, second = self.outputs
        rows = self.fit(values, name, 3).T
        end = rows.shape[1] - self.many
        found = decode_classes(rows[:, :4], rows[:, 4:end], name, lambda classes: place_anchors(classes, 4, False))
        masks = prepare_masks(np.ascontiguousarray(rows[:, end:]), self.fit(values, second, 4))
        return Candidates(found.boxes, found.scores, found.classes, name, found.places, masks=masks)


DECODER = YoloV8Masks
