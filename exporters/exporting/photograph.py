"""The picture that an export is compared on."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from inspector.image import ImageSource, open_image

if TYPE_CHECKING:
    from PIL.Image import Image

PHOTOGRAPH = Path(__file__).with_name("chelsea.jpg")
"""A photograph that is installed with the package, and is the one of the documentation: textures in all sizes."""


def open_photograph(image: ImageSource | None) -> tuple[Image, str]:
    """Open the picture for the comparison.

    Args:
        image: Anything that :func:`inspector.image.open_image` takes; None for the package's own photograph.

    Returns:
        The picture, and what it is called.
    """
    if image is None:
        image = PHOTOGRAPH
    name = Path(image).name if isinstance(image, str | os.PathLike) else "the picture given"
    return open_image(image), name
