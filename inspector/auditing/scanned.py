"""A scan in the place of a folder of pictures: some of its pictures are run, what it knows of all of them is taken."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from inspector.auditing.pictures import PictureEntry, PictureSet
from inspector.auditing.probes.ranges import Ranges
from inspector.errors import ImageError
from inspector.extras import need
from inspector.image import choose_evenly
from inspector.model import Model
from inspector.scanning.listing import read_shard
from inspector.scanning.plan import ScanPlan, load_plan
from inspector.scanning.sources.opening import is_address
from inspector.text import relative

MOST_RUN = 500
"""Pictures of a scan that an audit runs, evenly spread; a scan may have a million."""


def find_scan_entries(model: Model, folder: Path, limit: int = 0) -> PictureSet:
    """Pictures of a scan, evenly spread.

    Args:
        model: What is audited.
        folder: The folder of the scan.
        limit: At most so many pictures; 0 takes MOST_RUN.

    Raises:
        ImageError: The pictures lie in archives or at addresses, where an audit cannot open them.
        ScanError: The scan cannot be read.
    """
    plan = load_plan(folder)
    chosen = choose_evenly(plan.total, min(limit or MOST_RUN, MOST_RUN))
    entries = []
    for shard in sorted({number // plan.shard_size for number in chosen}):
        first, end = plan.find_range(shard)
        held = read_shard(folder, shard)
        for number in (k for k in chosen if first <= k < end):
            picture = held[number - first]
            if picture.member or picture.start >= 0 or is_address(picture.file):
                raise ImageError(
                    f"the pictures of the scan {folder} lie in archives or at addresses, and an audit opens files",
                    "unpack some of them into a folder for --data",
                )
            label = plan.labels.get(picture.label, -1) if picture.label is not None else -1
            known = label if 0 <= label < plan.known else None
            path = Path(picture.file)
            entries.append(PictureEntry(path, relative(path), picture.name, known))
    unknown = [entry for entry in entries if entry.label is None]
    reason = f"{len(unknown)} of its pictures have no label that the model knows" if unknown else ""
    told = f"{len(entries)} of the {plan.total:,} pictures of the scan {relative(folder)} were run"
    same = "" if plan.model.digest == model.digest else ", which was made with another model"
    more = "; dead channels of its layers are judged by all of them" if not same else ""
    return PictureSet(tuple(entries), folder, reason, (f"{told}{same}{more}",))


def add_scan(ranges: Ranges, model: Model, folder: Path) -> None:
    """Take in what a scan of this model knows of the channels of its layers: nothing where it is of another model.

    Args:
        ranges: What the audit found on the pictures that it ran.
        model: What is audited.
        folder: The folder of the scan.
    """
    plan: ScanPlan = load_plan(folder)
    if plan.model.digest != model.digest:
        return
    parquet = need("pyarrow.parquet", "scan", "the tables of a scan need pyarrow")
    names = ["layer", "minimum", "maximum", "dead"]
    table = parquet.read_table(folder / "channels.parquet", columns=names).to_pydict()
    layers = np.array(table["layer"], object)
    for name in ranges.awake:
        own = layers == name
        if own.sum() != len(ranges.awake[name]):
            continue
        low, high = (np.array(table[key], np.float32)[own] for key in ("minimum", "maximum"))
        ranges.lowest[name] = np.minimum(ranges.lowest[name], low)
        ranges.highest[name] = np.maximum(ranges.highest[name], high)
        if name not in ranges.single:
            ranges.awake[name] = ranges.awake[name] | ~np.array(table["dead"], np.bool_)[own]
