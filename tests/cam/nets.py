"""Small networks as .onnx files, with every weight known to the test."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from inspector.metadata import KEY, Metadata
from inspector.model import Model

Array = NDArray[Any]
CHANNELS, CLASSES, SIDE = 6, 5, 16


def save_net(
    path: Path,
    nodes: Sequence[onnx.NodeProto],
    weights: Mapping[str, Array],
    *,
    outputs: Mapping[str, Sequence[Any] | None],
    shape: Sequence[Any] = ("N", 3, SIDE, SIDE),
    opset: int = 18,
    dtype: int = TensorProto.FLOAT,
    metadata: Metadata | None = None,
) -> Path:
    graph = helper.make_graph(
        list(nodes),
        "net",
        [helper.make_tensor_value_info("x", dtype, list(shape))],
        [
            helper.make_tensor_value_info(n, dtype if dtype != TensorProto.UINT8 else TensorProto.FLOAT, s)
            for n, s in outputs.items()
        ],
        [numpy_helper.from_array(np.asarray(v), k) for k, v in weights.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=9)
    if metadata is not None:
        model.metadata_props.add(key=KEY, value=metadata.dumps())
    onnx.checker.check_model(model)
    onnx.save(model, path)
    return path


def trunk(rng: np.random.Generator, channels: int = CHANNELS) -> tuple[list[onnx.NodeProto], dict[str, Array]]:
    """x (N, 3, 16, 16) -> maps (N, 6, 8, 8), after a ReLU; the layers are called conv and relu."""
    nodes = [
        helper.make_node("Conv", ["x", "k", "kb"], ["c"], "trunk/conv", pads=[1, 1, 1, 1], strides=[2, 2]),
        helper.make_node("Relu", ["c"], ["maps"], "trunk/relu"),
    ]
    return nodes, {"k": normal(rng, channels, 3, 3, 3), "kb": normal(rng, channels)}


def normal(rng: np.random.Generator, *shape: int) -> Array:
    return rng.standard_normal(shape).astype(np.float32)


def node(op: str, inputs: str, output: str, **attributes: Any) -> onnx.NodeProto:
    return helper.make_node(op, inputs.split(), [output], f"head/{output}", **attributes)


def pooled_net(
    path: Path,
    rng: np.random.Generator,
    *,
    end: str = "",
    classes: int = CLASSES,
    batch: Any = "N",
    scale: float = 1.0,
    metadata: Metadata | None = None,
) -> tuple[Path, dict[str, Array]]:
    """trunk -> global average pool -> flatten -> Gemm (-> Softmax or Sigmoid); (path, weights)."""
    nodes, weights = trunk(rng)
    weights |= {"w": normal(rng, classes, CHANNELS) * np.float32(scale), "b": normal(rng, classes) * np.float32(scale)}
    nodes += [
        node("GlobalAveragePool", "maps", "pool"),
        node("Flatten", "pool", "flat"),
        node("Gemm", "flat w b", "logits", transB=1),
    ]
    if end:
        nodes.append(node(end, "logits", "p"))
    save_net(
        path,
        nodes,
        weights,
        outputs={"p" if end else "logits": [batch, classes]},
        shape=(batch, 3, SIDE, SIDE),
        metadata=metadata,
    )
    return path, weights


def picture(rng: np.random.Generator, side: int = SIDE) -> Array:
    """An input tensor."""
    return normal(rng, 1, 3, side, side)


def name_of(model: Model, tensor: str) -> str:
    """The name of the layer whose tensor this is."""
    return next(layer.name for layer in model.layers if layer.tensor == tensor)
