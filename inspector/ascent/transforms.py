"""Small changes of view, drawn anew for every picture and step: what survives them is no accident of single pixels.

Each transform draws an affine map per picture from uniform numbers that the caller gives, so a picture's draws depend
on its own seed and on nothing else. `compose` multiplies the maps and samples once, bilinearly.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from inspector.ascent.sampling import sample_pictures

Draw = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Transform:
    """An affine change of view.

    Attributes:
        draws: Uniform numbers that it needs for a picture.
        matrix: float32 (N, draws) in [0, 1) -> (N, 3, 3), output to input coordinates in pixels from the centre.
        grow: Pixels that the view becomes larger (pad) or smaller (jitter) on both sides together.
    """

    draws: int
    matrix: Draw
    grow: int = 0


def pad(pixels: int) -> Transform:
    """The canvas within a border of `pixels` on each side, filled with grey, or mirrored (see `compose`)."""
    return Transform(0, lambda u: _identity(u), 2 * pixels)


def jitter(pixels: int, crop: bool = True) -> Transform:
    """Moved by up to half of `pixels` each way, whole pixels; with `crop` the view is `pixels` smaller, as lucid's."""

    def matrix(u: Tensor) -> Tensor:
        out = _identity(u)
        out[:, :2, 2] = torch.floor(u[:, :2] * (pixels + 1)) - pixels // 2 - (pixels % 2) / 2
        return out

    return Transform(2, matrix, -pixels if crop else 0)


def scale(low: float, high: float) -> Transform:
    """Enlarged by a factor between `low` and `high`, evenly in its logarithm."""

    def matrix(u: Tensor) -> Tensor:
        out = _identity(u)
        factor = torch.exp(math.log(low) + u[:, 0] * (math.log(high) - math.log(low)))
        out[:, 0, 0] = out[:, 1, 1] = 1 / factor
        return out

    return Transform(1, matrix)


def rotate(degrees: float) -> Transform:
    """Turned by up to `degrees` either way."""

    def matrix(u: Tensor) -> Tensor:
        out = _identity(u)
        angle = (2 * u[:, 0] - 1) * math.radians(degrees)
        out[:, 0, 0] = out[:, 1, 1] = torch.cos(angle)
        out[:, 0, 1], out[:, 1, 0] = torch.sin(angle), -torch.sin(angle)
        return out

    return Transform(1, matrix)


@dataclass(frozen=True)
class View:
    """Transforms one after the other, done as one.

    Attributes:
        fill: "mirror" continues the canvas beyond its edge, "grey" lays 0.5 there.
    """

    transforms: tuple[Transform, ...]
    fill: str = "mirror"

    @property
    def draws(self) -> int:
        """Uniform numbers needed for a picture and step."""
        return sum(t.draws for t in self.transforms)

    def size(self, size: tuple[int, int]) -> tuple[int, int]:
        """(H, W) of what comes out for a canvas (H, W)."""
        grow = sum(t.grow for t in self.transforms)
        return max(1, size[0] + grow), max(1, size[1] + grow)

    def __call__(self, pictures: Tensor, draws: Tensor) -> Tensor:
        """pictures: float32 (N, C, H, W). draws: float32 (N, self.draws) in [0, 1). Same dtype, `size` of it."""
        if not self.transforms:
            return pictures
        (height, width), (rows, columns) = pictures.shape[2:], self.size((pictures.shape[2], pictures.shape[3]))
        total, at = _identity(draws), 0
        for t in self.transforms:
            total = torch.bmm(total, t.matrix(draws[:, at : at + t.draws]))
            at += t.draws
        # From pixels to the [-1, 1] of grid_sample, whose edges are the outer edges of the pixels.
        inner = torch.diag(torch.tensor([columns / 2, rows / 2, 1.0], device=total.device))
        outer = torch.diag(torch.tensor([2 / width, 2 / height, 1.0], device=total.device))
        theta = (outer @ total @ inner)[:, :2]
        grid = functional.affine_grid(theta, [len(pictures), 1, rows, columns], align_corners=False)
        if self.fill == "grey":
            return sample_pictures(pictures - 0.5, grid, "zeros") + 0.5
        return sample_pictures(pictures, grid, "reflection")


def compose(transforms: Sequence[Transform], fill: str = "mirror") -> View:
    """The transforms as one view; see :class:`View`."""
    return View(tuple(transforms), fill)


def _identity(like: Tensor) -> Tensor:
    return torch.eye(3, device=like.device).repeat(len(like), 1, 1)
