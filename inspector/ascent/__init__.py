"""Gradient ascent in the space of pictures: filter patterns, caricatures and DeepDream; and the patches that real
pictures have to show.

An ascent is an objective, a canvas, transforms and an optimiser, composed by one loop:

>>> network = Network(model, [model.layer("features.10")])
>>> canvas = Fourier.noise((128, 128), 3, [generator(0, c) for c in range(8)])
>>> result = ascend(network, channel("features.10", range(8)), canvas, Adam(0.1), steps=128)

The everyday calls are :func:`draw_filters` and :func:`dream`. Receptive fields, patches and the natural spectrum need
no torch; everything else does, and is imported when it is first asked for.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

from inspector.errors import MissingExtra

_HOME = {
    "receptive": ("ReceptiveField", "receptive_field", "receptive_fields"),
    "patches": ("Patch", "TopPatches", "find_patches", "draw_patches"),
    "spectrum": ("natural_magnitude",),
    "blocks": ("block_layers",),
    "channels": ("parse_channels",),
    "sheets": ("draw_patch_sheet",),
    "network": ("Network",),
    "objectives": (
        "Objective", "channel", "deep", "direction", "diversity", "likeness", "logit", "neuron", "stay",
    ),
    "parametrise": ("Canvas", "Fourier", "Phase", "Pixels"),
    "transforms": ("Transform", "View", "compose", "jitter", "pad", "rotate", "scale"),
    "regularise": ("blur", "l2", "total_variation"),
    "optimise": ("Adam", "Ascent", "Optimiser"),
    "loop": ("Result", "ascend", "draw", "generator"),
    "recipes": ("CLEAR", "LECTURE", "RECIPES", "Recipe", "find_recipe"),
    "filters": ("FilterPicture", "FilterRun", "FilterSheet", "Wish", "draw_filters"),
    "dreaming": ("Dream", "dream"),
}  # fmt: skip
_MODULE_OF = {name: module for module, names in _HOME.items() for name in names}

__all__ = sorted(_MODULE_OF)


def __getattr__(name: str) -> Any:
    if name not in _MODULE_OF:
        raise AttributeError(f"module 'inspector.ascent' has no attribute {name!r}")
    try:
        value = getattr(import_module(f"inspector.ascent.{_MODULE_OF[name]}"), name)
    except ModuleNotFoundError as error:
        if error.name != "torch":
            raise
        raise MissingExtra(
            "gradient ascent needs torch, which is not installed", 'install the extra: pip install "inspector[torch]"'
        ) from None
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
