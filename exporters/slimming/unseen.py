"""Channels that are the same everywhere on all of somebody's pictures, though nothing proves that they have to be."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from exporters.slimming.measure import iterate_shown
from inspector.model import Model
from inspector.slimming import SlimPlan


@dataclass(frozen=True)
class UnseenChannels:
    """Channels of one layer that had one and the same value on all pictures.

    Attributes:
        layer: Its name.
        tensor: Its tensor.
        channels: Their indices.
        values: What each held.
    """

    layer: str
    tensor: str
    channels: tuple[int, ...]
    values: tuple[float, ...]


def find_unseen(source: Model, plan: SlimPlan, pictures: Sequence[Path]) -> tuple[UnseenChannels, ...]:
    """Find the channels that never change on pictures, and that nothing proves constant.

    Args:
        source: The model.
        plan: What is proven.
        pictures: The pictures, all of which are run.
    """
    layers = [layer for layer in source.layers if layer.tensor in plan.found.channels]
    ends: dict[str, tuple[NDArray[Any], NDArray[Any]]] = {}
    for _, tensor in iterate_shown(source, pictures, made=False):
        values = source.run(tensor, [layer.tensor for layer in layers])
        for layer in layers:
            axis = plan.found.channels[layer.tensor].axis
            value = values[layer.tensor]
            if value.dtype.kind != "f" or not value.size:
                continue
            rest = tuple(k for k in range(value.ndim) if k != axis)
            low, high = value.min(axis=rest), value.max(axis=rest)
            if layer.tensor in ends:
                low, high = np.minimum(low, ends[layer.tensor][0]), np.maximum(high, ends[layer.tensor][1])
            ends[layer.tensor] = low, high
    found = []
    for layer in layers:
        if layer.tensor not in ends:
            continue
        low, high = ends[layer.tensor]
        channels = plan.found.channels[layer.tensor]
        if len(low) != len(channels):
            continue
        still = np.flatnonzero((low == high) & ~channels.constant & ~plan.chosen.gone[channels.units])
        if len(still):
            numbers = tuple(float(low[k]) for k in still)
            found.append(UnseenChannels(layer.name, layer.tensor, tuple(map(int, still)), numbers))
    return tuple(found)


def to_values(found: Sequence[UnseenChannels], plan: SlimPlan) -> Mapping[str, NDArray[np.float64]]:
    """What they held, as a plan takes it: float64 (C,) by tensor, NaN for other channels."""
    values = {}
    for each in found:
        line = np.full(len(plan.found.channels[each.tensor]), np.nan)
        line[list(each.channels)] = each.values
        values[each.tensor] = line
    return values
