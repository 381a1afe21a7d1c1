"""What every page about a model tells of it, and the colors that it draws with."""

from __future__ import annotations

import base64
from typing import Any

from inspector.model import Model, describe_model
from inspector.render.colormap import make_color_table

_COLORMAPS = ("viridis", "magma", "inferno", "grey", "diverging")
"""Those that a page offers."""


def encode_color_tables() -> dict[str, str]:
    """The 256 colors of each map as base64."""
    return {name: base64.b64encode(make_color_table(name).tobytes()).decode() for name in _COLORMAPS}


def describe_card(model: Model) -> dict[str, Any]:
    """What the model card of a page tells."""
    kinds: dict[str, int] = {}
    for layer in model.layers:
        kinds[layer.kind] = kinds.get(layer.kind, 0) + 1
    document = dict(describe_model(model))
    known = model.metadata
    return {
        **document,
        "path": model.path.name,
        "kinds": kinds,
        "task": model.task,
        "labels": list(model.labels[:2000]) if model.labels else [],
        "source": dict(known.source),
        "training": dict(known.training),
        "licence": known.licence,
        "versions": dict(known.versions),
    }
