"""From a tensor as the graph lays it out to (N, C, ...), and back."""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from inspector.layers.tokens import TokenGrid
from inspector.layers.track import Track
from inspector.records import record

if TYPE_CHECKING:
    from inspector.layers.layer import Layer


@record
class Arrangement:
    """Where the pictures and the channels of a tensor lie.

    Attributes:
        channel: The axis of the channels.
        batch: The axis of the pictures.
        parts: How many rows of that axis each picture has: the windows that are folded into the batch, else 1.
        block: Channels in a block, where they lie in blocks behind rows and columns (onnxruntime's NCHWc), else 1.
        real: Of such channels, how many are no filling.
    """

    channel: int = 1
    batch: int = 0
    parts: int = 1
    block: int = 1
    real: int | None = None

    def _turn(self, rank: int) -> tuple[int, ...]:
        """The axes in the order pictures, the others, channels."""
        others = [a for a in range(rank) if a not in (self.batch, self.channel)]
        return (self.batch, *others, self.channel)

    def to_channels_first(self, value: Any, pictures: int | None = None) -> Any:
        """The tensor as (N, C, ...), an array of numpy or a tensor of torch alike, without copying where that can be.

        Windows that are folded into the batch get an axis of their own: (N * k, L, C) becomes (N, C, k, L).

        Args:
            value: The tensor.
            pictures: N, where it is known: on a canvas of another size each picture has other windows.
        """
        if self.block > 1:
            return self._open_blocks(value)
        turned = _permute(value, self._turn(value.ndim))
        if self.parts > 1:
            parts = turned.shape[0] // pictures if pictures and turned.shape[0] % pictures == 0 else self.parts
            turned = turned.reshape(-1, parts, *turned.shape[1:])
        last = turned.ndim - 1
        return _permute(turned, (0, last, *range(1, last)))

    def to_graph(self, value: Any) -> Any:
        """The opposite: (N, C, ...) as the graph lays it out."""
        if self.block > 1:
            return self._fill_blocks(value)
        turned = _permute(value, (0, *range(2, value.ndim), 1))
        if self.parts > 1:
            turned = turned.reshape(-1, *turned.shape[2:])
        order = self._turn(turned.ndim)
        return _permute(turned, tuple(order.index(a) for a in range(turned.ndim)))

    def _open_blocks(self, value: Any) -> Any:
        """(N, C, H, W) in blocks -> in order, without the filling."""
        n, channels, *sides = value.shape
        blocks = value.reshape(n, channels // self.block, *sides, self.block)
        ordered = _permute(blocks, (0, 1, blocks.ndim - 1, *range(2, blocks.ndim - 1)))
        return ordered.reshape(n, channels, *sides)[:, : self.real]

    def _fill_blocks(self, value: NDArray[Any]) -> NDArray[Any]:
        """The opposite, of arrays alone."""
        n, channels, *sides = value.shape
        count = -(-channels // self.block)
        filled = np.zeros((n, count * self.block, *sides), value.dtype)
        filled[:, :channels] = value
        blocks = filled.reshape(n, count, self.block, *sides)
        return np.moveaxis(blocks, 2, -1).reshape(filled.shape)


def _permute(value: Any, axes: tuple[int, ...]) -> Any:
    return value.permute(axes) if hasattr(value, "permute") else value.transpose(axes)


def _arrangement_of(layer: Layer, rank: int) -> Arrangement:
    if layer.arrangement is not None:
        return layer.arrangement
    return Arrangement(rank - 1 if layer.channels_last and rank >= 3 else 1)


def move_channels_first(value: NDArray[Any], layer: Layer, pictures: int | None = None) -> NDArray[np.float32]:
    """Put the pictures of a layer's tensor on axis 0 and its channels on axis 1.

    Args:
        value: The tensor as the graph makes it.
        layer: The layer.
        pictures: N, where it is known.

    Returns:
        float32 (N, C, ...), contiguous; the same memory where nothing has to change. What the graph folds into the
        batch, as windows, has an axis of its own: (N * k, L, C) becomes (N, C, k, L).
    """
    if value.ndim >= 2:
        value = _arrangement_of(layer, value.ndim).to_channels_first(value, pictures)
    return np.ascontiguousarray(value, np.float32)


def move_channels_back(value: NDArray[Any], layer: Layer) -> NDArray[Any]:
    """The opposite: (N, C, ...) laid out as the graph does it."""
    if layer.arrangement is not None:
        return np.asarray(layer.arrangement.to_graph(value))
    return np.moveaxis(value, 1, -1) if layer.channels_last else value


def arrange(track: Track, pictures: int) -> tuple[Arrangement, TokenGrid | None] | None:
    """Find how a tensor is to be laid out, and how its places make up the map that they come from.

    Args:
        track: What is known of its places.
        pictures: How many pictures it is about.

    Returns:
        The arrangement, and the grid where the places are not rows and columns as they stand; None where the tensor
        does not tell where its channels or its pictures lie.
    """
    channel = track.find_channel_axis()
    rank = len(track.shape)
    if rank < 3 or not track.number.size:
        return None
    if channel is None and not (track.attention and rank == 3):
        return None
    found = _find_batch(track, pictures, channel)
    if found is None:
        return None
    batch, parts = found
    if channel is None:  # attention (N * heads, L, L): the heads are its channels
        return None
    arrangement = Arrangement(channel, batch, parts)
    if track.attention or not track.has_places() or (rank == 4 and parts == 1 and _is_upright(track, channel)):
        return arrangement, None
    number = arrangement.to_channels_first(track.number)[0, 0]
    grid = _find_grid(number.reshape(-1), track.sides)
    if grid is not None and grid.order is None and number.shape == (grid.height, grid.width) and parts == 1:
        return arrangement, None  # fewer rows and columns, as between the stages of a Swin, and still in order
    return arrangement, grid


def _find_batch(track: Track, pictures: int, channel: int | None) -> tuple[int, int] | None:
    """(axis of the pictures, rows of it that each has)."""
    shape = track.shape
    if pictures == 1:
        ones = [a for a, size in enumerate(shape) if size == 1 and a != channel]
        return (ones[0], 1) if ones else (0, shape[0]) if channel != 0 else None
    if not track.has_places():
        return (0, shape[0] // pictures) if shape[0] % pictures == 0 and channel != 0 else None
    owner = track.number // prod(track.sides)
    for axis in range(len(shape)):
        if axis == channel or shape[axis] % pictures or (axis and shape[axis] != pictures):
            continue
        parts = shape[axis] // pictures
        wanted = range(shape[axis]) if parts == 1 else [k // parts for k in range(shape[axis])]
        lined = owner.swapaxes(0, axis).reshape(shape[axis], -1)
        if all(((row == n) | (row < 0)).all() for row, n in zip(lined, wanted, strict=True)):
            return axis, parts
    return None


def _is_upright(track: Track, channel: int) -> bool:
    """Whether the axes beside the batch and the channels are all rows and all columns of the map, in order."""
    height, width = track.sides
    one = track.number.take([0], channel)[0].squeeze(channel - 1)
    if one.shape != (height, width):
        return False
    return bool((one.reshape(-1) == range(height * width)).all())


def _find_grid(number: Any, sides: tuple[int, int]) -> TokenGrid | None:
    """The grid of places numbered so, each of which has to stand there once."""
    where = np.flatnonzero(number >= 0)
    places = number[where]
    rows, columns = np.unique(places // sides[1]), np.unique(places % sides[1])
    wanted = (rows[:, None] * sides[1] + columns).ravel()
    order = np.argsort(places, kind="stable")
    if len(places) < 2 or len(wanted) != len(places) or not np.array_equal(places[order], wanted):
        return None
    extra, at = len(number) - len(places), where[order]
    plain = np.array_equal(at, np.arange(extra, len(number)))
    return TokenGrid(len(rows), len(columns), extra, None if plain else tuple(at.tolist()))
