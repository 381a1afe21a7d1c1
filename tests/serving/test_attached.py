"""Attached outputs while frames are watched: taken from the file, in the one run, and said."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from exporters.attaching import attach_outputs
from inspector.cam import CamResult
from inspector.errors import ClassNotFound
from inspector.model import open_model
from inspector.pages.live import write_live_page
from inspector.serving.attached import FileMap
from inspector.serving.frames import Frame
from inspector.serving.look import Looker
from inspector.serving.views import Wanted, read_view
from tests.attaching.test_attach import pooled, run_file
from tests.attaching.test_calibration import write_pictures
from tests.conftest import MakeModel, require
from tests.test_cli import call


def test_answers_and_maps_are_those_of_the_file(
    make_model: MakeModel, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = open_model(make_model(pooled, shape=("N", 3, 8, 8)), provider="cpu")
    known = write_pictures(source, tmp_path / "pictures") / "known"
    made = attach_outputs(
        source, tmp_path / "made.onnx", cam="hirescam", calibrate=known, unknown=known, saliency="gradient"
    ).path
    picture = np.random.default_rng(5).integers(60, 200, (8, 8, 3), np.uint8)
    values = run_file(made, source.tensor(picture))
    best = int(values["probability"].argmax())
    other = (best + 1) % 7
    looker = Looker(open_model(made, threads=1, provider="cpu"))
    wanted = Wanted(("relu4",), (other, "best", "saliency"))
    for _ in range(2):
        before = looker.sessions.runs
        seen = looker.look(Frame(picture, 0.0), wanted)
    assert looker.sessions.runs == before + 1
    answer = seen.answer
    assert answer.confidence == float(values["probability"].max())
    assert answer.unscaled == pytest.approx(source.predict(picture)[0].probability, abs=1e-6)
    assert answer.about["attached"]["probability"] == "probability"
    assert answer.about["attached"]["unknown"]["value"] == float(values["unknown"][0])
    for target, index, wanted_map in (
        ("best", best, values["cam"][0]),
        (other, other, values["cam_classes"][0, other]),
    ):
        found: Any = seen.maps[target]
        assert isinstance(found, FileMap)
        assert (found.target.index, found.method, found.layer) == (index, "hirescam", "relu4")
        assert np.abs(found.heatmap - wanted_map).max() < 1e-6
    shown: Any = seen.maps["saliency"]
    sizes = np.abs(values["saliency"][0]).max(axis=0)
    assert np.abs(shown.heatmap - sizes / sizes.max()).max() < 1e-6
    assert (shown.target.index, shown.method, shown.attached) == (best, "gradient", "saliency")
    assert read_view(looker.model, {"map": "saliency"}).target == "saliency"
    with pytest.raises(ClassNotFound):
        read_view(source, {"map": "saliency"})
    # Another method is computed here, and the gradient is no method.
    seen = Looker(open_model(made, threads=1, provider="cpu"), "gradcam").look(Frame(picture, 0.0), wanted)
    assert [one.attached for one in seen.maps.values()] == [None, None, "saliency"]
    assert isinstance(seen.maps["best"], CamResult)

    require("uvicorn")
    (tmp_path / "one").mkdir()
    Image.fromarray(picture).save(tmp_path / "one" / "a.png")
    code, out, err = call(
        capsys, "live", made, "--source", tmp_path / "one", "--once", "--port", "0", "--provider", "cpu", "--json"
    )
    assert code == 0, err
    used = {name: name for name in ("cam", "cam_classes", "probability", "unknown", "saliency")}
    assert json.loads(out)["attached"] == used
    assert "by the file's own attached outputs: 'cam', 'cam_classes', 'probability', 'unknown', 'saliency'" in err


def test_a_page_that_holds_the_network_says_that_there_are_some(make_model: MakeModel, tmp_path: Path) -> None:
    made = attach_outputs(
        make_model(pooled, shape=("N", 3, 8, 8)), tmp_path / "made.onnx", cam="gradcam", provider="cpu"
    ).path
    opened = open_model(made, provider="cpu")
    page = write_live_page(opened, [], tmp_path / "page.html").path.read_text()
    assert "The file's own attached outputs are used: cam, cam_classes." in page
    without = replace(opened, attached=None)
    page = write_live_page(without, [], tmp_path / "page.html", original=opened).path.read_text()
    assert "The file has attached outputs (cam, cam_classes). In int8 there are none" in page
