"""What keeps pictures tame: penalties on the canvas, and a blur after steps. All act on each picture alone."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

Penalty = Callable[[Tensor], Tensor]
"""Pictures float32 (N, C, H, W) in [0, 1] -> float32 (N,), subtracted from the score."""


def l2(weight: float) -> Penalty:
    """`weight` times the mean squared distance from grey (Simonyan et al., 2013)."""
    return lambda pictures: weight * (pictures - 0.5).square().mean((1, 2, 3))


def total_variation(weight: float) -> Penalty:
    """`weight` times the mean absolute difference of neighbours (Mahendran & Vedaldi, 2015)."""

    def penalty(pictures: Tensor) -> Tensor:
        across = (pictures[..., 1:] - pictures[..., :-1]).abs().mean((1, 2, 3))
        down = (pictures[..., 1:, :] - pictures[..., :-1, :]).abs().mean((1, 2, 3))
        return weight * (across + down)

    return penalty


def blur(pictures: Tensor, sigma: float) -> Tensor:
    """Pictures (N, C, H, W) blurred by a Gaussian of `sigma` pixels, edges mirrored (Yosinski et al., 2015)."""
    radius = max(1, min(round(3 * sigma), min(pictures.shape[2:]) - 1))
    offsets = torch.arange(-radius, radius + 1, dtype=pictures.dtype, device=pictures.device)
    kernel = torch.exp(-0.5 * (offsets / sigma) ** 2)
    kernel = (kernel / kernel.sum()).expand(pictures.shape[1], 1, -1)
    wide = functional.pad(pictures, (radius, radius, radius, radius), mode="reflect")
    wide = functional.conv2d(wide, kernel.unsqueeze(2), groups=pictures.shape[1])
    return functional.conv2d(wide, kernel.unsqueeze(3), groups=pictures.shape[1])
