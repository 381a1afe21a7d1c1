"""Entries of a file's metadata that many write under a few names: labels, mean and std, size, order of colors."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Mapping
from typing import Any

from inspector.errors import InspectorError
from inspector.image import Preprocess
from inspector.image.preprocess import ColorOrder, Resize

_LONGEST_TEXT = 1 << 20
_MOST_CLASSES = 100_000

_LABELS = ("names", "class_names", "id2label", "labels", "classes", "class_labels", "label_names")
_MEANS = (("standardization_mean", "standardization_std"), ("image_mean", "image_std"), ("mean", "std"))
"""Of the QGIS plugin Deepness, of Hugging Face's image processors, of timm."""
_NESTED = ("preprocessor_config", "pretrained_cfg", "config", "preprocessing")
"""Entries that hold a document of such entries."""
_ORDERS = ("color_order", "channel_order", "color_mode", "color_format", "image_format")


def read_literal(text: str) -> Any:
    """A value in the form of JSON or Python; None where the text is neither."""
    if len(text) > _LONGEST_TEXT:
        return None
    for read in (json.loads, ast.literal_eval):
        try:
            return read(text)
        except (ValueError, SyntaxError, MemoryError, RecursionError, TypeError):
            continue
    return None


def read_name_table(value: Any) -> tuple[str, ...] | None:
    """Class names of ``{0: 'cat', 1: 'dog'}``, ``{"0": "cat"}`` or ``['cat', 'dog']``; None for anything else.

    Numbers without a name stay numbers: ``class 2``.
    """
    if isinstance(value, list | tuple):
        value = dict(enumerate(value))
    if not isinstance(value, dict) or not value:
        return None
    table: dict[int, str] = {}
    for key, name in value.items():
        number = int(key) if isinstance(key, str) and re.fullmatch(r"[0-9]{1,6}", key) else key
        if type(number) is not int or not 0 <= number < _MOST_CLASSES or not isinstance(name, str):
            return None
        table[number] = name
    return tuple(table.get(k) or f"class {k}" for k in range(max(table) + 1))


def read_class_names(properties: Mapping[str, str]) -> tuple[str, ...] | None:
    """The labels under any of the usual names: a list, a table by number, or lines."""
    for values in _documents(properties):
        for key in _LABELS:
            text = values.get(key)
            found = read_name_table(text)
            if found is None and isinstance(text, str) and text.count("\n") > 0:
                found = tuple(line.strip() for line in text.strip().split("\n"))
            if found and all(found):
                return found
    return None


def read_normalisation(properties: Mapping[str, str]) -> tuple[Preprocess, tuple[int, int] | None] | None:
    """The preprocess of entries that say a mean and a deviation, and the size (H, W) if they say that too."""
    for values in _documents(properties):
        for names in _MEANS:
            mean, std = (_channels(values.get(name)) for name in names)
            if mean is None or std is None or len(mean) != len(std):
                continue
            scale = values.get("rescale_factor")
            if type(scale) is not float or not 0 < scale <= 1:
                # A mean of numbers to 1, or of bytes.
                scale = 1 / 255 if max(*mean, *std) <= 1 else 1.0
            try:
                return Preprocess(
                    scale=scale, mean=mean, std=std, colour=_order(values, len(mean)), **_geometry(values)
                ), _size(values)
            except InspectorError:  # such as a deviation of 0
                continue
    return None


def _documents(properties: Mapping[str, str]) -> list[dict[str, Any]]:
    """The entries as values, and those of the documents in them; the entries themselves come first."""
    own = {key: text if (value := read_literal(text)) is None else value for key, text in properties.items()}
    found: list[dict[str, Any]] = [own]
    for values in found:  # which grows
        found += [document for key in _NESTED if isinstance(document := values.get(key), dict)]
    return found


def _channels(value: Any) -> tuple[float, ...] | None:
    if not isinstance(value, list | tuple) or len(value) not in (1, 3):
        return None
    return tuple(map(float, value)) if all(type(x) in (int, float) and abs(x) <= 255 for x in value) else None


def _order(values: Mapping[str, Any], channels: int) -> ColorOrder:
    said = [str(values[key]).upper() for key in _ORDERS if key in values]
    said += ["BGR"] if values.get("do_flip_channel_order") is True else []  # MobileViT of Hugging Face
    if channels == 1:
        return "L"
    return "BGR" if said[:1] == ["BGR"] else "RGB"


def _geometry(values: Mapping[str, Any]) -> dict[str, Any]:
    """How the picture gets its size, where the entries say that its middle is cut out."""
    shortest: Resize = "shortest"
    size = values.get("size")
    if values.get("do_center_crop") is True and isinstance(size, dict) and type(size.get("shortest_edge")) is int:
        return {"resize": shortest, "resize_size": size["shortest_edge"]}
    part, wanted = values.get("crop_pct"), _size(values)
    if type(part) is float and 0.5 <= part <= 1 and wanted is not None:  # timm
        return {"resize": shortest, "resize_size": int(min(wanted) / part)}
    return {}


def _size(values: Mapping[str, Any]) -> tuple[int, int] | None:
    cropped = values.get("crop_size") if values.get("do_center_crop") is True else None
    for value in (cropped, values.get("size"), values.get("input_size")):
        sides: Any = value
        if isinstance(value, dict):
            sides = [value.get("height"), value.get("width")]
        known = isinstance(sides, list | tuple) and len(sides) in (2, 3)
        if known and all(type(side) is int and 0 < side < 100_000 for side in sides[-2:]):
            return sides[-2], sides[-1]
    return None
