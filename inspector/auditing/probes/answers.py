"""The answers of a detector or segmenter that a snapshot keeps."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from inspector.auditing.forward_pass import ForwardPass
from inspector.auditing.probes import Probe
from inspector.auditing.probes.boxes import keep_sure, see_boxes
from inspector.auditing.probes.masks import see_masks
from inspector.auditing.snapshot import LEAST_KEPT, ObjectRecord
from inspector.auditing.subject import Subject
from inspector.metrics import sample_classes


class KeptAnswers(Probe):
    """The boxes, or the classes at some places, of every picture.

    Attributes:
        objects: By picture digest.
        masks: By picture digest.
    """

    needs = ("answers", "pictures")

    def __init__(self, subject: Subject) -> None:
        super().__init__(subject)
        self.objects: dict[str, ObjectRecord] = {}
        self.masks: dict[str, NDArray[np.int32]] = {}

    def look(self, forward: ForwardPass) -> None:
        """Take in one picture."""
        model = self.subject.model
        if model.task == "segment":
            self.masks[forward.digest] = sample_classes(see_masks(forward, model).classes)
        elif model.task in ("detect", "pose"):
            found = keep_sure(see_boxes(forward, model), LEAST_KEPT)
            self.objects[forward.digest] = ObjectRecord(found.boxes, found.scores, found.classes)
