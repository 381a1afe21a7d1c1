"""YuNet: faces and five landmarks, on three grids."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Self

import numpy as np

from inspector.errors import NotComputable
from inspector.image import Preprocess
from inspector.tasks.candidates import Candidates, to_corners
from inspector.tasks.decoder import Arrays, BoxDecoder, Habit
from inspector.tasks.decoders._yolo import make_grid
from inspector.tasks.layout import HeadLayout, OutputTable, PlaceGrid, Points, number_box
from inspector.tasks.seen import Seen

_STRIDES = (8, 16, 32)
_PARTS = ("cls", "obj", "bbox", "kps")


@dataclass(frozen=True, eq=False)
class YuNet(BoxDecoder):
    """Centres (place + .) stride, sides exp(.) stride, landmarks (place + .) stride; score = sqrt(cls obj)."""

    family: ClassVar[str] = "YuNet"
    looks: ClassVar[str] = "cls_8, cls_16, cls_32, obj_8, ..., bbox_8, ..., kps_8, ..."
    order: ClassVar[int] = 11
    over_classifier: ClassVar[bool] = True
    iou: ClassVar[float | None] = 0.3
    confidence: ClassVar[float] = 0.6

    @property
    def names(self) -> tuple[str, ...]:
        """The one class."""
        return ("face",)

    @property
    def habit(self) -> Habit:
        """The bytes themselves in the order blue, green, red."""
        usual = Preprocess(size=(640, 640), resize="pad", place="corner", fill=(0, 0, 0), colour="BGR", scale=1.0)
        return Habit(usual, "as YuNet takes it: BGR, 0 to 255, in the corner of a black frame")

    @classmethod
    def match(cls, seen: Seen) -> Self | None:
        """Twelve outputs named so."""
        names = [f"{part}_{stride}" for part in _PARTS for stride in _STRIDES]
        found = [one.name for name in names if (one := seen.named(name)) is not None]
        if len(found) != len(names):
            return None
        return cls(tuple(found), "pose", 1, f"{names[0]} to {names[-1]}: their names")

    @property
    def layout(self) -> HeadLayout:
        """The same as data."""
        return HeadLayout(
            tables=tuple(OutputTable(self.outputs[i : i + 3]) for i in range(0, 12, 3)),
            box=number_box(2),
            grid=PlaceGrid((_STRIDES,), (0.0,)),
            scores=(0, 0, 1),
            sure=(1, 0),
            root=True,
            points=Points((3, 0, None), 2, "cells"),
        )

    def decode(self, values: Arrays, size: tuple[int, int]) -> Candidates:
        """Put the grids together. The tensor of a class score is that of its grid."""
        rows = [np.concatenate([self.fit(values, n, 3) for n in self.outputs[i : i + 3]]) for i in range(0, 12, 3)]
        sure, there, boxes, marks = rows
        cells, steps = make_grid(size, _STRIDES)
        if len(cells) != len(sure):
            raise NotComputable(f"{self.outputs[0]!r} and its like have {len(sure)} places, not {len(cells)}")
        scores = np.sqrt(np.clip(sure[:, 0], 0, 1) * np.clip(there[:, 0], 0, 1))
        centred = np.concatenate([(boxes[:, :2] + cells) * steps, np.exp(boxes[:, 2:]) * steps], axis=1)
        points = (marks.reshape(-1, 5, 2) + cells[:, None]) * steps[:, None]
        return Candidates(
            to_corners(centred),
            scores.astype(np.float32),
            np.zeros(len(scores), np.int64),
            keypoints=np.concatenate([points, np.ones_like(points[:, :, :1])], axis=2).astype(np.float32),
            tensors=tuple(self.outputs[:3]),
            places=self._places(values),
        )

    def _places(self, values: Arrays) -> np.ndarray:
        """(grid, 0, place, 0) of each class score."""
        parts = []
        for grid, name in enumerate(self.outputs[:3]):
            many = values[name].shape[1]
            at = np.arange(many)
            parts.append(np.stack([np.full(many, grid), np.zeros(many), at, np.zeros(many)], axis=1))
        return np.concatenate(parts).astype(np.int64)


DECODER = YuNet
