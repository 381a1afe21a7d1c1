"""From a picture to the tensor that a network takes, and back: the one `Preprocess` of the project."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from inspector.documents import CLOSED, DoesNotFitError, Misfit, build_value, find_misfits
from inspector.errors import ImageError, MetadataError
from inspector.image.open import MAX_PIXELS, Box
from inspector.records import record

if TYPE_CHECKING:
    from PIL.Image import Image

Resize = Literal["stretch", "shortest", "pad", "none"]
Filter = Literal["nearest", "bilinear", "bicubic", "lanczos", "box", "hamming"]
ColorOrder = Literal["RGB", "BGR", "L"]
Layout = Literal["NCHW", "NHWC"]
DType = Literal["float32", "float16", "float64", "uint8"]
Place = Literal["centre", "corner"]
FILTERS: tuple[Filter, ...] = get_args(Filter)


@record
class Preprocess:
    """How a picture becomes the network's input: value = (pixel * scale - mean) / std, with pixel in 0..255.

    It is written as it stands into the model's metadata.
    """

    __pydantic_config__ = CLOSED

    size: tuple[int, int] | None = None
    """Height and width of the tensor; null keeps the picture's own size, up to `stride`."""
    resize: Resize = "stretch"
    """How a picture gets `size`. stretch: both sides on their own. shortest: the shorter side becomes `resize_size`,
    then the centre is cut out. pad: as large as fits, the rest filled with `fill`. none: pixels stay as they are."""
    resize_size: int | None = None
    """Shorter side in pixels before the crop, for shortest only; null means the shorter side of `size`."""
    filter: Filter = "bilinear"
    """A Pillow filter, antialiased where it reduces."""
    fill: tuple[int, int, int] = (114, 114, 114)
    """Red, green and blue around the picture, 0 to 255, for pad only."""
    place: Place = "centre"
    """Where the picture lies in the padding, for pad only: in the centre, or in the upper left corner."""
    stride: int = 1
    """Where `size` is null, height and width of the tensor are the picture's, rounded up to multiples of this."""
    colour: ColorOrder = "RGB"
    """Order of the channels. L is one channel, the luma of ITU-R 601."""
    layout: Layout = "NCHW"
    """Order of the tensor's axes: NCHW has channels first, NHWC last."""
    scale: float = 1 / 255
    """What a pixel is multiplied by before `mean` is taken off."""
    mean: tuple[float, ...] = (0.0, 0.0, 0.0)
    """One number for each channel, taken off after `scale`."""
    std: tuple[float, ...] = (1.0, 1.0, 1.0)
    """One number for each channel, divided by after `mean`."""
    dtype: DType = "float32"
    """Type of the tensor; uint8 is for graphs that normalise themselves."""

    def __post_init__(self) -> None:
        if problems := _find_problems(vars(self)):
            raise _malformed(list(problems.values()))

    @property
    def channels(self) -> int:
        """Number of colour channels of the tensor: 1 or 3."""
        return len(self.mean)

    def view(self, image: Image) -> Image:
        """Make the picture that the network sees, before normalisation.

        Args:
            image: A PIL image of mode RGB.

        Returns:
            The picture resized and cut to the size of the tensor, of mode RGB, or L for one channel.

        Raises:
            ImageError: The picture is so narrow that it would be resized to more pixels than are allowed.
        """
        from PIL import Image as images

        resample = images.Resampling[self.filter.upper()]
        if self.resize not in self._as_it_is():
            height, width = self.frame(image.size)
            if self.resize == "stretch":
                image = image if image.size == (width, height) else image.resize((width, height), resample)
            elif self.resize == "pad":
                inner, left, top = self._padded(image.size)
                sheet = images.new("RGB", (width, height), self.fill)
                sheet.paste(image if image.size == inner else image.resize(inner, resample), (left, top))
                image = sheet
            else:
                inner, left, top = self._cropped(image.size)
                if math.prod(inner) > MAX_PIXELS:
                    raise ImageError(
                        f"a picture of {image.width} x {image.height} would be resized to {inner[0]} x {inner[1]}",
                        "cut it to a shape that is less narrow",
                    )
                image = image if image.size == inner else image.resize(inner, resample)
                # Beyond the picture crop() fills with black, as torchvision's CenterCrop does.
                image = image.crop((left, top, left + width, top + height))
        return image.convert("L") if self.colour == "L" else image

    def tensor(self, image: Image) -> NDArray[Any]:
        """Make the input tensor of one picture.

        Args:
            image: A PIL image of mode RGB.

        Returns:
            (1, C, H, W) or (1, H, W, C) in `dtype`, C-contiguous.

        Raises:
            ImageError: As for :meth:`view`.
        """
        return self.normalise(np.asarray(self.view(image)))

    def normalise(self, pixels: NDArray[np.uint8]) -> NDArray[Any]:
        """Make the input tensor of pixels that have the right size already.

        Args:
            pixels: uint8 (H, W, 3), or (H, W) for one channel.

        Returns:
            (1, C, H, W) or (1, H, W, C) in `dtype`, C-contiguous.
        """
        planes = pixels.reshape(*pixels.shape[:2], -1)
        if self.colour == "BGR":
            planes = planes[:, :, ::-1]
        out = np.empty((1, self.channels, *planes.shape[:2]), np.float32 if self.dtype == "uint8" else self.dtype)
        levels = np.arange(256, dtype=np.float64) * self.scale
        for c in range(self.channels):
            # A table of 256 values in double precision: the same result on every machine, and quicker than arithmetic.
            table = ((levels - self.mean[c]) / self.std[c]).astype(out.dtype)
            np.take(table, planes[:, :, c], out=out[0, c])
        if self.dtype == "uint8":
            out = np.rint(out).clip(0, 255).astype(np.uint8)
        return np.ascontiguousarray(out.transpose(0, 2, 3, 1)) if self.layout == "NHWC" else out

    def pixels(self, tensor: NDArray[Any]) -> NDArray[np.float32]:
        """Turn an input tensor back into pixels, the inverse of :meth:`normalise`.

        Args:
            tensor: (N, C, H, W) or (N, H, W, C), as `layout` says.

        Returns:
            float32 (N, H, W, C) in 0..255, in the order red, green, blue; not clipped and not rounded.
        """
        values = tensor if self.layout == "NHWC" else tensor.transpose(0, 2, 3, 1)
        rgb = (values.astype(np.float64) * np.array(self.std) + np.array(self.mean)) / self.scale
        ordered: NDArray[np.float32] = (rgb[..., ::-1] if self.colour == "BGR" else rgb).astype(np.float32)
        return ordered

    def box(self, size: tuple[int, int]) -> Box:
        """Find the part of a picture that the tensor covers.

        Args:
            size: (width, height) of the picture.

        Returns:
            Left, top, right, bottom in pixels of the picture. With ``pad`` they reach beyond it; with ``shortest``
            they are those of the centre crop.
        """
        width, height = size
        if self.resize in ("stretch", *self._as_it_is()):
            return (0.0, 0.0, float(width), float(height))
        (w, h), left, top = self._padded(size) if self.resize == "pad" else self._cropped(size)
        x, y = (-left, -top) if self.resize == "pad" else (left, top)
        high, wide = self.frame(size)
        return (x * width / w, y * height / h, (x + wide) * width / w, (y + high) * height / h)

    def frame(self, size: tuple[int, int]) -> tuple[int, int]:
        """(height, width) of the tensor of a picture of `size` (width, height)."""
        if self.size is not None and self.resize != "none":
            return self.size
        step = self.stride if self.resize in ("stretch", "pad") else 1
        return (-(-size[1] // step) * step, -(-size[0] // step) * step)

    def to_picture(self, points: NDArray[Any], size: tuple[int, int]) -> NDArray[np.float64]:
        """Take places in the tensor back to the picture, exactly; they may lie beyond it.

        Args:
            points: (..., 2), x and y in pixels of the tensor, where 0 is the left or upper edge of the first pixel.
            size: (width, height) of the picture, as :func:`open_image` turned it.

        Returns:
            float64 (..., 2), x and y in pixels of the picture, counted in the same way.
        """
        height, width = self.frame(size)
        left, top, right, bottom = self.box(size)
        step = np.array([(right - left) / width, (bottom - top) / height])
        moved: NDArray[np.float64] = np.asarray(points, np.float64) * step + (left, top)
        return moved

    def _as_it_is(self) -> tuple[Resize, ...]:
        """The ways of resizing that leave the picture as it is."""
        if self.size is not None:
            return ("none",)
        return ("none", "shortest") if self.stride > 1 else ("none", "shortest", "stretch", "pad")

    def _cropped(self, size: tuple[int, int]) -> tuple[tuple[int, int], int, int]:
        """((width, height) after the resize, left, top of the crop); torchvision's rounding."""
        assert self.size is not None
        width, height = size
        short = self.resize_size or min(self.size)
        if width <= height:
            inner = (short, max(1, int(short * height / width)))
        else:
            inner = (max(1, int(short * width / height)), short)
        left, top = (
            round((have - want) / 2) if have >= want else -((want - have) // 2)
            for have, want in ((inner[0], self.size[1]), (inner[1], self.size[0]))
        )
        return inner, left, top

    def _padded(self, size: tuple[int, int]) -> tuple[tuple[int, int], int, int]:
        """((width, height) inside the padding, left, top)."""
        height, width = self.frame(size)
        ratio = min(width / size[0], height / size[1])
        inner = (max(1, round(size[0] * ratio)), max(1, round(size[1] * ratio)))
        if self.place == "corner":
            return inner, 0, 0
        return inner, (width - inner[0]) // 2, (height - inner[1]) // 2

    def with_size(self, size: tuple[int, int] | None) -> Preprocess:
        """The same for another size (H, W); the resize before a crop grows in proportion."""
        if self.resize_size and self.size and size:
            return replace(self, size=size, resize_size=round(self.resize_size * min(size) / min(self.size)))
        return replace(self, size=size)

    def with_dtype(self, dtype: DType) -> Preprocess:
        """The same for a tensor of another type."""
        return replace(self, dtype=dtype)

    def to_json(self) -> dict[str, Any]:
        """The metadata form; `from_json` reads it back unchanged."""
        # Versions before these keys refuse them, and most files do without.
        late = {"place": "centre", "stride": 1}
        kept = {k: v for k, v in asdict(self).items() if k not in late or v != late[k]}
        return {k: list(v) if isinstance(v, tuple) else v for k, v in kept.items()}

    @staticmethod
    def from_json(document: Mapping[str, Any]) -> Preprocess:
        """From the metadata form.

        Raises:
            MetadataError: For unknown keys and for malformed values, all at once.
        """
        if not isinstance(document, Mapping):
            raise MetadataError(f"the preprocess is malformed: {type(document).__name__} instead of an object")
        fields = Preprocess.__dataclass_fields__
        unknown = sorted(str(key) for key in document if key not in fields)
        known = {key: value for key, value in document.items() if key in fields}
        if not unknown:
            try:
                built: Preprocess = build_value(Preprocess, known)
            except DoesNotFitError:
                pass
            else:
                return built
        wrong = {str(mistake.place[0]) for mistake in _find_mistakes(known) if mistake.place}
        values = {key: fields[key].default for key in fields} | {key: _as_tuple(known[key]) for key in known}
        problems = {key: _phrase(key, values[key]) for key in fields if key in wrong}
        right = {key: fields[key].default if key in wrong else value for key, value in values.items()}
        problems |= {key: text for key, text in _find_problems(right).items() if key not in wrong}
        raise _malformed([problems[key] for key in fields if key in problems], unknown)

    @staticmethod
    def named(name: str, size: tuple[int, int] | None = None, channels: int = 3, layout: Layout = "NCHW") -> Preprocess:
        """Make one of the conventions that have a name. The picture is stretched to `size`.

        Args:
            name: imagenet, unit, signed, caffe or raw.
            size: (H, W) of the tensor; None keeps the picture's own.
            channels: 3; or 1, where mean and std are the averages over the three.
            layout: NCHW or NHWC.

        Raises:
            MetadataError: There is no such name.

        Example:
            >>> Preprocess.named("signed", (224, 224)).mean
            (0.5, 0.5, 0.5)
        """
        if name not in NAMED:
            raise MetadataError(f"there is no preprocess named {name!r}", f"known: {', '.join(NAMED)}, or a JSON file")
        scale, mean, std, color = NAMED[name]
        if channels == 1:
            mean, std, color = (sum(mean) / 3,), (sum(std) / 3,), "L"
        return Preprocess(size=size, layout=layout, scale=scale, mean=mean, std=std, colour=color)


_RULES = {
    "filter": f" (one of {', '.join(FILTERS)})",
    "colour": " (RGB, BGR or L)",
    "layout": " (NCHW or NHWC)",
    "std": " (it must be positive)",
    "scale": " (it must be positive)",
    "size": " (height, width)",
    "place": " (centre or corner)",
}
"""What is said after a value that is not allowed."""


def _phrase(key: str, value: object) -> str:
    return f"{key} {value!r}{_RULES.get(key, '')}"


def _find_problems(values: Mapping[str, Any]) -> dict[str, str]:
    """key -> what is wrong with its value, for values of the right types or of any other."""
    channels = 1 if values["colour"] == "L" else 3
    allowed = {
        "resize": values["resize"] in get_args(Resize),
        "filter": values["filter"] in FILTERS,
        "colour": values["colour"] in get_args(ColorOrder),
        "layout": values["layout"] in get_args(Layout),
        "dtype": values["dtype"] in get_args(DType),
        "mean": _are_numbers(values["mean"], -1e12, 1e12),
        "std": _are_numbers(values["std"], 1e-12, 1e12),
        "scale": _is_number(values["scale"], 1e-12, 1e12),
        "size": values["size"] is None or _is_size(values["size"]),
        "resize_size": values["resize_size"] is None or _is_side(values["resize_size"]),
        "fill": _is_rgb(values["fill"]),
        "place": values["place"] in get_args(Place),
        "stride": _is_side(values["stride"]) and values["stride"] <= 1024,
    }
    problems = {key: _phrase(key, values[key]) for key, good in allowed.items() if not good}
    for key in ("mean", "std"):
        if key not in problems and len(values[key]) != channels:
            problems[key] = f"{key} of {len(values[key])} numbers for {channels} channels"
    return problems


def _find_mistakes(document: Mapping[str, Any]) -> list[Misfit]:
    """Where the types do not fit. Values are judged apart, since they may depend on each other."""
    try:
        return find_misfits(Preprocess, document)
    except MetadataError:  # all types fit, and the values were judged
        return []


def _malformed(problems: Sequence[str], unknown: Sequence[str] = ()) -> MetadataError:
    if not unknown:
        return MetadataError(f"the preprocess is malformed: {', '.join(problems)}", "see `inspector annotate --help`")
    malformed = f"; malformed: {', '.join(problems)}" if problems else ""
    return MetadataError(
        f"the preprocess has unknown keys: {', '.join(unknown)}{malformed}",
        f"known: {', '.join(sorted(Preprocess.__dataclass_fields__))}",
    )


def _as_tuple(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def _are_numbers(values: object, low: float, high: float) -> bool:
    return isinstance(values, tuple) and all(_is_number(value, low, high) for value in values)


def _is_number(value: object, low: float, high: float) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and low <= value <= high


def _is_rgb(value: object) -> bool:
    return isinstance(value, tuple) and len(value) == 3 and all(isinstance(v, int) and 0 <= v <= 255 for v in value)


def _is_side(value: object) -> bool:
    return isinstance(value, int) and _is_number(value, 1, 16384)


def _is_size(value: object) -> bool:
    return isinstance(value, tuple) and len(value) == 2 and all(map(_is_side, value)) and math.prod(value) <= MAX_PIXELS


IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
_ZERO, _ONE, _HALF = (0.0, 0.0, 0.0), (1.0, 1.0, 1.0), (0.5, 0.5, 0.5)
NAMED: dict[str, tuple[float, tuple[float, ...], tuple[float, ...], ColorOrder]] = {
    "imagenet": (1 / 255, IMAGENET_MEAN, IMAGENET_STD, "RGB"),
    "unit": (1 / 255, _ZERO, _ONE, "RGB"),
    "signed": (1 / 255, _HALF, _HALF, "RGB"),
    "caffe": (1.0, (103.939, 116.779, 123.68), _ONE, "BGR"),
    "raw": (1.0, _ZERO, _ONE, "RGB"),
}
"""scale, mean, std, colour order of the preprocess names."""
