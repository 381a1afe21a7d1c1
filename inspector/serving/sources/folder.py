"""A folder of pictures."""

from __future__ import annotations

import time
from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from inspector.errors import ImageError
from inspector.image import find_images, open_image
from inspector.serving.frames import Frame
from inspector.serving.sources.source import SourceLost
from inspector.text import relative

PACE = 1.0
"""Seconds that each picture stays."""


@dataclass(frozen=True)
class FolderSource:
    """The pictures of a folder and of the folders in it, by name.

    Attributes:
        path: The folder.
    """

    path: Path
    ends: bool = True

    @property
    def name(self) -> str:
        """The path, relative to the current folder."""
        return relative(self.path)

    def check(self) -> None:
        """Look whether it holds pictures.

        Raises:
            SourceLost: It holds none.
        """
        if not find_images(self.path):
            raise SourceLost(f"the folder {self.name} holds no pictures", "known: JPEG, PNG, WebP, BMP, TIFF")

    def frames(self) -> Generator[Frame, None, None]:
        """Give them by name; one that cannot be opened is passed over. What was added meanwhile is seen the next time.

        Raises:
            SourceLost: None of them can be opened.
        """
        place = 0
        for path in find_images(self.path):
            try:
                pixels = np.asarray(open_image(path))
            except ImageError:
                continue
            yield Frame(pixels, time.time(), place * PACE, path.name)
            place += 1
        if not place:
            raise SourceLost(f"no picture of the folder {self.name} can be opened")
