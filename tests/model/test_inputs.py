"""Inputs that stand beside the picture: filled, given, or asked for."""

from __future__ import annotations

import copy
import json
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from PIL import Image

from inspector import open_model
from inspector.cli.app import run
from inspector.errors import MetadataError, ModelError, UsageError
from inspector.graph import Input, shape_value
from tests.conftest import MakeModel
from tests.foreign import FLOAT, INT64, Net

PICTURE = np.random.default_rng(0).integers(0, 256, (16, 24, 3), np.uint8)


def detector(n: Net, x: str) -> str:
    """As Paddle exports them: boxes are divided by scale_factor and cut at im_shape."""
    y = n("Relu", n.conv(x, 3, 4), out="features")
    boxes = n("GlobalAveragePool", y)
    boxes = n("Reshape", boxes, n.const([-1, 2], dtype=np.int64))
    boxes = n("Mul", boxes, n.const(50.0), out="before")
    boxes = n("Div", boxes, n.input("scale_factor", ("N", 2), FLOAT))
    return n("Min", boxes, n.input("im_shape", ("N", 2), FLOAT), out="boxes")


def test_paddle_inputs_are_filled_and_said(make_model: MakeModel) -> None:
    path = make_model(detector, shape=("N", 3, 16, 24))
    model = open_model(path)
    assert [phrase for phrase in model.assumed if phrase.startswith("input ")] == [
        "input scale_factor=1,1 (boxes in pixels of what the network gets; --input gives another)",
        "input im_shape=16,24 (height and width of what the network gets; --input gives another)",
    ]
    assert copy.copy(model).assumed == model.assumed
    for given, factor, size in (
        (None, [1, 1], [16, 24]),
        ({"scale_factor": [0.5, 2], "im_shape": 7}, [0.5, 2], [7, 7]),
    ):
        opened = open_model(path, inputs=given or {})
        tensor = opened.tensor(PICTURE)
        feeds = {
            "x": tensor, "scale_factor": np.array([factor], np.float32), "im_shape": np.array([size], np.float32),
        }  # fmt: skip
        [expected] = onnxruntime.InferenceSession(path).run(["boxes"], feeds)
        np.testing.assert_allclose(opened.run(tensor, ["boxes"])["boxes"], expected, rtol=1e-6)
        again = copy.copy(opened)
        np.testing.assert_allclose(again.run(tensor, ["boxes"])["boxes"], expected, rtol=1e-6)


def test_the_picture_need_not_be_the_first(make_model: MakeModel) -> None:
    def build(n: Net, x: str) -> str:
        return n("Mul", n.conv(n.input("image", (1, 3, 8, 8)), 3, 4), x)

    path = make_model(build, shape=(1, 4, 1, 1))
    with pytest.raises(ModelError) as caught:
        open_model(path)
    assert str(caught.value) == (
        f"{path} has 2 inputs: x (1, 4, 1, 1), image (1, 3, 8, 8); inspector reads networks that take one picture; "
        "give the others: --input image=VALUE,... (`inputs` of open_model in Python)"
    )
    assert open_model(path, inputs={"x": [1, 2, 3, 4]}).input.name == "image"


def test_given_on_the_command_line(make_model: MakeModel, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    def build(n: Net, x: str) -> str:
        size = n("Cast", n.input("target_size", (2,), INT64), to=1)
        return n("Mul", n("Relu", n.conv(x, 3, 4)), n("ReduceSum", size, keepdims=0))

    path = str(make_model(build, shape=(1, 3, 8, 8)))
    assert run(["layers", path]) == 2
    assert "--input target_size=VALUE,..." in capsys.readouterr().err
    assert run(["layers", path, "--input", "target_size=3,4", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["model"]["input"]["name"] == "x"
    for text, said in (
        ("target_size", "--input 'target_size' is not NAME=VALUE,..."),
        ("target_size=a,b", "--input 'target_size=a,b' is not NAME=VALUE,..."),
        ("target_size=1.5,2", "input 'target_size' takes int64, not [1.5, 2.0]"),
        ("target_size=1,2,3", "input 'target_size' of shape (2) does not take 3 numbers"),
        ("size=1,2", "has no input 'size'; nearest: target_size, x"),
    ):
        assert run(["layers", path, "--input", text]) == 2
        assert said in capsys.readouterr().err
    out = str(tmp_path / "named.onnx")
    assert run(["annotate", path, "-o", out, "--input", "target_size=3,4"]) == 0
    with pytest.raises(UsageError, match=r"every input of .* is given, and none takes the picture"):
        open_model(path, inputs={"x": 1, "target_size": 1})


def test_values_take_the_declared_shape() -> None:
    declared = Input("a", ("N", None, 2), "float32")
    assert shape_value(declared, [1, 2, 3, 4]).shape == (1, 2, 2)
    assert shape_value(declared, 5).tolist() == [[[5, 5]]]
    assert shape_value(Input("training", (), "bool"), 0).dtype == np.bool_
    with pytest.raises(UsageError, match=r"takes bool, not \[2\]"):
        shape_value(Input("training", (), "bool"), [2])


def test_annotate_stores_values_and_every_command_uses_them(
    make_model: MakeModel, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    def build(n: Net, x: str) -> str:
        y = n("Relu", n("Mul", n.conv(x, 3, 4), n.input("gain", ("N", 4, 1, 1), FLOAT)), out="features")
        return n("Flatten", n("GlobalAveragePool", y), out="scores")

    path, named = make_model(build, shape=(1, 3, 8, 8)), str(tmp_path / "named.onnx")
    assert run(["annotate", str(path), "-o", named, "--input", "gain=1,2,3,4", "--json"]) == 0
    capsys.readouterr()
    picture = np.random.default_rng(0).integers(0, 256, (8, 8, 3), np.uint8)
    for options, gain in (([], [1, 2, 3, 4]), (["--input", "gain=4,0.5,1,1"], [4, 0.5, 1, 1])):
        assert run(["layers", named, "--json", *options]) == 0
        out, err = capsys.readouterr()
        assert json.loads(out)["model"]["inputs"] == {"gain": np.reshape(gain, (1, 4, 1, 1)).tolist()}
        said = f"{named}: input gain=1,2,3,4, as the file's metadata says; --input gives another"
        assert (said in err) == (not options)
        opened = open_model(named, inputs={} if not options else {"gain": gain})
        feeds = {"x": opened.tensor(picture), "gain": np.array(gain, np.float32).reshape(1, 4, 1, 1)}
        [expected] = onnxruntime.InferenceSession(named).run(["scores"], feeds)
        again = copy.copy(opened)
        for model in (opened, again):
            np.testing.assert_allclose(model.run(feeds["x"], ["scores"])["scores"], expected, rtol=1e-6)
    # A later annotate keeps them, and so does what is made of the file.
    kept = str(tmp_path / "kept.onnx")
    assert run(["annotate", named, "-o", kept, "--preprocess", "unit"]) == 0
    Image.fromarray(picture).save(tmp_path / "picture.png")
    half = ["-o", str(tmp_path / "half.onnx"), "--to", "fp16", "--calibrate", str(tmp_path)]
    assert run(["quantize", kept, *half]) == 0
    for file in (kept, tmp_path / "half.onnx"):
        assert np.ravel(open_model(file).graph.given["gain"]).tolist() == [1, 2, 3, 4]
    # What is made with a value that was given, and is not in the file, has that value too.
    other, feeds["gain"] = ["--input", "gain=4,0.5,1,1"], np.float32([4, 0.5, 1, 1]).reshape(1, 4, 1, 1)
    [expected] = onnxruntime.InferenceSession(path).run(["scores"], feeds)
    for command in (["slim", str(path)], ["quantize", str(path), *half[2:]], ["attach", kept, "--cam", "gradcam"]):
        made = str(tmp_path / f"{command[0]}.onnx")
        assert run([*command, "-o", made, *other]) == 0
        model = open_model(made)
        assert np.ravel(model.graph.given["gain"]).tolist() == [4, 0.5, 1, 1]
        assert model.input.name == "x"
        found = model.run(feeds["x"], ["scores"])["scores"]
        np.testing.assert_allclose(found, expected, atol=2e-3 * np.abs(expected).max())
    proto = onnx.load(named)
    for value, message in (
        ('{"gain":[1,2]}', "the metadata does not fit: input 'gain' of shape"),
        ('{"gain":"a"}', "the metadata does not fit: input 'gain' takes float32"),
        ("[1]", "inputs in the metadata must be an object"),
    ):
        text = json.dumps(json.loads(proto.metadata_props[0].value) | {"inputs": json.loads(value)})
        proto.metadata_props[0].value = text
        onnx.save(proto, named)
        with pytest.raises(MetadataError, match=message):
            open_model(named)
