"""What the model says of every picture: a few bytes each."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from inspector.audit.probes import Probe
from inspector.audit.subject import Sight, Subject


@dataclass(frozen=True)
class Said:
    """One picture's answer. shown: its path. digest: of its file, where wanted. index, probability: the top class.
    label: its own class, None where it is not known."""

    shown: str
    digest: str
    index: int
    probability: float
    label: int | None


class Predictions(Probe):
    """The top class of every picture. Raises NotChecked without pictures or a classification output."""

    def __init__(self, subject: Subject) -> None:
        super().__init__(subject)
        subject.need_pictures()
        subject.need_classifier()
        self.said: list[Said] = []

    def look(self, sight: Sight) -> None:
        """Take in one picture."""
        assert sight.scores is not None
        best = self.subject.model.top(sight.scores, 1)[0]
        digest = sight.digest if self.subject.digests else ""
        self.said.append(Said(sight.entry.shown, digest, best.index, best.probability, sight.entry.label))


class Labelled(Predictions):
    """The same for pictures whose class is known. Raises NotChecked where it is not."""

    def __init__(self, subject: Subject) -> None:
        super().__init__(subject)
        subject.need_labels()

    @cached_property
    def true(self) -> NDArray[np.int64]:
        """The pictures' own classes (N,)."""
        return np.array([s.label for s in self.said], np.int64)

    @cached_property
    def given(self) -> NDArray[np.int64]:
        """The classes that the model gives (N,)."""
        return np.array([s.index for s in self.said], np.int64)

    @cached_property
    def confidence(self) -> NDArray[np.float64]:
        """Probability of the class given (N,)."""
        return np.array([s.probability for s in self.said], np.float64)

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
