"""Labelled pictures from a folder or a CSV, judged one by one, in stratified splits."""

from __future__ import annotations

import csv
import hashlib
import math
import os
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from inspector.errors import ImageError, InspectorError, listing, one_line
from inspector.image import SUFFIXES, digest_image, find_images, open_image
from inspector.runtime import count_cores

SPLITS = ("train", "val", "test")
_SPLIT_NAMES = {
    "train": "train", "training": "train", "val": "val", "valid": "val", "validation": "val", "dev": "val",
    "test": "test", "testing": "test",
}  # fmt: skip
SMALLEST = 4
"""Pixels of the shorter side below which a picture shows nothing."""


class DataError(InspectorError):
    """The pictures or their labels cannot be learned from."""

    kind = "data"


@dataclass(frozen=True)
class Sample:
    """One picture.

    Attributes:
        name: Its path as the data gives it.
        label: Index of its class.
        digest: SHA-256 of the file.
        weight: How much it counts in the loss, beside 1 for others.
    """

    path: Path
    name: str
    label: int
    digest: str
    weight: float = 1.0


@dataclass(frozen=True)
class LeftOut:
    """A picture, folder or kind of file that was left out, and why."""

    name: str
    reason: str


@dataclass(frozen=True)
class Dataset:
    """Pictures in splits.

    Attributes:
        classes: Names, in the order of the model's outputs; every one has training pictures.
        skipped: What was left out.
        notes: What was decided, a sentence each.
    """

    classes: tuple[str, ...]
    train: tuple[Sample, ...]
    val: tuple[Sample, ...]
    test: tuple[Sample, ...]
    skipped: tuple[LeftOut, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def digest(self) -> str:
        """SHA-256 of the classes and of every picture with its label, split and weight; not of where they lie."""
        lines = [
            f"{split} {s.digest} {s.label}" + (f" {s.weight!r}" if s.weight != 1 else "")
            for split in SPLITS
            for s in getattr(self, split)
        ]
        return hashlib.sha256("\n".join([*self.classes, *lines]).encode()).hexdigest()

    def counts(self) -> dict[str, list[int]]:
        """Pictures per class of each split, in the order of `classes`."""
        found = {split: Counter(s.label for s in getattr(self, split)) for split in SPLITS}
        return {split: [count[k] for k in range(len(self.classes))] for split, count in found.items()}


@dataclass(frozen=True)
class _Entry:
    path: Path
    name: str
    label: str
    split: str | None
    weight: float = 1.0
    digest: str = ""


def read_dataset(
    data: str | os.PathLike[str],
    *,
    val: float = 0.2,
    test: float = 0.0,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> Dataset:
    """The pictures of a folder of class folders, with or without train/val/test above them, or of a CSV.

    A CSV has the columns path,label[,split][,weight]; its paths are relative to it.

    A folder with one of the names of a split above class folders is a split, and several of one split are one; runs
    of `inspector finetune` below DATA are no classes. What lies elsewhere is left out and listed. Every picture is
    decoded once: what cannot be read, is smaller than 4 pixels, or repeats another is left out and listed. Equal
    files in several splits stay in the most held-out one; equal files with different labels are left out.

    Args:
        data: A folder with a folder for each class, or a CSV file.
        val: Shares of each class that are held out where the data has no such split.
        test: Shares of each class that are held out where the data has no such split.
        seed: Of that choice.
        progress: Called with (done, all) now and then.

    Raises:
        DataError: No such data, not two classes, a CSV that is not one, splits without one to train on, no picture
            left to validate on.
    """
    root = Path(data)
    try:
        kind = "folder" if root.is_dir() else "file" if root.is_file() else ""
    except OSError as error:
        raise DataError(f"{one_line(str(root), 200)} cannot be read: {error.strerror or error}") from None
    if kind:
        entries, skipped = _from_folder(root) if kind == "folder" else _from_csv(root)
    else:
        raise DataError(f"there is no folder or CSV {root}", "give a folder of class folders, or a CSV of path,label")
    if not entries:
        raise DataError(
            f"{root} holds no labelled pictures{_first(skipped)}", "as in DATA/cat/1.jpg and DATA/dog/2.jpg"
        )
    readable, broken = _judged(entries, progress)
    kept, repeated = _distinct(readable)
    dataset = _in_splits(kept, [*skipped, *broken, *repeated], val, test, seed)
    if len(dataset.classes) < 2:
        what = f"only the class {dataset.classes[0]!r}" if dataset.classes else "no class"
        raise DataError(f"{root} has {what} with readable pictures{_first(dataset.skipped)}", "give two or more")
    if not dataset.val:
        raise DataError(
            f"{root} has no picture to validate on: {len(dataset.train)} pictures in {len(dataset.classes)} classes",
            "give more pictures for at least one class, or a val folder",
        )
    return dataset


def stratify(labels: Sequence[int], share: float, seed: int) -> list[bool]:
    """Which of the pictures are held out: of every class `share`, rounded; of two or more at least one, never all."""
    held = [False] * len(labels)
    places = defaultdict(list)
    for place, label in enumerate(labels):
        places[label].append(place)
    for label in sorted(places) if share > 0 else ():
        own = places[label]
        count = min(max(round(share * len(own)), 1), len(own) - 1)
        for k in np.random.default_rng([seed, label]).permutation(len(own))[:count]:
            held[own[k]] = True
    return held


def _first(skipped: Sequence[LeftOut]) -> str:
    if not skipped:
        return ""
    return f"; {len(skipped)} were left out, the first ({skipped[0].name}) because {skipped[0].reason}"


# --- what the data says -----------------------------------------------------------------------------------------------


def _from_folder(root: Path) -> tuple[list[_Entry], list[LeftOut]]:
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
            entries += [_Entry(p, p.relative_to(root).as_posix(), folder.name, split) for p in found]
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


def _from_csv(path: Path) -> tuple[list[_Entry], list[LeftOut]]:
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
        entry = _Entry(path.parent / name, name, label, _SPLIT_NAMES[split.lower()] if split else None, weight)
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
    if entries and entries[0].split and not any(e.split == "train" for e in entries):
        raise DataError(f"{path} names no picture for training", "give some the split train")
    return entries, skipped


def _weight(text: str, where: str) -> float:
    try:
        weight = float(text or 1)
    except ValueError:
        weight = math.nan
    if not 0 < weight <= 1e6:
        raise DataError(f"{where}: the weight {text!r} is not a number above 0", "1 is what a picture without one has")
    return weight


# --- what of it can be used -------------------------------------------------------------------------------------------


def _judged(
    entries: Sequence[_Entry], progress: Callable[[int, int], None] | None
) -> tuple[list[_Entry], list[LeftOut]]:
    good, bad = [], []
    with ThreadPoolExecutor(count_cores()) as pool:
        for done, (entry, verdict) in enumerate(zip(entries, pool.map(_judge, entries), strict=True), 1):
            if isinstance(verdict, LeftOut):
                bad.append(verdict)
            else:
                good.append(replace(entry, digest=verdict))
            if progress is not None and (done % 64 == 0 or done == len(entries)):
                progress(done, len(entries))
    return good, bad


def _judge(entry: _Entry) -> str | LeftOut:
    try:
        digest = digest_image(entry.path)
        image = open_image(entry.path)
    except ImageError as error:
        return LeftOut(entry.name, error.message)
    if min(image.size) < SMALLEST:
        return LeftOut(entry.name, f"it has {image.width} x {image.height} pixels")
    return digest


def _distinct(entries: Iterable[_Entry]) -> tuple[list[_Entry], list[LeftOut]]:
    same: dict[str, list[_Entry]] = defaultdict(list)
    for entry in entries:
        same[entry.digest].append(entry)
    kept, skipped = [], []
    for group in same.values():
        labels = list(dict.fromkeys(e.label for e in group))
        if len(labels) > 1:
            reason = f"the same picture is in the classes {listing(labels)}"
            skipped += [LeftOut(e.name, reason) for e in group]
            continue
        # Training on a picture that is held out would flatter the result.
        first = max(group, key=lambda e: SPLITS.index(e.split or "train"))
        kept.append(first)
        skipped += [LeftOut(e.name, f"it repeats {first.name}") for e in group if e is not first]
    return kept, skipped


def _in_splits(entries: Sequence[_Entry], skipped: list[LeftOut], val: float, test: float, seed: int) -> Dataset:
    notes = []
    given = {e.split or "train" for e in entries}
    learned = {e.label for e in entries if (e.split or "train") == "train"}
    classes = tuple(sorted(learned, key=_natural))
    for entry in entries:
        if entry.label not in learned:
            skipped.append(LeftOut(entry.name, f"no training picture has its class {entry.label!r}"))
    index = {name: k for k, name in enumerate(classes)}
    parts: dict[str, list[Sample]] = {split: [] for split in SPLITS}
    for e in sorted(entries, key=lambda e: e.name):
        if e.label in index:
            parts[e.split or "train"].append(Sample(e.path, e.name, index[e.label], e.digest, e.weight))
    for split, share, salt in (("test", test, 1), ("val", val, 0)):
        if split in given or share <= 0:
            continue
        held = stratify([s.label for s in parts["train"]], share, seed * 2 + salt)
        parts[split] = [s for s, out in zip(parts["train"], held, strict=True) if out]
        parts["train"] = [s for s, out in zip(parts["train"], held, strict=True) if not out]
        notes.append(f"{split}: {len(parts[split])} pictures were held out of the training ones, stratified by class")
    single = [classes[k] for k, n in enumerate(_count(parts, len(classes))) if n == 1]
    if single:
        notes.append(f"{listing(single)}: one picture only, which is trained on; nothing validates this class")
    if weighted := sum(s.weight != 1 for s in parts["train"]):
        notes.append(f"{weighted} of {len(parts['train'])} training pictures have a weight other than 1")
    if skipped:
        notes.append(f"{len(skipped)} were left out; the first: {skipped[0].name}, because {skipped[0].reason}")
    return Dataset(
        classes, tuple(parts["train"]), tuple(parts["val"]), tuple(parts["test"]), tuple(skipped), tuple(notes)
    )


def _count(parts: dict[str, list[Sample]], classes: int) -> list[int]:
    count = Counter(s.label for samples in parts.values() for s in samples)
    return [count[k] for k in range(classes)]


def _natural(name: str) -> tuple[int, float, str]:
    """Numbers by value, and before words."""
    return (0, float(name), name) if name.isascii() and name.isdigit() else (1, 0.0, name)
