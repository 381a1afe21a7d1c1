"""The map of a detector's best box as an output of the file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from exporters.attaching import attach_outputs
from inspector.cam import BoxChoice, class_activation_maps
from inspector.errors import NotComputable
from inspector.model import open_model
from tests.attaching.test_attach import run_file
from tests.cam.detectors import Detector, export, torch


@pytest.mark.parametrize(
    ("style", "method"), [("v8", "layercam"), pytest.param("v11", "hirescam", marks=pytest.mark.slow)]
)
def test_the_best_box_of_three_scales(style: str, method: str, tmp_path: Path) -> None:
    torch.manual_seed(3)
    source = open_model(export(Detector(style).eval(), tmp_path / "net.onnx"))
    made = attach_outputs(source, tmp_path / "made.onnx", cam=method)
    assert [(o.name, o.shape[1:]) for o in made.outputs] == [("cam", (160, 192))]
    opened = open_model(made.path)
    assert opened.task == "detect"
    tensor = np.random.default_rng(1).random((1, 3, 160, 192), np.float32)
    choice = BoxChoice(boxes=(0,), confidence=0.0)
    [result] = class_activation_maps(source, tensor, method=method, choice=choice)
    assert np.abs(run_file(made.path, tensor)["cam"][0] - result.heatmap).max() < 1e-5
    with pytest.raises(NotComputable, match="gradcam looks at more"):
        attach_outputs(source, tmp_path / "other.onnx", cam="gradcam")
