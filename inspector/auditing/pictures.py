"""The pictures of an audit: found once, labelled by their folders where these are classes, read one at a time."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Literal

from inspector.errors import ImageError, listing
from inspector.image import choose_evenly, find_images
from inspector.metrics import TrueBoxes
from inspector.model import Model, find_folder_class
from inspector.model.classes import squeeze_name
from inspector.scanning.listing import Listed
from inspector.scanning.reference import ScanReference
from inspector.scanning.sources.opening import PictureReader, is_address
from inspector.text import relative


@dataclass(frozen=True)
class PictureEntry:
    """One picture.

    Attributes:
        path: Where it is.
        shown: Its path for people.
        key: Its path below the data folder.
        label: The index of its class, None where that is not known.
        boxes: Its labelled objects, with the model's own classes; None where they are not known.
        mask: The file with the class of each of its pixels; None where there is none.
        held: What of an archive or an address it is, where `path` is no picture's file by itself.
    """

    path: Path
    shown: str
    key: str
    label: int | None
    boxes: TrueBoxes | None = None
    mask: Path | None = None
    held: Listed | None = None


class EntryReader:
    """Reads the pictures of one audit. Archives stay open from one to the next; several threads may ask."""

    def __init__(self) -> None:
        self._opened: dict[int, tuple[PictureReader, Lock]] = {}

    def _own(self) -> tuple[PictureReader, Lock]:
        """The reader and the lock of this process.

        An open file that is forked has one place with that of the other process, and a lock may be held there.
        """
        process = os.getpid()
        found = self._opened.get(process)
        if found is None:
            found = self._opened.setdefault(process, (PictureReader(), Lock()))
            for other in [each for each in list(self._opened) if each != process]:
                self._opened.pop(other, None)
        return found

    def read(self, entry: PictureEntry) -> Path | bytes:
        """What `open_image` opens: a picture's file, or its bytes where it lies in an archive or at an address.

        Raises:
            ImageError: The archive is gone, or the address cannot be reached.
        """
        if entry.held is None:
            return entry.path
        reader, lock = self._own()
        with lock:
            return reader.read(entry.held)

    def close(self) -> None:
        """Close the archives that this process has opened."""
        reader, lock = self._own()
        with lock:
            reader.close()


@dataclass(frozen=True)
class PictureSet:
    """The pictures in the order of their paths.

    Attributes:
        entries: The pictures.
        folder: Where they were found; None when none were given.
        unlabelled: Why there are no labels, as a clause; empty when there are.
        notes: What was assumed of the labels, a clause each.
        scan: What a scan of the model knows of all of its pictures, of which these are some; None without one.
    """

    entries: tuple[PictureEntry, ...] = ()
    folder: Path | None = None
    unlabelled: str = "no pictures were given (--data, or images.data in the policy)"
    notes: tuple[str, ...] = ()
    scan: ScanReference | None = None

    def __len__(self) -> int:
        return len(self.entries)

    @property
    def labelled(self) -> bool:
        """Whether every picture has its class."""
        return bool(self.entries) and not self.unlabelled

    def folders(self) -> list[Path]:
        """The folders in which pictures and masks lie."""
        own = (entry for entry in self.entries if entry.held is None or not is_address(entry.held.file))
        files = [file for entry in own for file in (entry.path, entry.mask) if file is not None]
        return sorted({file.parent for file in files})

    def sample(self, count: int) -> tuple[int, ...]:
        """Indices of `count` pictures, evenly spread, always the same ones; all when there are fewer."""
        return choose_evenly(len(self.entries), count)


def find_entries(
    model: Model, folder: Path, labelled: Literal["auto", "yes", "no"] = "auto", limit: int = 0
) -> PictureSet:
    """Find the pictures below a folder.

    Folders directly in it are classes when their names are: labels (blanks may be written as _ or -) or indices.

    Args:
        model: Whose classes they are.
        folder: Where to look.
        labelled: Whether its folders are classes; auto: when their names are.
        limit: At most so many pictures, evenly spread; 0 takes all.

    Raises:
        ImageError: There is no folder or no picture, only some folders are classes of the model, or one is several.
    """
    if not folder.is_dir():
        what = "is not a folder" if folder.exists() else "does not exist"
        raise ImageError(f"the pictures' folder {folder} {what}", "give --data a folder of pictures")
    paths = find_images(folder)
    if not paths:
        raise ImageError(f"the folder {folder} holds no pictures", "known: JPEG, PNG, WebP, BMP, TIFF")
    keys = [path.relative_to(folder) for path in paths]
    names = sorted({key.parts[0] if len(key.parts) > 1 else "" for key in keys})
    classes = {} if labelled == "no" else {name: find_folder_class(model, name) for name in names if name}
    _check_shared(model, [name for name, index in classes.items() if index is None], folder)
    reason = _explain_unlabelled(labelled, classes, "" in names, folder)
    chosen = choose_evenly(len(paths), limit)
    entries = tuple(
        PictureEntry(
            path=paths[i],
            shown=relative(paths[i]),
            key=keys[i].as_posix(),
            label=None if reason else classes[keys[i].parts[0]],
        )
        for i in chosen
    )
    return PictureSet(entries, folder, reason)


def _check_shared(model: Model, names: Sequence[str], folder: Path) -> None:
    """Raises ImageError for a folder that is named like several classes: which one is meant, only an index says."""
    for name in names:
        wanted, labels = squeeze_name(name), model.labels or ()
        hits = [i for i, label in enumerate(labels) if wanted in map(squeeze_name, (label, *label.split(",")))]
        if len(hits) > 1:
            raise ImageError(
                f"the folder {name!r} of {folder} is named like {len(hits)} classes: "
                f"{listing([f'{i} {labels[i]!r}' for i in hits])}",
                'name it after the index of its class, or set labelled = "no" under [images]',
            )


def _explain_unlabelled(labelled: str, classes: dict[str, int | None], loose: bool, folder: Path) -> str:
    """Why the folders are no classes, as a clause; empty when they are."""
    if labelled == "no":
        return "the policy says that the folders are no classes"
    unknown = [name for name, index in classes.items() if index is None]
    if classes and not unknown and not loose:
        return ""
    what = (
        f"{listing([repr(n) for n in unknown])} of {folder} {'is no class' if len(unknown) == 1 else 'are no classes'} "
        "of the model"
        if unknown
        else f"{folder} has pictures outside of any class folder"
    )
    # Some folders are classes: then the others are mistakes, and leaving them out would hide it.
    if labelled == "yes" or (classes and len(unknown) < len(classes)):
        raise ImageError(
            what if classes else f"{folder} has no folders to take classes from",
            'name each folder after a label or its index, or set labelled = "no" under [images]',
        )
    return what if classes else f"{folder} has no folders named after classes"
