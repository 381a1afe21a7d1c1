"""D-RISE."""

from __future__ import annotations

from inspector.cam.context import CoverContext, FloatArray
from inspector.cam.method import Method


def drise(context: CoverContext) -> list[FloatArray]:
    """D-RISE = sum_m s(m) M_m, s(m) the likeness of the box to the best box found under the mask M_m.

    Petsiuk et al.: Black-box Explanation of Object Detectors via Saliency Maps, 2020 (arXiv:2006.03204), equations 2 to
    5. The map is taken relative to its mean over masks, so that what is seen under every mask counts for nothing.

    Args:
        context: The masks and the likenesses.

    Returns:
        float32 (H, W) for each box.
    """
    return context.weigh_masks()


METHOD = Method("drise", "D-RISE", "arXiv:2006.03204", 2020, "detections", drise, whole_network=True)
