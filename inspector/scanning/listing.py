"""The list of all pictures of a scan, and the file that holds it: what a shard is, whatever the engine.

Every picture has a name that no other has. The list is sorted by these names, and a shard is a run of so many of them.
Which pictures a shard holds depends on nothing else.
"""

from __future__ import annotations

import hashlib
import heapq
import itertools
import json
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from inspector.errors import InspectorError
from inspector.files import atomic_path, write_npy
from inspector.text import without_surrogates

SHARD_SIZE = 256
"""Pictures of a shard: some seconds of work and about a megabyte of state."""
IN_MEMORY = 16_384
"""Pictures of a list that are sorted in memory at a time: some 10 MB."""
_LIST, _STARTS = "pictures.jsonl", "pictures-starts.npy"


class ScanError(InspectorError):
    """A scan cannot begin, go on or be merged."""

    kind = "scan"


@dataclass(frozen=True, slots=True)
class Listed:
    """One picture of the list.

    Attributes:
        name: What it is called; no other picture of the list has the name.
        file: The file or address that holds it: the picture itself, or an archive.
        label: What the data says it shows; None where it says nothing.
        member: In a zip file the name of the member; empty elsewhere.
        start: In a tar file the place of its first byte; -1 elsewhere.
        size: In a tar file the number of its bytes.
    """

    name: str
    file: str
    label: str | None = None
    member: str = ""
    start: int = -1
    size: int = 0

    @property
    def shown_file(self) -> str:
        """What its file is called: its own name, or that of the archive that it lies in."""
        if not self.member and self.start < 0:
            return self.name
        before, base, _ = self.name.partition(self.file.rpartition("/")[2])
        return before + base

    def to_line(self) -> str:
        """The line of the list's file."""
        values: list[Any] = [self.name, self.file, self.label]
        if self.member or self.start >= 0:
            values += [self.member, self.start, self.size]
        return json.dumps(values, ensure_ascii=True, separators=(",", ":"))

    @staticmethod
    def from_line(line: str) -> Listed:
        """The picture of a line."""
        return Listed(*json.loads(line))


@dataclass(frozen=True)
class ListSummary:
    """What a list of pictures amounts to.

    Attributes:
        total: How many pictures.
        digest: SHA-256 over names and labels, hex; not over where the files lie.
        labels: How often each label occurs, by label, sorted.
    """

    total: int
    digest: str
    labels: Mapping[str, int]


@contextmanager
def sort_list(pictures: Iterable[Listed]) -> Iterator[tuple[Iterable[Listed], ListSummary]]:
    """Sort the list of a scan by name; a picture that is there twice is taken once, two of one name are numbered.

    Of more than IN_MEMORY pictures runs are sorted one by one, lie in files for the time of the block, and are merged
    whenever the list is walked through.

    Args:
        pictures: In any order.

    Yields:
        (the pictures in order, what they amount to).

    Raises:
        ScanError: There are none.
    """
    with ExitStack() as files:
        runs = _Runs([])
        coming = iter(pictures)
        while part := list(itertools.islice(coming, IN_MEMORY)):
            part.sort(key=_read_name)
            runs.parts.append(part)
            if len(part) == IN_MEMORY:
                stored = files.enter_context(tempfile.TemporaryFile("w+", encoding="ascii"))
                stored.writelines(f"{picture.to_line()}\n" for picture in part)
                runs.parts[-1] = stored
        try:
            ordered: Iterable[Listed] = runs
            summary = _sum_up(runs)
        except _TwinsError:
            # They are renamed, which moves them in the order: rare enough to be done in memory.
            found = _name_apart(runs.walk())
            ordered = [found[name] for name in sorted(found)]
            summary = _sum_up(ordered)
        yield ordered, summary


class _TwinsError(Exception):
    """Two pictures have one name."""


@dataclass(frozen=True)
class _Runs:
    """Sorted runs of pictures, in memory or in files; one after the other they are in the order in which they came."""

    parts: list[Any]

    def walk(self) -> Iterator[Listed]:
        """All of them by name; those of one name in the order in which they came."""
        return heapq.merge(*map(self._read, self.parts), key=_read_name)

    @staticmethod
    def _read(part: Any) -> Iterator[Listed]:
        if isinstance(part, list):
            yield from part
            return
        part.seek(0)
        yield from map(Listed.from_line, part)

    def __iter__(self) -> Iterator[Listed]:
        for _, same in itertools.groupby(self.walk(), _read_name):
            first, *more = same
            if any(_locate(one) != _locate(first) for one in more):
                raise _TwinsError
            yield more[-1] if more else first


def _read_name(picture: Listed) -> str:
    return picture.name


def _sum_up(ordered: Iterable[Listed]) -> ListSummary:
    digest, labels, total = hashlib.sha256(), dict[str, int](), 0
    for picture in ordered:
        digest.update(f"{json.dumps([picture.name, picture.label])}\n".encode())
        total += 1
        if picture.label is not None:
            labels[picture.label] = labels.get(picture.label, 0) + 1
    if not total:
        raise ScanError(
            "no pictures were found", "known: JPEG, PNG, WebP, BMP, TIFF; folders, lists, tar and zip files"
        )
    return ListSummary(total, digest.hexdigest(), dict(sorted(labels.items())))


def _name_apart(pictures: Iterable[Listed]) -> dict[str, Listed]:
    """The pictures by name; where others have a name already, they get numbers, in the order of where they lie."""
    found: dict[str, Listed] = {}
    twins: dict[str, dict[tuple[str, str, int], Listed]] = {}
    for picture in pictures:
        name = picture.name
        first = found.setdefault(name, picture)
        if first is picture:
            continue
        if name not in twins and _locate(first) == _locate(picture):
            found[name] = picture
        else:
            twins.setdefault(name, {_locate(first): first})[_locate(picture)] = picture
    for name in sorted(twins):
        number = 1
        for place in sorted(twins[name]):
            shown = name
            while number > 1 and shown in found:
                stem, dot, suffix = name.rpartition(".")
                plain = not dot or "/" in suffix
                shown = f"{name} ({number})" if plain else f"{stem} ({number}).{suffix}"
                number += shown in found
            found[shown] = replace(twins[name][place], name=shown)
            number += 1
    return found


def _locate(picture: Listed) -> tuple[str, str, int]:
    """What tells a picture from another one. In a tar file a member that comes again under its name replaces the first.

    A question mark may stand for a byte that is no text: then two names may be equal that were not.
    """
    return picture.file, picture.member, picture.start if "?" in picture.name else -1


def write_list(folder: Path, pictures: Iterable[Listed], shard_size: int) -> None:
    """Write the list of a scan as :func:`sort_list` gives it, and where each shard begins in it.

    Args:
        folder: Where to.
        pictures: In order.
        shard_size: Pictures of a shard.

    Raises:
        OutputError: It cannot be written.
    """
    starts, place = [], 0
    with atomic_path(folder / _LIST) as path, path.open("wb") as stream:
        for number, picture in enumerate(pictures):
            if number % shard_size == 0:
                starts.append(place)
            place += stream.write(f"{picture.to_line()}\n".encode())
    write_npy(folder / _STARTS, np.array([*starts, place], np.int64))


def read_shard(folder: Path, shard: int) -> list[Listed]:
    """The pictures of one shard of the list in `folder`, in order.

    Raises:
        ScanError: The list is not there or damaged.
    """
    try:
        starts = np.load(folder / _STARTS, mmap_mode="r")
        begin, end = int(starts[shard]), int(starts[shard + 1])
        with (folder / _LIST).open("rb") as stream:
            stream.seek(begin)
            lines = stream.read(end - begin).decode().splitlines()
        return [Listed.from_line(line) for line in lines]
    except (OSError, ValueError, IndexError, TypeError) as error:
        raise ScanError(f"the list of pictures in {folder} cannot be read: {error}", "scan again") from None


def clean_name(text: str) -> str:
    """A picture's name as JSON and Parquet can hold it: a byte that is no text becomes a question mark."""
    return without_surrogates(text)


def walk_list(folder: Path, shards: int) -> Iterator[Listed]:
    """All pictures of a list, in order."""
    for shard in range(shards):
        yield from read_shard(folder, shard)
