"""The patterns of one layer as files: what a page, a sheet and the command show of them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from inspector.layers import Layer
from inspector.receptive.fields import ReceptiveField


@dataclass(frozen=True)
class FilterPicture:
    """The pattern of one channel.

    Args:
        channel: Its number.
        label: The class that it stands for; empty where it stands for none.
        activation_start: What the objective measures of the channel on the starting noise, without transforms.
        activation: The same on the picture.
        image: PNG; hatched where `stuck`.
        stuck: No way up was found, twice.
        reused: It was there from an earlier run.
        variants: Further pictures of the same channel, pushed apart from one another.
    """

    channel: int
    label: str
    activation_start: float
    activation: float
    image: Path
    stuck: bool
    reused: bool
    variants: tuple[Path, ...] = ()


@dataclass(frozen=True)
class FilterSheet:
    """The patterns of one layer.

    Args:
        layer: The layer.
        size: (H, W) of the pictures.
        pictures: Those that are finished, in the order asked for.
        grid: PNG of all of them; None where none was finished.
        folder: Where they are.
        precision: "float32" or "bfloat16".
        field: What a unit of the layer sees.
    """

    layer: Layer
    size: tuple[int, int]
    pictures: tuple[FilterPicture, ...]
    grid: Path | None
    folder: Path
    precision: str
    field: ReceptiveField
