"""XGrad-CAM."""

from __future__ import annotations

import numpy as np

from inspector.cam.context import FloatArray, weigh_channels
from inspector.cam.method import Method


def xgradcam(activation: FloatArray, gradient: FloatArray) -> FloatArray:
    """XGrad-CAM = sum_c w_c A_c, w_c = sum(G_c * A_c) / sum(A_c), sums over places.

    Fu, Hu, Dong, Guo, Gao, Li: Axiom-based Grad-CAM, 2020 (arXiv:2008.02312), equation 8. Where the gradient is the
    same in all places, w_c is that gradient: the quotient is not taken, which near sum(A_c) = 0 would be noise. A
    channel whose sum is exactly 0 but whose gradient varies has no weight by this formula and gets 0. grad-cam adds
    1e-7 to the divisor instead.

    Args:
        activation: float32 (C, h, w) -> float32 (h, w).
        gradient: float32 (C, h, w) -> float32 (h, w).
    """
    g, a = gradient.astype(np.float64), activation.astype(np.float64)
    sums = a.sum(axis=(1, 2))
    weights = np.divide((g * a).sum(axis=(1, 2)), sums, out=np.zeros_like(sums), where=sums != 0)
    uniform = (g == g[:, :1, :1]).all(axis=(1, 2))
    weights[uniform] = g[uniform, 0, 0]
    return weigh_channels(weights, activation)


METHOD = Method("xgradcam", "XGrad-CAM", "Fu 2020, arXiv:2008.02312", 2020, "gradient", xgradcam)
