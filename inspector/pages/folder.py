"""The folder of one picture's gallery: what a run writes there, and what an earlier run left."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from inspector.errors import OutputError, one_line
from inspector.files import check_mode, write_text
from inspector.guard import check_writing
from inspector.model import Model
from inspector.provenance import TOOL
from inspector.text import to_json
from inspector.version import __version__

RECORD = ".inspector.json"
"""Names the files of the run that wrote a folder, so that the next one takes them away and nothing else.

Also whose folder it is: ``source`` and ``name`` of the picture, ``picture``, the digest of it, and ``maps``, the files
that class activation maps and answers added.
"""
OURS = re.compile(r"\d{3,}-[^/\\\0]+\.(png|npy)|(index\.html|picture\.png|depth\.png|channels\.npz)")
"""Names that a gallery gives."""
ANSWERS = re.compile(r"(found|output|mask(-\d+)?)\.png")
"""Names that drawings of answers get."""
MAPS = re.compile(rf"([a-z]*cam|drise)[^/\\\0]*\.(png|npy)|{ANSWERS.pattern}")
"""Names that class activation maps get, and drawings of answers."""
_OWNER = ("source", "name", "picture", "maps")


def place_sheet(stem: Path, channel: int | None) -> Path:
    """The picture of a layer: of all its channels, or of one."""
    return stem.with_name(f"{stem.name}.png" if channel is None else f"{stem.name}-channel-{channel}.png")


def list_files(stems: Iterable[Path], channel: int | None, arrays: bool) -> set[str]:
    """The names of all files that a run writes beside its record."""
    names = {"index.html", "picture.png", "depth.png", "channels.npz"}
    for stem in stems:
        names.add(place_sheet(stem, channel).name)
        if arrays:
            names.add(f"{stem.name}.npy")
    return names


def start_folder(
    folder: Path, model: Model, planned: set[str], name: str = "", top: Sequence[tuple[str, float]] = ()
) -> None:
    """Take away what an earlier run left in `folder`, the page first, and record what this one is going to write.

    Args:
        folder: The folder of one picture.
        model: The model.
        planned: The names of all files that will be written.
        name: How people know the picture.
        top: Label and probability of its most likely classes, for the page that leads to all pictures.
    """
    record = read_record(folder)
    left = {file for file in record.get("files", ()) if OURS.fullmatch(file)}
    # Also what is written anew: without its page it is of no use, and a file that replaces another one is waited for
    # until it is on the disk, by ext4 at least.
    _remove(folder, left)
    if left and record.get("digest", record.get("sha256")) != model.digest:
        earlier = one_line(str(record.get("model", "")), 80)
        model.warn(f"results of {earlier}, of an earlier run into the same folder, were replaced")
    owner = {key: record[key] for key in _OWNER if key in record}
    written = {"software": f"{TOOL} {__version__}", "model": model.path.name, "sha256": model.sha256}
    written["digest"] = model.digest
    given = {"name": name, **owner, "top": [list(pair) for pair in top]}
    write_record(folder, {**written, **given, "files": sorted(planned)})


def note_maps(folder: Path, files: Iterable[Path]) -> None:
    """Add files to what the record of a picture's folder names, where it has one."""
    record = read_record(folder)
    if "picture" in record:
        maps = {*record.get("maps", ()), *(file.name for file in files)}
        write_record(folder, {**record, "maps": sorted(maps)})


def remove_answers(folder: Path) -> None:
    """Take away the drawings of answers that the record of a picture's folder names."""
    record = read_record(folder)
    old = {file for file in record.get("maps", ()) if ANSWERS.fullmatch(file)}
    if old:
        _remove(folder, old)
        write_record(folder, {**record, "maps": sorted(set(record["maps"]) - old)})


def remove_results(folder: Path, record: Mapping[str, Any]) -> None:
    """Take away all that `record` names, whose picture is no longer what it was. Files of other origin stay."""
    _remove(folder, {file for file in record.get("files", ()) if OURS.fullmatch(file)})
    _remove(folder, {file for file in record.get("maps", ()) if MAPS.fullmatch(file)})


def _remove(folder: Path, names: Iterable[str]) -> None:
    names = set(names)
    for path in (folder / name for name in sorted(names)):
        with suppress(OSError):
            check_mode(path, path.lstat().st_mode)
    for name in sorted(names, key=lambda name: name != "index.html"):
        path = folder / name
        check_writing(path, path)
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            raise OutputError(
                f"cannot remove {path} of an earlier run: {error.strerror}", "choose another folder"
            ) from error


def write_record(folder: Path, record: Mapping[str, Any]) -> None:
    """Write the record of a folder."""
    write_text(folder / RECORD, to_json(record, indent=1) + "\n")


def read_record(folder: Path) -> dict[str, Any]:
    """The record of an earlier run; nothing where there is none, or none that can be read."""
    try:
        found = json.loads((folder / RECORD).read_text("utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    if not isinstance(found, dict):
        return {}
    for key in ("files", "maps", "top"):
        if not isinstance(found.get(key, []), list):
            del found[key]
    return {**found, **{key: [str(name) for name in found[key]] for key in ("files", "maps") if key in found}}
