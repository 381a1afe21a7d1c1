"""One picture on its way through the network, as the probes see it."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from inspector.auditing.pictures import PictureEntry
from inspector.image import digest_image
from inspector.layers import Layer
from inspector.model.probabilities import ClassRows

if TYPE_CHECKING:
    from PIL.Image import Image


@dataclass
class LayerOutput:
    """What one layer gives for one picture.

    Attributes:
        layer: The layer.
        values: float32 (C, H, W), (C, ...) or (C,).
        known_low: The minima, once somebody has asked for `low`.
        known_high: The maxima, once somebody has asked for `high`.
    """

    layer: Layer
    values: NDArray[np.float32]
    known_low: NDArray[np.float32] | None = field(default=None, repr=False)
    known_high: NDArray[np.float32] | None = field(default=None, repr=False)

    # No cached_property: until Python 3.12 one lock of its lets a single thread at a time compute, for all layers.

    @property
    def maps(self) -> NDArray[np.float32]:
        """float32 (C, H*W)."""
        return self.values.reshape(len(self.values), -1)

    @property
    def low(self) -> NDArray[np.float32]:
        """Minimum of each channel (C,); NaN where there is one. Computed once, then in `known_low`."""
        if self.known_low is None:
            self.known_low = np.asarray(self.maps.min(axis=1))
        return self.known_low

    @property
    def high(self) -> NDArray[np.float32]:
        """Maximum of each channel (C,); NaN where there is one. Computed once, then in `known_high`."""
        if self.known_high is None:
            self.known_high = np.asarray(self.maps.max(axis=1))
        return self.known_high


@dataclass
class ForwardPass:
    """One picture and what the network makes of it, as it passes the probes.

    Attributes:
        index: The picture's place in the set.
        entry: Where it is, and its class where that is known.
        source: Its file, or what was read of it where it lies in an archive or at an address.
        picture: Upright, RGB.
        tensor: The input of the network (1, ...).
        classes: Scores and the file's own probabilities, of this one picture; None without a classification output.
        layers: What the layers give, by name; empty when no probe asked for them.
        outputs: What the outputs of a detector or segmenter give, by name; empty when no probe asked for them.
        memo: For probes that share something costly about this picture.
    """

    index: int
    entry: PictureEntry
    source: Path | bytes
    picture: Image
    tensor: NDArray[Any]
    classes: ClassRows | None
    layers: dict[str, LayerOutput]
    outputs: dict[str, NDArray[Any]] = field(default_factory=dict)
    memo: dict[str, Any] = field(default_factory=dict)

    @property
    def scores(self) -> NDArray[np.float32] | None:
        """float32 (K,), None without a classification output."""
        return None if self.classes is None else self.classes.scores[0]

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the picture's file."""
        return digest_image(self.source)
