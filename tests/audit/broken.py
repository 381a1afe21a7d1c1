"""Models that something is wrong with, made from the healthy default model without torch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper

from inspector import open_model
from inspector.model.annotate import annotate_model
from tests.conftest import DEFAULT_MODEL


def edited(target: Path, change: Callable[[onnx.ModelProto], None]) -> Path:
    proto = onnx.load(DEFAULT_MODEL)
    change(proto)
    onnx.save(proto, target)
    return target


def with_weight(target: Path, name: str, change: Callable[[NDArray[np.float32]], NDArray[np.float32]]) -> Path:
    """The default model with one weight tensor changed."""

    def apply(proto: onnx.ModelProto) -> None:
        tensor = next(t for t in proto.graph.initializer if t.name == name)
        value = change(numpy_helper.to_array(tensor).copy()).astype(np.float32)
        tensor.CopyFrom(numpy_helper.from_array(value, name))

    return edited(target, apply)


def weight_of(layer: str) -> str:
    """Name of the weights of a convolution of the default model."""
    model = open_model(DEFAULT_MODEL)
    found = model.layer(layer)
    return str(model.graph.nodes[model.graph.producer_of[found.tensor]].input[1])


def not_a_number(target: Path, layer: str = "blocks.6.expand_conv") -> Path:
    def change(value: NDArray[np.float32]) -> NDArray[np.float32]:
        value[7, 3] = np.nan
        return value

    return with_weight(target, weight_of(layer), change)


def third_zeroed(target: Path, layer: str = "blocks.3.expand_conv") -> Path:
    def change(value: NDArray[np.float32]) -> NDArray[np.float32]:
        value[: len(value) // 3 + 1] = 0
        return value

    return with_weight(target, weight_of(layer), change)


def badly_quantised(target: Path, layer: str = "blocks.6.expand_conv", bits: int = 3) -> Path:
    """One layer's weights on a grid with one scale for all channels and too few bits."""

    def change(value: NDArray[np.float32]) -> NDArray[np.float32]:
        top = 2 ** (bits - 1) - 1
        scale = np.abs(value).max() / top
        rounded: NDArray[np.float32] = np.clip(np.rint(value / scale), -top, top) * scale
        return rounded

    return with_weight(target, weight_of(layer), change)


def wrong_mean_and_std(target: Path, of_bytes: bool = False) -> Path:
    """The two most common slips: no mean and std at all, or those of pixels from 0 to 255 for pixels from 0 to 1."""
    healthy = open_model(DEFAULT_MODEL)
    wrong = replace(healthy.preprocess, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))
    if of_bytes:
        wrong = replace(healthy.preprocess, mean=(123.675, 116.28, 103.53), std=(58.395, 57.12, 57.375))
    return annotate_model(healthy, target, preprocess=wrong).path


def colours_swapped(target: Path) -> Path:
    """BGR where the network was trained on RGB."""
    healthy = open_model(DEFAULT_MODEL)
    return annotate_model(healthy, target, preprocess=replace(healthy.preprocess, colour="BGR")).path


def labels_swapped(target: Path, first: str = "Egyptian cat", second: str = "espresso") -> Path:
    healthy = open_model(DEFAULT_MODEL)
    names = list(healthy.labels or ())
    i, j = names.index(first), names.index(second)
    names[i], names[j] = names[j], names[i]
    return annotate_model(healthy, target, labels=names).path


def fine_tuned(
    target: Path, pictures: NDArray[np.object_], classes: NDArray[np.int64], labels: list[str], steps: int = 300
) -> Path:
    """The default model with a new linear head, trained on its pooled features by gradient descent on cross-entropy.

    pictures: (N,) PIL images. classes: (N,) indices into labels.
    """
    healthy = open_model(DEFAULT_MODEL)
    features = np.stack([healthy.activations(p, ["avg_pooling"])["avg_pooling"].reshape(-1) for p in pictures])
    spread = features.std(axis=0) + 0.05
    inputs = (features - features.mean(axis=0)) / spread
    weight, bias = np.zeros((len(labels), inputs.shape[1])), np.zeros(len(labels))
    wanted = np.eye(len(labels))[classes]
    for _ in range(steps):
        scores = inputs @ weight.T + bias
        chances = np.exp(scores - scores.max(axis=1, keepdims=True))
        chances /= chances.sum(axis=1, keepdims=True)
        error = (chances - wanted) / len(inputs)
        weight -= 0.3 * (error.T @ inputs + 1e-3 * weight)
        bias -= 0.3 * error.sum(axis=0)
    head, offset = weight / spread, bias - (weight / spread) @ features.mean(axis=0)

    def change(proto: onnx.ModelProto) -> None:
        node = next(n for n in proto.graph.node if n.op_type == "Gemm")
        transposed = any(a.name == "transB" and a.i for a in node.attribute)
        values = {node.input[1]: head if transposed else head.T, node.input[2]: offset}
        for tensor in proto.graph.initializer:
            if tensor.name in values:
                tensor.CopyFrom(numpy_helper.from_array(values[tensor.name].astype(np.float32), tensor.name))
        del proto.graph.value_info[:]  # the shape of the old head is among them
        for output in proto.graph.output:
            if output.name == "logits":
                output.type.tensor_type.shape.dim[1].dim_value = len(labels)

    plain = edited(target.with_suffix(".plain.onnx"), change)
    return annotate_model(plain, target, labels=labels).path
