"""Layers without elements, as a detector's boxes are on a picture where it finds nothing.

They are shown as empty and skipped in sums.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from numpy.typing import NDArray
from PIL import Image

from exporters.quantizing import quantize_model
from inspector import open_model, statistics
from inspector.__main__ import main
from inspector.auditing import audit_model
from inspector.layers.statistics import take_first
from inspector.pages.gallery import draw_gallery
from inspector.pages.report import write_report
from inspector.receptive.patches import find_patches
from tests.conftest import MakeModel
from tests.foreign import Net


def detector(keeps: float = 0.9) -> onnx.ModelProto:
    """Places of a map whose first channel exceeds `keeps` become rows of four numbers; often there are none."""
    net = Net(4, opset=17)
    x = net("Relu", net.conv(net.input("x", (1, 3, 16, 16)), 3, 4, name="stem/Conv"), name="act/Relu")
    # The first channel is the mean of the picture, so that white pictures have boxes and black ones none.
    net.initializers[0].CopyFrom(
        onnx.numpy_helper.from_array(
            np.concatenate([np.full((1, 3, 3, 3), 1 / 27, np.float32), np.ones((3, 3, 3, 3), np.float32) / 9]),
            net.initializers[0].name,
        )
    )
    flat = net("Reshape", x, net.const([4, 256], dtype=np.int64))
    rows = net("Transpose", flat, perm=[1, 0])
    first = net("Reshape", net("Gather", rows, net.const(0, dtype=np.int64), axis=1), net.const([256], dtype=np.int64))
    kept = net("NonZero", net("Greater", first, net.const(np.float32(keeps))))
    places = net("Reshape", kept, net.const([-1], dtype=np.int64))
    boxes = net("Gather", rows, places, axis=0)
    return net.model(net("Sigmoid", boxes, name="boxes", out="boxes"), shapes={"boxes": ("n", 4)})


@pytest.fixture
def pictures(tmp_path: Path) -> dict[str, Path]:
    found = {}
    for name, value in {"black": 0, "white": 255, "dark": 8}.items():
        found[name] = tmp_path / f"{name}.png"
        Image.fromarray(np.full((16, 16, 3), value, np.uint8)).save(found[name])
    return found


def run(*given: str) -> None:
    with pytest.raises(SystemExit) as ended:
        main([*given, "-q"])
    assert not ended.value.code


def run_file(path: Path, tensor: NDArray[Any]) -> NDArray[np.float32]:
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return np.asarray(session.run(["boxes"], {"x": tensor})[0])


@pytest.mark.parametrize("shape", [(0, 6), (1, 0, 6), (1, 6, 0), (0, 6, 4, 4), (0,)])
def test_statistics_of_nothing(shape: tuple[int, ...]) -> None:
    found = statistics(take_first(np.zeros(shape, np.float32)))
    assert np.isnan([found.minimum, found.maximum, found.mean, found.std, found.zero_fraction]).all()
    assert (found.blank_channels, found.non_finite) == ((), 0)
    assert found.table().shape == ((shape[1:] or (0,))[0], 5)


def test_activations(
    make_model: MakeModel, pictures: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = make_model(detector())
    model = open_model(path)
    white = run_file(Path(path), model.tensor(pictures["white"]))
    assert run_file(Path(path), model.tensor(pictures["black"])).shape == (0, 4)
    assert len(white) > 0
    given = ["activations", str(path), str(pictures["black"]), str(pictures["white"]), "-o", str(tmp_path / "out")]
    run(*given, "--json")
    black, full = json.loads(capsys.readouterr().out)["images"]
    empty, layer = black["layers"][-1], full["layers"][-1]
    assert (empty["shape"], empty["blank_channels"], empty["non_finite"]) == ([0, 4], [], 0)
    assert {empty[key] for key in ("min", "max", "mean", "std", "zero_fraction", "grid", "arrays")} == {None}
    assert all(x["grid"] and x["mean"] is not None for x in black["layers"][:-1])
    assert layer["shape"] == list(white.shape)
    assert layer["grid"]
    assert layer["mean"] == pytest.approx(float(white[0].mean()), rel=1e-5)
    run(*given)
    assert re.search(r"^boxes +activation +0 x 4 +empty$", capsys.readouterr().out, re.MULTILINE)
    page = Path(black["overview"]).read_text("utf-8")
    assert "This layer is empty on this picture." in page
    assert ">nan<" not in page.lower()


def test_a_named_layer_alone_may_be_empty(make_model: MakeModel, pictures: dict[str, Path], tmp_path: Path) -> None:
    model = open_model(make_model(detector()))
    for channel in (None, 2):
        found = draw_gallery(model, pictures["black"], tmp_path / "one", layers="boxes", channel=channel)
        assert [(x.shape, x.grid) for x in found.layers] == [((0, 4), None)]
        assert found.chart is None


def test_report(make_model: MakeModel, pictures: dict[str, Path], tmp_path: Path) -> None:
    model = open_model(make_model(detector()))
    made = write_report(model, [pictures["black"], pictures["white"]], tmp_path / "page.html")
    empty, full = (part.document["layers"][-1] for part in made.pictures)
    assert np.isnan([empty["min"], empty["mean"], empty["zero"]]).all()
    assert [(x["empty"], x["shape"]) for x in (empty, full)] == [(True, [4]), (False, [4])]


@pytest.mark.parametrize("to", ["int8", "fp16"])
def test_quantize_leaves_it_out_of_the_drift(
    to: str, make_model: MakeModel, pictures: dict[str, Path], tmp_path: Path
) -> None:
    model = open_model(make_model(detector()))
    made = quantize_model(model, tmp_path / "small.onnx", [pictures["black"], pictures["dark"]], to=to)
    assert [row.layer for row in made.drift] == [x.name for x in model.layers if x.name != "boxes"]
    assert any("no drift is known of boxes" in note for note in made.notes)
    assert all(np.isfinite(row.sqnr_db) for row in made.drift)


def test_audit(make_model: MakeModel, pictures: dict[str, Path]) -> None:
    path = make_model(detector())
    found = audit_model(path, data=pictures["black"].parent, against=path)
    assert not [x for x in found.checks if x.status == "error"]


def test_patches(make_model: MakeModel, pictures: dict[str, Path]) -> None:
    model = open_model(make_model(detector()))
    found = find_patches(model, list(pictures.items()), [model.layer("boxes")], k=2)
    assert found["boxes"].seen == 3
    assert {patch.image for own in found["boxes"].patches.values() for patch in own} == {"white"}
