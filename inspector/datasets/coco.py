"""Labels as COCO has them: one JSON with pictures, categories and annotations."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from inspector.datasets.labelled import (
    READING_ORDER,
    SPLIT_FOLDERS,
    LabelError,
    LabelledData,
    LabelledPicture,
    Split,
    fit_boxes,
    read_label_text,
    say_wrong,
)
from inspector.errors import listing
from inspector.image.size import read_size
from inspector.metrics import Outline
from inspector.metrics.outlines import read_packed_runs
from inspector.text import relative

_Object = tuple[tuple[float, ...], int, bool, float, Outline | None]
"""(box, class, whether it is a crowd, area, outline)."""


def find_coco(folder: Path, split: Split = "auto") -> tuple[Path, str] | None:
    """(the JSON with instances, its split) of a folder; None where there is none.

    Looked for in the folder, in `annotations`, and in folders of splits. Of several, the one of the split is taken.

    Raises:
        LabelError: There are several, and their names do not say which is of which split.
    """
    places = [folder, folder / "annotations", *(folder / name for names in SPLIT_FOLDERS.values() for name in names)]
    files = [file for place in places if place.is_dir() for file in sorted(place.glob("*.json")) if _is_coco(file)]
    files = [file for file in files if file.name.startswith("instances")] or files
    for part in READING_ORDER if split == "auto" else (split,):
        own = [file for file in files if any(name in _say_part(file, folder) for name in SPLIT_FOLDERS[part])]
        if len(own) == 1:
            return own[0], part
    if split != "auto" and files:
        raise LabelError(f"no JSON of {relative(folder)} is named after the split {split!r}", "give the file itself")
    if len(files) > 1:
        names = listing([relative(file) for file in files])
        raise LabelError(f"{relative(folder)} has several files of labels: {names}", "give one of them")
    return (files[0], "") if files else None


def _say_part(file: Path, folder: Path) -> str:
    return file.relative_to(folder).as_posix().lower()


def _is_coco(file: Path) -> bool:
    """Whether the beginning of a JSON, or all of a short one, has what COCO's files have."""
    try:
        with file.open("rb") as stream:
            head = stream.read(65536)
            if file.stat().st_size <= 4 * 2**20:
                head += stream.read()
    except OSError:
        return False
    keys = [b'"images"', b'"annotations"', b'"categories"']
    return sum(key in head for key in keys) >= (2 if len(head) < 65536 else 1)


def read_coco(file: Path, split: str = "") -> LabelledData:
    """Read pictures with their objects.

    Boxes are in pixels of the picture as a person sees it; where the JSON declares the size of the picture as it is
    stored, before EXIF turns it, they are turned with it. So are outlines (`segmentation`: polygons, or run lengths).

    Args:
        file: The JSON.
        split: Which part of the data it is.

    Raises:
        LabelError: It is malformed, with the entry; or none of its pictures is there.
    """
    document = _read_document(file)
    categories = {}
    for place, entry in _entries(file, document, "categories"):
        categories[_need(file, place, entry, "id", int)] = str(entry.get("name", entry["id"]))
    ids = tuple(sorted(categories))
    index_of = {id: index for index, id in enumerate(ids)}
    objects: dict[int, list[tuple[str, Mapping[str, Any]]]] = {}
    images = {_need(file, place, entry, "id", int): (place, entry) for place, entry in
              _entries(file, document, "images")}  # fmt: skip
    for place, entry in _entries(file, document, "annotations"):
        owner = _need(file, place, entry, "image_id", int)
        if owner not in images:
            raise say_wrong(file, place, f"there is no picture with the id {owner}")
        if _need(file, place, entry, "category_id", int) not in index_of:
            raise say_wrong(file, place, f"there is no category with the id {entry['category_id']}")
        objects.setdefault(owner, []).append((place, entry))
    names = [_need(file, place, entry, "file_name", str) for place, entry in images.values()]
    root = _find_root(file, names)
    pictures = [
        _make_picture(file, root, place, entry, _read_objects(file, objects.get(id, []), index_of))
        for id, (place, entry) in images.items()
    ]
    pictures.sort(key=lambda one: one.key)
    return LabelledData("coco", file, tuple(pictures), tuple(categories[id] for id in ids), ids, split)


def _make_picture(
    file: Path, root: Path, place: str, entry: Mapping[str, Any], objects: list[_Object]
) -> LabelledPicture:
    name, path = entry["file_name"], root / entry["file_name"]
    width, height = entry.get("width"), entry.get("height")
    declared = (width, height) if isinstance(width, int) and isinstance(height, int) else None
    size = read_size(path)
    seen = " x ".join(map(str, size.seen)) if size else ""
    truth = fit_boxes(
        [box for box, *_ in objects], [index for _, index, *_ in objects], size, declared,
        say_wrong(file, place, f"says that {name} has {width} x {height} pixels, and it has {seen}"),
        crowd=[crowd for *_, crowd, _, _ in objects], areas=[area for *_, area, _ in objects],
        outlines=[outline for *_, outline in objects],
    )  # fmt: skip
    return LabelledPicture(path, Path(name).as_posix(), boxes=truth)


def _read_document(file: Path) -> Mapping[str, Any]:
    try:
        document = json.loads(read_label_text(file))
    except json.JSONDecodeError as error:
        raise say_wrong(file, error.lineno, f"is not JSON: {error.msg}") from None
    except (ValueError, RecursionError) as error:
        raise say_wrong(file, "", f"is not JSON: {error}") from None
    if not isinstance(document, dict):
        raise say_wrong(file, "", "is no table with images, annotations and categories")
    return document


def _entries(file: Path, document: Mapping[str, Any], key: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """("annotations[3]", entry) for each entry of a list of tables."""
    entries = document.get(key)
    if not isinstance(entries, list):
        raise say_wrong(file, "", f"has no list {key!r}", "COCO's files hold images, annotations and categories")
    for number, entry in enumerate(entries):
        if not isinstance(entry, dict):
            raise say_wrong(file, f"{key}[{number}]", "is no table")
        yield f"{key}[{number}]", entry


def _need(file: Path, place: str, entry: Mapping[str, Any], key: str, kind: type) -> Any:
    value = entry.get(key)
    if not isinstance(value, kind) or isinstance(value, bool):
        word = "a whole number" if kind is int else "a text"
        raise say_wrong(file, place, f"{key} = {json.dumps(value)[:40]} is not {word}")
    return value


def _read_objects(
    file: Path, entries: list[tuple[str, Mapping[str, Any]]], index_of: Mapping[int, int]
) -> list[_Object]:
    """What is known of each annotation of one picture."""
    found: list[_Object] = []
    for place, entry in entries:
        box = entry.get("bbox")
        if not isinstance(box, list) or len(box) != 4 or not all(map(_is_number, box)):
            raise say_wrong(file, place, f"bbox = {json.dumps(box)[:60]} is not [x, y, width, height]")
        x, y, width, height = box
        if width < 0 or height < 0:
            raise say_wrong(file, place, f"a box of {width:g} x {height:g} is none")
        area = entry.get("area", width * height)
        if not _is_number(area) or area < 0:
            raise say_wrong(file, place, f"area = {json.dumps(area)[:40]} is no number from 0 up")
        crowd = bool(entry.get("iscrowd", 0))
        outline = _read_outline(place, entry.get("segmentation"))
        found.append(((x, y, x + width, y + height), index_of[entry["category_id"]], crowd, area, outline))
    return found


def _read_outline(place: str, given: Any) -> Outline | None:
    """The outline of an annotation; None where it has none. One that cannot be read matters only where masks do."""
    if not given or given == [[]]:
        return None
    if isinstance(given, list):
        if all(isinstance(one, list) and len(one) >= 6 and len(one) % 2 == 0 and all(map(_is_number, one))
               for one in given):  # fmt: skip
            return Outline(tuple(np.array(one, np.float64).reshape(-1, 2) for one in given))
        return Outline(flaw=f"{place}: segmentation = {json.dumps(given)[:60]} holds what is no polygon")
    counts = given.get("counts") if isinstance(given, dict) else None
    try:
        if isinstance(counts, list) and all(isinstance(one, int) and one >= 0 for one in counts):
            return Outline(runs=tuple(counts))
        return Outline(runs=read_packed_runs(str(counts)))
    except ValueError as error:
        return Outline(flaw=f"{place}: the run lengths of segmentation cannot be read: {error}")


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _find_root(file: Path, names: list[str]) -> Path:
    """The folder in which the pictures of the JSON lie."""
    above = file.parent.parent
    part = file.stem.removeprefix("instances_")
    places = [file.parent, file.parent / "images", above, above / "images", above / part, above / "images" / part]
    places += [place / name for place in (above, above / "images") for names_ in SPLIT_FOLDERS.values()
               for name in names_]  # fmt: skip
    for place in places:
        if any((place / name).is_file() for name in names):
            return place
    looked = listing([relative(place) for place in places if place.is_dir()], 4)
    raise LabelError(f"none of the {len(names)} pictures that {relative(file)} lists is there", f"looked in {looked}")
