"""Pictures read between their pixels, with a gradient that is the same at every run on a GPU too."""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor
from torch.nn import functional

_STEPS = 2.0**40
"""Whole numbers between 0 and the largest gradient of a picture: sums of them do not depend on the order."""

Padding = Literal["zeros", "reflection"]
"""What lies beyond the edge of a picture."""


def sample_pictures(pictures: Tensor, grid: Tensor, padding: Padding) -> Tensor:
    """What `torch.nn.functional.grid_sample` gives, bilinear and with corners that are not aligned.

    On a GPU its gradient is summed in whole numbers: torch adds there in whatever order the threads come, so that the
    last digits differ from run to run, and many steps of an ascent make another picture of that.

    Args:
        pictures: float32 (N, C, H, W).
        grid: float32 (N, H', W', 2), x and y in [-1, 1]; gets no gradient.
        padding: What lies beyond the edge.

    Returns:
        float32 (N, C, H', W').
    """
    if pictures.device.type == "cpu":
        return functional.grid_sample(pictures, grid, padding_mode=padding, align_corners=False)
    sampled: Tensor = OrderedSample.apply(pictures, grid, padding)
    return sampled


class OrderedSample(torch.autograd.Function):
    """Sampling whose gradient does not depend on the order of the additions."""

    @staticmethod
    def forward(ctx: Any, pictures: Tensor, grid: Tensor, padding: Padding) -> Tensor:
        """As :func:`sample_pictures`."""
        ctx.save_for_backward(grid)
        ctx.padding, ctx.size = padding, pictures.shape[2:]
        return functional.grid_sample(pictures, grid, padding_mode=padding, align_corners=False)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        """float32 (N, C, H, W), of the pictures."""
        [grid], gradient = ctx.saved_tensors, gradients[0].flatten(2)
        height, width = ctx.size
        scale = _STEPS / gradient.abs().amax((1, 2), keepdim=True).double().clamp_min(1e-300)
        sums = torch.zeros(*gradient.shape[:2], height * width, dtype=torch.int64, device=gradient.device)
        columns, rows = (
            _find_neighbours(grid[..., axis].flatten(1), side, ctx.padding) for axis, side in enumerate((width, height))
        )
        for x, along in columns:
            for y, down in rows:
                parts = (gradient * (along * down).unsqueeze(1)).double() * scale
                place = (y * width + x).unsqueeze(1).expand_as(parts)
                sums.scatter_add_(2, place, parts.round().long())
        found = (sums / scale).to(gradient.dtype).reshape(*gradient.shape[:2], height, width)
        return found, None, None


def _find_neighbours(place: Tensor, side: int, padding: Padding) -> list[tuple[Tensor, Tensor]]:
    """(pixel, its weight) of the two pixels around each place on one axis, [-1, 1]; a weight of 0 beyond the edge."""
    at = ((place + 1) * side - 1) / 2
    if padding == "reflection":
        far = (at + 0.5).abs()
        turns = torch.floor(far / side)
        inside = far - turns * side
        at = (torch.where(turns % 2 == 0, inside, side - inside) - 0.5).clamp(0, side - 1)
    low = torch.floor(at)
    found = []
    for pixel, weight in ((low, 1 - (at - low)), (low + 1, at - low)):
        known = (pixel >= 0) & (pixel <= side - 1)
        found.append((pixel.clamp(0, side - 1).long(), weight * known))
    return found
