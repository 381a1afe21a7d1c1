"""Graphs as exporters really write them: one constant with several readers, sizes that are computed, equal biases."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest

from exporters.quantizing import quantize_model
from inspector import open_model
from tests.conftest import MakeModel
from tests.foreign import Net


@pytest.fixture
def noise(tmp_path: Path) -> Path:
    from PIL import Image

    folder = tmp_path / "noise"
    folder.mkdir()
    rng = np.random.default_rng(1)
    for n in range(4):
        Image.fromarray(rng.integers(0, 256, (16, 16, 3), np.uint8)).save(folder / f"{n}.png")
    return folder


def one_weight_twice(n: Net, x: str) -> str:
    y = n("Relu", n.conv(x, 3, 8))
    w, b = n.weight((8, 8, 3, 3), "shared.weight"), n.const(np.full(8, 0.1), "shared.bias")
    for _ in range(2):
        y = n("Relu", n("Conv", y, w, b, pads=[1] * 4))
    return n("Flatten", n("GlobalAveragePool", y), out="end")


def one_bias_twice(n: Net, x: str) -> str:
    """Exporters write equal biases once: heads of detectors, all zeros."""
    b = n.const(np.zeros(8), "zeros")
    y = n("Conv", x, n.weight((8, 3, 3, 3)), b, pads=[1] * 4)
    y = n("Conv", n("Relu", y), n.weight((8, 8, 3, 3)), b, pads=[1] * 4)
    return n("Flatten", n("GlobalAveragePool", n("Relu", y)), out="end")


def one_weight_of_two_operators(n: Net, x: str) -> str:
    y = n("Flatten", n("GlobalAveragePool", n("Relu", n.conv(x, 3, 8))))
    w = n.weight((8, 8), "square")
    return n("Add", n("Gemm", y, w, transB=1), n("MatMul", y, w), out="end")


def sizes_multiplied(n: Net, x: str) -> str:
    """A flatten as old exporters write it: the sizes are multiplied in the graph, in 64-bit integers."""
    y = n("Relu", n.conv(x, 3, 8))
    shape = n("Shape", y)
    sizes = [n("Gather", shape, n.const(np.array(k)), axis=0) for k in range(4)]
    flat = n("Mul", n("Mul", sizes[1], sizes[2]), sizes[3])
    parts = [n("Unsqueeze", part, n.const(np.array([0]))) for part in (sizes[0], flat)]
    y = n("Reshape", y, n("Concat", *parts, axis=0))
    return n("Gemm", y, n.weight((8, 8 * 16 * 16)), transB=1, out="end")


@pytest.mark.parametrize("build", [one_weight_twice, one_bias_twice, one_weight_of_two_operators, sizes_multiplied])
def test_what_is_shared_or_counted(
    build: Callable[[Net, str], str], make_model: MakeModel, noise: Path, tmp_path: Path
) -> None:
    path = make_model(build, shape=("n", 3, 16, 16), opset=13, outputs={"end": ("n", 8)})
    quantize_model(path, tmp_path / "int8.onnx", noise)
    proto = onnx.load(tmp_path / "int8.onnx")
    onnx.checker.check_model(proto)
    for names in ([node.name for node in proto.graph.node if node.name], [t.name for t in proto.graph.initializer]):
        assert len(set(names)) == len(names)
    before, after = open_model(path), open_model(tmp_path / "int8.onnx")
    for picture in sorted(noise.iterdir()):
        expected, found = (model.scores(model.tensor(picture))[0] for model in (before, after))
        assert np.abs(found - expected).max() <= 0.05 * np.abs(expected).max()


def test_equal_integers_are_written_once(make_model: MakeModel, noise: Path, tmp_path: Path) -> None:
    path = make_model(one_weight_twice, shape=("n", 3, 16, 16), opset=13, outputs={"end": ("n", 8)})
    quantize_model(path, tmp_path / "int8.onnx", noise)
    weights = [t for t in onnx.load(tmp_path / "int8.onnx").graph.initializer if list(t.dims) == [8, 8, 3, 3]]
    assert len(weights) == 1
