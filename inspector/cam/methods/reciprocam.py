"""Recipro-CAM."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from inspector.cam.context import FloatArray, MethodContext
from inspector.cam.method import Method


def reciprocam(context: MethodContext) -> Sequence[FloatArray]:
    """Recipro-CAM(i, j) = Y(A with only the place i, j kept) - Y(0).

    Byun, Lee: Recipro-CAM, 2022 (arXiv:2209.14074), equation 4, with single places as masks. The paper stretches the
    map from its minimum, which hides any constant; here the score of an empty layer is taken off, so that a place that
    adds nothing is 0.

    Where the scores are affine in the layer this is sum_c G_c * A_c (HiResCAM; with average pooling CAM / (h w)), and
    nothing is run. Returns one float32 (h, w) for each target.
    """
    maps = context.activation
    if context.linear:
        return [np.einsum("chw,chw->hw", context.gradient(t), maps) for t in context.targets]
    channels, height, width = maps.shape
    flat = maps.reshape(channels, -1)

    def kept(limit: int) -> Iterator[FloatArray]:
        yield np.zeros((1, channels, height, width), np.float32)
        for start in range(0, height * width, limit):
            places = np.arange(start, min(start + limit, height * width))
            block = np.zeros((len(places), channels, height * width), np.float32)
            block[np.arange(len(places)), :, places] = flat[:, places].T
            yield block.reshape(-1, channels, height, width)

    scores = context.head_scores(kept)
    return [(scores[1:, t] - scores[0, t]).reshape(height, width).astype(np.float32) for t in range(scores.shape[1])]


METHOD = Method("reciprocam", "Recipro-CAM", "Byun 2022, arXiv:2209.14074", 2022, "runs", reciprocam)
