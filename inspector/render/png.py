"""Pictures to PNG files: whole or not at all, and with what made them inside."""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from inspector.files import atomic_path, open_part, write_bytes
from inspector.records import record

isal_zlib: ModuleType | None
try:
    from isal import isal_zlib
except ImportError:  # there are machines that it is not made for; zlib does the same in six times the time
    isal_zlib = None

_BAND = 1 << 18
"""Pixels that are filtered and compressed at a time, so that they stay in the processor's cache."""

_SAMPLE = 24
"""Rows in the middle of a picture that are compressed by each filter, to take the best one."""

SAME, ALIKE = 1, 2
"""What Indices say of a row that repeats the one above it, whole or but for a few pixels."""

_PLAIN, _LEFT, _ABOVE = 0, 1, 2
"""The filters of a row: its pixels, their differences to the left neighbors, those to the row above."""


@record(eq=False)
class Indices:
    """A picture of one byte a pixel, as it is drawn and as a file holds it: an image would only copy it twice.

    Attributes:
        pixels: uint8 (h, w), indices of the palette.
        palette: 256 colors, 768 bytes.
        repeats: uint8 (h,): SAME for a row that is the one above it, ALIKE for one that is but for a few pixels, 0 for
            any other; None where nobody knows.
    """

    pixels: NDArray[np.uint8]
    palette: bytes
    repeats: NDArray[np.uint8] | None = None

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in pixels."""
        return self.pixels.shape[1], self.pixels.shape[0]

    def to_image(self) -> Image.Image:
        """The same as an image of mode "P"."""
        image = Image.fromarray(self.pixels)
        image.putpalette(self.palette)
        return image


def save_png(
    image: Image.Image | Indices, path: str | os.PathLike[str], text: Mapping[str, str] | None = None, level: int = 1
) -> Path:
    """Write `image` to `path` as PNG; `text` goes into its text chunks in the order given.

    The same image and text give the same bytes on the same machine: no time, no profile and no thumbnail is
    written.

    Args:
        image: The picture.
        path: The file that is written.
        text: What made the picture, such as model digest, image digest, layer, method, seed and version.
        level: Of compression, 1 quick to 9 small.

    Raises:
        OutputError: The file cannot be written.
    """
    chunks = PngInfo()
    for key, value in (text or {}).items():
        # A keyword is 1 to 79 Latin-1 characters; a value may be any text, but no lone surrogate of a file name.
        keyword = key.encode("latin-1", "replace").decode("latin-1").replace("\0", " ").strip()[:79] or "text"
        chunks.add_text(keyword, value.encode("utf-8", "replace").decode("utf-8").replace("\0", " "))
    sheet = image if isinstance(image, Indices) else _find_sheet(image)
    if isal_zlib is not None and level == 1 and sheet is not None:
        return write_bytes(path, _encode_sheet(sheet, chunks, isal_zlib))
    if isinstance(image, Indices):
        image = image.to_image()
    if isal_zlib is not None and level == 1 and image.mode == "RGB" and min(image.size) > 0:
        rows = np.frombuffer(image.tobytes(), np.uint8).reshape(image.height, 3 * image.width)
        head = [_chunk(name, value) for name, value, *_ in chunks.chunks]
        return write_bytes(path, _join(rows, 2, head, lambda: isal_zlib.compressobj(1)))
    plain = image
    if image.info:
        # Pillow would copy the ICC profile and the EXIF data of a photograph into the file.
        plain = image.copy()
        plain.info = {}
    with atomic_path(path) as temporary, open_part(temporary) as stream:
        plain.save(stream, format="PNG", compress_level=level, pnginfo=chunks)
    return Path(path)


def _find_sheet(image: Image.Image) -> Indices | None:
    """The pixels of an image where each is an index of all 256 colors of a palette; few colors Pillow packs closer."""
    palette = bytes(image.getpalette() or ()) if image.mode == "P" and image.width * image.height else b""
    return Indices(np.asarray(image), palette) if len(palette) == 768 else None


def encode_sprite(pixels: NDArray[np.uint8]) -> bytes:
    """A picture of greys as the bytes of a PNG file, small and quick for many small tiles.

    Small maps have next to nothing that comes twice, and looking for it takes most of the time: runs of one value and
    the frequencies of the values are all that is used here.

    Args:
        pixels: uint8 (h, w).
    """
    return _join(pixels, 0, [], lambda: zlib.compressobj(1, zlib.DEFLATED, zlib.MAX_WBITS, 9, zlib.Z_RLE))


def encode_quickly(pixels: NDArray[np.uint8], palette: bytes = b"") -> bytes:
    """A picture of one byte a pixel as the bytes of a PNG file, in little time: for what is shown for a moment.

    Args:
        pixels: uint8 (h, w).
        palette: The colors of the 256 values, 768 bytes; none makes greys.
    """
    height, width = pixels.shape
    rows = np.zeros((height, width + 1), np.uint8)  # each behind the number of its filter, which is none
    rows[:, 1:] = pixels
    stream = isal_zlib.compressobj(1) if isal_zlib is not None else zlib.compressobj(1)
    facts = _chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 3 if palette else 0, 0, 0, 0))
    colors = [_chunk(b"PLTE", palette)] if palette else []
    data = _chunk(b"IDAT", stream.compress(rows.tobytes()) + stream.flush())
    return b"".join([b"\x89PNG\r\n\x1a\n", facts, *colors, data, _chunk(b"IEND", b"")])


def _encode_sheet(sheet: Indices, chunks: PngInfo, deflate: ModuleType) -> bytes:
    """The file of a picture of mode "P" by ISA-L, whose first level is quick and coarse.

    What it misses are the squares that small maps are enlarged to. The filters show them to it: a row like the one
    above, and a pixel like the one to its left, become zeros.
    """
    head = [_chunk(name, value) for name, value, *_ in chunks.chunks]
    head.append(_chunk(b"PLTE", sheet.palette))
    return _join(sheet.pixels, 3, head, lambda: deflate.compressobj(1), sheet.repeats)


def _join(
    pixels: NDArray[np.uint8],
    kind: int,
    head: list[bytes],
    make_stream: Callable[[], Any],
    repeats: NDArray[np.uint8] | None = None,
) -> bytes:
    """A file of 8 bits a value, by a compressor of zlib's interface.

    kind: the color type of the format, 0 for greys, 2 for three colors in turn, 3 for a palette.
    head: the chunks before the pixels.
    repeats: as in Indices.
    """
    height, width = pixels.shape
    step = 3 if kind == 2 else 1
    # Where maps were enlarged the pixels are squares, and most are as the one to the left.
    first = _choose_filter(pixels, make_stream, step) if repeats is None else _LEFT
    stream, above, packed, count = make_stream(), None, [], max(1, _BAND // width)
    for top in range(0, height, count):
        rows = pixels[top : top + count]
        known = _find_repeats(rows, above) if repeats is None else repeats[top : top + count]
        packed.append(stream.compress(_filter_rows(rows, above, first, step, known)))
        above = rows[-1]
    facts = _chunk(b"IHDR", struct.pack(">IIBBBBB", width // step, height, 8, kind, 0, 0, 0))
    data = _chunk(b"IDAT", b"".join([*packed, stream.flush()]))
    return b"".join([b"\x89PNG\r\n\x1a\n", facts, *head, data, _chunk(b"IEND", b"")])


def _choose_filter(pixels: NDArray[np.uint8], make_stream: Callable[[], Any], step: int) -> int:
    """The filter by which some rows become smallest."""
    top = max(0, (len(pixels) - _SAMPLE) // 2)
    rows = pixels[top : top + _SAMPLE]
    # Where a third of the rows are as the one above them, the pixels are squares, and most are as the one to the left.
    repeats, sizes = _find_repeats(rows, None), {}
    if np.count_nonzero(repeats) >= _SAMPLE // 3:
        return _LEFT
    for filter in (_LEFT, _PLAIN, _ABOVE):
        stream = make_stream()
        sizes[filter] = len(stream.compress(_filter_rows(rows, None, filter, step, repeats)) + stream.flush())
    return min(sizes, key=lambda filter: sizes[filter])


def _find_repeats(rows: NDArray[np.uint8], above: NDArray[np.uint8] | None) -> NDArray[np.uint8]:
    """Which rows (h, w) are as the one above them, as in Indices; above: the row (w,) before these, or None."""
    same = np.zeros(len(rows), np.bool_)
    same[0] = above is not None and np.array_equal(rows[0], above)
    np.all(rows[1:] == rows[:-1], axis=1, out=same[1:])
    return same.view(np.uint8)  # SAME is 1


def _filter_rows(
    rows: NDArray[np.uint8], above: NDArray[np.uint8] | None, filter: int, step: int, repeats: NDArray[np.uint8]
) -> memoryview:
    """Rows (h, w), each behind the number of its filter: `filter`, or _ABOVE for those that repeat the one above them.

    above: the row (w,) before the first of these; None at the top of the picture, where it counts as zeros.
    step: bytes of a pixel.
    repeats: uint8 (h,), as in Indices.
    """
    band = np.empty((len(rows), rows.shape[1] + 1), np.uint8)
    band[:, 0] = np.where(repeats > 0, _ABOVE, filter)
    # Integers of 8 bits wrap around, as the format asks for.
    if filter == _LEFT:
        band[:, 1 : 1 + step] = rows[:, :step]
        np.subtract(rows[:, step:], rows[:, :-step], out=band[:, 1 + step :])
    elif filter == _ABOVE:
        band[0, 1:] = rows[0] if above is None else rows[0] - above
        np.subtract(rows[1:], rows[:-1], out=band[1:, 1:])
    else:
        band[:, 1:] = rows
    band[repeats == SAME, 1:] = 0
    which = np.flatnonzero(repeats == ALIKE)
    if which.size:
        before = rows[which - 1]
        if which[0] == 0:
            before[0] = 0 if above is None else above
        band[which, 1:] = rows[which] - before
    return band.data.cast("B")


def _chunk(name: bytes, data: bytes) -> bytes:
    crc = (isal_zlib or zlib).crc32
    return b"".join([struct.pack(">I", len(data)), name, data, struct.pack(">I", crc(data, crc(name)))])
