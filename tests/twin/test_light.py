"""The nine classical networks in the onnx wheel agree with onnxruntime on every tensor."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.conftest import LIGHT, require

require("torch")

from inspector.graph import read_graph  # noqa: E402
from inspector.twin import build_twin, find_unsupported, verify_twin  # noqa: E402

FILES = sorted(LIGHT.glob("light_*.onnx"))


def test_there_are_nine() -> None:
    assert len(FILES) == 9


@pytest.mark.parametrize("path", FILES, ids=lambda p: p.stem)
def test_every_tensor_agrees(path: Path) -> None:
    graph = read_graph(path)
    assert find_unsupported(graph) == []
    twin = build_twin(graph, graph.outputs)
    (picture,) = graph.inputs
    assert picture.shape is not None
    shape = [size if isinstance(size, int) else 1 for size in picture.shape]
    feeds = {picture.name: np.random.default_rng(0).standard_normal(shape).astype(np.float32)}
    found = verify_twin(twin, graph, feeds, tensors=twin.computed, tolerance=1e-4)
    depending = {picture.name}
    for node in graph.nodes:
        if depending & set(node.input):
            depending.update(node.output)
    assert {a.layer for a in found} >= depending - {picture.name}
