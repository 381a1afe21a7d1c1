"""Small detectors and segmenters whose answers are known, and pictures that they are right about."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from inspector.metadata import KEY, Metadata
from inspector.model import Model, open_model
from tests.conftest import MakeModel
from tests.foreign import Net

SIDE, CELL = 64, 8
LABELS = ("red", "green")
COLORS = np.array([[1, -1, -1], [-1, 1, -1]], np.float32)
"""What a class adds up of the channels red, green, blue: 1 on its own color, no more than 0 on others and on white."""


def detector(
    wide: float = 1, scale: float = 1, shift: float = 0, colors: NDArray[np.float32] = COLORS
) -> Callable[[Net, str], str]:
    """A head as YOLOv8 has it, that finds cells of 8 x 8 pixels of pure red and green.

    Args:
        wide: Width and height of its boxes, in cells.
        scale: What the scores are multiplied with.
        shift: How far its boxes lie to the right, in pixels.
        colors: What a class adds up of the channels, (K, 3).
    """

    def build(net: Net, x: str) -> str:
        cells = SIDE // CELL
        seen = net("Conv", x, net.const(colors.reshape(len(colors), 3, 1, 1)), out="colors")
        seen = net("Clip", seen, net.const(np.float32(0)), net.const(np.float32(1)))
        seen = net("AveragePool", seen, kernel_shape=[CELL, CELL], strides=[CELL, CELL], out="cells")
        seen = net("Mul", seen, net.const(np.float32(scale)))
        seen = net("Reshape", seen, net.const(np.array([1, len(colors), cells**2])))
        rest = (SIDE // 16) ** 2 + (SIDE // 32) ** 2
        scores = net("Concat", seen, net.const(np.zeros((1, len(colors), rest), np.float32)), axis=2)
        y, x_ = np.mgrid[:cells, :cells] * CELL + CELL / 2
        boxes = np.full((1, 4, cells**2 + rest), 1.0, np.float32)
        boxes[0, 0, : cells**2], boxes[0, 1, : cells**2] = x_.ravel() + shift, y.ravel()
        boxes[0, 2:, : cells**2] = wide * CELL
        return net("Concat", net.const(boxes), scores, axis=1, out="output0")

    return build


def segmenter(confidence: float = 20, colors: NDArray[np.float32] = COLORS) -> Callable[[Net, str], str]:
    """Three classes: what is neither red nor green, red, green."""

    def build(net: Net, x: str) -> str:
        weights = np.concatenate([np.full((1, 3), 1e-3, np.float32), colors]) * confidence
        bias = np.array([confidence / 2, 0, 0], np.float32)
        return net("Conv", x, net.const(weights.reshape(3, 3, 1, 1)), net.const(bias), out="logits")

    return build


def opened(make_model: MakeModel, build: Callable[[Net, str], str], name: str = "model.onnx", **more: Any) -> Model:
    metadata = Metadata(labels=more.pop("labels", LABELS), **more).dumps()
    return open_model(make_model(build, shape=(1, 3, SIDE, SIDE), name=name, metadata={KEY: metadata}))


Cells = Mapping[tuple[int, int], int]
"""(column, row) of a cell -> its class."""


def random_cells(count: int, seed: int = 0) -> list[dict[tuple[int, int], int]]:
    """Up to four objects on each of `count` pictures, the first one always there."""
    rng = np.random.default_rng(seed)
    return [
        {tuple(place): int(rng.integers(2)) for place in rng.integers(0, 8, (1 + k % 4, 2)).tolist()}
        for k in range(count)
    ]


def paint(cells: Cells) -> NDArray[np.uint8]:
    """A grey picture with cells of pure color, uint8 (64, 64, 3)."""
    pixels = np.full((SIDE, SIDE, 3), 96, np.uint8)
    for (column, row), index in cells.items():
        color = [255, 0, 0] if index == 0 else [0, 255, 0]
        pixels[row * CELL : (row + 1) * CELL, column * CELL : (column + 1) * CELL] = color
    return pixels


def write_yolo(folder: Path, pictures: Sequence[Cells], names: Sequence[str] = LABELS) -> Path:
    """Pictures with labels and a data.yaml."""
    for name in ("images", "labels"):
        (folder / name).mkdir(parents=True)
    for k, cells in enumerate(pictures):
        Image.fromarray(paint(cells)).save(folder / "images" / f"{k:02d}.png")
        lines = [f"{index} {(x + 0.5) / 8} {(y + 0.5) / 8} 0.125 0.125\n" for (x, y), index in cells.items()]
        (folder / "labels" / f"{k:02d}.txt").write_text("".join(lines))
    (folder / "data.yaml").write_text(f"val: images\nnames: [{', '.join(names)}]\n")
    return folder


def write_masks(folder: Path, pictures: Sequence[Cells]) -> Path:
    """Pictures with masks; a row of pixels is not judged."""
    for name in ("images", "masks"):
        (folder / name).mkdir(parents=True)
    for k, cells in enumerate(pictures):
        Image.fromarray(paint(cells)).save(folder / "images" / f"{k:02d}.png")
        mask = np.zeros((SIDE, SIDE), np.uint8)
        for (x, y), index in cells.items():
            mask[y * CELL : (y + 1) * CELL, x * CELL : (x + 1) * CELL] = index + 1
        mask[0] = 255
        Image.fromarray(mask).save(folder / "masks" / f"{k:02d}.png")
    return folder
