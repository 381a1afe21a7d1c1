"""Pictures for a comparison to which none were given."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from inspector.model import Model

COUNT = 3
_USUAL_SIDE = 224


def make_pictures(model: Model) -> Iterator[tuple[str, NDArray[np.uint8]]]:
    """Soft colored noise of the size that a model takes, the same every time.

    Yields:
        (name, uint8 (H, W, 3)).
    """
    height, width = model.preprocess.size or (_USUAL_SIDE, _USUAL_SIDE)
    rows, columns = (np.linspace(0, 1, side, endpoint=False) for side in (height, width))
    for k in range(COUNT):
        rng = np.random.default_rng(k)
        total = np.zeros((height, width, 3))
        for octave in range(5):
            # Waves of random directions, halved in height and in length from one to the next.
            across, down, phase = rng.uniform(-1, 1, (3, 3)) * 2**octave
            angle = 2 * np.pi * (rows[:, None, None] * down + columns[:, None] * across + phase)
            total += np.sin(angle) / 2 ** (octave / 2)
        total = (total - total.min()) / max(float(np.ptp(total)), 1e-9)
        noise = rng.uniform(-0.1, 0.1, total.shape)
        yield f"made-{k + 1}", np.clip(255 * (total + noise), 0, 255).astype(np.uint8)
