"""Heads of many forms: found, judged, and their gradient compared with differences in double precision."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from inspector import open_model
from inspector.cam import prepare
from inspector.graph import read_graph
from inspector.reverse.head import find_head
from tests.cam.nets import CHANNELS, CLASSES, Array, node, normal, picture, save_net, trunk
from tests.cam.reference import numeric_gradient
from tests.conftest import MakeModel
from tests.foreign import Net

Nodes = list[onnx.NodeProto]
Weights = dict[str, Array]
Form = tuple[Nodes, Weights, Callable[[Array], Array]]
"""Nodes from `maps` to `logits`, their weights, and the same in numpy: (C, h, w) float64 -> (K,)."""


def i64(*values: int) -> Array:
    return np.array(values, np.int64)


def pool(a: Array) -> Array:
    return a.mean(axis=(1, 2))


def form(name: str, rng: np.random.Generator) -> Form:
    w, b = normal(rng, CLASSES, CHANNELS), normal(rng, CLASSES)
    wide, wide_b = normal(rng, 9, CHANNELS), normal(rng, 9)
    last = normal(rng, CLASSES, 9)
    matrix = w.astype(np.float64)
    flat = [node("GlobalAveragePool", "maps", "pool"), node("Flatten", "pool", "flat")]
    linear = lambda a: matrix @ pool(a) + b  # noqa: E731
    two = [*flat, node("Gemm", "flat wide wb", "hidden", transB=1)]
    two_weights = {"wide": wide, "wb": wide_b, "last": last}
    hidden = lambda a: wide.astype(np.float64) @ pool(a) + wide_b  # noqa: E731
    forms: dict[str, Callable[[], Form]] = {
        "flatten, gemm": lambda: ([*flat, node("Gemm", "flat w b", "logits", transB=1)], {"w": w, "b": b}, linear),
        "gemm with all its attributes": lambda: (
            [
                *flat,
                node("Transpose", "flat", "turned", perm=[1, 0]),
                node("Gemm", "turned w b", "logits", transA=1, alpha=0.5, beta=2.0),
            ],
            {"w": w.T.copy(), "b": b},
            lambda a: 0.5 * matrix @ pool(a) + 2 * b,
        ),
        "mean, squeeze, matmul, add": lambda: (
            [
                node("ReduceMean", "maps axes", "pool", keepdims=1),
                node("Squeeze", "pool axes", "flat"),
                node("MatMul", "flat w", "product"),
                node("Add", "product b", "logits"),
            ],
            {"w": w.T.copy(), "b": b, "axes": i64(2, 3)},
            linear,
        ),
        "mean without the axes kept": lambda: (
            [node("ReduceMean", "maps axes", "flat", keepdims=0), node("Gemm", "flat w b", "logits", transB=1)],
            {"w": w, "b": b, "axes": i64(-1, -2)},
            linear,
        ),
        "average pool over all": lambda: (
            [
                node("AveragePool", "maps", "pool", kernel_shape=[8, 8]),
                node("Identity", "pool", "same"),
                node("Dropout", "same", "kept"),
                node("Reshape", "kept sizes", "flat"),
                node("Gemm", "flat w b", "logits", transB=1),
            ],
            {"w": w, "b": b, "sizes": i64(0, -1)},
            linear,
        ),
        "sum": lambda: (
            [node("ReduceSum", "maps axes", "flat", keepdims=0), node("Gemm", "flat w b", "logits", transB=1)],
            {"w": w, "b": b, "axes": i64(2, 3)},
            lambda a: matrix @ a.sum(axis=(1, 2)) + b,
        ),
        "convolution after the pool": lambda: (
            [
                node("GlobalAveragePool", "maps", "pool"),
                node("Conv", "pool w b", "scores"),
                node("Flatten", "scores", "logits"),
            ],
            {"w": w.reshape(CLASSES, CHANNELS, 1, 1), "b": b},
            linear,
        ),
        "convolution before the pool": lambda: (
            [
                node("Conv", "maps w b", "scores"),
                node("GlobalAveragePool", "scores", "pool"),
                node("Flatten", "pool", "logits"),
            ],
            {"w": w.reshape(CLASSES, CHANNELS, 1, 1), "b": b},
            linear,
        ),
        "norm between": lambda: (
            [
                node("BatchNormalization", "maps s t mean var", "normed", epsilon=1e-3),
                node("GlobalAveragePool", "normed", "pool"),
                node("Flatten", "pool", "flat"),
                node("Gemm", "flat w b", "logits", transB=1),
            ],
            {
                "w": w,
                "b": b,
                "s": normal(rng, CHANNELS),
                "t": normal(rng, CHANNELS),
                "mean": normal(rng, CHANNELS),
                "var": np.linspace(0.5, 2, CHANNELS, dtype=np.float32),
            },
            None,  # type: ignore[return-value]
        ),
        "batch read from the picture": lambda: (
            [
                node("GlobalAveragePool", "maps", "pool"),
                node("Shape", "x", "shape"),
                node("Gather", "shape zero", "batch", axis=0),
                node("Concat", "batch rest", "sizes", axis=0),
                node("Reshape", "pool sizes", "flat"),
                node("Gemm", "flat w b", "logits", transB=1),
            ],
            {"w": w, "b": b, "zero": i64(0), "rest": i64(CHANNELS)},
            linear,
        ),
        "places flattened": lambda: (
            [node("Flatten", "maps", "flat"), node("Gemm", "flat full b", "logits", transB=1)],
            {"full": normal(rng, CLASSES, CHANNELS * 64), "b": b},
            None,  # type: ignore[return-value]
        ),
        "hard-swish between": lambda: (
            [*two, node("HardSwish", "hidden", "active"), node("Gemm", "active last", "logits", transB=1)],
            two_weights,
            lambda a: last.astype(np.float64) @ (lambda h: h * np.clip(h / 6 + 0.5, 0, 1))(hidden(a)),
        ),
        "relu between": lambda: (
            [*two, node("Relu", "hidden", "active"), node("Gemm", "active last", "logits", transB=1)],
            two_weights,
            lambda a: last.astype(np.float64) @ np.maximum(hidden(a), 0),
        ),
        "relu before the pool": lambda: (
            [
                node("Conv", "maps w b", "scores"),
                node("Relu", "scores", "active"),
                node("GlobalAveragePool", "active", "pool"),
                node("Flatten", "pool", "logits"),
            ],
            {"w": w.reshape(CLASSES, CHANNELS, 1, 1), "b": b},
            lambda a: np.maximum(np.einsum("kc,chw->khw", matrix, a) + b[:, None, None], 0).mean(axis=(1, 2)),
        ),
        "squeeze and excitation": lambda: (
            [
                *two,
                node("Sigmoid", "hidden", "open"),
                node("Gemm", "open gate", "gates", transB=1),
                node("Unsqueeze", "gates last2", "gates4"),
                node("Mul", "maps gates4", "gated"),
                node("GlobalAveragePool", "gated", "pool2"),
                node("Flatten", "pool2", "flat2"),
                node("Gemm", "flat2 w b", "logits", transB=1),
            ],
            {
                "wide": wide,
                "wb": wide_b,
                "gate": (gate := normal(rng, CHANNELS, 9)),
                "w": w,
                "b": b,
                "last2": i64(2, 3),
            },
            lambda a: matrix @ (pool(a) * (gate.astype(np.float64) @ (1 / (1 + np.exp(-hidden(a)))))) + b,
        ),
    }
    nodes, weights, numpy_form = forms[name]()
    if name == "norm between":
        s, t, mean, var = (weights[k].astype(np.float64)[:, None, None] for k in ("s", "t", "mean", "var"))
        numpy_form = lambda a: linear((a - mean) / np.sqrt(var + 1e-3) * s + t)  # noqa: E731
    if name == "places flattened":
        numpy_form = lambda a: weights["full"].astype(np.float64) @ a.reshape(-1) + b  # noqa: E731
    return nodes, weights, numpy_form


LINEAR = (
    "flatten, gemm", "gemm with all its attributes", "mean, squeeze, matmul, add", "mean without the axes kept",
    "average pool over all", "sum", "convolution after the pool", "convolution before the pool", "norm between",
    "batch read from the picture", "places flattened",
)  # fmt: skip
OTHERS = ("hard-swish between", "relu between", "relu before the pool", "squeeze and excitation")


@pytest.mark.parametrize("name", LINEAR + OTHERS)
@pytest.mark.parametrize("end", ["", "Softmax"])
def test_the_gradient_of_every_form_of_head(name: str, end: str, tmp_path: Path, rng: np.random.Generator) -> None:
    nodes, weights = trunk(rng)
    more, head_weights, in_numpy = form(name, rng)
    output = "p" if end else "logits"
    nodes += [*more, *([node(end, "logits", "p")] if end else [])]
    model = open_model(save_net(tmp_path / "m.onnx", nodes, weights | head_weights, outputs={output: ["N", CLASSES]}))
    engine = prepare(model, "hirescam", "trunk.relu")
    (head,) = engine.heads
    assert (engine.backend, head.linear, head.bottleneck) == ("onnx", name in LINEAR, True)
    x = picture(rng)
    maps = model.layer_values(x, ["trunk.relu"])[0]["trunk.relu"][0].astype(np.float64)
    assert np.abs(in_numpy(maps) - model.scores(x)[0]).max() < 1e-4  # the numpy form is the network
    for k in (0, 3):
        gradient = numeric_gradient(lambda a: float(in_numpy(a)[k]), maps)  # noqa: B023
        [found] = engine.maps(x, classes=[k])
        wanted = (gradient * maps).sum(axis=0)
        assert np.abs(found.raw - wanted).max() < 1e-5 * np.abs(wanted).max()
    if name in ("flatten, gemm", "convolution before the pool", "mean, squeeze, matmul, add"):
        [found] = prepare(model, "cam", "trunk.relu").maps(x, classes=[2])
        w = head_weights["w"].reshape(CLASSES, -1) if name != "mean, squeeze, matmul, add" else head_weights["w"].T
        wanted = np.einsum("c,chw->hw", w[2].astype(np.float64), maps)
        assert np.abs(found.raw - wanted).max() < 1e-5 * np.abs(wanted).max()


def test_on_a_linear_model_hirescam_equals_the_weights(tmp_path: Path, rng: np.random.Generator) -> None:
    weights = {"one": np.ones((1, 1, 1, 1), np.float32), "w": normal(rng, 3, 36), "b": normal(rng, 3)}
    path = save_net(
        tmp_path / "linear.onnx",
        [
            node("Conv", "x one", "maps"),
            node("Flatten", "maps", "flat"),
            node("Gemm", "flat w b", "logits", transB=1),
        ],
        weights,
        outputs={"logits": ["N", 3]},
        shape=("N", 1, 6, 6),
    )
    engine = prepare(open_model(path), "hirescam", "maps")
    for k, found in enumerate(engine.maps(np.ones((1, 1, 6, 6), np.float32), classes=[0, 1, 2])):
        assert np.array_equal(found.raw, weights["w"][k].reshape(6, 6))


def test_a_pooled_linear_head_has_the_same_gradient_everywhere_and_reads_one_row(
    tmp_path: Path, rng: np.random.Generator
) -> None:
    nodes, weights = trunk(rng)
    more, head_weights, _ = form("flatten, gemm", rng)
    path = save_net(tmp_path / "m.onnx", nodes + more, weights | head_weights, outputs={"logits": ["N", CLASSES]})
    head = find_head(read_graph(path), "maps", "logits")
    seed = np.zeros((1, CLASSES), np.float32)
    seed[0, 4] = 1
    gradient = head.gradient(
        seed,
        {"w": head_weights["w"], "maps": np.zeros((1, CHANNELS, 8, 8), np.float32), "pool": np.zeros((1, 6, 1, 1))},
    )
    assert np.abs(gradient - head_weights["w"][4][None, :, None, None] / 64).max() < 1e-8
    assert gradient.strides[2:] == (0, 0)  # a view, not 64 copies
    assert head.needed == ("pool",)
    assert head.weights == ("w",)


def test_siblings_are_what_else_the_path_reads(tmp_path: Path, rng: np.random.Generator) -> None:
    nodes, weights = trunk(rng)
    nodes += [
        node("Conv", "maps k2", "left", pads=[1, 1, 1, 1]),
        node("Conv", "maps k3", "right"),
        node("Add", "left right", "joined"),
        node("GlobalAveragePool", "joined", "pool"),
        node("Flatten", "pool", "flat"),
        node("Gemm", "flat w", "logits", transB=1),
    ]
    weights |= {"k2": normal(rng, 4, CHANNELS, 3, 3), "k3": normal(rng, 4, CHANNELS, 1, 1), "w": normal(rng, 5, 4)}
    graph = read_graph(save_net(tmp_path / "m.onnx", nodes, weights, outputs={"logits": ["N", 5]}))
    left = find_head(graph, "left", "logits")
    assert (left.siblings, left.bottleneck, left.linear) == (("right",), False, True)
    assert find_head(graph, "maps", "logits").bottleneck
    assert find_head(graph, "joined", "logits").operators == ("GlobalAveragePool", "Flatten", "Gemm")
    assert not find_head(graph, "joined", "left").connected


def test_what_reads_only_the_shape_of_the_layer_is_not_on_the_path(tmp_path: Path, rng: np.random.Generator) -> None:
    nodes, weights = trunk(rng)
    nodes += [
        node("Mish", "maps", "m2"),
        node("Shape", "m2", "shape", start=0, end=1),
        node("Concat", "shape rest", "sizes", axis=0),
        node("GlobalAveragePool", "maps", "pool"),
        node("Reshape", "pool sizes", "flat"),
        node("Gemm", "flat w", "logits", transB=1),
    ]
    weights |= {"w": normal(rng, CLASSES, CHANNELS), "rest": i64(CHANNELS)}
    path = save_net(tmp_path / "m.onnx", nodes, weights, outputs={"logits": ["N", CLASSES]})
    head = find_head(read_graph(path), "maps", "logits")
    assert head.operators == ("GlobalAveragePool", "Reshape", "Gemm")
    assert head.linear
    [found] = prepare(open_model(path), "gradcam").maps(picture(rng))
    assert found.backend == "onnx"


def test_weights_that_the_graph_works_out_are_read_once(tmp_path: Path, rng: np.random.Generator) -> None:
    nodes, weights = trunk(rng)
    nodes += [
        node("GlobalAveragePool", "maps", "pool"),
        node("Flatten", "pool", "flat"),
        node("DequantizeLinear", "wq ws", "wd"),
        node("Transpose", "wd", "wt", perm=[1, 0]),
        node("MatMul", "flat wt", "logits"),
    ]
    integers = rng.integers(-100, 100, (CLASSES, CHANNELS)).astype(np.int8)
    weights |= {"wq": integers, "ws": np.float32(0.02)}
    model = open_model(save_net(tmp_path / "m.onnx", nodes, weights, outputs={"logits": ["N", CLASSES]}))
    engine = prepare(model, "cam")
    assert engine.heads[0].linear
    x = picture(rng)
    [found] = engine.maps(x, classes=[1])
    maps = model.layer_values(x, ["trunk.relu"])[0]["trunk.relu"][0]
    wanted = np.einsum("c,chw->hw", integers[1] * 0.02, maps)
    assert np.abs(found.raw - wanted).max() < 1e-5 * np.abs(wanted).max()


def test_half_precision_files(tmp_path: Path, rng: np.random.Generator) -> None:
    nodes, weights = trunk(rng)
    more, head_weights, _ = form("flatten, gemm", rng)
    half = {k: v.astype(np.float16) for k, v in (weights | head_weights).items()}
    path = save_net(
        tmp_path / "half.onnx", nodes + more, half, outputs={"logits": ["N", CLASSES]}, dtype=TensorProto.FLOAT16
    )
    model = open_model(path)
    x = picture(rng).astype(np.float16)
    [found] = prepare(model, "gradcam").maps(x, classes=[1])
    maps = model.layer_values(x, ["trunk.relu"])[0]["trunk.relu"][0]
    wanted = np.einsum("c,chw->hw", half["w"][1].astype(np.float64) / 64, maps)
    assert found.raw.dtype == np.float32
    assert np.abs(found.raw - wanted).max() < 1e-5 * np.abs(wanted).max()


def test_gradients_go_straight_through_quantisation_and_the_result_says_so(
    tmp_path: Path, rng: np.random.Generator
) -> None:
    nodes, weights = trunk(rng)
    nodes += [
        node("QuantizeLinear", "maps scale zero", "q"),
        node("DequantizeLinear", "q scale zero", "dq"),
        node("GlobalAveragePool", "dq", "pool"),
        node("Flatten", "pool", "flat"),
        node("Gemm", "flat w b", "logits", transB=1),
    ]
    weights |= {
        "scale": np.float32(0.05),
        "zero": np.uint8(0),
        "w": normal(rng, CLASSES, CHANNELS),
        "b": normal(rng, CLASSES),
    }
    model = open_model(save_net(tmp_path / "m.onnx", nodes, weights, outputs={"logits": ["N", CLASSES]}))
    engine = prepare(model, "gradcam", "trunk.relu")
    assert "straight through the quantisation" in engine.reason
    x = picture(rng)
    [found] = engine.maps(x, classes=[3])
    maps = model.layer_values(x, ["trunk.relu"])[0]["trunk.relu"][0]
    wanted = np.einsum("c,chw->hw", weights["w"][3] / 64, maps)
    assert np.abs(found.raw - wanted).max() < 1e-5 * np.abs(wanted).max()
    # Not linear, strictly: ablation runs the head.
    assert "runs of the head" in prepare(model, "ablationcam", "trunk.relu").reason


def test_a_node_of_a_custom_domain_has_no_rule(tmp_path: Path, rng: np.random.Generator) -> None:
    nodes, weights = trunk(rng)
    nodes += [
        helper.make_node("FastGelu", ["maps"], ["fast"], "head/fast", domain="com.microsoft"),
        node("GlobalAveragePool", "fast", "pool"),
        node("Flatten", "pool", "flat"),
        node("Gemm", "flat w", "logits", transB=1),
    ]
    weights |= {"w": normal(rng, CLASSES, CHANNELS)}
    path = tmp_path / "m.onnx"
    save_net(
        path, nodes[:1] + nodes[1:2] + [node("Relu", "maps", "fast")] + nodes[3:], weights, outputs={"logits": ["N", 5]}
    )
    proto = onnx.load(path)
    proto.graph.node[2].CopyFrom(nodes[2])
    proto.opset_import.append(helper.make_opsetid("com.microsoft", 1))
    onnx.save(proto, path)
    assert find_head(read_graph(path), "maps", "logits").unknown == ("FastGelu",)


@pytest.mark.parametrize(
    ("op", "domain", "weighted"),
    [
        ("Conv", "", True),
        ("ConvInteger", "", True),
        ("FusedConv", "com.microsoft", True),
        ("DeformConv", "", True),
        ("Relu", "", False),
    ],
)
def test_convolutions_of_any_kind_are_weights(op: str, domain: str, weighted: bool, make_model: MakeModel) -> None:
    def build(n: Net, x: str) -> str:
        given = (n.weight((4, 3, 1, 1)),) if weighted else ()
        return n(op, n("Neg", x, out="maps"), *given, domain=domain, out="y")

    graph = read_graph(make_model(build, com_microsoft=1))
    assert find_head(graph, "maps", "y").weighted is weighted
