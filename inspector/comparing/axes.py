"""How the axes of one tensor lie in another: found by trying, never assumed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import permutations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from inspector.agreement import signal_to_noise
from inspector.layers import Layer, move_channels_back, move_channels_first

_SURE, _BETTER = 20.0, 10.0
"""A ratio in dB that no other order of axes has by chance, and how much better another order has to be."""
_MOST_AXES = 4


@dataclass(frozen=True)
class Turn:
    """How B's tensor becomes A's.

    Attributes:
        order: The axes of B's tensor in A's order, those of length one left out; None where they lie alike.
    """

    order: tuple[int, ...] | None = None

    def to_a(self, value: NDArray[Any], shape: tuple[int, ...]) -> NDArray[Any] | None:
        """B's tensor as A lays it out; None where it has another number of elements."""
        if value.size != int(np.prod(shape)):
            return None
        if self.order is None:
            return value if value.shape == shape else value.reshape(shape)
        if len(self.order) != len(_long(value.shape)):
            return None
        return value.reshape(_long(value.shape)).transpose(self.order).reshape(shape)

    def to_b(self, value: NDArray[Any], shape: tuple[int, ...]) -> NDArray[Any]:
        """The opposite: A's tensor in B's shape."""
        if self.order is None:
            return value.reshape(shape)
        sides = _long(shape)
        turned = value.reshape(tuple(sides[k] for k in self.order))
        return turned.transpose(np.argsort(self.order)).reshape(shape)


def is_folded(shape: tuple[int, ...], layer: Layer, pictures: int) -> bool:
    """Whether the first axis of a layer's tensor holds something else than pictures, as all tokens in one matrix."""
    return layer.arrangement is None and bool(shape) and shape[0] not in (1, pictures)


def read_first(value: NDArray[Any], layer: Layer, pictures: int) -> NDArray[np.float32]:
    """The values of a layer for the first picture: float32 (1, C, ...).

    Rows that are no pictures are places, all of them: (R, C) becomes (1, C, R), and (R,) becomes (1, 1, R). One number
    for each picture, (N,), becomes (1, 1). All pictures of a run are the same one.
    """
    found = move_channels_first(value, layer, pictures)
    if not is_folded(value.shape, layer, pictures):
        return found[:1] if found.ndim > 1 else found.reshape(-1, 1)[:1]
    whole = found[None] if found.ndim == 1 else np.moveaxis(found, 0, -1)
    return np.ascontiguousarray(whole[None])


def write_first(value: NDArray[Any], layer: Layer, like: NDArray[Any], pictures: int) -> NDArray[Any]:
    """The opposite: (1, C, ...) laid out as a tensor of the graph, as often as that holds the picture."""
    if is_folded(like.shape, layer, pictures):
        value = value[0, 0] if like.ndim == 1 else np.moveaxis(value[0], -1, 0)
    elif like.ndim < 2:
        value = value.reshape((1,) * like.ndim)
    laid = move_channels_back(value, layer).astype(like.dtype)
    if laid.ndim and laid.shape != like.shape and laid.shape[0] and like.shape[0] % laid.shape[0] == 0:
        laid = np.repeat(laid, like.shape[0] // laid.shape[0], axis=0)
    return np.ascontiguousarray(laid)


def find_turn(a: NDArray[np.float32], b: NDArray[np.float32]) -> tuple[Turn, float] | None:
    """The order of axes in which B's tensor is nearest to A's.

    Args:
        a: float32 (N, ...) of A.
        b: float32 (N, ...) of B.

    Returns:
        The turn and its ratio in dB; None where no order has the shape of A.
    """
    if a.size != b.size or not a.size or a.shape[0] != b.shape[0]:
        return None
    best: tuple[Turn, float] | None = None
    for turn in _list_turns(a.shape, b.shape):
        turned = turn.to_a(b, a.shape)
        ratio = -np.inf if turned is None else signal_to_noise(a, np.ascontiguousarray(turned))
        if best is None or ratio > best[1] + (_BETTER if best[0].order is None else 0):
            best = (turn, ratio)
        if best[0].order is None and best[1] >= _SURE:
            break
    return best


def _list_turns(a: tuple[int, ...], b: tuple[int, ...]) -> Iterator[Turn]:
    """As they lie first; then every order that gives the same sizes."""
    ours, theirs = _long(a), _long(b)
    if ours == theirs:
        yield Turn()
    if len(theirs) - 1 <= _MOST_AXES:
        for rest in permutations(range(1, len(theirs))):
            order = (0, *rest)
            turned = tuple(theirs[k] for k in order)
            fits = turned == ours or _joins(turned, ours)
            if fits and not (ours == theirs and order == tuple(range(len(theirs)))):
                yield Turn(order)


def _joins(turned: tuple[int, ...], wanted: tuple[int, ...]) -> bool:
    """Whether one is the other with neighbouring axes joined, as (N, C, H, W) and (N, C, H * W)."""
    if len(turned) == len(wanted):
        return False
    ends = [set(np.cumprod(sides[1:])) for sides in (turned, wanted)]
    return ends[0] <= ends[1] or ends[1] <= ends[0]


def _long(shape: tuple[int, ...]) -> tuple[int, ...]:
    """The sizes of the axes without those of length one; the first axis stays."""
    return (*shape[:1], *(size for size in shape[1:] if size != 1))
