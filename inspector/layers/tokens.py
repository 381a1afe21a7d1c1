"""Tokens: places of a picture in one row, as a vision transformer holds them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from inspector.layers.layer import Layer

MOST_EXTRA = 8
"""Class and register tokens that may stand before those of the places."""


@dataclass(frozen=True)
class TokenGrid:
    """How a row of tokens lies over the picture: `extra` tokens that are no places, then h * w places, row by row."""

    height: int
    width: int
    extra: int = 0

    def to_maps(self, tokens: NDArray[Any]) -> NDArray[Any]:
        """(..., C, L) -> (..., C, h, w); the tokens that are no places are left out."""
        return tokens[..., self.extra :].reshape(*tokens.shape[:-1], self.height, self.width)

    def to_tokens(self, maps: NDArray[Any], like: NDArray[Any]) -> NDArray[Any]:
        """(N, C, h, w) -> (N, C, L); the tokens that are no places are those of the first row of `like`, (., C, L)."""
        rows = maps.reshape(*maps.shape[:2], self.height * self.width)
        extra = np.broadcast_to(like[:1, :, : self.extra], (len(maps), maps.shape[1], self.extra))
        return np.concatenate([extra, rows], axis=2)


def find_token_grid(layers: Sequence[Layer], layer: Layer) -> TokenGrid | None:
    """Find how the tokens of a layer lie over the picture: as the last maps before it did.

    Args:
        layers: All layers, in topological order.
        layer: One of them.

    Returns:
        The grid; None for a layer that holds no tokens, or where no maps before it have as many places.
    """
    if layer.shape is None or len(layer.shape) != 3 or not isinstance(layer.shape[2], int):
        return None
    names = [x.name for x in layers]
    before = layers[: names.index(layer.name)] if layer.name in names else ()
    for maps in reversed(before):
        sides = maps.shape[2:] if maps.shape is not None and len(maps.shape) == 4 and maps.kind != "softmax" else ()
        if len(sides) == 2 and isinstance(sides[0], int) and isinstance(sides[1], int):
            extra = layer.shape[2] - sides[0] * sides[1]
            if 0 <= extra <= MOST_EXTRA and sides[0] * sides[1] > 1:
                return TokenGrid(sides[0], sides[1], extra)
    return None
