"""TensorFlow's object detection: named outputs, pixels as bytes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Self

import numpy as np

from inspector.image import Preprocess
from inspector.tasks.candidates import Candidates
from inspector.tasks.decoder import Arrays, BoxDecoder, Habit
from inspector.tasks.decoders.detr import scale_boxes
from inspector.tasks.layout import HeadLayout, OutputTable
from inspector.tasks.seen import Output, Seen

_LITE = "tflite_detection_postprocess"
_NAMES = {
    "boxes": ("detection_boxes", _LITE),
    "classes": ("detection_classes", f"{_LITE}:1"),
    "scores": ("detection_scores", f"{_LITE}:2"),
}


@dataclass(frozen=True, eq=False)
class TensorFlow(BoxDecoder):
    """y1, x1, y2, x2 in [0, 1], class from 1 and score of each object; rows of score 0 are padding."""

    family: ClassVar[str] = "TensorFlow's object detection"
    looks: ClassVar[str] = "detection_boxes (1, N, 4), detection_scores, detection_classes, num_detections"
    order: ClassVar[int] = 10
    over_classifier: ClassVar[bool] = True
    iou: ClassVar[float | None] = None

    @property
    def habit(self) -> Habit:
        """The picture as it is: the graph resizes and normalises."""
        usual = Preprocess.named("raw", None)
        return Habit(usual, "as TensorFlow's object detection takes it: bytes, resized and normalised in the graph")

    @classmethod
    def match(cls, seen: Seen) -> Self | None:
        """Outputs named so; a number behind a colon, and a path before the name, are left out."""
        found = {part: cls._find(seen, names) for part, names in _NAMES.items()}
        boxes, classes, scores = found["boxes"], found["classes"], found["scores"]
        if boxes is None or classes is None or scores is None:
            return None
        why = f"{boxes}, {classes} and {scores}: their names"
        return cls((boxes.name, classes.name, scores.name), "detect", seen.labels, why)

    @staticmethod
    def _find(seen: Seen, names: tuple[str, ...]) -> Output | None:
        for output in seen.outputs:
            whole = output.name.lower().rpartition("/")[2]
            if whole in names or (whole.removesuffix(":0") in names):
                return output
        return None

    @property
    def layout(self) -> HeadLayout:
        """The same as data."""
        boxes, classes, scores = self.outputs
        return HeadLayout(
            tables=(OutputTable((boxes,)), OutputTable((classes,), inner=0), OutputTable((scores,), inner=0)),
            box=((0, 1), (0, 0), (0, 3), (0, 2)),
            corners=True,
            shares=True,
            scores=(2, 0, 1),
            label=(1, 0),
        )

    def decode(self, values: Arrays, size: tuple[int, int]) -> Candidates:
        """Turn the sides round, scale the boxes to the input."""
        boxes, classes, name = (*self.outputs[:2], self.outputs[2])
        rows = self.fit(values, boxes, 3)[:, [1, 0, 3, 2]]
        scores = self.fit(values, name, 2)
        at = np.arange(len(scores))
        indices = np.maximum(np.rint(np.nan_to_num(self.fit(values, classes, 2))), 0).astype(np.int64)
        found = Candidates(scale_boxes(rows, size), scores, indices, name, np.stack([np.zeros_like(at), at], axis=1))
        return found.pick(np.nan_to_num(scores, nan=1) > 0)


DECODER = TensorFlow
