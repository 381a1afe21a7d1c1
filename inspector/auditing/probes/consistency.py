"""Whether the model says the same of a picture that was changed a little."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from inspector.auditing.forward_pass import ForwardPass
from inspector.auditing.probes import Probe
from inspector.auditing.probes.predictions import PredictionChange
from inspector.auditing.subject import Subject

if TYPE_CHECKING:
    from PIL.Image import Image


class Consistency(Probe):
    """The top class before and after a change to what the network sees, on a sample of the pictures.

    Attributes:
        check: The id of the check whose settings say how strong the change is.
        words: The change as a clause, for messages.
        tried: How many pictures were changed.
        changed: Those whose top class changed with it.
    """

    needs = ("pictures", "classification")
    check: ClassVar[str]
    words: ClassVar[str]

    def __init__(self, subject: Subject) -> None:
        super().__init__(subject)
        self.limits = subject.limits(self.check)
        self.chosen = frozenset(subject.pictures.sample(subject.policy.images.sample))
        self.tried = 0
        self.changed: list[PredictionChange] = []

    def look(self, forward: ForwardPass) -> None:
        """Take in one picture."""
        if forward.index not in self.chosen:
            return
        assert forward.scores is not None
        model = self.subject.model
        view = model.preprocess.view(forward.picture)
        pixels = np.asarray(self.change(view, self.subject.random(3, forward.index)))
        before = model.top(forward.scores, 1)[0]
        after = model.top(model.scores(model.preprocess.normalise(pixels))[0], 1)[0]
        self.tried += 1
        if after.index != before.index:
            self.changed.append(PredictionChange(forward.entry.shown, before.label, after.label, before.probability))

    @property
    def agreement(self) -> float:
        """Share of the pictures whose top class stayed."""
        return 1 - len(self.changed) / self.tried

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
