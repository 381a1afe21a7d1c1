"""Grad-CAM++."""

from __future__ import annotations

import numpy as np

from inspector.cam.context import FloatArray, weigh_channels
from inspector.cam.method import Method

SMALL = 1e-6
"""Added to the divisor by the published implementations. It makes w_c grow with the third power of very small
gradients; with 0 the paper's equation 19 stands as it is."""


def gradcampp(activation: FloatArray, gradient: FloatArray, small: float = SMALL) -> FloatArray:
    """Grad-CAM++ = sum_c w_c A_c, w_c = sum over places of a relu(G_c), a = G^2 / (2 G^2 + S_c G^3 + small).

    Chattopadhay, Sarkar, Howlader, Balasubramanian: Grad-CAM++, 2018 (arXiv:1710.11063), equations 7 and 19 for a score
    that is the exponential of Y; S_c = sum over places of A_c. Follows grad-cam, `small` included (in double
    precision, so that nothing vanishes); torchcam 0.5.0 computes something else.

    Args:
        activation: float32 (C, h, w) -> float32 (h, w).
        gradient: float32 (C, h, w) -> float32 (h, w).
        small: What counts as a sum of zero.
    """
    g = gradient.astype(np.float64)
    sums = activation.sum(axis=(1, 2), dtype=np.float64)[:, None, None]
    divisor = 2 * g**2 + sums * g**3 + small
    share = np.divide(g**2, divisor, out=np.zeros_like(g), where=(g != 0) & (divisor != 0))
    return weigh_channels((share * np.maximum(g, 0)).sum(axis=(1, 2)), activation)


METHOD = Method(
    "gradcam++",
    "Grad-CAM++",
    "Chattopadhay 2018, arXiv:1710.11063",
    2018,
    "gradient",
    gradcampp,
    aliases=("gradcampp",),
)
