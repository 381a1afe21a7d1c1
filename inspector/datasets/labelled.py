"""What labelled data is, whatever files it was read from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from inspector.errors import InspectorError
from inspector.guard import add_inputs
from inspector.image.size import PictureSize
from inspector.metrics import Outline, TrueBoxes, make_true_boxes
from inspector.metrics.outlines import count_runs
from inspector.text import relative

LayoutName = Literal["yolo", "coco", "voc", "masks"]
Split = Literal["auto", "train", "val", "test"]

READING_ORDER: tuple[Split, ...] = ("val", "test", "train")
"""Parts of a data set; of those that are there, "auto" takes the first."""

SPLIT_FOLDERS: dict[str, tuple[str, ...]] = {
    "val": ("val", "valid", "validation"), "test": ("test",), "train": ("train",),
}  # fmt: skip
"""What their folders are called."""

MAX_BYTES = 1024 * 1024 * 1024
"""Largest file of labels that is read; COCO's own for training has 450 MB."""


class LabelError(InspectorError):
    """A file of labels is malformed, or does not fit its pictures."""

    kind = "labels"


@dataclass(frozen=True, eq=False)
class LabelledPicture:
    """One picture and what is known of it.

    Attributes:
        path: Where it is; it may be missing or broken.
        key: Its path below the data, with slashes.
        boxes: Its objects, none for a picture without labels; None in a layout of masks.
        mask: Its mask, in a layout of masks; None where it has none.
    """

    path: Path
    key: str
    boxes: TrueBoxes | None = None
    mask: Path | None = None


@dataclass(frozen=True, eq=False)
class LabelledData:
    """Pictures with labels.

    Attributes:
        layout: The kind of files.
        source: The file or folder that was read.
        pictures: In the order of their paths.
        names: The names of the classes, by index; None where the files have none.
        ids: The numbers that the files give the classes, by index, where these are others.
        split: Which part of the data it is, where there are several.
    """

    layout: LayoutName
    source: Path
    pictures: tuple[LabelledPicture, ...]
    names: tuple[str, ...] | None = None
    ids: tuple[int, ...] | None = None
    split: str = ""

    def describe(self) -> str:
        """What was read, as a clause: "YOLO labels of data.yaml, split val"."""
        title = {"yolo": "YOLO labels", "coco": "COCO labels", "voc": "Pascal VOC labels", "masks": "masks"}
        return f"{title[self.layout]} of {relative(self.source)}{f', split {self.split}' if self.split else ''}"


def say_wrong(file: Path, place: int | str, reason: str, hint: str = "") -> LabelError:
    """The error of one place in a file of labels: a line by its number, or what else says where."""
    where = f"line {place}" if isinstance(place, int) else place
    return LabelError(f"{relative(file)}, {where}: {reason}" if where else f"{relative(file)}: {reason}", hint)


def read_label_text(file: Path) -> str:
    """The text of a file of labels.

    Raises:
        LabelError: It cannot be read.
    """
    try:
        if file.stat().st_size > MAX_BYTES:
            raise LabelError(f"{relative(file)} is larger than {MAX_BYTES // 2**20} MB", "split it")
        text = file.read_bytes().decode("utf-8-sig")
        add_inputs("a file of labels", [file])
        return text
    except UnicodeDecodeError:
        raise LabelError(f"{relative(file)} is not UTF-8 text") from None
    except OSError as error:
        raise LabelError(f"{relative(file)} cannot be read: {error.strerror or error}") from None


# Wide: the columns of a table of objects.
def fit_boxes(
    boxes: Sequence[Sequence[float]], classes: Sequence[int], size: PictureSize | None,
    declared: tuple[int, int] | None, where: LabelError, **more: Any,
) -> TrueBoxes:  # fmt: skip
    """Objects in pixels of the picture as a person sees it.

    Boxes are taken to be in pixels of the upright picture. Where the labels declare the size of the picture as it is
    stored, and EXIF turns it by a quarter, they are turned with it.

    Args:
        boxes: (n, 4): x1, y1, x2, y2.
        classes: (n,).
        size: Of the picture; None where it cannot be read.
        declared: (width, height) that the labels say, None where they say nothing.
        where: Raised where the declared size is not the picture's.
        more: `crowd`, `difficult`, `areas` and `outlines`, as in :func:`make_true_boxes`.
    """
    corners: NDArray[np.float64] = np.array(boxes, np.float64).reshape(-1, 4)
    if size is not None and declared is not None and declared != size.seen:
        if declared != size.stored:
            raise where
        corners = _turn(corners, size)
        if more.get("outlines"):
            more["outlines"] = [None if one is None else _turn_outline(one, size) for one in more["outlines"]]
    return make_true_boxes(corners, classes, **more)


def _turn_outline(outline: Outline, size: PictureSize) -> Outline:
    """An outline of a picture as stored, in its pixels after EXIF's quarter turn."""
    if outline.flaw:
        return outline
    width, height = size.stored
    rings = []
    for ring in outline.rings:
        across = height - ring[:, 1] if size.orientation in (6, 7) else ring[:, 1]
        down = width - ring[:, 0] if size.orientation in (7, 8) else ring[:, 0]
        rings.append(np.stack([across, down], axis=1))
    if not outline.runs:
        return Outline(tuple(rings))
    turned = outline.fill(size.stored).T
    turned = turned[:, ::-1] if size.orientation in (6, 7) else turned
    turned = turned[::-1] if size.orientation in (7, 8) else turned
    return Outline(runs=count_runs(turned))


def _turn(boxes: NDArray[np.float64], size: PictureSize) -> NDArray[np.float64]:
    """Boxes (n, 4) of a picture as stored, in its pixels after EXIF's quarter turn (orientations 5 to 8)."""
    width, height = size.stored
    x, y = boxes[:, 0::2], boxes[:, 1::2]
    across = height - y if size.orientation in (6, 7) else y
    down = width - x if size.orientation in (7, 8) else x
    return np.stack([across.min(axis=1), down.min(axis=1), across.max(axis=1), down.max(axis=1)], axis=1)
