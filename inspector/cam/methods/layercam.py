"""LayerCAM."""

from __future__ import annotations

import numpy as np

from inspector.cam.context import FloatArray
from inspector.cam.method import Method


def layercam(activation: FloatArray, gradient: FloatArray) -> FloatArray:
    """LayerCAM = sum_c relu(G_c) * A_c, place by place.

    Jiang, Zhang, Hou, Cheng, Wei: LayerCAM: Exploring Hierarchical Class Activation Maps for Localization, IEEE
    Transactions on Image Processing 30, 2021, equations 4 to 6. grad-cam and torchcam agree on it.

    Args:
        activation: float32 (C, h, w) -> float32 (h, w).
        gradient: float32 (C, h, w) -> float32 (h, w).
    """
    total: FloatArray = np.einsum("chw,chw->hw", np.maximum(gradient, 0), activation)
    return total


METHOD = Method("layercam", "LayerCAM", "Jiang 2021, IEEE TIP 30", 2021, "gradient", layercam)
