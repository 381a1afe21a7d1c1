"""The folder of one picture's gallery: what a run writes there, and what an earlier run left."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from inspector import __version__
from inspector.errors import OutputError, one_line
from inspector.files import write_text
from inspector.model import Model
from inspector.provenance import TOOL
from inspector.text import to_json

_RECORD = ".inspector.json"
"""Names the files of the run that wrote a folder, so that the next one takes them away and nothing else."""
_OURS = re.compile(r"\d{3,}-[\w.-]+\.(png|npy)|(index\.html|picture\.png|depth\.png|channels\.npz)", re.ASCII)


def sheet_path(stem: Path, channel: int | None) -> Path:
    """The picture of a layer: of all its channels, or of one."""
    return stem.with_name(f"{stem.name}.png" if channel is None else f"{stem.name}-channel-{channel}.png")


def list_files(stems: Iterable[Path], channel: int | None, arrays: bool) -> set[str]:
    """The names of all files that a run writes beside its record."""
    names = {"index.html", "picture.png", "depth.png", "channels.npz"}
    for stem in stems:
        names.add(sheet_path(stem, channel).name)
        if arrays:
            names.add(f"{stem.name}.npy")
    return names


def start_folder(folder: Path, model: Model, planned: set[str]) -> None:
    """Take away what an earlier run left in `folder`, the page first, and record what this one is going to write."""
    record = _read_record(folder / _RECORD)
    left = {name for name in record["files"] if _OURS.fullmatch(name)}
    for name in sorted(left, key=lambda name: name != "index.html"):
        # What is written anew is replaced whole at its time; only the page must not stand beside it before.
        if name == "index.html" or name not in planned:
            try:
                (folder / name).unlink(missing_ok=True)
            except OSError as error:
                raise OutputError(
                    f"cannot remove {folder / name} of an earlier run: {error.strerror}", "choose another folder"
                ) from error
    if left and record["sha256"] != model.sha256:
        name = one_line(record["model"], 80)
        model.warn(f"results of {name}, of an earlier run into the same folder, were replaced")
    written = {"software": f"{TOOL} {__version__}", "model": model.path.name, "sha256": model.sha256}
    write_text(folder / _RECORD, to_json({**written, "files": sorted(planned)}, indent=1) + "\n")


def _read_record(path: Path) -> dict[str, Any]:
    """The record of an earlier run; without files where there is none, or none that can be read."""
    try:
        found = json.loads(path.read_text("utf-8"))
        files = [str(name) for name in found["files"]]
        return {"files": files, "model": str(found["model"]), "sha256": str(found["sha256"])}
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return {"files": [], "model": "", "sha256": ""}
