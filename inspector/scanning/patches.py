"""Patches of pictures as sprites: a row for each channel, cut from the few pictures that the best values come from."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from inspector.errors import ImageError
from inspector.files import make_safe_name, output_folder, write_bytes
from inspector.image import open_image
from inspector.receptive.patches import crop_patch
from inspector.runtime.providers import count_cores
from inspector.scanning.listing import Listed, read_shard
from inspector.scanning.plan import ScanPlan
from inspector.scanning.sources import PictureReader
from inspector.scanning.state import ChannelSums

TILE = 64
"""Side of a patch in pixels."""
ROWS = 64
"""Channels of a sprite, and rows of a sprite of whole pictures."""
ACROSS = 16
"""Pictures in a row of a sprite of whole pictures."""
PATCHES = "patches"
_TILES_AT_ONCE = 6144
"""Held in memory at a time: 75 MB. More channels need another pass over their pictures."""
_AHEAD = 64
_GREY = 236

PatchPlace = tuple[int, int, int]
"""(layer, row, column) that a patch is cut around; (-1, 0, 0) is the whole picture."""


def draw_channel_sprites(
    folder: Path, plan: ScanPlan, sums: ChannelSums, on_progress: Callable[..., None]
) -> list[tuple[str, int] | None]:
    """Write the sprites of all channels into ``patches/``.

    Args:
        folder: The folder of the scan.
        plan: Its plan.
        sums: What was summed.
        on_progress: Called with how much is done, how much there is, and what is done.

    Returns:
        For each channel its file, below the folder, and its row in it; None where no picture excited it.

    Raises:
        OutputError: A file cannot be written.
    """
    output_folder(folder / PATCHES)
    found: list[tuple[str, int] | None] = []
    names: set[str] = set()
    start, step = 0, max(1, _TILES_AT_ONCE // (plan.top * ROWS)) * ROWS
    total = len(sums.top_pictures)
    for number, layer in enumerate(plan.layers):
        name = make_safe_name(layer.name, names)
        for first in range(0, layer.channels, step):
            own = range(first, min(first + step, layer.channels))
            tiles = _cut_channels(folder, plan, sums, number, start, own)
            for k in range(0, len(own), ROWS):
                file = f"{PATCHES}/{name}-{(first + k) // ROWS:04d}.jpg"
                rows = tiles[k : k + ROWS]
                height, width = rows.shape[0] * TILE, rows.shape[1] * TILE
                _write_sheet(folder / file, rows.transpose(0, 2, 1, 3, 4).reshape(height, width, 3))
                seen = sums.top_pictures[start + first + k : start + first + k + ROWS, 0] >= 0
                found += [(file, row) if seen[row] else None for row in range(len(rows))]
            on_progress(start + own.stop, total, "patches")
        start += layer.channels
    return found


# Wide: which channels of what.
def _cut_channels(
    folder: Path, plan: ScanPlan, sums: ChannelSums, layer: int, start: int, channels: range
) -> NDArray[np.uint8]:
    """The tiles of some channels of a layer, uint8 (channels, top, TILE, TILE, 3)."""
    tiles = np.full((len(channels), plan.top, TILE, TILE, 3), _GREY, np.uint8)
    wanted: dict[int, list[tuple[PatchPlace, int, int]]] = {}
    for row, channel in enumerate(channels):
        for rank, number in enumerate(sums.top_pictures[start + channel].tolist()):
            if number >= 0:
                y, x = sums.top_places[start + channel, rank].tolist()
                wanted.setdefault(number, []).append(((layer, y, x), row, rank))
    places = {number: [place for place, _, _ in uses] for number, uses in wanted.items()}
    for number, cut in cut_patches(folder, plan, places):
        for (_, row, rank), tile in zip(wanted[number], cut, strict=True):
            tiles[row, rank] = tile
    return tiles


def draw_picture_sprites(
    folder: Path, plan: ScanPlan, numbers: Sequence[int], on_progress: Callable[..., None]
) -> list[str]:
    """Write sprites of whole pictures, ACROSS in a row and ROWS rows in a file.

    Args:
        folder: The folder of the scan.
        plan: Its plan.
        numbers: Of the pictures, ascending; the k-th lies at place k.
        on_progress: Called with how much is done, how much there is, and what is done.

    Returns:
        The files, below the folder.
    """
    output_folder(folder / PATCHES)
    files = []
    for start in range(0, len(numbers), ACROSS * ROWS):
        own = list(numbers[start : start + ACROSS * ROWS])
        rows = -(-len(own) // ACROSS)
        tiles = np.full((rows * ACROSS, TILE, TILE, 3), _GREY, np.uint8)
        at = {number: k for k, number in enumerate(own)}
        for number, cut in cut_patches(folder, plan, {number: [(-1, 0, 0)] for number in own}):
            tiles[at[number]] = cut[0]
        sheet = tiles.reshape(rows, ACROSS, TILE, TILE, 3).transpose(0, 2, 1, 3, 4)
        files.append(f"{PATCHES}/pictures-{start // (ACROSS * ROWS):04d}.jpg")
        _write_sheet(folder / files[-1], sheet.reshape(rows * TILE, ACROSS * TILE, 3))
        on_progress(min(start + ACROSS * ROWS, len(numbers)), len(numbers), "pictures")
    return files


def cut_patches(
    folder: Path, plan: ScanPlan, places: dict[int, list[PatchPlace]]
) -> Iterator[tuple[int, list[NDArray[np.uint8]]]]:
    """Cut patches, each picture opened once; one that is gone gives none.

    Args:
        folder: The folder of the scan.
        plan: Its plan.
        places: Number of a picture -> where to cut.

    Yields:
        (number, uint8 (TILE, TILE, 3) for each of its places).
    """
    preprocess, reader = plan.make_preprocess(), PictureReader()

    def cut(number: int, data: bytes | None) -> tuple[int, list[NDArray[np.uint8]]]:
        try:
            if data is None:
                return number, []
            view = preprocess.view(open_image(data)).convert("RGB")
        except ImageError:  # it was there when it was looked at
            return number, []
        # Many channels look at the same place, and deep ones at the whole picture.
        boxes = [_find_box(plan, place, view.size) for place in places[number]]
        tiles = {box: np.asarray(crop_patch(view, box, TILE)) for box in set(boxes)}
        return number, [tiles[box] for box in boxes]

    try:
        with ThreadPoolExecutor(count_cores()) as pool:
            waiting: list[Future[tuple[int, list[NDArray[np.uint8]]]]] = []
            for number, picture in _find_pictures(folder, plan, sorted(places)):
                try:
                    data = reader.read(picture)
                except ImageError:
                    continue
                waiting.append(pool.submit(cut, number, data))
                if len(waiting) >= _AHEAD:
                    yield from _take(waiting)
            yield from _take(waiting)
    finally:
        reader.close()


def _take(waiting: list[Future[tuple[int, list[NDArray[np.uint8]]]]]) -> Iterator[tuple[int, list[NDArray[np.uint8]]]]:
    for future in waiting:
        number, tiles = future.result()
        if tiles:
            yield number, tiles
    waiting.clear()


def _find_pictures(folder: Path, plan: ScanPlan, numbers: Sequence[int]) -> Iterator[tuple[int, Listed]]:
    """The pictures of the list with these numbers, ascending."""
    shard, held = -1, []
    for number in numbers:
        if number // plan.shard_size != shard:
            shard = number // plan.shard_size
            held = read_shard(folder, shard)
        yield number, held[number - shard * plan.shard_size]


def _find_box(plan: ScanPlan, place: PatchPlace, size: tuple[int, int]) -> tuple[int, int, int, int]:
    """What a place sees of a picture of `size` (width, height); all that covers the picture is one box."""
    layer, row, column = place
    whole = (0, 0, *size)
    if layer < 0:
        return whole
    left, top, right, bottom = plan.layers[layer].field.box((row, column), size[::-1])
    return whole if right - left >= size[0] and bottom - top >= size[1] else (left, top, right, bottom)


def _write_sheet(path: Path, pixels: NDArray[np.uint8]) -> None:
    from PIL import Image as images

    stream = io.BytesIO()
    images.fromarray(np.ascontiguousarray(pixels)).save(stream, "JPEG", quality=85)
    write_bytes(path, stream.getvalue())
