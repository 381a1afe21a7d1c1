"""A few values of every channel from random places of random pictures: enough to see channels that repeat others."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from inspector.auditing.forward_pass import ForwardPass
from inspector.auditing.probes import Probe
from inspector.auditing.subject import Subject

SIZE = 256
"""Values kept per channel, whatever the number of pictures: 44 MB for 43,000 channels."""

PLACES = 4
"""Places taken from each map of a picture."""


class Samples(Probe):
    """A uniform sample (reservoir, Vitter 1985) of joint values of all channels of a layer.

    Attributes:
        kept: float32 (SIZE, C) by layer.
        seen: How many values of each channel have gone by, by layer.
    """

    layers = True
    needs = ("pictures",)

    def __init__(self, subject: Subject) -> None:
        super().__init__(subject)
        self.random = subject.random(2)
        self.kept: dict[str, NDArray[np.float32]] = {}
        self.seen: dict[str, int] = {}

    def look(self, forward: ForwardPass) -> None:
        """Take in one picture."""
        # All numbers of a picture at once: a call for each of a hundred layers costs more than what it draws.
        draws = self.random.random((len(forward.layers), 2, PLACES))
        for (name, layer), (where, chance) in zip(forward.layers.items(), draws, strict=True):
            maps = layer.maps
            if name not in self.kept:
                self.kept[name] = np.zeros((SIZE, len(maps)), np.float32)
                self.seen[name] = 0
            count = min(PLACES, maps.shape[1])
            seen = self.seen[name] + np.arange(count)
            rows = np.where(seen < SIZE, seen, (chance[:count] * (seen + 1)).astype(np.int64))
            taken = rows < SIZE
            if taken.any() and len(maps) == self.kept[name].shape[1]:
                places = (where[:count] * maps.shape[1]).astype(np.int64)[taken]
                self.kept[name][rows[taken]] = maps[:, places].T
            self.seen[name] += count

    def rows(self, layer: str) -> NDArray[np.float32]:
        """float32 (n, C), n at most SIZE."""
        return self.kept[layer][: min(SIZE, self.seen[layer])]
