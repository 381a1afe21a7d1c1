"""Pictures to PNG files: whole or not at all, and with what made them inside."""

from __future__ import annotations

import os
import zlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from inspector.output import atomic_path


def save_png(
    image: Image.Image, path: str | os.PathLike[str], text: Mapping[str, str] | None = None, level: int = 1
) -> Path:
    """Write `image` to `path` as PNG; `text` goes into its text chunks in the order given.

    text: what made the picture, such as model digest, image digest, layer, method, seed and version.
    level: of compression, 1 quick to 9 small.

    The same image and text give the same bytes: no time, no profile and no thumbnail is written.
    Raises OutputError if the file cannot be written.
    """
    chunks = PngInfo()
    for key, value in (text or {}).items():
        # A keyword is 1 to 79 Latin-1 characters; a value may be any text, but no lone surrogate of a file name.
        keyword = key.encode("latin-1", "replace").decode("latin-1").replace("\0", " ").strip()[:79] or "text"
        chunks.add_text(keyword, value.encode("utf-8", "replace").decode("utf-8").replace("\0", " "))
    plain = image
    if image.info:
        # Pillow would copy the ICC profile and the EXIF data of a photograph into the file.
        plain = image.copy()
        plain.info = {}
    with atomic_path(path) as temporary:
        plain.save(temporary, format="PNG", compress_level=level, compress_type=_strategy(image), pnginfo=chunks)
    return Path(path)


def _strategy(image: Image.Image) -> int:
    """zlib's strategy, -1 to leave it to Pillow.

    Where rows differ, in maps at their own size, looking for runs only takes two thirds of the time and 5 % more room.
    In enlarged maps every row comes several times, which only the full search finds.
    """
    if image.mode != "P" or image.height < 2:
        return -1
    middle = image.height // 2
    rows = np.asarray(image.crop((0, max(0, middle - 64), image.width, middle + 64)))
    repeated = float((rows[1:] == rows[:-1]).all(axis=1).mean())
    return -1 if repeated > 0.3 else zlib.Z_RLE
