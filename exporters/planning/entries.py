"""What a folder of class folders or a CSV says: which picture has which label, and which split."""

from __future__ import annotations

import csv
import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from inspector.errors import InspectorError, listing, one_line
from inspector.image import SUFFIXES, find_images

SPLITS = ("train", "val", "test")
_SPLIT_NAMES = {
    "train": "train", "training": "train", "val": "val", "valid": "val", "validation": "val", "dev": "val",
    "test": "test", "testing": "test",
}  # fmt: skip


class DataError(InspectorError):
    """The pictures or their labels cannot be learned from."""

    kind = "data"


@dataclass(frozen=True)
class LeftOut:
    """A picture, folder or kind of file that was left out, and why."""

    name: str
    reason: str


@dataclass(frozen=True)
class Entry:
    """One labelled picture as the data names it.

    Attributes:
        path: The file.
        name: Its path as the data gives it.
        label: Its class.
        split: train, val or test; None where the data names none.
        weight: How much it counts in the loss.
        digest: SHA-256 of the file.
        group: What it stays together with; empty for nothing.
        small: The small grey picture that likeness is judged by.
    """

    path: Path
    name: str
    label: str
    split: str | None
    weight: float = 1.0
    digest: str = ""
    group: str = ""
    small: bytes = b""


def read_folder(root: Path) -> tuple[list[Entry], list[LeftOut]]:
    """The pictures of a folder of class folders, and what was left out."""
    runs = {f.parent for f in root.rglob("base.onnx") if f.parent != root and (f.parent / "config.json").is_file()}
    skipped = [LeftOut(f.relative_to(root).as_posix(), "it is a run of `inspector finetune`") for f in sorted(runs)]
    tops = [f for f in _folders(root) if f not in runs]
    splits = [(_SPLIT_NAMES[f.name.lower()], f) for f in tops if f.name.lower() in _SPLIT_NAMES]
    given: list[tuple[str | None, Path]] = [(None, root)]
    if splits:
        if not any(split == "train" and any(map(find_images, _folders(f))) for split, f in splits):
            raise DataError(
                f"{root} has {listing([f.name for _, f in splits])}, and no train folder with class folders in it",
                "as in DATA/train/cat/1.jpg; a class with the name of a split needs a CSV",
            )
        given = [*splits]
        named = {f for _, f in splits}
        skipped += [LeftOut(f.name, "it is none of train, val and test") for f in tops if f not in named]
        skipped += _loose(root, root)
    entries = []
    for split, top in given:
        skipped += _loose(root, top)
        for folder in _folders(top):
            if folder in runs:
                continue
            found = [p for p in find_images(folder) if runs.isdisjoint(p.parents)]
            if not found:
                skipped.append(LeftOut(folder.relative_to(root).as_posix(), "the class folder holds no pictures"))
            entries += [Entry(p, p.relative_to(root).as_posix(), folder.name, split) for p in found]
            skipped += _no_pictures(root, (f for f in folder.rglob("*") if runs.isdisjoint(f.parents)))
    return entries, skipped


def _loose(root: Path, folder: Path) -> list[LeftOut]:
    """The files beside class folders."""
    files = sorted(f for f in folder.iterdir() if f.is_file() and not f.name.startswith("."))
    pictures = [f for f in files if f.suffix.lower() in SUFFIXES]
    loose = [LeftOut(f.relative_to(root).as_posix(), "it lies in no class folder") for f in pictures]
    return loose + _no_pictures(root, files)


def _no_pictures(root: Path, files: Iterable[Path]) -> list[LeftOut]:
    """Files of other kinds, one entry for each kind and folder, since some data has one beside every picture."""
    names = [f.relative_to(root) for f in files if f.suffix.lower() not in SUFFIXES and f.is_file()]
    visible = [n for n in names if not any(part.startswith(".") for part in n.parts)]
    count = Counter((n.parent / f"*{n.suffix}" if n.suffix else n).as_posix() for n in visible)
    return [
        LeftOut(name, f"{n} {'file is no picture' if n == 1 else 'files are no pictures'} by the name")
        for name, n in sorted(count.items())
    ]


def _folders(folder: Path) -> list[Path]:
    return sorted(f for f in folder.iterdir() if f.is_dir() and not f.name.startswith("."))


def read_csv(path: Path) -> tuple[list[Entry], list[LeftOut]]:
    """The pictures of a CSV, and what was left out."""
    hint = "its first line is path,label or path,label,split, and may have a weight"
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file, skipinitialspace=True)
            names = [(name or "").strip().lower() for name in reader.fieldnames or ()]
            if "path" not in names or "label" not in names:
                raise DataError(f"{path} has no columns path and label but {listing(names) or 'nothing'}", hint)
            reader.fieldnames = names
            rows = [(reader.line_num, row) for row in reader]
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path} is not a CSV: {one_line(str(error), 100)}", hint) from None
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}") from None
    entries, skipped = [], []
    for number, row in rows:
        name, label, split = ((row.get(key) or "").strip() for key in ("path", "label", "split"))
        if not name or not label:
            raise DataError(f"{path}, line {number}: the {'label' if name else 'path'} is missing", hint)
        if split and split.lower() not in _SPLIT_NAMES:
            raise DataError(f"{path}, line {number}: there is no split {split!r}", "known: train, val, test")
        weight = _weight((row.get("weight") or "").strip(), f"{path}, line {number}")
        group = (row.get("group") or "").strip()
        given = _SPLIT_NAMES[split.lower()] if split else None
        entry = Entry(path.parent / name, name, label, given, weight, group=group)
        try:
            reason = "" if entry.path.is_file() else "there is no such file"
        except OSError as error:  # longer than the file system allows, for one
            reason = f"its path cannot be used: {(error.strerror or str(error)).lower()}"
        if reason:
            skipped.append(LeftOut(one_line(name, 200), reason))
        else:
            entries.append(entry)
    if any(e.split is None for e in entries) and any(e.split for e in entries):
        raise DataError(f"{path} names a split for some pictures only", "name it for all of them, or for none")
    for group, splits in sorted(_splits_of_groups(entries).items()):
        if len(splits) > 1:
            raise DataError(f"{path}: group {group!r} is in {' and '.join(splits)}", "give each group one split")
    if entries and entries[0].split and not any(e.split == "train" for e in entries):
        raise DataError(f"{path} names no picture for training", "give some the split train")
    return entries, skipped


def _splits_of_groups(entries: Iterable[Entry]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for split in SPLITS:
        for group in {e.group for e in entries if e.group and e.split == split}:
            found.setdefault(group, []).append(split)
    return found


def _weight(text: str, where: str) -> float:
    try:
        weight = float(text or 1)
    except ValueError:
        weight = math.nan
    if not 0 < weight <= 1e6:
        raise DataError(f"{where}: the weight {text!r} is not a number above 0", "1 is what a picture without one has")
    return weight
