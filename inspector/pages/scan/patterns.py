"""Patterns of channels that `inspector filters` wrote, for the page of a scan: found by their records, as sprites."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from inspector.files import output_folder, write_bytes
from inspector.pages.sheets import load_picture
from inspector.scanning import ScanError
from inspector.scanning.patches import PATCHES, ROWS

PATTERN_TILE = 128
"""Side of a pattern in a sprite, in pixels; the list of channels shows it at the size of a patch."""
Patterns = Mapping[tuple[str, int], Path]
"""(layer, channel) -> the picture of its pattern."""


def find_drawn_patterns(folder: Path, digest: str) -> Patterns:
    """The patterns below a folder that were made of a model.

    Of two recipes of a layer, the one whose name comes first is taken. A channel that is stuck has no pattern.

    Args:
        folder: What `inspector filters -o` wrote.
        digest: Of the model, hex.

    Raises:
        ScanError: There are no records of patterns, or all are of another model.
    """
    found: dict[tuple[str, int], Path] = {}
    others = set()
    for path in sorted([*folder.glob("*.json"), *folder.glob("filters-*/*.json")]):
        record = _read_record(path)
        if record is None:
            continue
        made = record["provenance"]
        if made["model"] != digest:
            others.add(str(made["model"]))
            continue
        for one in record["channels"]:
            picture = path.parent / Path(str(one["image"])).name
            if not one["stuck"] and picture.is_file():
                found.setdefault((str(made["layer"]), int(one["channel"])), picture)
    if found:
        return found
    if others:
        raise ScanError(
            f"the patterns in {folder} are of another model: its digest is {sorted(others)[0][:12]}, and that of the "
            f"scan's {digest[:12]}", "draw them with `inspector filters` from this model",
        )  # fmt: skip
    raise ScanError(f"{folder} holds no patterns", "give --patterns the folder that `inspector filters -o` wrote")


def _read_record(path: Path) -> dict[str, Any] | None:
    """The record of a layer's patterns; None for any other document."""
    try:
        record: dict[str, Any] = json.loads(path.read_text("utf-8"))
        known = {"model", "layer"} <= record["provenance"].keys()
        return record if known and all({"channel", "image", "stuck"} <= x.keys() for x in record["channels"]) else None
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def draw_pattern_sprites(
    folder: Path, channels: Sequence[tuple[str, int]], patterns: Patterns
) -> tuple[list[str], list[tuple[int, int] | None]]:
    """Write the patterns of some channels as sprites, ROWS below one another.

    Args:
        folder: Of the scan.
        channels: (layer, channel) of each row of channels.parquet.
        patterns: Those that there are.

    Returns:
        The files, below the folder, and for each channel (its file, its row in it); None where there is no pattern.

    Raises:
        OutputError: A file cannot be written.
    """
    from PIL import Image as images

    output_folder(folder / PATCHES)
    files: list[str] = []
    places: list[tuple[int, int] | None] = [None] * len(channels)
    drawn = [k for k, channel in enumerate(channels) if channel in patterns]
    for start in range(0, len(drawn), ROWS):
        own = drawn[start : start + ROWS]
        sheet = images.new("RGB", (PATTERN_TILE, PATTERN_TILE * len(own)))
        for row, k in enumerate(own):
            try:
                tile = load_picture(patterns[channels[k]])
            except (OSError, SyntaxError, ValueError):  # a file that was cut off is as good as none
                continue
            sheet.paste(tile.resize((PATTERN_TILE, PATTERN_TILE), images.Resampling.LANCZOS), (0, PATTERN_TILE * row))
            places[k] = (len(files), row)
        stream = io.BytesIO()
        sheet.save(stream, "JPEG", quality=85)
        files.append(f"{PATCHES}/patterns-{len(files):04d}.jpg")
        write_bytes(folder / files[-1], stream.getvalue())
    return files, places
