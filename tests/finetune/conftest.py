"""The digits as picture files, a small base with random weights, and runs that several tests look at."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.conftest import require
from tests.foreign import Net

torch = require("torch")

torch.set_num_threads(1)


def write_digits(folder: Path, count: int, classes: int = 10) -> Path:
    """The first `count` of scikit-learn's digits (8x8, one channel) of the first classes, a folder a class."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    chosen = [k for k in range(len(digits.target)) if digits.target[k] < classes][:count]
    for k in chosen:
        place = folder / str(digits.target[k])
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.rint(digits.images[k] * 15.9375).astype(np.uint8)).save(place / f"{k}.png")
    return folder


@pytest.fixture(scope="session")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three classes, 40 pictures each or so."""
    return write_digits(tmp_path_factory.mktemp("digits"), 120, classes=3)


def small_base(path: Path, seed: int = 0, norm: bool = False, softmax: bool = False, batch: int | str = "N") -> Path:
    """A foreign classifier of seven classes without metadata: three convolutions with a residual, a pool, a linear."""
    net = Net(seed=seed)
    x = net.input("x", (batch, 3, 16, 16))
    a = net("Relu", net.conv(x, 3, 8))
    b = net("Relu", net.bn(net.conv(a, 8, 8), 8) if norm else net.conv(a, 8, 8))
    c = net("Add", net.conv(b, 8, 8), a)
    pooled = net("Flatten", net("AveragePool", net("Relu", c), kernel_shape=[4, 4], strides=[4, 4]))
    scores = net("Gemm", pooled, net.weight((128, 7)), net.weight((7,)))
    model = net.model(net("Softmax", scores, axis=1) if softmax else scores)
    path.write_bytes(model.SerializeToString())
    return path


@pytest.fixture(scope="session")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A base of a few thousand weights; its file says nothing of preprocess or labels."""
    return small_base(tmp_path_factory.mktemp("base") / "base.onnx")
