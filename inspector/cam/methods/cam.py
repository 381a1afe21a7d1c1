"""Class activation mapping, the original."""

from __future__ import annotations

import numpy as np

from inspector.cam.context import FloatArray, weigh_channels
from inspector.cam.method import Method
from inspector.errors import NotComputable


def cam(activation: FloatArray, gradient: FloatArray) -> FloatArray:
    """CAM = sum_c W[k, c] A_c: W the weight that class k gives to the mean of channel c.

    Zhou, Khosla, Lapedriza, Oliva, Torralba: Learning Deep Features for Discriminative Localization, 2016
    (arXiv:1512.04150), equation 2. No ReLU; the bias belongs to no place and is left out. Defined for average pooling
    and a linear head, where G[c, i, j] = W[k, c] / (h w): Grad-CAM times the number of cells.

    Args:
        activation: float32 (C, h, w) -> float32 (h, w).
        gradient: float32 (C, h, w) -> float32 (h, w).

    Raises:
        NotComputable: The gradient differs from place to place.
    """
    places = activation.shape[1] * activation.shape[2]
    weights = gradient[:, :1, :1]
    spread = np.abs(gradient - weights).max(initial=0)
    if spread > 1e-5 * np.abs(weights).max(initial=0):
        raise NotComputable(
            "cam needs a head that weighs every place of a channel alike (average pooling, then linear)",
            "use hirescam, which is the same sum without this condition",
        )
    return weigh_channels(weights.reshape(-1) * np.float32(places), activation)


METHOD = Method("cam", "CAM", "Zhou 2016, arXiv:1512.04150", 2016, "gradient", cam, linear_head=True)
