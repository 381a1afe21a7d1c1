"""What has to be assumed of a file that does not say it: its input, its preprocess."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, cast, get_args

import numpy as np

from inspector.errors import ModelError, NoPictureError
from inspector.graph import Graph
from inspector.image import DType, Layout, Preprocess
from inspector.layers import find_channel_axis, find_picture_axis
from inspector.metadata import Metadata
from inspector.model.arithmetic import find_arithmetic
from inspector.model.pixels import choose_range, is_blue_first, makes_usual
from inspector.records import record
from inspector.tasks.decoder import Habit

DEFAULT_SIZE = 224
"""Height and width taken where neither the graph nor its metadata fixes them."""
MAX_BATCH = 1024
"""Largest batch that a graph may fix; one picture is repeated to fill it."""
MAX_INPUT_BYTES = 1024**3
"""Largest input tensor that a graph may ask for."""


@record
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
    """Find the input of a graph that takes pictures: the first, as :func:`inspector.model.inputs.take_picture` puts it.

    Raises:
        NoPictureError: There is none.
        ModelError: It asks for more memory than is safe.
    """
    hint = "inspector reads networks that take one picture of shape (N, C, H, W) or (N, H, W, C)"
    if not graph.inputs:
        raise NoPictureError(f"{graph.path} has 0 inputs", hint)
    given = graph.inputs[0]
    if given.dtype not in get_args(DType):
        raise NoPictureError(f"{graph.path}: input {given.name!r} holds {given.dtype}, not pixels", hint)
    shape = given.shape if given.shape is not None else (None,) * 4
    if len(shape) != 4:
        raise NoPictureError(f"{graph.path}: input {given.name!r} of shape {_shape_text(shape)} is not a picture", hint)
    weight = find_channel_axis(graph)
    layout: Layout = "NHWC" if find_picture_axis(graph) == 3 else "NCHW"
    channels, height, width = (shape[3], shape[1], shape[2]) if layout == "NHWC" else (shape[1], shape[2], shape[3])
    if not isinstance(channels, int):
        channels = weight[1] if weight is not None and weight[0] in (1, 3) else 3
    if channels not in (1, 3):
        raise NoPictureError(
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


def assume_preprocess(
    graph: Graph, document: Metadata, given: ImageInput, assumed: list[str], habit: Habit | None = None
) -> Preprocess:
    """Take the preprocess of the metadata; without one assume the likeliest.

    Args:
        graph: The graph of the file.
        document: Its metadata.
        given: Its input.
        assumed: Gets a phrase for each thing that had to be assumed, which says what and why.
        habit: How networks with this head take their pictures; None where nothing is usual.

    Raises:
        ModelError: The preprocess of the metadata makes another number of channels than the input has.
    """
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
    if habit is not None:
        return _follow_habit(graph, habit, given, assumed)
    size = given.size
    if size is None:
        declared = given.shape[1:3] if given.layout == "NHWC" else given.shape[2:]
        size = tuple(s if isinstance(s, int) else DEFAULT_SIZE for s in declared)  # type: ignore[assignment]
        assert size is not None
        assumed.append(f"input size {size[0]}x{size[1]}")
    guess = guess_values(graph, given)
    assumed.append(f"preprocess {guess.name} ({guess.why}; the picture stretched to {size[0]}x{size[1]})")
    found = Preprocess.named(guess.name, size, given.channels, given.layout)
    return replace(found, dtype=given.dtype, colour="BGR" if guess.blue_first else found.colour)


def _follow_habit(graph: Graph, habit: Habit, given: ImageInput, assumed: list[str]) -> Preprocess:
    """The preprocess that is usual for the head; what the graph itself does with pixels is known better."""
    usual = habit.preprocess
    wanted = given.size
    if wanted is None and usual.size is not None:
        declared = given.shape[1:3] if given.layout == "NHWC" else given.shape[2:]
        height, width = (s if isinstance(s, int) else u for s, u in zip(declared, usual.size, strict=True))
        wanted = (height, width)
        assumed.append(f"input size {height}x{width}")
    guess = guess_values(graph, given)
    why, found = habit.why, usual.with_size(wanted)
    if guess.proven or given.channels != usual.channels:
        values = Preprocess.named(guess.name, wanted, given.channels)
        why = guess.why
        colour = "BGR" if guess.blue_first else values.colour
        found = replace(found, colour=colour, scale=values.scale, mean=values.mean, std=values.std)
    how = {"pad": "padded", "stretch": "stretched", "shortest": "cut", "none": "left"}[found.resize]
    where = f"{how} to {wanted[0]}x{wanted[1]}" if wanted else f"{how} as it is"
    assumed.append(f"preprocess {why}; the picture {where}")
    return replace(found, layout=given.layout, dtype=given.dtype)


@record
class Guess:
    """The values that a network wants, as far as its graph tells.

    Attributes:
        name: Name of the preprocess that makes them.
        why: The reason, for a person.
        proven: Whether the first nodes of the graph leave no other choice.
        blue_first: Whether the channels are in the order blue, green, red.
    """

    name: str
    why: str
    proven: bool
    blue_first: bool = False


def guess_values(graph: Graph, given: ImageInput) -> Guess:
    """Guess what values a network wants that does not say it.

    Args:
        graph: The graph of the file.
        given: Its input.
    """
    arithmetic = find_arithmetic(graph, 3 if given.layout == "NHWC" else 1, given.channels)
    if given.dtype == "uint8":
        return Guess("raw", "bytes 0 to 255: the graph normalises them itself", True)
    if arithmetic is not None:
        chosen = choose_range(arithmetic)
        if chosen is not None:
            name, (low, high), near = chosen
            if arithmetic.nodes:
                by = ", ".join(dict.fromkeys(arithmetic.nodes))
                why = f"the graph normalises them itself, to {low:.3g} to {high:.3g} by {by}"
            else:
                limit = arithmetic.limits[0]
                why = f"the graph takes values from {limit.low:.3g} to {limit.high:.3g} by {limit.by}"
            blue = is_blue_first(arithmetic)
            order = ", blue first as the means of the graph are" if blue else ""
            return Guess(name, f"{_VALUES[name]}{order}: {why}", near, blue)
    if given.channels == 1:
        return Guess("unit", "grey, scaled to [0, 1]", False)
    return Guess("imagenet", "RGB, ImageNet mean and std", False)


def find_own_values(graph: Graph, given: ImageInput, stated: Preprocess) -> Guess | None:
    """What values a graph wants that would normalise for a second time what a preprocess has normalised.

    Args:
        graph: The graph of the file.
        given: Its input.
        stated: A preprocess that others wrote into the file, of as many channels as the input has.

    Returns:
        None where the graph does not prove that it wants other values.
    """
    if given.dtype != "uint8":
        arithmetic = find_arithmetic(graph, 3 if given.layout == "NHWC" else 1, given.channels)
        low, high = ((np.array([level * stated.scale]) - stated.mean) / stated.std for level in (0, 255))
        if arithmetic is None or not arithmetic.nodes or makes_usual(arithmetic, low, high):
            return None
    guess = guess_values(graph, given)
    return guess if guess.proven else None


_VALUES = {
    "raw": "bytes 0 to 255",
    "unit": "values 0 to 1",
    "signed": "values -1 to 1",
    "imagenet": "values with ImageNet mean and std",
}
