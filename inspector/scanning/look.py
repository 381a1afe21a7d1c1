"""Looking at the pictures of one shard: one after the other, each by itself, on one thread.

What a picture adds depends on nothing but the picture, so that it does not matter which shard it is in.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from inspector.errors import InspectorError, LayerNotFound, MissingExtra, OutputError, UsageError, one_line
from inspector.image import open_image
from inspector.layers import Layer
from inspector.layers.statistics import statistics, take_first
from inspector.model import Model
from inspector.model.probabilities import ClassRows, order_classes
from inspector.scanning.exact import BINS, find_bins, sum_exactly, to_fixed
from inspector.scanning.listing import Listed, read_shard
from inspector.scanning.plan import ScanPlan, load_plan
from inspector.scanning.sources import PictureReader
from inspector.scanning.state import ChannelSums, PictureRows, ScanState, order_top

if TYPE_CHECKING:
    from PIL.Image import Image

KEPT_CLASSES = 32
"""The most likely classes of each picture that are kept; label errors are sought among them."""
SMALL = 32
"""Side of the small grey picture."""
_FATAL = (UsageError, OutputError, LayerNotFound, MissingExtra)


@dataclass
class _Seen:
    """What the pictures of a shard gave, one row each, as far as it has come."""

    mean: NDArray[np.float32]
    square: NDArray[np.float32]
    peak: NDArray[np.float32]
    low: NDArray[np.float32]
    blank: NDArray[np.bool_]
    places: NDArray[np.int32]
    zeros: NDArray[np.int64]
    zero_share: NDArray[np.float32]
    elements: NDArray[np.int64]
    non_finite: NDArray[np.int64]

    @classmethod
    def make(cls, pictures: int, channels: int, layers: int) -> _Seen:
        shape = pictures, channels
        mean, square, peak, low = np.zeros((4, *shape), np.float32)
        return cls(
            mean,
            square,
            peak,
            low,
            np.zeros(shape, np.bool_),
            np.zeros((*shape, 2), np.int32),
            np.zeros(channels, np.int64),
            np.zeros((pictures, layers), np.float32),
            np.zeros(layers, np.int64),
            np.zeros(layers, np.int64),
        )


class ShardLooker:
    """Looks at shards of one scan.

    Args:
        folder: The folder of the scan.
        plan: Its plan; read from the folder unless given.
        model: Its model with one thread; opened as the plan says unless given.
    """

    def __init__(self, folder: Path, plan: ScanPlan | None = None, model: Model | None = None) -> None:
        self.folder = folder
        self.plan = plan or load_plan(folder)
        self.model = model or self.plan.open_model()
        self.layers = [self.model.layer(x.name) for x in self.plan.layers]
        self.embed = self.model.layer(self.plan.embed)
        self.ends = np.cumsum([x.channels for x in self.plan.layers]).tolist()
        self.reader = PictureReader()

    def look(self, shard: int, on_picture: Callable[[int], None] | None = None) -> ScanState:
        """Look at all pictures of a shard.

        Args:
            shard: Its number.
            on_picture: Called with the number of each picture before it is opened.

        Raises:
            InspectorError: What the next picture would meet again. One that a single picture causes is its reason to
                be skipped.
        """
        pictures = read_shard(self.folder, shard)
        first, end = self.plan.find_range(shard)
        seen = _Seen.make(len(pictures), self.ends[-1], len(self.layers))
        rows: list[tuple[Any, ...]] = []
        skipped: list[tuple[int, str]] = []
        for number, picture in enumerate(pictures, first):
            if on_picture is not None:
                on_picture(number)
            try:
                rows.append(self._look_at(picture, number, seen, len(rows)))
            except _FATAL:
                raise
            except InspectorError as error:
                skipped.append((number, one_line(error.message.replace(picture.file, picture.shown_file), 300)))
        made = self._make_rows(rows)
        classes = np.where(made.label >= 0, made.label, made.top_classes[:, 0] if made.top_classes.shape[1] else -1)
        sums = sum_up(seen, made.number, classes.astype(np.int64), self.plan.top)
        return ScanState(self.plan.digest, ((first, end),), sums, made, tuple(skipped))

    def close(self) -> None:
        """Close the archives that pictures were read from."""
        self.reader.close()

    def _look_at(self, picture: Listed, number: int, seen: _Seen, row: int) -> tuple[Any, ...]:
        data = self.reader.read(picture)
        image = open_image(data)
        view = self.model.preprocess.view(image)
        tensor = self.model.preprocess.normalise(np.asarray(view))
        values, found, _ = self.model.run_layers(tensor, [*self.layers, self.embed], self.plan.classifies)
        for place, layer in enumerate(self.layers):
            start = self.ends[place - 1] if place else 0
            self._add_layer(layer, take_first(layer.to_maps(values[layer.name])), seen, row, place, start)
        label = self.plan.labels.get(picture.label, -1) if picture.label is not None else -1
        classes, probabilities, own, entropy = self._judge(found, label)
        return (
            number, label, image.size, np.frombuffer(hashlib.sha256(data).digest()[:16], np.uint8),
            classes, probabilities, own, entropy, _embed(self.embed, values[self.embed.name], self.plan.width),
            shrink_view(view),
        )  # fmt: skip

    # Wide: what is written, where to, and what it is of.
    def _add_layer(
        self, layer: Layer, value: NDArray[np.float32], seen: _Seen, row: int, place: int, start: int
    ) -> None:
        count = self.plan.layers[place].channels
        maps = value.reshape(len(value), -1)
        if len(maps) != count:
            raise InspectorError(f"layer {layer.name} has {len(maps)} channels on it and {count} on other pictures")
        own = slice(start, start + count)
        if not maps.size:  # a detector's layer that found nothing here
            seen.peak[row, own], seen.low[row, own], seen.blank[row, own] = -np.inf, np.inf, True
            return
        found = statistics(maps)
        finite = maps if not found.non_finite else np.where(np.isfinite(maps), maps, np.float32(-np.inf))
        at = finite.argmax(axis=1)
        seen.mean[row, own] = found.channel_mean if not found.non_finite else np.nan_to_num(found.channel_mean)
        squares = np.square(found.channel_std.astype(np.float64)) + np.square(found.channel_mean.astype(np.float64))
        seen.square[row, own] = np.fmin(squares, 3e38) if not found.non_finite else np.nan_to_num(squares.clip(0, 3e38))
        seen.peak[row, own] = np.fmax(found.channel_maximum, np.float32(-np.inf))
        seen.low[row, own] = np.fmin(found.channel_minimum, np.float32(np.inf))
        if maps.shape[1] > 1:
            seen.blank[row, own] = found.channel_minimum == found.channel_maximum
        seen.places[row, own] = np.stack(np.divmod(at, value.shape[-1] if value.ndim >= 3 else 1), axis=1)
        zeros = np.rint(found.channel_zero_fraction.astype(np.float64) * maps.shape[1]).astype(np.int64)
        seen.zeros[own] += zeros
        seen.zero_share[row, place] = zeros.sum() / maps.size
        seen.elements[place] += maps.size
        seen.non_finite[place] += found.non_finite

    def _judge(
        self, found: ClassRows | None, label: int
    ) -> tuple[NDArray[np.int32], NDArray[np.float32], float, float]:
        """(the most likely classes, their probabilities, that of the label, the entropy) of one picture."""
        kept = min(self.plan.known, KEPT_CLASSES)
        if found is None:
            return np.full(kept, -1, np.int32), np.full(kept, np.nan, np.float32), float("nan"), float("nan")
        each, row = self.model.probabilities(found)[0], found.scores[0]
        if len(each) == 1 and self.plan.known == 2:
            each, row = np.array([1 - each[0], each[0]]), np.array([-row[0], row[0]])
        each = np.nan_to_num(each, nan=0.0)
        order = order_classes(row, each)[:kept]
        whole = each / max(each.sum(), 1e-300)
        entropy = float(-(whole * np.log(np.maximum(whole, 1e-300))).sum())
        own = float(each[label]) if 0 <= label < len(each) else float("nan")
        return order.astype(np.int32), each[order].astype(np.float32), own, entropy

    def _make_rows(self, rows: list[tuple[Any, ...]]) -> PictureRows:
        kept, count = min(self.plan.known, KEPT_CLASSES) if self.plan.classifies else 0, len(rows)
        columns = list(zip(*rows, strict=True)) if rows else [()] * 10
        shapes: list[tuple[Any, tuple[int, ...]]] = [
            (np.int64, ()), (np.int32, ()), (np.int32, (2,)), (np.uint8, (16,)), (np.int32, (kept,)),
            (np.float32, (kept,)), (np.float32, ()), (np.float32, ()), (np.float16, (self.plan.width,)),
            (np.uint8, (SMALL, SMALL)),
        ]  # fmt: skip
        arrays = [
            np.array(column, dtype).reshape(count, *shape)
            for column, (dtype, shape) in zip(columns, shapes, strict=True)
        ]  # fmt: skip
        return PictureRows(*arrays)


def _embed(layer: Layer, values: NDArray[np.float32], width: int) -> NDArray[np.float16]:
    """The mean of a layer's channels over its positions, float16 (D,), cut off where half precision ends."""
    maps = take_first(layer.to_maps(values))
    flat = maps.reshape(len(maps), -1)
    mean = flat.mean(axis=1) if flat.size else np.zeros(width, np.float32)
    return np.asarray(np.nan_to_num(mean).clip(-65504, 65504), np.float16)


def shrink_view(view: Image) -> NDArray[np.uint8]:
    """The small grey picture that copies are found by, uint8 (32, 32)."""
    from PIL import Image as images

    return np.asarray(view.convert("L").resize((SMALL, SMALL), images.Resampling.BOX))


def sum_up(seen: _Seen, numbers: NDArray[np.int64], classes: NDArray[np.int64], top: int) -> ChannelSums:
    """Sum what the pictures of a shard gave.

    Args:
        seen: What they gave; only the first rows are filled.
        numbers: Of the pictures, int64 (n,).
        classes: Of the pictures, int64 (n,); -1 for none.
        top: How many pictures are kept for each channel.
    """
    count, channels = len(numbers), seen.mean.shape[1]
    peak, blank, mean = seen.peak[:count], seen.blank[:count], seen.mean[:count]
    histogram = np.zeros(channels * BINS, np.int64)
    for row in peak:
        histogram[np.arange(channels) * BINS + find_bins(row)] += 1
    rows = np.unique(classes[classes >= 0])
    fixed = to_fixed(mean)
    with np.errstate(over="ignore"):
        mean_square = np.fmin(np.square(mean), np.float32(3e38))
    values, pictures, places = _find_top(np.where(blank, np.float32(-np.inf), peak), numbers, seen.places[:count], top)
    empty = np.full(channels, np.inf, np.float32)
    return ChannelSums(
        pictures=count,
        elements=seen.elements,
        non_finite=seen.non_finite,
        zeros=seen.zeros,
        blank=blank.sum(axis=0, dtype=np.int64),
        active=(peak > 0).sum(axis=0, dtype=np.int64),
        low=np.minimum(empty, seen.low[:count].min(axis=0, initial=np.inf)) + np.float32(0),
        high=np.maximum(-empty, peak.max(axis=0, initial=-np.inf)) + np.float32(0),
        mean=sum_exactly(mean),
        square=sum_exactly(seen.square[:count]),
        mean_square=sum_exactly(mean_square),
        peak=sum_exactly(peak),
        zero_square=sum_exactly(np.square(seen.zero_share[:count])),
        histogram=histogram.reshape(channels, BINS).astype(np.uint32),
        class_rows=rows,
        class_counts=np.array([(classes == k).sum() for k in rows], np.int64),
        class_sums=np.array([fixed[classes == k].sum(axis=0) for k in rows], np.int64).reshape(len(rows), channels),
        top_values=values,
        top_pictures=pictures,
        top_places=places,
    )


def _find_top(
    peaks: NDArray[np.float32], numbers: NDArray[np.int64], places: NDArray[np.int32], top: int
) -> tuple[NDArray[np.float32], NDArray[np.int64], NDArray[np.int32]]:
    """The best pictures of each channel: values (C, k), numbers (C, k) and places (C, k, 2)."""
    channels = peaks.shape[1]
    values = np.full((channels, top), -np.inf, np.float32)
    pictures = np.full((channels, top), -1, np.int64)
    found = np.zeros((channels, top, 2), np.int32)
    by_channel = peaks.T
    own = np.where(np.isneginf(by_channel), -1, numbers[None, :])
    order = order_top(by_channel, own)[:, :top]
    kept = order.shape[1]
    values[:, :kept] = np.take_along_axis(by_channel, order, axis=1)
    pictures[:, :kept] = np.take_along_axis(own, order, axis=1)
    found[:, :kept] = np.take_along_axis(places.transpose(1, 0, 2), order[:, :, None], axis=1)
    found[pictures < 0] = 0
    return values, pictures, found
