"""PP-YOLOE, PicoDet and other detectors of PaddleDetection: the class stands first."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Self

import numpy as np

from inspector.image import IMAGENET_MEAN, IMAGENET_STD, Preprocess
from inspector.tasks.candidates import Candidates
from inspector.tasks.decoder import Arrays, BoxDecoder, Habit
from inspector.tasks.layout import HeadLayout, OutputTable, number_box
from inspector.tasks.seen import Output, Seen


@dataclass(frozen=True, eq=False)
class Paddle(BoxDecoder):
    """Rows of class, score, x1, y1, x2, y2 in pixels of the input; a class below 0 is padding."""

    family: ClassVar[str] = "PP-YOLOE, PicoDet and others of PaddleDetection"
    looks: ClassVar[str] = "(n, 6), class first"
    order: ClassVar[int] = 30
    over_classifier: ClassVar[bool] = True
    iou: ClassVar[float | None] = None

    @property
    def habit(self) -> Habit:
        """Stretched, with ImageNet's mean and std."""
        usual = Preprocess(size=(640, 640), mean=IMAGENET_MEAN, std=IMAGENET_STD, filter="bicubic")
        return Habit(usual, "as PaddleDetection takes it: RGB, ImageNet mean and std")

    @classmethod
    def match(cls, seen: Seen) -> Self | None:
        """An output of six numbers in a file of Paddle."""
        for output in seen.of_axes(2):
            if output.size(1) == 6 and output.is_float and (seen.said or is_of_paddle(seen, output)):
                return cls((output.name,), "detect", seen.labels, f"{output}: class, score and box")
        return None

    @property
    def layout(self) -> HeadLayout:
        """The same as data."""
        return HeadLayout(
            tables=(OutputTable(self.outputs),),
            box=number_box(0, 2),
            corners=True,
            scores=(0, 1, 1),
            label=(0, 0),
            within=((0, 0), 0.0, None),
        )

    def decode(self, values: Arrays, size: tuple[int, int]) -> Candidates:
        """Put the class behind the box."""
        (name,) = self.outputs
        rows = np.asarray(values[name], np.float32).reshape(-1, 6)
        at = np.flatnonzero(rows[:, 0] >= 0)
        kept = rows[at]
        places = np.stack([at, np.ones_like(at)], axis=1)
        return Candidates(kept[:, 2:], kept[:, 1], np.rint(kept[:, 0]).astype(np.int64), name, places)


def is_of_paddle(seen: Seen, output: Output) -> bool:
    """Whether an output is of PaddleDetection's suppression, by its name or the inputs beside the picture."""
    name = output.name.lower()
    others = {one.name for one in seen.graph.inputs} | seen.graph.initializers.keys()
    named = name.startswith("fetch_name_") or "tmp_" in name
    told = "multiclass_nms" in name or "scale_factor" in others or (named and has_objects(seen, output))
    return output.axes == 2 and told


def has_objects(seen: Seen, output: Output) -> bool:
    """Whether the rows of an output are no pictures: they are counted in a run, or one picture gives many."""
    pictures = seen.graph.inputs[0].shape if seen.graph.inputs else None
    rows = output.size(0)
    return seen.counts(output) or (pictures is not None and pictures[:1] == (1,) and rows is not None and rows > 1)


DECODER = Paddle
