"""Which place of the picture each element of a tensor belongs to."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from inspector.records import record

Numbers = NDArray[np.int32]


@record
class Track:
    """What is known of one tensor.

    Attributes:
        number: For each element the place that it belongs to, of the shape of the tensor: n * height * width + y *
            width + x for the place (y, x) of picture n, -1 for none. Most are views that repeat one number.
        sides: (height, width) that the numbers count.
        channel: The axis that holds the channels, as the last operator that says so left it; None where none did.
        attention: It holds what each token gives to each other.
    """

    number: Numbers
    sides: tuple[int, int]
    channel: int | None
    attention: bool = False

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of the tensor."""
        return self.number.shape

    def changes_along(self, axis: int) -> bool:
        """Whether the place is another at another position of `axis`."""
        if self.number.strides[axis] == 0 or self.shape[axis] == 1 or not self.number.size:
            return False
        numbers = self._distinct()
        return bool((numbers != numbers.take([0], axis)).any())

    def has_places(self) -> bool:
        """Whether any element belongs to a place."""
        return bool((self._distinct() >= 0).any())

    def _distinct(self) -> Numbers:
        """The numbers without the axes along which they are repeated."""
        return self.number[tuple(slice(0, 1) if s == 0 else slice(None) for s in self.number.strides)]

    def thin_out(self) -> Track:
        """The same with one number for all channels of a place, where that is so: what follows has less to move."""
        if self.channel is None or self.number.strides[self.channel] == 0 or self.changes_along(self.channel):
            return self
        return replace(self, number=np.broadcast_to(self.number.take([0], self.channel), self.shape))

    def find_channel_axis(self) -> int | None:
        """The axis that holds the channels; None where nothing tells."""
        if self.attention:
            return 1 if len(self.shape) == 4 else None
        if not self.has_places():
            return self.channel
        still = [a for a, size in enumerate(self.shape) if size > 1 and not self.changes_along(a)]
        if self.channel is not None and (self.channel in still or self.shape[self.channel] == 1):
            return self.channel
        return still[-1] if still else self.channel


def nowhere(shape: tuple[int, ...]) -> Numbers:
    """Numbers of elements that belong to no place."""
    return np.broadcast_to(np.int32(-1), shape)


def reshape(track: Track, shape: tuple[int, ...]) -> Track:
    """The same elements in another shape."""
    if shape == track.shape:
        return track
    kept = track.channel if len(shape) == len(track.shape) and track.channel in (0, len(shape) - 1) else None
    last = track.number.ndim - 1
    if kept is not None and shape[kept] != track.shape[kept]:
        kept = None
    # Most reshapes leave the channels alone on the last axis: one of them says where all lie, and no copy is made.
    if shape and track.shape and shape[-1] == track.shape[-1] and track.number.strides[last] == 0:
        number = np.broadcast_to(track.number[..., 0].reshape(shape[:-1])[..., None], shape)
        return replace(track, number=number, channel=len(shape) - 1 if track.channel == last else kept)
    return replace(track, number=track.number.reshape(shape), channel=kept)


def contract(a: Track, b: Track) -> Track | None:
    """The matrix product of two tensors of the network: attention where both bring places along their own axis."""
    if min(len(a.shape), len(b.shape)) < 2 or a.shape[-1] != b.shape[-2]:
        return None
    try:
        shape = (*np.broadcast_shapes(a.shape[:-2], b.shape[:-2]), a.shape[-2], b.shape[-1])
    except ValueError:
        return None
    rows = a.attention or a.changes_along(len(a.shape) - 2)
    columns = not a.attention and b.changes_along(len(b.shape) - 1)
    rank = len(shape)
    if rows:
        number = np.broadcast_to(a.number[..., :1], shape)
        return Track(number, a.sides, None if columns else rank - 1, attention=columns)
    if columns:
        return Track(np.broadcast_to(b.number[..., :1, :], shape), b.sides, rank - 2)
    return Track(nowhere(shape), a.sides, rank - 1)
