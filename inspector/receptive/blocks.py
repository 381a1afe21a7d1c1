"""Which layers to show when all blocks are asked for: one for each resolution, from edges to parts. No torch."""

from __future__ import annotations

from collections.abc import Sequence

from inspector.errors import NotComputable
from inspector.layers import Layer
from inspector.model import Model
from inspector.receptive.fields import compute_receptive_fields

_SKIPPED = frozenset({"pool", "gate", "softmax", "resize", "linear", "picture"})
_FEWEST, _MOST = 3, 8


def find_block_layers(model: Model) -> tuple[Layer, ...]:
    """The last layer at each resolution, first to last: for VGG16 the end of each block before its pool.

    A layer of a block that already reduces is left out where there is another, so that EfficientNet's first is
    ``_blocks.0`` and not the widened ``_blocks.1._swish``. A network of one or two resolutions gives up to eight layers
    evenly spread over its depth.

    Raises:
        NotComputable: The model has no layers with maps.
    """
    spatial = [x for x in model.layers if x.spatial and x.kind not in _SKIPPED]
    spatial = spatial or [x for x in model.layers if x.spatial]
    if not spatial:
        raise NotComputable(f"{model.path} has no layers with maps", "give --layer a name of `inspector layers MODEL`")
    fields = compute_receptive_fields(model.graph, [x.tensor for x in spatial], model.input.layout)
    stages: dict[float, list[Layer]] = {}
    for layer in spatial:
        if fields[layer.tensor].size is not None:
            stages.setdefault(fields[layer.tensor].jump[0], []).append(layer)
    if len(stages) < _FEWEST:
        return tuple(spread(spatial, _MOST))
    chosen = []
    for jump in sorted(stages):
        later = {match_block(x.name) for other in stages if other > jump for x in stages[other]}
        own = [x for x in stages[jump] if match_block(x.name) not in later]
        chosen.append((own or stages[jump])[-1])
    return tuple(spread(chosen, _MOST))


def spread(layers: Sequence[Layer], most: int) -> list[Layer]:
    """At most `most` of the layers, first and last among them, evenly spread."""
    if len(layers) <= most:
        return list(layers)
    return [layers[round(k * (len(layers) - 1) / (most - 1))] for k in range(most)]


def match_block(name: str) -> str:
    """The name up to its last number: ``_blocks.1._swish`` is in ``_blocks.1``; the name itself where it has none."""
    parts = name.split(".")
    last = max((k for k, part in enumerate(parts) if part.isdigit()), default=len(parts) - 1)
    return ".".join(parts[: last + 1])
