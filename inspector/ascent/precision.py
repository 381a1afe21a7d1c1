"""Which precision an ascent is computed in."""

from __future__ import annotations

import torch

from inspector.ascent.loop import make_generator
from inspector.ascent.network import Network, has_bfloat16
from inspector.ascent.objectives import channel
from inspector.ascent.recipes import Recipe
from inspector.errors import NotComputable, UsageError
from inspector.layers import Layer
from inspector.twin.devices import compute_exactly

_SIMILAR = 0.99
"""Cosine of the gradient in bfloat16 with the gradient in float32 from which on pictures look the same."""


@compute_exactly()
def choose_precision(
    network: Network,
    layer: Layer,
    size: tuple[int, int],
    recipe: Recipe,
    seed: int,
    wanted: str,
    count: int,
) -> str:
    """``float32`` or ``bfloat16``: the latter where the processor has it and the gradients agree.

    Compared are the gradients of three channels on noise of this seed, whatever channels are asked for, so that the
    choice does not depend on them.
    """
    if wanted not in ("auto", "float32", "bfloat16"):
        raise UsageError(f"there is no precision {wanted!r}", "known: auto, float32, bfloat16")
    if wanted != "auto":
        return wanted
    if network.device.type != "cpu" or not has_bfloat16():
        return "float32"
    numbers = sorted({0, count // 2, count - 1})
    canvas = Recipe("probe", "fourier", 1, 1.0, "adam").canvas(
        size, network.channels, [make_generator(seed, c, "probe") for c in numbers], 40.0
    )
    pictures = canvas.pictures().detach().requires_grad_()
    gradients = []
    try:
        for precision in ("float32", "bfloat16"):
            network.precision = precision
            (gradient,) = torch.autograd.grad(channel(layer.name, numbers)(network(pictures)).sum(), pictures)
            gradients.append(gradient.flatten(1).double())
    except (RuntimeError, NotComputable):
        return "float32"
    finally:
        network.precision = "float32"
    agree = torch.nn.functional.cosine_similarity(gradients[0], gradients[1], dim=1)
    return "bfloat16" if bool((agree > _SIMILAR).all()) else "float32"
