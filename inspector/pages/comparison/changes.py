"""What a fine-tuning changed, for the page: how far layers moved, and the channels that other pictures excite now."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from inspector.comparing import ChannelChange, ComparedSides, TuningChange
from inspector.errors import InspectorError
from inspector.image import ImageSource, open_image
from inspector.model import Model
from inspector.receptive.patches import Patch, crop_patch

_PATCH, _PATTERN = 52, 112
_WITH_PATTERN = 6
"""Channels whose pattern is drawn, before and after."""
_STEPS = 96


def draw_changes(sides: ComparedSides, changes: TuningChange, pictures: Mapping[str, ImageSource]) -> dict[str, Any]:
    """The part of the page's document.

    Args:
        sides: The base and what was made from it.
        changes: What was found.
        pictures: Name -> what `open_image` takes.
    """
    patterns, note = _draw_patterns(sides, changes.channels[:_WITH_PATTERN])
    movers = []
    for x in changes.channels:
        movers.append(
            {
                **x.to_json(),
                "of": len(x.before),
                "before": [_draw_patch(sides.a.model, one, pictures) for one in x.before],
                "after": [_draw_patch(sides.b.model, one, pictures) for one in x.after],
                "patterns": patterns.get((x.layer, x.channel), []),
            }
        )
    trained = [x.to_json() for x in changes.layers if not x.frozen]
    same = sum(x.frozen and x.same for x in changes.layers)
    document = changes.to_json()
    return {**document, "trained": trained, "same": same, "movers": movers, "note": note}


def _draw_patch(model: Model, patch: Patch, pictures: Mapping[str, ImageSource]) -> str:
    view = model.preprocess.view(open_image(pictures[patch.image])).convert("RGB")
    return _encode(crop_patch(view, patch.box, _PATCH))


def _encode(picture: Any) -> str:
    out = io.BytesIO()
    picture.save(out, format="PNG")
    return "data:image/png;base64," + base64.b64encode(out.getvalue()).decode()


def _draw_patterns(
    sides: ComparedSides, channels: Sequence[ChannelChange]
) -> tuple[dict[tuple[str, int], list[str]], str]:
    """Patterns by layer and channel, of A and of B; and why there are none."""
    from PIL import Image

    found: dict[tuple[str, int], list[str]] = {}
    layers: dict[str, list[int]] = {}
    for x in channels:
        layers.setdefault(x.layer, []).append(x.channel)
    names = {pair.match.a.name: pair.match.b.name for pair in sides.pairs}
    try:
        from inspector.ascent import CLEAR, FilterOptions, find_patterns, settle_filters

        recipe = replace(CLEAR, steps=_STEPS)
        for layer, own in layers.items():
            for model, name in ((sides.a.model, layer), (sides.b.model, names[layer])):
                options = FilterOptions(own, recipe, _PATTERN, precision="float32")
                spec = settle_filters(model, model.layer(name), options)
                for pattern in find_patterns(model, spec):
                    picture = Image.fromarray(pattern.pictures[0].pixels.squeeze()).convert("RGB")
                    found.setdefault((layer, pattern.channel), []).append(_encode(picture))
    except InspectorError as error:
        return found, f"No patterns: {error.message}."
    return found, ""
