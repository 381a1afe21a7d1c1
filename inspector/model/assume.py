"""What has to be assumed of a file that does not say it: its input, its preprocess."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, cast, get_args

import numpy as np

from inspector.errors import ModelError, listing
from inspector.graph import Graph, attributes, is_standard, operator_of
from inspector.image import DType, Layout, Preprocess
from inspector.layers import layout_of
from inspector.metadata import Metadata

DEFAULT_SIZE = 224
"""Height and width taken where neither the graph nor its metadata fixes them."""
MAX_BATCH = 1024
"""Largest batch that a graph may fix; one picture is repeated to fill it."""
MAX_INPUT_BYTES = 1024**3
"""Largest input tensor that a graph may ask for."""


@dataclass(frozen=True)
class ImageInput:
    """The one input of a model that takes pictures.

    Attributes:
        name: Its name in the graph.
        shape: As declared: an int where a size is fixed, a str where it is symbolic, None where nothing is said.
        layout: NCHW or NHWC.
        dtype: Type of its elements.
        batch: Number of pictures at a time, where the graph fixes it.
        channels: 1 or 3.
        size: (H, W), where the graph fixes them.
    """

    name: str
    shape: tuple[int | str | None, ...]
    layout: Layout
    dtype: DType
    batch: int | None
    channels: int
    size: tuple[int, int] | None


def find_image_input(graph: Graph) -> ImageInput:
    """Find the one input of a graph that takes pictures.

    Raises:
        ModelError: There is none, there are several, or it asks for more memory than is safe.
    """
    hint = "inspector reads networks that take one picture of shape (N, C, H, W) or (N, H, W, C)"
    if len(graph.inputs) != 1:
        names = listing([f"{i.name} {_shape_text(i.shape)}" for i in graph.inputs])
        raise ModelError(f"{graph.path} has {len(graph.inputs)} inputs{': ' if names else ''}{names}", hint)
    given = graph.inputs[0]
    if given.dtype not in get_args(DType):
        raise ModelError(f"{graph.path}: input {given.name!r} holds {given.dtype}, not pixels", hint)
    shape = given.shape if given.shape is not None else (None,) * 4
    if len(shape) != 4:
        raise ModelError(f"{graph.path}: input {given.name!r} of shape {_shape_text(shape)} is not a picture", hint)
    layout: Literal["NCHW", "NHWC"] = "NHWC" if layout_of(shape) == "NHWC" or _turns_first(graph) else "NCHW"
    channels, height, width = (shape[3], shape[1], shape[2]) if layout == "NHWC" else (shape[1], shape[2], shape[3])
    if not isinstance(channels, int):
        channels = _channels_of_first_convolution(graph) or 3
    if channels not in (1, 3):
        raise ModelError(
            f"{graph.path}: input {given.name!r} of shape {_shape_text(shape)} has {channels} channels, not 1 or 3",
            hint,
        )
    if isinstance(shape[0], int) and shape[0] > MAX_BATCH:
        raise ModelError(f"{graph.path}: input {given.name!r} takes {shape[0]} pictures at a time, not 1", hint)
    numbers = math.prod(size for size in shape if isinstance(size, int))
    if numbers * np.dtype(given.dtype).itemsize > MAX_INPUT_BYTES:
        raise ModelError(f"{graph.path}: input {given.name!r} of shape {_shape_text(shape)} is too large", hint)
    fixed = (height, width) if isinstance(height, int) and isinstance(width, int) else None
    batch = shape[0] if isinstance(shape[0], int) else None
    return ImageInput(given.name, shape, layout, cast(DType, given.dtype), batch, channels, fixed)


def _shape_text(shape: Sequence[Any] | None) -> str:
    return "(" + ", ".join("?" if s is None else str(s) for s in shape) + ")" if shape is not None else "(unknown)"


def _first_nodes(graph: Graph) -> Iterator[Any]:
    """The nodes on the way from the input to the first that does more than reorder or convert."""
    tensor = graph.inputs[0].name
    for _ in range(8):
        readers = graph.consumers_of.get(tensor, [])
        if len(readers) != 1:
            return
        node = graph.nodes[readers[0]]
        if not is_standard(node):
            return
        yield node
        tensor = node.output[0]


def _turns_first(graph: Graph) -> bool:
    """Whether the graph begins by moving the last axis to the front, as converters of NHWC networks write it."""
    for node in _first_nodes(graph):
        if node.op_type == "Transpose":
            return attributes(node).get("perm") == [0, 3, 1, 2]
        if not operator_of(node).elementwise:
            return False
    return False


def _channels_of_first_convolution(graph: Graph) -> int | None:
    for node in _first_nodes(graph):
        if node.op_type == "Conv" and (weight := graph.initializers.get(node.input[1])) is not None:
            return int(weight.dims[1]) * int(attributes(node).get("group", 1))
    return None


def _normalises_itself(graph: Graph) -> bool:
    """Whether the first arithmetic on the picture is a constant shift or scale."""
    for node in _first_nodes(graph):
        operator = operator_of(node)
        if operator.arithmetic:
            return any(name in graph.initializers for name in node.input)
        if node.op_type == "BatchNormalization":
            return True
        if not operator.passes and node.op_type != "Transpose":
            return False
    return False


def assume_preprocess(graph: Graph, document: Metadata, given: ImageInput, assumed: list[str]) -> Preprocess:
    """The preprocess of the metadata; else the likeliest, with a line for `assumed` that says what and why."""
    if document.preprocess is not None:
        found = document.preprocess
        if found.channels != given.channels:
            raise ModelError(
                f"{graph.path}: the preprocess makes {found.channels} channels, the input has {given.channels}",
                "write it again with `inspector annotate --preprocess`",
            )
        if given.size and found.size and found.size != given.size:
            assumed.append(
                f"size {given.size[0]}x{given.size[1]} as the graph fixes it, not {found.size[0]}x{found.size[1]}"
            )
            found = found.with_size(given.size)
        elif given.size and not found.size:
            found = found.with_size(given.size)
        # A conversion to float16 or to channels last keeps the document and changes the input: the graph knows.
        return replace(found, dtype=given.dtype, layout=given.layout)
    size = given.size
    if size is None:
        declared = given.shape[1:3] if given.layout == "NHWC" else given.shape[2:]
        size = tuple(s if isinstance(s, int) else DEFAULT_SIZE for s in declared)  # type: ignore[assignment]
        assert size is not None
        assumed.append(f"input size {size[0]}x{size[1]}")
    if given.dtype == "uint8" or _normalises_itself(graph):
        name, why = "raw", "bytes 0 to 255: the graph normalises them itself"
    elif given.channels == 1:
        name, why = "unit", "grey, scaled to [0, 1]"
    else:
        name, why = "imagenet", "RGB, ImageNet mean and std"
    assumed.append(f"preprocess {name} ({why}; the picture stretched to {size[0]}x{size[1]})")
    return replace(Preprocess.named(name, size, given.channels, given.layout), dtype=given.dtype)
