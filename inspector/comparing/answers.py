"""Whether two networks answer alike."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

from inspector.comparing.result import AnswerDifference, FlippedPicture
from inspector.errors import NotComputable
from inspector.model import Model
from inspector.model.agreement import PictureAnswer, compare_answers, find_kind, list_answer_tensors, read_answer
from inspector.model.probabilities import Prediction

if TYPE_CHECKING:
    from PIL.Image import Image


class AnswerSums:
    """Counts the pictures that two networks answer alike.

    Attributes:
        tensors: The tensors that a run has to give for it, of A and of B.
        note: Why no answers are compared, or no more of them; else empty.
    """

    def __init__(self, a: Model, b: Model) -> None:
        self.a, self.b = a, b
        classifiers = a.classifier is not None and b.classifier is not None
        names = list_answer_tensors(a), list_answer_tensors(b)
        alike = all(names) and classifiers == (a.classifier is not None or b.classifier is not None)
        self.note = ""
        if a.labels and b.labels and not set(a.labels) & set(b.labels):
            self.note = "the two know other classes, so that their answers are not compared"
        elif alike and not classifiers and max(a.input.batch or 1, b.input.batch or 1) > 1:
            self.note = "boxes and classes of pixels are not compared: the graph fixes a batch of several"
        self.compares = alike and not self.note
        self.tensors: tuple[list[str], list[str]] = ([], [])
        if self.compares:
            self.tensors = list(names[0]), list(names[1])
        self.compared = 0
        self.flipped: list[FlippedPicture] = []
        self.shares: list[float] = []

    # Wide: what each of the two was given, and what it made of it.
    def add(
        self, path: str, picture: Image, inputs: tuple[NDArray[Any], NDArray[Any]],
        values_a: Mapping[str, NDArray[Any]], values_b: Mapping[str, NDArray[Any]],
    ) -> None:  # fmt: skip
        """Take in one picture, with the inputs of both and what a run gave of `tensors`."""
        if not self.compares:
            return
        if self.a.classifier is not None:
            self._add_classes(path, values_a, values_b)
            return
        try:
            before = read_answer(self.a, picture, inputs[0], values_a)
            after = read_answer(self.b, picture, inputs[1], values_b)
        except NotComputable as error:
            self._give_up(error)
            return
        self._add_others(path, before, after)

    def _give_up(self, error: NotComputable) -> None:
        self.compares = False
        # A share of the pictures up to here would be read as that of all.
        self.compared = 0
        self.shares.clear()
        self.flipped.clear()
        self.note = f"the answers are not compared: {error.message}"

    def _add_classes(self, path: str, a: Mapping[str, NDArray[Any]], b: Mapping[str, NDArray[Any]]) -> None:
        try:
            before, after = _find_top(self.a, a), _find_top(self.b, b)
        except NotComputable as error:
            self._give_up(error)
            return
        self.compared += 1
        # By name where both have names: an index may mean another class after the labels were changed.
        same = before.label == after.label if self.a.labels and self.b.labels else before.index == after.index
        self.shares.append(float(same))
        if not same:
            words = [f"{x.label} {100 * x.probability:.1f} %" for x in (before, after)]
            self.flipped.append(FlippedPicture(path, words[0], words[1], before.index, after.index))

    def _add_others(self, path: str, before: PictureAnswer, after: PictureAnswer) -> None:
        if find_kind([before]) != find_kind([after]):
            return
        found = compare_answers([before], [after])
        self.compared += 1
        self.shares.append(found.share)
        if found.changed:
            self.flipped.append(FlippedPicture(path, found.kind, f"{100 * found.share:.0f} % the same"))

    def conclude(self) -> AnswerDifference:
        """What was found."""
        if not self.compared:
            return AnswerDifference()
        return AnswerDifference(sum(self.shares) / len(self.shares), tuple(self.flipped))


def _find_top(model: Model, values: Mapping[str, NDArray[Any]]) -> Prediction:
    return model.top(model.read_classes(values, model.input.batch or 1).pick(0), 1)[0]
