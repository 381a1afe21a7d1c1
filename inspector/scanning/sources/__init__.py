"""Where pictures come from: folders, lists, archives and addresses, all made into one list."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from inspector.scanning.listing import Listed, ScanError
from inspector.scanning.sources.archives import list_tar, list_zip
from inspector.scanning.sources.folders import list_folder, list_remote_folder
from inspector.scanning.sources.opening import PictureReader, explain_reading, find_suffix, is_address, split_address
from inspector.scanning.sources.tables import list_csv, list_parquet

__all__ = ["LISTERS", "PictureReader", "list_pictures"]

LISTERS = {
    ".tar": list_tar,
    ".zip": list_zip,
    ".csv": list_csv,
    ".tsv": list_csv,
    ".parquet": list_parquet,
    ".pq": list_parquet,
}
"""What lists the pictures of a file, by its suffix."""


def list_pictures(data: Sequence[str | os.PathLike[str]]) -> Iterator[Listed]:
    """List the pictures that DATA names, in any order.

    Args:
        data: Folders, CSV and Parquet lists, tar and zip files, single pictures, and addresses of fsspec of any of
            these.

    Yields:
        Each picture, with its label where the data has one.

    Raises:
        ScanError: One of `data` is not there, or is nothing that holds pictures.
        MissingExtra: A package for it is not installed.
    """
    for one in data:
        given = os.fspath(one)
        if is_address(given):
            yield from _list_address(given)
            continue
        path = Path(given)
        if path.is_dir():
            yield from list_folder(path)
        elif not path.exists():
            raise ScanError(f"there is no file or folder {given}", "give folders, lists, tar or zip files")
        else:
            yield from _list_file(given)


def _list_address(given: str) -> Iterator[Listed]:
    system, path = split_address(given)
    with explain_reading(given, ""):
        folder = system.isdir(path) and find_suffix(path) not in LISTERS
        there = folder or system.exists(path)
    if not there:
        raise ScanError(
            f"there is nothing at {given}, or it cannot be reached",
            "check the address, the network and your rights there",
        )
    if folder:
        yield from list_remote_folder(given, system, path)
    else:
        yield from _list_file(given)


def _list_file(given: str) -> Iterator[Listed]:
    """The pictures of one file, local or not."""
    lister = LISTERS.get(find_suffix(given))
    if lister is not None:
        yield from lister(given)
    elif given.endswith((".tar.gz", ".tgz", ".tar.zst", ".tar.xz", ".tar.bz2")):
        raise ScanError(
            f"{given} is compressed as a whole, so that no picture in it can be found without unpacking all before it",
            "unpack it, or pack it as a plain .tar: pictures are compressed already",
        )
    else:
        yield Listed(given if is_address(given) else Path(given).as_posix(), _locate(given))


def _locate(given: str) -> str:
    return given if is_address(given) else os.path.abspath(given)  # noqa: PTH100  links stay as they are
