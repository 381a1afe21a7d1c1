"""Folders of pictures: the folder directly below is the class."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

from inspector.guard import walk_pictures
from inspector.scanning.listing import Listed, clean_name
from inspector.scanning.sources.opening import explain_reading, is_picture


def list_folder(folder: Path) -> Iterator[Listed]:
    """The pictures below a folder of this machine."""
    root = os.path.abspath(folder)  # noqa: PTH100  links stay as they are
    for path in walk_pictures(folder):
        inside = path.relative_to(folder)
        label = clean_name(inside.parts[0]) if len(inside.parts) > 1 else None
        yield Listed(clean_name((folder / inside).as_posix()), os.path.join(root, inside), label)  # noqa: PTH118


def list_remote_folder(given: str, system: Any, path: str) -> Iterator[Listed]:
    """The same of a folder that fsspec reaches."""
    root = path.rstrip("/")
    with explain_reading(given, ""):
        names = system.find(path)
    for found in names:
        inside = PurePosixPath(str(found).removeprefix(root).lstrip("/"))
        if is_picture(str(inside)):
            label = clean_name(inside.parts[0]) if len(inside.parts) > 1 else None
            yield Listed(clean_name(f"{given.rstrip('/')}/{inside}"), system.unstrip_protocol(found), label)
