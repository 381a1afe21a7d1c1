"""Pictures to PNG files: whole or not at all, and with what made them inside."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from PIL import Image
from PIL.PngImagePlugin import PngInfo

from inspector.files import atomic_path


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
        plain.save(temporary, format="PNG", compress_level=level, pnginfo=chunks)
    return Path(path)
