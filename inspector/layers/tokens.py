"""Tokens: places of a picture in one row, as a vision transformer holds them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from inspector.records import record

if TYPE_CHECKING:
    from inspector.layers.layer import Layer

MOST_EXTRA = 8
"""Class and register tokens that may stand before those of the places."""


@record
class TokenGrid:
    """How rows of tokens lie over the picture.

    Attributes:
        height: Rows of places.
        width: Columns of places.
        extra: How many tokens are no places, as class and register tokens are.
        order: Where the token of each place stands, row by row, counted over all axes behind the channels; None where
            the places stand row by row behind those that are none.
    """

    height: int
    width: int
    extra: int = 0
    order: tuple[int, ...] | None = field(default=None, repr=False)

    @property
    def length(self) -> int:
        """How many tokens there are of one picture."""
        return self.height * self.width + self.extra

    def to_maps(self, tokens: NDArray[Any]) -> NDArray[Any]:
        """(..., C, L) -> (..., C, h, w); the tokens that are no places are left out."""
        chosen = tokens[..., self.extra :] if self.order is None else tokens[..., list(self.order)]
        return chosen.reshape(*tokens.shape[:-1], self.height, self.width)

    def take_apart(self, tokens: NDArray[Any]) -> NDArray[Any]:
        """(..., C, L) -> (..., C, extra): the tokens that are no places."""
        return tokens[..., : self.extra] if self.order is None else np.delete(tokens, list(self.order), axis=-1)

    def to_tokens(self, maps: NDArray[Any], like: NDArray[Any]) -> NDArray[Any]:
        """(N, C, h, w) -> (N, C, L); the tokens that are no places are those of the first row of `like`, (., C, L)."""
        tokens = np.repeat(like[:1], len(maps), axis=0)
        places = slice(self.extra, None) if self.order is None else list(self.order)
        tokens[..., places] = maps.reshape(*maps.shape[:2], self.height * self.width)
        return tokens


def find_token_grid(layers: Sequence[Layer], layer: Layer) -> TokenGrid | None:
    """Find how the tokens of a layer lie over the picture: as the graph itself says, else as the last maps before it.

    Args:
        layers: All layers, in topological order.
        layer: One of them.

    Returns:
        The grid; None for a layer that holds no tokens, or where no maps before it have as many places.
    """
    if layer.shape is None or len(layer.shape) != 3 or not isinstance(layer.shape[2], int):
        return layer.grid
    names = [x.name for x in layers]
    before = layers[: names.index(layer.name)] if layer.name in names else ()
    for maps in reversed(before):
        sides = maps.shape[2:] if maps.shape is not None and len(maps.shape) == 4 and maps.kind != "softmax" else ()
        if len(sides) == 2 and isinstance(sides[0], int) and isinstance(sides[1], int):
            extra = layer.shape[2] - sides[0] * sides[1]
            if 0 <= extra <= MOST_EXTRA and sides[0] * sides[1] > 1:
                return TokenGrid(sides[0], sides[1], extra)
    return None
