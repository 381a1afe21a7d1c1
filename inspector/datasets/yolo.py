"""Labels as YOLO has them: a text file beside each picture, a line for each object, and a data.yaml.

A line is ``class cx cy w h`` in shares of the picture as a person sees it; ``class x1 y1 x2 y2 x3 y3 ...``, the outline
of an object, whose box is taken too; or ``class cx cy w h`` with keypoints behind it, which are not judged.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from inspector.datasets.labelled import (
    READING_ORDER,
    SPLIT_FOLDERS,
    LabelError,
    LabelledData,
    LabelledPicture,
    Split,
    read_label_text,
    say_wrong,
)
from inspector.datasets.small_yaml import YamlFile
from inspector.image import SUFFIXES, find_images
from inspector.image.size import read_size
from inspector.metrics import Outline, TrueBoxes, make_true_boxes
from inspector.text import relative

YAML = ("data.yaml", "data.yml", "dataset.yaml", "dataset.yml")
_SLACK = 1e-3
"""How far a share may lie outside of [0, 1]: what rounding leaves."""


def find_yaml(folder: Path) -> Path | None:
    """The data.yaml of a folder, None where there is none."""
    return next((folder / name for name in YAML if (folder / name).is_file()), None)


def is_yolo(folder: Path) -> bool:
    """Whether a folder holds labels of this kind: a data.yaml, or texts in a folder `labels`."""
    if find_yaml(folder) is not None:
        return True
    places = [folder / "labels", *folder.glob("*/labels")]
    return any(next(place.rglob("*.txt"), None) is not None for place in places if place.is_dir())


def read_yolo(source: Path, split: Split = "auto") -> LabelledData:
    """Read pictures with their labels.

    Args:
        source: A data.yaml, or a folder with one or with folders `images` and `labels`.
        split: Which part; "auto" takes the first that is there of val, test, train.

    Returns:
        The pictures; those without a file of labels have no objects.

    Raises:
        LabelError: A file is malformed, with the line; or there are no pictures.
    """
    yaml = source if source.is_file() else find_yaml(source)
    root = source.parent if source.is_file() else source
    names: tuple[str, ...] | None = None
    keypoints: tuple[int, int] | None = None
    if yaml is not None:
        document = YamlFile(yaml)
        names, keypoints = _read_names(document), _read_keypoints(document)
        part, pictures = _find_listed(document, root, split)
    else:
        part, pictures = _find_loose(root, split)
    if not pictures:
        raise LabelError(f"{relative(source)} names no pictures", "known: JPEG, PNG, WebP, BMP, TIFF")
    reader = _Reader(names, keypoints)
    found = tuple(
        LabelledPicture(path, _make_key(path, root), boxes=reader.read(find_label_file(path), path))
        for path in pictures
    )
    return LabelledData("yolo", yaml or root, found, names, split=part)


def find_label_file(picture: Path) -> Path:
    """Where the labels of a picture stand: the last folder `images` of its path is called `labels` there."""
    parts = list(picture.parts)
    places = [at for at, part in enumerate(parts[:-1]) if part == "images"]
    if places:
        parts[places[-1]] = "labels"
    return Path(*parts).with_suffix(".txt")


def _make_key(path: Path, root: Path) -> str:
    try:
        return path.resolve().relative_to(root.resolve()).as_posix()
    except ValueError:
        return path.as_posix()


def _read_names(document: YamlFile) -> tuple[str, ...] | None:
    names = document.get("names")
    if names is None:
        return None
    line = document.line("names")
    if isinstance(names, dict):
        if sorted(names, key=str) != sorted(range(len(names)), key=str):
            raise say_wrong(document.file, line, f"names does not number its classes from 0 to {len(names) - 1}")
        names = [names[k] for k in range(len(names))]
    if not isinstance(names, list) or not names or any(isinstance(x, list | dict) or x is None for x in names):
        raise say_wrong(document.file, line, "names is neither a list of class names nor a table by number")
    count = document.get("nc")
    if isinstance(count, int) and count != len(names):
        raise say_wrong(document.file, document.line("nc"), f"nc is {count}, and names has {len(names)} classes")
    return tuple(map(str, names))


def _read_keypoints(document: YamlFile) -> tuple[int, int] | None:
    """(keypoints, numbers of each) of `kpt_shape`."""
    shape = document.get("kpt_shape")
    if shape is None:
        return None
    if not isinstance(shape, list) or len(shape) != 2 or not all(isinstance(x, int) and x > 0 for x in shape):
        raise say_wrong(document.file, document.line("kpt_shape"), "kpt_shape is not [keypoints, 2 or 3]")
    return shape[0], shape[1]


def _find_listed(document: YamlFile, folder: Path, split: Split) -> tuple[str, list[Path]]:
    """(split, pictures) that a data.yaml names."""
    keys = [key for key in READING_ORDER if document.get(key)]
    if split != "auto" and split not in keys:
        raise LabelError(f"{relative(document.file)} has no split {split!r}", f"it has {', '.join(keys) or 'none'}")
    if not keys:
        raise LabelError(f"{relative(document.file)} names no pictures (train, val or test)")
    part = keys[0] if split == "auto" else split
    given = document.get("path")
    roots = ([folder / given] if isinstance(given, str) else []) + [folder]
    entries = document.get(part)
    pictures: list[Path] = []
    for entry in entries if isinstance(entries, list) else [entries]:
        where = _resolve(entry, roots) if isinstance(entry, str) else None
        if where is None:
            tried = ", ".join(relative(root) for root in roots)
            raise say_wrong(document.file, document.line(part), f"{part}: there is no {entry!r} in {tried}")
        pictures += find_images(where) if where.is_dir() else _read_list(where)
    return part, pictures


def _resolve(entry: str, roots: Sequence[Path]) -> Path | None:
    # Some tools write ../valid/images for a folder that stands beside the file.
    tries = [entry, entry.removeprefix("../")]
    return next((root / name for name in tries for root in roots if (root / name).exists()), None)


def _read_list(file: Path) -> list[Path]:
    """The pictures that a text file lists, a path on each line, relative to the file or to the current folder."""
    if file.suffix.lower() in SUFFIXES:
        return [file]
    found = []
    for line in read_label_text(file).splitlines():
        if line.strip():
            path = Path(line.strip())
            found.append(path if path.is_absolute() or not (file.parent / path).exists() else file.parent / path)
    return found


def _find_loose(folder: Path, split: Split) -> tuple[str, list[Path]]:
    """(split, pictures) of a folder without a data.yaml: images/val and val/images are parts of it."""
    for part in READING_ORDER if split == "auto" else (split,):
        for name in SPLIT_FOLDERS[part]:
            for place in (folder / "images" / name, folder / name / "images"):
                if place.is_dir():
                    return part, find_images(place)
    if split != "auto":
        raise LabelError(f"{relative(folder)} has no split {split!r}", f"it would stand in images/{split}")
    images = folder / "images"
    return "", find_images(images if images.is_dir() else folder)


@dataclass(frozen=True)
class _Reader:
    """Reads files of labels.

    Attributes:
        names: The classes, None where any number is one.
        keypoints: (keypoints, numbers of each) behind every box, None for none.
    """

    names: tuple[str, ...] | None
    keypoints: tuple[int, int] | None

    def read(self, file: Path, picture: Path) -> TrueBoxes:
        """The objects of one picture, in its pixels."""
        rows = list(self._read_rows(file)) if file.is_file() else []
        size = read_size(picture) if rows else None
        seen = size.seen if size is not None else (1, 1)  # a broken picture is named when it is opened
        boxes = [np.array(box) * np.tile(seen, 2) for _, box, _ in rows]
        outlines = [None if ring is None else Outline((np.array(ring).reshape(-1, 2) * seen,)) for *_, ring in rows]
        return make_true_boxes(boxes, [index for index, *_ in rows], outlines=outlines)

    def _read_rows(self, file: Path) -> Iterator[tuple[int, tuple[float, ...], Sequence[float] | None]]:
        for number, line in enumerate(read_label_text(file).splitlines(), 1):
            words = line.split()
            if not words:
                continue
            try:
                values = [float(word) for word in words]
            except ValueError:
                raise say_wrong(file, number, f"{line.strip()[:60]!r} is not numbers") from None
            index = values[0]
            if not index.is_integer() or index < 0:
                raise say_wrong(file, number, f"{words[0]!r} is no class (0, 1, 2, ...)")
            if self.names is not None and index >= len(self.names):
                raise say_wrong(file, number, f"class {int(index)} is beyond the {len(self.names)} names of the data")
            yield int(index), *self._read_box(file, number, values[1:])

    def _read_box(
        self, file: Path, number: int, values: list[float]
    ) -> tuple[tuple[float, ...], Sequence[float] | None]:
        """(x1, y1, x2, y2, and the outline where there is one), in shares of the picture."""
        count = len(values)
        pose = self.keypoints is not None and count == 4 + self.keypoints[0] * self.keypoints[1]
        outline = not pose and count >= 6 and count % 2 == 0
        if not (count == 4 or pose or outline):
            raise say_wrong(
                file, number, f"{count + 1} numbers are neither 'class cx cy w h' nor an outline",
                "lines with keypoints need kpt_shape in the data.yaml",
            )  # fmt: skip
        shares = values if outline else values[:4]
        for value in shares:
            if not -_SLACK <= value <= 1 + _SLACK:  # also of NaN
                raise say_wrong(file, number, f"{value:g} is no share of the picture, in [0, 1]")
        if outline:
            across, down = values[0::2], values[1::2]
            return (min(across), min(down), max(across), max(down)), shares
        x, y, width, height = shares
        if width <= 0 or height <= 0:
            raise say_wrong(file, number, f"a box of {width:g} x {height:g} holds nothing")
        return (x - width / 2, y - height / 2, x + width / 2, y + height / 2), None
