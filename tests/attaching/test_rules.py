"""Every rule that writes a derivative as nodes, run by onnxruntime, against the numpy gradients and differences."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from exporters.attaching.derivative import emit_gradient, list_steps
from exporters.attaching.rule import EMIT_RULES
from exporters.attaching.sizes import TensorSizes
from exporters.attaching.writer import GraphWriter
from inspector.graph import read_graph
from inspector.reverse import find_head
from tests.cam.reference import numeric_gradient
from tests.reverse.test_reverse import CASES, POSITIVE, RESIZES, SHAPE, away_from_kinks, floats, forward, ints, model_of

Array = Any
# What has a numpy rule and is not written: indices twice, a vector as an operand, a negative padding; the number counts
# the cases of an operator.
NEVER = {
    "Gather-0", "Gather-1", "GatherND-0", "GatherElements-0", "Tile-0", "Pad-1", "MatMul-2", "ThresholdedRelu-0",
}  # fmt: skip
# What needs to know how large the maps are.
SIZED = {
    *(f"AveragePool-{k}" for k in range(6)), "Conv-4", "Conv-5", "Slice-0", "Slice-1",
    "DepthToSpace-0", "DepthToSpace-1", "SpaceToDepth-0", *(f"Resize-{k}" for k in range(10)),
}  # fmt: skip
EXACT = ("Softmax", "HardSwish")
CHAINS: list[tuple[str, list[tuple[str, list[str], dict[str, Any], int]], dict[str, Array]]] = [
    ("one of many tokens", [("Gather", ["layer", "w"], {"axis": 1}, 1)], {"w": np.array(-1)}),
    ("several, each once", [("Gather", ["layer", "w"], {"axis": 3}, 1)], {"w": ints(5, 0, 2)}),
    ("a split of which one part is read", [("Split", ["layer", "w"], {"axis": 2}, 2), ("Exp", ["b"], {}, 1)],
     {"w": ints(2, 3)}),
    ("both parts", [("Split", ["layer", "w"], {"axis": 2}, 2), ("ReduceSum", ["a"], {}, 1), ("Mul", ["b", "c"], {}, 1)],
     {"w": ints(2, 3)}),
    ("a quotient", [("Exp", ["layer"], {}, 1), ("Div", ["layer", "a"], {}, 1)], {}),
    ("a choice", [("Neg", ["layer"], {}, 1), ("Where", ["w", "layer", "a"], {}, 1)], {"w": floats(1, 4, 1, 6) > 0}),
    ("squeeze and excitation", [("GlobalAveragePool", ["layer"], {}, 1), ("Sigmoid", ["a"], {}, 1),
                                ("Mul", ["layer", "b"], {}, 1)], {}),
    ("rounding, and what is cut off", [("QuantizeLinear", ["layer", "s", "z"], {}, 1),
                                       ("DequantizeLinear", ["a", "s", "z"], {}, 1)],
     {"s": np.array(0.01, np.float32), "z": np.array(-20, np.int8)}),
    ("rounding by channels, of which one begins at zero", [
        ("QuantizeLinear", ["layer", "s", "z"], {"axis": 1}, 1), ("DequantizeLinear", ["a", "s", "z"], {"axis": 1}, 1)],
     {"s": floats(2, 4).__abs__().astype(np.float32) / 99, "z": np.array([0, 9, 128, 255], np.uint8)}),
    ("attention", [("Transpose", ["layer"], {"perm": [0, 1, 3, 2]}, 1), ("MatMul", ["layer", "a"], {}, 1),
                   ("Softmax", ["b"], {}, 1), ("MatMul", ["c", "layer"], {}, 1)], {}),
]  # fmt: skip


def run_back(path: Path, x: Array, seed: Array, steps: bool = False) -> Array | None:
    """The gradient of a file's "out" with respect to "layer", by nodes; None where they do not cover it."""
    graph = read_graph(path)
    head = find_head(graph, "layer", "out")

    def run(names: Any) -> dict[str, Array]:
        proto = onnx.ModelProto()
        proto.CopyFrom(graph.proto)
        del proto.graph.output[:]
        proto.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names)
        return dict(zip(names, session(proto).run(None, {"layer": x}), strict=True))

    sizes = TensorSizes(graph, ("layer", x.shape), [n for node in graph.nodes for n in node.output], run)
    write = GraphWriter(graph)
    if any(rule is None for _, rule in list_steps(write, sizes, head)):
        return None
    found = emit_gradient(write, sizes, {"out": write.constant(np.asarray(seed, np.float32))}, head)
    assert found is not None
    proto = onnx.ModelProto()
    proto.CopyFrom(graph.proto)
    proto.graph.node.extend(write.nodes)
    proto.graph.initializer.extend(numpy_helper.from_array(value, name) for name, value in write.constants.items())
    del proto.graph.output[:]
    proto.graph.output.extend([helper.make_tensor_value_info(found, TensorProto.FLOAT, [None] * x.ndim)])
    onnx.checker.check_model(proto)
    return session(proto).run(None, {"layer": x})[0]


def session(proto: onnx.ModelProto) -> Any:
    options = onnxruntime.SessionOptions()
    options.log_severity_level, options.intra_op_num_threads = 4, 1
    return onnxruntime.InferenceSession(proto.SerializeToString(), options, providers=["CPUExecutionProvider"])


def open_sizes(proto: onnx.ModelProto) -> onnx.ModelProto:
    """The same with every length of the input left open but that of the channels."""
    shape = proto.graph.input[0].type.tensor_type.shape
    for axis, dim in enumerate(shape.dim):
        if axis != 1:
            dim.dim_param = f"axis{axis}"
    return proto


@pytest.mark.parametrize("sizes", ["fixed", pytest.param("open", marks=pytest.mark.slow)])
def test_rules_against_numpy_and_differences(sizes: str, tmp_path: Path) -> None:
    refused, path, counts = set(), tmp_path / "m.onnx", Counter[str]()
    resizes = [("Resize", *case, SHAPE) for case in RESIZES if case[2] > 10]  # the reference knows no older ones
    for op, others, attributes, opset, shape in CASES + POSITIVE + resizes:
        label = f"{op}-{counts[op]}"
        counts[op] += 1
        if op == "Swish":  # of an operator set that onnxruntime does not know yet
            continue
        x = away_from_kinks(shape)
        if op in ("Sqrt", "Log", "Pow"):
            x = np.abs(x) + 0.2
        run = forward(op, others, attributes, opset, x)
        seed = floats(11, *run(x).shape)
        proto = model_of(op, others, attributes, opset, shape, double=False)
        onnx.save(open_sizes(proto) if sizes == "open" else proto, path)
        found = run_back(path, x.astype(np.float32), seed)
        if found is None:
            refused.add(label)
            continue
        wanted = by_numpy(path, {"layer": x.astype(np.float32)}, seed)
        assert found.shape == x.shape, label
        assert np.abs(found - wanted).max() <= 2e-5 * np.abs(wanted).max(), label
        if sizes == "fixed" and op in EXACT and label.endswith("-0"):
            exact = numeric_gradient(lambda v, run=run, seed=seed: float((seed * run(v)).sum()), x, 1e-6)  # type: ignore[misc]
            assert np.abs(found - exact).max() <= 2e-5 * np.abs(exact).max(), label
    assert refused == (NEVER if sizes == "fixed" else NEVER | SIZED)
    unseen = set(EMIT_RULES) - set(counts) - {node for _, chain, _ in CHAINS for node, *_ in chain}
    assert unseen == {"QuickGelu", "Upsample"}  # Swish with another constant, and Resize by its old name


def by_numpy(path: Path, values: dict[str, Array], seed: Array) -> Array:
    graph = read_graph(path)
    head = find_head(graph, "layer", "out")
    known = values | {name: np.asarray(graph.weight(name)) for name in head.weights}
    return head.gradient(seed.astype(np.float32), known)


@pytest.mark.parametrize(("what", "chain", "weights"), CHAINS, ids=[name for name, *_ in CHAINS])
def test_chains_against_numpy(what: str, chain: Any, weights: dict[str, Array], tmp_path: Path) -> None:
    names = iter("abcd")
    nodes = [
        helper.make_node(op, inputs, [next(names) for _ in range(count)], **attributes)
        for op, inputs, attributes, count in chain
    ]
    inner = [name for node in nodes for name in node.output]
    nodes[-1].output[0] = "out"
    infos = [onnx.ValueInfoProto(name=name) for name in ("out", *inner[:-1])]
    graph = helper.make_graph(
        nodes, "g", [helper.make_tensor_value_info("layer", TensorProto.FLOAT, SHAPE)], infos,
        [numpy_helper.from_array(value, name) for name, value in weights.items()],
    )  # fmt: skip
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    x = floats(5, *SHAPE).astype(np.float32)
    values = dict(zip(["out", *inner[:-1]], session(proto).run(None, {"layer": x}), strict=True)) | {"layer": x}
    del proto.graph.output[1:]
    onnx.save(proto, tmp_path / "m.onnx")
    seed = floats(6, *values["out"].shape)
    found, wanted = run_back(tmp_path / "m.onnx", x, seed), by_numpy(tmp_path / "m.onnx", values, seed)
    assert found is not None
    assert found.shape == x.shape
    assert np.abs(found - wanted).max() <= 2e-5 * np.abs(wanted).max()
