"""The metadata document goes in, and nothing else of the file changes."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest

import inspector
from inspector import open_model
from inspector.cli.app import run
from inspector.errors import (
    InspectorError,
    LayerNotFound,
    MetadataError,
    ModelError,
    NotComputable,
    OutputError,
    UsageError,
)
from inspector.image import Preprocess
from inspector.metadata import KEY
from inspector.model.annotate import annotate_model
from tests.conftest import MakeModel
from tests.foreign import Net
from tests.foreign.converters import BUILDERS

ARRAY = np.random.default_rng(0).integers(0, 256, (20, 24, 3), np.uint8)


@pytest.mark.parametrize("name", BUILDERS)
def test_round_trip(name: str, make_model: MakeModel, tmp_path: Path) -> None:
    path = make_model(BUILDERS[name]())
    before = open_model(path)
    after = annotate_model(path, tmp_path / "annotated.onnx")
    assert after.assumed == ()
    assert after.path == tmp_path / "annotated.onnx"
    for key in ("layers", "preprocess", "classifier"):
        assert getattr(after, key) == getattr(before, key), key
    first, second = onnx.load(path), onnx.load(after.path)
    assert [p.key for p in second.metadata_props] == [KEY]
    del second.metadata_props[:]
    assert second.SerializeToString(deterministic=True) == first.SerializeToString(deterministic=True)
    again = annotate_model(after.path, tmp_path / "again.onnx")
    assert again.path.read_bytes() == after.path.read_bytes()
    onnx.checker.check_model(after.path)


def test_the_graph_stays_byte_for_byte(make_model: MakeModel, tmp_path: Path) -> None:
    path = make_model(BUILDERS["yolo"]())
    annotate_model(path, tmp_path / "out.onnx", preprocess="unit")
    data, written = path.read_bytes(), (tmp_path / "out.onnx").read_bytes()
    assert written.startswith(data)
    assert b"/tmp" not in written[len(data) :]


def test_values(make_model: MakeModel, tmp_path: Path) -> None:
    path = make_model(BUILDERS["caffe"]())
    labels = tmp_path / "labels.txt"
    labels.write_text("\n".join("abcdefg"))
    model = annotate_model(path, tmp_path / "o.onnx", preprocess="caffe", labels=labels, cam_layer="relu_conv1")
    assert model.labels == tuple("abcdefg")
    assert model.metadata.cam_layer == "relu_conv1"
    assert model.preprocess == Preprocess.named("caffe", (16, 16))
    assert model.assumed == ()
    # What is not given is kept.
    again = annotate_model(model, tmp_path / "p.onnx", labels=list("ABCDEFG"))
    assert again.labels == tuple("ABCDEFG")
    assert again.preprocess == model.preprocess
    assert again.metadata.cam_layer == "relu_conv1"
    # Not in place: nothing is written onto what it is made from.
    with pytest.raises(UsageError, match="is the model itself; give another file to -o"):
        annotate_model(again.path, again.path, preprocess="raw")
    same = annotate_model(again.path, tmp_path / "q.onnx", preprocess="raw")
    assert same.preprocess == Preprocess.named("raw", (16, 16))
    assert same.labels == tuple("ABCDEFG")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["labels.txt", "model.onnx", "o.onnx", "p.onnx", "q.onnx"]


def test_a_preprocess_from_a_file(make_model: MakeModel, tmp_path: Path) -> None:
    path = make_model(BUILDERS["tf2onnx_mobilenet"]())
    file = tmp_path / "p.json"
    file.write_text(json.dumps({"mean": [0.5] * 3, "std": [0.5] * 3, "resize": "shortest", "resize_size": 256}))
    model = annotate_model(path, tmp_path / "o.onnx", preprocess=str(file))
    assert model.preprocess == Preprocess(
        size=(224, 224), resize="shortest", resize_size=256, mean=(0.5,) * 3, std=(0.5,) * 3, layout="NHWC"
    )
    file.write_text(json.dumps({"preprocess": model.preprocess.to_json()}))
    assert annotate_model(path, tmp_path / "o.onnx", preprocess=str(file)).preprocess == model.preprocess


@pytest.mark.parametrize(("size", "expected"), [("96", (96, 96)), ("64x128", (64, 128)), ((32, 48), (32, 48))])
def test_size(size: Any, expected: tuple[int, int], make_model: MakeModel, tmp_path: Path) -> None:
    path = make_model(BUILDERS["pytorch_names_lost"]())
    model = annotate_model(path, tmp_path / "o.onnx", size=size)
    assert model.preprocess.size == expected
    assert model.activations(ARRAY, ["conv"])["conv"].shape == (1, 8, *expected)


def test_a_damaged_document_is_replaced(make_model: MakeModel, tmp_path: Path) -> None:
    path = make_model(BUILDERS["caffe"]())
    model = onnx.load(path)
    onnx.helper.set_model_props(model, {KEY: "{broken", "author": "me"})
    path.write_bytes(model.SerializeToString())
    with pytest.raises(MetadataError):
        open_model(path)
    fixed = annotate_model(path, tmp_path / "o.onnx")
    assert fixed.graph.metadata["author"] == "me"
    assert open_model(tmp_path / "o.onnx").layers == fixed.layers


def test_external_data_stays_beside_the_copy(make_model: MakeModel, tmp_path: Path) -> None:
    path = tmp_path / "e.onnx"
    proto = BUILDERS["pytorch_1"]()
    onnx.save(proto, path, save_as_external_data=True, location="e.data", size_threshold=0)
    expected = open_model(path).activations(ARRAY)
    copied = annotate_model(path, tmp_path / "copy.onnx", preprocess="imagenet")
    for name, value in copied.activations(ARRAY).items():
        np.testing.assert_array_equal(value, expected[name])
    (tmp_path / "other").mkdir()
    with pytest.raises(ModelError, match=r"keeps weights in e\.data; write the copy beside it"):
        annotate_model(path, tmp_path / "other" / "copy.onnx")
    assert not list((tmp_path / "other").iterdir())


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"preprocess": "keras"}, MetadataError, "there is no preprocess 'keras'; known: imagenet, unit,"),
        ({"preprocess": "TEXT"}, MetadataError, "is not JSON"),
        ({"preprocess": "LIST"}, MetadataError, "list instead of an object"),
        ({"preprocess": "BINARY"}, MetadataError, "is not UTF-8 text"),
        ({"preprocess": "FOLDER"}, MetadataError, "cannot be read: Is a directory"),
        ({"preprocess": Preprocess.named("unit", (16, 16), channels=1)}, MetadataError, "makes 1 channels, the input"),
        ({"labels": ["a", "b"]}, MetadataError, "2 labels for 7 classes of"),
        ({"labels": "none.txt"}, MetadataError, "none.txt cannot be read: No such file"),
        ({"labels": "EMPTY"}, MetadataError, "the labels are empty"),
        ({"labels": "BINARY"}, MetadataError, "is not UTF-8 text"),
        ({"cam_layer": "conv9"}, LayerNotFound, "there is no layer 'conv9'; nearest: conv1, relu_conv1"),
        ({"cam_layer": "LAST"}, NotComputable, "has no maps that a class activation map could weigh; layers with"),
        ({"size": "big"}, UsageError, "size 'big' is not like 224 or 224x320 (height x width)"),
        ({"size": "32"}, UsageError, "fixes its input size to 16x16"),
        ({"size": "0"}, InspectorError, "size"),
        ({"size": "99999x99999"}, InspectorError, "size"),
    ],
)  # fmt: skip
def test_refused(
    options: dict[str, Any], error: type[Exception], message: str, make_model: MakeModel, tmp_path: Path
) -> None:
    files = tmp_path / "given"
    files.mkdir()
    (files / "TEXT").write_text("mean: 1")
    (files / "LIST").write_text("[1, 2]")
    (files / "BINARY").write_bytes(b"\xff\xfe\x00")
    (files / "EMPTY").touch()
    (files / "FOLDER").mkdir()
    given = {k: str(files / v) if isinstance(v, str) and v.isupper() else v for k, v in options.items()}
    path = make_model(BUILDERS["caffe"]())
    if options.get("cam_layer") == "LAST":
        given["cam_layer"] = next(x.name for x in open_model(path).layers if x.shape is not None and len(x.shape) == 2)
    target = tmp_path / "o.onnx"
    target.write_bytes(b"was here")
    with pytest.raises(error) as caught:
        annotate_model(path, target, **given)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
    assert target.read_bytes() == b"was here"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["given", "model.onnx", "o.onnx"]


@pytest.mark.parametrize("target", ["file/below", "/proc/o.onnx", "/dev/null", ".", "none/o.onnx", "o" * 300])
def test_places_that_cannot_be_written(target: str, make_model: MakeModel, tmp_path: Path) -> None:
    path = make_model(BUILDERS["caffe"]())
    (tmp_path / "file").touch()
    before = sorted(os.listdir(tmp_path))  # noqa: PTH208
    with pytest.raises(OutputError, match="cannot write"):
        annotate_model(path, tmp_path / target)
    assert sorted(os.listdir(tmp_path)) == before  # noqa: PTH208


def test_a_model_that_is_open_is_copied_as_it_was_read(make_model: MakeModel, tmp_path: Path) -> None:
    def one(n: Net, x: str) -> str:
        return n("Relu", n.conv(x, 3, 4))

    path = make_model(one)
    model = open_model(path)
    make_model(one, seed=3)
    with pytest.raises(ModelError, match="was changed while it was open"):
        annotate_model(model, tmp_path / "o.onnx")
    assert not (tmp_path / "o.onnx").exists()


def test_the_output_that_holds_the_scores(
    make_model: MakeModel, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def build(n: Net, x: str) -> tuple[str, ...]:
        flat = n("Flatten", n("GlobalAveragePool", n("Relu", n.conv(x, 3, 4))))
        n("Gemm", flat, n.weight((4, 3)), out="coarse")
        n("Gemm", flat, n.weight((4, 5)), out="fine")
        n("Softmax", "fine", axis=-1, out="shares")
        n("LpNormalization", flat, axis=1, p=2, out="face")
        n("Reshape", n("Gemm", flat, n.weight((4, 8))), n.const([-1, 2, 4], dtype=np.int64), out="boxes")
        return "coarse", "fine", "shares", "face", "boxes"

    path = make_model(build, shape=("N", 3, 8, 8))
    tensor = open_model(path).tensor(ARRAY)
    for name, labels in (("coarse", list("abc")), ("fine", list("vwxyz")), ("shares", list("vwxyz"))):
        made = annotate_model(path, tmp_path / f"{name}.onnx", output=name, labels=labels)
        [scores] = onnxruntime.InferenceSession(path).run([name], {"x": tensor})
        shares = scores[0] if name == "shares" else np.exp(scores[0]) / np.exp(scores[0]).sum()
        best = made.predict(ARRAY, 1)[0]
        assert best.label == labels[int(shares.argmax())]
        assert best.probability == pytest.approx(float(shares.max()), rel=1e-5)
        assert not made.assumed
        again = annotate_model(made, tmp_path / f"{name}2.onnx")
        assert again.classifier == made.classifier
    with pytest.raises(MetadataError, match=r"5 labels in .*fine.onnx for 3 classes of 'coarse'; give --labels"):
        annotate_model(tmp_path / "fine.onnx", tmp_path / "no.onnx", output="coarse")
    faults = {
        "clases": f"{path} has no output 'clases'; nearest: ",
        "boxes": "output 'boxes' of shape (?, 2, 4) fits no classes; scores are of shape (N, K)",
        "face": "output 'face' is a vector of unit length",
    }
    for name, message in faults.items():
        assert run(["annotate", str(path), "-o", str(tmp_path / "no.onnx"), "--output", name]) == 2
        assert message in capsys.readouterr().err
    assert run(["annotate", str(path), "-o", str(tmp_path / "o.onnx"), "--output", "face", "--activation", "none"]) == 0
    assert open_model(tmp_path / "o.onnx").classes == 4
    with pytest.raises(UsageError, match="output cannot be 3"):
        inspector.annotate(path, tmp_path / "no.onnx", output=3)  # type: ignore[arg-type]
    assert not (tmp_path / "no.onnx").exists()
