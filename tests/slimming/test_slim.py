"""Zero filters and unread channels go, the answers stay, and the certificate says so."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest

import inspector
from exporters.slimming import SlimError
from inspector.errors import OutputError, UsageError
from inspector.graph import read_graph
from inspector.image import Preprocess
from inspector.metadata import KEY, Metadata
from inspector.slimming import find_slim_plan, read_channel_map
from tests.conftest import MakeModel
from tests.foreign import Net

KNOWN = {KEY: Metadata(preprocess=replace(Preprocess.named("unit"), size=(12, 12))).dumps()}


def planted(net: Net, x: str) -> str:
    """Three convolutions: channels 1 and 4 of the first are zero, channel 2 of the second is read by nobody."""
    first = net.weight((6, 3, 3, 3), "first.weight")
    values = np.array(onnx.numpy_helper.to_array(net.initializers[-1]))
    values[[1, 4]] = 0
    net.initializers[-1].CopyFrom(onnx.numpy_helper.from_array(values, first))
    bias = net.const(np.array([0.1, 0, 0.2, -0.1, 0, 0.3]), "first.bias")
    x = net("Relu", net("Conv", x, first, bias, pads=[1] * 4, out="first"))
    x = net("Relu", net.conv(x, 6, 5, 3, w="second.weight", out="second"))
    third = np.random.default_rng(3).standard_normal((4, 5, 1, 1)).astype(np.float32)
    third[:, 2] = 0
    x = net("Conv", x, net.const(third, "third.weight"), out="third")
    return net("Flatten", net("GlobalAveragePool", x))


@pytest.fixture
def model(make_model: MakeModel) -> Path:
    return make_model(planted, shape=("N", 3, 12, 12), metadata=KNOWN)


def test_zero_and_unread_channels_go(model: Path) -> None:
    plan = find_slim_plan(read_graph(model))
    assert {(each.tensor, each.channels, each.why) for each in plan.cut} == {
        ("first", (1, 4), "its filter is zero, so that it is constant"),
        ("second", (2,), "nothing that reads it has a weight for it"),
    }


def test_the_file_and_its_certificate(model: Path, tmp_path: Path) -> None:
    out, certificate = tmp_path / "slim.onnx", tmp_path / "slim.json"
    made = inspector.slim(model, out, certificate=certificate)
    assert made.total == 3
    assert made.max_abs < 1e-5
    assert made.bytes_after < made.bytes_before
    opened = inspector.open_model(out)
    assert [layer.name for layer in opened.layers] == [layer.name for layer in inspector.open_model(model).layers]
    assert opened.layer("first").shape[1] == 4
    assert read_channel_map(opened.metadata)["first"] == (0, 2, 3, 5)
    document = json.loads(certificate.read_text())
    assert document["source"]["path"] == "model.onnx"
    assert document["file"]["sha256"] == made.sha256
    found = inspector.check_slim(out, certificate)
    assert found.channels == 3
    assert found.max_abs == made.max_abs


def test_a_certificate_of_something_else_is_refused(model: Path, tmp_path: Path) -> None:
    out, certificate = tmp_path / "slim.onnx", tmp_path / "slim.json"
    inspector.slim(model, out, certificate=certificate)
    document = json.loads(certificate.read_text())
    document["cut"][0]["channels"].append(0)
    forged = tmp_path / "forged.json"
    forged.write_text(json.dumps(document))
    with pytest.raises(SlimError, match="that channel 0 of first can be cut is not proven here"):
        inspector.check_slim(out, forged)
    with pytest.raises(SlimError, match="is not the slimmed file of the certificate"):
        inspector.check_slim(model, certificate)
    document["cut"] = []
    document["file"]["sha256"] = document["source"]["sha256"]
    forged.write_text(json.dumps(document))
    with pytest.raises(SlimError, match="the certificate does not cut channel 1 of first"):
        inspector.check_slim(model, forged)
    document["cut"] = json.loads(certificate.read_text())["cut"]
    forged.write_text(json.dumps(document))
    with pytest.raises(SlimError, match=r"the channels of .* are not those of the certificate"):
        inspector.check_slim(model, forged)
    proto = onnx.load(model)
    del proto.metadata_props[:]
    onnx.helper.set_model_props(proto, {x.key: x.value for x in onnx.load(out).metadata_props})
    onnx.save(proto, tmp_path / "uncut.onnx")
    document["file"]["sha256"] = inspector.open_model(tmp_path / "uncut.onnx").sha256
    forged.write_text(json.dumps(document))
    with pytest.raises(SlimError, match=r"first has 6 channels in .*, where 4 are left"):
        inspector.check_slim(tmp_path / "uncut.onnx", forged)
    del document["source"]["digest"]
    forged.write_text(json.dumps(document))
    with pytest.raises(UsageError, match="is a damaged certificate"):
        inspector.check_slim(out, forged)
    forged.write_text("{}")
    with pytest.raises(UsageError, match="is not a certificate of `inspector slim`"):
        inspector.check_slim(out, forged)


@pytest.mark.parametrize(("out", "certificate"), [("slim.onnx", "none/slim.json"), ("none/slim.onnx", "slim.json")])
def test_both_files_are_written_or_none(model: Path, tmp_path: Path, out: str, certificate: str) -> None:
    before = sorted(tmp_path.iterdir())
    with pytest.raises(OutputError, match="its folder does not exist"):
        inspector.slim(model, tmp_path / out, certificate=tmp_path / certificate)
    assert sorted(tmp_path.iterdir()) == before


def test_a_source_whose_external_weights_were_exchanged_is_refused(model: Path, tmp_path: Path) -> None:
    """The .onnx stays as it is to the last byte."""
    proto = onnx.load(model)
    onnx.save_model(proto, tmp_path / "e.onnx", save_as_external_data=True, location="e.bin", size_threshold=0)
    made = inspector.slim(tmp_path / "e.onnx", tmp_path / "slim.onnx", certificate=tmp_path / "slim.json")
    assert inspector.check_slim(made.path, tmp_path / "slim.json").channels == 3
    weights = np.fromfile(tmp_path / "e.bin", np.uint8)
    weights[3] ^= 0x80
    weights.tofile(tmp_path / "e.bin")
    with pytest.raises(SlimError, match="is not the source with its weights of the certificate"):
        inspector.check_slim(made.path, tmp_path / "slim.json")
