"""Archives of pictures: tar files as WebDataset writes them, and zip files. Nothing is unpacked."""

from __future__ import annotations

import json
import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from inspector.scanning.listing import Listed, clean_name
from inspector.scanning.sources.opening import explain_reading, is_address, is_picture, open_bytes

_LABEL_KEYS = ("label", "cls", "class", "class_name", "category", "target")
_MOST = 1 << 20
"""Largest file of a label that is read, in bytes."""


def list_tar(given: str) -> Iterator[Listed]:
    """The pictures of a tar file: NAME.jpg, with its label in NAME.cls or NAME.json; else its folder is its class.

    Raises:
        ScanError: It cannot be read.
    """
    found: dict[str, list[tuple[str, int, int]]] = {}
    labels: dict[str, str] = {}
    with (
        explain_reading(given, " as a tar file", tarfile.TarError),
        open_bytes(given) as stream,
        tarfile.open(fileobj=stream, mode="r:") as archive,
    ):
        for member in archive:
            if not member.isfile():
                continue
            stem, ending = _split(member.name)
            if is_picture(member.name.removeprefix("./")):
                found.setdefault(stem, []).append((member.name, member.offset_data, member.size))
            elif ending in ("cls", "json") and member.size <= _MOST:
                file = archive.extractfile(member)
                label = _read_label(file.read() if file is not None else b"", ending)
                if label is not None:
                    labels[stem] = label
            # What was passed is not needed again, and there may be a million.
            archive.members = []  # type: ignore[attr-defined]
    for stem, pictures in found.items():
        for name, start, size in pictures:
            label = labels.get(stem, _find_folder(name))
            yield Listed(_join(given, name), _absolute(given), label, "", start, size)


def list_zip(given: str) -> Iterator[Listed]:
    """The pictures of a zip file; the outermost folder in it is the class.

    Raises:
        ScanError: It cannot be read.
    """
    with (
        explain_reading(given, " as a zip file", zipfile.BadZipFile),
        open_bytes(given) as stream,
        zipfile.ZipFile(stream) as archive,
    ):
        names = [x.filename for x in archive.infolist() if not x.is_dir() and is_picture(x.filename)]
    for name in names:
        yield Listed(_join(given, name), _absolute(given), _find_folder(name), name)


def _split(name: str) -> tuple[str, str]:
    """(what the files of one picture have in common, the rest): up to the first dot of the last part."""
    folder, slash, last = name.rpartition("/")
    stem, _, ending = last.partition(".")
    return f"{folder}{slash}{stem}", ending.lower()


def _read_label(data: bytes, ending: str) -> str | None:
    text = data.decode("utf-8", "replace").strip()
    if ending == "cls":
        return text or None
    try:
        document = json.loads(text)
    except ValueError:
        return None
    if not isinstance(document, dict):
        return None
    value = next((document[key] for key in _LABEL_KEYS if document.get(key) is not None), None)
    return str(value) if isinstance(value, str | int) else None


def _find_folder(name: str) -> str | None:
    parts = PurePosixPath(name.removeprefix("./")).parts
    return clean_name(parts[0]) if len(parts) > 1 else None


def _join(given: str, name: str) -> str:
    shown = given if is_address(given) else Path(given).as_posix()
    return clean_name(f"{shown}/{name.removeprefix('./')}")


def _absolute(given: str) -> str:
    return given if is_address(given) else str(Path(given).absolute())
