"""A live page of a small network."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from PIL import Image

from inspector import Preprocess, open_model
from inspector.model.annotate import annotate_model
from inspector.pages.live import write_live_page
from inspector.pages.report import Report
from tests.foreign import Net


def build() -> onnx.ModelProto:
    """Two convolutions with a shortcut around the second, means over the places, five classes."""
    net = Net(seed=3)
    x = net.input("x", (1, 3, 32, 32))
    first = net("Relu", net.conv(x, 3, 8, 3, pads=1, stride=2))
    second = net("Relu", net.conv(first, 8, 8, 3, pads=1))
    both = net("Relu", net.conv(net("Add", first, second), 8, 12, 3, pads=1, stride=2))
    flat = net("Flatten", net("GlobalAveragePool", both))
    return net.model(net("Gemm", flat, net.weight((12, 5)), net.const(np.arange(5) / 10)))


@pytest.fixture(scope="session")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("live")
    onnx.save(build(), folder / "bare.onnx")
    preprocess = Preprocess(
        (32, 32), resize="shortest", resize_size=36, filter="bicubic", mean=(0.5,) * 3, std=(0.2,) * 3
    )
    labels = ["ant", "bee", "cat", "dog", "<elk>"]
    annotate_model(open_model(folder / "bare.onnx"), folder / "small.onnx", preprocess=preprocess, labels=labels)
    return folder / "small.onnx"


@pytest.fixture(scope="session")
def picture(small: Path) -> Path:
    rng = np.random.default_rng(1)
    rough = Image.fromarray(rng.integers(0, 256, (6, 8, 3), np.uint8)).resize((80, 60), Image.Resampling.BICUBIC)
    rough.save(small.parent / "rough.png")
    return small.parent / "rough.png"


@pytest.fixture(scope="session")
def live_page(small: Path, picture: Path) -> Report:
    return write_live_page(open_model(small), [("rough.png", picture)], small.parent / "live.html")
