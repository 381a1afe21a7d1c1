"""CenterNet: a heatmap of each class, sizes and offsets."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Self

import numpy as np

from inspector.image import Preprocess
from inspector.tasks.candidates import Candidates, to_shares
from inspector.tasks.decoder import Arrays, BoxDecoder, Habit
from inspector.tasks.decoders._peaks import find_maps, find_peaks
from inspector.tasks.layout import HeadLayout, OutputTable, PlaceGrid
from inspector.tasks.seen import Seen

_STRIDE = 4


@dataclass(frozen=True, eq=False)
class CenterNet(BoxDecoder):
    """Peaks of heatmaps; width and height in cells of 4 pixels, centres (place + offset) x 4.

    Attributes:
        shares: The heatmap holds probabilities already.
    """

    shares: bool = False

    family: ClassVar[str] = "CenterNet"
    looks: ClassVar[str] = "heatmap (1, K, H/4, W/4), sizes (1, 2, H/4, W/4), offsets (1, 2, H/4, W/4)"
    order: ClassVar[int] = 26
    iou: ClassVar[float | None] = None

    @property
    def habit(self) -> Habit:
        """ImageNet's mean and std, in the order blue, green, red."""
        mean, std = (0.408, 0.447, 0.470), (0.289, 0.274, 0.278)
        usual = Preprocess(size=(512, 512), resize="pad", fill=(0, 0, 0), colour="BGR", mean=mean, std=std)
        return Habit(usual, "as CenterNet takes it: BGR with its own mean and std")

    @classmethod
    def match(cls, seen: Seen) -> Self | None:
        """Three maps of one size: K, 2 and 2 channels."""
        maps = find_maps(seen)
        if len(maps) != 3 or [one.size(1) for one in maps[1:]] != [2, 2]:
            return None
        heat = maps[0]
        why = f"{', '.join(map(str, maps))}: heatmaps, sizes and offsets"
        shares = seen.values(heat).are_shares
        return cls(tuple(one.name for one in maps), "detect", heat.size(1), why, shares)

    @property
    def layout(self) -> HeadLayout:
        """The same as data."""
        return HeadLayout(
            tables=tuple(OutputTable((name,), first=True) for name in self.outputs),
            box=((2, 0), (2, 1), (1, 0), (1, 1)),
            grid=PlaceGrid(((_STRIDE,),), (0.0,), "linear"),
            scores=(0, 0, None),
            activation="none" if self.shares else "sigmoid",
            peaks=True,
        )

    def decode(self, values: Arrays, size: tuple[int, int]) -> Candidates:
        """Take the peaks, and what the other maps hold at their places."""
        heat, sizes, offsets = (self.fit(values, name, 4) for name in self.outputs)
        scores = heat if self.shares else to_shares(heat)
        k, y, x = find_peaks(scores)
        centres = (np.stack([x, y], axis=1) + offsets[:, y, x].T) * _STRIDE
        half = sizes[:, y, x].T * (_STRIDE / 2)
        boxes = np.concatenate([centres - half, centres + half], axis=1).astype(np.float32)
        return Candidates(boxes, scores[k, y, x], k, self.outputs[0], np.stack([np.zeros_like(k), k, y, x], axis=1))


DECODER = CenterNet
