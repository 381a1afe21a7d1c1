"""Runtimes beside onnxruntime: they run a graph in parts and give what onnxruntime gives."""

from __future__ import annotations

from pathlib import Path

import pytest

import inspector
from inspector.comparing import list_runtimes
from tests.comparing.test_compare import build
from tests.conftest import MakeModel


@pytest.mark.parametrize("name", ["twin", "openvino", "web"])
def test_another_runtime_does_not_part(make_model: MakeModel, photo: Path, name: str) -> None:
    path = make_model(build, shape=(1, 3, 32, 32))
    assert name in list_runtimes()
    try:
        found = inspector.compare(path, images=photo, runtimes=["cpu", name])
    except inspector.MissingExtra as error:
        pytest.skip(error.message)
    assert found.parted is None
    assert found.layers[0].own_db is not None
    assert len(found.layers) == len(inspector.list_layers(path))
