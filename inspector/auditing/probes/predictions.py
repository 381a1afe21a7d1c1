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
        assert forward.scores is not None
        best = self.subject.model.top(forward.scores, 1)[0]
        digest = forward.digest if self.subject.digests else ""
        self.top.append(TopPrediction(forward.entry.shown, digest, best.index, best.probability, forward.entry.label))


class LabelledPredictions(TopPredictions):
    """The same for pictures whose own class is known."""

    needs = ("classification", "pictures", "labels")

    @cached_property
    def true(self) -> NDArray[np.int64]:
        """The pictures' own classes (N,)."""
        return np.array([s.label for s in self.top], np.int64)

    @cached_property
    def given(self) -> NDArray[np.int64]:
        """The classes that the model gives (N,)."""
        return np.array([s.index for s in self.top], np.int64)

    @cached_property
    def confidence(self) -> NDArray[np.float64]:
        """Probability of the class given (N,)."""
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
