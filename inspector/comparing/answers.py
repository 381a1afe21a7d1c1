"""Whether two networks answer alike."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

from inspector.comparing.result import AnswerDifference, FlippedPicture
from inspector.errors import NotComputable
from inspector.model import Model
from inspector.model.agreement import PictureAnswer, compare_answers, find_answerer, find_kind
from inspector.model.probabilities import Prediction, read_rows

if TYPE_CHECKING:
    from PIL.Image import Image


class AnswerSums:
    """Counts the pictures that two networks answer alike.

    Attributes:
        tensors: The tensors that a run has to give for it, of A and of B.
        foreign: Whether no answers are compared since the models' own sessions, which decode, are not what is compared.
        others: Whether they know other classes, none of which is of both: no answers are compared then.
    """

    def __init__(self, a: Model, b: Model, own: bool = True) -> None:
        self.a, self.b = a, b
        self.others = bool(a.labels and b.labels and not set(a.labels) & set(b.labels))
        self.classifies = a.classifier is not None and b.classifier is not None and not self.others
        self.tensors: tuple[list[str], list[str]] = ([], [])
        if a.classifier is not None and b.classifier is not None and self.classifies:
            self.tensors = [a.classifier.scores], [b.classifier.scores]
        alike = not self.classifies and not self.others
        self.answerers = (None, None) if not alike else (find_answerer(a), find_answerer(b))
        self.foreign = not own and None not in self.answerers
        if self.foreign:
            self.answerers = (None, None)
        self.compared = 0
        self.flipped: list[FlippedPicture] = []
        self.shares: list[float] = []

    def add(
        self, path: str, picture: Image, values_a: Mapping[str, NDArray[Any]], values_b: Mapping[str, NDArray[Any]]
    ) -> None:
        """Take in one picture, with what a run gave of `tensors`."""
        if self.classifies:
            self._add_classes(path, values_a, values_b)
        elif self.answerers[0] is not None and self.answerers[1] is not None:
            try:
                before, after = self.answerers[0](picture), self.answerers[1](picture)
            except NotComputable:
                self.answerers = (None, None)
                return
            self._add_others(path, before, after)

    def _add_classes(self, path: str, a: Mapping[str, NDArray[Any]], b: Mapping[str, NDArray[Any]]) -> None:
        try:
            before, after = _find_top(self.a, a), _find_top(self.b, b)
        except NotComputable:
            self.classifies = False
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
    assert model.classifier is not None
    scores = values[model.classifier.scores]
    return model.top(read_rows(scores, model.input.batch or 1, model.classifier, model.path)[0], 1)[0]
