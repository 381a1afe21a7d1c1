"""Score-CAM."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from inspector.cam.context import FloatArray, MethodContext, weigh_channels
from inspector.cam.method import Method
from inspector.cam.resize import enlarge


def scorecam(context: MethodContext) -> Sequence[FloatArray]:
    """Score-CAM = sum_c w_c A_c, w = softmax over channels of Y(x * M_c), M_c the enlarged A_c stretched to [0, 1].

    Wang, Wang, Du, Yang, Zhang, Ding, Mardziel, Hu: Score-CAM, 2020 (arXiv:1910.01279), algorithm 1, on the normalised
    input x. Follows grad-cam: bilinear enlargement with aligned corners, then min-max per channel; a constant channel
    masks everything. (torchcam stretches first and does not align the corners. The paper's baseline score cancels in
    the softmax.) All constant channels share one run, and all classes share all runs.

    Returns one float32 (h, w) for each target.
    """
    maps = context.activation
    flat = maps.reshape(len(maps), -1)
    low, high = flat.min(axis=1), flat.max(axis=1)
    live = np.flatnonzero(high > low)
    blank = len(live) < len(maps)

    def masks(limit: int) -> Iterator[FloatArray]:
        for start in range(0, len(live), limit):
            chosen = live[start : start + limit]
            block = enlarge(maps[chosen], context.size, align_corners=True)
            least = block.min(axis=(1, 2), keepdims=True)
            block -= least
            block /= np.maximum(block.max(axis=(1, 2), keepdims=True), np.finfo(np.float32).tiny)
            yield block
        if blank:
            yield np.zeros((1, *context.size), np.float32)

    found = context.masked_scores(masks)
    scores = np.empty((len(maps), found.shape[1]))
    scores[live] = found[: len(live)]
    if blank:
        scores[high <= low] = found[-1]
    exponents = np.exp(scores - scores.max(axis=0))
    weights = exponents / exponents.sum(axis=0)
    return [weigh_channels(weights[:, t], maps) for t in range(weights.shape[1])]


METHOD = Method("scorecam", "Score-CAM", "Wang 2020, arXiv:1910.01279", 2019, "runs", scorecam, whole_network=True)
