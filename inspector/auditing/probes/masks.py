"""What a segmenter says of every pixel, beside the masks and beside a reference."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from inspector.auditing.forward_pass import ForwardPass
from inspector.auditing.probes import Probe
from inspector.auditing.result import NotChecked
from inspector.auditing.subject import Subject
from inspector.datasets import LabelError, read_mask
from inspector.metrics import CalibrationSums, PixelCounts, sample_classes, share_of_same
from inspector.model import Model
from inspector.tasks.answers import Segmentation
from inspector.text import relative


def see_masks(forward: ForwardPass, model: Model) -> Segmentation:
    """The class of every pixel, found once per picture for all probes."""
    if "masks" not in forward.memo:
        known = forward.outputs
        size = forward.picture.size
        forward.memo["masks"] = model.read_segments(known, size) if known else model.segment(forward.picture)
    found: Segmentation = forward.memo["masks"]
    return found


class PixelScores(Probe):
    """The class of every pixel beside the picture's mask.

    Attributes:
        counts: Pixels by true and given class; None before the first picture.
        calibration: The confidence of the pixels, and whether they are right.
        confident: Whether the network gives a confidence.
        by_picture: Mean IoU of each picture alone, by its path.
    """

    needs = ("segmentation", "pictures", "masks")

    def __init__(self, subject: Subject) -> None:
        super().__init__(subject)
        self.counts: PixelCounts | None = None
        self.calibration = CalibrationSums(int(subject.limits("pixel-calibration")["bins"]))
        self.confident = False
        self.by_picture: dict[str, float] = {}

    def look(self, forward: ForwardPass) -> None:
        """Take in one picture."""
        if forward.entry.mask is None:
            return
        found = see_masks(forward, self.subject.model)
        true = read_mask(forward.entry.mask)
        if self.counts is None:
            self.counts = PixelCounts(found.count)
        try:
            judged = self.counts.add(true, found.classes)
        except ValueError as error:
            raise LabelError(f"the mask {relative(forward.entry.mask)}: {error}") from None
        own = PixelCounts(found.count)
        own.add(true, found.classes)
        self.by_picture[forward.entry.shown] = own.mean_overlap
        if found.confidence is not None:
            self.confident = True
            self.calibration.add(found.confidence[judged], found.classes[judged] == true[judged])

    def need_pixels(self) -> PixelCounts:
        """The counts.

        Raises:
            NotChecked: No pixel could be judged.
        """
        if self.counts is None or not self.counts.table.any():
            raise NotChecked("no pixel of the masks has a class")
        return self.counts


class PixelDrift(Probe):
    """The class of every pixel beside that of the reference, by name where both have names.

    Attributes:
        same: Share of the pixels of each picture that have the reference's class, by its path.
    """

    needs = ("segmentation", "reference", "pictures")

    def __init__(self, subject: Subject) -> None:
        super().__init__(subject)
        reference, snapshot = subject.reference, subject.snapshot
        if reference is not None and reference.task != "segment":
            raise NotChecked("the reference gives no class to every pixel", applies=False)
        if reference is None and snapshot is not None and not snapshot.masks:
            raise NotChecked("the snapshot holds no masks; save it again")
        self.same: dict[str, float] = {}

    def look(self, forward: ForwardPass) -> None:
        """Take in one picture."""
        after = see_masks(forward, self.subject.model).classes
        if self.subject.reference is not None:
            before: NDArray[np.int32] = self.subject.reference.segment(forward.picture).classes
        else:
            assert self.subject.snapshot is not None
            if forward.digest not in self.subject.snapshot.masks:
                return
            before, after = self.subject.snapshot.masks[forward.digest], sample_classes(after)
        self.same[forward.entry.shown] = share_of_same(before, after)

    def need_pixels(self, fewest: int) -> None:
        """Raise NotChecked where nothing could be compared, or fewer than `fewest` of more pictures."""
        if not self.same:
            raise NotChecked("none of the snapshot's pictures is among the pictures")
        fewest = min(fewest, len(self.subject.pictures) - len(self.subject.unreadable))
        if len(self.same) < fewest:
            raise NotChecked(f"{len(self.same)} pictures are too few to compare; the policy asks for {fewest}")
