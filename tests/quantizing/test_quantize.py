"""Quantized variants: right arithmetic, the same names, every command still works, and the cost is what is said."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import numpy_helper

from exporters.quantizing import QuantizeError, quantize_model
from exporters.quantizing.calibration import TensorRange, choose_grid
from exporters.quantizing.plan import IntegerPlan, plan_integers
from exporters.quantizing.qdq import write_integers
from exporters.quantizing.quantizable import read_quantizable
from inspector import open_model
from inspector.agreement import signal_to_noise
from inspector.auditing import audit_model
from inspector.errors import ImageError, InspectorError, LayerNotFound, UsageError
from inspector.model import Model
from tests.audit import pictures
from tests.audit.policies import policy
from tests.conftest import ROOT, MakeModel
from tests.foreign import Net


@pytest.fixture(scope="session")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Crops and flips of the cat: enough to calibrate on."""
    rng = np.random.default_rng(9)
    return pictures.write(tmp_path_factory.mktemp("photos"), pictures.crops([pictures.cat()], 12, rng, 0.5))


@pytest.fixture(scope="session")
def int8(tmp_path_factory: pytest.TempPathFactory, default_model: Path, photos: Path) -> Path:
    path = tmp_path_factory.mktemp("int8") / "int8.onnx"
    quantize_model(default_model, path, photos)
    return path


# --- the default model ------------------------------------------------------------------------------------------------


def test_it_is_small_and_near(int8: Path, default_model: Path, photos: Path) -> None:
    before, after = open_model(default_model), open_model(int8)
    assert before.graph.size / after.graph.size >= 3.5
    agree, noise = 0, []
    for path in sorted(photos.iterdir()):
        a, b = before.scores(before.tensor(path)), after.scores(after.tensor(path))
        agree += int(a.argmax() == b.argmax())
        noise.append(signal_to_noise(a, b))
    assert agree >= 11
    assert np.mean(noise) > 15


def test_names_and_metadata_are_kept(int8: Path, default_model: Path) -> None:
    before, after = open_model(default_model), open_model(int8)
    assert [x.name for x in after.layers] == [x.name for x in before.layers]
    assert [x.kind for x in after.layers] == [x.kind for x in before.layers]
    assert [x.shape for x in after.layers] == [x.shape for x in before.layers]
    assert after.labels == before.labels
    assert after.preprocess == before.preprocess
    assert after.metadata.cam_layer == before.metadata.cam_layer
    assert after.metadata.licence == before.metadata.licence
    assert after.assumed == ()
    assert after.graph.outputs[0] == before.graph.outputs[0] == "logits"
    quantised = after.metadata.source["quantised"]
    assert quantised["from"] == before.sha256
    assert quantised["to"] == "int8"


def test_it_is_a_valid_file(int8: Path) -> None:
    proto = onnx.load(int8)
    onnx.checker.check_model(proto, full_check=True)
    assert {o.domain for o in proto.opset_import} == {""}
    assert not any(node.metadata_props or node.doc_string for node in proto.graph.node)


def test_the_runtime_computes_it_with_integers(int8: Path, tmp_path: Path) -> None:
    """49 convolutions, 9 additions and the linear layer; no float kernel is left between them."""
    import onnxruntime as ort

    model = open_model(int8)
    part = onnx.ModelProto()
    part.CopyFrom(model.graph.cut(["logits"]).proto)
    for tensor in part.graph.initializer:
        value = np.asarray(model.graph.weight(tensor.name), order="C")
        tensor.CopyFrom(numpy_helper.from_array(value, tensor.name))
    options = ort.SessionOptions()
    options.log_severity_level = 4
    options.optimized_model_filepath = str(tmp_path / "optimised.onnx")
    ort.InferenceSession(part.SerializeToString(), options, providers=["CPUExecutionProvider"])
    kinds = [node.op_type for node in onnx.load(tmp_path / "optimised.onnx").graph.node]
    assert kinds.count("QLinearConv") == 49
    assert kinds.count("QLinearAdd") == 9
    assert kinds.count("QGemm") == 1
    assert not {"Conv", "FusedConv", "Clip", "Gemm", "Add"} & set(kinds)


def test_layers_activations_and_maps_work_on_it(int8: Path, default_model: Path, photo: Path) -> None:
    before, after = open_model(default_model), open_model(int8)
    assert after.predict(photo)[0].label == before.predict(photo)[0].label == "Egyptian cat"
    first, second = before.activations(photo), after.activations(photo)
    assert list(first) == list(second)
    for name in ("conv_stem", "swish", "blocks.7", "avg_pooling", "fc"):
        assert first[name].shape == second[name].shape
        assert signal_to_noise(first[name], second[name]) > 10, name
    [a], [b] = before.cam(photo, backend="onnx"), after.cam(photo, backend="onnx")
    assert (a.layer, a.target.label, a.shape) == (b.layer, b.target.label, b.shape)
    assert np.corrcoef(a.raw.ravel(), b.raw.ravel())[0, 1] > 0.95


@pytest.mark.slow
def test_the_audit_passes_it_and_fails_a_bad_one(int8: Path, default_model: Path, cats: Path, tmp_path: Path) -> None:
    drift = policy("drift", "optimised", "finite-on-plain", "weights-finite", "metadata-consistent", "accuracy")
    found = audit_model(int8, drift, data=cats, against=default_model)
    assert found.passed, [(c.id, c.message) for c in found.checks if c.counts == "fail"]

    proto = onnx.load(int8)
    scale = next(t for t in proto.graph.initializer if t.name == "blocks.6.swish/scale")
    scale.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(scale) / np.float32(8), scale.name))
    onnx.save(proto, tmp_path / "bad.onnx")
    bad = audit_model(tmp_path / "bad.onnx", drift, data=cats, against=default_model)
    layers = bad.check("drift-layers")
    assert layers.status == "fail"
    order = [row["layer"] for row in layers.details["layers"]]
    sick = [row["layer"] for row in layers.details["layers"] if row["sqnr_db"] < 7]
    assert order.index(sick[0]) == order.index("blocks.6.swish")
    assert not bad.passed


@pytest.fixture(scope="session")
def cats(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return pictures.cats(tmp_path_factory.mktemp("cats"))


@pytest.mark.slow
def test_agreement_over_crops_and_flips(default_model: Path, tmp_path: Path) -> None:
    """The promise: at least 3.5 times smaller, at least 95 % the same top class, on photographs of many things.

    tests/benchmarks/bench_edge.py holds it to the same over 200.
    """
    count = 30
    rng = np.random.default_rng(5)
    photographs = pictures.write(tmp_path / "p", pictures.crops(pictures.science(pictures.OTHERS), count, rng, 0.5))
    made = quantize_model(default_model, tmp_path / "auto.onnx", photographs, auto=True, target=0.95)
    assert made.pictures == count
    assert made.agreement is not None
    assert made.agreement >= 0.95
    assert made.bytes_before / made.bytes_after >= 3.5
    assert len(made.flipped) == round(count * (1 - made.agreement))


def test_fp16(default_model: Path, photos: Path, tmp_path: Path, photo: Path) -> None:
    made = quantize_model(default_model, tmp_path / "half.onnx", photos, to="fp16", pictures=4)
    assert made.bytes_before / made.bytes_after > 1.9
    assert made.agreement == 1
    assert min(row.sqnr_db for row in made.drift) > 35
    proto = onnx.load(made.path)
    onnx.checker.check_model(proto, full_check=True)
    # A picture goes in and scores come out in single precision; layers come out as they are.
    assert [v.type.tensor_type.elem_type for v in (*proto.graph.input, *proto.graph.output)] == [1, 1, *[10] * 91]
    before, after = open_model(default_model), open_model(made.path)
    assert [x.name for x in after.layers] == [x.name for x in before.layers]
    assert len(after.graph.outputs) == len(before.graph.outputs)
    assert after.cam(photo)[0].layer == before.cam(photo)[0].layer


def test_exposed_layers(default_model: Path, int8: Path, photos: Path, tmp_path: Path) -> None:
    source = open_model(default_model)
    free = open_model(int8)
    # What lies between a convolution and its activation would keep the runtime from computing both with integers.
    before_activation = {"conv_stem", "blocks.0.depthwise_conv", "conv_head"}
    assert not before_activation & set(free.graph.outputs)
    assert {"swish", "blocks.2", "swish_1", "blocks.0.project_conv"} <= set(free.graph.outputs)
    for expose, count in (("all", len(source.graph.outputs)), ("none", 1)):
        made = quantize_model(default_model, tmp_path / f"{expose}.onnx", photos, expose=expose, pictures=2)
        assert len(open_model(made.path).graph.outputs) == count


def test_layers_can_be_kept_in_float(default_model: Path, photos: Path, tmp_path: Path) -> None:
    kept = quantize_model(default_model, tmp_path / "k.onnx", photos, keep=["conv_stem", "15.project_conv"], pictures=4)
    assert kept.kept == ("conv_stem", "blocks.15.project_conv")
    model = open_model(kept.path)
    for name in kept.kept:
        node = model.graph.nodes[model.graph.producer_of[f"{name}/float" if name != "conv_stem" else name]]
        assert node.op_type == "Conv"
        assert model.graph.initializers[node.input[1]].data_type == onnx.TensorProto.FLOAT
    # The runtime would quantise them behind our back, with one scale for all channels: optimised and plain must agree.
    found = audit_model(kept.path, policy("optimised", checks={"optimised": {"min_db_quantised": 20}}))
    assert found.check("optimised").status == "pass"


# --- every command works on them --------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def fp16(tmp_path_factory: pytest.TempPathFactory, default_model: Path, photos: Path) -> Path:
    path = tmp_path_factory.mktemp("fp16") / "fp16.onnx"
    quantize_model(default_model, path, photos, to="fp16", pictures=2)
    return path


def command(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> Any:
    """The document that a command prints; it must succeed."""
    from inspector.cli.app import app, run_guarded

    given = [*map(str, arguments), "--json", "--quiet"]
    code = run_guarded(lambda: app(args=given, standalone_mode=False), True)
    out, err = capsys.readouterr()
    assert (code, err) == (0, ""), out
    return json.loads(out)


@pytest.mark.parametrize("kind", ["int8", "fp16"])
def test_every_command_works_on_it(
    kind: str, request: pytest.FixtureRequest, photo: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = request.getfixturevalue(kind)
    layers = command(capsys, "layers", path)["layers"]
    assert len(layers) == 93
    assert all(layer["shape"] for layer in layers)
    [said] = command(capsys, "predict", path, photo)["images"]
    assert said["top"][0]["label"] == "Egyptian cat"
    [seen] = command(capsys, "activations", path, photo, "--layer", "blocks.5.swish", "-o", tmp_path / "a")["images"]
    assert seen["layers"][0]["zero_fraction"] > 0.2
    [shown] = command(capsys, "cam", path, photo, "-o", tmp_path / "c")["images"]
    assert shown["maps"][0]["backend"] == "onnx"
    noted = command(capsys, "annotate", path, "-o", tmp_path / "n.onnx", "--preprocess", "imagenet")
    assert open_model(tmp_path / "n.onnx").labels == open_model(path).labels, noted


def test_half_precision_has_limits_of_its_own(fp16: Path, default_model: Path, torch: object) -> None:
    found = audit_model(fp16, policy("twin", "optimised", "finite-on-plain"), against=default_model)
    assert found.passed, [c.message for c in found.checks]
    assert [found.check(id).limit for id in ("twin", "optimised")] == [0.1, 40]


def test_the_twin_of_integers_agrees_to_a_step(int8: Path, torch: object) -> None:
    found = audit_model(int8, policy("twin")).check("twin")
    assert found.status == "pass", found.message
    assert found.value < 1e-3


@pytest.mark.parametrize("kind", ["int8", "fp16"])
def test_gradients_go_through_it(kind: str, request: pytest.FixtureRequest, photo: Path, torch: object) -> None:
    """The twin carries integers in floats and lets gradients pass their rounding."""
    model = open_model(request.getfixturevalue(kind))
    [twin], [closed] = (model.cam(photo, classes=["tabby"], backend=backend) for backend in ("twin", "onnx"))
    assert twin.backend == "twin"
    assert np.corrcoef(twin.raw.ravel(), closed.raw.ravel())[0, 1] > 0.99


# --- small networks ---------------------------------------------------------------------------------------------------


def residual(net: Net, x: str) -> str:
    """conv, norm, relu, residual, max pool, grouped conv, silu, concat, pool, linear: most of what networks have."""
    y = net("Relu", net.bn(net.conv(x, 3, 8, 3, bias=False), 8), out="stem")
    z = net.conv(net("Relu", net.conv(y, 8, 8, 3)), 8, 8, 3)
    y = net("Relu", net("Add", z, y), out="block")
    y = net("MaxPool", y, kernel_shape=[2, 2], strides=[2, 2], out="pooled")
    w = net.conv(y, 8, 8, 3, group=4)
    w = net("Mul", w, net("Sigmoid", w), out="silu")
    y = net("Concat", w, y, axis=1, out="joined")
    y = net("Flatten", net("GlobalAveragePool", y))
    return net("Gemm", y, net.weight((5, 16)), net.const(net.rng.standard_normal(5)), transB=1, out="logits")


@pytest.fixture
def noise(tmp_path: Path) -> Path:
    from tests.audit.pictures import pngs

    return pngs(tmp_path / "noise", 16)


def test_a_network_with_most_operators(make_model: MakeModel, noise: Path, tmp_path: Path) -> None:
    path = make_model(residual, shape=("N", 3, 16, 16))
    made = quantize_model(path, tmp_path / "q.onnx", noise)
    assert made.agreement is not None
    assert made.agreement >= 0.8
    assert min(row.sqnr_db for row in made.drift) > 15
    before, after = open_model(path), open_model(made.path)
    assert [x.name for x in before.layers] == [x.name for x in after.layers]
    assert not any(node.op_type == "BatchNormalization" for node in after.graph.nodes)
    names = {node.op_type for node in after.graph.nodes}
    assert {"MaxPool", "Concat", "Sigmoid", "Add", "Conv", "Gemm"} <= names


def test_a_fixed_batch_and_channels_last(make_model: MakeModel, noise: Path, tmp_path: Path) -> None:
    def last(net: Net, x: str) -> str:
        y = net("Transpose", x, perm=[0, 3, 1, 2])
        y = net("Relu", net.conv(y, 3, 4))
        return net("Gemm", net("Flatten", net("GlobalAveragePool", y)), net.weight((3, 4)), transB=1)

    made = quantize_model(make_model(last, shape=(2, 16, 16, 3)), tmp_path / "q.onnx", noise)
    assert made.agreement is not None
    assert made.agreement >= 0.8
    assert open_model(made.path).input.layout == "NHWC"


def test_an_old_operator_set_is_raised(make_model: MakeModel, noise: Path, tmp_path: Path) -> None:
    def old(net: Net, x: str) -> str:
        y = net("Relu", net.conv(x, 3, 4))
        return net(
            "Gemm", net("Flatten", net("GlobalAveragePool", y)), net.weight((3, 4)), net.const(np.zeros(3)), transB=1
        )

    made = quantize_model(make_model(old, opset=9), tmp_path / "q.onnx", noise)
    assert open_model(made.path).graph.opset >= 13


def dequantized(proto: onnx.ModelProto, name: str) -> NDArray[Any]:
    """What a DequantizeLinear node makes of a constant, by the operator's definition."""
    weights = {t.name: numpy_helper.to_array(t) for t in proto.graph.initializer}
    node = next(n for n in proto.graph.node if n.output[0] == name)
    whole, scale, zero = (weights[n] for n in node.input)
    axis = next((a.i for a in node.attribute if a.name == "axis"), 1)
    if scale.ndim == 0:
        return (whole.astype(np.float64) - zero) * scale
    shape = [-1 if k == axis else 1 for k in range(whole.ndim)]
    return (whole.astype(np.float64) - zero.reshape(shape)) * scale.reshape(shape)


def planned(path: Path, noise: Path, reduce_range: bool = False) -> tuple[Model, IntegerPlan]:
    source = open_model(path)
    tensors = [source.tensor(p) for p in sorted(noise.iterdir())]
    return source, plan_integers(source, read_quantizable(source), tensors, len(tensors), reduce_range)


@pytest.mark.parametrize(("reduce_range", "top"), [(False, 127), (True, 63)])
def test_weights_lie_on_a_grid_for_each_channel(
    make_model: MakeModel, noise: Path, reduce_range: bool, top: int
) -> None:
    def simple(net: Net, x: str) -> str:
        weight = net.rng.standard_normal((6, 3, 3, 3)) * np.logspace(-3, 1, 6).reshape(-1, 1, 1, 1)
        y = net("Conv", x, net.const(weight, "w"), net.const(np.arange(6.0), "b"), pads=[1] * 4)
        return net("Gemm", net("Flatten", net("GlobalAveragePool", net("Relu", y))), net.weight((3, 6)), transB=1)

    source, plan = planned(make_model(simple), noise, reduce_range)
    proto = write_integers(plan)
    conv = next(n for n in proto.graph.node if n.op_type == "Conv")
    found, weight = dequantized(proto, conv.input[1]), source.graph.weight("w")
    step = np.abs(weight).reshape(6, -1).max(axis=1) / top
    assert (np.abs(found - weight).reshape(6, -1).max(axis=1) <= 0.5001 * step).all()
    whole = next(numpy_helper.to_array(t) for t in proto.graph.initializer if t.name == "w/integer")
    assert whole.dtype == np.int8
    assert np.abs(whole.reshape(6, -1)).max(axis=1).tolist() == [top] * 6


def test_the_bias_takes_up_the_shift_of_the_mean(make_model: MakeModel, noise: Path) -> None:
    """Nagel 2019: with the corrected bias, the mean of each output channel is that of the float network."""

    def simple(net: Net, x: str) -> str:
        y = net.conv(x, 3, 8, 1, pads=0, w="w", bias="b")
        return net("GlobalAveragePool", net("Relu", y))

    source, plan = planned(make_model(simple), noise)
    proto = write_integers(plan)
    conv = next(n for n in proto.graph.node if n.op_type == "Conv")
    weight, bias = dequantized(proto, conv.input[1]), dequantized(proto, conv.input[2])
    inputs = np.concatenate([source.tensor(p) for p in sorted(noise.iterdir())]).astype(np.float64)
    mean = inputs.mean(axis=(0, 2, 3))
    wanted = source.graph.weight("w")[:, :, 0, 0] @ mean + source.graph.weight("b")
    assert weight[:, :, 0, 0] @ mean + bias == pytest.approx(wanted, abs=1e-3)


def test_zero_is_on_every_grid_and_clips_are_not_exceeded(make_model: MakeModel, noise: Path) -> None:
    def clipped(net: Net, x: str) -> str:
        y = net("Mul", net.conv(x, 3, 5), net.const(np.float32(1)))
        y = net("Clip", net.conv(x, 3, 5), net.const(np.float32(0)), net.const(np.float32(0.3)), out="clipped")
        return net(
            "GlobalAveragePool", net("Clip", net.conv(y, 5, 5), net.const(np.float32(-1)), net.const(np.float32(1)))
        )

    _, plan = planned(make_model(clipped), noise)
    for grid in plan.grids.values():
        assert 0 <= grid.zero <= 255
        assert grid.scale > 0
    grid = plan.grids["clipped"]
    assert grid.zero == 0
    assert 0.25 < float(grid.scale) * 255 <= float(np.float32(0.3))


@pytest.mark.parametrize("scale", [2.0**-20, 2.0**100])
def test_the_grid_follows_the_scale_of_the_values(scale: float) -> None:
    """Values far from one, whose third powers float32 cannot hold, are cut at the same share of their range."""

    def known(factor: float) -> TensorRange:
        values = (np.random.default_rng(0).standard_normal(4000) ** 3 * factor).astype(np.float32)
        found = TensorRange()
        found.add(values, 4000)
        return found

    one, other = choose_grid(known(1.0)), choose_grid(known(scale))
    assert other.zero == one.zero
    assert float(other.scale) == pytest.approx(float(one.scale) * scale, rel=1e-6)


# --- layers in float --------------------------------------------------------------------------------------------------


def floats(proto: onnx.ModelProto, tmp_path: Path) -> dict[str, int]:
    """How often the runtime computes which operator, after its optimisations."""
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.log_severity_level = 4
    options.optimized_model_filepath = str(tmp_path / "optimised.onnx")
    ort.InferenceSession(proto.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return dict(Counter(node.op_type for node in onnx.load(tmp_path / "optimised.onnx").graph.node))


@pytest.mark.parametrize(
    ("layer", "op"),
    [
        ("stem", "Conv"), ("relu11", "Conv"), ("conv14.add", "Add"), ("block", "Add"), ("pooled", "Add"),
        ("silu", "Mul"), ("joined", "Concat"), ("globalaveragepool20", "GlobalAveragePool"), ("logits", "Gemm"),
    ],
)  # fmt: skip
def test_a_kept_layer_stays_in_float_also_without_weights(
    make_model: MakeModel, noise: Path, tmp_path: Path, layer: str, op: str
) -> None:
    _, plan = planned(make_model(residual, shape=("N", 3, 16, 16)), noise)
    [node] = plan.nodes_of([layer])
    assert plan.network.nodes[node].op_type == op
    kinds = [floats(write_integers(plan, kept), tmp_path) for kept in (frozenset(), frozenset([node]))]
    # onnxruntime has more than one name for an operator in float, and for one of integers.
    whole = {"Conv": "QLinearConv", "Gemm": "QGemm", "Concat": "QLinearConcat"}.get(op, f"QLinear{op}")
    assert kinds[1].get(whole, 0) == kinds[0][whole] - 1, kinds


def test_a_layer_that_cannot_be_kept_is_refused(make_model: MakeModel, noise: Path, tmp_path: Path) -> None:
    def gated(net: Net, x: str) -> str:
        y = net("Sigmoid", net.conv(x, 3, 4), out="gate")
        return net("Gemm", net("Flatten", net("GlobalAveragePool", y)), net.weight((3, 4)), transB=1)

    path = make_model(gated, shape=("N", 3, 16, 16))
    with pytest.raises(UsageError, match="the layer gate cannot be kept in float: no integer arithmetic makes it"):
        quantize_model(path, tmp_path / "q.onnx", noise, keep=["gate"])
    assert not (tmp_path / "q.onnx").exists()


def test_every_head_is_kept(make_model: MakeModel, noise: Path, tmp_path: Path) -> None:
    def heads(net: Net, x: str) -> tuple[str, str]:
        y = net("Flatten", net("GlobalAveragePool", net("Relu", net.conv(x, 3, 6))))
        first = net("Gemm", y, net.weight((5, 6)), net.const(np.zeros(5)), transB=1, out="species")
        return first, net("Gemm", y, net.weight((4, 6)), net.const(np.zeros(4)), transB=1, out="colour")

    path = make_model(heads, shape=("N", 3, 16, 16))
    source = open_model(path)
    assert read_quantizable(source).outputs == ("species", "colour")
    for to in ("int8", "fp16"):
        made = quantize_model(path, tmp_path / f"{to}.onnx", noise, to=to)
        after = open_model(made.path)
        assert after.graph.outputs[:2] == source.graph.outputs
        assert [x.name for x in after.layers] == [x.name for x in source.layers]
        assert min(row.sqnr_db for row in made.drift) > 15


def test_the_written_file_is_held_against_the_target(
    make_model: MakeModel, noise: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    from exporters.quantizing import quantize

    real = quantize.measure_cost
    agreement = {"now": 0.9}
    monkeypatch.setattr(quantize.Trial, "measure_agreement", lambda trial, proto: 1.0)
    monkeypatch.setattr(
        quantize, "measure_cost", lambda *given: dataclasses.replace(real(*given), agreement=agreement["now"])
    )
    path = make_model(residual, shape=("N", 3, 16, 16))
    made = quantize_model(path, tmp_path / "q.onnx", noise, auto=True, target=0.95)
    [note] = made.notes
    assert note.startswith("the written file agrees on 90.0% of the pictures, less than the 95.0%")
    from inspector.cli.app import app, run_guarded

    given = ["quantize", str(path), "-o", str(tmp_path / "r.onnx"), "--calibrate", str(noise), "--auto", "--json"]
    assert run_guarded(lambda: app(args=[*given, "--quiet"], standalone_mode=False), True) == 0
    out, err = capsys.readouterr()
    assert json.loads(out)["notes"] == [note]
    assert err == f"inspector: {note}\n"
    agreement["now"] = 0.95
    assert quantize_model(path, tmp_path / "q.onnx", noise, auto=True, target=0.95).notes == ()


# --- refusals ---------------------------------------------------------------------------------------------------------


def test_what_is_refused(default_model: Path, photos: Path, tmp_path: Path, int8: Path, make_model: MakeModel) -> None:
    out = tmp_path / "q.onnx"
    cases: list[tuple[type[Exception], str, dict[str, Any]]] = [
        (UsageError, "there is no format 'int4'", {"to": "int4"}),
        (UsageError, "target 1.5", {"target": 1.5}),
        (UsageError, "no way 'some' to expose", {"expose": "some"}),
        (UsageError, "--auto chooses layers of an int8", {"to": "fp16", "auto": True}),
        (UsageError, "--keep chooses layers of an int8", {"to": "fp16", "keep": ["fc"]}),
        (UsageError, "0 pictures are too few", {"pictures": 0}),
        (LayerNotFound, "there is no layer 'none'", {"keep": ["none"]}),
    ]
    for kind, message, options in cases:
        with pytest.raises(kind, match=message):
            quantize_model(default_model, out, photos, **options)
    with pytest.raises(ImageError, match="does not exist"):
        quantize_model(default_model, out, tmp_path / "none")
    with pytest.raises(ImageError, match="holds no pictures"):
        quantize_model(default_model, out, tmp_path)
    given: dict[str, Any]
    for given in ({"provider": "quantum"}, {"threads": 2}):
        with pytest.raises(UsageError, match="is open already, so provider and threads cannot be chosen any more"):
            quantize_model(open_model(default_model, provider="cpu", threads=1), tmp_path / "q.onnx", photos, **given)
    with pytest.raises(UsageError, match="is the model itself"):
        quantize_model(default_model, default_model, photos)
    for to in ("int8", "fp16"):
        with pytest.raises(QuantizeError, match="is quantized already; give the float model"):
            quantize_model(int8, out, photos, to=to)
    with pytest.raises(QuantizeError, match="no convolution or linear layer"):
        quantize_model(make_model(lambda net, x: net("Relu", x)), out, photos)

    def unfit(net: Net, x: str) -> str:  # a norm of five channels behind a convolution of four
        return net("Flatten", net.bn(net.conv(x, 3, 4), 5))

    with pytest.raises(InspectorError, match="onnxruntime cannot load"):
        quantize_model(make_model(unfit, name="unfit.onnx"), out, photos)
    assert not out.exists()


def test_weights_that_are_not_finite_are_refused(photos: Path, tmp_path: Path) -> None:
    from tests.audit import broken

    with pytest.raises(QuantizeError, match="not finite"):
        quantize_model(broken.not_a_number(tmp_path / "nan.onnx"), tmp_path / "q.onnx", photos, pictures=2)


# --- the command ------------------------------------------------------------------------------------------------------


def test_the_command_without_torch(make_model: MakeModel, noise: Path, tmp_path: Path) -> None:
    path = make_model(residual, shape=("N", 3, 16, 16))
    code = (
        "import sys; sys.modules['torch'] = None\n"
        "import typer; from inspector.cli.quantize import quantize; from inspector.cli.app import run_guarded\n"
        "app = typer.Typer(); app.callback()(lambda: None); app.command('quantize')(quantize)\n"
        f"given = ['quantize', {str(path)!r}, '-o', 'q.onnx', '--calibrate', {str(noise)!r}, '--json', '--quiet']\n"
        "sys.exit(run_guarded(lambda: app(args=given, standalone_mode=False), True))\n"
    )
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, cwd=tmp_path, check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    document = json.loads(done.stdout)
    assert {"file", "bytes_before", "bytes_after", "drift", "agreement"} <= document.keys()
    assert document["file"] == "q.onnx"
    assert document["bytes_after"] == (tmp_path / "q.onnx").stat().st_size
    assert {"layer", "sqnr_db", "worst_channel"} <= document["drift"][0].keys()
    assert document["latency_ratio"] > 0
