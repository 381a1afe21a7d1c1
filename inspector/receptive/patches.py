"""The patches of real pictures that excite each channel most. onnxruntime alone, no torch.

Pictures stream through the network once; for each channel the k best values are kept with the picture and position
they came from. The crops are cut at the end, from the few pictures that are left. Memory is O(channels x k), whatever
the number of pictures.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from inspector.errors import ImageError, UsageError
from inspector.image import ImageSource, open_image
from inspector.layers import Layer
from inspector.layers.statistics import take_first
from inspector.model import Model
from inspector.receptive.fields import ReceptiveField, compute_receptive_fields

if TYPE_CHECKING:
    from PIL.Image import Image

_OUTSIDE = (236, 236, 236)
_CROP_BYTES = 256 * 1024 * 1024
"""Crops of so many bytes are held at a time; more channels need another pass over the pictures that are left."""

_FORGET_EVERY = 512
"""Pictures after which the names of those that no patch comes from are let go."""


@dataclass(frozen=True)
class Patch:
    """One patch.

    Attributes:
        value: The activation there.
        image: The picture, as it was named.
        position: (y, x) of the unit in the layer's map.
        box: (left, top, right, bottom) that the unit sees, in pixels of the picture as the network sees it, that is
            after resize and crop; it may reach beyond the picture.
    """

    value: float
    image: str
    position: tuple[int, int]
    box: tuple[int, int, int, int]


@dataclass(frozen=True)
class TopPatches:
    """The best patches of a layer's channels.

    Attributes:
        layer: The layer.
        field: The receptive field of its positions.
        patches: Channel -> its patches, best first; fewer than k where it was constant on most pictures.
        seen: Number of pictures that were looked at.
        skipped: (name, reason) of each picture that could not be read.
    """

    layer: Layer
    field: ReceptiveField
    patches: Mapping[int, tuple[Patch, ...]]
    seen: int
    skipped: tuple[tuple[str, str], ...]


@dataclass
class _Best:
    """The k best of each channel so far: value, picture's number and position, sorted, best first.

    rows, columns: of the position in the picture's own map; maps of pictures of different sizes differ.
    """

    values: NDArray[np.float32]
    images: NDArray[np.int64]
    rows: NDArray[np.int64]
    columns: NDArray[np.int64]

    @classmethod
    def empty(cls, channels: int, k: int) -> _Best:
        shape = (channels, k)
        zeros = np.zeros(shape, np.int64)
        return cls(np.full(shape, -np.inf, np.float32), np.full(shape, -1), zeros, zeros.copy())

    def add(self, maps: NDArray[np.float32], width: int, number: int) -> None:
        """One picture's maps (C, positions): each channel's largest value, unless the channel is constant here.

        width: of a row of positions.
        """
        flat = np.where(np.isnan(maps), np.float32(-np.inf), maps)
        at = flat.argmax(axis=1)
        value = flat[np.arange(len(flat)), at]
        better = value > self.values[:, -1]
        if flat.shape[1] > 1:
            better &= value > flat.min(axis=1)
        own = np.flatnonzero(better)
        if not own.size:
            return
        self.values[own, -1], self.images[own, -1] = value[own], number
        self.rows[own, -1], self.columns[own, -1] = np.divmod(at[own], width)
        # Stable, so that of equal values the picture that came first stays first.
        order = np.argsort(-self.values[own], axis=1, kind="stable")
        for array in (self.values, self.images, self.rows, self.columns):
            array[own] = np.take_along_axis(array[own], order, axis=1)


@dataclass
class _Search:
    """What is known after some pictures: the best of each layer's channels, and the pictures that they come from."""

    layers: Sequence[Layer]
    k: int
    wanted: Sequence[int] | None
    best: dict[str, _Best] = field(default_factory=dict)
    channels: dict[str, list[int]] = field(default_factory=dict)
    pictures: dict[int, tuple[str, tuple[int, int]]] = field(default_factory=dict)
    seen: int = 0

    def add(self, name: str, size: tuple[int, int], values: Mapping[str, NDArray[Any]]) -> None:
        """Take in one picture of (H, W) pixels. values: layer name -> activations (1, C, ...)."""
        for layer in self.layers:
            value = take_first(layer.to_maps(values[layer.name]))
            maps = value.reshape(len(value), math.prod(value.shape[1:]))
            if layer.name not in self.best:
                self._begin(layer, len(maps))
            if not maps.size:
                continue  # a detector's layer that found nothing here
            if self.wanted is not None:
                maps = maps[np.asarray(self.channels[layer.name], np.int64)]
            self.best[layer.name].add(maps, value.shape[-1] if value.ndim >= 3 else 1, self.seen)
        self.pictures[self.seen] = name, size
        self.seen += 1
        if self.seen % _FORGET_EVERY == 0:
            used = {int(i) for best in self.best.values() for i in np.unique(best.images)}
            self.pictures = {i: known for i, known in self.pictures.items() if i in used}

    def _begin(self, layer: Layer, count: int) -> None:
        own = [c for c in (range(count) if self.wanted is None else self.wanted) if c < count]
        if not own:
            raise UsageError(
                f"layer {layer.name!r} has none of the channels asked for", f"its channels are 0 to {count - 1}"
            )
        self.channels[layer.name] = own
        self.best[layer.name] = _Best.empty(len(own), self.k)


def find_patches(
    model: Model,
    images: Iterable[tuple[str, ImageSource]],
    layers: Sequence[Layer],
    *,
    k: int = 9,
    channels: Sequence[int] | None = None,
    on_image: Callable[[], None] | None = None,
) -> dict[str, TopPatches]:
    """Find the k patches that excite each channel most, at most one from each picture.

    Args:
        model: The model.
        images: (name, source) of each picture; read once, one after the other. Those that cannot be read are skipped.
        layers: The layers. One without maps gives whole pictures.
        k: How many patches a channel.
        channels: Those to keep, where a layer has them; all unless given.
        on_image: Called when a picture is done.

    Returns:
        Layer name -> its patches.

    Raises:
        UsageError: k is less than 1, or a layer has none of the channels.
        ImageError: No picture can be read.
        ModelError: The model cannot be run.
    """
    if k < 1:
        raise UsageError(f"{k} patches a channel are too few", "give 1 or more")
    search = _Search(layers, k, channels)
    skipped: list[tuple[str, str]] = []
    for name, tensor in _prepare_tensors(model, images):
        if on_image is not None:
            on_image()
        if isinstance(tensor, ImageError):
            skipped.append((name, tensor.message))
            continue
        values, _ = model.layer_values(tensor, layers)
        search.add(name, _measure_input(model, tensor), values)
    if not search.seen:
        raise ImageError(
            f"none of {len(skipped)} pictures could be read; the first: {skipped[0][1]}"
            if skipped
            else "no pictures were given"
        )
    fields = compute_receptive_fields(model.graph, [layer.tensor for layer in layers], model.input.layout)
    return {
        layer.name: TopPatches(
            layer, fields[layer.tensor], _list_patches(search, layer, fields[layer.tensor]), search.seen, tuple(skipped)
        )
        for layer in layers
    }


def _measure_input(model: Model, tensor: NDArray[Any]) -> tuple[int, int]:
    """(H, W) of a picture as the network sees it."""
    height, width = tensor.shape[1:3] if model.preprocess.layout == "NHWC" else tensor.shape[2:4]
    return int(height), int(width)


def _prepare_tensors(
    model: Model, images: Iterable[tuple[str, ImageSource]]
) -> Iterator[tuple[str, NDArray[Any] | ImageError]]:
    """Input tensors of the pictures, the next one decoded while the last one is in the network."""

    def prepare(source: ImageSource) -> NDArray[Any] | ImageError:
        try:
            return model.preprocess.tensor(open_image(source, warn=model.warn))
        except ImageError as error:
            return error

    with ThreadPoolExecutor(1) as pool:
        waiting: tuple[str, Any] | None = None
        for name, source in images:
            following = name, pool.submit(prepare, source)
            if waiting is not None:
                yield waiting[0], waiting[1].result()
            waiting = following
        if waiting is not None:
            yield waiting[0], waiting[1].result()


def _list_patches(search: _Search, layer: Layer, field: ReceptiveField) -> dict[int, tuple[Patch, ...]]:
    """The patches of each channel of a layer."""
    best = search.best[layer.name]
    made = {}
    for row, channel in enumerate(search.channels[layer.name]):
        patches = []
        for value, image, y, x in zip(
            best.values[row], best.images[row], best.rows[row].tolist(), best.columns[row].tolist(), strict=True
        ):
            if image < 0:
                break
            name, picture = search.pictures[int(image)]
            patches.append(Patch(float(value), name, (y, x), field.box((y, x), picture)))
        made[channel] = tuple(patches)
    return made


def draw_patches(
    model: Model, found: TopPatches, sources: Mapping[str, Any], size: int = 64
) -> Iterator[tuple[int, list[Image]]]:
    """Draw patches, channel by channel.

    What a box holds beyond the picture is light grey. A receptive field as large as the picture shows the whole one.

    Args:
        model: The model that found them.
        found: The patches of one layer.
        sources: Name -> source, for the pictures named in `found`.
        size: Side of each picture in pixels.

    Yields:
        (channel, its patches as RGB pictures of `size` x `size`, best first).
    """
    per_channel = max((len(p) for p in found.patches.values()), default=1) * size * size * 3
    step = max(1, _CROP_BYTES // max(per_channel, 1))
    chosen = list(found.patches)
    for start in range(0, len(chosen), step):
        part = chosen[start : start + step]
        wanted: dict[str, list[tuple[int, int, Patch]]] = {}
        for channel in part:
            for rank, patch in enumerate(found.patches[channel]):
                wanted.setdefault(patch.image, []).append((channel, rank, patch))
        cut: dict[tuple[int, int], Image] = {}
        for name, places in wanted.items():
            view = model.preprocess.view(open_image(sources[name])).convert("RGB")
            for channel, rank, patch in places:
                cut[channel, rank] = crop_patch(view, patch.box, size)
        for channel in part:
            yield channel, [cut[channel, rank] for rank in range(len(found.patches[channel]))]


def crop_patch(view: Image, box: tuple[int, int, int, int], size: int) -> Image:
    """The part of a picture that `box` covers as RGB `size` x `size`: the whole picture where it covers that."""
    from PIL import Image as images

    left, top, right, bottom = box
    if right <= left or bottom <= top:
        left, top, right, bottom = 0, 0, view.width, view.height
    # A field larger than the picture is moved as far inside as it goes, so that little of the tile is empty.
    left, right = _fit_inside(left, right, view.width)
    top, bottom = _fit_inside(top, bottom, view.height)
    sheet = images.new("RGB", (right - left, bottom - top), _OUTSIDE)
    part = view.crop((max(left, 0), max(top, 0), min(right, view.width), min(bottom, view.height)))
    sheet.paste(part, (max(-left, 0), max(-top, 0)))
    width, height = (
        max(1, round(sheet.width * size / max(sheet.size))),
        max(1, round(sheet.height * size / max(sheet.size))),
    )
    larger = width >= 2 * sheet.width
    scaled = sheet.resize((width, height), images.Resampling.NEAREST if larger else images.Resampling.BICUBIC)
    if scaled.size == (size, size):
        return scaled
    tile = images.new("RGB", (size, size), _OUTSIDE)
    tile.paste(scaled, ((size - width) // 2, (size - height) // 2))
    return tile


def _fit_inside(low: int, high: int, limit: int) -> tuple[int, int]:
    """An interval longer than the picture, cut to it; another stays as it is."""
    return (0, limit) if high - low >= limit else (low, high)
