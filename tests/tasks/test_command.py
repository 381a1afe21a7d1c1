"""`inspector predict` and `annotate` on networks that are no classifiers, and the call under it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import inspector
from inspector.cli.app import run
from tests.conftest import PHOTO, MakeModel
from tests.foreign import Net
from tests.tasks.heads import make_head
from tests.tasks.test_decoders import write_document


@pytest.fixture
def detector(make_model: MakeModel) -> Path:
    rows = np.zeros((1, 300, 6), np.float32)
    rows[0, :2] = [[0, 0, 64, 32, 0.9, 0], [8, 24, 24, 40, 0.4, 3]]
    return make_model(make_head({"output0": rows}), metadata=write_document(2))


def call(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    code = run([*map(str, arguments)])
    out, err = capsys.readouterr()
    return code, out, err


def document(capsys: pytest.CaptureFixture[str], *arguments: object) -> dict[str, Any]:
    code, out, err = call(capsys, *arguments, "--json")
    assert code == 0, err
    found: dict[str, Any] = json.loads(out)
    return found


def test_the_boxes_of_a_picture(detector: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = document(capsys, "predict", detector, PHOTO, "--draw", "-o", tmp_path / "out")
    assert found["task"] == "detect"
    [entry] = found["images"]
    first, second = entry["boxes"]
    assert first["class"] == {"index": 0, "label": "thing 0"}
    assert second["class"] == {"index": 3, "label": "class 3"}
    assert first["score"] == pytest.approx(0.9)
    # 451 x 300 in 64 x 64: 43 rows of picture below 10 of padding.
    assert first["box"] == pytest.approx([0, 0, 451, 22 * 300 / 43], abs=0.01)
    assert (first["mask"], first["keypoints"], first["corners"]) == (None, None, None)
    with Image.open(entry["drawing"]) as drawing:
        assert drawing.size == (451, 300)
        assert drawing.info["Method"] == "objects"
    assert document(capsys, "predict", detector, PHOTO, "--confidence", "0.5")["images"][0]["drawing"] is None
    code, out, err = call(capsys, "predict", detector, PHOTO, "--confidence", "0.5")
    assert code == 0
    assert "1 object\nclass    score" in out
    assert "thing 0   0.90" in out
    assert "the outputs are those of YOLOv10" in err
    code, out, _ = call(capsys, "predict", detector, PHOTO, "--confidence", "0.95", "-q")
    assert (code, "nothing found" in out) == (0, True)
    assert document(capsys, "layers", detector)["task"] == "detect"
    code, _, err = call(capsys, "predict", detector, PHOTO, "--iou", "2")
    assert (code, "iou 2.0 is not in [0, 1]" in err) == (2, True)


def test_a_second_run_takes_away_the_masks_of_the_first(make_model: MakeModel, tmp_path: Path) -> None:
    masks = np.zeros((3, 1, 64, 64), np.float32)
    masks[:, :, 20:40, 20:40] = 1
    boxes = np.array([[10.0, 10, 50, 50]] * 3)
    outputs = {"b": boxes, "l": np.array([1, 2, 3]), "s": np.array([0.9, 0.8, 0.4]), "m": masks}
    model = inspector.open_model(make_model(make_head(outputs)))
    for confidence, names in ((0.3, ["mask-0", "mask-1", "mask-2"]), (0.85, ["mask-0"])):
        [found] = inspector.predict(model, PHOTO, draw=True, confidence=confidence, out=tmp_path / "out")
        assert [path.stem for path in found.masks if path is not None] == names
        assert sorted(p.stem for p in (tmp_path / "out" / "chelsea").glob("mask*")) == names
        assert found.boxes is not None
        with Image.open(str(found.masks[0])) as mask:
            np.testing.assert_array_equal(np.asarray(mask), found.boxes[0].mask)
        assert "<img" in found._repr_html_()


def test_the_segments_of_a_picture(make_model: MakeModel, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    maps = np.zeros((1, 3, 8, 8), np.float32)
    maps[:, 1, :, :2] = 9
    maps[:, 2, :, 2:] = 9
    path = make_model(make_head({"logits": maps}), metadata=write_document(3))
    [entry] = document(capsys, "predict", path, PHOTO, "--draw", "-o", tmp_path)["images"]
    assert [one["class"]["label"] for one in entry["segments"]] == ["thing 2", "thing 1"]
    assert sum(one["share"] for one in entry["segments"]) == pytest.approx(1)
    with Image.open(entry["mask"]) as mask:
        assert (mask.mode, mask.size) == ("P", (451, 300))
        assert set(np.unique(np.asarray(mask))) == {1, 2}
    assert Path(entry["drawing"]).exists()
    code, out, _ = call(capsys, "predict", path, PHOTO, "-o", tmp_path, "-q")
    assert code == 0
    assert "thing 2 74.9 %, thing 1 25.1 %" in out


def test_vectors_of_pictures(make_model: MakeModel, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def build(net: Net, x: str) -> str:
        vector = net("Flatten", net("GlobalAveragePool", net.conv(x, 3, 16)))
        return net("LpNormalization", vector, axis=1, p=2, out="embedding")

    path, other = make_model(build), tmp_path / "grey.png"
    Image.new("RGB", (9, 9), (60, 60, 60)).save(other)
    first, second, third = document(capsys, "predict", path, PHOTO, other, PHOTO)["images"]
    assert first["embedding"]["similar"] == []
    assert first["embedding"]["norm"] == pytest.approx(1, abs=1e-3)
    assert [one["path"] for one in third["embedding"]["similar"]] == [first["path"], second["path"]]
    assert third["embedding"]["similar"][0]["cosine"] == pytest.approx(1, abs=1e-5)
    assert "16 numbers, norm 1\n  +" in call(capsys, "predict", path, PHOTO, other, "-q")[1].partition("grey.png")[2]


def test_the_picture_of_a_network(make_model: MakeModel, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = make_model(lambda n, x: n("Identity", n.conv(x, 3, 3), out="y"), shape=(1, 3, 32, 32))
    [entry] = document(capsys, "predict", path, PHOTO, "-o", tmp_path)["images"]
    assert entry["shape"] == [32, 32, 3]
    with Image.open(entry["picture"]) as picture:
        assert picture.size == (32, 32)


def test_outputs_that_nobody_knows(make_model: MakeModel, capsys: pytest.CaptureFixture[str]) -> None:
    path = make_model(lambda n, x: n("Relu", n.conv(x, 3, 4), out="map"), outputs={"map": (1, 4, 8, 8)})
    code, out, err = call(capsys, "predict", path, PHOTO, "--json")
    assert code == 0
    found = json.loads(out)
    assert found["task"] is None
    [output] = found["images"][0]["outputs"]
    assert (output["name"], output["shape"], output["dtype"]) == ("map", [1, 4, 8, 8], "float32")
    assert 0 <= output["min"] < output["max"]
    assert "say it with `inspector annotate --task TASK --head HEAD` (heads: centerface," in err
    assert "map     1 x 4 x 8 x 8  float32" in call(capsys, "predict", path, PHOTO, "-q")[1]


def test_a_command_says_the_head(make_model: MakeModel, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = np.full((1, 50, 9), 0.5, np.float32)
    path, copy = make_model(make_head({"a": rows})), tmp_path / "said.onnx"
    assert call(capsys, "annotate", path, "-o", copy, "--task", "detect", "--head", "rtdetr")[0] == 0
    assert document(capsys, "predict", copy, PHOTO)["images"][0]["boxes"]
    code, _, err = call(capsys, "annotate", path, "-o", tmp_path / "no.onnx", "--head", "yolo")
    assert code == 2
    assert "there is no head 'yolo'; nearest: yolo" in err
    assert "known: centerface, centernet, dbnet" in err


def test_activations_show_the_boxes(detector: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """They are those of `predict`, drawn on the page; of another network there is no such field."""
    found = document(capsys, "activations", detector, PHOTO, "-o", tmp_path / "out")
    assert found["task"] == "detect"
    [entry] = found["images"]
    [predicted] = document(capsys, "predict", detector, PHOTO)["images"]
    assert entry["boxes"] == predicted["boxes"]
    with Image.open(entry["drawing"]) as drawing:
        assert drawing.size == (451, 300)
    page = Path(entry["overview"])
    assert Path(entry["drawing"]).parent == page.parent
    assert 'src="found.png" width="451" height="300"' in page.read_text("utf-8")
    code, out, _ = call(capsys, "activations", detector, PHOTO, "-o", tmp_path / "out", "-q")
    assert (code, "2 objects, drawn in" in out, "thing 0   0.90" in out) == (0, True, True)


def test_activations_show_the_segments(
    make_model: MakeModel, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    maps = np.zeros((1, 3, 8, 8), np.float32)
    maps[:, 1, :, :2] = 9
    maps[:, 2, :, 2:] = 9
    path = make_model(make_head({"logits": maps}), metadata=write_document(3))
    [entry] = document(capsys, "activations", path, PHOTO, "-o", tmp_path / "a")["images"]
    [same] = document(capsys, "predict", path, PHOTO, "--draw", "-o", tmp_path / "b")["images"]
    assert entry["segments"] == same["segments"]
    for key in ("mask", "drawing"):
        with Image.open(entry[key]) as one, Image.open(same[key]) as other:
            np.testing.assert_array_equal(np.asarray(one), np.asarray(other))
    page = Path(entry["overview"]).read_text("utf-8")
    assert "The class of each pixel: 2 classes" in page
    assert 'src="found.png"' in page
    code, out, _ = call(capsys, "activations", path, PHOTO, "-o", tmp_path / "a", "-q")
    assert (code, "thing 2 74.9 %, thing 1 25.1 %" in out) == (0, True)


@pytest.mark.parametrize("head", ["detector", "segmenter"])
def test_activations_run_the_network_once(
    head: str, make_model: MakeModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = np.zeros((1, 300, 6), np.float32)
    rows[0, 0] = [0, 0, 64, 32, 0.9, 0]
    outputs = {"output0": rows} if head == "detector" else {"logits": np.ones((1, 3, 8, 8), np.float32)}
    model = inspector.open_model(make_model(make_head(outputs), metadata=write_document(3)))
    runs: list[int] = []
    before = model.sessions.run
    monkeypatch.setattr(
        type(model.sessions), "run", lambda self, *given, **more: (runs.append(1), before(*given, **more))[1]
    )
    [drawn] = inspector.draw_activations(model, PHOTO, tmp_path)
    assert len(runs) == 1
    assert (drawn.found is not None, drawn.segments is not None) == (head == "detector", head == "segmenter")
