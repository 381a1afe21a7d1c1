"""Faults that people meet, planted into files: each takes a model and random numbers, and names the tensor."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx
from numpy.random import Generator
from onnx import helper, numpy_helper

Plant = Callable[[onnx.ModelProto, Generator], str | None]
PLANTS: dict[str, Plant] = {}
"""Each changes the model and returns the output of the node that computes something else now; None where it cannot."""


def plant(function: Plant) -> Plant:
    PLANTS[function.__name__] = function
    return function


def _choose(model: onnx.ModelProto, rng: Generator, *kinds: str, fits: Callable[[onnx.NodeProto], bool] = bool) -> (
    onnx.NodeProto | None
):  # fmt: skip
    found = [node for node in model.graph.node if node.op_type in kinds and fits(node)]
    return found[int(rng.integers(len(found)))] if found else None


def _attribute(node: onnx.NodeProto, name: str) -> onnx.AttributeProto | None:
    return next((a for a in node.attribute if a.name == name), None)


def _set(node: onnx.NodeProto, name: str, value: object) -> None:
    old = _attribute(node, name)
    if old is not None:
        node.attribute.remove(old)
    node.attribute.append(helper.make_attribute(name, value))


def _weights(model: onnx.ModelProto) -> dict[str, onnx.TensorProto]:
    return {tensor.name: tensor for tensor in model.graph.initializer}


def _replace(model: onnx.ModelProto, node: onnx.NodeProto, place: int, values: np.ndarray) -> None:
    """Other values for one input of one node alone: exporters share equal weights."""
    name = f"{node.output[0]}/planted"
    model.graph.initializer.append(numpy_helper.from_array(np.ascontiguousarray(values), name))
    node.input[place] = name


def _has_weights(model: onnx.ModelProto) -> Callable[[onnx.NodeProto], bool]:
    known = _weights(model)
    return lambda node: len(node.input) > 1 and node.input[1] in known


@plant
def changed_weight(model: onnx.ModelProto, rng: Generator) -> str | None:
    node = _choose(model, rng, "Conv", "Gemm", fits=_has_weights(model))
    if node is None:
        return None
    values = numpy_helper.to_array(_weights(model)[node.input[1]]).copy()
    values.flat[rng.integers(values.size)] += np.float32(2 * values.std() * rng.choice([-1, 1]))
    _replace(model, node, 1, values)
    return node.output[0]


@plant
def wrong_padding(model: onnx.ModelProto, rng: Generator) -> str | None:
    def padded(node: onnx.NodeProto) -> bool:
        pads, strides = _attribute(node, "pads"), _attribute(node, "strides")
        return pads is not None and min(pads.ints) > 0 and strides is not None

    node = _choose(model, rng, "Conv", "MaxPool", "AveragePool", fits=padded)
    if node is None:
        return None
    pads = list(_attribute(node, "pads").ints)  # type: ignore[union-attr]
    half = len(pads) // 2
    _set(node, "pads", [p - 1 for p in pads[:half]] + [p + 1 for p in pads[half:]])
    return node.output[0]


@plant
def swapped_channels(model: onnx.ModelProto, rng: Generator) -> str | None:
    """The channels that a convolution reads, or a concat joins, in another order."""
    known = _weights(model)
    joined = [node for node in model.graph.node if node.op_type == "Concat" and len(set(node.input)) > 1]
    if joined and rng.random() < 0.3:
        node = joined[int(rng.integers(len(joined)))]
        inputs = list(node.input)[::-1]
        maps = all(name not in known for name in inputs)
        if maps and _attribute(node, "axis").i == 1:  # type: ignore[union-attr]
            node.input[:] = inputs
            return node.output[0]
    fits = _has_weights(model)
    found = _choose(model, rng, "Conv", fits=lambda n: fits(n) and known[n.input[1]].dims[1] > 1)
    if found is None:
        return None
    values = numpy_helper.to_array(known[found.input[1]])
    _replace(model, found, 1, values[:, ::-1])
    return found.output[0]


@plant
def another_epsilon(model: onnx.ModelProto, rng: Generator) -> str | None:
    node = _choose(model, rng, "BatchNormalization")
    if node is None:
        return None
    old = _attribute(node, "epsilon")
    _set(node, "epsilon", 1e-3 if old is None or old.f < 1e-4 else 1e-5)
    return node.output[0]


@plant
def another_resize(model: onnx.ModelProto, rng: Generator) -> str | None:
    node = _choose(model, rng, "Resize")
    if node is None:
        return None
    if rng.random() < 0.5:
        _set(node, "mode", "linear")
    else:
        _set(node, "coordinate_transformation_mode", "half_pixel")
        _set(node, "nearest_mode", "ceil")
    return node.output[0]


@plant
def ceil_mode(model: onnx.ModelProto, rng: Generator) -> str | None:
    inferred = onnx.shape_inference.infer_shapes(model).graph.value_info
    sides = {v.name: [d.dim_value for d in v.type.tensor_type.shape.dim][2:] for v in inferred}

    def leaves_some(node: onnx.NodeProto) -> bool:
        """Whether its windows do not end where its input ends."""
        strides, kernel, pads = (_attribute(node, name) for name in ("strides", "kernel_shape", "pads"))
        if strides is None or kernel is None or node.input[0] not in sides:
            return False
        padding = sum(pads.ints) // 2 if pads is not None else 0
        return any(
            (side + padding - k) % s for side, k, s in zip(sides[node.input[0]], kernel.ints, strides.ints, strict=True)
        )

    node = _choose(model, rng, "MaxPool", "AveragePool", fits=leaves_some)
    if node is None:
        return None
    old = _attribute(node, "ceil_mode")
    _set(node, "ceil_mode", 0 if old is not None and old.i else 1)
    return node.output[0]


@plant
def clipped_activation(model: onnx.ModelProto, rng: Generator) -> str | None:
    """ReLU that ends at some value, as ReLU6 does."""
    node = _choose(model, rng, "Relu", "Clip")
    if node is None:
        return None
    name = node.output[0]
    for k, value in (("low", 0.0), ("high", rng.uniform(0.3, 0.5))):
        model.graph.initializer.append(numpy_helper.from_array(np.array(value, np.float32), f"{name}/{k}"))
    node.op_type = "Clip"
    node.input[:] = [node.input[0], f"{name}/low", f"{name}/high"]
    return name


@plant
def int8_scale(model: onnx.ModelProto, rng: Generator) -> str | None:
    """The scale of the weights or of the values of a quantized convolution, a quarter too large."""
    known = _weights(model)
    node = _choose(model, rng, "DequantizeLinear", fits=lambda n: n.input[1] in known)
    if node is None:
        return None
    values = numpy_helper.to_array(known[node.input[1]])
    _replace(model, node, 1, (values * np.float32(1.25)).reshape(values.shape))
    return node.output[0]
