"""What other exporters write into a file's metadata, read before anything is assumed."""

from __future__ import annotations

import ast
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from inspector.image import Preprocess
from inspector.metadata import Metadata, Task
from inspector.records import record
from inspector.tasks.seen import NO_HINTS, Hints

_LONGEST_TEXT = 1 << 20
_MOST_CLASSES = 100_000


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


def read_foreign(properties: Mapping[str, str]) -> Foreign | None:
    """What another exporter's metadata says; None where none is known. What cannot be read counts as absent.

    Known are Ultralytics' entries and the image metadata of ONNX itself (``Image.BitmapPixelFormat``,
    ``Image.NominalPixelRange``; https://github.com/onnx/onnx/blob/main/docs/MetadataProps.md).
    """
    if "names" in properties and {"task", "stride", "imgsz"} & properties.keys():
        return _ultralytics(properties)
    if "Image.NominalPixelRange" in properties or "Image.BitmapPixelFormat" in properties:
        return _image_metadata(properties)
    return None


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
        changes["preprocess"] = foreign.preprocess.with_size(wanted)
    if changes and not document.source:
        changes["source"] = {"exporter": foreign.who, **({"task": foreign.task} if foreign.task else {})}
    return replace(document, **changes)


def _ultralytics(properties: Mapping[str, str]) -> Foreign:
    task = properties.get("task")
    # Classifiers are trained on the middle of the picture, everything else on the whole of it in a frame of grey.
    preprocess = Preprocess(resize="shortest" if task == "classify" else "pad")
    size, hints = _sides(properties.get("imgsz", "")), _hints(properties, task)
    return Foreign("Ultralytics", _names(properties["names"]), preprocess, size, task, hints)


_TASKS: dict[str, Task] = {
    "classify": "classify",
    "detect": "detect",
    "segment": "detect",
    "pose": "pose",
    "obb": "detect",
}


def _hints(properties: Mapping[str, str], task: str | None) -> Hints:
    """What the outputs mean. A segmenter of Ultralytics gives boxes with a mask each."""
    arguments, shape = _literal(properties.get("args", "")), _literal(properties.get("kpt_shape", ""))
    suppresses = isinstance(arguments, dict) and arguments.get("nms") is True
    ends = properties.get("end2end", "").lower() == "true" or suppresses
    points = shape[0] if isinstance(shape, list | tuple) and shape and type(shape[0]) is int else None
    return Hints("Ultralytics", _TASKS.get(task or ""), task == "obb", task == "segment", points, ends or None)


def _names(text: str) -> tuple[str, ...] | None:
    """Class names of ``{0: 'cat', 1: 'dog'}`` or ``['cat', 'dog']``; numbers without a name stay numbers."""
    value = _literal(text)
    if isinstance(value, list | tuple):
        value = dict(enumerate(value))
    if not isinstance(value, dict) or not value:
        return None
    if not all(isinstance(k, int) and 0 <= k < _MOST_CLASSES and isinstance(v, str) for k, v in value.items()):
        return None
    return tuple(value.get(k) or f"class {k}" for k in range(max(value) + 1))


def _sides(text: str) -> tuple[int, int] | None:
    value = _literal(text)
    if isinstance(value, int):
        value = [value, value]
    if isinstance(value, list | tuple) and len(value) == 2 and all(type(v) is int and 0 < v < 100_000 for v in value):
        return value[0], value[1]
    return None


def _literal(text: str) -> Any:
    if len(text) > _LONGEST_TEXT:
        return None
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError, TypeError):
        return None


_RANGES = {"NominalRange_0_255": "raw", "Normalized_0_1": "unit", "Normalized_1_1": "signed"}


def _image_metadata(properties: Mapping[str, str]) -> Foreign:
    order = properties.get("Image.BitmapPixelFormat", "")
    name = _RANGES.get(properties.get("Image.NominalPixelRange", ""), "raw")
    preprocess = Preprocess.named(name, None, 1 if order == "Gray8" else 3)
    if order.startswith("Bgr"):
        preprocess = replace(preprocess, colour="BGR")
    return Foreign("ONNX image metadata", None, preprocess)
