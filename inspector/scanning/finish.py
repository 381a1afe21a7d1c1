"""The end of a scan: states are merged, and what they say is written as tables, sprites and documents."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from inspector.errors import ImageError
from inspector.files import write_text
from inspector.provenance import Provenance
from inspector.scanning.analysis.analyse import Analysis, analyse_pictures, make_analysis_columns
from inspector.scanning.channels import (
    CHANNEL_COLUMNS,
    ChannelTable,
    describe_channels,
    make_channel_columns,
    measure_zero_spread,
)
from inspector.scanning.columns import gather_columns
from inspector.scanning.folder import make_empty_sums, read_states
from inspector.scanning.listing import read_shard
from inspector.scanning.patches import draw_channel_sprites, draw_picture_sprites
from inspector.scanning.pictures import PICTURE_COLUMNS, make_picture_pieces
from inspector.scanning.plan import ScanPlan
from inspector.scanning.sheets import make_sheets
from inspector.scanning.state import ChannelSums, PictureRows
from inspector.scanning.tables import write_parquet
from inspector.text import to_json

SkippedPictures = tuple[tuple[str, str], ...]
"""(name, reason) of each picture that could not be used."""

SCAN_NAME = "scan.json"
"""The document of a finished scan, written last."""


def finish_scan(folder: Path, plan: ScanPlan, on_progress: Callable[..., None]) -> tuple[int, SkippedPictures]:
    """Merge the states of a scan, and write its tables, its patches and its document.

    Args:
        folder: The folder of the scan.
        plan: Its plan.
        on_progress: Called with how much is done, how much there is, and what is done.

    Returns:
        How many pictures were used, and (name, reason) of each that was skipped.

    Raises:
        ScanError: A state is missing.
        ImageError: No picture could be used.
        OutputError: A file cannot be written.
    """
    (folder / SCAN_NAME).unlink(missing_ok=True)
    sums, skipped = merge_sums(folder, plan, on_progress)
    if not sums.pictures:
        first = f"; the first: {skipped[0][1]}" if skipped else ""
        raise ImageError(f"none of {plan.total} pictures could be used{first}")
    table = describe_channels(plan, sums)
    sprites = draw_channel_sprites(folder, plan, sums, on_progress)
    values = make_channel_columns(plan, sums, table, sprites)
    write_parquet(folder / "channels.parquet", [values], CHANNEL_COLUMNS)
    with gather_columns(folder, _walk_rows(folder, plan), sums.pictures) as columns:
        found = analyse_pictures(plan, columns, on_progress)
        more = make_analysis_columns(columns, found)
        write_parquet(folder / "pictures.parquet", make_picture_pieces(folder, plan, columns, more), PICTURE_COLUMNS)
        sheets = make_sheets(folder, plan, columns, found)
        files = draw_picture_sprites(folder, plan, sheets.numbers, on_progress)
        document = describe_scan(plan, sums, skipped, table, found)
    document["sheets"] = {**sheets.to_json(), "sprites": files}
    write_text(folder / SCAN_NAME, to_json(document, indent=1) + "\n")
    return sums.pictures, skipped


def merge_sums(
    folder: Path, plan: ScanPlan, on_progress: Callable[..., None] = lambda done, total, about="": None
) -> tuple[ChannelSums, SkippedPictures]:
    """The sums over all shards of a scan, and (name, reason) of each picture that was skipped."""
    sums = make_empty_sums(plan)
    skipped: list[tuple[str, str]] = []
    for shard, state in enumerate(read_states(folder, plan)):
        sums = sums + state.sums
        if state.skipped:
            first, names = plan.find_range(shard)[0], read_shard(folder, shard)
            skipped += [(names[number - first].name, reason) for number, reason in state.skipped]
        on_progress(shard + 1, plan.shards, "merging")
    return sums, tuple(skipped)


def _walk_rows(folder: Path, plan: ScanPlan) -> Iterator[PictureRows]:
    for state in read_states(folder, plan, rows=True):
        if state.rows is not None and len(state.rows):
            yield state.rows


def describe_scan(
    plan: ScanPlan, sums: ChannelSums, skipped: SkippedPictures, table: ChannelTable, found: Analysis
) -> dict[str, Any]:
    """What stands in scan.json: nothing of when, where and how fast, so that the same scan gives the same file."""
    ends = [0]
    for layer in plan.layers:
        ends.append(ends[-1] + layer.channels)
    zero_spread = measure_zero_spread(plan, sums)
    layers = [
        {
            "name": layer.name,
            "kind": layer.kind,
            "channels": layer.channels,
            "dead": int(table.dead[a:b].sum()),
            "always_on": int(table.always_on[a:b].sum()),
            "zero_fraction": float(table.zero_fraction[a:b].mean()) if b > a else None,
            "zero_spread": float(zero_spread[k]),
            "sparsity": float(table.sparsity[a:b].mean()) if b > a else None,
            "non_finite": int(sums.non_finite[k]),
        }
        for k, (layer, a, b) in enumerate(zip(plan.layers, ends[:-1], ends[1:], strict=True))
    ]
    return {
        "schema": 1,
        "scan": plan.digest,
        "provenance": Provenance(model=plan.model.digest, method="scan", settings={"top": plan.top}).to_json(),
        "model": {"path": plan.model.path, "sha256": plan.model.sha256},
        "task": plan.task,
        "data": list(plan.data),
        "pictures": sums.pictures,
        "listed": plan.total,
        "labelled": plan.labelled,
        "layers": layers,
        "embedding": {"layer": plan.embed, "width": plan.width, "explained": found.components.explained},
        "answers": found.answers,
        "map": dict(found.map.about),
        "clusters": np.bincount(found.cluster),
        "classes": list(plan.classes),
        "known": plan.known,
        "skipped": [{"path": path, "reason": reason} for path, reason in skipped],
    }
