"""What a document in a file's metadata says of the picture's way to the input, key by key.

The keys are those of Hugging Face's image processors, of timm's ``pretrained_cfg`` and of the QGIS plugin Deepness. A
key that is there and is not understood is named: nothing of a document is dropped in silence.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, get_args

from inspector.errors import InspectorError
from inspector.image import Preprocess
from inspector.image.preprocess import FILTERS, ColorOrder, Filter
from inspector.records import record

_MEANS = (("standardization_mean", "standardization_std"), ("image_mean", "image_std"), ("mean", "std"))
"""Of Deepness, of Hugging Face's image processors, of timm."""
_ORDERS = ("color_order", "channel_order", "color_mode", "color_format", "image_format")
_RESAMPLE: tuple[Filter, ...] = ("nearest", "lanczos", "bilinear", "bicubic", "box", "hamming")
"""By the numbers that Pillow has for them."""
_BEYOND = (
    "rescale_offset", "include_top", "do_pad", "pad_size", "size_divisor", "do_thumbnail", "do_align_long_axis",
    "keep_aspect_ratio", "ensure_multiple_of",
)  # fmt: skip
"""Keys that change the picture in ways that a preprocess does not have."""
STATED = (
    *(name for pair in _MEANS for name in pair), *_ORDERS, *_BEYOND, "do_normalize", "do_rescale", "rescale_factor",
    "do_resize", "do_flip_channel_order", "do_center_crop", "size", "crop_size", "input_size", "crop_pct", "crop_mode",
    "interpolation", "resample",
)  # fmt: skip
"""All keys that are read."""
_LARGEST_SQUASHED = 384
"""Shorter side from which Hugging Face's ConvNeXT stretches the picture, and cuts nothing off."""
_LONGEST_SHOWN = 40
_SMALL = 10.0
"""A mean and deviation between 1 and this fit neither numbers to 1 nor bytes well."""


@record
class Stated:
    """What a document says of the picture.

    Args:
        preprocess: How the picture becomes the input; None where no mean and deviation are understood.
        ordered: Whether the order of the colours is said.
        notes: A phrase for each thing that was not followed, or not certain.
    """

    preprocess: Preprocess | None
    ordered: bool
    notes: tuple[str, ...]


class _Reading:
    """A document, and the keys in it that were not understood."""

    def __init__(self, values: Mapping[str, Any]) -> None:
        self.values = {key: value for key, value in values.items() if value is not None}
        self.unread: dict[str, None] = {}
        self.notes: list[str] = []

    def get(self, key: str, read: Callable[[Any], Any]) -> Any:
        """What `read` makes of a value; None where it is not there, or `read` makes nothing of it."""
        if key not in self.values:
            return None
        value = read(self.values[key])
        if value is None:
            self.skip(key)
        return value

    def flag(self, key: str) -> bool | None:
        """A yes or no."""
        found: bool | None = self.get(key, lambda value: bool(value) if value in (0, 1) else None)
        return found

    def skip(self, key: str) -> None:
        """Note a key that is not followed."""
        self.unread[key] = None

    def tell(self) -> tuple[str, ...]:
        """The phrases for all of it."""
        keys = []
        for key in self.unread:
            shown = repr(self.values[key])
            keys.append(f"{key} {shown if len(shown) <= _LONGEST_SHOWN else shown[:_LONGEST_SHOWN] + '...'}")
        return (*([f"not followed of the metadata: {', '.join(keys)}"] if keys else ()), *self.notes)


def read_stated(values: Mapping[str, Any], size: tuple[int, int] | None = None) -> Stated | None:
    """What a document says of the picture's way to the input; None where it says nothing of its values.

    Args:
        values: The document.
        size: (H, W) that the graph fixes; None where it does not.
    """
    found = _Reading(values)
    numbers = _read_numbers(found)
    if numbers is None:
        return Stated(None, False, found.tell()) if found.unread else None
    scale, mean, std = numbers
    order = _read_order(found) if len(mean) == 3 else "L"
    try:
        made = Preprocess(scale=scale, mean=mean, std=std, colour=order or "RGB")
    except InspectorError:  # such as a deviation below 1e-12
        for name in (name for pair in _MEANS for name in pair if name in found.values):
            found.skip(name)
        return Stated(None, False, found.tell())
    geometry = {**_read_filter(found), **_read_geometry(found, size)}
    if geometry.get("resize") == "pad":  # timm fills with its mean
        fill = [min(255, max(0, round(m / scale))) for m in mean]
        geometry["fill"] = tuple(fill[::-1] if order == "BGR" else fill * (3 // len(fill)))
    try:
        made = replace(made, **geometry)
    except InspectorError:  # more pixels than a picture may have
        for name in ("size", "input_size", "crop_size"):
            if name in found.values:
                found.skip(name)
    return Stated(made, order is not None, found.tell())


# --- values -----------------------------------------------------------------


def _read_numbers(found: _Reading) -> tuple[float, tuple[float, ...], tuple[float, ...]] | None:
    """(scale, mean, deviation); None where they are not there, or make no sense."""
    pair: tuple[tuple[float, ...], tuple[float, ...]] | None = None
    for names in _MEANS:
        if pair is None and any(name in found.values for name in names):
            mean, std = (found.get(name, _as_channels) for name in names)
            if mean is not None and std is not None and len(mean) == len(std) and min(std) > 0:
                pair = mean, std
            else:
                for name in filter(found.values.__contains__, names):
                    found.skip(name)
    normalises = found.flag("do_normalize") if pair or found.values.get("do_normalize") is False else None
    if normalises is False:
        pair = ((0.0,) * len(pair[0]), (1.0,) * len(pair[0])) if pair else ((0.0,) * 3, (1.0,) * 3)
    return (_read_scale(found, max(map(abs, (*pair[0], *pair[1]))), normalises), *pair) if pair else None


def _read_scale(found: _Reading, largest: float, normalises: bool | None) -> float:
    """What pixels are multiplied by; `largest` is the largest of mean and deviation."""
    rescales = found.flag("do_rescale")
    factor = found.get("rescale_factor", lambda value: float(value) if _is_number(value, 1e-6, 1) else None)
    if rescales is False:
        if largest <= 1 and normalises is not False:
            found.notes.append("do_rescale is false in the metadata: mean and std are taken off values 0 to 255")
        return 1.0
    if factor is not None:
        if largest > max(1, 255 * factor):
            found.notes.append("mean or std of the metadata is larger than all that its rescale_factor makes of pixels")
        return float(factor)
    if 1 < largest < _SMALL:
        found.notes.append("mean and std of the metadata taken for those of values 0 to 255")
    # A mean of numbers to 1, or of bytes.
    return 1 / 255 if largest <= 1 else 1.0


def _read_order(found: _Reading) -> ColorOrder | None:
    """The order of the colours; None where none is understood."""
    said: list[ColorOrder] = []
    for key in _ORDERS:
        text = str(found.values.get(key, "")).upper()
        known = [order for order in get_args(ColorOrder) if order == text and order != "L"]
        said += known
        # An image format may be PNG; a second order that says something else is not followed.
        if key in found.values and (said[:1] != known if known else key != "image_format"):
            found.skip(key)
    if found.flag("do_flip_channel_order"):  # MobileViT of Hugging Face
        said.append("BGR")
        if said[0] != "BGR":
            found.skip("do_flip_channel_order")
    return said[0] if said else None


# --- geometry -----------------------------------------------------------------


def _read_filter(found: _Reading) -> dict[str, Any]:
    name = found.get("interpolation", lambda value: value if value in FILTERS else None)
    number = found.get("resample", lambda value: _RESAMPLE[value] if type(value) is int and 0 <= value < 6 else None)
    return {"filter": name or number} if name or number else {}


def _read_geometry(found: _Reading, given: tuple[int, int] | None) -> dict[str, Any]:
    """How the picture gets its size; `given` is that of the graph."""
    for key in _BEYOND:
        if found.values.get(key):
            found.skip(key)
    if found.flag("do_resize") is False:
        found.skip("do_resize")
    crops = found.flag("do_center_crop")
    declared, edge = found.get("input_size", _as_sides), _read_edge(found.values.get("size"))
    sides = None if edge is not None else found.get("size", _as_sides)
    if crops:
        return _read_crop(found, sides, edge, declared or given)
    if "crop_size" in found.values and crops is None:
        found.skip("crop_size")
    part = found.get("crop_pct", lambda value: float(value) if _is_number(value, 0.1, 1) else None)
    if edge is not None:
        if part is None:  # the other side would be as long as the picture has it
            found.skip("size")
            return {"size": declared}
        whole = {"size": (edge, edge)}
        return whole if edge >= _LARGEST_SQUASHED else {**whole, "resize": "shortest", "resize_size": int(edge / part)}
    return _read_part(found, part, declared or sides, given)


def _read_crop(
    found: _Reading, sides: tuple[int, int] | None, edge: int | None, declared: tuple[int, int] | None
) -> dict[str, Any]:
    """The middle of a picture whose shorter side, or whose sides, were given a length."""
    if "crop_pct" in found.values:
        found.skip("crop_pct")
    wanted = found.get("crop_size", _as_sides) or declared
    plain = found.values.get("size")
    if edge is None and sides is not None and isinstance(plain, int):  # as CLIP's first processors had it
        edge = sides[0]
    if edge is not None:
        return {"size": wanted or (edge, edge), "resize": "shortest", "resize_size": edge}
    if sides is None or wanted not in (None, sides):  # stretched to one size and cut to another
        found.skip("do_center_crop")
    return {"size": wanted or sides}


def _read_part(
    found: _Reading, part: float | None, size: tuple[int, int] | None, given: tuple[int, int] | None
) -> dict[str, Any]:
    """As timm evaluates: ``crop_pct`` of the picture, chosen by ``crop_mode``."""
    mode, whole = found.values.get("crop_mode"), size or given
    if mode is None and part is None:
        return {"size": size}
    if mode in (None, "center") and part is not None and whole is not None and whole[0] == whole[1]:
        return {"size": whole, "resize": "shortest", "resize_size": int(whole[0] / part)}
    if mode == "squash" and part == 1:
        return {"size": size}
    if mode == "border" and part == 1:
        return {"size": size, "resize": "pad"}
    for key in ("crop_pct", "crop_mode"):
        if found.values.get(key) is not None:
            found.skip(key)
    return {"size": size}


def _read_edge(value: Any) -> int | None:
    """The length of the shorter side, where nothing is said of the other."""
    known = {key: side for key, side in value.items() if side is not None} if isinstance(value, dict) else {}
    edge = known.get("shortest_edge")
    return edge if len(known) == 1 and _is_side(edge) else None


def _as_sides(value: Any) -> tuple[int, int] | None:
    """(H, W) of a number, a list or a table; axes of channels aside."""
    if isinstance(value, dict):
        value = [value.get("height"), value.get("width")]
    elif isinstance(value, int):
        value = [value, value]
    if not isinstance(value, list | tuple) or len(value) not in (2, 3):
        return None
    if len(value) == 3:
        value = value[1:] if value[0] in (1, 3) else value[:2] if value[2] in (1, 3) else ()
    return (value[0], value[1]) if len(value) == 2 and all(map(_is_side, value)) else None


def _as_channels(value: Any) -> tuple[float, ...] | None:
    if not isinstance(value, list | tuple) or len(value) not in (1, 3):
        return None
    return tuple(map(float, value)) if all(_is_number(x, -255, 255) for x in value) else None


def _is_number(value: Any, low: float, high: float) -> bool:
    return type(value) in (int, float) and low <= value <= high


def _is_side(value: Any) -> bool:
    return type(value) is int and 0 < value <= 16384
