"""How the parameter follows the gradient. Each picture is stepped by its own gradient alone."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor


class Optimiser(Protocol):
    """Moves a parameter uphill."""

    def step(self, parameter: Tensor, gradient: Tensor) -> None:
        """Changes `parameter` (N, ...) in place.

        Args:
            parameter: What is changed, in place; float32 (N, ...).
            gradient: The same shape.
        """
        ...


def normalise_gradient(gradient: Tensor) -> Tensor:
    """The gradient (N, ...) divided by its root mean square (+1e-5), each picture's by its own.

    Over the whole batch, as the lecture's code would do it, a channel with large values would silence the others.
    """
    rms = gradient.flatten(1).square().mean(1).sqrt()
    return gradient / (rms + 1e-5).reshape(-1, *[1] * (gradient.dim() - 1))


def scale_to_unit(gradient: Tensor) -> Tensor:
    """The gradient (N, ...) divided by its root mean square, however small that is; zero where it is all zero."""
    flat = gradient.flatten(1)
    # Twice, so that squares of very small numbers do not vanish.
    shape = (-1, *[1] * (gradient.dim() - 1))
    peak = flat.abs().amax(1).clamp_min(1e-38).reshape(shape)
    scaled = gradient / peak
    rms = scaled.flatten(1).square().mean(1).sqrt().clamp_min(1e-12).reshape(shape)
    return scaled / rms


class Ascent:
    """Plain ascent on the normalised gradient: parameter += rate * gradient / (RMS + 1e-5)."""

    def __init__(self, rate: float) -> None:
        self.rate = rate

    def step(self, parameter: Tensor, gradient: Tensor) -> None:
        """One step."""
        with torch.no_grad():
            parameter += self.rate * normalise_gradient(gradient)


class Adam:
    """Adam (Kingma & Ba, 2015) uphill, on the unit gradient; with `steps` the rate falls to a tenth along a cosine.

    Args:
        epsilon: What is added to the root of the second moment. The gradient has a root mean square of 1, so that
            a tenth keeps coefficients still whose gradient is little but noise.
    """

    def __init__(
        self, rate: float, steps: int = 0, betas: tuple[float, float] = (0.9, 0.99), epsilon: float = 1e-8
    ) -> None:
        self.rate = rate
        self.steps = steps
        self.betas = betas
        self.epsilon = epsilon
        self._count = 0
        self._mean: Tensor | None = None
        self._square: Tensor | None = None

    def step(self, parameter: Tensor, gradient: Tensor) -> None:
        """One step."""
        gradient = scale_to_unit(gradient)
        first, second = self.betas
        if self._mean is None or self._square is None:
            self._mean, self._square = torch.zeros_like(gradient), torch.zeros_like(gradient)
        self._count += 1
        rate = self.rate
        if self.steps:
            share = min(1.0, (self._count - 1) / self.steps)
            rate *= 0.55 + 0.45 * float(torch.cos(torch.tensor(torch.pi * share)))
        with torch.no_grad():
            self._mean.lerp_(gradient, 1 - first)
            self._square.mul_(second).addcmul_(gradient, gradient, value=1 - second)
            mean = self._mean / (1 - first**self._count)
            square = self._square / (1 - second**self._count)
            parameter += rate * mean / (square.sqrt() + self.epsilon)
