"""The patches that a finished scan kept, for others that show them: no picture is run again."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from inspector.extras import need
from inspector.layers import Layer
from inspector.model import Model
from inspector.receptive.patches import Patch, TopPatches
from inspector.scanning.listing import Listed, ScanError, read_shard
from inspector.scanning.plan import PLAN_NAME, ScanPlan, load_plan
from inspector.scanning.sources import PictureReader


class KeptPictures(Mapping[str, bytes]):
    """The pictures of a scan by name, each read when it is asked for.

    Args:
        pictures: Those that can be asked for.
    """

    def __init__(self, pictures: Mapping[str, Listed]) -> None:
        self._pictures = pictures

    def __getitem__(self, name: str) -> bytes:
        reader = PictureReader()
        try:
            return reader.read(self._pictures[name])
        finally:
            reader.close()

    def __iter__(self) -> Iterator[str]:
        return iter(self._pictures)

    def __len__(self) -> int:
        return len(self._pictures)


def is_scan(path: object) -> bool:
    """Whether the folder of a finished scan lies there."""
    if not isinstance(path, str | os.PathLike):
        return False
    return (Path(path) / "scan.json").is_file() and (Path(path) / PLAN_NAME).is_file()


def read_scan_patches(
    folder: Path, model: Model, layers: Sequence[Layer], top: int, channels: Sequence[int] | None
) -> tuple[dict[str, TopPatches], KeptPictures]:
    """The patches that a scan kept of some layers, as :func:`find_patches` would find them, and their pictures.

    Args:
        folder: The folder of the scan.
        model: The model; it must be that of the scan.
        layers: The layers.
        top: How many patches a channel, as far as the scan kept so many.
        channels: Those to read, where a layer has them; None reads all.

    Raises:
        ScanError: The scan is of another model, or did not look at a layer.
    """
    plan = load_plan(folder)
    if plan.model.digest != model.digest:
        raise ScanError(f"{folder} is a scan of another model than {model.path}", "scan with this one")
    known = {x.name: x for x in plan.layers}
    for name in (x.name for x in layers if x.name not in known):
        raise ScanError(f"{folder} holds no patches of {name}, but of {', '.join(known)}", f"scan with --layer {name}")
    parquet = need("pyarrow.parquet", "scan", "the tables of a scan need pyarrow")
    table = parquet.read_table(folder / "channels.parquet").to_pylist()
    names = {x.name for x in layers}
    rows = (row for row in table if row["layer"] in names)
    wanted = [row for row in rows if channels is None or row["channel"] in channels]
    pictures = _find_listed(folder, plan, {number for row in wanted for number in row["top_pictures"][:top]})
    sizes = _read_sizes(folder, parquet, set(pictures))
    seen = int(table[0]["pictures"]) if table else 0
    found = {}
    for layer in layers:
        field = known[layer.name].field
        patches = {
            row["channel"]: tuple(
                Patch(value, pictures[number].name, (y, x), field.box((y, x), model.preprocess.frame(sizes[number])))
                for number, value, y, x in list(
                    zip(row["top_pictures"], row["top_values"], row["top_rows"], row["top_columns"], strict=True)
                )[:top]
            )
            for row in wanted
            if row["layer"] == layer.name
        }
        found[layer.name] = TopPatches(layer, field, patches, seen, ())
    return found, KeptPictures({x.name: x for x in pictures.values()})


def _find_listed(folder: Path, plan: ScanPlan, numbers: set[int]) -> dict[int, Listed]:
    found: dict[int, Listed] = {}
    for shard in sorted({number // plan.shard_size for number in numbers}):
        first = shard * plan.shard_size
        for number, picture in enumerate(read_shard(folder, shard), first):
            if number in numbers:
                found[number] = picture
    return found


def _read_sizes(folder: Path, parquet: Any, numbers: set[int]) -> dict[int, tuple[int, int]]:
    """Number -> (width, height)."""
    found = {}
    with parquet.ParquetFile(folder / "pictures.parquet") as file:
        for batch in file.iter_batches(1024, columns=["picture", "width", "height"]):
            for row in batch.to_pylist():
                if row["picture"] in numbers:
                    found[row["picture"]] = row["width"], row["height"]
    return found
