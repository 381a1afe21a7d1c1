"""Ablation-CAM."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from inspector.cam.context import FloatArray, MethodContext, weigh_channels
from inspector.cam.method import Method


def ablationcam(context: MethodContext) -> Sequence[FloatArray]:
    """Ablation-CAM = sum_c w_c A_c, w_c = (Y - Y_c) / |Y|, Y_c the score with channel c set to 0.

    Desai, Ramaswamy: Ablation-CAM, WACV 2020, equation 3, which divides by Y: the same for every class that the network
    votes for, while a negative score would turn evidence into its opposite. Not divided where Y = 0. grad-cam does
    the same wherever the layer's minimum is 0 (elsewhere it fills in -1e7, not 0).

    Where the scores are affine in the layer Y - Y_c = sum(G_c * A_c): nothing is run. Elsewhere the head is run once
    for each channel that is not 0 already. Returns one float32 (h, w) for each target.
    """
    maps = context.activation
    if context.linear:
        drops = np.stack(
            [np.einsum("chw,chw->c", context.gradient(t), maps, dtype=np.float64) for t in context.targets], 1
        )
    else:
        live = np.flatnonzero(maps.any(axis=(1, 2)))

        def ablated(limit: int) -> Iterator[FloatArray]:
            for start in range(0, len(live), limit):
                chosen = live[start : start + limit]
                block = np.repeat(maps[None], len(chosen), axis=0)
                block[np.arange(len(chosen)), chosen] = 0
                yield block

        drops = np.zeros((len(maps), len(context.targets)))
        if len(live):
            drops[live] = context.scores - context.head_scores(ablated)
    unit = np.where(context.scores != 0, np.abs(context.scores), 1)
    return [weigh_channels(drops[:, t] / unit[t], maps) for t in range(len(context.targets))]


METHOD = Method("ablationcam", "Ablation-CAM", "Desai 2020, WACV", 2020, "runs", ablationcam)
