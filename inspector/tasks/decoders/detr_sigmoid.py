"""Deformable DETR, Conditional DETR, RT-DETR and RF-DETR: a sigmoid for every class."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Self

from inspector.image import IMAGENET_MEAN, IMAGENET_STD, Preprocess
from inspector.tasks.candidates import Candidates, to_shares
from inspector.tasks.decoder import Arrays, BoxDecoder, Habit
from inspector.tasks.decoders._pairs import find_pair
from inspector.tasks.decoders._yolo import decode_classes, place_anchors
from inspector.tasks.decoders.detr import BOXES, SCORES, scale_boxes
from inspector.tasks.layout import HeadLayout, OutputTable, number_box
from inspector.tasks.seen import Seen


@dataclass(frozen=True, eq=False)
class DetrSigmoid(BoxDecoder):
    """cx, cy, w, h in [0, 1] of each query, and K logits, each of which has a sigmoid of its own."""

    family: ClassVar[str] = "RF-DETR, RT-DETR (Hugging Face), Deformable DETR"
    looks: ClassVar[str] = "logits (1, Q, K), pred_boxes (1, Q, 4); dets and labels of RF-DETR"
    order: ClassVar[int] = 21
    over_classifier: ClassVar[bool] = True
    iou: ClassVar[float | None] = None

    @property
    def habit(self) -> Habit:
        """Stretched, with ImageNet's mean and std."""
        usual = Preprocess(size=(640, 640), mean=IMAGENET_MEAN, std=IMAGENET_STD)
        return Habit(usual, "as RF-DETR takes it: RGB, ImageNet mean and std")

    @classmethod
    def match(cls, seen: Seen) -> Self | None:
        """Outputs named so."""
        pair = find_pair(seen, BOXES, SCORES)
        if pair is None:
            return None
        boxes, logits = pair
        why = f"{boxes} and {logits}: a box and a logit of every class of each query"
        return cls((boxes.name, logits.name), "detect", logits.size(2), why)

    @property
    def layout(self) -> HeadLayout:
        """The same as data."""
        tables = tuple(OutputTable((name,)) for name in self.outputs)
        return HeadLayout(tables=tables, box=number_box(0), shares=True, scores=(1, 0, None), activation="sigmoid")

    def decode(self, values: Arrays, size: tuple[int, int]) -> Candidates:
        """Sigmoid, scale the boxes to the input."""
        boxes, name = self.fit(values, self.outputs[0], 3), self.outputs[1]
        scores = to_shares(self.fit(values, name, 3))
        return decode_classes(scale_boxes(boxes, size), scores, name, lambda found: place_anchors(found, 0, True))


DECODER = DetrSigmoid
