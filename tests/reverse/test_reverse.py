"""Every rule for going backwards, against differences of onnx's own reference evaluator in double precision."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from inspector.graph import read_graph
from inspector.reverse.head import find_head
from inspector.reverse.rule import RULES, unbroadcast
from tests.cam.nets import Array
from tests.cam.reference import numeric_gradient
from tests.conftest import require

Forward = Callable[[Array], Array]

SHAPE = (1, 4, 5, 6)


def ints(*values: int) -> Array:
    return np.array(values, np.int64)


def floats(seed: int, *shape: int) -> Array:
    return np.random.default_rng(seed).standard_normal(shape)


# operator, other inputs (None: the layer itself again), attributes, opset, shape of the layer
CASES: list[tuple[str, list[Any], dict[str, Any], int, tuple[int, ...]]] = [
    ("Identity", [], {}, 18, SHAPE),
    ("Dropout", [], {}, 18, SHAPE),
    ("Cast", [], {"to": TensorProto.DOUBLE}, 18, SHAPE),
    ("Reshape", [ints(0, -1, 3)], {}, 18, SHAPE),
    ("Flatten", [], {"axis": 2}, 18, SHAPE),
    ("Squeeze", [ints(0)], {}, 18, SHAPE),
    ("Unsqueeze", [ints(1)], {}, 18, SHAPE),
    ("Transpose", [], {"perm": [0, 2, 3, 1]}, 18, SHAPE),
    ("Transpose", [], {"perm": [2, 0, 3, 1]}, 18, SHAPE),
    ("Concat", [floats(1, 1, 3, 5, 6)], {"axis": 1}, 18, SHAPE),
    ("Concat", [None], {"axis": -1}, 18, SHAPE),
    ("Slice", [ints(1, -4), ints(4, 100), ints(1, 3), ints(2, 1)], {}, 18, SHAPE),
    ("Slice", [ints(-1), ints(-100), ints(2), ints(-2)], {}, 18, SHAPE),
    ("Gather", [ints(2, 0, 2)], {"axis": 1}, 18, SHAPE),
    ("Gather", [np.array([[1, 3], [-1, 0]])], {"axis": 3}, 18, SHAPE),
    ("GatherND", [np.array([[[0, 1], [0, 3]], [[0, 1], [0, -2]]])], {}, 18, SHAPE),
    ("Expand", [ints(3, 4, 5, 6)], {}, 18, SHAPE),
    ("Pad", [ints(0, 0, 1, 2, 0, 1, 0, 3)], {}, 18, SHAPE),
    ("Pad", [ints(0, 0, -1, 2, 0, 0, -2, -1)], {}, 18, SHAPE),
    ("Gemm", [floats(2, 7, 4), floats(3, 7)], {"transB": 1, "alpha": 0.5, "beta": 3.0}, 18, (2, 4)),
    ("Gemm", [floats(2, 4, 7)], {"transA": 1}, 18, (4, 2)),
    ("MatMul", [floats(2, 6, 3)], {}, 18, SHAPE),
    ("MatMul", [floats(2, 4, 6, 2)], {}, 18, SHAPE),
    ("MatMul", [floats(2, 6)], {}, 18, SHAPE),
    ("BatchNormalization", [floats(1, 4), floats(2, 4), floats(3, 4), abs(floats(4, 4))], {"epsilon": 1e-3}, 15, SHAPE),
    ("Conv", [floats(5, 6, 4, 1, 1), floats(6, 6)], {}, 18, SHAPE),
    ("Conv", [floats(5, 6, 4, 3, 3)], {"pads": [1, 0, 2, 1], "strides": [2, 1]}, 18, SHAPE),
    ("Conv", [floats(5, 6, 2, 2, 3)], {"group": 2, "dilations": [2, 1]}, 18, SHAPE),
    ("Conv", [floats(5, 4, 1, 3, 3)], {"group": 4, "strides": [2, 2], "pads": [1, 1, 1, 1]}, 18, SHAPE),
    ("Conv", [floats(5, 3, 4, 3, 3)], {"auto_pad": "SAME_UPPER", "strides": [2, 2]}, 18, SHAPE),
    ("Conv", [floats(5, 3, 4, 2, 2)], {"auto_pad": "SAME_LOWER"}, 18, SHAPE),
    ("Conv", [floats(5, 3, 4, 3, 3)], {"auto_pad": "VALID", "strides": [3, 2]}, 18, SHAPE),
    ("ConvTranspose", [floats(5, 4, 3, 4, 4)], {"strides": [2, 2], "pads": [1, 1, 1, 1]}, 18, SHAPE),
    ("ConvTranspose", [floats(5, 4, 1, 3, 2)], {"strides": [2, 3], "output_padding": [1, 0], "group": 4}, 18, SHAPE),
    ("ConvTranspose", [floats(5, 4, 2, 2, 2), floats(6, 2)], {"dilations": [2, 1]}, 18, SHAPE),
    ("DepthToSpace", [], {"blocksize": 2}, 18, SHAPE),
    ("DepthToSpace", [], {"blocksize": 2, "mode": "CRD"}, 18, SHAPE),
    ("SpaceToDepth", [], {"blocksize": 2}, 18, (1, 2, 4, 6)),
    ("GatherElements", [np.random.default_rng(3).integers(-6, 6, (1, 4, 5, 3))], {"axis": 3}, 18, SHAPE),
    ("Tile", [ints(1, 2, 1, 3)], {}, 18, SHAPE),
    ("GlobalAveragePool", [], {}, 18, SHAPE),
    ("ReduceMean", [ints(2, 3)], {"keepdims": 0}, 18, SHAPE),
    ("ReduceMean", [], {"axes": [-1, -2], "keepdims": 1}, 13, SHAPE),
    ("ReduceMean", [], {"keepdims": 0}, 18, SHAPE),
    ("ReduceSum", [ints(1)], {"keepdims": 1}, 18, SHAPE),
    ("ReduceMax", [ints(2, 3)], {"keepdims": 0}, 18, SHAPE),
    ("GlobalMaxPool", [], {}, 18, SHAPE),
    ("AveragePool", [], {"kernel_shape": [5, 6]}, 18, SHAPE),
    ("AveragePool", [], {"kernel_shape": [3, 2], "strides": [2, 2], "pads": [1, 0, 1, 1]}, 18, SHAPE),
    ("AveragePool", [], {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1], "count_include_pad": 1}, 18, SHAPE),
    ("AveragePool", [], {"kernel_shape": [2, 2], "strides": [2, 2], "ceil_mode": 1}, 19, SHAPE),
    ("AveragePool", [], {"kernel_shape": [3, 2], "auto_pad": "SAME_UPPER", "count_include_pad": 1}, 18, SHAPE),
    ("AveragePool", [], {"kernel_shape": [3, 2], "auto_pad": "SAME_LOWER"}, 18, SHAPE),
    ("MaxPool", [], {"kernel_shape": [2, 2], "strides": [2, 2]}, 18, SHAPE),
    ("MaxPool", [], {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1, 1, 1, 1]}, 18, SHAPE),
    ("MaxPool", [], {"kernel_shape": [2, 2], "strides": [2, 2], "ceil_mode": 1}, 18, SHAPE),
    ("Max", [floats(1, 4, 1, 1), floats(2, 6)], {}, 18, SHAPE),
    ("Min", [floats(1, 4, 1, 1)], {}, 18, SHAPE),
    ("Add", [floats(1, 4, 1, 1)], {}, 18, SHAPE),
    ("Add", [floats(1, 2, 4, 5, 6)], {}, 18, SHAPE),
    ("Add", [None], {}, 18, SHAPE),
    ("Sum", [None, floats(1, 6)], {}, 18, SHAPE),
    ("Sub", [floats(1, 6)], {}, 18, SHAPE),
    ("Mul", [floats(1, 3, 1, 1, 6)], {}, 18, SHAPE),
    ("Mul", [None], {}, 18, SHAPE),
    ("Div", [floats(1, 6)], {}, 18, SHAPE),
    ("Neg", [], {}, 18, SHAPE),
    ("Pow", [np.array(2.0)], {}, 18, SHAPE),
    ("Pow", [np.array(3.0)], {}, 18, SHAPE),
    ("Exp", [], {}, 18, SHAPE),
    ("Abs", [], {}, 18, SHAPE),
    ("Reciprocal", [], {}, 18, SHAPE),
    ("Relu", [], {}, 18, SHAPE),
    ("LeakyRelu", [], {"alpha": 0.2}, 18, SHAPE),
    ("PRelu", [floats(1, 4, 1, 1)], {}, 18, SHAPE),
    ("ThresholdedRelu", [], {"alpha": 0.5}, 18, SHAPE),
    ("Elu", [], {"alpha": 0.7}, 18, SHAPE),
    ("Clip", [np.array(-0.5), np.array(0.8)], {}, 18, SHAPE),
    ("Sigmoid", [], {}, 18, SHAPE),
    ("Tanh", [], {}, 18, SHAPE),
    ("HardSigmoid", [], {"alpha": 0.3, "beta": 0.4}, 18, SHAPE),
    ("HardSwish", [], {}, 18, SHAPE),
    ("Swish", [], {"alpha": 1.3}, 24, SHAPE),
    ("Softplus", [], {}, 18, SHAPE),
    ("Mish", [], {}, 18, SHAPE),
    ("Erf", [], {}, 18, SHAPE),
    ("Gelu", [], {}, 20, SHAPE),
    ("Gelu", [], {"approximate": "tanh"}, 20, SHAPE),
    ("Softmax", [], {"axis": 1}, 18, SHAPE),
    ("LogSoftmax", [], {"axis": 1}, 18, SHAPE),
    ("InstanceNormalization", [floats(1, 4), floats(2, 4)], {}, 18, SHAPE),
    ("LayerNormalization", [floats(1, 6), floats(2, 6)], {"epsilon": 1e-3}, 18, SHAPE),
    ("LayerNormalization", [floats(1, 5, 6)], {"axis": -2}, 18, SHAPE),
]
_NO = np.zeros(0, np.float32)
RESIZES: list[tuple[list[Any], dict[str, Any], int]] = [
    ([_NO, _NO, ints(1, 4, 10, 9)], {}, 18),
    ([_NO, np.array([1, 1, 2, 2.5], np.float32)], {"coordinate_transformation_mode": "asymmetric"}, 13),
    ([_NO, _NO, ints(1, 4, 3, 4)], {"nearest_mode": "ceil"}, 13),
    ([_NO, _NO, ints(1, 4, 8, 4)], {"nearest_mode": "round_prefer_ceil"}, 13),
    ([_NO, np.array([1, 1, 2, 2], np.float32)], {"mode": "linear"}, 13),
    ([_NO, _NO, ints(1, 4, 7, 3)], {"mode": "linear", "coordinate_transformation_mode": "pytorch_half_pixel"}, 13),
    ([_NO, _NO, ints(1, 4, 9, 11)], {"mode": "linear", "coordinate_transformation_mode": "align_corners"}, 13),
    ([_NO, np.array([2.3, 1.7], np.float32)], {"mode": "linear", "axes": [2, 3]}, 18),
    ([_NO, _NO, ints(1, 4, 9, 4)], {"mode": "cubic"}, 13),
    ([_NO, _NO, ints(1, 4, 9, 4)], {"mode": "cubic", "exclude_outside": 1, "cubic_coeff_a": -0.5}, 13),
    ([np.array([1, 1, 2, 3], np.float32)], {"mode": "linear"}, 10),
    ([np.array([1, 1, 2, 3], np.float32)], {"mode": "nearest"}, 9),
]
POSITIVE = [("Sqrt", [], {}, 18, SHAPE), ("Log", [], {}, 18, SHAPE), ("Pow", [np.array(0.5)], {}, 18, SHAPE)]


def model_of(
    op: str, others: list[Any], attributes: dict[str, Any], opset: int, shape: tuple[int, ...], double: bool
) -> onnx.ModelProto:
    kind = TensorProto.DOUBLE if double else TensorProto.FLOAT
    names, weights = ["layer"], []
    for i, other in enumerate(others):
        names.append("layer" if other is None else f"w{i}")
        if other is not None:
            other = other.astype(np.float64 if double else np.float32) if other.dtype.kind == "f" else other
            weights.append(numpy_helper.from_array(other, f"w{i}"))
    if op == "Cast":
        attributes = {"to": kind}
    inputs = [helper.make_tensor_value_info("layer", kind, shape)]
    outputs = [helper.make_tensor_value_info("out", kind, None)]
    graph = helper.make_graph([helper.make_node(op, names, ["out"], **attributes)], "g", inputs, outputs, weights)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=10)


def forward(op: str, others: list[Any], attributes: dict[str, Any], opset: int, x: Array) -> Forward:
    """The operator in double precision: onnx's evaluator, or numpy where that falls back to single."""
    if op == "Erf":
        return _erf
    if op == "Gelu" and not attributes:
        return lambda v: 0.5 * v * (1 + _erf(v / math.sqrt(2)))
    if op == "LayerNormalization":
        axes = tuple(range(attributes.get("axis", -1) % x.ndim, x.ndim))
        small = attributes.get("epsilon", 1e-5)
        return lambda v: (
            (v - v.mean(axes, keepdims=True)) / np.sqrt(v.var(axes, keepdims=True) + small) * others[0]
            + (others[1] if len(others) > 1 else 0)
        )
    if op == "Pad":
        pads = others[0]
        grow = np.maximum(pads, 0).reshape(2, 4).T
        cut = np.maximum(-pads, 0).reshape(2, 4)
        return lambda v: np.pad(
            v[tuple(slice(cut[0, i], v.shape[i] - cut[1, i]) for i in range(4))], [tuple(g) for g in grow]
        )
    run = ReferenceEvaluator(model_of(op, others, attributes, opset, x.shape, double=True))
    return lambda v: np.asarray(run.run(None, {"layer": v})[0], np.float64)


_erf = np.vectorize(math.erf, otypes=[np.float64])


def compare(op: str, others: list[Any], attributes: dict[str, Any], opset: int, x: Array, tmp_path: Path) -> None:
    """The rule's gradient against central differences of a random projection of the output."""
    run = forward(op, others, attributes, opset, x)
    seed = floats(11, *run(x).shape)
    wanted = numeric_gradient(lambda v: float((seed * run(v)).sum()), x, 1e-6)
    path = tmp_path / "m.onnx"
    onnx.save(model_of(op, others, attributes, opset, x.shape, double=False), path)
    graph = read_graph(path)
    head = find_head(graph, "layer", "out")
    assert head.differentiable, head.unknown
    values = {"layer": x.astype(np.float32)} | {name: np.asarray(graph.weight(name)) for name in head.weights}
    found = head.gradient(seed.astype(np.float32), values)
    assert found.dtype == np.float32
    assert found.shape == x.shape
    assert np.abs(found - wanted).max() <= 2e-5 * np.abs(wanted).max()


def away_from_kinks(shape: tuple[int, ...]) -> Array:
    """Distinct values, none within 1e-3 of a whole multiple of 0.1 (where the kinks of these cases are)."""
    x = floats(0, *shape) * 1.5
    near = np.abs(x * 10 - np.round(x * 10)) < 0.02
    return np.where(near, x + 0.03, x)


@pytest.mark.parametrize(("op", "others", "attributes", "opset", "shape"), CASES)
def test_rule(op: str, others: Any, attributes: Any, opset: int, shape: tuple[int, ...], tmp_path: Path) -> None:
    compare(op, others, attributes, opset, away_from_kinks(shape), tmp_path)


@pytest.mark.parametrize(("op", "others", "attributes", "opset", "shape"), POSITIVE)
def test_rule_on_positive_numbers(
    op: str, others: Any, attributes: Any, opset: int, shape: tuple[int, ...], tmp_path: Path
) -> None:
    compare(op, others, attributes, opset, np.abs(floats(0, *shape)) + 0.2, tmp_path)


@pytest.mark.parametrize("used", [(0,), (1,), (2, 0), (0, 1, 2)])
@pytest.mark.parametrize("sizes", [None, [1, 3, 1]])
def test_split(used: tuple[int, ...], sizes: list[int] | None, tmp_path: Path) -> None:
    nodes = [helper.make_node("Split", ["layer", *(["sizes"] if sizes else [])], ["p0", "p1", "p2"], axis=2)]
    if sizes is None:
        nodes[0].attribute.append(helper.make_attribute("num_outputs", 3))
    nodes += [helper.make_node("ReduceSum", [f"p{i}"], [f"s{i}"], keepdims=0) for i in used]
    nodes += [helper.make_node("Exp", [f"s{i}"], [f"e{i}"]) for i in used]
    nodes.append(helper.make_node("Sum", [f"e{i}" for i in used], ["out"]))
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("layer", TensorProto.FLOAT, SHAPE)],
        [helper.make_tensor_value_info("out", TensorProto.FLOAT, [])],
        [numpy_helper.from_array(ints(*sizes), "sizes")] if sizes else [],
    )
    path = tmp_path / "m.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9), path)
    head = find_head(read_graph(path), "layer", "out")
    x = floats(0, *SHAPE) / 10
    edges = [0, *np.cumsum(sizes or [2, 2, 1])]
    wanted = np.zeros(SHAPE)
    values = {"layer": x.astype(np.float32)}
    for i in range(3):
        part = x[:, :, edges[i] : edges[i + 1]]
        total = np.float32(part.sum())
        values |= {f"p{i}": part.astype(np.float32), f"s{i}": total, f"e{i}": np.exp(total)}
        if i in used:
            wanted[:, :, edges[i] : edges[i + 1]] = np.exp(part.sum())
    if sizes:
        values["sizes"] = ints(*sizes)
    assert np.abs(head.gradient(np.array(1, np.float32), values) - wanted).max() < 1e-5


@pytest.mark.parametrize("moving", [(1,), (2,), (1, 2)])
def test_where(moving: tuple[int, ...], tmp_path: Path) -> None:
    condition, other, x = floats(1, 4, 1, 6) > 0, floats(2, 5, 1), floats(3, *SHAPE)
    names = ["condition", *("layer" if i in moving else "other" for i in (1, 2))]
    weights = [numpy_helper.from_array(condition, "condition"), numpy_helper.from_array(np.float32(other), "other")]
    graph = helper.make_graph(
        [helper.make_node("Where", names, ["out"])],
        "g",
        [helper.make_tensor_value_info("layer", TensorProto.FLOAT, SHAPE)],
        [helper.make_tensor_value_info("out", TensorProto.FLOAT, None)],
        weights,
    )
    path = tmp_path / "m.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9), path)
    head = find_head(read_graph(path), "layer", "out")
    seed = floats(4, *SHAPE).astype(np.float32)
    values = {"layer": x.astype(np.float32), "condition": condition, "other": other}
    keep = np.broadcast_to(condition, SHAPE)
    wanted = seed * ((keep if 1 in moving else 0) + (~keep if 2 in moving else 0))
    assert head.linear
    assert np.array_equal(head.gradient(seed, values), wanted.astype(np.float32))


def test_division_by_what_depends_on_the_layer(tmp_path: Path) -> None:
    x = np.abs(floats(0, 2, 3)) + 0.5
    graph = helper.make_graph(
        [helper.make_node("Exp", ["layer"], ["e"]), helper.make_node("Div", ["layer", "e"], ["out"])],
        "g",
        [helper.make_tensor_value_info("layer", TensorProto.FLOAT, [2, 3])],
        [helper.make_tensor_value_info("out", TensorProto.FLOAT, [2, 3])],
    )
    path = tmp_path / "m.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9), path)
    head = find_head(read_graph(path), "layer", "out")
    values = {"layer": x.astype(np.float32), "e": np.exp(x).astype(np.float32)}
    found = head.gradient(np.ones((2, 3), np.float32), values)
    assert not head.linear
    assert np.abs(found - (1 - x) * np.exp(-x)).max() < 1e-6


def test_every_rule_has_a_case() -> None:
    covered = {case[0] for case in CASES + POSITIVE} | {"Div", "Where", "Split", "Resize", "Upsample"}
    # QuickGelu is Swish with another constant; rounding has no derivative to compare with.
    assert covered | {"QuickGelu", "QuantizeLinear", "DequantizeLinear"} == set(RULES)


@pytest.mark.parametrize(
    ("op", "others", "attributes"),
    [
        ("Dropout", [np.float32(0.5), np.array(True)], {}),
        ("Softmax", [], {}),
        ("Pad", [ints(0, 0, 1, 1, 0, 0, 1, 1)], {"mode": "reflect"}),
        ("Clip", [], {}),
    ],
)
def test_forms_that_no_rule_covers_are_refused(op: str, others: Any, attributes: Any, tmp_path: Path) -> None:
    opset = 11 if op == "Softmax" else 18  # before opset 13 it flattens to two dimensions
    path = tmp_path / "m.onnx"
    onnx.save(model_of(op, others, attributes, opset, SHAPE, double=False), path)
    head = find_head(read_graph(path), "layer", "out")
    assert head.differentiable == (op == "Clip")


@pytest.mark.parametrize(
    ("shape", "wanted"), [((2, 3, 4), (2, 3, 4)), ((3, 1), (3, 1)), ((1,), (1,)), ((), ()), ((2, 1, 4), (2, 1, 4))]
)
def test_unbroadcast_sums_what_was_repeated(shape: tuple[int, ...], wanted: tuple[int, ...]) -> None:
    g = np.ones((2, 3, 4))
    found = unbroadcast(g, shape)
    assert found.shape == wanted
    assert found.sum() == math.prod(g.shape)


@pytest.mark.parametrize(("others", "attributes", "opset"), RESIZES)
def test_resize(others: list[Any], attributes: dict[str, Any], opset: int, tmp_path: Path) -> None:
    """A resize is linear: the gradient of each output element is what onnxruntime makes of each input element."""
    ort = require("onnxruntime")
    path, size = tmp_path / "m.onnx", 4 * 5 * 6
    onnx.save(model_of("Resize" if opset > 9 else "Upsample", others, attributes, opset, SHAPE, double=False), path)
    session = ort.InferenceSession(path, providers=["CPUExecutionProvider"])
    basis = np.eye(size, dtype=np.float32).reshape(size, *SHAPE)
    columns = np.stack([session.run(None, {"layer": one})[0] for one in basis])
    seed = floats(11, *columns.shape[1:]).astype(np.float32)
    head = find_head(read_graph(path), "layer", "out")
    assert head.differentiable
    assert head.linear
    values = {"layer": basis[0]} | {name: np.asarray(head.graph.weight(name)) for name in head.weights}
    found = head.gradient(seed, values)
    assert np.abs(found.ravel() - (columns * seed).reshape(size, -1).sum(1)).max() < 1e-4
