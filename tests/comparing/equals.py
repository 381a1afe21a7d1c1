"""Other files that compute the same: renamed, in another order, with channels last, optimised, of another opset."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
from onnx import helper

from tests.conftest import require

Rewrite = Callable[[onnx.ModelProto], onnx.ModelProto]
_MAPS = ("Relu", "HardSwish", "Clip", "Sigmoid", "Add", "Mul")


def rename(model: onnx.ModelProto, seed: int = 0) -> onnx.ModelProto:
    """Other names for everything, and nodes that do not depend on each other in another order."""
    names: dict[str, str] = {"": ""}

    def name(old: str) -> str:
        return names.setdefault(old, f"t{len(names)}")

    graph = model.graph
    for value in (*graph.input, *graph.output, *graph.value_info):
        value.name = name(value.name)
    for tensor in graph.initializer:
        tensor.name = name(tensor.name)
    for k, node in enumerate(graph.node):
        node.name = f"n{k}"
        del node.metadata_props[:]
        node.input[:] = [name(x) for x in node.input]
        node.output[:] = [name(x) for x in node.output]
    del model.metadata_props[:]
    rng = np.random.default_rng(seed)
    left, ordered = list(graph.node), []
    known = {x.name for x in (*graph.input, *graph.initializer)} | {""}
    while left:
        ready = [node for node in left if all(x in known for x in node.input)]
        # Mostly the first: exporters walk their modules.
        node = ready[0] if rng.random() < 0.8 else ready[int(rng.integers(len(ready)))]
        left.remove(node)
        ordered.append(node)
        known.update(node.output)
    copies = [onnx.NodeProto.FromString(node.SerializeToString()) for node in ordered]
    del graph.node[:]
    graph.node.extend(copies)
    return model


def put_channels_last(model: onnx.ModelProto) -> onnx.ModelProto:
    """The input and the maps behind activations and sums as (N, H, W, C), as converters from TensorFlow leave them."""
    graph = model.graph
    shapes = {
        v.name: len(v.type.tensor_type.shape.dim) for v in onnx.shape_inference.infer_shapes(model).graph.value_info
    }
    value = graph.input[0]
    dims = list(value.type.tensor_type.shape.dim)
    turned = [dims[k] for k in (0, 2, 3, 1)]
    copies = [onnx.TensorShapeProto.Dimension.FromString(d.SerializeToString()) for d in turned]
    del value.type.tensor_type.shape.dim[:]
    value.type.tensor_type.shape.dim.extend(copies)
    first = value.name
    value.name = f"{first}_nhwc"
    nodes = [helper.make_node("Transpose", [value.name], [first], perm=[0, 3, 1, 2])]
    outputs = {x.name for x in graph.output}
    for node in graph.node:
        made = node.output[0]
        maps = [x for x in node.input if shapes.get(x) == 4]
        if (
            node.op_type not in _MAPS
            or shapes.get(made) != 4
            or made in outputs
            or len(maps) != len([x for x in node.input if x in shapes])
            or any(x not in shapes and x in {t.name for t in graph.initializer if len(t.dims) > 0} for x in node.input)
        ):
            nodes.append(node)
            continue
        copy = onnx.NodeProto.FromString(node.SerializeToString())
        for k, x in enumerate(node.input):
            if x in maps:
                nodes.append(helper.make_node("Transpose", [x], [f"{made}/in{k}"], perm=[0, 2, 3, 1]))
                copy.input[k] = f"{made}/in{k}"
        copy.output[0] = f"{made}/last"
        nodes += [copy, helper.make_node("Transpose", [copy.output[0]], [made], perm=[0, 3, 1, 2])]
    kept = [onnx.NodeProto.FromString(node.SerializeToString()) for node in nodes]
    del graph.node[:], graph.value_info[:]
    graph.node.extend(kept)
    return model


def optimise(path: Path, to: Path, level: str) -> Path:
    """What onnxruntime's optimiser makes of a file: basic, extended or all."""
    runtime = require("onnxruntime")
    options = runtime.SessionOptions()
    options.graph_optimization_level = getattr(runtime.GraphOptimizationLevel, f"ORT_ENABLE_{level.upper()}")
    options.optimized_model_filepath = str(to)
    options.log_severity_level = 3
    runtime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return to
