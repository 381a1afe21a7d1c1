"""What attached outputs claim, computed anew: for the comparison when they are made, and for the audit later."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from inspector.agreement import Agreement, compare_layer
from inspector.cam.boxes import BoxChoice
from inspector.cam.engines import MapEngine, finds_boxes, prepare_once
from inspector.cam.file_engine import FileEngine
from inspector.cam.result import CamResult
from inspector.metadata import AttachedEntry
from inspector.model import Model, to_probabilities

Array = NDArray[Any]
ATTACHED_TOLERANCE = 1e-5
"""Largest difference of an attached output, as a share of its largest value."""
_TERMS = 64
"""How much larger than a map are the terms that it is the sum of: of hundreds of channels, for and against."""
_SOME = 3
"""Classes whose maps are compared where the file holds those of all."""


@dataclass(frozen=True)
class Claim:
    """What an attached output says of one picture, and what it should say.

    Attributes:
        right: What the library computes.
        said: What the file says, in the same shape.
        terms: The scale of the numbers that both are computed from; 0 where nothing larger than they themselves is.
    """

    right: Array = field(repr=False)
    said: Array = field(repr=False)
    terms: float = 0.0

    def compare(self, name: str, tolerance: float = ATTACHED_TOLERANCE) -> Agreement:
        """How near the two are, under the name of the output."""
        return compare_layer(name, self.right, self.said, tolerance=tolerance, operands=self.terms)


def check_claims(model: Model, entry: AttachedEntry, tensor: Array, said: Array) -> list[Claim]:
    """What an attached output says of a picture, beside what it should say.

    Args:
        model: The network, without what is attached to it.
        entry: The output.
        tensor: The input, of one picture.
        said: Its value, of one picture (1, ...).

    Returns:
        A claim for each thing that can be computed anew; none for what only its making knew, and for maps that are all
        rounding.
    """
    checker = _CHECKERS.get(entry.meaning)
    return [] if checker is None else checker(model, entry.settings, tensor, said[0])


def _check_map(model: Model, settings: Mapping[str, Any], tensor: Array, said: Array) -> list[Claim]:
    if finds_boxes(model):
        # The file knows no smallest score: it shows the best place, however unlikely.
        choice = BoxChoice(boxes=(0,), confidence=0.0)
        boxes = _without_file(prepare_once(model, settings["method"], choice=choice))
        return [_compare_maps(result, said) for result in boxes.maps(tensor)[:1] if result.heatmap.any()]
    results = _engine(model, settings).maps(tensor, top=1)
    return [_compare_maps(result, said) for result in results[:1] if not result.empty]


def _engine(model: Model, settings: Mapping[str, Any]) -> MapEngine:
    """What computes the maps here, and does not ask the file."""
    return _without_file(prepare_once(model, settings["method"], settings.get("layer")))


def _without_file(engine: MapEngine) -> MapEngine:
    return engine.inner if isinstance(engine, FileEngine) else engine


def _check_class_maps(model: Model, settings: Mapping[str, Any], tensor: Array, said: Array) -> list[Claim]:
    engine, found = _engine(model, settings), []
    for number in sorted({len(said) * k // _SOME for k in range(_SOME)}):
        [result] = engine.maps(tensor, [number])
        if not result.empty:
            found.append(_compare_maps(result, said[number]))
    return found


def _compare_maps(result: CamResult, said: Array) -> Claim:
    reach = float(np.abs(result.raw).max()) / float(result.raw.max())
    return Claim(result.heatmap, said, _TERMS * reach)


def _check_probability(model: Model, settings: Mapping[str, Any], tensor: Array, said: Array) -> list[Claim]:
    classifier = model.classifier
    if classifier is None:
        return []
    rows = np.asarray(model.scores(tensor)[:1], np.float64)
    binary = rows.shape[1] == 1
    if settings.get("logarithm"):
        rows = np.log(rows / (1 - rows) if binary else np.maximum(rows, 1e-30))
    right = to_probabilities(rows / float(settings["temperature"]), "sigmoid" if binary else "softmax")
    return [Claim(right[0].astype(np.float32), said)]


_Checker = Callable[[Model, Mapping[str, Any], Array, Array], list[Claim]]
_CHECKERS: Mapping[str, _Checker] = {
    "cam": _check_map,
    "cam_classes": _check_class_maps,
    "probability": _check_probability,
}
