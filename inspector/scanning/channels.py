"""What the sums of a scan say of each channel: the table ``channels.parquet``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from inspector.scanning.exact import FIXED_BITS, read_means
from inspector.scanning.plan import ScanPlan
from inspector.scanning.state import ChannelSums

BEST_CLASSES = 5
"""Classes that are named for each channel."""
SIMILAR = 6
"""Channels that are named as similar to each."""
_FEWEST_CLASSES = 4
"""With fewer, nearly all channels are similar."""


@dataclass(frozen=True)
class ChannelTable:
    """What is known of each channel of all layers, one after the other: C of them.

    Attributes:
        layer: Index of its layer in the plan, int64 (C,).
        channel: Its number in the layer, int64 (C,).
        mean: Mean over pictures of its mean on a picture, float64 (C,).
        std: Standard deviation over all places of all pictures, each picture counting alike.
        spread: Standard deviation over pictures of its mean on a picture.
        peak: Mean over pictures of its largest value.
        low: Smallest value of all.
        high: Largest value of all.
        zero_fraction: Share of its elements that are exactly 0.
        blank_share: Share of pictures on which it is constant.
        active_share: Share of pictures on which it is above 0 somewhere.
        dead: It is constant on every picture, and has more than one place.
        always_on: It is above 0 at every place of every picture.
        sparsity: 1 - mean^2 / mean square, in [0, 1]: near 1 where few places hold all (Treves & Rolls 1991).
        selectivity: (m - r) / (m + r) for the best class's mean m and the mean r of the other classes' means, in
            [0, 1] (Morcos et al. 2018); NaN where a class mean is below 0 or there is one class.
        effect: (m - r) / std, which is defined below 0 as well.
        classes: The classes with the largest mean, best first, int64 (C, b); -1 where there are fewer.
        class_means: Their means, float64 (C, b).
        similar: The channels, counted through all layers, whose means by class correlate most, int64 (C, s); -1 where
            there are fewer than four classes.
    """

    layer: NDArray[np.int64]
    channel: NDArray[np.int64]
    mean: NDArray[np.float64]
    std: NDArray[np.float64]
    spread: NDArray[np.float64]
    peak: NDArray[np.float64]
    low: NDArray[np.float32]
    high: NDArray[np.float32]
    zero_fraction: NDArray[np.float64]
    blank_share: NDArray[np.float64]
    active_share: NDArray[np.float64]
    dead: NDArray[np.bool_]
    always_on: NDArray[np.bool_]
    sparsity: NDArray[np.float64]
    selectivity: NDArray[np.float64]
    effect: NDArray[np.float64]
    classes: NDArray[np.int64]
    class_means: NDArray[np.float64]
    similar: NDArray[np.int64]


def describe_channels(plan: ScanPlan, sums: ChannelSums) -> ChannelTable:
    """Work out what the sums say of each channel."""
    counts = [x.channels for x in plan.layers]
    layer = np.repeat(np.arange(len(counts)), counts)
    channel = np.concatenate([np.arange(c) for c in counts]) if counts else np.zeros(0, np.int64)
    pictures = max(sums.pictures, 1)
    mean, square = read_means(sums.mean, sums.pictures), read_means(sums.square, sums.pictures)
    std = np.sqrt(np.maximum(square - np.square(mean), 0))
    each = (sums.elements / np.maximum(counts, 1))[layer]
    with np.errstate(invalid="ignore", divide="ignore"):
        zero_fraction = np.where(each > 0, sums.zeros / each, np.nan)
        sparsity = np.where(square > 0, 1 - np.square(mean) / square, 0.0).clip(0, 1)
    classes, class_means, selectivity, effect = _find_selectivity(sums, std)
    return ChannelTable(
        layer=layer,
        channel=channel,
        mean=mean,
        std=std,
        spread=np.sqrt(np.maximum(read_means(sums.mean_square, sums.pictures) - np.square(mean), 0)),
        peak=read_means(sums.peak, sums.pictures),
        low=sums.low,
        high=sums.high,
        zero_fraction=zero_fraction,
        blank_share=sums.blank / pictures,
        active_share=sums.active / pictures,
        dead=(sums.blank == sums.pictures) & (sums.pictures > 0),
        always_on=(sums.low > 0) & (sums.pictures > 0),
        sparsity=sparsity,
        selectivity=selectivity,
        effect=effect,
        classes=classes,
        class_means=class_means,
        similar=find_similar_channels(sums),
    )


def measure_zero_spread(plan: ScanPlan, sums: ChannelSums) -> NDArray[np.float64]:
    """Standard deviation over pictures of each layer's share of zeros, float64 (L,)."""
    ends = np.cumsum([x.channels for x in plan.layers])
    zeros = np.diff(np.append(0, np.cumsum(sums.zeros))[np.append(0, ends)])
    mean = zeros / np.maximum(sums.elements, 1)
    return np.asarray(np.sqrt(np.maximum(read_means(sums.zero_square, sums.pictures) - np.square(mean), 0)), np.float64)


def compute_class_means(sums: ChannelSums) -> NDArray[np.float64]:
    """The mean of each channel by class, float64 (R, C), in the order of ``class_rows``."""
    return np.asarray(sums.class_sums / np.maximum(sums.class_counts, 1)[:, None] / (1 << FIXED_BITS), np.float64)


def find_similar_channels(sums: ChannelSums) -> NDArray[np.int64]:
    """For each channel those whose means by class correlate most with its own, best first, int64 (C, SIMILAR)."""
    means = compute_class_means(sums)
    classes, channels = means.shape
    found = np.full((channels, SIMILAR), -1, np.int64)
    kept = min(SIMILAR, channels - 1)
    if classes < _FEWEST_CLASSES or kept < 1:
        return found
    centred = means - means.mean(axis=0)
    profile = (centred / np.maximum(np.linalg.norm(centred, axis=0), 1e-12)).astype(np.float32)
    for start in range(0, channels, 512):
        alike = profile[:, start : start + 512].T @ profile
        rows = np.arange(len(alike))
        alike[rows, rows + start] = -2
        best = np.sort(np.argpartition(-alike, kept - 1, axis=1)[:, :kept], axis=1)
        order = np.argsort(-np.take_along_axis(alike, best, axis=1), axis=1, kind="stable")
        found[start : start + len(alike), :kept] = np.take_along_axis(best, order, axis=1)
    return found


def _find_selectivity(
    sums: ChannelSums, std: NDArray[np.float64]
) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """(best classes, their means, selectivity, effect)."""
    means, rows = compute_class_means(sums), len(sums.class_rows)
    channels = means.shape[1]
    classes = np.full((channels, BEST_CLASSES), -1, np.int64)
    best = np.full((channels, BEST_CLASSES), np.nan)
    if not rows:
        return classes, best, np.full(channels, np.nan), np.full(channels, np.nan)
    order = np.argsort(-means, axis=0, kind="stable")[:BEST_CLASSES].T
    kept = order.shape[1]
    classes[:, :kept] = sums.class_rows[order]
    best[:, :kept] = np.take_along_axis(means.T, order, axis=1)
    top = best[:, 0]
    rest = (means.sum(axis=0) - top) / max(rows - 1, 1)
    with np.errstate(invalid="ignore", divide="ignore"):
        selectivity = np.where((means.min(axis=0) >= 0) & (top > 0) & (rows > 1), (top - rest) / (top + rest), np.nan)
        effect = np.where((std > 0) & (rows > 1), (top - rest) / std, np.nan)
    return classes, best, selectivity, effect


# What each column is; docs/scan.md is compared with it.
CHANNEL_COLUMNS = {
    "layer": "name of the layer",
    "kind": "kind of the layer: conv, activation, add, ...",
    "channel": "number of the channel in its layer, from 0",
    "pictures": "pictures that were looked at",
    "mean": "mean over the pictures of the channel's mean on a picture",
    "std": "standard deviation over all places, each picture counting alike",
    "mean_spread": "standard deviation over the pictures of the channel's mean on a picture",
    "peak": "mean over the pictures of the channel's largest value on a picture",
    "minimum": "smallest value of all",
    "maximum": "largest value of all",
    "zero_fraction": "share of its values that are exactly 0",
    "blank_share": "share of the pictures on which it is constant",
    "active_share": "share of the pictures on which it is above 0 somewhere",
    "dead": "whether it is constant on every picture",
    "always_on": "whether it is above 0 at every place of every picture",
    "sparsity": "1 - mean² / mean square, in [0, 1] (Treves & Rolls 1991)",
    "selectivity": "(m - r) / (m + r) of the best class's mean and that of the others (Morcos et al. 2018); null where "
    "a class mean is below 0",
    "effect": "(m - r) / std: by how many standard deviations the best class lies above the others",
    "classes": "names of the classes that excite it most, best first",
    "class_means": "its mean on the pictures of these classes",
    "similar": "rows of this table, from 0: the channels whose means by class correlate most with its own",
    "top_pictures": "numbers of the pictures that excite it most, best first (`picture` of pictures.parquet)",
    "top_values": "its largest value on each of them",
    "top_rows": "row of that value in the layer's map",
    "top_columns": "column of that value in the layer's map",
    "sprite": "file with the patches of these pictures, below the folder of the scan; null where none were cut",
    "sprite_row": "which row of the sprite is the channel's, from 0",
    "histogram": "how many pictures have their largest value in each of 257 bins (docs/scan.md has the edges)",
}
"""Columns of channels.parquet."""


def make_channel_columns(
    plan: ScanPlan, sums: ChannelSums, table: ChannelTable, sprites: list[tuple[str, int] | None]
) -> dict[str, Any]:
    """The values of channels.parquet by column, as arrays and lists.

    Args:
        plan: The plan.
        sums: What was summed.
        table: What it says.
        sprites: For each channel its file of patches and the row in it; None where there are none.
    """
    kept = sums.top_pictures >= 0

    def cut(values: NDArray[Any]) -> list[list[Any]]:
        return [row[own].tolist() for row, own in zip(values, kept, strict=True)]

    named = table.classes >= 0
    return {
        "layer": [plan.layers[k].name for k in table.layer],
        "kind": [plan.layers[k].kind for k in table.layer],
        "channel": table.channel.astype(np.int32),
        "pictures": np.full(len(table.layer), sums.pictures, np.int64),
        "mean": table.mean,
        "std": table.std,
        "mean_spread": table.spread,
        "peak": table.peak,
        "minimum": table.low,
        "maximum": table.high,
        "zero_fraction": table.zero_fraction,
        "blank_share": table.blank_share,
        "active_share": table.active_share,
        "dead": table.dead,
        "always_on": table.always_on,
        "sparsity": table.sparsity,
        "selectivity": table.selectivity,
        "effect": table.effect,
        "classes": [[plan.classes[k] for k in row[own]] for row, own in zip(table.classes, named, strict=True)],
        "class_means": [row[own].tolist() for row, own in zip(table.class_means, named, strict=True)],
        "similar": [row[row >= 0].tolist() for row in table.similar],
        "top_pictures": cut(sums.top_pictures),
        "top_values": cut(sums.top_values),
        "top_rows": cut(sums.top_places[:, :, 0]),
        "top_columns": cut(sums.top_places[:, :, 1]),
        "sprite": [one[0] if one else None for one in sprites],
        "sprite_row": [one[1] if one else None for one in sprites],
        "histogram": sums.histogram,
    }
