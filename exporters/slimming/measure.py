"""How far the answers of two files are apart, on pictures that are made up and on those that are given."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from inspector.errors import ModelError
from inspector.image import Preprocess, open_image
from inspector.model import Model

LIMIT = 1e-5
"""Largest difference that is let pass, as a share of the largest magnitude of an output."""

_SIDE = 320
"""Longest side in pixels of made-up pictures for a network that takes any size; a multiple of the usual strides."""


@dataclass(frozen=True)
class Difference:
    """How far one output is apart.

    Attributes:
        output: The tensor.
        max_abs: Largest absolute difference; inf where shapes differ or other places are finite.
        scale: Largest magnitude of the output on all pictures.
        picture: Where it is largest.
    """

    output: str
    max_abs: float
    scale: float
    picture: str

    @property
    def relative(self) -> float:
        """`max_abs` as a share of `scale`."""
        return self.max_abs / self.scale if self.scale else self.max_abs

    @property
    def ok(self) -> bool:
        """Whether it is within the limit."""
        return self.relative <= LIMIT


def make_up_pictures(size: tuple[int, int], seed: int = 0) -> Iterator[tuple[str, NDArray[np.uint8]]]:
    """Make up pictures, uint8 (H, W, 3): noise, flat ones, and the steepest edges that there can be.

    Args:
        size: (H, W).
        seed: Of the noise.
    """
    height, width = size
    random = np.random.default_rng(seed)
    for k in range(2):
        yield f"noise {k}", random.integers(0, 256, (height, width, 3), dtype=np.uint8)
    coarse = random.integers(0, 256, (height // 8 + 1, width // 8 + 1, 3), dtype=np.uint8)
    yield "coarse noise", coarse.repeat(8, axis=0).repeat(8, axis=1)[:height, :width]
    for name, color in (("black", (0, 0, 0)), ("white", (255, 255, 255)), ("gray", (128, 128, 128)),
                        ("red", (255, 0, 0)), ("blue", (0, 0, 255))):  # fmt: skip
        yield name, np.full((height, width, 3), color, np.uint8)
    rows, columns = np.indices((height, width))
    board = ((rows + columns) % 2 * 255).astype(np.uint8)
    yield "checkerboard", np.repeat(board[:, :, None], 3, axis=2)
    half = np.where(columns < width // 2, 0, 255).astype(np.uint8)
    yield "half black", np.repeat(half[:, :, None], 3, axis=2)


def iterate_shown(model: Model, pictures: Sequence[Path], made: bool = True) -> Iterator[tuple[str, NDArray[Any]]]:
    """(name, input tensor) of made-up pictures and of those given; what cannot be opened was sorted out before."""
    preprocess = _choose_preprocess(model)
    for name, picture in make_up_pictures(preprocess.size or (_SIDE, _SIDE)) if made else ():
        yield name, preprocess.tensor(open_image(picture))
    for path in pictures:
        yield str(path), model.preprocess.tensor(open_image(path, warn=model.warn))


def _choose_preprocess(model: Model) -> Preprocess:
    """The model's own; for a network that takes any size, and by habit a large one, with a smaller size."""
    known = model.preprocess
    if model.input.size is not None or known.size is None or max(known.size) <= _SIDE:
        return known
    smaller = known.with_size((_SIDE, _SIDE))
    try:
        model.run(smaller.tensor(open_image(np.zeros((_SIDE, _SIDE, 3), np.uint8))), list(model.graph.outputs))
    except ModelError:  # it does not take any size after all
        return known
    return smaller


def measure_differences(
    source: Model,
    slimmed: Model,
    tensors: Iterable[tuple[str, NDArray[Any]]],
    kept: Mapping[str, tuple[int, NDArray[np.int64]]],
) -> tuple[Difference, ...]:
    """Compare the outputs of two files.

    Args:
        source: The file that was cut.
        slimmed: What came of it.
        tensors: (name, input tensor) of each picture.
        kept: Output that lost channels -> their axis, and those that stay.

    Returns:
        One for each output, in their order.
    """
    outputs = list(source.graph.outputs)
    found = dict.fromkeys(outputs, (0.0, 0.0, ""))
    for picture, tensor in tensors:
        before, after = source.run(tensor, outputs), slimmed.run(tensor, outputs)
        for name in outputs:
            wanted: Any = before[name]
            if name in kept:
                axis, places = kept[name]
                wanted = np.take(wanted, places, axis=axis)
            apart, scale = _compare(wanted, after[name])
            worst, largest, where = found[name]
            if apart > worst or not where:
                worst, where = apart, picture
            found[name] = worst, max(scale, largest), where
    return tuple(Difference(name, *found[name]) for name in outputs)


def _compare(before: Any, after: Any) -> tuple[float, float]:
    """(largest absolute difference, largest magnitude)."""
    if not isinstance(before, np.ndarray) or not isinstance(after, np.ndarray):
        return (0.0 if before == after else float("inf")), 1.0  # a sequence, as some classifiers give
    if before.shape != after.shape:
        return float("inf"), 1.0
    if before.dtype.kind not in "fiub":
        return (0.0 if (before == after).all() else float("inf")), 1.0
    if not before.size:
        return 0.0, 0.0
    first, second = before.astype(np.float64), after.astype(np.float64)
    finite = np.isfinite(first)
    if not (finite == np.isfinite(second)).all():
        return float("inf"), 1.0
    if not finite.any():
        return 0.0, 0.0
    return float(np.abs(first - second)[finite].max()), float(np.abs(first[finite]).max())
