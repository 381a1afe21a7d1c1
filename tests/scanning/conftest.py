"""A small network, a set of small pictures with labels, and what a scan leaves in its folder."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from inspector.model import Model, open_model
from inspector.scanning import ScanOptions, scan_pictures
from tests.conftest import require
from tests.foreign import Net

require("pyarrow")

CLASSES = ("red", "green", "blue")


@pytest.fixture(scope="session")
def network(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two layers of 6 and 8 channels at two resolutions, and three classes, with the names of CLASSES."""
    net = Net(seed=3)
    x = net.input("x", (1, 3, 16, 16))
    y = net("Relu", net.conv(x, 3, 6, 3, pads=1), out="first")
    z = net("Relu", net.conv(net("MaxPool", y, kernel_shape=[2, 2], strides=[2, 2]), 6, 8, 3, pads=1), out="second")
    scores = net("Gemm", net("Flatten", net("GlobalAveragePool", z)), net.weight((3, 8)), transB=1, out="scores")
    path = tmp_path_factory.mktemp("network") / "network.onnx"
    path.write_bytes(net.model(scores).SerializeToString())
    from inspector.model.annotate import annotate_model

    annotate_model(open_model(path), path.with_name("named.onnx"), labels=CLASSES)
    return path.with_name("named.onnx")


@pytest.fixture(scope="session")
def model(network: Path) -> Model:
    return open_model(network)


@pytest.fixture(scope="session")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of three classes with 41 pictures, of which one is broken."""
    root = tmp_path_factory.mktemp("set") / "set"
    rng = np.random.default_rng(7)
    for number in range(40):
        kind = CLASSES[number % 3]
        (root / kind).mkdir(parents=True, exist_ok=True)
        pixels = rng.integers(0, 256, (18 + number % 3, 20, 3), np.uint8)
        pixels[..., number % 3] |= 128
        Image.fromarray(pixels).save(root / kind / f"{number:02d}.png")
    (root / "red" / "broken.jpg").write_bytes(b"\xff\xd8\xff no picture")
    return root


@pytest.fixture(scope="session")
def scanned(model: Model, pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The scan of these pictures in six shards, which no test may change."""
    folder = tmp_path_factory.mktemp("scan") / "scan"
    made = scan_pictures(model, [pictures], folder, ScanOptions(engine="plain", shard_size=7, top=4))
    assert (made.pictures, made.shards, len(made.skipped)) == (40, 6, 1)
    return folder


def read_results(folder: Path) -> dict[str, bytes]:
    """What a scan is for: everything in its folder but the plan, the list and the states."""
    kept = [p for p in sorted(folder.rglob("*")) if p.is_file() and p.parent.name != "states"]
    apart = {"plan.json", "pictures.jsonl", "pictures-starts.npy", "scan.lock"}
    return {str(p.relative_to(folder)): p.read_bytes() for p in kept if p.name not in apart}
