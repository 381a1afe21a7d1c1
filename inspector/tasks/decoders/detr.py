"""DETR: a softmax over the classes and one more, which says that there is no object."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from inspector.image import IMAGENET_MEAN, IMAGENET_STD, Preprocess
from inspector.tasks.candidates import Candidates
from inspector.tasks.decoder import Arrays, BoxDecoder, Habit
from inspector.tasks.decoders._pairs import find_pair
from inspector.tasks.decoders._yolo import decode_classes, place_anchors
from inspector.tasks.layout import HeadLayout, OutputTable, number_box
from inspector.tasks.seen import Output, Seen

BOXES = ("pred_boxes", "dets", "boxes_pred")
SCORES = ("logits", "pred_logits", "labels")
_QUERIES = 100


@dataclass(frozen=True, eq=False)
class Detr(BoxDecoder):
    """cx, cy, w, h in [0, 1] of each query, and K + 1 logits, the last of which stands for no object."""

    family: ClassVar[str] = "DETR"
    looks: ClassVar[str] = "logits (1, Q, K+1), pred_boxes (1, Q, 4)"
    order: ClassVar[int] = 20
    over_classifier: ClassVar[bool] = True
    iou: ClassVar[float | None] = None

    @property
    def habit(self) -> Habit:
        """Stretched, with ImageNet's mean and std."""
        usual = Preprocess(size=(800, 800), mean=IMAGENET_MEAN, std=IMAGENET_STD)
        return Habit(usual, "as DETR takes it: RGB, ImageNet mean and std")

    @classmethod
    def match(cls, seen: Seen) -> Self | None:
        """Outputs named so, with a logit more than there are labels, or a hundred queries."""
        pair = find_pair(seen, BOXES, SCORES)
        if pair is None or not (seen.said or has_no_object(seen, pair[1])):
            return None
        boxes, logits = pair
        width = logits.size(2)
        why = f"{boxes} and {logits}: a box and logits of each query, the last for no object"
        return cls((boxes.name, logits.name), "detect", width - 1 if width else None, why)

    @property
    def layout(self) -> HeadLayout:
        """The same as data."""
        tables = tuple(OutputTable((name,)) for name in self.outputs)
        return HeadLayout(tables=tables, box=number_box(0), shares=True, scores=(1, 0, None), activation="softmax")

    def decode(self, values: Arrays, size: tuple[int, int]) -> Candidates:
        """Softmax, leave out the last class, scale the boxes to the input."""
        boxes, name = self.fit(values, self.outputs[0], 3), self.outputs[1]
        logits = self.fit(values, name, 3)
        shares = np.exp(logits - logits.max(axis=1, keepdims=True))
        scores = (shares / shares.sum(axis=1, keepdims=True))[:, :-1]
        return decode_classes(scale_boxes(boxes, size), scores, name, lambda found: place_anchors(found, 0, True))


def scale_boxes(boxes: NDArray[np.float32], size: tuple[int, int]) -> NDArray[np.float32]:
    """Boxes in [0, 1] in pixels of an input of `size` (H, W): (n, 4) -> float32 (n, 4)."""
    height, width = size
    return np.asarray(boxes * np.array([width, height, width, height], np.float32), np.float32)


def has_no_object(seen: Seen, logits: Output) -> bool:
    """Whether the last logit stands for no object: there is one more than labels, or DETR's number of queries."""
    if seen.labels is not None and logits.size(2) in (seen.labels, seen.labels + 1):
        return logits.size(2) == seen.labels + 1
    return logits.size(1) == _QUERIES


DECODER = Detr
