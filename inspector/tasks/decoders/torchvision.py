"""Faster, Mask and Keypoint R-CNN, SSD and RetinaNet of torchvision; RT-DETR and D-FINE with their last step."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from inspector.image import Preprocess
from inspector.tasks.candidates import Candidates
from inspector.tasks.decoder import Arrays, BoxDecoder, Habit
from inspector.tasks.layout import HeadLayout, Masks, OutputTable, Points, number_box
from inspector.tasks.seen import Output, Seen


@dataclass(frozen=True, eq=False)
class Torchvision(BoxDecoder):
    """x1, y1, x2, y2 in pixels, the class and the score of each object; of torchvision's classes 0 is the background.

    Attributes:
        masks: The output of masks (n, 1, H, W) in [0, 1]; empty without masks.
        keypoints: The output of keypoints (n, P, 3); empty without keypoints.
        batched: There is a batch axis, as RT-DETR and D-FINE have it.
    """

    masks: str = ""
    keypoints: str = ""
    batched: bool = False

    family: ClassVar[str] = "torchvision's detectors; RT-DETR and D-FINE with their last step"
    looks: ClassVar[str] = "boxes (n, 4), labels int64 (n), scores (n), with masks (n, 1, H, W) or keypoints (n, P, 3)"
    order: ClassVar[int] = 12
    over_classifier: ClassVar[bool] = True
    iou: ClassVar[float | None] = None

    @property
    def habit(self) -> Habit:
        """In [0, 1]: torchvision's normalise and resize themselves, RT-DETR's do not."""
        if self.batched:
            return Habit(Preprocess(size=(640, 640)), "as RT-DETR takes it: RGB / 255")
        usual = Preprocess(resize="pad", fill=(0, 0, 0))
        return Habit(usual, "as torchvision's detectors take it: RGB / 255, resized and normalised in the graph")

    @classmethod
    def match(cls, seen: Seen) -> Self | None:
        """A table of boxes, whole numbers and scores, of the same rows."""
        for axes in (1, 2):
            boxes = [one for one in seen.of_axes(axes + 1) if one.is_float and one.size(-1) == 4]
            labels = [one for one in seen.of_axes(axes) if one.dtype in ("int64", "int32")]
            scores = [one for one in seen.of_axes(axes) if one.is_float and one.dtype]
            if axes == 2:
                # Rows of whole numbers and of scores are as long as the table of boxes.
                labels = [one for one in labels if one.size(1) == boxes[0].size(1)] if boxes else []
                scores = [one for one in scores if one not in boxes]
            if boxes and labels and scores:
                return cls._make(seen, boxes[0], labels[0], scores[0], axes == 2)
        return None

    @classmethod
    def _make(cls, seen: Seen, boxes: Output, labels: Output, scores: Output, batched: bool) -> Self:
        masks = next((one for one in seen.of_axes(4) if one.size(1) == 1), None)
        points = next((one for one in seen.of_axes(3) if one.size(2) == 3 and not batched), None)
        more = [one.name for one in (masks, points) if one is not None]
        return cls(
            (boxes.name, labels.name, scores.name, *more),
            "pose" if points is not None else "detect",
            seen.labels,
            f"{boxes}, {labels} and {scores}: box, class and score of each object",
            masks.name if masks is not None else "",
            points.name if points is not None else "",
            batched,
        )

    @property
    def layout(self) -> HeadLayout:
        """The same as data."""
        boxes, labels, scores = self.outputs[:3]
        tables = (OutputTable((boxes,)), OutputTable((labels,), inner=0), OutputTable((scores,), inner=0))
        return HeadLayout(
            tables=(*tables, OutputTable((self.keypoints,), inner=2)) if self.keypoints else tables,
            box=number_box(0),
            corners=True,
            scores=(2, 0, 1),
            label=(1, 0),
            points=Points((3, 0, None)) if self.keypoints else None,
            masks=Masks(self.masks) if self.masks else None,
        )

    def decode(self, values: Arrays, size: tuple[int, int]) -> Candidates:
        """Put the tables together."""
        boxes, labels, scores = (self._table(values[name]) for name in self.outputs[:3])
        at = np.arange(len(scores))
        places = np.stack([np.zeros_like(at), at] if self.batched else [at], axis=1)
        kept = np.nan_to_num(scores, nan=1) > 0
        found = Candidates(
            np.asarray(boxes, np.float32).reshape(-1, 4),
            np.asarray(scores, np.float32),
            np.maximum(labels.astype(np.int64), 0),
            self.outputs[2],
            places,
            keypoints=np.asarray(values[self.keypoints], np.float32) if self.keypoints else None,
            masks=self._masks(values),
        )
        return found.pick(kept)

    def _table(self, value: NDArray[np.float32]) -> NDArray[np.float32]:
        return value[0] if self.batched else value

    def _masks(self, values: Arrays) -> Callable[[NDArray[np.int64]], NDArray[np.float32]] | None:
        if not self.masks:
            return None
        masks = values[self.masks]
        return lambda which: np.asarray(masks[which, 0], np.float32) - 0.5


DECODER = Torchvision
