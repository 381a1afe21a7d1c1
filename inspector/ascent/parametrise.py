"""What is optimised, and how it becomes pictures.

A canvas holds N pictures. `parameter` is what the gradient is taken of, its first axis is the picture; `pictures()`
makes float32 (N, C, H, W) of it; `constrain()` brings the parameter back into its range after a step. All act on each
picture alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy
from typing import Protocol

import torch
from torch import Tensor

from inspector.ascent.spectrum import DECORRELATED, compute_frequencies, compute_natural_magnitude
from inspector.errors import UsageError


class Canvas(Protocol):
    """N pictures being made."""

    parameter: Tensor

    def pictures(self) -> Tensor:
        """Float32 (N, C, H, W), as the network is shown them; differentiable with respect to `parameter`."""
        ...

    def constrain(self) -> None:
        """Brings `parameter` back into its range, in place, without gradient."""
        ...

    def to(self, device: torch.device) -> Canvas:
        """The same canvas on another device."""
        ...


class Pixels:
    """The pixels themselves: float32 (N, C, H, W) in [0, 1].

    Args:
        clip: Keep them in that range after each step.
    """

    def __init__(self, start: Tensor, clip: bool = True) -> None:
        self.parameter = start.detach().clone().float().requires_grad_()
        self._clip = clip

    @classmethod
    def noise(
        cls, size: tuple[int, int], channels: int, generators: Sequence[torch.Generator], strength: float = 1.0,
        clip: bool = True,
    ) -> Pixels:  # fmt: skip
        """Grey with small noise: 128 to 148 of 255, uniform, as the lecture starts. One generator a picture.

        Args:
            size: (H, W) in pixels.
            channels: Of a picture: 1 or 3.
            generators: One for each picture.
            strength: Multiplies the noise, which stays within [0, 1].
            clip: Keep pixels in range.
        """
        noise = torch.stack([torch.rand(channels, *size, generator=g) for g in generators])
        return cls(((128 + 20 * (0.5 + strength * (noise - 0.5))) / 255).clamp(0, 1), clip)

    def pictures(self) -> Tensor:
        """The parameter."""
        return self.parameter

    def to(self, device: torch.device) -> Pixels:
        """The same canvas on another device."""
        return Pixels(self.parameter.to(device), self._clip)

    def constrain(self) -> None:
        """Clips to [0, 1]."""
        if self._clip:
            with torch.no_grad():
                self.parameter.clamp_(0, 1)


class _Colors:
    """Independent components to RGB in [0, 1] and back: a matrix, then a sigmoid. One channel has no matrix."""

    def __init__(self, channels: int, device: torch.device | str = "cpu") -> None:
        if channels not in (1, 3):
            raise UsageError(f"pictures have 1 or 3 channels, not {channels}")
        matrix = torch.tensor(DECORRELATED) if channels == 3 else torch.ones(1, 1, dtype=torch.float64)
        self.matrix = matrix.float().to(device)
        self.inverse = torch.linalg.inv(matrix).float().to(device)

    def to_pictures(self, components: Tensor) -> Tensor:
        return torch.sigmoid(torch.einsum("oc,nchw->nohw", self.matrix, components))

    def to_components(self, pictures: Tensor) -> Tensor:
        return torch.einsum("oc,nchw->nohw", self.inverse, torch.logit(pictures, eps=0.01))


class Fourier:
    """Fourier coefficients of decorrelated colors, each frequency scaled to what photographs have of it.

    parameter: float32 (N, C, H, W // 2 + 1, 2), real and imaginary part. A step of the same length in each coefficient
    changes low frequencies more, as 1 / f ** decay: the picture is preconditioned, its minima are the same
    (Olah, Mordvintsev & Schubert, "Feature Visualization", Distill 2017).
    """

    def __init__(self, coefficients: Tensor, size: tuple[int, int], decay: float = 1.0, scale: float = 1.0) -> None:
        self.size = size
        self.parameter = coefficients.detach().clone().float().requires_grad_()
        self._colors = _Colors(coefficients.shape[1], coefficients.device)
        self._scale = self.scales(size, decay, scale).to(coefficients.device)

    @staticmethod
    def scales(size: tuple[int, int], decay: float, scale: float) -> Tensor:
        """Float32 (H, W // 2 + 1): what a coefficient is multiplied with, for an orthonormal transform.

        Independent coefficients of standard deviation 1 give components of standard deviation `scale`.
        """
        height, width = size
        frequency = torch.from_numpy(compute_frequencies(height, width)).clamp_min(1 / max(height, width))
        falling = frequency**-decay
        # Each coefficient but those of the first and last column stands for two.
        twice = torch.full((width // 2 + 1,), 2.0, dtype=torch.float64)
        twice[0] = 1
        if width % 2 == 0:
            twice[-1] = 1
        power = (falling.square() * twice * 2).sum() / (height * width)
        return (falling * scale / power.sqrt()).float()

    @classmethod
    def noise(
        cls, size: tuple[int, int], channels: int, generators: Sequence[torch.Generator], strength: float = 1.0,
        decay: float = 1.0, scale: float = 1.0,
    ) -> Fourier:  # fmt: skip
        """Nearly grey: coefficients of standard deviation 0.01 times `strength`."""
        shape = (channels, size[0], size[1] // 2 + 1, 2)
        noise = torch.stack([torch.randn(shape, generator=g) for g in generators])
        return cls(0.01 * strength * noise, size, decay, scale)

    @classmethod
    def of(cls, pictures: Tensor, decay: float = 1.0, scale: float = 1.0) -> Fourier:
        """The canvas that shows these pictures, float32 (N, C, H, W); pixels are kept within 0.01 to 0.99."""
        size = (pictures.shape[2], pictures.shape[3])
        components = _Colors(pictures.shape[1], pictures.device).to_components(pictures)
        spectrum = torch.fft.rfft2(components, norm="ortho") / cls.scales(size, decay, scale).to(pictures.device)
        return cls(torch.view_as_real(spectrum), size, decay, scale)

    def components(self) -> Tensor:
        """Decorrelated components before color and sigmoid: float32 (N, C, H, W)."""
        spectrum = torch.view_as_complex(self.parameter) * self._scale
        found: Tensor = torch.fft.irfft2(spectrum, s=self.size, norm="ortho")
        return found

    def pictures(self) -> Tensor:
        """Float32 (N, C, H, W) in (0, 1)."""
        return self._colors.to_pictures(self.components())

    def constrain(self) -> None:
        """Nothing: the sigmoid keeps the range."""

    def to(self, device: torch.device) -> Fourier:
        """The same canvas on another device."""
        moved = copy(self)
        moved.parameter = self.parameter.detach().to(device).requires_grad_()
        moved._scale, moved._colors = self._scale.to(device), _Colors(self.parameter.shape[1], device)
        return moved


class Phase:
    """Phases alone; the magnitude of each frequency stays what photographs have.

    parameter: float32 (N, C, H, W // 2 + 1), radians. MACO: Fel et al., "Unlocking Feature Visualization for Deeper
    Networks with MAgnitude Constrained Optimization" (NeurIPS 2023). The magnitude is that of
    `compute_natural_magnitude`, or of the pictures the canvas starts from.
    """

    def __init__(self, phases: Tensor, size: tuple[int, int], magnitude: Tensor, mean: Tensor | None = None) -> None:
        self.size = size
        self.parameter = phases.detach().clone().float().requires_grad_()
        self.magnitude = magnitude.float()
        self._mean = mean
        self._colors = _Colors(phases.shape[1], phases.device)

    @classmethod
    def noise(
        cls, size: tuple[int, int], channels: int, generators: Sequence[torch.Generator], strength: float = 1.0,
        contrast: float = 0.5,
    ) -> Phase:  # fmt: skip
        """Random phases. `strength` is without meaning here.

        Args:
            size: (H, W) in pixels.
            channels: Of a picture: 1 or 3.
            generators: One for each picture.
            strength: Of the noise.
            contrast: Of the magnitude, 1 is a photograph's.
        """
        shape = (channels, size[0], size[1] // 2 + 1)
        noise = torch.stack([torch.rand(shape, generator=g) for g in generators])
        magnitude = torch.from_numpy(compute_natural_magnitude(*size, channels)) * contrast
        return cls((noise * 2 - 1) * torch.pi, size, magnitude.float())

    @classmethod
    def of(cls, pictures: Tensor) -> Phase:
        """The phases and magnitudes of these pictures, float32 (N, C, H, W) in [0, 1]."""
        size = (pictures.shape[2], pictures.shape[3])
        components = _Colors(pictures.shape[1], pictures.device).to_components(pictures)
        mean = components.mean((2, 3), keepdim=True)
        spectrum = torch.fft.rfft2(components - mean, norm="ortho")
        return cls(spectrum.angle(), size, spectrum.abs(), mean)

    def pictures(self) -> Tensor:
        """Float32 (N, C, H, W) in (0, 1)."""
        spectrum = torch.polar(self.magnitude.expand_as(self.parameter), self.parameter)
        components = torch.fft.irfft2(spectrum, s=self.size, norm="ortho")
        return self._colors.to_pictures(components if self._mean is None else components + self._mean)

    def constrain(self) -> None:
        """Nothing: any angle will do."""

    def to(self, device: torch.device) -> Phase:
        """The same canvas on another device."""
        mean = None if self._mean is None else self._mean.to(device)
        return Phase(self.parameter.to(device), self.size, self.magnitude.to(device), mean)
