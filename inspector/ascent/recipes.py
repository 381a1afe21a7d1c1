"""Ready-made ascents: `lecture`, as it is taught, and `clear`, as it looks best."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

import torch
from torch import Tensor

from inspector.ascent.optimise import Adam, Ascent, Optimiser
from inspector.ascent.parametrise import Canvas, Fourier, Phase, Pixels
from inspector.ascent.regularise import Penalty, blur, l2, total_variation
from inspector.ascent.transforms import View, compose, jitter, rotate, scale
from inspector.errors import UsageError, listing

PARAMETRISATIONS = ("pixels", "fourier", "phase")
_SMALL = 64


@dataclass(frozen=True)
class Recipe:
    """Everything about an ascent but the network and the objective.

    Attributes:
        parametrisation: Pixels, fourier or phase.
        steps: How often the picture is changed.
        rate: How far each time.
        optimiser: "ascent" (gradient over its RMS) or "adam".
        epsilon: Adam's.
        margin: Pixels of canvas around what is shown, so that edges lie outside.
        jitter: Pixels, see `transforms`.
        zoom: Factors, see `transforms`.
        turn: Degrees, see `transforms`.
        decay: Of the Fourier scale.
        contrast: Of phase.
        l2: Weight of the penalty on contrast.
        variation: Weight of the penalty on total variation.
        blur: (sigma, every so many steps), pixels only.
        leaky: First steps in which stuck pictures get a gradient through dead units.
        clip: Keep pixels in range.
        display: "lecture" (subtract mean, divide by standard deviation, times 0.1, plus 0.5) or "plain".
    """

    name: str
    parametrisation: Literal["pixels", "fourier", "phase"]
    steps: int
    rate: float
    optimiser: Literal["ascent", "adam"]
    margin: int = 0
    jitter: int = 0
    zoom: tuple[float, float] = (1.0, 1.0)
    turn: float = 0.0
    decay: float = 1.0
    contrast: float = 0.5
    l2: float = 0.0
    variation: float = 0.0
    blur: tuple[float, int] = (0.0, 0)
    leaky: int = 0
    clip: bool = True
    epsilon: float = 1e-8
    display: Literal["lecture", "plain"] = "plain"

    def __post_init__(self) -> None:
        if self.parametrisation not in PARAMETRISATIONS:
            raise UsageError(
                f"there is no parametrisation {self.parametrisation!r}", f"known: {', '.join(PARAMETRISATIONS)}"
            )
        if self.steps < 1 or not self.rate > 0:
            raise UsageError(f"{self.steps} steps at a rate of {self.rate:g} lead nowhere", "give 1 step or more")

    def with_(self, **changes: Any) -> Recipe:
        """A copy with these fields replaced."""
        return replace(self, **changes)

    def to_json(self) -> dict[str, Any]:
        """All settings."""
        return asdict(self)

    def for_canvas(self, size: tuple[int, int]) -> Recipe:
        """The recipe for what is shown at `size` (H, W): of a small canvas more stays outside, and it is smoother.

        Where early layers see the zeros beyond the edge, they want another picture than elsewhere, and of a small
        canvas that edge is a large part. Its pixels are large as well, so that a lattice of single ones shows.
        """
        if not self.margin or max(size) > _SMALL:
            return self
        return self.with_(margin=2 * self.margin, jitter=self.jitter // 2, decay=self.decay + 0.25)

    def canvas(
        self, size: tuple[int, int], channels: int, generators: Sequence[torch.Generator], strength: float = 1.0
    ) -> Canvas:
        """A canvas for what is shown at `size` (H, W), one picture per generator.

        Args:
            size: (H, W) in pixels.
            channels: Of a picture: 1 or 3.
            generators: One for each picture.
            strength: Of the starting noise.
        """
        whole = (size[0] + self.margin, size[1] + self.margin)
        if self.parametrisation == "fourier":
            return Fourier.noise(whole, channels, generators, strength, self.decay)
        if self.parametrisation == "phase":
            return Phase.noise(whole, channels, generators, contrast=self.contrast)
        return Pixels.noise(whole, channels, generators, strength, self.clip)

    def canvas_of(self, pictures: Tensor) -> Canvas:
        """A canvas that starts from pictures, float32 (N, C, H, W) in [0, 1]; without margin."""
        if self.parametrisation == "fourier":
            return Fourier.of(pictures, self.decay)
        if self.parametrisation == "phase":
            return Phase.of(pictures)
        return Pixels(pictures, self.clip)

    def view(self, crop: bool = True) -> View | None:
        """The transforms, or None without any.

        Args:
            crop: The jitter takes place within the margin.
        """
        parts = []
        if self.jitter:
            parts.append(jitter(self.jitter, crop=crop))
        if self.zoom != (1.0, 1.0):
            parts.append(scale(*self.zoom))
        if self.turn:
            parts.append(rotate(self.turn))
        return compose(parts) if parts else None

    def new_optimiser(self) -> Optimiser:
        """The optimiser, at its start."""
        return Adam(self.rate, self.steps, epsilon=self.epsilon) if self.optimiser == "adam" else Ascent(self.rate)

    def penalties(self) -> list[Penalty]:
        """The penalties with a weight."""
        return [make(w) for make, w in ((l2, self.l2), (total_variation, self.variation)) if w]

    def after(self, canvas: Canvas) -> Callable[[int], None] | None:
        """The blur between steps, or None."""
        sigma, every = self.blur
        if not sigma or not every or self.parametrisation != "pixels":
            return None

        def soften(step: int) -> None:
            if (step + 1) % every == 0 and step + 1 < self.steps:
                with torch.no_grad():
                    canvas.parameter.copy_(blur(canvas.parameter, sigma))

        return soften

    def crop(self, pictures: Tensor) -> Tensor:
        """What is shown of the canvas: without the margin."""
        edge = self.margin // 2
        height, width = pictures.shape[2] - self.margin, pictures.shape[3] - self.margin
        return pictures[..., edge : edge + height, edge : edge + width]

    def shown(self, pictures: Tensor) -> Tensor:
        """Pictures as they are drawn: uint8 (N, C, H, W)."""
        values = pictures.float()
        if self.display == "lecture":
            flat = values.flatten(1)
            shape = (-1, 1, 1, 1)
            mean, std = flat.mean(1).reshape(shape), flat.std(1, unbiased=False).reshape(shape)
            values = (values - mean) / (std + 1e-5) * 0.1 + 0.5
        return (values.clamp(0, 1) * 255).round().to(torch.uint8)


LECTURE = Recipe("lecture", "pixels", steps=40, rate=1 / 255, optimiser="ascent", clip=False, display="lecture")
"""The lecture's method: grey with noise of 128 to 148, 40 steps of 1/255 along the gradient over its RMS (+1e-5), and
its display rule; in the network's own preprocessing, each picture normalised by itself."""

CLEAR = Recipe(
    "clear", "fourier", steps=160, rate=0.2, optimiser="adam", margin=16, jitter=16, zoom=(0.9, 1.1), turn=10,
    decay=1.25, leaky=16, epsilon=0.1,
)  # fmt: skip
"""Fourier coefficients of decorrelated colors; jitter, zoom and turn drawn per picture; Adam with a falling rate; and
lucid's rule that gets stuck pictures going."""

RECIPES = {recipe.name: recipe for recipe in (LECTURE, CLEAR)}


def find_recipe(name: str) -> Recipe:
    """A recipe by name.

    Raises:
        UsageError: There is no recipe of that name.
    """
    if name not in RECIPES:
        raise UsageError(f"there is no recipe {name!r}", f"known: {listing(sorted(RECIPES))}")
    return RECIPES[name]
