"""HiResCAM."""

from __future__ import annotations

import numpy as np

from inspector.cam.context import FloatArray
from inspector.cam.method import Method


def hirescam(activation: FloatArray, gradient: FloatArray) -> FloatArray:
    """HiResCAM = sum_c G_c * A_c, place by place.

    Draelos, Carin: Use HiResCAM instead of Grad-CAM for faithful explanations, 2020 (arXiv:2011.08891), equation 6.
    With a head that is linear in the layer the map adds up to the score without its bias.

    Args:
        activation: float32 (C, h, w) -> float32 (h, w).
        gradient: float32 (C, h, w) -> float32 (h, w).
    """
    total: FloatArray = np.einsum("chw,chw->hw", gradient, activation)
    return total


METHOD = Method("hirescam", "HiResCAM", "Draelos 2020, arXiv:2011.08891", 2020, "gradient", hirescam)
