"""From what ffmpeg opens to upright pictures: shared by cameras, files and streams."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from inspector.errors import one_line
from inspector.extras import need
from inspector.image.open import MAX_PIXELS
from inspector.serving.frames import Frame
from inspector.serving.sources.source import SourceLost

if TYPE_CHECKING:
    from av.container import InputContainer

_MOST_DAMAGED = 100
"""Packets in a row that cannot be decoded, after which there is nothing to hope for."""

_USUAL_RATE = 25
"""Frames a second of a file that does not say it."""


def need_ffmpeg() -> Any:
    """The module `av`.

    Raises:
        MissingExtra: It is not installed.
    """
    return need("av", "live", "cameras, video files and streams need PyAV")


@contextmanager
def open_container(name: str, address: str, **options: Any) -> Iterator[InputContainer]:
    """Open what ffmpeg reads, and close it.

    Args:
        name: What it is called in errors.
        address: What it is opened by.
        options: Of `av.open`.

    Raises:
        SourceLost: It cannot be opened, or fails while it is read.
    """
    av = need_ffmpeg()
    try:
        with av.open(address, **options) as container:
            yield container
    except (av.error.FFmpegError, OSError) as error:
        raise SourceLost(f"{name} cannot be read: {explain(error)}") from None


def explain(error: Exception) -> str:
    """What ffmpeg says of an error, without its numbers and the address, which may hold a password."""
    return one_line(getattr(error, "strerror", None) or type(error).__name__, 120)


def decode_frames(container: InputContainer, name: str) -> Iterator[Frame]:
    """Give the pictures of the first video stream. A damaged packet is passed over.

    Args:
        container: An open one.
        name: What it is called in errors.

    Raises:
        SourceLost: There is no video in it, its pictures are too large, or it is too much damaged.
    """
    av = need_ffmpeg()
    if not container.streams.video:
        raise SourceLost(f"there is no video in {name}", "give a video file, or a folder for pictures")
    stream = container.streams.video[0]
    first: float | None = None
    # Where there are no times, as in a bare .h264, frames are counted.
    step = 1 / float(stream.average_rate or stream.guessed_rate or _USUAL_RATE)
    place = -step
    damaged = 0
    for packet in container.demux(stream):
        try:
            found = packet.decode()
        except av.error.InvalidDataError as error:
            damaged += 1
            if damaged > _MOST_DAMAGED:
                raise SourceLost(f"{name} is damaged: {explain(error)}") from None
            continue
        for picture in found:
            damaged = 0
            if picture.width * picture.height > MAX_PIXELS:
                raise SourceLost(f"{name} has pictures of {picture.width} x {picture.height} pixels, which is too many")
            place = float(picture.time) if picture.time is not None else place + step
            first = place if first is None else first
            pixels = turn_upright(np.asarray(picture.to_ndarray(format="rgb24"), np.uint8), int(picture.rotation or 0))
            yield Frame(pixels, time.time(), max(0.0, place - first))


def turn_upright(pixels: NDArray[np.uint8], degrees: int) -> NDArray[np.uint8]:
    """The picture turned as its file says: uint8 (H, W, 3), or (W, H, 3) for a quarter turn."""
    quarters = round(degrees / 90) % 4
    return np.ascontiguousarray(np.rot90(pixels, quarters)) if quarters else pixels
