"""Whether attached outputs say what the library computes itself, and the network's own outputs what they said."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from inspector.agreement import Agreement, compare_layer
from inspector.cam import CamResult, MapEngine, prepare_maps
from inspector.errors import NotComputable
from inspector.model import Model

Array = NDArray[Any]
_Pair = tuple[Array, Array, float]
"""What is right, what is judged, and the scale of the numbers that both are computed from."""
UNTOUCHED = 1e-4
"""Largest difference of the network's own outputs, as a share: a runtime may join other nodes than before."""
_TERMS = 64
"""How much larger than a map are the terms that it is the sum of: of hundreds of channels, for and against."""
TOLERANCE = 1e-5
"""Largest difference of an attached output, as a share of its largest value."""
_NOISE_PICTURES = 3


def make_noise(model: Model) -> list[Array]:
    """Pictures for a comparison, uint8 (H, W, 3): smooth noise, the same every time."""
    height, width = model.preprocess.size or (224, 224)
    rng = np.random.default_rng(0)
    made = []
    for cells in (4, 9, 20)[:_NOISE_PICTURES]:
        coarse = rng.integers(0, 256, (cells, cells, 3), np.uint8)
        rows, columns = (np.arange(side) * cells // side for side in (height, width))
        made.append(coarse[rows][:, columns])
    return made


def compare_outputs(source: Model, made: Model, pictures: Sequence[Any]) -> list[Agreement]:
    """A row for each output of the file: the network's own against the source, the attached against the library.

    Args:
        source: The model as it was.
        made: The file with attached outputs.
        pictures: What `open_image` takes.
    """
    assert made.attached is not None
    tensors = [source.tensor(picture) for picture in pictures]
    own = [name for name in source.graph.outputs if name in source.graph.producer_of]
    names = [*own, *(entry.name for entry in made.attached.entries)]
    runs = [made.attached.run(made.input.name, tensor, names, made.input.batch) for tensor in tensors]
    before = [source.run(tensor, own) for tensor in tensors]
    rows = [
        _worst(name, [(a[name], run[name], 0.0) for a, run in zip(before, runs, strict=True)], UNTOUCHED)
        for name in own
    ]
    for entry in made.attached.entries:
        found = [run[entry.name] for run in runs]
        pairs = _EXPECT[entry.meaning](source, entry.settings, tensors, found)
        if pairs:
            rows.append(_worst(entry.name, pairs, TOLERANCE))
    return rows


def _worst(name: str, pairs: Sequence[_Pair], tolerance: float) -> Agreement:
    """The row of the picture that differs most, those first that differ by more than is allowed."""
    rows = [compare_layer(name, a, b, tolerance=tolerance, operands=scale) for a, b, scale in pairs]
    return max(rows, key=lambda row: (not row.ok, row.relative))


def _pair(result: CamResult, values: Array) -> _Pair:
    """A map, what the file says, and the numbers that it is the sum of, where its own highest is 1."""
    reach = float(np.abs(result.raw).max()) / float(result.raw.max())
    return result.heatmap, values, _TERMS * reach


def _expect_top(source: Model, settings: Any, tensors: Sequence[Array], found: Sequence[Array]) -> list[_Pair]:
    engine = prepare_maps(source, settings["method"], settings["layer"])
    pairs = []
    for tensor, values in zip(tensors, found, strict=True):
        [result] = engine.maps(tensor, top=1)
        if not result.empty:  # where all evidence is rounding, the file may show what the library leaves out
            pairs.append(_pair(result, values[0]))
    return pairs


def _expect_classes(source: Model, settings: Any, tensors: Sequence[Array], found: Sequence[Array]) -> list[_Pair]:
    engine: MapEngine = prepare_maps(source, settings["method"], settings["layer"])
    pairs = []
    for tensor, values in zip(tensors, found, strict=True):
        count = len(values[0])
        for number in sorted({0, count // 3, count - 1}):
            [result] = engine.maps(tensor, [number])
            if not result.empty:
                pairs.append(_pair(result, values[0][number]))
    return pairs


_EXPECT = {"cam": _expect_top, "cam_classes": _expect_classes}


def check_rows(rows: Sequence[Agreement]) -> None:
    """Raise NotComputable where an output is further from what it should be than is allowed."""
    bad = [row for row in rows if not row.ok]
    if bad:
        worst = max(bad, key=lambda row: row.relative)
        raise NotComputable(
            f"the attached file differs at {worst.layer!r} by {worst.max_abs:.3g} of {worst.scale:.3g}",
            "nothing was written",
        )
