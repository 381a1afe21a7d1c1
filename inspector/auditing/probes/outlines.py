"""The masks of what a detector finds on every picture, beside the outlines of its labelled objects."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from inspector.auditing.forward_pass import ForwardPass
from inspector.auditing.probes.boxes import LEAST, BoxPrecision
from inspector.auditing.result import NotChecked
from inspector.auditing.subject import Subject
from inspector.datasets import LabelError
from inspector.metrics import Outline, Silhouette, compute_mask_overlaps
from inspector.model.boxes import find_masked
from inspector.text import relative


class MaskPrecision(BoxPrecision):
    """As `BoxPrecision`, with the overlap of masks; an object that only has a box is taken to fill it."""

    def __init__(self, subject: Subject) -> None:
        super().__init__(subject)
        if not any(entry.boxes is not None and entry.boxes.outlines for entry in subject.pictures.entries):
            raise NotChecked("the labels hold boxes and no outlines", applies=False)

    def look(self, forward: ForwardPass) -> None:
        """Take in one picture."""
        truth = forward.entry.boxes
        if truth is None:
            return
        model, size = self.subject.model, forward.picture.size
        found = find_masked(model, forward.picture, LEAST, forward.tensor, forward.outputs or None)
        if found is None:
            raise NotChecked("the model gives boxes and no masks", applies=False)
        outlines = truth.outlines or (None,) * len(truth)
        try:
            own = [
                Silhouette.cut((Outline((_go_around(box),)) if one is None else one).fill(size))
                for one, box in zip(outlines, truth.boxes, strict=True)
            ]
        except ValueError as error:
            raise LabelError(f"the outlines of {relative(forward.entry.path)}: {error}") from None
        numbers: list[tuple[float, int, tuple[float, ...]]] = []

        def masks() -> Iterator[NDArray[np.bool_]]:
            for one in found:
                numbers.append((one.score, one.index, one.box))
                assert one.mask is not None
                yield one.mask

        judged = compute_mask_overlaps(masks(), own, truth.crowd)
        boxes = np.array([box for *_, box in numbers], np.float64).reshape(-1, 4)
        scores, classes = np.array([score for score, *_ in numbers]), np.array([k for _, k, _ in numbers], np.int64)
        self.precision.add(boxes, scores, classes, truth, judged)
        self.pictures += 1


def _go_around(box: NDArray[np.float64]) -> NDArray[np.float64]:
    """The corners of a box: (4,) -> (4, 2)."""
    x1, y1, x2, y2 = box
    return np.array([[x1, y1], [x2, y1], [x2, y2], [x1, y2]])
