"""The inputs of a file: which one takes the picture, and what the others are given."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, get_args

import numpy as np

from inspector.errors import MetadataError, ModelError, NoPictureError, UsageError, listing, nearest, one_line
from inspector.graph import Graph, Input, add_batch_axis, fill_inputs, shape_value
from inspector.image import DType, Preprocess
from inspector.layers import find_channel_axis

if TYPE_CHECKING:
    from inspector.model.model import Model

NO_INPUTS: Mapping[str, Any] = MappingProxyType({})
"""Nothing is given beside the picture."""


def add_stored(graph: Graph, stored: Mapping[str, Any], given: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """Values of inputs: those that are given, and those that the file's metadata holds where none is given.

    Args:
        graph: The graph of a file.
        stored: Of its metadata, by name.
        given: By whoever opens it.

    Returns:
        (the values by name, a line on each that was taken from the file or that no input takes).

    Raises:
        MetadataError: A stored value does not fit its input.
    """
    values, said = dict(given), []
    known = {i.name: i for i in graph.inputs}
    for name in (name for name in stored if name not in given):
        if name not in known:
            said.append(f"{graph.path}: the metadata has a value for the input {name!r}, which the file does not have")
            continue
        try:
            values[name] = shape_value(known[name], stored[name])
        except UsageError as error:
            raise MetadataError(
                f"{graph.path}: the metadata does not fit: {error.message}",
                f"give another: `inspector annotate --input {name}=VALUE,...`",
            ) from None
        shown = one_line(",".join(f"{x:g}" for x in np.ravel(values[name])), 60)
        said.append(f"{graph.path}: input {name}={shown}, as the file's metadata says; --input gives another")
    return values, said


def list_given(graph: Graph) -> dict[str, Any]:
    """The values of inputs that were given or that the file says, as metadata hold them; none that was assumed."""
    return {name: value.tolist() for name, value in graph.given.items()}


def take_picture(graph: Graph, given: Mapping[str, Any]) -> Graph:
    """The same graph with the input first that takes the picture.

    Args:
        graph: The graph of a file.
        given: Values of other inputs, by name.

    Raises:
        NoPictureError: Several inputs could be the picture, or one is neither a picture nor known by its name.
        UsageError: `given` names no input, or all of them.
    """
    names = [i.name for i in graph.inputs]
    for name in given:
        if name not in names:
            near = f"; nearest: {', '.join(nearest(name, names))}" if names else ""
            raise UsageError(f"{graph.path} has no input {name!r}{near}")
    open_ = [i for i in graph.inputs if i.name not in given]
    if graph.inputs and not open_:
        raise UsageError(f"every input of {graph.path} is given, and none takes the picture", "leave out the picture")
    pictures = [i for i in open_ if i.name not in _KNOWN] if len(open_) > 1 else open_
    if len(pictures) > 1:
        likely = [i for i in pictures if _is_picture(i)]
        others = [i for i in open_ if i not in likely[:1]]
        shown = listing([f"{i.name} {_shape_text(i)}" for i in graph.inputs])
        example = f"--input {(others or open_)[0].name}=VALUE,..."
        raise NoPictureError(
            f"{graph.path} has {len(graph.inputs)} inputs: {shown}",
            f"inspector reads networks that take one picture; give the others: {example} "
            "(`inputs` of open_model in Python)",
        )
    if not pictures:
        pictures = open_[:1]
    return _add_axis(replace(graph, inputs=(*pictures, *(i for i in graph.inputs if i not in pictures))))


def _add_axis(graph: Graph) -> Graph:
    """The same graph with a batch axis, where the first input is a picture without one, as torchvision's detectors."""
    given = graph.inputs[0] if graph.inputs else None
    if given is None or given.shape is None or len(given.shape) != 3 or given.dtype not in get_args(DType):
        return graph
    few = [size in (1, 3) for size in given.shape]
    if few.count(True) != 1 or few[1]:
        return graph
    with_axis = add_batch_axis(graph, given.name)
    # (1, L, K) and (N, L, 3) may as well be sequences: there a convolution has to say so.
    return with_axis if given.shape[0] == 3 or find_channel_axis(with_axis) is not None else graph


def fill_others(graph: Graph, given: Mapping[str, Any], preprocess: Preprocess, assumed: list[str]) -> Graph:
    """The same graph with every input but the picture's turned into a constant.

    Args:
        graph: With the picture first.
        given: Values of other inputs, by name.
        preprocess: Tells the size of the picture.
        assumed: Gets a phrase for each input that is filled and was not given.

    Raises:
        UsageError: A value does not fit its input.
        ModelError: An input that is known by its name has another shape than is usual.
    """
    values = {i.name: shape_value(i, given[i.name]) for i in graph.inputs if i.name in given}
    filled = dict(values)
    for other in graph.inputs[1:]:
        if other.name in values:
            continue
        numbers, why = _guess(other, preprocess.size)
        try:
            filled[other.name] = shape_value(other, numbers)
        except UsageError as error:
            raise ModelError(f"{graph.path}: {error.message}", f"give it: --input {other.name}=VALUE,...") from None
        shown = ",".join(f"{x:g}" for x in np.ravel(filled[other.name]))
        assumed.append(f"input {other.name}={shown} ({why}; --input gives another)")
    return replace(fill_inputs(graph, filled), given=values)


_HEIGHT_WIDTH = "height and width of what the network gets"
_KNOWN: dict[str, Callable[[float, float], tuple[list[float], str]]] = {
    # PaddleDetection: boxes are divided by the factor, and cut at the size.
    "scale_factor": lambda h, w: ([1], "boxes in pixels of what the network gets"),
    "im_shape": lambda h, w: ([h, w], _HEIGHT_WIDTH),
    # Caffe2 and older Paddle.
    "im_info": lambda h, w: ([h, w, 1], f"{_HEIGHT_WIDTH}, and a factor of 1"),
    # The YOLOv3 of the ONNX model zoo.
    "image_shape": lambda h, w: ([h, w], _HEIGHT_WIDTH),
    # RT-DETR and D-FINE, whose boxes are in parts of the picture before.
    "orig_target_sizes": lambda h, w: ([w, h], "width and height of what the network gets"),
    # Frozen graphs of TensorFlow.
    "keras_learning_phase": lambda h, w: ([0], "inference"),
    "is_training": lambda h, w: ([0], "inference"),
}
"""Inputs that stand beside the picture under names of their own: what they are given, from height and width."""


def _guess(other: Input, size: tuple[int, int] | None) -> tuple[list[float], str]:
    height, width = size or (1, 1)
    return _KNOWN[other.name](height, width)


def _is_picture(given: Input) -> bool:
    rank = len(given.shape) if given.shape is not None else 4
    return given.dtype in get_args(DType) and rank in (3, 4)


def _shape_text(given: Input) -> str:
    if given.shape is None:
        return "(unknown)"
    return "(" + ", ".join("?" if s is None else str(s) for s in given.shape) + ")"


def make_picture_shape(model: Model) -> tuple[int, ...]:
    """The shape of the smallest input of a model: one picture, or as many as the file fixes."""
    height, width = model.preprocess.size or (224, 224)
    channels = model.input.channels
    sides = (height, width, channels) if model.input.layout == "NHWC" else (channels, height, width)
    return (model.input.batch or 1, *sides)
