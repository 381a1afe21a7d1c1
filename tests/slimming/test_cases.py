"""What has to stay and why, integers, outputs, and channels that only pictures say are dead."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from numpy.typing import NDArray
from PIL import Image

import inspector
from exporters.slimming import slim_model
from exporters.slimming.rewrite import cut_graph
from inspector.cli.app import run
from inspector.errors import ImageError, UsageError
from inspector.graph import read_graph
from inspector.image import Preprocess
from inspector.metadata import KEY, LayerEntry, Metadata
from inspector.slimming import SlimPlan, find_slim_plan, read_channel_map
from tests.conftest import PHOTO, MakeModel
from tests.foreign import Net

UNIT = Metadata(preprocess=replace(Preprocess.named("unit"), size=(12, 12)))


def conv(
    net: Net, x: str, shape: tuple[int, int, int], out: str, zero: dict[int, float] | None = None, pad: int = -1
) -> str:
    """A convolution (inputs, outputs, size) with filters of zeros, and the constants that they leave."""
    inputs, outputs, size = shape
    weight, bias = net.rng.standard_normal((outputs, inputs, size, size)) / size, net.rng.standard_normal(outputs) * 0.1
    for channel, constant in (zero or {}).items():
        weight[channel], bias[channel] = 0, constant
    pads = [size // 2 if pad < 0 else pad] * 4
    return net("Conv", x, net.const(weight), net.const(bias), pads=pads, out=out)


def plan_of(path: Path) -> SlimPlan:
    return find_slim_plan(read_graph(path))


def outputs_of(proto: onnx.ModelProto, picture: NDArray[np.float32]) -> list[Any]:
    session = onnxruntime.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
    return list(session.run(None, {"x": picture}))


def test_a_constant_stays_where_padding_would_change_the_borders(make_model: MakeModel) -> None:
    def build(net: Net, x: str, size: int, pad: int) -> str:
        x = net("Relu", conv(net, x, (3, 4, 3), "first", {1: 0.5, 2: 0.0}))
        return net("GlobalAveragePool", conv(net, x, (4, 2, size), "second", pad=pad))

    padded = plan_of(make_model(lambda net, x: build(net, x, 3, 1)))
    assert [each.channels for each in padded.cut] == [(2,)]
    [kept] = padded.kept
    assert (kept.tensor, kept.channels, kept.bounds) == ("first", (1,), ("always 0.5",))
    assert kept.why == "it is not 0 and Conv 'second' pads with zeros, so that its borders would change"
    for size in (1, 3):
        assert [x.channels for x in plan_of(make_model(lambda net, x, k=size: build(net, x, k, 0))).cut] == [(1, 2)]


def test_what_an_interval_proves_dead(make_model: MakeModel) -> None:
    """A filter below its bias is dead on pixels in [0, 1], and may live on any others."""

    def build(net: Net, x: str) -> str:
        weight = net.rng.standard_normal((4, 3, 1, 1))
        weight[3] = 0.1
        x = net("Relu", net("Conv", x, net.const(weight), net.const([0.0, 0.0, 0.0, -0.31]), out="first"), out="behind")
        return conv(net, x, (4, 2, 1), "second")

    graph = read_graph(make_model(build))
    assert not find_slim_plan(graph).cut
    [cut] = find_slim_plan(graph, inputs={"x": (0, 1)}).cut
    assert (cut.channels, cut.why) == ((3,), "Relu makes it constant")
    assert cut.bounds[0].startswith("always 0, for between -0.31")
    assert not find_slim_plan(graph, inputs={"x": (0, 1.1)}).cut


def test_outputs_keep_their_shape_and_exposed_layers_follow(make_model: MakeModel, tmp_path: Path) -> None:
    def build(net: Net, x: str) -> tuple[str, str]:
        first = net("Relu", conv(net, x, (3, 4, 3), "conv", {1: 0.0}), out="first")
        return net("GlobalAveragePool", conv(net, first, (4, 2, 3), "second", {0: 0.0}), out="answer"), first

    shapes = {"answer": (1, 2, 1, 1), "first": (1, 4, 12, 12)}
    foreign = make_model(build, shape=(1, 3, 12, 12), outputs=shapes)
    assert plan_of(foreign).total == 0
    assert {each.why for each in plan_of(foreign).kept} == {"the graph gives it out"}
    ours = UNIT.with_(layers=(LayerEntry("relu", "first", "activation"),), output="answer")
    path = make_model(build, shape=(1, 3, 12, 12), outputs=shapes, metadata={KEY: ours.dumps()}, name="ours.onnx")
    slim_model(inspector.open_model(path), tmp_path / "out.onnx")
    proto = onnx.load(tmp_path / "out.onnx")
    sizes = {x.name: [d.dim_value for d in x.type.tensor_type.shape.dim] for x in proto.graph.output}
    assert sizes == {"answer": [1, 2, 1, 1], "first": [1, 3, 12, 12]}
    opened = inspector.open_model(tmp_path / "out.onnx")
    assert read_channel_map(opened.metadata)["relu"] == (0, 2, 3)
    again = slim_model(opened, tmp_path / "again.onnx")
    assert again.total == 0
    assert read_channel_map(inspector.open_model(tmp_path / "again.onnx").metadata)["relu"] == (0, 2, 3)


def test_a_branch_times_zero_goes_and_a_join_loses_it(make_model: MakeModel) -> None:
    def build(net: Net, x: str) -> str:
        x = net("Relu", conv(net, x, (3, 4, 3), "stem"))
        scaled = net("Mul", conv(net, x, (4, 4, 3), "branch"), net.const(np.zeros((1, 4, 1, 1))))
        x = net("Relu", net("Add", x, scaled))
        none = net("Relu", conv(net, x, (4, 2, 1), "none", {0: 0.0, 1: 0.0}))
        return net("GlobalAveragePool", conv(net, net("Concat", x, none, axis=1), (6, 2, 3), "last"))

    path = make_model(build)
    slimmed = cut_graph(plan_of(path))
    assert [node.op_type for node in slimmed.graph.node if node.op_type in ("Conv", "Mul", "Add")] == ["Conv"] * 2
    picture = np.random.default_rng(0).random((1, 3, 8, 8), np.float32)
    np.testing.assert_allclose(outputs_of(onnx.load(path), picture)[0], outputs_of(slimmed, picture)[0], rtol=1e-5)


def test_integers(make_model: MakeModel, tmp_path: Path) -> None:
    """In both forms of quantized networks, a constant goes into a bias of integers without any rounding."""

    def build(net: Net, x: str) -> str:
        x = net("Relu", conv(net, x, (3, 8, 3), "first", {1: 0.0, 4: 0.4}))
        x = net("Relu", conv(net, x, (8, 8, 1), "second", {0: 0.0}))
        x = net("Add", x, conv(net, x, (8, 8, 3), "third", {0: 0.0}))
        x = net("Flatten", net("GlobalAveragePool", net("Relu", conv(net, x, (8, 4, 1), "fourth"))))
        return net("Gemm", x, net.weight((3, 4)), net.const(np.zeros(3)), transB=1)

    path = make_model(build, shape=(1, 3, 12, 12), metadata={KEY: UNIT.dumps()})
    pairs, integers = tmp_path / "qdq.onnx", tmp_path / "qoperator.onnx"
    inspector.quantize(path, pairs, PHOTO)
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    options.optimized_model_filepath = str(integers)
    options.log_severity_level = 3
    onnxruntime.InferenceSession(str(pairs), options, providers=["CPUExecutionProvider"])
    picture = np.random.default_rng(0).random((1, 3, 12, 12), np.float32)
    for file in (pairs, integers):
        plan = plan_of(file)
        assert sorted(each.channels for each in plan.cut) == [(0,), (0,), (1, 4)], file
        before, after = outputs_of(onnx.load(file), picture), outputs_of(cut_graph(plan), picture)
        assert (before[0] == after[0]).all()


@pytest.fixture
def dim(make_model: MakeModel, tmp_path: Path) -> tuple[Path, Path]:
    """A network whose second channel only wakes up on bright pictures, and a folder of dark ones."""

    def build(net: Net, x: str) -> str:
        x = net("Relu", conv(net, x, (3, 4, 1), "first"))
        weights = np.abs(onnx.numpy_helper.to_array(net.initializers[0]))
        weights[1] = 1
        net.initializers[0].CopyFrom(onnx.numpy_helper.from_array(weights, net.initializers[0].name))
        bias = np.array([0, -1.5, 0, 0], np.float32)
        net.initializers[1].CopyFrom(onnx.numpy_helper.from_array(bias, net.initializers[1].name))
        return net("Flatten", net("GlobalAveragePool", conv(net, x, (4, 3, 1), "second")))

    folder = tmp_path / "dark"
    folder.mkdir()
    for k in range(3):
        Image.fromarray(np.random.default_rng(k).integers(0, 100, (12, 12, 3), np.uint8)).save(folder / f"{k}.png")
    return make_model(build, shape=(1, 3, 12, 12), metadata={KEY: UNIT.dumps()}), folder


def test_channels_that_never_change_are_listed_and_cut_only_on_request(dim: tuple[Path, Path], tmp_path: Path) -> None:
    path, folder = dim
    out, certificate = tmp_path / "out.onnx", tmp_path / "out.json"
    made = inspector.slim(path, out, data=folder)
    assert [(x.tensor, x.channels, x.values) for x in made.unseen] == [("relu3", (1,), (0.0,))]
    assert (made.total, made.unseen_more, made.unseen_cut) == (0, 1, False)
    assert made.unseen_effect[0].relative > 1e-3
    made = inspector.slim(path, out, data=folder, also_unseen=True, certificate=certificate)
    assert (made.total, made.unseen_cut) == (1, True)
    assert made.max_abs < 1e-6
    assert inspector.open_model(out).metadata.source["slimmed"]["without_proof"] == {made.unseen[0].layer: "1"}
    assert inspector.check_slim(out, certificate).without_proof == 1
    with pytest.raises(UsageError, match="--also-unseen cuts what never changes on pictures"):
        inspector.slim(path, out, also_unseen=True)
    with pytest.raises(ImageError, match="holds no pictures"):
        inspector.slim(path, out, data=tmp_path / "none")


def test_the_command(dim: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out, certificate = str(tmp_path / "out.onnx"), str(tmp_path / "out.json")
    assert run(["slim", str(dim[0]), "-o", out, "--certificate", certificate, "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert {"file", "bytes_before", "bytes_after", "cut", "kept", "max_abs"} <= document.keys()
    assert run(["slim", "--check", "--json", out, certificate]) == 0
    assert json.loads(capsys.readouterr().out)["model"]["sha256"] == document["model"]["sha256"]
    assert run(["slim", "--check", "--quiet", out, "--threads=1", "--provider", "cpu", certificate, str(dim[0])]) == 0
    assert "is what the certificate says: 0 channels" in capsys.readouterr().out
    assert run(["slim", str(dim[0])]) == 2
    assert "MODEL and -o FILE.onnx are missing" in capsys.readouterr().err
    assert run(["slim", "--check", "a.onnx", "a.json", "-o", "b.onnx", "--smallest"]) == 2
    assert "--check takes no -o or --smallest" in capsys.readouterr().err
    assert run(["slim", "--check", "a.onnx"]) == 2
    assert "requires 2 arguments; see `inspector slim --help`" in capsys.readouterr().err
    assert run(["slim", str(dim[0]), "-o", out, "--certificate", str(dim[0])]) == 2
    assert "model itself" in capsys.readouterr().err


def test_inputs_that_were_filled_in_stay_inputs(make_model: MakeModel, tmp_path: Path) -> None:
    """What is computed from them is no constant: another program may give other values."""

    def build(net: Net, x: str) -> str:
        factor = net("Mul", net.input("scale_factor", (1, 2)), net.const([2.0, 2.0]))
        x = net("Relu", conv(net, x, (3, 4, 3), "first", {1: 0.0}))
        x = net("Flatten", net("GlobalAveragePool", conv(net, x, (4, 2, 3), "second")))
        return net("Mul", x, factor)

    path = make_model(build, shape=(1, 3, 12, 12), metadata={KEY: UNIT.dumps()})
    made = slim_model(inspector.open_model(path, inputs={"scale_factor": [0, 0]}), tmp_path / "out.onnx")
    assert made.total == 1
    feeds = {"x": np.ones((1, 3, 12, 12), np.float32), "scale_factor": np.array([[1, 3]], np.float32)}
    before, after = (
        onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"]).run(None, feeds)[0]
        for file in (path, tmp_path / "out.onnx")
    )
    np.testing.assert_allclose(before, after, rtol=1e-5)


def test_half_precision_is_cut_where_nothing_is_rounded(make_model: MakeModel) -> None:
    def build(net: Net, x: str) -> str:
        weight, bias = net.rng.standard_normal((4, 3, 1, 1)), np.array([0.1, 0, 0.5, 0.2])
        weight[1:3] = 0
        x = net("Relu", net("Conv", x, net.const(weight, dtype=np.float16), net.const(bias, dtype=np.float16)))
        return net("Conv", x, net.const(net.rng.standard_normal((2, 4, 1, 1)), dtype=np.float16))

    plan = plan_of(make_model(build, dtype=10))
    assert [each.channels for each in plan.cut] == [(1,)]
    assert [each.channels for each in plan.kept] == [(2,)]
