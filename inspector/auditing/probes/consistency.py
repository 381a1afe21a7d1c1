"""Whether the model says the same of a picture that was changed a little."""

from __future__ import annotations

import io
from dataclasses import replace
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from numpy.typing import NDArray

from inspector.auditing.forward_pass import ForwardPass
from inspector.auditing.probes import Probe
from inspector.auditing.probes.predictions import PredictionChange
from inspector.auditing.subject import Subject
from inspector.metrics import BoxAgreement, share_of_same
from inspector.model.boxes import find_boxes
from inspector.tasks.answers import Corners, Detections, Segmentation

if TYPE_CHECKING:
    from PIL.Image import Image


SURE = 0.25
"""Score from which boxes are compared."""


class Consistency(Probe):
    """The answer before and after a change to what the network sees, on a sample of the pictures.

    Of a classifier it is the top class, of a detector the boxes (matched at IoU 0.5), of a segmenter the class of each
    pixel. Boxes and pixels are moved back along with the change before they are compared.

    Attributes:
        check: The id of the check whose settings say how strong the change is.
        words: The change as a clause, for messages.
        tried: How many pictures were changed.
        changed: Those whose top class changed with it.
        boxes: How far the boxes of a detector agree.
        pixels: Share of each picture's pixels that keep their class, by its path, of a segmenter.
    """

    needs = ("answers", "pictures")
    check: ClassVar[str]
    words: ClassVar[str]

    def __init__(self, subject: Subject) -> None:
        super().__init__(subject)
        self.limits = subject.limits(self.check)
        self.chosen = frozenset(subject.pictures.sample(subject.policy.images.sample))
        self.tried = 0
        self.changed: list[PredictionChange] = []
        self.boxes = BoxAgreement()
        self.pixels: dict[str, float] = {}

    def look(self, forward: ForwardPass) -> None:
        """Take in one picture."""
        if forward.index not in self.chosen:
            return
        self.tried += 1
        if self.subject.model.classifier is not None:
            self._compare_top(forward)
            return
        model, shown = self.subject.model, forward.entry.shown
        view, before = self._see_unchanged(forward)
        changed = self.change(view, self.subject.random(3, forward.index))
        if isinstance(before, Detections):
            found = find_boxes(model, changed, SURE)
            moved = tuple(replace(one, box=self.move_box(one.box, view.size)) for one in found)
            self.boxes.add(shown, before, Detections(moved, view.size))
        else:
            self.pixels[shown] = share_of_same(before.classes, self.move_mask(model.segment(changed).classes))

    def _see_unchanged(self, forward: ForwardPass) -> tuple[Image, Detections | Segmentation]:
        """The picture as large as the network sees it, and the answer to it; found once for all six checks."""
        if "unchanged" not in forward.memo:
            model = self.subject.model
            view = fit_picture(forward.picture, self.subject.picture_size())
            answer = model.segment(view) if model.task == "segment" else find_boxes(model, view, SURE)
            forward.memo["unchanged"] = view, answer
        found: tuple[Image, Detections | Segmentation] = forward.memo["unchanged"]
        return found

    def _compare_top(self, forward: ForwardPass) -> None:
        assert forward.classes is not None
        model = self.subject.model
        view = model.preprocess.view(forward.picture)
        pixels = np.asarray(self.change(view, self.subject.random(3, forward.index)))
        before = model.top(forward.classes, 1)[0]
        after = model.top(model.run_classes(model.preprocess.normalise(pixels)), 1)[0]
        if after.index != before.index:
            self.changed.append(PredictionChange(forward.entry.shown, before.label, after.label, before.probability))

    @property
    def agreement(self) -> float:
        """Share of the pictures whose top class stayed, of the boxes found both times, or of the pixels that stayed."""
        task = self.subject.model.task
        if task == "segment":
            return sum(self.pixels.values()) / len(self.pixels)
        return 1 - len(self.changed) / self.tried if task == "classify" else self.boxes.share

    def move_box(self, box: Corners, size: tuple[int, int]) -> Corners:
        """Where a box of the changed picture lies in the unchanged one, whose (width, height) is `size`."""
        return box

    def move_mask(self, classes: NDArray[np.int32]) -> NDArray[np.int32]:
        """The classes of the changed picture, int32 (H, W), where they lie in the unchanged one; -1: nowhere."""
        return classes

    def change(self, view: Image, random: np.random.Generator) -> Image:
        """The changed picture, of the same mode and size."""
        raise NotImplementedError


class Flip(Consistency):
    """Left and right exchanged."""

    check, words = "consistent-flip", "flipped left to right"

    def change(self, view: Image, random: np.random.Generator) -> Image:
        """The changed picture."""
        from PIL import ImageOps

        return ImageOps.mirror(view)

    def move_box(self, box: Corners, size: tuple[int, int]) -> Corners:
        """Mirrored again."""
        return size[0] - box[2], box[1], size[0] - box[0], box[3]

    def move_mask(self, classes: NDArray[np.int32]) -> NDArray[np.int32]:
        """Mirrored again."""
        return classes[:, ::-1]


class Jpeg(Consistency):
    """Stored as a JPEG of low quality."""

    check, words = "consistent-jpeg", "stored as a JPEG of low quality"

    def change(self, view: Image, random: np.random.Generator) -> Image:
        """The changed picture."""
        from PIL import Image as images

        stream = io.BytesIO()
        view.save(stream, "JPEG", quality=int(self.limits["quality"]))
        with images.open(stream) as again:
            return again.convert(view.mode)


class Brightness(Consistency):
    """Lighter or darker, at random."""

    check, words = "consistent-brightness", "made lighter or darker"

    def change(self, view: Image, random: np.random.Generator) -> Image:
        """The changed picture."""
        share = float(self.limits["share"]) * (1 if random.random() < 0.5 else -1)
        return view.point(lambda value: min(255, max(0, round(value * (1 + share)))))


class Blur(Consistency):
    """A Gaussian blur."""

    check, words = "consistent-blur", "blurred"

    def change(self, view: Image, random: np.random.Generator) -> Image:
        """The changed picture."""
        from PIL import ImageFilter

        return view.filter(ImageFilter.GaussianBlur(float(self.limits["radius"])))


class Noise(Consistency):
    """Normal noise on every pixel."""

    check, words = "consistent-noise", "given noise"

    def change(self, view: Image, random: np.random.Generator) -> Image:
        """The changed picture."""
        from PIL import Image as images

        pixels = np.asarray(view, np.float32)
        noisy = pixels + random.normal(0, float(self.limits["sigma"]), pixels.shape)
        return images.fromarray(np.rint(noisy).clip(0, 255).astype(np.uint8))


class Shift(Consistency):
    """Moved by whole pixels to the right and down; the edge is repeated."""

    check, words = "consistent-shift", "moved by a pixel"

    def change(self, view: Image, random: np.random.Generator) -> Image:
        """The changed picture."""
        from PIL import Image as images

        by = int(self.limits["pixels"])
        pixels = np.asarray(view)
        width = [(by, 0), (by, 0), (0, 0)][: pixels.ndim]
        moved = np.pad(pixels, width, mode="edge")[: pixels.shape[0], : pixels.shape[1]]
        return images.fromarray(np.ascontiguousarray(moved))

    def move_box(self, box: Corners, size: tuple[int, int]) -> Corners:
        """Moved to the left and up."""
        by = int(self.limits["pixels"])
        return box[0] - by, box[1] - by, box[2] - by, box[3] - by

    def move_mask(self, classes: NDArray[np.int32]) -> NDArray[np.int32]:
        """Moved to the left and up; what went over the edge is nowhere."""
        by = int(self.limits["pixels"])
        moved = np.full_like(classes, -1)
        moved[: classes.shape[0] - by, : classes.shape[1] - by] = classes[by:, by:]
        return moved


def fit_picture(picture: Image, size: tuple[int, int]) -> Image:
    """The picture as large as the network sees it, so that a change is as strong as what reaches the network.

    Args:
        picture: Any picture.
        size: (H, W) of the network's input; the picture is scaled to fit in, never up.
    """
    share = min(1.0, size[0] / picture.height, size[1] / picture.width)
    fitted = max(1, round(picture.width * share)), max(1, round(picture.height * share))
    return picture if fitted == picture.size else picture.resize(fitted)
