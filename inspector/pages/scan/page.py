"""What ``report.html`` of a scan shows, read from its tables: one file beside the sprites, which it loads when seen."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from inspector.extras import need
from inspector.pages.html import write_page
from inspector.pages.scan.patterns import Patterns, draw_pattern_sprites
from inspector.provenance import Provenance
from inspector.scanning import ScanError
from inspector.scanning.patches import ACROSS, ROWS, TILE
from inspector.text import to_script

MOST_PATHS = 20_000
"""Paths of best pictures that the page holds; of more it tells numbers."""
PAGE_NAME = "report.html"


def write_scan_page(folder: Path, patterns: Patterns | None = None) -> Path:
    """Write ``report.html`` of a finished scan.

    Args:
        folder: The folder of the scan.
        patterns: Patterns that are shown beside the patches of their channels.

    Raises:
        ScanError: The scan is not finished.
        OutputError: The page cannot be written.
    """
    document = read_scan(folder)
    data = collect_page(folder, document, patterns or {})
    made = document["provenance"]
    provenance = Provenance(made["model"] or "", method="scan", settings=made["settings"], version=made["version"])
    return write_page(folder / PAGE_NAME, "scan", provenance, scan=document, data=to_script(data))


def read_scan(folder: Path) -> dict[str, Any]:
    """The document ``scan.json`` of a finished scan.

    Raises:
        ScanError: There is none.
    """
    try:
        document: dict[str, Any] = json.loads((folder / "scan.json").read_text("utf-8"))
        return document
    except (OSError, ValueError):
        raise ScanError(f"{folder} holds no finished scan", "scan with --resume, or merge all parts") from None


def collect_page(folder: Path, document: Mapping[str, Any], patterns: Patterns) -> dict[str, Any]:
    """The data of the page; the sprites of the patterns are written."""
    parquet = need("pyarrow.parquet", "scan", "the page of a scan needs pyarrow")
    channels = parquet.read_table(folder / "channels.parquet").to_pydict()
    classes = {name: k for k, name in enumerate(document["classes"])}
    layers = {layer["name"]: k for k, layer in enumerate(document["layers"])}
    names = list(zip(channels["layer"], channels["channel"], strict=True))
    files, places = draw_pattern_sprites(folder, names, patterns)
    return {
        "tile": TILE,
        "patterns": files,
        "across": ACROSS,
        "rows": ROWS,
        "top": document["provenance"]["settings"]["top"],
        "model": Path(document["model"]["path"]).name,
        "layers": document["layers"],
        "embedding": layers.get(document["embedding"]["layer"]),
        "classes": document["classes"],
        "answers": document["answers"],
        "clusters": document["clusters"],
        "sheets": document["sheets"],
        "channels": [[*_pack(channels, k, layers, classes), place] for k, place in enumerate(places)],
        "paths": _read_paths(folder, parquet, channels["top_pictures"]),
    }


def _pack(channels: Mapping[str, Any], k: int, layers: Mapping[str, int], classes: Mapping[str, int]) -> list[Any]:
    """One channel as a row: the page may have ten thousand of them."""
    histogram = channels["histogram"][k]
    return [
        layers[channels["layer"][k]],
        channels["channel"][k],
        channels["sprite"][k],
        channels["sprite_row"][k],
        *(_short(channels[name][k]) for name in ("mean", "std", "peak", "minimum", "maximum", "zero_fraction")),
        *(_short(channels[name][k]) for name in ("sparsity", "selectivity", "active_share")),
        int(channels["dead"][k]) + 2 * int(channels["always_on"][k]),
        [classes[name] for name in channels["classes"][k]],
        channels["similar"][k],
        [_short(value) for value in channels["top_values"][k]],
        channels["top_pictures"][k],
        [[bin_, count] for bin_, count in enumerate(histogram) if count],
    ]


def _short(value: float | None) -> float | None:
    return None if value is None else float(f"{value:.4g}")


def _read_paths(folder: Path, parquet: Any, top: list[list[int]]) -> dict[int, str]:
    """Number -> path of the pictures that channels name."""
    wanted = {number for row in top for number in row}
    if len(wanted) > MOST_PATHS:
        return {}
    found: dict[int, str] = {}
    with parquet.ParquetFile(folder / "pictures.parquet") as file:
        for batch in file.iter_batches(1024, columns=["picture", "path"]):
            numbers, paths = batch.column("picture").to_pylist(), batch.column("path").to_pylist()
            found |= {number: path for number, path in zip(numbers, paths, strict=True) if number in wanted}
    return found
