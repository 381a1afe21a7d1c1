"""Gradient-weighted class activation mapping."""

from __future__ import annotations

from inspector.cam.context import FloatArray, weigh_channels
from inspector.cam.method import Method


def gradcam(activation: FloatArray, gradient: FloatArray) -> FloatArray:
    """Grad-CAM = sum_c w_c A_c, w_c = mean over places of G_c.

    Selvaraju, Cogswell, Das, Vedantam, Parikh, Batra: Grad-CAM, 2017 (arXiv:1610.02391), equations 1 and 2, before the
    ReLU. grad-cam and torchcam agree on it.

    Args:
        activation: float32 (C, h, w) -> float32 (h, w).
        gradient: float32 (C, h, w) -> float32 (h, w).
    """
    return weigh_channels(gradient.mean(axis=(1, 2)), activation)


METHOD = Method("gradcam", "Grad-CAM", "Selvaraju 2017, arXiv:1610.02391", 2017, "gradient", gradcam)
