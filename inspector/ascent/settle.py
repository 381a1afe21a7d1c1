"""What an ascent to the channels of one layer needs to know before it begins: canvas, recipe, precision."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from inspector.ascent.filter_objective import FilterObjective
from inspector.ascent.network import Network
from inspector.ascent.precision import choose_precision
from inspector.ascent.recipes import CLEAR, Recipe
from inspector.errors import NotComputable, UsageError
from inspector.layers import Layer
from inspector.model import Model
from inspector.receptive.fields import ReceptiveField, compute_receptive_field
from inspector.version import __version__

SMALLEST, LARGEST = 16, 1024
"""Canvas sizes that may be asked for."""

_FIRST, _LAST = 48, 160
"""Canvas of layers that see little, and of layers that see (nearly) everything."""


@dataclass(frozen=True)
class FilterOptions:
    """What may be chosen about the patterns of channels.

    Args:
        channels: Which; None takes all. Those that the layer does not have are left out.
        recipe: How the pictures are made.
        size: Side of the square canvas in pixels, 16 to 1024; None settles it by what a unit of the layer sees.
        seed: Of all random numbers, 0 or more.
        objective: What is asked of each channel.
        precision: "float32", "bfloat16", or "auto", the faster one that looks the same.
        device: torch's name of the device.
    """

    channels: Sequence[int] | None = None
    recipe: Recipe = CLEAR
    size: int | None = None
    seed: int = 0
    objective: FilterObjective = field(default_factory=FilterObjective)
    precision: str = "auto"
    device: str = "cpu"

    def __post_init__(self) -> None:
        if self.size is not None and not SMALLEST <= self.size <= LARGEST:
            raise UsageError(f"the size must be {SMALLEST} to {LARGEST} pixels, not {self.size}")
        if self.seed < 0:
            raise UsageError(f"the seed must be 0 or more, not {self.seed}")


@dataclass(frozen=True)
class FilterSpec:
    """An ascent to the channels of one layer, settled.

    Args:
        layer: The layer.
        channels: Their numbers, in the order asked for.
        recipe: How the pictures are made, fitted to the canvas.
        size: (H, W) of the pictures.
        seed: Of all random numbers.
        objective: What is asked of each channel.
        precision: "float32" or "bfloat16".
        device: torch's name of the device.
        field: What a unit of the layer sees.
    """

    layer: Layer
    channels: tuple[int, ...]
    recipe: Recipe
    size: tuple[int, int]
    seed: int
    objective: FilterObjective
    precision: str
    device: str
    field: ReceptiveField

    @property
    def alone(self) -> bool:
        """Whether there is only one picture, which is rounded in another way than pictures in company."""
        return len(self.channels) * self.objective.variants == 1

    @property
    def layers(self) -> list[Layer]:
        """The layers whose values the objective reads."""
        return [self.layer, *([self.objective.keep[0]] if self.objective.keep else [])]

    def to_json(self, model: Model) -> dict[str, Any]:
        """Everything that the pictures depend on but the channel: the same values, the same pictures."""
        return {
            "version": __version__,
            "torch": torch.__version__,
            "model": model.digest,
            "preprocess": model.preprocess.to_json(),
            "layer": self.layer.name,
            "tensor": self.layer.tensor,
            "recipe": self.recipe.to_json(),
            "size": list(self.size),
            "seed": self.seed,
            "precision": self.precision,
            "device": self.device,
            "objective": self.objective.to_json(),
            "alone": self.alone,
        }


def settle_filters(model: Model, layer: Layer, options: FilterOptions) -> FilterSpec:
    """Settle the canvas, the recipe and the precision for the channels of a layer.

    Raises:
        UsageError: The layer has none of the channels asked for, or there is no such precision.
        NotComputable: The layer cannot be computed on a canvas of this size.
    """
    seen = compute_receptive_field(model, layer.tensor)
    parts = [layer, *([options.objective.keep[0]] if options.objective.keep else [])]
    network = Network(model, parts, device=options.device)
    size, count = _settle_size(model, network, layer, seen, options.size, options.recipe)
    wanted = options.channels
    numbers = range(count) if wanted is None else [c for c in dict.fromkeys(wanted) if 0 <= c < count]
    if not numbers:
        raise UsageError(
            f"layer {layer.name!r} has none of the channels asked for", f"its channels are 0 to {count - 1}"
        )
    precision = choose_precision(network, layer, size, options.recipe, options.seed, options.precision, count)
    network.precision = precision
    return FilterSpec(
        layer=layer,
        channels=tuple(numbers),
        recipe=_fit_recipe(options.recipe, network, size),
        size=size,
        seed=options.seed,
        objective=options.objective,
        precision=precision,
        device=options.device,
        field=seen,
    )


def choose_canvas_size(model: Model, field: ReceptiveField) -> tuple[int, int]:
    """(H, W) of the canvas for a layer with this receptive field.

    One and a half times what a unit sees, from 48 to 160 pixels, but not larger than the network's own input.
    """
    own = model.preprocess.size or (224, 224)
    seen = max(field.size) if field.size else max(own)
    side = min(max(_FIRST, 8 * math.ceil(1.5 * seen / 8)), _LAST)
    return (own[0], own[1]) if side >= max(own) else (min(side, own[0]), min(side, own[1]))


def _settle_size(
    model: Model, network: Network, layer: Layer, seen: ReceptiveField, size: int | None, recipe: Recipe
) -> tuple[tuple[int, int], int]:
    """(H, W) of the canvas, and the number of channels that the layer has on it."""
    own = model.preprocess.size
    tries = [(size, size)] if size is not None else [choose_canvas_size(model, seen)]
    if size is None and recipe.display == "lecture":
        tries = [(min(64, own[0]), min(64, own[1])) if own else (64, 64)]
    problem: NotComputable | None = None
    for candidate in [*tries, *([own] if size is None and own else [])]:
        try:
            return candidate, network.shapes(candidate)[layer.name][0]
        except NotComputable as error:
            problem = problem or error
    assert problem is not None
    fixed = f"; the model's own size is {own[1]}x{own[0]}" if own else ""
    raise NotComputable(
        f"layer {layer.name!r} cannot be computed at {tries[0][1]}x{tries[0][0]}{fixed}", problem.message
    )


def _fit_recipe(recipe: Recipe, network: Network, size: tuple[int, int]) -> Recipe:
    """The recipe for this canvas, or as it is where the network takes only pictures of the canvas's own size."""
    fitted = recipe.for_canvas(size)
    view = fitted.view()
    if view is not None and fitted is not recipe:
        try:
            network.shapes(view.size((size[0] + fitted.margin, size[1] + fitted.margin)))
        except NotComputable:
            return recipe
    return fitted
