"""What attached outputs claim, computed anew: for the comparison when they are made, and for the audit later."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from inspector.agreement import Agreement, compare_layer
from inspector.cam.boxes import BoxChoice
from inspector.cam.engines import MapEngine, finds_boxes, prepare_once
from inspector.cam.file_engine import FileEngine
from inspector.cam.result import CamResult
from inspector.cam.saliency import compute_saliency
from inspector.cam.unknown import read_claim
from inspector.metadata import AttachedEntry
from inspector.model import Model, to_probabilities

Array = NDArray[Any]
ATTACHED_TOLERANCE = 1e-5
"""Largest difference of an attached output, as a share of its largest value."""
HALF_ROUNDING = 5e-3
"""The same for a network in half precision: ten roundings, which one session makes and another leaves out."""
_LIKE, _SAME_SCORE = 8, 1e-6
"""Boxes that are looked at where several are the best, and how far their scores may lie apart then."""
_TERMS = 64
"""How much larger than a map are the terms that it is the sum of: of hundreds of channels, for and against."""
_SOME = 3
"""Classes whose maps are compared where the file holds those of all, besides the likeliest one."""


@dataclass(frozen=True)
class Claim:
    """What an attached output says of one picture, and what it should say.

    Attributes:
        right: What the library computes.
        said: What the file says, in the same shape.
        terms: The scale of the numbers that both are computed from; 0 where nothing larger than they themselves is.
        reach: The largest value that such an output may have, where that is known: differences are shares of it.
        what: What of the output it is about, where that is not its value.
    """

    right: Array = field(repr=False)
    said: Array = field(repr=False)
    terms: float = 0.0
    reach: float = 0.0
    what: str = ""

    def compare(self, name: str, tolerance: float = ATTACHED_TOLERANCE) -> Agreement:
        """How near the two are, under the name of the output."""
        found = compare_layer(name, self.right, self.said, tolerance=tolerance, operands=self.terms)
        if self.reach <= found.scale:
            return found
        return replace(found, scale=self.reach, ok=found.ok or found.max_abs <= tolerance * self.reach)


def check_claims(model: Model, entry: AttachedEntry, tensor: Array, said: Array) -> list[Claim]:
    """What an attached output says of a picture, beside what it should say.

    Args:
        model: The network; what is attached to it is asked only for what says what an output is made of.
        entry: The output.
        tensor: The input, of one picture.
        said: Its value, of one picture (1, ...).

    Returns:
        A claim for each thing that can be computed anew; none for what only its making knew, and for maps that are all
        rounding.
    """
    if entry.meaning == "saliency":
        found = compute_saliency(model, entry, tensor)
        return [] if found is None else [Claim(*found)]
    return _CHECKERS[entry.meaning](model, entry.settings, tensor, said[0])


def _check_map(model: Model, settings: Mapping[str, Any], tensor: Array, said: Array) -> list[Claim]:
    if finds_boxes(model):
        return _check_box_map(model, settings, tensor, said)
    results = _engine(model, settings).maps(tensor, top=1)
    return [_compare_maps(result, said) for result in results[:1] if not result.empty]


def _check_box_map(model: Model, settings: Mapping[str, Any], tensor: Array, said: Array) -> list[Claim]:
    """The map of the best box; of boxes whose scores rounding alone parts, that of any of them."""
    # The file knows no smallest score, and no box that hides another: it shows the best place, however unlikely.
    choice = BoxChoice(confidence=0.0, iou=1.0)
    results = _without_file(prepare_once(model, settings["method"], choice=choice)).maps(tensor, top=_LIKE)
    near = HALF_ROUNDING if model.graph.half_precision else _SAME_SCORE
    scores = [one.found.score if one.found is not None else 0.0 for one in results]
    claims = [
        _compare_maps(result, said)
        for result, score in zip(results, scores, strict=True)
        if score >= scores[0] - near and result.heatmap.any()
    ]
    return [min(claims, key=lambda claim: float(np.abs(claim.right - claim.said).max()))] if claims else []


def _engine(model: Model, settings: Mapping[str, Any]) -> MapEngine:
    """What computes the maps here, and does not ask the file."""
    return _without_file(prepare_once(model, settings["method"], settings.get("layer")))


def _without_file(engine: MapEngine) -> MapEngine:
    return engine.inner if isinstance(engine, FileEngine) else engine


def _check_class_maps(model: Model, settings: Mapping[str, Any], tensor: Array, said: Array) -> list[Claim]:
    engine, found = _engine(model, settings), []
    likely = int(np.nan_to_num(model.scores(tensor)[0], nan=-np.inf).argmax())
    for number in sorted({likely, *(len(said) * k // _SOME for k in range(_SOME))}):
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


def _check_unknown(model: Model, settings: Mapping[str, Any], tensor: Array, said: Array) -> list[Claim]:
    claim = read_claim(model, settings)
    if claim is None:
        return []
    limit = np.array([claim.known.squash(claim.known.alarm)])
    claims = [Claim(limit, np.array([float(settings["threshold"])]), reach=1.0, what="its threshold")]
    if not claim.intact:
        return [*claims, Claim(np.zeros(1), np.full(1, np.inf), what="the statistics that it is made of")]
    right = claim.measure(model, tensor)
    number = np.asarray(said, np.float64).reshape(-1)
    return [*claims, Claim(np.full(1, np.nan if right is None else right), number, reach=1.0)]


_Checker = Callable[[Model, Mapping[str, Any], Array, Array], list[Claim]]
_CHECKERS: Mapping[str, _Checker] = {
    "cam": _check_map,
    "cam_classes": _check_class_maps,
    "probability": _check_probability,
    "unknown": _check_unknown,
}
