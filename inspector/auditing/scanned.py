"""A scan in the place of a folder of pictures: some of its pictures are run, what it knows of all of them is taken."""

from __future__ import annotations

from pathlib import Path

from inspector.auditing.pictures import PictureEntry, PictureSet
from inspector.image import choose_evenly
from inspector.model import Model
from inspector.scanning.listing import read_shard
from inspector.scanning.plan import load_plan
from inspector.scanning.reference import read_scan_reference
from inspector.scanning.sources.opening import is_address
from inspector.text import relative

MOST_RUN = 500
"""Pictures of a scan that an audit runs, evenly spread; a scan may have a million."""


def find_scan_entries(model: Model, folder: Path, limit: int = 0) -> PictureSet:
    """Pictures of a scan, evenly spread, and what the scan knows of all of them, where it is of this model.

    Args:
        model: What is audited.
        folder: The folder of the scan.
        limit: At most so many pictures; 0 takes MOST_RUN.

    Raises:
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
            label = plan.labels.get(picture.label, -1) if picture.label is not None else -1
            known = label if 0 <= label < plan.known else None
            path = Path(picture.file)
            if picture.member or picture.start >= 0 or is_address(picture.file):
                entries.append(PictureEntry(path, picture.name, picture.name, known, held=picture))
            else:
                entries.append(PictureEntry(path, relative(path), picture.name, known))
    unknown = [entry for entry in entries if entry.label is None]
    reason = f"{len(unknown)} of its pictures have no label that the model knows" if unknown else ""
    told = f"{len(entries)} of the {plan.total:,} pictures of the scan {relative(folder)}"
    if plan.model.digest != model.digest:
        note = f"{told} are run; what it knows is of another model, and left out"
        return PictureSet(tuple(entries), folder, reason, (note,))
    reference = read_scan_reference(folder, model)
    note = f"{told} are run for what the scan does not hold; the rest is judged by all {reference.pictures:,} of them"
    return PictureSet(tuple(entries), folder, reason, (note,), reference)
