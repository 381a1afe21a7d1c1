"""Labels as Pascal VOC has them: an XML file for each picture, with corners that count from 1."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from xml.parsers import expat

from inspector.datasets.labelled import (
    READING_ORDER,
    LabelError,
    LabelledData,
    LabelledPicture,
    Split,
    fit_boxes,
    read_label_text,
    say_wrong,
)
from inspector.image import find_images
from inspector.image.size import read_size
from inspector.text import relative

_CORNERS = ("xmin", "ymin", "xmax", "ymax")
_PICTURES = ("JPEGImages", "images")
_LABELS = ("Annotations", "annotations")


@dataclass
class _Object:
    """What an XML says of one object, and the line in which it begins."""

    line: int
    texts: dict[str, str] = field(default_factory=dict)


@dataclass
class _Annotation:
    """What an XML says: the size of the picture, and its objects."""

    size: dict[str, str] = field(default_factory=dict)
    objects: list[_Object] = field(default_factory=list)


def is_voc(folder: Path) -> bool:
    """Whether a folder holds labels of this kind: XML in `Annotations`, or beside the pictures."""
    places = [folder, *(folder / name for name in _LABELS)]
    return any(next(place.glob("*.xml"), None) is not None for place in places if place.is_dir())


def read_voc(folder: Path, split: Split = "auto") -> LabelledData:
    """Read pictures with their objects.

    A corner (xmin, ymin, xmax, ymax) names pixels that belong to the object and counts from 1, so that in pixels from 0
    the box is (xmin - 1, ymin - 1, xmax, ymax). It is taken to be of the picture as a person sees it; where the XML
    declares the size of the picture as it is stored, before EXIF turns it, the box is turned with it.

    Args:
        folder: With `JPEGImages` and `Annotations`, or with pictures and XML files together. The lists in
            `ImageSets/Main` say what belongs to a split.
        split: Which part; "auto" takes the first that is listed of val, test, train, and all where nothing is.

    Returns:
        The pictures. The classes are the names that occur, in the order of the alphabet.

    Raises:
        LabelError: A file is malformed, with the line; or there are no pictures.
    """
    here = next((folder / name for name in _PICTURES if (folder / name).is_dir()), folder)
    labels = next((folder / name for name in _LABELS if (folder / name).is_dir()), None)
    part, wanted = _read_list(folder, split)
    pictures = [path for path in find_images(here) if wanted is None or path.stem in wanted]
    if not pictures:
        raise LabelError(f"{relative(here)} holds no pictures{f' of the split {part}' if part else ''}")
    files = [(labels / f"{path.stem}.xml") if labels else path.with_suffix(".xml") for path in pictures]
    read = [(file, parse_voc(file) if file.is_file() else _Annotation()) for file in files]
    names = tuple(sorted({one.texts.get("name", "") for _, found in read for one in found.objects}))
    entries = []
    for path, (file, found) in zip(pictures, read, strict=True):
        size = read_size(path)
        declared = _read_declared(found)
        wrong = say_wrong(
            file, "size", f"says {declared}, and the picture has {' x '.join(map(str, size.seen)) if size else ''}"
        )
        boxes = [_read_box(file, one) for one in found.objects]
        truth = fit_boxes(
            boxes, [names.index(one.texts["name"]) for one in found.objects], size, declared, wrong,
            difficult=[one.texts.get("difficult", "0") == "1" for one in found.objects],
        )  # fmt: skip
        entries.append(LabelledPicture(path, path.relative_to(here).as_posix(), boxes=truth))
    return LabelledData("voc", folder, tuple(entries), names, split=part)


def parse_voc(file: Path) -> _Annotation:
    """What stands in one XML. Declarations of document types, and with them entities, are refused.

    Raises:
        LabelError: It is no such XML, with the line.
    """
    parser = expat.ParserCreate()
    path: list[str] = []
    found = _Annotation()

    def start(name: str, _: dict[str, str]) -> None:
        path.append(name)
        if path == ["annotation", "object"]:
            found.objects.append(_Object(parser.CurrentLineNumber))

    def end(_: str) -> None:
        path.pop()

    def text(data: str) -> None:
        # Parts of an object, such as heads, have names and boxes of their own, deeper down.
        if path[:2] == ["annotation", "size"] and len(path) == 3:
            found.size[path[2]] = found.size.get(path[2], "") + data.strip()
        elif path[:2] == ["annotation", "object"] and (len(path) == 3 or (len(path) == 4 and path[2] == "bndbox")):
            texts = found.objects[-1].texts
            texts[path[-1]] = (texts.get(path[-1], "") + data).strip()

    def refuse(*_: object) -> None:
        raise say_wrong(file, parser.CurrentLineNumber, "declares a document type, which labels never need")

    parser.StartElementHandler, parser.EndElementHandler, parser.CharacterDataHandler = start, end, text
    parser.StartDoctypeDeclHandler = refuse
    try:
        parser.Parse(read_label_text(file).encode(), True)
    except expat.ExpatError as error:
        reason = expat.ErrorString(error.code)
        raise say_wrong(file, error.lineno, f"is not XML: {reason}") from None
    return found


def _read_box(file: Path, one: _Object) -> tuple[float, ...]:
    if not one.texts.get("name"):
        raise say_wrong(file, one.line, "the object has no name")
    try:
        x1, y1, x2, y2 = (float(one.texts[name]) for name in _CORNERS)
    except KeyError as error:
        raise say_wrong(file, one.line, f"the object has no {error.args[0]}") from None
    except ValueError:
        values = ", ".join(one.texts[name][:20] for name in _CORNERS)
        raise say_wrong(file, one.line, f"the corners {values} are not numbers") from None
    if not (x1 <= x2 and y1 <= y2):  # also of NaN
        raise say_wrong(file, one.line, f"the corners {x1:g}, {y1:g}, {x2:g}, {y2:g} are in the wrong order")
    return max(0.0, x1 - 1), max(0.0, y1 - 1), x2, y2


def _read_declared(found: _Annotation) -> tuple[int, int] | None:
    width, height = found.size.get("width", ""), found.size.get("height", "")
    # Some tools leave 0 where they did not look.
    known = width.isdecimal() and height.isdecimal() and int(width) > 0 and int(height) > 0
    return (int(width), int(height)) if known else None


def _read_list(folder: Path, split: Split) -> tuple[str, frozenset[str] | None]:
    """(split, names of its pictures without suffix); no names where nothing lists them."""
    parts: Sequence[Split] = READING_ORDER if split == "auto" else (split,)
    for part in parts:
        file = folder / "ImageSets" / "Main" / f"{part}.txt"
        if file.is_file():
            return part, frozenset(line.split()[0] for line in read_label_text(file).splitlines() if line.split())
    if split != "auto":
        raise LabelError(f"{relative(folder)} has no list ImageSets/Main/{split}.txt")
    return "", None
