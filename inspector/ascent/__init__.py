"""Gradient ascent in the space of pictures: filter patterns, caricatures and DeepDream. Needs torch.

An ascent is an objective, a canvas, transforms and an optimiser, composed by one loop:

>>> network = Network(model, [model.layer("blocks.1.swish")])
>>> canvas = Fourier.noise((128, 128), 3, [make_generator(0, c) for c in range(8)])
>>> result = ascend(network, channel("blocks.1.swish", range(8)), canvas, Adam(0.1), steps=2)

The everyday calls are `inspector.pages.filters.draw_filters`, which writes what `find_patterns` finds, and `dream`.
"""

from inspector.extras import need

need("torch", "torch", "gradient ascent needs torch")  # before anything below imports it

from inspector.ascent.dreaming import Dream, dream
from inspector.ascent.filter_objective import FilterObjective
from inspector.ascent.filters import Pattern, PatternPicture, find_patterns
from inspector.ascent.loop import AscentResult, ascend, draw, make_generator
from inspector.ascent.network import Network
from inspector.ascent.objectives import (
    Objective,
    channel,
    deep,
    direction,
    diversity,
    likeness,
    logit,
    neuron,
    stay,
)
from inspector.ascent.optimise import Adam, Ascent, Optimiser
from inspector.ascent.parametrise import Canvas, Fourier, Phase, Pixels
from inspector.ascent.recipes import CLEAR, LECTURE, RECIPES, Recipe, find_recipe
from inspector.ascent.regularise import blur, l2, total_variation
from inspector.ascent.settle import FilterOptions, FilterSpec, settle_filters
from inspector.ascent.spectrum import compute_natural_magnitude
from inspector.ascent.transforms import Transform, View, compose, jitter, pad, rotate, scale

__all__ = [
    "CLEAR",
    "LECTURE",
    "RECIPES",
    "Adam",
    "Ascent",
    "AscentResult",
    "Canvas",
    "Dream",
    "FilterObjective",
    "FilterOptions",
    "FilterSpec",
    "Fourier",
    "Network",
    "Objective",
    "Optimiser",
    "Pattern",
    "PatternPicture",
    "Phase",
    "Pixels",
    "Recipe",
    "Transform",
    "View",
    "ascend",
    "blur",
    "channel",
    "compose",
    "compute_natural_magnitude",
    "deep",
    "direction",
    "diversity",
    "draw",
    "dream",
    "find_patterns",
    "find_recipe",
    "jitter",
    "l2",
    "likeness",
    "logit",
    "make_generator",
    "neuron",
    "pad",
    "rotate",
    "scale",
    "settle_filters",
    "stay",
    "total_variation",
]
