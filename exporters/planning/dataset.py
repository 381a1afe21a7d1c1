"""Labelled pictures from a folder or a CSV, judged one by one, in stratified splits."""

from __future__ import annotations

import hashlib
import os
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from exporters.planning.entries import SPLITS, DataError, Entry, LeftOut, read_csv, read_folder
from inspector.errors import ImageError, listing, one_line
from inspector.image import digest_image, open_image
from inspector.image.likeness import Groups, find_copies, shrink_picture
from inspector.runtime import count_cores

SMALLEST = 4
"""Pixels of the shorter side below which a picture shows nothing."""


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


def read_dataset(
    data: str | os.PathLike[str],
    *,
    val: float = 0.2,
    test: float = 0.0,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> Dataset:
    """The pictures of a folder of class folders, with or without train/val/test above them, or of a CSV.

    A CSV has the columns path,label[,split][,weight][,group]; its paths are relative to it. Pictures of one group (a
    patient, a place, a film) stay together when some are held out.

    A folder with one of the names of a split above class folders is a split, and several of one split are one; runs
    of `inspector finetune` below DATA are no classes. What lies elsewhere is left out and listed. Every picture is
    decoded once: what cannot be read, is smaller than 4 pixels, or repeats another is left out and listed. Equal
    files in several splits stay in the most held-out one; equal files with different labels are left out. Copies whose
    files differ (see :mod:`inspector.image.likeness`) stay on one side of a split, and one in a split of its own is
    left out where another is held out.

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
        entries, skipped = read_folder(root) if kind == "folder" else read_csv(root)
    else:
        raise DataError(f"there is no folder or CSV {root}", "give a folder of class folders, or a CSV of path,label")
    if not entries:
        raise DataError(
            f"{root} holds no labelled pictures{_first(skipped)}", "as in DATA/cat/1.jpg and DATA/dog/2.jpg"
        )
    readable, broken = _judged(entries, progress)
    kept, repeated = _distinct(readable)
    kept, groups, copied, notes = group_entries(kept)
    dataset = _in_splits(kept, groups, [*skipped, *broken, *repeated, *copied], (val, test, seed))
    dataset = replace(dataset, notes=(*dataset.notes, *notes))
    if len(dataset.classes) < 2:
        what = f"only the class {dataset.classes[0]!r}" if dataset.classes else "no class"
        raise DataError(f"{root} has {what} with readable pictures{_first(dataset.skipped)}", "give two or more")
    if not dataset.val:
        raise DataError(
            f"{root} has no picture to validate on: {len(dataset.train)} pictures in {len(dataset.classes)} classes",
            "give more pictures for at least one class, or a val folder",
        )
    return dataset


def stratify(labels: Sequence[int], share: float, seed: int, groups: Sequence[int] | None = None) -> list[bool]:
    """Which of the pictures are held out: of every class `share`, rounded; of two or more at least one, never all.

    Args:
        labels: The class of each picture.
        share: Of each class, in [0, 1).
        seed: Of the choice.
        groups: A number for each picture: what is equal stays together, so that a class of few groups may have another
            share, or none.
    """
    held = [False] * len(labels)
    members = defaultdict(list)
    for place, group in enumerate(groups if groups is not None else range(len(labels))):
        members[group].append(place)
    together = {place: own for own in members.values() for place in own}
    places = defaultdict(list)
    for place, label in enumerate(labels):
        places[label].append(place)
    for label in sorted(places) if share > 0 else ():
        own = places[label]
        count = min(max(round(share * len(own)), 1), len(own) - 1)
        taken = sum(held[place] for place in own)
        free = Counter(one for one, out in zip(labels, held, strict=True) if not out)
        for k in np.random.default_rng([seed, label]).permutation(len(own)):
            if taken >= count:
                break
            asked = Counter(labels[place] for place in together[own[k]])
            # Something is left to train on, and a large group does not become the test of a small share.
            emptied = any(free[one] <= many for one, many in asked.items())
            if held[own[k]] or emptied or taken + asked[label] > 2 * count:
                continue
            taken += asked[label]
            free -= asked
            for place in together[own[k]]:
                held[place] = True
    return held


def _first(skipped: Sequence[LeftOut]) -> str:
    if not skipped:
        return ""
    return f"; {len(skipped)} were left out, the first ({skipped[0].name}) because {skipped[0].reason}"


# --- what of it can be used -------------------------------------------------------------------------------------------


def _judged(entries: Sequence[Entry], progress: Callable[[int, int], None] | None) -> tuple[list[Entry], list[LeftOut]]:
    good, bad = [], []
    with ThreadPoolExecutor(count_cores()) as pool:
        for done, (entry, verdict) in enumerate(zip(entries, pool.map(_judge, entries), strict=True), 1):
            if isinstance(verdict, LeftOut):
                bad.append(verdict)
            else:
                good.append(replace(entry, digest=verdict[0], small=verdict[1]))
            if progress is not None and (done % 64 == 0 or done == len(entries)):
                progress(done, len(entries))
    return good, bad


def _judge(entry: Entry) -> tuple[str, bytes] | LeftOut:
    """(digest of the file, small grey picture) of what can be learned from."""
    try:
        digest = digest_image(entry.path)
        image = open_image(entry.path)
    except ImageError as error:
        return LeftOut(entry.name, error.message)
    if min(image.size) < SMALLEST:
        return LeftOut(entry.name, f"it has {image.width} x {image.height} pixels")
    return digest, shrink_picture(image)


def _distinct(entries: Iterable[Entry]) -> tuple[list[Entry], list[LeftOut]]:
    same: dict[str, list[Entry]] = defaultdict(list)
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


def group_entries(entries: Sequence[Entry]) -> tuple[list[Entry], dict[str, int], list[LeftOut], list[str]]:
    """(entries, number of the group of each by its name, what was left out, notes).

    A group are copies of one picture, and pictures that the data says belong together. In splits that the data gives,
    copies of what is held out are left out of what is not.
    """
    groups = Groups(len(entries))
    copies = find_copies([e.small for e in entries])
    first: dict[str, int] = {}
    held: dict[int, Entry] = {}
    for k, entry in enumerate(entries):
        groups.join(k, copies[k])
        if entry.group:
            groups.join(k, first.setdefault(entry.group, k))
        rank = SPLITS.index(entry.split or "train")
        if copies[k] not in held or rank > SPLITS.index(held[copies[k]].split or "train"):
            held[copies[k]] = entry
    kept, skipped = [], []
    for k, entry in enumerate(entries):
        other = held[copies[k]]
        if (other.split or "train") != (entry.split or "train"):
            skipped.append(LeftOut(entry.name, f"it shows the same as {other.name}, which is held out"))
        else:
            kept.append(entry)
    notes = []
    if (many := sum(k != f for k, f in enumerate(copies))) and not skipped:
        pair = next(k for k, f in enumerate(copies) if k != f)
        named = f"{entries[pair].name} and {entries[copies[pair]].name}"
        notes.append(f"{many} pictures show the same as another, such as {named}; they stay on one side of a split")
    if first:
        notes.append(f"{len(first)} groups of the CSV stay together")
    return kept, {e.name: n for e, n in zip(entries, groups.firsts(), strict=True)}, skipped, notes


def _in_splits(
    entries: Sequence[Entry], groups: Mapping[str, int], skipped: list[LeftOut], shares: tuple[float, float, int]
) -> Dataset:
    """The pictures in splits. groups: what stays together, by name. shares: of val and test, and the seed."""
    val, test, seed = shares
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
        together = [groups[s.name] for s in parts["train"]]
        held = stratify([s.label for s in parts["train"]], share, seed * 2 + salt, together)
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
