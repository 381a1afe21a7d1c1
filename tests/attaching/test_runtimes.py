"""The same files in other runtimes: onnxruntime-web under node, OpenVINO."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from exporters.attaching import attach_outputs
from inspector.model import open_model
from tests.attaching.test_attach import run_file
from tests.attaching.test_calibration import write_pictures
from tests.attaching.test_saliency import strided

pytestmark = pytest.mark.slow
SHAPE = (2, 3, 8, 8)


@pytest.fixture
def attached(make_model: Any, tmp_path: Path) -> tuple[Path, Any, dict[str, Any]]:
    """A file with every kind of output, an input, and what onnxruntime says."""
    source = open_model(make_model(strided, shape=("N", *SHAPE[1:])), provider="cpu")
    known = write_pictures(source, tmp_path / "pictures") / "known"
    path = tmp_path / "made.onnx"
    attach_outputs(source, path, cam="gradcam++", calibrate=known, unknown=known, saliency="integrated:4")
    tensor = np.random.default_rng(0).random(SHAPE, np.float32)
    return path, tensor, run_file(path, tensor)


def compare(right: dict[str, Any], said: dict[str, Any]) -> None:
    assert {"cam", "probability", "unknown", "saliency"} <= set(right)
    for name, values in right.items():
        other = np.asarray(said[name], np.float32).reshape(values.shape)
        assert np.abs(values - other).max() <= 1e-5 * max(1, float(np.abs(values).max())), name


def test_onnxruntime_web(attached: Any, tmp_path: Path) -> None:
    """INSPECTOR_TESTS_NODE names a folder in which `npm install onnxruntime-web` was run."""
    folder, node = os.environ.get("INSPECTOR_TESTS_NODE"), shutil.which("node")
    if folder is None or node is None:
        pytest.skip("INSPECTOR_TESTS_NODE names no folder with onnxruntime-web, or there is no node")
    path, tensor, right = attached
    data = tmp_path / "data.json"
    data.write_text(json.dumps(tensor.reshape(-1).tolist()))
    script = Path(__file__).parent / "web.js"
    run = subprocess.run(
        [node, str(script), str(path), "x", ",".join(map(str, SHAPE)), str(data)],
        env={**os.environ, "NODE_PATH": str(Path(folder) / "node_modules")}, capture_output=True, text=True, check=True,
    )  # fmt: skip
    compare(right, json.loads(run.stdout))


def test_openvino(attached: Any) -> None:
    openvino = pytest.importorskip("openvino")  # of the extra peers
    path, tensor, right = attached
    found = openvino.Core().compile_model(str(path), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})(tensor)
    compare(right, {name: found[name] for name in right})
