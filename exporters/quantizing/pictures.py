"""The pictures that a network is calibrated and measured on."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from exporters.quantizing.quantizable import Array
from inspector.errors import ImageError, NotComputable, UsageError
from inspector.image import choose_evenly, find_images, open_image
from inspector.model import Model
from inspector.model.agreement import PictureAnswer, find_answerer


def choose_pictures(given: str | os.PathLike[str] | Sequence[str | os.PathLike[str]], limit: int) -> list[Path]:
    """Choose the calibration pictures.

    Args:
        given: A folder of pictures, or the paths themselves.
        limit: How many are taken at most; they are spread evenly over the folder.

    Raises:
        UsageError: The limit is below 1.
        ImageError: There is no folder, or no picture.
    """
    if limit < 1:
        raise UsageError(f"{limit} pictures are too few")
    if isinstance(given, str | os.PathLike):
        folder = Path(given)
        if not folder.is_dir():
            what = "is not a folder" if folder.exists() else "does not exist"
            raise ImageError(f"the calibration folder {folder} {what}", "give --calibrate a folder of pictures")
        found = find_images(folder)
        if not found:
            raise ImageError(f"the folder {folder} holds no pictures", "known: JPEG, PNG, WebP, BMP, TIFF")
    else:
        found = [Path(path) for path in given]
        if not found:
            raise ImageError("no calibration pictures were given")
    return [found[i] for i in choose_evenly(len(found), limit)]


def skip_unreadable(paths: Sequence[Path]) -> tuple[list[Path], tuple[str, ...]]:
    """Return the pictures that can be opened, and a sentence on each of the others.

    Raises:
        ImageError: None of them can be opened.
    """
    good: list[Path] = []
    bad: list[ImageError] = []
    for path in paths:
        try:
            open_image(path)
        except ImageError as error:
            bad.append(error)
        else:
            good.append(path)
    if not good:
        raise bad[0] if len(bad) == 1 else ImageError(f"none of {len(bad)} pictures could be read; the first: {bad[0]}")
    return good, tuple(f"skipped: {error.message}" for error in bad)


class CalibrationPictures:
    """The calibration pictures, read again for every walk, so that memory does not grow with their number."""

    def __init__(self, model: Model, paths: list[Path]) -> None:
        self.model = model
        self.paths = paths

    def read(self, count: int = 0) -> Iterator[Array]:
        """Yield the input tensors, float32 (1, C, H, W), of `count` pictures, evenly spread; of all for 0."""
        for i in choose_evenly(len(self.paths), count):
            yield self.model.preprocess.tensor(open_image(self.paths[i], warn=self.model.warn))

    def answer(self, model: Model) -> list[PictureAnswer] | None:
        """Return what a model says of each picture; None where it neither classifies nor detects nor segments."""
        answerer = find_answerer(model)
        try:
            return None if answerer is None else [answerer(open_image(path)) for path in self.paths]
        except NotComputable:  # a run shows that what was declared as scores is something else
            return None
