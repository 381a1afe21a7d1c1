"""Graphs as exporters really write them: one constant with several readers, sizes that are computed, equal biases."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest

from exporters.quantizing import QuantizeError, quantize_model
from inspector import open_model
from inspector.errors import LayerNotFound
from tests.conftest import MakeModel
from tests.foreign import Net
from tests.foreign.make_files import list_files


@pytest.fixture
def noise(tmp_path: Path) -> Path:
    from PIL import Image

    folder = tmp_path / "noise"
    folder.mkdir()
    rng = np.random.default_rng(1)
    for n in range(4):
        Image.fromarray(rng.integers(0, 256, (16, 16, 3), np.uint8)).save(folder / f"{n}.png")
    return folder


def one_weight_twice(n: Net, x: str) -> str:
    y = n("Relu", n.conv(x, 3, 8))
    w, b = n.weight((8, 8, 3, 3), "shared.weight"), n.const(np.full(8, 0.1), "shared.bias")
    for _ in range(2):
        y = n("Relu", n("Conv", y, w, b, pads=[1] * 4))
    return n("Flatten", n("GlobalAveragePool", y), out="end")


def one_bias_twice(n: Net, x: str) -> str:
    """Exporters write equal biases once: heads of detectors, all zeros."""
    b = n.const(np.zeros(8), "zeros")
    y = n("Conv", x, n.weight((8, 3, 3, 3)), b, pads=[1] * 4)
    y = n("Conv", n("Relu", y), n.weight((8, 8, 3, 3)), b, pads=[1] * 4)
    return n("Flatten", n("GlobalAveragePool", n("Relu", y)), out="end")


def one_weight_of_two_operators(n: Net, x: str) -> str:
    y = n("Flatten", n("GlobalAveragePool", n("Relu", n.conv(x, 3, 8))))
    w = n.weight((8, 8), "square")
    return n("Add", n("Gemm", y, w, transB=1), n("MatMul", y, w), out="end")


def empty_twice(n: Net, x: str) -> str:
    """tf2onnx gives one empty constant for the region and the scales of a Resize, of which one has to stay single."""
    empty = n.const(np.zeros(0, np.float32), "const_empty_float")
    y = n("Resize", n("Relu", n.conv(x, 3, 8)), empty, empty, n.const([1, 8, 8, 8], "sizes", np.int64), mode="nearest")
    return n("Flatten", n("GlobalAveragePool", n.conv(y, 8, 8)), out="end")


def places_counted(n: Net, x: str) -> str:
    """Anchors of a detector with open sizes: a Range of floats behind Shape, which half precision does not have."""
    y = n("Relu", n.conv(x, 3, 8))
    size = n("Cast", n("Gather", n("Shape", y), n.const(np.array(3)), axis=0), to=1)
    places = n("Range", n.const(np.float32(0)), size, n.const(np.float32(1)))
    y = n("Add", y, n("Mul", n("Add", places, n.const(np.float32(0.5))), n.const(np.float32(0.01))))
    return n("Flatten", n("GlobalAveragePool", y), out="end")


def sizes_multiplied(n: Net, x: str) -> str:
    """A flatten as old exporters write it: the sizes are multiplied in the graph, in 64-bit integers."""
    y = n("Relu", n.conv(x, 3, 8))
    shape = n("Shape", y)
    sizes = [n("Gather", shape, n.const(np.array(k)), axis=0) for k in range(4)]
    flat = n("Mul", n("Mul", sizes[1], sizes[2]), sizes[3])
    parts = [n("Unsqueeze", part, n.const(np.array([0]))) for part in (sizes[0], flat)]
    y = n("Reshape", y, n("Concat", *parts, axis=0))
    return n("Gemm", y, n.weight((8, 8 * 16 * 16)), transB=1, out="end")


def a_branch_that_nobody_reads(n: Net, x: str) -> str:
    """What training has left in the file: a second head behind a layer, which is no output."""
    y = n("Relu", n.conv(x, 3, 8))
    n("Gemm", n("Flatten", n("GlobalAveragePool", n("Relu", n.conv(y, 8, 8)))), n.weight((5, 8)), transB=1)
    return n("Flatten", n("GlobalAveragePool", n.conv(y, 8, 8)), out="end")


SHARED = [one_weight_twice, one_bias_twice, one_weight_of_two_operators, sizes_multiplied, a_branch_that_nobody_reads]


@pytest.mark.parametrize("build", SHARED)
def test_what_is_shared_or_counted(
    build: Callable[[Net, str], str], make_model: MakeModel, noise: Path, tmp_path: Path
) -> None:
    path = make_model(build, shape=("n", 3, 16, 16), opset=13, outputs={"end": ("n", 8)})
    quantize_model(path, tmp_path / "int8.onnx", noise)
    proto = onnx.load(tmp_path / "int8.onnx")
    onnx.checker.check_model(proto)
    for names in ([node.name for node in proto.graph.node if node.name], [t.name for t in proto.graph.initializer]):
        assert len(set(names)) == len(names)
    before, after = open_model(path), open_model(tmp_path / "int8.onnx")
    for picture in sorted(noise.iterdir()):
        expected, found = (model.scores(model.tensor(picture))[0] for model in (before, after))
        assert np.abs(found - expected).max() <= 0.05 * np.abs(expected).max()


@pytest.mark.parametrize("build", [one_weight_twice, empty_twice, places_counted])
def test_what_is_shared_in_half_precision(
    build: Callable[[Net, str], str], make_model: MakeModel, noise: Path, tmp_path: Path
) -> None:
    path = make_model(build, shape=("n", 3, 16, 16), opset=13, outputs={"end": ("n", 8)})
    quantize_model(path, tmp_path / "half.onnx", noise, to="fp16")
    before, after = open_model(path), open_model(tmp_path / "half.onnx")
    picture = min(noise.iterdir())
    expected, found = (model.scores(model.tensor(picture))[0] for model in (before, after))
    np.testing.assert_allclose(found, expected, atol=0.01 * np.abs(expected).max())


def test_steps_of_a_text_are_quantized(make_model: MakeModel, noise: Path, tmp_path: Path) -> None:
    """Declared as (1, n) scores, and a run gives (T, 1, K): measured by layers, without an agreement of classes."""

    def build(n: Net, x: str) -> str:
        y = n("ReduceMean", n.conv(n("Relu", n.conv(x, 3, 8)), 8, 5), axes=[2], keepdims=0)
        return n("Transpose", y, perm=[2, 0, 1], out="ctc")

    made = quantize_model(
        make_model(build, shape=(1, 3, 16, 16), outputs={"ctc": (1, "n")}, opset=13), tmp_path / "int8.onnx", noise
    )
    assert made.agreement is None
    assert made.drift


def test_equal_integers_are_written_once(make_model: MakeModel, noise: Path, tmp_path: Path) -> None:
    path = make_model(one_weight_twice, shape=("n", 3, 16, 16), opset=13, outputs={"end": ("n", 8)})
    quantize_model(path, tmp_path / "int8.onnx", noise)
    weights = [t for t in onnx.load(tmp_path / "int8.onnx").graph.initializer if list(t.dims) == [8, 8, 3, 3]]
    assert len(weights) == 1


def coarse_sum(n: Net, x: str) -> str:
    """A residual whose first channel is ten thousand times the others: on one grid of 256 steps they all are zero."""

    def branch(source: str, channels: int) -> str:
        weight = n.rng.standard_normal((8, channels, 1, 1)).astype(np.float32)
        weight[0] *= 1e4
        return n("Conv", source, n.const(weight))

    total = n("Relu", n("Add", branch(x, 3), branch(x, 3), out="sum"), out="after")
    rows = n.rng.standard_normal((4, 8)).astype(np.float32)
    rows[:, 0] = 0
    return n("Gemm", n("Flatten", n("GlobalAveragePool", total)), n.const(rows), transB=1, out="scores")


def test_auto_keeps_what_adds_once_all_weights_are_in_float(make_model: MakeModel, noise: Path, tmp_path: Path) -> None:
    path = make_model(coarse_sum, shape=("N", 3, 16, 16))
    lines: list[str] = []
    made = quantize_model(path, tmp_path / "q.onnx", noise, auto=True, target=1.0, note=lines.append)
    assert made.agreement == 1.0
    layer = next(layer.name for layer in open_model(path).layers if layer.tensor in ("sum", "after"))
    assert layer in made.kept
    left = [line for line in lines if line.startswith("every layer with weights is in float; still integers are ")]
    assert len(left) == 1
    assert layer in left[0]
    # The same by hand: one node that adds, and nothing of it is an integer any more.
    by_hand = quantize_model(path, tmp_path / "k.onnx", noise, keep=made.kept)
    assert by_hand.kept == made.kept
    dequantized = {node.output[0] for node in onnx.load(by_hand.path).graph.node if node.op_type == "DequantizeLinear"}
    assert not dequantized & {"sum", "after"}
    with pytest.raises(LayerNotFound, match="there is no layer 'summ'"):
        quantize_model(path, tmp_path / "n.onnx", noise, keep=("summ",))


def test_what_half_precision_does_not_hold_is_told_by_layer(make_model: MakeModel, noise: Path, tmp_path: Path) -> None:
    def build(n: Net, x: str) -> str:
        weight = n.rng.uniform(-1, 1, (8, 3, 3, 3)).astype(np.float32)
        weight[3, 1, 1, 1] = 90_000
        y = n("Relu", n("Conv", x, n.const(weight, "huge"), pads=[1] * 4, out="c1"), out="r1")
        y = n("Mul", y, n.const(1e-4), out="small")
        return n("Flatten", n("GlobalAveragePool", n("Relu", n.conv(y, 8, 4, out="c2"), out="r2")), out="end")

    path = make_model(build, shape=("N", 3, 16, 16))
    model = open_model(path)
    proto = onnx.load(path)
    proto.graph.output.extend(onnx.ValueInfoProto(name=name) for name in ("c1", "r1", "c2", "r2"))
    session = onnxruntime.InferenceSession(proto.SerializeToString())
    tensors = [model.tensor(picture) for picture in sorted(noise.iterdir())]
    most = {
        n: max(float(np.abs(session.run([n], {"x": t})[0]).max()) for t in tensors) for n in ("c1", "r1", "c2", "r2")
    }
    assert min(most["c1"], most["r1"]) > 65504 > max(most["c2"], most["r2"])
    names = {layer.tensor: layer.name for layer in model.layers}
    made = quantize_model(path, tmp_path / "h.onnx", noise, to="fp16")
    assert [note for note in made.notes if "65504" in note] == [
        f"weights beyond the 65504 of half precision are cut off there: {names['c1']} (9e+04)",
        "on the calibration pictures values pass the 65504 of half precision and become infinite: "
        f"{names['c1']} ({most['c1']:.3g}), {names['r1']} ({most['r1']:.3g})",
    ]
    plain = quantize_model(make_model(one_weight_twice, shape=("N", 3, 16, 16)), tmp_path / "p.onnx", noise, to="fp16")
    assert not [note for note in plain.notes if "65504" in note]


def test_a_suppression_in_a_branch_stays_in_single(make_model: MakeModel, noise: Path, tmp_path: Path) -> None:
    """The branch reads boxes, scores and a weight from outside, which are half there."""

    def build(n: Net, x: str) -> str:
        y = n("Relu", n.conv(x, 3, 8, stride=4))
        rows = n("Transpose", n("Reshape", y, n.const(np.array([1, 8, -1]))), perm=[0, 2, 1])
        boxes = n("Slice", rows, n.const([0], "", np.int64), n.const([4], "", np.int64), n.const([2], "", np.int64))
        score = n("ReduceMax", n("Transpose", rows, perm=[0, 2, 1]), axes=[1], keepdims=1)
        pooled = n("Flatten", n("GlobalAveragePool", y))
        weight = n.weight((8, 8))
        shared = n("MatMul", pooled, weight)
        few, one = n.const([3], "", np.int64), n.const(np.float32([0.5]))
        bodies = []
        for i, sign in enumerate((1, -1)):
            inner = [
                onnx.helper.make_node("NonMaxSuppression", [boxes, score, few, one], [f"kept{i}"]),
                onnx.helper.make_node("Cast", [f"kept{i}"], [f"real{i}"], to=1),
                onnx.helper.make_node("ReduceSum", [f"real{i}"], [f"sum{i}"], keepdims=0),
                onnx.helper.make_node("MatMul", [pooled, weight], [f"m{i}"]),
                onnx.helper.make_node("Add" if sign > 0 else "Sub", [f"m{i}", f"sum{i}"], [f"out{i}"]),
            ]
            made = onnx.helper.make_tensor_value_info(f"out{i}", onnx.TensorProto.FLOAT, (1, 8))
            bodies.append(onnx.helper.make_graph(inner, f"body{i}", [], [made]))
        total = n("ReduceSum", pooled, keepdims=0)
        branch = n("If", n("Greater", total, n.const(np.float32(0))), then_branch=bodies[0], else_branch=bodies[1])
        return n("Add", branch, shared, out="end")

    path = make_model(build, shape=(1, 3, 16, 16), opset=13, outputs={"end": (1, 8)})
    quantize_model(path, tmp_path / "half.onnx", noise, to="fp16")
    picture = min(noise.iterdir())
    before, after = open_model(path), open_model(tmp_path / "half.onnx")
    tensor = before.tensor(picture)
    sessions = [onnxruntime.InferenceSession(one.path, providers=["CPUExecutionProvider"]) for one in (before, after)]
    expected, found = (session.run(["end"], {session.get_inputs()[0].name: tensor})[0] for session in sessions)
    np.testing.assert_allclose(found, expected, atol=0.01 * np.abs(expected).max())


def test_rows_that_may_be_none_are_joined_in_float(noise: Path, tmp_path: Path) -> None:
    """onnxruntime 1.32 ends the process in a join of integers without rows, where it has made one operator of it."""
    source = list_files()["nothing-found"].write(tmp_path)
    made = quantize_model(source, tmp_path / "small.onnx", noise)
    graph = onnx.load(made.path).graph
    producer = {name: node.op_type for node in graph.node for name in node.output}
    joins = [node for node in graph.node if node.op_type == "Concat"]
    assert joins
    assert not [node.name for node in joins for name in node.input if producer.get(name) == "DequantizeLinear"]
    assert "QuantizeLinear" in producer.values(), "nothing was quantized"


def test_channels_in_blocks_are_no_half_precision(noise: Path, tmp_path: Path) -> None:
    source = list_files()["tf2onnx-mobilenet-ort-all"].write(tmp_path)
    if all(node.domain != "com.microsoft.nchwc" for node in onnx.load(source).graph.node):
        pytest.skip("onnxruntime makes no blocks for this processor")
    with pytest.raises(QuantizeError, match=r"channels in blocks \(nchwc\), .*; give the file that it was made of"):
        quantize_model(source, tmp_path / "half.onnx", noise, to="fp16", pictures=1)


@pytest.mark.slow
def test_drift_is_measured_over_the_channels_of_the_source(noise: Path, tmp_path: Path) -> None:
    """The copy declares no sizes behind windows; axes taken in two ways are another tensor, 3 dB below any noise."""
    pytest.importorskip("torchvision")
    source = list_files()["torchvision-swin-script"].write(tmp_path)
    made = quantize_model(source, tmp_path / "int8.onnx", [min(noise.iterdir())])
    before, after = open_model(source), open_model(made.path)
    tensor = before.tensor(min(noise.iterdir()))
    found = {row.layer: row.sqnr_db for row in made.drift}
    assert made.notes == ()
    assert len(found) == len(before.layers)
    for layer in before.layers:
        one, other = (model.run(tensor, [layer.tensor])[layer.tensor].astype(np.float64) for model in (before, after))
        decibels = 10 * np.log10((one**2).sum() / ((one - other) ** 2).sum())
        assert found[layer.name] == pytest.approx(decibels, abs=0.5)
