"""Folders of real pictures, made from the photographs at hand by crops and flips."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageOps

from tests.conftest import PHOTO, require

CLASSES = {
    "Egyptian_cat": ("chelsea.png",),
    "tripod": ("camera.png",),
    "espresso": ("coffee.png",),
    "moped": ("motorcycle_left.png", "motorcycle_right.png"),
}
"""Photographs of scikit-image that EfficientNet-Lite0 recognises, by the class it gives."""

OTHERS = ("astronaut.png", "coins.png", "rocket.jpg", "chelsea.png", "camera.png", "coffee.png", "motorcycle_left.png")


def crops(sources: Sequence[Image.Image], count: int, rng: np.random.Generator, least: float = 0.75) -> Iterable[Any]:
    """`count` crops of the pictures in turn, of at least `least` of each side, half of them flipped."""
    for i in range(count):
        image = sources[i % len(sources)]
        share = rng.uniform(least, 1)
        width, height = int(image.width * share), int(image.height * share)
        x, y = rng.integers(0, image.width - width + 1), rng.integers(0, image.height - height + 1)
        crop = image.crop((x, y, x + width, y + height))
        yield ImageOps.mirror(crop) if rng.random() < 0.5 else crop


def write(folder: Path, pictures: Iterable[Image.Image]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for i, picture in enumerate(pictures):
        picture.save(folder / f"{i:03d}.jpg", quality=92)
    return folder


def cat() -> Image.Image:
    return Image.open(PHOTO).convert("RGB")


def science(names: Iterable[str]) -> list[Image.Image]:
    """Photographs in scikit-image's wheel; the test is skipped without it."""
    skimage = require("skimage")
    folder = Path(skimage.__file__).parent / "data"
    return [Image.open(folder / name).convert("RGB") for name in names]


def cats(folder: Path, count: int = 10, seed: int = 0) -> Path:
    """A labelled folder with one class: crops of the cat."""
    write(folder / "Egyptian_cat", crops([cat()], count, np.random.default_rng(seed)))
    return folder


def photographs(folder: Path, each: int = 6, seed: int = 0, classes: Mapping[str, Sequence[str]] = CLASSES) -> Path:
    """A labelled folder with four classes."""
    rng = np.random.default_rng(seed)
    for name, files in classes.items():
        write(folder / name, crops(science(files), each, rng))
    return folder


def marked(image: Image.Image) -> Image.Image:
    """The picture with a watermark in its lower left corner, inside MARK."""
    image = image.copy()
    draw = ImageDraw.Draw(image)
    width, height = image.size
    left, top, right, bottom = 0.02 * width, 0.78 * height, 0.22 * width, 0.98 * height
    draw.ellipse((left, top, right, bottom), fill=(250, 240, 60), outline=(10, 10, 10), width=3)
    for k in range(1, 6):
        x = left + (right - left) * k / 6
        draw.line((x, top + 0.05 * height, x, bottom - 0.05 * height), fill=(200, 20, 20), width=4)
    return image


MARK = (0.0, 0.72, 0.28, 1.0)
"""The watermark's part of the picture: left, top, right, bottom as shares."""


def folder(path: Path, *names: str, size: int = 16) -> Path:
    rng = np.random.default_rng(1)
    for name in names:
        target = path / name
        target.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (size, size, 3), np.uint8)).save(target)
    return path


def pngs(path: Path, count: int, classes: tuple[str, ...] = ()) -> Path:
    names = [f"{classes[i % len(classes)]}/{i:03d}.png" if classes else f"{i:03d}.png" for i in range(count)]
    return folder(path, *names)
