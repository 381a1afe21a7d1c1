"""From a picture to the tensor that a network takes, and back: the one `Preprocess` of the project."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any, Literal, cast

import numpy as np
from numpy.typing import NDArray

from inspector.errors import ImageError, MetadataError
from inspector.image.open import MAX_PIXELS, Box

if TYPE_CHECKING:
    from PIL.Image import Image

Resize = Literal["stretch", "shortest", "pad", "none"]
ColorOrder = Literal["RGB", "BGR", "L"]
Layout = Literal["NCHW", "NHWC"]
FILTERS = ("nearest", "bilinear", "bicubic", "lanczos", "box", "hamming")


@dataclass(frozen=True)
class Preprocess:
    """How a picture becomes the network's input. Serialised as it stands into the model's metadata.

    size: (H, W) of the tensor, or None to keep the picture's own size.
    resize: ``stretch`` to `size`; ``shortest``: the shorter side becomes `resize_size`, then a centre crop of `size`;
        ``pad``: as large as fits into `size`, the rest filled with `fill`; ``none``: pixels stay as they are.
    resize_size: shorter side in pixels before the crop (``shortest`` only); None means the shorter side of `size`.
    filter: a Pillow filter by name, antialiased when it reduces.
    colour: RGB, BGR or L (one channel, ITU-R 601 luma). layout: NCHW or NHWC.
    value = (pixel * scale - mean) / std with pixel in 0..255; mean and std have one number per channel.
    dtype: float32, float16, float64 or uint8 (for graphs that normalise themselves).
    """

    size: tuple[int, int] | None = None
    resize: Resize = "stretch"
    resize_size: int | None = None
    filter: str = "bilinear"
    fill: tuple[int, int, int] = (114, 114, 114)
    colour: ColorOrder = "RGB"
    layout: Layout = "NCHW"
    scale: float = 1 / 255
    mean: tuple[float, ...] = (0.0, 0.0, 0.0)
    std: tuple[float, ...] = (1.0, 1.0, 1.0)
    dtype: str = "float32"

    def __post_init__(self) -> None:
        channels = 1 if self.colour == "L" else 3
        problems = [
            text
            for bad, text in (
                (self.resize not in ("stretch", "shortest", "pad", "none"), f"resize {self.resize!r}"),
                (self.filter not in FILTERS, f"filter {self.filter!r} (one of {', '.join(FILTERS)})"),
                (self.colour not in ("RGB", "BGR", "L"), f"colour {self.colour!r} (RGB, BGR or L)"),
                (self.layout not in ("NCHW", "NHWC"), f"layout {self.layout!r} (NCHW or NHWC)"),
                (self.dtype not in ("float32", "float16", "float64", "uint8"), f"dtype {self.dtype!r}"),
                (len(self.mean) != channels, f"mean of {len(self.mean)} numbers for {channels} channels"),
                (len(self.std) != channels, f"std of {len(self.std)} numbers for {channels} channels"),
                (not all(_is_number(m, -1e12, 1e12) for m in self.mean), f"mean {self.mean!r}"),
                (not all(_is_number(s, 1e-12, 1e12) for s in self.std), f"std {self.std!r} (it must be positive)"),
                (not _is_number(self.scale, 1e-12, 1e12), f"scale {self.scale!r} (it must be positive)"),
                (self.size is not None and not _is_size(self.size), f"size {self.size!r} (height, width)"),
                (self.resize_size is not None and not _is_side(self.resize_size), f"resize_size {self.resize_size!r}"),
                (len(self.fill) != 3 or not all(f in range(256) for f in self.fill), f"fill {self.fill!r}"),
            )
            if bad
        ]
        if problems:
            raise MetadataError(
                f"the preprocess is malformed: {', '.join(problems)}", "see `inspector annotate --help`"
            )

    @property
    def channels(self) -> int:
        """Number of colour channels of the tensor: 1 or 3."""
        return len(self.mean)

    def view(self, image: Image) -> Image:
        """What the network sees, before normalisation: mode RGB (or L), (H, W) of the tensor."""
        from PIL import Image as images

        resample = images.Resampling[self.filter.upper()]
        if self.size is not None and self.resize != "none":
            height, width = self.size
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
        """The input tensor: (1, C, H, W) or (1, H, W, C) in `dtype`, C-contiguous."""
        return self.normalise(np.asarray(self.view(image)))

    def normalise(self, pixels: NDArray[np.uint8]) -> NDArray[Any]:
        """uint8 (H, W, 3), or (H, W) for one channel, already of the right size -> the input tensor."""
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
        """The inverse of :meth:`normalise`: any (N, C, H, W) or (N, H, W, C) tensor -> float32 (N, H, W, C) in
        0..255, RGB order, not clipped."""
        values = tensor if self.layout == "NHWC" else tensor.transpose(0, 2, 3, 1)
        rgb = (values.astype(np.float64) * np.array(self.std) + np.array(self.mean)) / self.scale
        ordered: NDArray[np.float32] = (rgb[..., ::-1] if self.colour == "BGR" else rgb).astype(np.float32)
        return ordered

    def box(self, size: tuple[int, int]) -> Box:
        """The part of a picture of `size` (width, height) that the tensor covers: left, top, right, bottom in pixels.

        With ``pad`` it reaches beyond the picture; with ``shortest`` it is the centre crop.
        """
        width, height = size
        if self.size is None or self.resize in ("none", "stretch"):
            return (0.0, 0.0, float(width), float(height))
        (w, h), left, top = self._padded(size) if self.resize == "pad" else self._cropped(size)
        x, y = (-left, -top) if self.resize == "pad" else (left, top)
        return (
            x * width / w,
            y * height / h,
            (x + self.size[1]) * width / w,
            (y + self.size[0]) * height / h,
        )

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
        assert self.size is not None
        height, width = self.size
        ratio = min(width / size[0], height / size[1])
        inner = (max(1, round(size[0] * ratio)), max(1, round(size[1] * ratio)))
        return inner, (width - inner[0]) // 2, (height - inner[1]) // 2

    def with_size(self, size: tuple[int, int] | None) -> Preprocess:
        """The same for another (H, W); the resize before a crop grows in proportion."""
        if self.resize_size and self.size and size:
            return replace(self, size=size, resize_size=round(self.resize_size * min(size) / min(self.size)))
        return replace(self, size=size)

    def to_json(self) -> dict[str, Any]:
        """The metadata form; `from_json` reads it back unchanged."""
        return {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(self).items()}

    @staticmethod
    def from_json(document: Mapping[str, Any]) -> Preprocess:
        """From the metadata form. Raises MetadataError for unknown keys or values of the wrong kind."""
        if not isinstance(document, Mapping):
            raise MetadataError(f"the preprocess is malformed: {type(document).__name__} instead of an object")
        known = set(Preprocess.__dataclass_fields__)
        if unknown := sorted(set(document) - known):
            raise MetadataError(
                f"the preprocess has unknown keys: {', '.join(map(str, unknown))}", f"known: {', '.join(sorted(known))}"
            )
        try:
            values = {
                key: tuple(value) if isinstance(value, Sequence) and not isinstance(value, str) else value
                for key, value in document.items()
            }
            return Preprocess(**cast(Any, values))
        except (TypeError, ValueError) as error:
            raise MetadataError(f"the preprocess is malformed: {error}") from None

    @staticmethod
    def named(name: str, size: tuple[int, int] | None = None, channels: int = 3, layout: Layout = "NCHW") -> Preprocess:
        """One of the conventions by name: imagenet, unit, signed, caffe, raw. The picture is stretched to `size`.

        With one channel the colour is L and mean and std are their averages (caffe keeps its own scale).
        Raises MetadataError for another name.
        """
        if name not in NAMED:
            raise MetadataError(f"there is no preprocess named {name!r}", f"known: {', '.join(NAMED)}, or a JSON file")
        scale, mean, std, color = NAMED[name]
        if channels == 1:
            mean, std, color = (sum(mean) / 3,), (sum(std) / 3,), "L"
        return Preprocess(size=size, layout=layout, scale=scale, mean=mean, std=std, colour=color)


def _is_number(value: object, low: float, high: float) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and low <= value <= high


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
