"""Masks of segmenters: an indexed PNG for each picture, of its size, whose values are classes; 255 is not judged."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from inspector.datasets.labelled import (
    READING_ORDER,
    SPLIT_FOLDERS,
    LabelError,
    LabelledData,
    LabelledPicture,
    Split,
    say_wrong,
)
from inspector.image import find_images
from inspector.image.size import read_size
from inspector.text import relative

_MASKS = ("masks", "SegmentationClass", "labels", "annotations", "gt")
_PICTURES = ("images", "JPEGImages", "img", "pictures")
_MODES = ("1", "L", "P", "I", "I;16")


def read_masks(folder: Path, split: Split = "auto") -> LabelledData | None:
    """Read which picture has which mask.

    Args:
        folder: With a folder of pictures (`images`, `JPEGImages`, ...) and one of masks under the same names (`masks`,
            `SegmentationClass`, `labels`, `annotations`, `gt`), or with X.png beside X.jpg.
        split: Which part, where there are folders of parts; "auto" takes the first of val, test, train.

    Returns:
        None where there are no masks.

    Raises:
        LabelError: A mask has not the size of its picture.
    """
    for name in _MASKS:
        part, masks = _find_part(folder / name, split)
        if not masks.is_dir() or next(masks.rglob("*.png"), None) is None:
            continue
        for other in _PICTURES:
            pictures = _find_part(folder / other, split)[1]
            if pictures.is_dir():
                return _pair(folder, pictures, masks, part)
    paths = find_images(folder)
    masks_beside = {path for path in paths if path.suffix.lower() == ".png" and _has_twin(path, paths)}
    if not masks_beside:
        return None
    found = [path for path in paths if path not in masks_beside]
    entries = [(path, path.relative_to(folder).as_posix(), path.with_suffix(".png")) for path in found]
    return LabelledData("masks", folder, _make_pictures(entries))


def read_mask(file: Path) -> NDArray[np.int32]:
    """The classes of a mask, int32 (H, W).

    Raises:
        LabelError: It cannot be read.
    """
    from PIL import Image as images

    try:
        with images.open(file, formats=("PNG",)) as image:
            if image.mode not in _MODES:
                raise say_wrong(file, "", f"is a picture of mode {image.mode}, and a mask is an indexed or grey PNG")
            return np.asarray(image).astype(np.int32)
    except LabelError:
        raise
    except Exception as error:  # whatever the readers of damaged files raise
        raise LabelError(f"the mask {relative(file)} cannot be read: {error}") from None


def _has_twin(path: Path, paths: list[Path]) -> bool:
    return any(other.stem == path.stem and other.parent == path.parent and other != path for other in paths)


def _find_part(folder: Path, split: Split) -> tuple[str, Path]:
    """(split, its folder); the folder itself where it has no parts."""
    for part in READING_ORDER if split == "auto" else (split,):
        for name in SPLIT_FOLDERS[part]:
            if (folder / name).is_dir():
                return part, folder / name
    return "", folder


def _pair(source: Path, pictures: Path, masks: Path, part: str) -> LabelledData:
    entries = []
    for path in find_images(pictures):
        key = path.relative_to(pictures)
        entries.append((path, key.as_posix(), (masks / key).with_suffix(".png")))
    return LabelledData("masks", source, _make_pictures(entries), split=part)


def _make_pictures(entries: list[tuple[Path, str, Path]]) -> tuple[LabelledPicture, ...]:
    found = []
    for path, key, mask in entries:
        known = mask if mask.is_file() else None
        size, own = read_size(path), read_size(mask) if known else None
        if size is not None and own is not None and own.stored != size.seen:
            raise say_wrong(
                mask, "", f"the mask has {own.stored[0]} x {own.stored[1]} pixels, and the picture has "
                f"{size.seen[0]} x {size.seen[1]} as a person sees it"
            )  # fmt: skip
        found.append(LabelledPicture(path, key, mask=known))
    return tuple(found)
