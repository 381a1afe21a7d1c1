"""A few values of every channel from random places of random pictures: enough to see channels that repeat others."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from inspector.audit.probes import Probe
from inspector.audit.subject import Sight, Subject

SIZE = 256
"""Values kept per channel, whatever the number of pictures: 44 MB for 43,000 channels."""

PLACES = 4
"""Places taken from each map of a picture."""


class Samples(Probe):
    """A uniform sample (reservoir, Vitter 1985) of joint values of all channels of a layer.

    kept: float32 (SIZE, C) by layer; filled: how many rows of it are used.
    """

    layers: ClassVar[bool] = True

    def __init__(self, subject: Subject) -> None:
        super().__init__(subject)
        subject.need_pictures()
        self.random = subject.random(2)
        self.kept: dict[str, NDArray[np.float32]] = {}
        self.seen: dict[str, int] = {}

    def look(self, sight: Sight) -> None:
        """Take in one picture."""
        for name, layer in sight.layers.items():
            maps = layer.maps
            if name not in self.kept:
                self.kept[name] = np.zeros((SIZE, len(maps)), np.float32)
                self.seen[name] = 0
            places = self.random.integers(0, maps.shape[1], min(PLACES, maps.shape[1]))
            for place in places:
                seen = self.seen[name]
                row = seen if seen < SIZE else int(self.random.integers(0, seen + 1))
                if row < SIZE and len(maps) == self.kept[name].shape[1]:
                    self.kept[name][row] = maps[:, place]
                self.seen[name] = seen + 1

    def rows(self, layer: str) -> NDArray[np.float32]:
        """float32 (n, C), n at most SIZE."""
        return self.kept[layer][: min(SIZE, self.seen[layer])]
