"""What is sent to those who watch: one message a frame and view, whose parts are encoded once for all.

A message is the length of its head (four bytes, little endian), the head (JSON), and its parts one after the other.
The head says under ``parts`` what each is and how many bytes it has.
"""

from __future__ import annotations

import io
import json
import math
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from inspector.image import Box
from inspector.pages.maps import to_maps
from inspector.render.png import encode_quickly
from inspector.render.scale import make_palette, to_indices
from inspector.text import to_json

SIDE = 640
"""Longer side of the picture that is shown, in pixels."""

QUALITY = 80
"""Of its JPEG, as Pillow counts."""

_SHEET_PIXELS = 400_000
"""Of all channels of a layer together; larger ones are reduced by area."""
_STEPS = 0xFC
"""Colors are told apart in steps of four, which makes sheets a quarter smaller. What is not finite keeps its own."""


_PALETTE = make_palette()


@dataclass(frozen=True, eq=False)
class MessagePart:
    """One part of a message.

    Attributes:
        kind: ``picture``, ``plane``, ``map`` or ``layer``.
        about: What the head says of it.
        data: Its bytes.
    """

    kind: str
    about: Mapping[str, Any]
    data: bytes = field(repr=False)


def build_message(head: Mapping[str, Any], parts: Sequence[MessagePart] = ()) -> bytes:
    """Join a message.

    Args:
        head: What it says besides its parts.
        parts: In this order.
    """
    listed = [{"kind": part.kind, "bytes": len(part.data), **part.about} for part in parts]
    whole = {**head, "parts": listed}
    try:
        text = json.dumps(whole, allow_nan=False, check_circular=False).encode("ascii")
    except (TypeError, ValueError):  # numbers that are not finite, or numpy's; seldom, and four times as slow
        text = to_json(whole).encode("ascii")
    return b"".join([struct.pack("<I", len(text)), text, *(part.data for part in parts)])


def read_message(data: bytes) -> tuple[dict[str, Any], list[bytes]]:
    """Take a message apart: its head, and the bytes of its parts.

    Example:
        >>> read_message(build_message({"frame": 1}, [MessagePart("map", {}, b"ab")]))[1]
        [b'ab']
    """
    (length,) = struct.unpack_from("<I", data)
    head = json.loads(data[4 : 4 + length])
    parts, at = [], 4 + length
    for part in head["parts"]:
        parts.append(data[at : at + part["bytes"]])
        at += part["bytes"]
    return head, parts


def fit_side(size: tuple[int, int], side: int = SIDE) -> tuple[int, int]:
    """The size of a picture whose longer side is at most `side`, the same in shape.

    Example:
        >>> fit_side((1920, 1080))
        (640, 360)
    """
    scale = min(1.0, side / max(size))
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))


def encode_picture(picture: Image.Image) -> MessagePart:
    """The picture as it is shown: a JPEG of at most SIDE pixels a side."""
    shown = fit_side(picture.size)
    small = picture if shown == picture.size else picture.resize(shown, Image.Resampling.BILINEAR, reducing_gap=1.5)
    stream = io.BytesIO()
    small.save(stream, "JPEG", quality=QUALITY)
    return MessagePart("picture", {"size": list(shown), "of": list(picture.size)}, stream.getvalue())


def encode_plane(plane: NDArray[np.uint8]) -> MessagePart:
    """Classes of pixels, or greys, as they are: uint8 (h, w) as PNG, over the whole picture."""
    return MessagePart("plane", {"shape": list(plane.shape)}, encode_quickly(plane))


def encode_map(heatmap: NDArray[np.float32], box: Box, size: tuple[int, int], about: Mapping[str, Any]) -> MessagePart:
    """A heatmap: one byte for each element, 255 where the evidence is largest.

    Args:
        heatmap: float32 (h, w) in [0, 1].
        box: The part of the picture that it lies on, in pixels.
        size: (width, height) of the picture, in pixels.
        about: What else is told of it.
    """
    block = -(-max(heatmap.shape) // 96)
    small = heatmap[block // 2 :: block, block // 2 :: block]
    levels = np.rint(np.nan_to_num(small).clip(0, 1) * 255).astype(np.uint8)
    place = [box[0] / size[0], box[1] / size[1], box[2] / size[0], box[3] / size[1]]
    return MessagePart("map", {**about, "shape": list(levels.shape), "box": place}, levels.tobytes())


def encode_layer(values: NDArray[np.float32], name: str) -> MessagePart:
    """All channels of a layer as one sheet, each in colors from its lowest value to its highest.

    The sheet has the tiles in rows, and the head says how many stand in a row. What is not finite is magenta.

    Args:
        values: float32 (C, ...), of one picture.
        name: Of the layer.
    """
    maps = to_maps(values)
    if not maps.size:
        return MessagePart("layer", {"name": name, "empty": True}, b"")
    channels, height, width = maps.shape
    shrink = max(1, math.ceil(math.sqrt(maps.size / _SHEET_PIXELS)))
    shrink = min(shrink, max(height, width))
    found = to_indices(maps, shrink=shrink)
    indices = found.indices
    indices &= _STEPS
    _, h, w = indices.shape
    across = max(1, min(channels, round(math.sqrt(channels * h / w))))
    rows = -(-channels // across)
    if rows * across > channels:
        indices = np.concatenate([indices, np.zeros((rows * across - channels, h, w), np.uint8)])
    pixels = indices.reshape(rows, across, h, w).swapaxes(1, 2).reshape(rows * h, across * w)
    about = {
        "name": name,
        "shape": list(maps.shape),
        "tile": [h, w],
        "across": across,
        "low": float(found.low.min()),
        "high": float(found.high.max()),
        "zero": found.zero_fraction,
        "blank": np.flatnonzero(found.blank).tolist(),
        "bad": found.nan + found.infinite,
    }
    return MessagePart("layer", about, encode_quickly(pixels, _PALETTE))
