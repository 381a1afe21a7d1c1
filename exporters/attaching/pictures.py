"""The pictures that probabilities are calibrated on, and those that show what a network knows."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from inspector.errors import ImageError, listing
from inspector.image import find_images, open_image
from inspector.model import Model, find_folder_class

Array = NDArray[Any]


@dataclass(frozen=True)
class LabelledPictures:
    """Pictures in folders that are named after classes.

    Attributes:
        paths: Where they lie.
        labels: int64 (N,), the class of each.
        notes: What was left out.
    """

    paths: tuple[Path, ...]
    labels: NDArray[np.int64]
    notes: tuple[str, ...]


def find_known_pictures(folder: str | os.PathLike[str], option: str) -> list[Path]:
    """Every picture below a folder.

    Raises:
        ImageError: There is no such folder, or none in it.
    """
    place = Path(folder)
    if not place.is_dir():
        what = "is not a folder" if place.exists() else "does not exist"
        raise ImageError(f"the pictures' folder {place} {what}", f"give {option} a folder of pictures")
    found = find_images(place)
    if not found:
        raise ImageError(f"the folder {place} holds no pictures", "known: JPEG, PNG, WebP, BMP, TIFF")
    return found


def find_by_class(model: Model, folder: str | os.PathLike[str], option: str) -> LabelledPictures:
    """The pictures below a folder whose folders are named after classes: by label or index.

    Raises:
        ImageError: There are no pictures, or no folder is named after a class.
    """
    paths = find_known_pictures(folder, option)
    names = [path.relative_to(folder).parts[0] if path.parent != Path(folder) else "" for path in paths]
    classes = {name: find_folder_class(model, name) if name else None for name in dict.fromkeys(names)}
    kept = [(path, classes[name]) for path, name in zip(paths, names, strict=True) if classes[name] is not None]
    if not kept:
        raise ImageError(
            f"no folder in {folder} is named after a class of {model.path}",
            f"{option} wants one folder for each class, named as its label or index",
        )
    strange = [name or "pictures beside the folders" for name, index in classes.items() if index is None]
    notes = (f"left out, no classes of the model: {listing(strange)}",) if strange else ()
    labels = np.array([label for _, label in kept], np.int64)
    return LabelledPictures(tuple(path for path, _ in kept), labels, notes)


def read_values(
    model: Model, paths: Sequence[Path], tensors: Sequence[str]
) -> tuple[dict[str, Array], list[int], list[str]]:
    """What some tensors hold for each picture.

    Args:
        model: The model.
        paths: The pictures.
        tensors: Names of tensors with a row for each picture.

    Returns:
        Tensor name -> array with N rows; the places in `paths` of the pictures that could be read; and a line on each
        of the others.

    Raises:
        ImageError: None of them can be read.
    """
    rows: dict[str, list[Array]] = {name: [] for name in tensors}
    read, notes = [], []
    for number, path in enumerate(paths):
        try:
            tensor = model.preprocess.tensor(open_image(path, warn=model.warn))
        except ImageError as error:
            notes.append(f"skipped: {error.message}")
            continue
        for name, value in model.run(tensor, tensors).items():
            rows[name].append(np.asarray(value[:1], np.float32))
        read.append(number)
    if not read:
        raise ImageError(f"none of {len(paths)} pictures could be read", notes[0])
    return {name: np.concatenate(found) for name, found in rows.items()}, read, notes


def split_halves(labels: NDArray[np.int64]) -> NDArray[np.bool_]:
    """bool (N,): a half of the pictures of each class, drawn the same way every time."""
    rng = np.random.default_rng(0)
    first = np.zeros(len(labels), bool)
    turn = False  # a class with an odd number gives one more to either half in turn
    for label in np.unique(labels):
        places = rng.permutation(np.flatnonzero(labels == label))
        half = (len(places) + turn) // 2
        turn ^= bool(len(places) % 2)
        first[places[:half]] = True
    return first
