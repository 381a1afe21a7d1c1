"""A small network, a short video, and an engine that is run by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from inspector.model import Model, open_model
from tests.conftest import MakeModel, require
from tests.foreign import Net


@pytest.fixture
def net(make_model: MakeModel) -> Model:
    """Two convolutions and a linear head of three classes; maps are in closed form."""

    def build(n: Net, x: str) -> str:
        first = n("Relu", n.conv(x, 3, 4, out="c1"), out="r1")
        last = n("Relu", n.conv(first, 4, 5, out="c2"), out="r2")
        return n("Gemm", n("Flatten", n("GlobalAveragePool", last)), n.weight((3, 5)), transB=1, out="scores")

    return open_model(make_model(build, shape=("N", 3, 16, 16)), threads=1)


def write_video(path: Path, frames: int = 12, size: tuple[int, int] = (64, 48), rate: int = 25) -> Path:
    """A video in which a bright square moves to the right; lossless, so that frames can be compared."""
    av = require("av")
    width, height = size
    with av.open(str(path), "w") as container:
        stream = container.add_stream("ffv1", rate=rate)
        stream.width, stream.height, stream.pix_fmt = width, height, "bgr0"
        for number in range(frames):
            picture = av.VideoFrame.from_ndarray(paint(number, size), format="rgb24").reformat(format="bgr0")
            container.mux(stream.encode(picture))
        container.mux(stream.encode(None))
    return path


def paint(number: int, size: tuple[int, int] = (64, 48)) -> np.ndarray:
    """uint8 (H, W, 3): the frame of that number."""
    width, height = size
    pixels = np.full((height, width, 3), 30, np.uint8)
    left = number * 3 % (width - 16)
    pixels[8:24, left : left + 16] = (250, 120, 10)
    return pixels


@pytest.fixture
def video(tmp_path: Path) -> Path:
    """Twelve frames in half a second."""
    return write_video(tmp_path / "video.mkv")
