"""What the model says of every picture: a few bytes each."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from inspector.auditing.forward_pass import ForwardPass
from inspector.auditing.needs import Need
from inspector.auditing.probes import Probe
from inspector.auditing.subject import Subject
from inspector.scanning.reference import AnswerReference, ScanReference


@dataclass(frozen=True)
class TopPrediction:
    """The most likely class of one picture.

    Attributes:
        shown: The picture's path.
        digest: Of its file, where wanted.
        index: The most likely class.
        probability: Of that class.
        label: The picture's own class, None where it is not known.
    """

    shown: str
    digest: str
    index: int
    probability: float
    label: int | None


@dataclass(frozen=True)
class PredictionChange:
    """A picture whose most likely class is another one than it was.

    Attributes:
        shown: The picture's path.
        before: The class that it had, by name.
        after: The class that it has now, by name.
        probability: Of the class that it had.
    """

    shown: str
    before: str
    after: str
    probability: float


class TopPredictions(Probe):
    """The most likely class of every picture, in `top`."""

    needs: ClassVar[tuple[Need, ...]] = ("classification", "pictures")

    def __init__(self, subject: Subject) -> None:
        super().__init__(subject)
        self.top: list[TopPrediction] = []

    def look(self, forward: ForwardPass) -> None:
        """Take in one picture."""
        assert forward.classes is not None
        best = self.subject.model.top(forward.classes, 1)[0]
        digest = forward.digest if self.subject.digests else ""
        self.top.append(TopPrediction(forward.entry.shown, digest, best.index, best.probability, forward.entry.label))


class LabelledPredictions(TopPredictions):
    """The same for pictures whose own class is known: all of a scan, where there is one, and then `top` is empty.

    Attributes:
        source: Where the answers are from, as a clause behind a message; empty where the pictures were run.
    """

    needs = ("classification", "pictures", "labels")
    source = ""
    _scan: ScanReference | None = None
    _answers: AnswerReference | None = None

    def __init__(self, subject: Subject) -> None:
        super().__init__(subject)
        self._scan = subject.pictures.scan
        answers = self._scan.read_answers() if self._scan is not None else None
        self._answers = answers if answers is not None and (answers.label >= 0).any() else None
        self.settled = self._answers is not None
        if self.settled:
            self.source = f", by {self.count:,} pictures of the scan"

    @property
    def count(self) -> int:
        """How many pictures."""
        return len(self.top) if self._answers is None else len(self.true)

    def list_wrong(self, most: int) -> list[TopPrediction]:
        """The pictures that are taken for another class, those of which the model is surest first."""
        if self._answers is None or self._scan is None:
            return sorted((s for s in self.top if s.index != s.label), key=lambda s: -s.probability)[:most]
        wrong = np.flatnonzero(self.given != self.true)
        wrong = wrong[np.argsort(-self.confidence[wrong], kind="stable")[:most]]
        names = self._scan.name_pictures(self._judged[wrong])
        return [
            TopPrediction(name, "", int(self.given[k]), float(self.confidence[k]), int(self.true[k]))
            for name, k in zip(names, wrong, strict=True)
        ]

    @cached_property
    def _judged(self) -> NDArray[np.int64]:
        assert self._answers is not None
        return np.flatnonzero(self._answers.label >= 0)

    @cached_property
    def true(self) -> NDArray[np.int64]:
        """The pictures' own classes (N,)."""
        if self._answers is not None:
            return self._answers.label[self._judged]
        return np.array([s.label for s in self.top], np.int64)

    @cached_property
    def given(self) -> NDArray[np.int64]:
        """The classes that the model gives (N,)."""
        if self._answers is not None:
            return self._answers.predicted[self._judged]
        return np.array([s.index for s in self.top], np.int64)

    @cached_property
    def confidence(self) -> NDArray[np.float64]:
        """Probability of the class given (N,)."""
        if self._answers is not None:
            return self._answers.confidence[self._judged]
        return np.array([s.probability for s in self.top], np.float64)

    @cached_property
    def classes(self) -> NDArray[np.int64]:
        """The classes that there are pictures of, ascending."""
        return np.unique(self.true)

    def recalls(self) -> dict[int, float]:
        """Share of each class's pictures that are recognised."""
        return {int(k): float((self.given[self.true == k] == k).mean()) for k in self.classes}

    @property
    def accuracy(self) -> float:
        """Share of pictures that are recognised."""
        return float((self.true == self.given).mean())

    @property
    def balanced_accuracy(self) -> float:
        """Mean over the classes of the share recognised (recall)."""
        return float(np.mean(list(self.recalls().values())))
