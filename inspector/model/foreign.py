"""What other exporters write into a file's metadata, read before anything is assumed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from inspector.graph import Graph
from inspector.image import Preprocess
from inspector.metadata import Metadata, Task
from inspector.model.assume import DEFAULT_SIZE, ImageInput, find_own_values
from inspector.model.entries import read_entries, read_literal, read_names
from inspector.model.stated import Stated
from inspector.records import record
from inspector.tasks.seen import NO_HINTS, Hints

FROM_ENTRIES = "entries of the metadata"
"""Who wrote entries that many write."""
_IMAGE_METADATA = "ONNX image metadata"


@record
class Foreign:
    """What the metadata of another exporter says.

    Args:
        who: The exporter, as a person calls it.
        labels: The names of the classes; None where they are not told.
        preprocess: How a picture becomes the input, without a size; None where that is not told.
        size: (H, W) of the input; None where that is not told.
        task: What the outputs mean, in the exporter's own word; None where that is not told.
        hints: What it says of the outputs.
        stated: What entries that many write say of the picture; None where another exporter is known.
    """

    who: str
    labels: tuple[str, ...] | None = None
    preprocess: Preprocess | None = None
    size: tuple[int, int] | None = None
    task: str | None = None
    hints: Hints = NO_HINTS
    stated: Stated | None = None


def read_foreign(
    properties: Mapping[str, str], ranks: Sequence[int | None] = (), size: tuple[int, int] | None = None
) -> Foreign | None:
    """What another exporter's metadata says; None where none is known. What cannot be read counts as absent.

    Known are Ultralytics' entries, the image metadata of ONNX itself (``Image.BitmapPixelFormat``,
    ``Image.NominalPixelRange``; https://github.com/onnx/onnx/blob/main/docs/MetadataProps.md), and what many write
    under a few names; see :mod:`inspector.model.entries`.

    Args:
        properties: The entries of the file.
        ranks: How many axes each of its outputs is declared with.
        size: (H, W) that the graph fixes; None where it does not.
    """
    if "names" in properties and {"task", "stride", "imgsz"} & properties.keys():
        return _ultralytics(properties, ranks)
    if "Image.NominalPixelRange" in properties or "Image.BitmapPixelFormat" in properties:
        return replace(_image_metadata(properties), labels=read_entries(properties)[0])
    labels, stated = read_entries(properties, size)
    if labels is None and stated is None:
        return None
    return Foreign(FROM_ENTRIES, labels, stated=stated)


def complete(document: Metadata, foreign: Foreign, size: tuple[int, int] | None) -> Metadata:
    """The document with what it does not say taken from another exporter's metadata.

    Args:
        document: Ours, which is always right.
        foreign: Theirs.
        size: (H, W) that the graph fixes; None where it does not.
    """
    changes: dict[str, Any] = {}
    if document.labels is None and foreign.labels:
        changes["labels"] = foreign.labels
    wanted = size or foreign.size
    if document.preprocess is None and foreign.preprocess is not None and wanted is not None:
        own = foreign.preprocess
        changes["preprocess"] = own if own.size and foreign.stated is not None else own.with_size(wanted)
    if changes and not document.source:
        changes["source"] = {"exporter": foreign.who, **({"task": foreign.task} if foreign.task else {})}
    return replace(document, **changes)


def settle(foreign: Foreign, graph: Graph, given: ImageInput, assumed: list[str]) -> Foreign:
    """The same with a preprocess that fits the graph, where entries say one; what is left out is told.

    What the graph itself does with the pixels is known better than what entries say: it would be done twice.

    Args:
        foreign: What the metadata says.
        graph: The graph of the file.
        given: Its input.
        assumed: Gets a phrase for each thing that was not followed.
    """
    stated = foreign.preprocess
    if foreign.stated is not None:
        stated = foreign.stated.preprocess
        assumed += foreign.stated.notes
    fitting = _fit(stated, given.channels)
    if stated is None or fitting is None:
        if stated is not None and foreign.stated is not None:
            assumed.append(f"mean and std of the metadata left out: {stated.channels} for {given.channels} channels")
        return replace(foreign, preprocess=None)
    # The image metadata of ONNX speak of the input itself, the others of how pictures were taken in training.
    own = None if foreign.who == _IMAGE_METADATA else find_own_values(graph, given, fitting)
    if own is not None:
        values = Preprocess.named(own.name, None, given.channels)
        ordered = foreign.stated is not None and foreign.stated.ordered
        colour = "BGR" if own.blue_first and not ordered else fitting.colour
        fitting = replace(fitting, colour=colour, scale=values.scale, mean=values.mean, std=values.std)
        assumed.append(f"mean and std by {foreign.who} left out, {own.why}")
    return replace(foreign, preprocess=fitting, size=fitting.size or foreign.size)


def assume_size(given: ImageInput, usual: tuple[int, int] | None, assumed: list[str]) -> tuple[int, int]:
    """(H, W) for an input of which neither the graph nor its metadata fixes both.

    Args:
        given: The input.
        usual: What is usual for the head; None where nothing is.
        assumed: Gets the phrase that says it.
    """
    declared = given.shape[1:3] if given.layout == "NHWC" else given.shape[2:]
    sides = zip(declared, usual or (DEFAULT_SIZE, DEFAULT_SIZE), strict=True)
    height, width = (side if isinstance(side, int) else other for side, other in sides)
    assumed.append(f"input size {height}x{width}")
    return height, width


def _fit(preprocess: Preprocess | None, channels: int) -> Preprocess | None:
    """The same for a grey picture, where all channels are treated alike; None where the numbers do not fit."""
    if preprocess is None or preprocess.channels == channels:
        return preprocess
    alike = len(set(preprocess.mean)) == len(set(preprocess.std)) == 1
    if channels != 1 or not alike:
        return None
    return replace(preprocess, colour="L", mean=preprocess.mean[:1], std=preprocess.std[:1])


def _ultralytics(properties: Mapping[str, str], ranks: Sequence[int | None]) -> Foreign:
    task = properties.get("task")
    # Classifiers are trained on the middle of the picture, everything else on the whole of it in a frame of grey.
    preprocess = Preprocess(resize="shortest" if task == "classify" else "pad")
    if task is None and list(ranks) == [2]:  # YOLOv5 names no task, and its classifiers take ImageNet's mean and std
        task, preprocess = "classify", replace(Preprocess.named("imagenet"), resize="shortest")
    size, hints = _sides(properties.get("imgsz", "")), _hints(properties, task)
    return Foreign("Ultralytics", read_names(properties["names"]), preprocess, size, task, hints)


_TASKS: dict[str, Task] = {
    "classify": "classify",
    "detect": "detect",
    "segment": "detect",
    "pose": "pose",
    "obb": "detect",
}


def _hints(properties: Mapping[str, str], task: str | None) -> Hints:
    """What the outputs mean. A segmenter of Ultralytics gives boxes with a mask each."""
    arguments, shape = read_literal(properties.get("args", "")), read_literal(properties.get("kpt_shape", ""))
    suppresses = isinstance(arguments, dict) and arguments.get("nms") is True
    ends = properties.get("end2end", "").lower() == "true" or suppresses
    points = shape[0] if isinstance(shape, list | tuple) and shape and type(shape[0]) is int else None
    return Hints("Ultralytics", _TASKS.get(task or ""), task == "obb", task == "segment", points, ends or None)


def _sides(text: str) -> tuple[int, int] | None:
    value = read_literal(text)
    if isinstance(value, int):
        value = [value, value]
    if isinstance(value, list | tuple) and len(value) == 2 and all(type(v) is int and 0 < v < 100_000 for v in value):
        return value[0], value[1]
    return None


_RANGES = {"NominalRange_0_255": "raw", "Normalized_0_1": "unit", "Normalized_1_1": "signed"}


def _image_metadata(properties: Mapping[str, str]) -> Foreign:
    order = properties.get("Image.BitmapPixelFormat", "")
    values = properties.get("Image.NominalPixelRange", "")
    preprocess = Preprocess.named(_RANGES.get(values, "raw"), None, 1 if order == "Gray8" else 3)
    if values == "NominalRange_16_235":  # black is 16 and white 235, as in video
        preprocess = replace(preprocess, scale=219 / 255, mean=(-16.0,) * preprocess.channels)
    if order.startswith("Bgr"):
        preprocess = replace(preprocess, colour="BGR")
    return Foreign(_IMAGE_METADATA, None, preprocess)
