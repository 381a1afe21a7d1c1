"""The class activation maps of a page: of the first guesses, of the boxes that were found, or of classes of pixels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from inspector.errors import MissingExtra, NotComputable
from inspector.model import Model

if TYPE_CHECKING:
    from PIL.Image import Image

PAGE_METHODS = ("gradcam", "gradcam++", "layercam", "eigencam", "reciprocam")
"""Class activation maps that are shown unless others are asked for: those that cost milliseconds."""

_MAP_SIDE = 160
"""Longest side of a map on the page, in cells."""


class Evidence:
    """Class activation maps by every method that this model can have."""

    def __init__(self, model: Model, methods: Sequence[str], top: int) -> None:
        self.model, self.top = model, top
        self.notes: list[str] = []
        self.engines: dict[str, Any] = {}
        from inspector.cam import find_method, finds_boxes, labels_pixels, prepare_maps

        boxes = finds_boxes(model)
        if model.classifier is None and not boxes and not labels_pixels(model):
            self.notes.append("No class activation maps: the model has no classification output.")
            return
        if boxes:
            usual = [m for m in methods if find_method(m).needs == "gradient"] or ["layercam"]
            # Of the usual ones that which `inspector cam` takes for boxes comes first.
            first = ["layercam"] if tuple(methods) == PAGE_METHODS else []
            methods = [*first, *usual]
        for method in dict.fromkeys(methods):
            try:
                self.engines[method] = prepare_maps(model, method)
            except (NotComputable, MissingExtra) as error:
                self.notes.append(f"No {method}: {error.message}.")

    def of(self, picture: Image) -> list[dict[str, Any]]:
        """One entry a method and class, or box; `choices` holds those of a detector or segmenter, in their order."""
        found = []
        self.choices: dict[int, dict[str, Any]] = {}
        for method, engine in [*self.engines.items()]:
            try:
                results = engine.maps(picture, top=self.top)
            except NotComputable as error:  # a head that cannot be followed: all else is shown without its maps
                self.notes.append(f"No {method}: {error.message}.")
                del self.engines[method]
                continue
            for result in results:
                heatmap = shrink_map(result.heatmap)
                found.append(
                    {
                        "method": method,
                        # Of a detector each box is a choice of its own.
                        "class": result.target.index if result.number is None else result.number,
                        "label": result.target.label,
                        "layer": result.layer,
                        "backend": result.backend,
                        "reason": result.reason,
                        "empty": result.empty,
                        "shape": list(heatmap.shape),
                        "map": [round(float(v), 4) for v in heatmap.ravel()],
                        "box": list(result.box),
                        "number": result.number,
                        "inside": result.energy_inside,
                    }
                )
                if self.model.classifier is None:
                    at = found[-1]["class"]
                    one = {"index": at, **{k: v for k, v in vars(result.target).items() if k != "index"}}
                    self.choices.setdefault(at, one)
        return found

    def name_choices(self, segments: dict[str, Any] | None) -> tuple[dict[str, Any], ...]:
        """What can be chosen on the page: the boxes that are explained, or classes of pixels, by their shares."""
        if segments is None:
            return tuple(self.choices.values())
        shares = {one["index"]: one["share"] for one in segments["classes"]}
        return tuple({**one, "probability": shares.get(one["index"])} for one in self.choices.values())

    def relevance(self, picture: Image) -> dict[str, Any] | None:
        """What each channel of the layer looked at adds to each class, where a gradient is known."""
        from inspector.cam import CamEngine
        from inspector.cam.file_engine import FileEngine

        for made in self.engines.values():
            engine = made.inner if isinstance(made, FileEngine) else made
            if engine.method.needs == "gradient" and isinstance(engine, CamEngine):
                values = engine.relevance(picture, top=self.top)
                return {
                    "layer": engine.layers[0].name,
                    "values": [[round(float(v), 5) for v in np.nan_to_num(row)] for row in values],
                }
        return None


def shrink_map(heatmap: NDArray[np.float32]) -> NDArray[np.float32]:
    """A map of a box, which is as large as the input, in blocks of means; any other as it is."""
    block = -(-max(heatmap.shape) // _MAP_SIDE)
    if block == 1:
        return heatmap
    rows, columns = (-(-side // block) * block for side in heatmap.shape)
    whole = np.zeros((rows, columns), np.float32)
    whole[: heatmap.shape[0], : heatmap.shape[1]] = heatmap
    small = whole.reshape(rows // block, block, columns // block, block).mean(axis=(1, 3))
    return np.asarray(small / (small.max() or 1.0), np.float32)
