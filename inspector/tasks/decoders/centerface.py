"""CenterFace: a heatmap of faces, their sizes, offsets and five landmarks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Self

import numpy as np

from inspector.image import Preprocess
from inspector.tasks.candidates import Candidates
from inspector.tasks.decoder import Arrays, BoxDecoder, Habit
from inspector.tasks.decoders._peaks import find_maps
from inspector.tasks.layout import HeadLayout, OutputTable, PlaceGrid, Points
from inspector.tasks.seen import Seen

_STRIDE = 4
_LEAST = 0.01


@dataclass(frozen=True, eq=False)
class CenterFace(BoxDecoder):
    """Height and width are exp(.) x 4, centres (place + offset + 1/2) x 4, landmarks y and x in parts of the box."""

    family: ClassVar[str] = "CenterFace"
    looks: ClassVar[str] = "heatmap (1, 1, H/4, W/4), sizes (1, 2, ...), offsets (1, 2, ...), landmarks (1, 10, ...)"
    order: ClassVar[int] = 25
    iou: ClassVar[float | None] = 0.3
    confidence: ClassVar[float] = 0.3
    frees_size: ClassVar[bool] = True

    @property
    def names(self) -> tuple[str, ...]:
        """The one class."""
        return ("face",)

    @property
    def habit(self) -> Habit:
        """The bytes themselves. What size the graph declares is that of its export, which was tiny."""
        usual = Preprocess(size=(640, 640), resize="pad", scale=1.0)
        return Habit(usual, "as CenterFace takes it: RGB, 0 to 255")

    @classmethod
    def match(cls, seen: Seen) -> Self | None:
        """Four maps of one size, with 1, 2, 2 and 10 channels."""
        maps = find_maps(seen)
        if [one.size(1) for one in maps] != [1, 2, 2, 10]:
            return None
        why = f"{', '.join(map(str, maps))}: a heatmap, sizes, offsets and landmarks"
        return cls(tuple(one.name for one in maps), "pose", 1, why)

    @property
    def layout(self) -> HeadLayout:
        """The same as data."""
        return HeadLayout(
            tables=tuple(OutputTable((name,), first=True) for name in self.outputs),
            box=((2, 1), (2, 0), (1, 1), (1, 0)),
            grid=PlaceGrid(((_STRIDE,),), (0.5,)),
            scores=(0, 0, 1),
            points=Points((3, 0, None), 2, "box", swapped=True),
        )

    def decode(self, values: Arrays, size: tuple[int, int]) -> Candidates:
        """A box at every place of the heatmap; suppression finds the best."""
        heat, sizes, offsets, marks = (self.fit(values, name, 4) for name in self.outputs)
        y, x = np.nonzero(~(heat[0] < _LEAST))
        sides = np.exp(sizes[::-1, y, x].T) * _STRIDE
        centres = (np.stack([x, y], axis=1) + offsets[::-1, y, x].T + 0.5) * _STRIDE
        corner = centres - sides / 2
        points = marks[:, y, x].T.reshape(len(y), 5, 2)[:, :, ::-1] * sides[:, None] + corner[:, None]
        zero = np.zeros(len(y), np.int64)
        return Candidates(
            np.concatenate([corner, corner + sides], axis=1).astype(np.float32),
            heat[0, y, x],
            zero,
            self.outputs[0],
            np.stack([zero, zero, y, x], axis=1),
            keypoints=np.concatenate([points, np.ones_like(points[:, :, :1])], axis=2).astype(np.float32),
        )


DECODER = CenterFace
