"""What a detector finds on every picture, beside its labelled objects and beside a reference."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from inspector.auditing.forward_pass import ForwardPass
from inspector.auditing.probes import Probe
from inspector.auditing.probes.comparison import find_reference_labels
from inspector.auditing.result import NotChecked
from inspector.auditing.snapshot import ObjectRecord
from inspector.auditing.subject import Subject
from inspector.metrics import AveragePrecision, BoxAgreement, match_boxes
from inspector.model import Model
from inspector.model.boxes import find_boxes
from inspector.tasks.answers import Detections

LEAST = 0.001
"""Score from which detections are judged: average precision asks for nearly all of them, as in COCO."""


def see_boxes(forward: ForwardPass, model: Model) -> Detections:
    """All boxes from a score of LEAST on, found once per picture for all probes."""
    if "boxes" not in forward.memo:
        forward.memo["boxes"] = find_boxes(model, forward.picture, LEAST, forward.tensor, forward.outputs or None)
    found: Detections = forward.memo["boxes"]
    return found


def keep_sure(found: Detections, confidence: float) -> Detections:
    """Those with a score of at least `confidence`."""
    return Detections(tuple(one for one in found if one.score >= confidence), found.size)


@dataclass
class Missed:
    """What went wrong on one picture, at IoU 0.5 and a score that an application would use.

    Attributes:
        shown: The picture's path.
        lost: Objects that were not found, by class.
        wrong: Boxes that are no object.
    """

    shown: str
    lost: dict[int, int] = field(default_factory=dict)
    wrong: int = 0


class BoxPrecision(Probe):
    """The boxes of every picture beside its labelled objects.

    Attributes:
        precision: The sums.
        pictures: How many were looked at.
        missed: What went wrong on each picture where something did, at the score of `box-recall`.
    """

    needs = ("detection", "pictures", "boxes")

    def __init__(self, subject: Subject) -> None:
        super().__init__(subject)
        self.precision = AveragePrecision()
        self.confidence = float(subject.limits("box-recall")["confidence"])
        self.pictures = 0
        self.missed: list[Missed] = []

    def look(self, forward: ForwardPass) -> None:
        """Take in one picture."""
        truth = forward.entry.boxes
        if truth is None:
            return
        found = see_boxes(forward, self.subject.model)
        self.precision.add(found.boxes, found.scores, found.classes, truth)
        self.pictures += 1
        sure = keep_sure(found, self.confidence)
        partner = match_boxes(sure.boxes, sure.classes, truth.boxes, truth.classes)
        lost = truth.counted & ~np.isin(np.arange(len(truth)), partner)
        # A box in a crowd, or one more on an object that need not be found, is not wrong.
        wrong = int((partner < 0).sum()) if truth.counted.all() else 0
        if lost.any() or wrong:
            classes, counts = np.unique(truth.classes[lost], return_counts=True)
            self.missed.append(
                Missed(forward.entry.shown, dict(zip(classes.tolist(), counts.tolist(), strict=True)), wrong)
            )

    def need_objects(self) -> None:
        """Raise NotChecked where there is no object to find."""
        if not self.precision.objects:
            raise NotChecked(f"there is no labelled object on the {self.pictures} pictures")


class BoxDrift(Probe):
    """The boxes of every picture beside those of the reference.

    Attributes:
        agreement: The sums.
        compared: How many pictures were compared.
    """

    needs = ("detection", "reference", "pictures")

    def __init__(self, subject: Subject) -> None:
        super().__init__(subject)
        reference = subject.reference
        if reference is not None and reference.task not in ("detect", "pose"):
            raise NotChecked("the reference detects no objects", applies=False)
        if reference is None and subject.snapshot is not None and not subject.snapshot.objects:
            raise NotChecked("the snapshot holds no boxes; save it again")
        self.confidence = float(subject.limits("drift-boxes")["confidence"])
        self.agreement = BoxAgreement()
        self.compared = 0
        self.classes = _match_labels(find_reference_labels(subject), subject.model.labels)

    def look(self, forward: ForwardPass) -> None:
        """Take in one picture."""
        reference, snapshot = self.subject.reference, self.subject.snapshot
        before: Detections | ObjectRecord
        if reference is not None:
            before = keep_sure(find_boxes(reference, forward.picture, LEAST), self.confidence)
        else:
            assert snapshot is not None
            if forward.digest not in snapshot.objects:
                return
            before = snapshot.objects[forward.digest].keep_sure(self.confidence)
        after = keep_sure(see_boxes(forward, self.subject.model), self.confidence)
        classes = np.array([self.classes.get(int(k), int(k)) for k in before.classes], np.int64)
        self.compared += 1
        self.agreement.add(forward.entry.shown, ObjectRecord(before.boxes, before.scores, classes), after)

    def need_boxes(self, fewest: int) -> None:
        """Raise NotChecked where nothing could be compared, or fewer than `fewest` of more pictures."""
        if not self.compared:
            raise NotChecked("none of the snapshot's pictures is among the pictures")
        known = len(self.subject.snapshot.objects) if self.subject.reference is None and self.subject.snapshot else None
        fewest = min(fewest, len(self.subject.pictures) - len(self.subject.unreadable), known or fewest)
        if self.compared < fewest:
            raise NotChecked(f"{self.compared} pictures are too few to compare; the policy asks for {fewest}")
        if not self.agreement.total:
            raise NotChecked(
                f"neither finds an object on the {self.compared} pictures with a score of {self.confidence:g} or more"
            )


def _match_labels(before: tuple[str, ...] | None, after: tuple[str, ...] | None) -> dict[int, int]:
    """The class of the model by the class of the reference, by name where both have names; -1 for a name that is gone.

    A class that is not in it keeps its number.
    """
    if not before or not after:
        return {}
    places = {name: index for index, name in reversed(list(enumerate(after)))}
    return {
        index: index if index < len(after) and after[index] == name else places.get(name, -1)
        for index, name in enumerate(before)
    }
