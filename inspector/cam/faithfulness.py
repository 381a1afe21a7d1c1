"""How faithful a map is: does the network itself care about the places that the map points at?

Probabilities are of the class that the map explains. The pixels' order is that of the map before ReLU, enlarged
to the input, so that evidence against the class comes last and not in no order at all.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from inspector.cam.rerun import Reruns
from inspector.cam.resize import enlarge
from inspector.cam.result import CamResult
from inspector.errors import NotComputable, UsageError
from inspector.image import ImageSource, open_image
from inspector.model import Model
from inspector.records import record

Array = NDArray[Any]
Baseline = Literal["mean", "blur"]
STEPS = 32
_SAMPLES = 512


@record
class FaithfulnessCurve:
    """The class's probability while pixels are removed or inserted.

    Attributes:
        share: float64 (steps + 1,), the share of pixels changed, 0 to 1.
        probability: float64 (steps + 1,).
    """

    share: NDArray[np.float64]
    probability: NDArray[np.float64]

    @property
    def area(self) -> float:
        """Area under the curve by the trapezoid rule, in [0, 1]."""
        return float(np.sum(np.diff(self.share) * (self.probability[1:] + self.probability[:-1]) / 2))


def deletion(
    model: Model, image: ImageSource | Array, found: CamResult, *, steps: int = STEPS, baseline: Baseline = "mean"
) -> FaithfulnessCurve:
    """The most important pixels removed first. A faithful map has a small area.

    Petsiuk, Das, Saenko: RISE, 2018 (arXiv:1806.07421), section 4.2.

    Args:
        model: The model.
        image: As for class_activation_maps.
        found: The map, of this picture and model.
        steps: How many times pixels are removed.
        baseline: What replaces a pixel: ``mean``, the picture's mean color, or ``blur``, the picture blurred.

    Raises:
        NotComputable: For a model without a classifier.
    """
    tensor = _tensor(model, image)
    return _curve(model, found, tensor, _baseline(model, tensor, baseline), steps)


def insertion(
    model: Model, image: ImageSource | Array, found: CamResult, *, steps: int = STEPS, baseline: Baseline = "blur"
) -> FaithfulnessCurve:
    """The most important pixels of the picture laid on the baseline first. A faithful map has a large area.

    Petsiuk, Das, Saenko: RISE, 2018 (arXiv:1806.07421), section 4.2, which starts from the blurred picture.
    """
    tensor = _tensor(model, image)
    return _curve(model, found, _baseline(model, tensor, baseline), tensor, steps)


def _curve(model: Model, found: CamResult, start: Array, end: Array, steps: int) -> FaithfulnessCurve:
    """The probability on the way from the input `start` to `end`, pixels changed in the map's order."""
    if steps < 1:
        raise UsageError(f"steps {steps} is less than 1")
    height, width = _sides(model, start)
    order = np.argsort(-enlarge(found.raw, (height, width)).reshape(-1), kind="stable")
    counts = np.round(np.linspace(0, order.size, steps + 1)).astype(np.int64)
    rank = np.argsort(order, kind="stable").reshape(height, width)
    last = model.input.layout == "NHWC"

    def inputs(limit: int) -> Iterator[Array]:
        for at in range(0, len(counts), limit):
            changed = rank < counts[at : at + limit, None, None]
            yield np.where(changed[..., None] if last else changed[:, None], end, start)

    return FaithfulnessCurve(counts / order.size, _probabilities(model, found, inputs))


def change_in_confidence(model: Model, image: ImageSource | Array, found: CamResult) -> tuple[float, bool]:
    """(drop, rise) when only the mapped places are kept: the share of the probability lost, and whether it grew.

    Chattopadhay et al.: Grad-CAM++, 2018 (arXiv:1710.11063), section 5.1: the input is multiplied by the heatmap; the
    mean of `drop` over pictures is the average drop, the share of True the increase in confidence.
    """
    tensor = _tensor(model, image)
    heat = np.clip(enlarge(found.heatmap, _sides(model, tensor)), 0, 1)[None]
    masked = tensor * (heat[..., None] if model.input.layout == "NHWC" else heat[:, None])
    if tensor.dtype == np.uint8:
        masked = np.rint(masked)
    both = np.concatenate([tensor, masked.astype(tensor.dtype)])
    before, after = _probabilities(model, found, lambda limit: iter([both]))
    return (float(max(0.0, before - after) / before) if before > 0 else 0.0, bool(after > before))


def _probabilities(model: Model, found: CamResult, inputs: Any) -> NDArray[np.float64]:
    """float64 (total,): the probability of the class that the map explains, for blocks of inputs."""
    if model.classifier is None or found.target.probability is None:
        raise NotComputable(
            "faithfulness is measured in the probability of a class, and this map explains another output",
            "use a model with a classification output",
        )
    index = found.target.index

    own = model.classifier.probabilities

    def read(values: Array) -> NDArray[np.float64]:
        rows = values.reshape(len(values), -1)
        probabilities = model.probabilities(rows) if own is None else rows.astype(np.float64)
        if rows.shape[1] > 1:
            return probabilities[:, index]
        second = index == 1 or not model.says_two
        return probabilities[:, 0] if second else 1 - probabilities[:, 0]

    return Reruns(model).input_values(own or model.classifier.scores, inputs, read)


def _tensor(model: Model, image: ImageSource | Array) -> Array:
    return image if isinstance(image, np.ndarray) and image.ndim == 4 else model.tensor(image)


def _sides(model: Model, tensor: Array) -> tuple[int, int]:
    sides = tensor.shape[1:3] if model.input.layout == "NHWC" else tensor.shape[2:4]
    return (int(sides[0]), int(sides[1]))


def _baseline(model: Model, tensor: Array, baseline: str) -> Array:
    """An input of the same shape with nothing to recognise in it."""
    axes = (1, 2) if model.input.layout == "NHWC" else (2, 3)
    values = tensor.astype(np.float64)
    if baseline == "mean":
        out = np.broadcast_to(values.mean(axis=axes, keepdims=True), values.shape)
    elif baseline == "blur":
        out = values
        # Gaussian of 1/20 of the side: RISE's kernel of sigma 5 at 224 pixels leaves more of the picture.
        for axis in axes:
            out = _blur(out, axis, max(1.0, values.shape[axis] / 20))
    else:
        raise UsageError(f"there is no baseline {baseline!r}", "known: mean, blur")
    return (np.rint(out) if tensor.dtype == np.uint8 else out).astype(tensor.dtype)


def _blur(values: Array, axis: int, sigma: float) -> Array:
    """A Gaussian along one axis, edges repeated."""
    reach = int(3 * sigma + 0.5)
    places = np.arange(-reach, reach + 1)
    kernel = np.exp(-0.5 * (places / sigma) ** 2)
    kernel /= kernel.sum()
    size = values.shape[axis]
    matrix = np.zeros((size, size))
    for place, weight in zip(places, kernel, strict=True):
        np.add.at(matrix, (np.arange(size), np.clip(np.arange(size) + place, 0, size - 1)), weight)
    return np.moveaxis(np.moveaxis(values, axis, -1) @ matrix.T, -1, axis)


# --- against a region that a person marked ----------------------------------------------------------------------------


@record
class Region:
    """Where the object is.

    Attributes:
        box: (x, y, width, height) in pixels of the picture.
        mask: bool (h, w), laid over the whole picture.
    """

    box: tuple[float, float, float, float] | None = None
    mask: NDArray[np.bool_] | None = None

    def check(self, size: tuple[int, int]) -> None:
        """Raise UsageError unless the region fits a picture of `size` (width, height)."""
        shown = f"{size[0]} x {size[1]} pixels"
        if self.box is not None:
            left, top, width, height = self.box
            # A box may have been rounded outwards.
            if min(left, top) < -1 or left + width > size[0] + 1 or top + height > size[1] + 1:
                box = ",".join(f"{side:g}" for side in self.box)
                raise UsageError(
                    f"the region {box} reaches out of the picture, which has {shown}", "give X,Y,W,H in its pixels"
                )
        if self.mask is not None:
            height, width = self.mask.shape
            # The same shape up to the rounding of one side.
            if abs(width - height * size[0] / size[1]) > 1 and abs(height - width * size[1] / size[0]) > 1:
                raise UsageError(
                    f"the mask has {width} x {height} pixels, and the picture {shown}", "give a mask of the same shape"
                )

    def holds(self, x: Array, y: Array, size: tuple[int, int]) -> NDArray[np.bool_]:
        """Whether pixels at x, y (in pixels, centres at .5) of a picture of `size` (width, height) are inside."""
        inside = (x >= 0) & (y >= 0) & (x < size[0]) & (y < size[1])
        if self.box is not None:
            left, top, width, height = self.box
            inside &= (x >= left) & (x < left + width) & (y >= top) & (y < top + height)
        if self.mask is not None:
            rows = np.clip(y / size[1] * self.mask.shape[0], 0, self.mask.shape[0] - 1).astype(np.int64)
            columns = np.clip(x / size[0] * self.mask.shape[1], 0, self.mask.shape[1] - 1).astype(np.int64)
            inside = inside & self.mask[rows, columns]
        return inside


def parse_region(box: str | None = None, mask: str | Path | None = None) -> Region | None:
    """A region from ``"X,Y,W,H"`` in pixels, or a mask picture (128 or brighter is inside); None for neither.

    Raises:
        UsageError: It is neither a box nor the path of a mask.
        ImageError: The mask cannot be read.
    """
    if box is not None and mask is not None:
        raise UsageError("a region and a mask exclude each other", "give one of them")
    if mask is not None:
        bright = np.asarray(open_image(mask).convert("L")) >= 128
        if not bright.any():
            raise UsageError(f"the mask {mask} has nothing bright in it", "mark the object with white")
        return Region(mask=bright)
    if box is None:
        return None
    try:
        x, y, width, height = (float(part) for part in box.split(","))
    except ValueError:
        raise UsageError(
            f"the region {box!r} is not X,Y,W,H", "as in 40,20,200,150, in pixels of the picture"
        ) from None
    if not (np.isfinite([x, y, width, height]).all() and width > 0 and height > 0):
        raise UsageError(f"the region {box!r} is empty", "give X,Y,W,H with W and H above 0")
    return Region(box=(x, y, width, height))


def pointing_game(found: CamResult, region: Region) -> bool:
    """Whether the map's peak lies in the region; an empty map points nowhere.

    Zhang et al.: Top-down Neural Attention by Excitation Backprop, 2016 (arXiv:1608.00507), without tolerance.
    """
    x, y = found.peak
    return not found.empty and bool(region.holds(np.array(x + 0.5), np.array(y + 0.5), found.size))


def energy_inside(found: CamResult, region: Region) -> float:
    """The share of the heatmap's total that lies in the region, in [0, 1]; 0 for an empty map.

    Wang et al.: Score-CAM, 2020 (arXiv:1910.01279), section 4.3. Sampled at 512 x 512 places of the map's part of the
    picture; padding around the picture does not count.
    """
    heat = enlarge(found.heatmap, (_SAMPLES, _SAMPLES)).clip(0)
    left, top, right, bottom = found.box
    steps = (np.arange(_SAMPLES) + 0.5) / _SAMPLES
    x, y = np.meshgrid(left + steps * (right - left), top + steps * (bottom - top))
    total = float(heat[Region().holds(x, y, found.size)].sum(dtype=np.float64))
    return float(heat[region.holds(x, y, found.size)].sum(dtype=np.float64)) / total if total else 0.0


BETTER = {
    "deletion": "less",
    "insertion": "more",
    "drop": "less",
    "increase": "more",
    "pointing_game": "more",
    "energy_inside": "more",
}
"""Which of two values of a figure speaks for the map."""


def judge_map(
    model: Model, image: ImageSource | Array, found: CamResult, region: Region | None = None, steps: int = STEPS
) -> dict[str, float]:
    """Every figure about one map: deletion, insertion, drop, increase; with a region pointing_game, energy_inside.

    Raises:
        UsageError: For a region that does not fit the picture.
    """
    if region is not None:
        region.check(found.size)
    drop, rise = change_in_confidence(model, image, found)
    figures = {
        "deletion": deletion(model, image, found, steps=steps).area,
        "insertion": insertion(model, image, found, steps=steps).area,
        "drop": drop,
        "increase": float(rise),
    }
    if region is not None:
        figures["pointing_game"] = float(pointing_game(found, region))
        figures["energy_inside"] = energy_inside(found, region)
    return figures


def correlate_ranks(a: Array, b: Array) -> float:
    """Spearman's correlation of two maps of one shape, ties at their mean rank; 0 when one of them is constant."""
    ranks = [_ranks(np.asarray(m, np.float64).reshape(-1)) for m in (a, b)]
    x, y = (r - r.mean() for r in ranks)
    norm = float(np.sqrt((x @ x) * (y @ y)))
    return float(x @ y) / norm if norm else 0.0


def _ranks(values: NDArray[np.float64]) -> NDArray[np.float64]:
    _, where, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    mean: NDArray[np.float64] = last - (counts - 1) / 2
    return mean[where.reshape(-1)]


def average_figures(figures: Sequence[dict[str, float]]) -> dict[str, float]:
    """The mean of each figure over several maps: drop becomes the average drop, increase the share that rose."""
    return {key: float(np.mean([f[key] for f in figures])) for key in (figures[0] if figures else {})}
