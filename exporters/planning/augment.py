"""A few fixed versions of each training picture, so that what is frozen is computed once for each of them.

``hflip``, ``vflip``, ``rotate``: see :mod:`inspector.image.poses`. ``crop``: 60 to 100 % of the area with
sides in a ratio of 3/4 to 4/3 (https://arxiv.org/abs/1409.4842). ``colour``: brightness, contrast and saturation times
0.8 to 1.2. Flips and turns are gone through one after the other; crops and colours are drawn for each version.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from inspector.image.poses import list_poses, turn_picture

if TYPE_CHECKING:
    from PIL.Image import Image

_RANDOM = ("crop", "colour")


def count_distinct_versions(kinds: Sequence[str], versions: int) -> int:
    """How many of `versions` can differ: as many as there are flips and turns, where nothing is drawn."""
    return versions if any(kind in _RANDOM for kind in kinds) else min(versions, len(list_poses(kinds)))


def augment_image(image: Image, digest: str, version: int, kinds: Sequence[str], seed: int) -> Image:
    """Version number `version` of a picture; 0 is the picture itself.

    The same picture (by the digest of its file), version, kinds and seed give the same pixels, whatever else there is.
    """
    if version == 0:
        return image
    from PIL import ImageEnhance

    rng = np.random.default_rng(
        int.from_bytes(hashlib.sha256(f"{seed}:{digest}:{version}".encode()).digest()[:8], "big")
    )
    if "crop" in kinds:
        image = image.crop(_window(image.size, rng))
    known = list_poses(kinds)
    image = turn_picture(image, known[version % len(known)])
    if "colour" in kinds:
        for enhance in (ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color):
            image = enhance(image).enhance(float(rng.uniform(0.8, 1.2)))
    return image


def _window(size: tuple[int, int], rng: np.random.Generator) -> tuple[int, int, int, int]:
    width, height = size
    area, ratio = width * height * rng.uniform(0.6, 1.0), math.exp(rng.uniform(math.log(3 / 4), math.log(4 / 3)))
    # The ratio is relative to the picture's own, so that a long picture is not cut to a square.
    across = min(width, max(1, round(math.sqrt(area * ratio * width / height))))
    down = min(height, max(1, round(math.sqrt(area / ratio * height / width))))
    left, top = int(rng.integers(0, width - across + 1)), int(rng.integers(0, height - down + 1))
    return left, top, left + across, top + down
