"""What other exporters write into a file's metadata, read before anything is assumed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from inspector.image import Preprocess
from inspector.metadata import Metadata, Task
from inspector.model.entries import read_class_names, read_literal, read_name_table, read_normalisation
from inspector.records import record
from inspector.tasks.seen import NO_HINTS, Hints


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
    """

    who: str
    labels: tuple[str, ...] | None = None
    preprocess: Preprocess | None = None
    size: tuple[int, int] | None = None
    task: str | None = None
    hints: Hints = NO_HINTS


def read_foreign(properties: Mapping[str, str], ranks: Sequence[int | None] = ()) -> Foreign | None:
    """What another exporter's metadata says; None where none is known. What cannot be read counts as absent.

    Known are Ultralytics' entries, the image metadata of ONNX itself (``Image.BitmapPixelFormat``,
    ``Image.NominalPixelRange``; https://github.com/onnx/onnx/blob/main/docs/MetadataProps.md), and what many write
    under a few names; see :mod:`inspector.model.entries`.

    Args:
        properties: The entries of the file.
        ranks: How many axes each of its outputs is declared with.
    """
    if "names" in properties and {"task", "stride", "imgsz"} & properties.keys():
        return _ultralytics(properties, ranks)
    if "Image.NominalPixelRange" in properties or "Image.BitmapPixelFormat" in properties:
        return replace(_image_metadata(properties), labels=read_class_names(properties))
    labels, values = read_class_names(properties), read_normalisation(properties)
    if labels is None and values is None:
        return None
    preprocess, size = values or (None, None)
    return Foreign("entries of the metadata", labels, preprocess, size)


def complete(document: Metadata, foreign: Foreign, size: tuple[int, int] | None, channels: int = 3) -> Metadata:
    """The document with what it does not say taken from another exporter's metadata.

    Args:
        document: Ours, which is always right.
        foreign: Theirs.
        size: (H, W) that the graph fixes; None where it does not.
        channels: How many the input has.
    """
    changes: dict[str, Any] = {}
    if document.labels is None and foreign.labels:
        changes["labels"] = foreign.labels
    wanted = size or foreign.size
    preprocess = _fit(foreign.preprocess, channels)
    if document.preprocess is None and preprocess is not None and wanted is not None:
        changes["preprocess"] = preprocess.with_size(wanted)
    if changes and not document.source:
        changes["source"] = {"exporter": foreign.who, **({"task": foreign.task} if foreign.task else {})}
    return replace(document, **changes)


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
    return Foreign("Ultralytics", read_name_table(read_literal(properties["names"])), preprocess, size, task, hints)


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
    return Foreign("ONNX image metadata", None, preprocess)
