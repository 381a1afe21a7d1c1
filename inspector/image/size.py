"""The size of a picture from its header, with nothing decoded."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path

from inspector.image.open import FORMATS

_ORIENTATION = 0x0112
"""The EXIF tag that says how the camera was held."""


@dataclass(frozen=True)
class PictureSize:
    """How large a picture is.

    Attributes:
        stored: (width, height) in pixels as they stand in the file.
        orientation: EXIF's, 1 to 8; 1 where the picture is stored upright.
    """

    stored: tuple[int, int]
    orientation: int = 1

    @property
    def seen(self) -> tuple[int, int]:
        """(width, height) as a person sees it."""
        return self.stored[::-1] if self.orientation >= 5 else self.stored


def read_size(path: Path) -> PictureSize | None:
    """The size of a picture; None where the file is no picture that can be read."""
    from PIL import Image as images

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of size and of odd tags, as in open_image
            with images.open(path, formats=FORMATS) as image:
                # Of a TIFF, Pillow itself gives the size as seen.
                turned = 1 if image.format == "TIFF" else image.getexif().get(_ORIENTATION, 1)
                return PictureSize(image.size, turned if turned in range(1, 9) else 1)
    except Exception:  # whatever the readers of damaged files raise; opening it will tell
        return None
