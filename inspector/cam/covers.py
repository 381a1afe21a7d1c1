"""Maps of boxes by covering parts of the picture, for heads that no gradient leads back through."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from inspector.cam.assemble import MapMaker, make_result
from inspector.cam.boxes import USUAL, BoxChoice, choose_boxes, find_detections, read_input, sides_of
from inspector.cam.context import CoverContext, FloatArray, say_nothing
from inspector.cam.method import Method
from inspector.cam.result import CamResult, scale_map
from inspector.cam.target import CamClass
from inspector.image import ImageSource, Preprocess
from inspector.layers import Layer
from inspector.model import Model
from inspector.tasks.answers import Detection, Detections
from inspector.tasks.suppress import measure_iou

LEAST_UNDER_MASK = 0.01
"""Score from which on a box under a mask counts."""


@dataclass
class CoverEngine:
    """D-RISE made ready for the boxes of many pictures.

    Attributes:
        model: The model.
        method: The method.
        choice: Which boxes are explained, and by how many masks.
        progress: Called after each mask with how many are done, and how many there are.
    """

    model: Model
    method: Method
    choice: BoxChoice
    progress: Callable[[int, int], None] = say_nothing
    layers: tuple[Layer, ...] = field(default=(), init=False)
    backend: Literal["onnx", "twin"] = field(default="onnx", init=False)

    @property
    def reason(self) -> str:
        """How the maps are made."""
        return f"{self.choice.masks} masks over the picture, seed {self.choice.seed}; no gradient, no layer"

    def maps(self, image: ImageSource | NDArray[Any], classes: Any = None, top: int | None = None) -> list[CamResult]:
        """The maps of one picture; see :meth:`inspector.cam.boxes.BoxEngine.maps`. A run for each mask."""
        model = self.model
        tensor, size, preprocess = read_input(model, image)
        box, sides = preprocess.box(size), sides_of(model, tensor)
        found = self._look(tensor, size, preprocess, self.choice)
        chosen = choose_boxes(model, found, self.choice, classes, USUAL if top is None else top)
        if not chosen:
            return []
        wanted = [one for _, one in chosen]
        near = BoxChoice(confidence=LEAST_UNDER_MASK, iou=self.choice.iou)
        last = model.input.layout == "NHWC"

        def likeness(mask: FloatArray) -> NDArray[np.float64]:
            covered = tensor * (mask[None, :, :, None] if last else mask[None, None])
            covered = np.rint(covered) if tensor.dtype == np.uint8 else covered
            return measure_likeness(wanted, self._look(covered.astype(tensor.dtype), size, preprocess, near))

        context = CoverContext(sides, self.choice.masks, self.choice.seed, len(wanted), likeness, self.progress)
        formula: Any = self.method.formula
        maker = MapMaker(self.method.name, (), "onnx", self.reason)
        abouts = [CamClass(one.index, model.label(one.index), one.score, one.score) for one in wanted]
        return [
            make_result(about, maker, (raw, *scale_map(raw)), box, size, found=one, number=number)
            for (number, one), about, raw in zip(chosen, abouts, formula(context), strict=True)
        ]

    def _look(
        self, tensor: NDArray[Any], size: tuple[int, int], preprocess: Preprocess, choice: BoxChoice
    ) -> Detections:
        assert self.model.decoder is not None
        values = self.model.run(tensor, self.model.decoder.outputs)
        return find_detections(self.model, values, tensor, size, preprocess, choice)


def measure_likeness(wanted: Sequence[Detection], found: Sequence[Detection]) -> NDArray[np.float64]:
    """For each box that is explained the likeness of the found box that is most like it, float64 (T,) in [0, 1].

    Equation 2 of the paper: overlap x score x cosine of the class vectors. Heads tell the best class of a box alone, so
    the cosine is 1 for the same class, else 0.
    """
    best = np.zeros(len(wanted))
    if not found:
        return best
    boxes = np.array([one.box for one in found], np.float32)
    scores = np.array([one.score for one in found])
    classes = np.array([one.index for one in found])
    for t, one in enumerate(wanted):
        overlap = np.nan_to_num(measure_iou(np.array(one.box, np.float32), boxes).astype(np.float64))
        best[t] = float((overlap * scores * (classes == one.index)).max(initial=0))
    return best
