"""What a network answers about pictures, whatever its task: classes, objects, segments, vectors, pictures."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from inspector.api.pictures import Picture
from inspector.image import read_if_open
from inspector.model import Model, Predictions
from inspector.model.attached import predict_attached
from inspector.records import record

if TYPE_CHECKING:
    from inspector.metadata import Task
    from inspector.pages.folders import PictureFolders
    from inspector.tasks.answers import Detections, Segmentation


@record
class AnswerOptions:
    """The options of `inspector predict`.

    Args:
        top: How many classes of a classifier, 1 or more.
        poses: ``hflip``, ``vflip``, ``rotate``: a classifier's answer is that of the scores' mean over them.
        confidence: Smallest score of an object, in [0, 1]; None takes that of the head.
        iou: Overlap above which two boxes show one object; None takes that of the head.
        draw: Write the picture with what was found.
    """

    top: int = 3
    poses: Sequence[str] = ()
    confidence: float | None = None
    iou: float | None = None
    draw: bool = False


@record
class Segment:
    """A class of a segmenter on one picture.

    Attributes:
        index: The class.
        label: Its name.
        share: Its share of the picture's pixels, in [0, 1].
    """

    index: int
    label: str
    share: float


@record
class OutputSummary:
    """One output of a head that is not known.

    Attributes:
        name: Of the tensor.
        shape: Of the array.
        dtype: The numpy name of its type.
        low: The smallest finite value; None without one.
        high: The largest finite value; None without one.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    low: float | None
    high: float | None


@record(eq=False)
class PicturePredictions:
    """What a network answers about one picture. What its task does not give is empty or None.

    Attributes:
        path: How the picture is called.
        top: Of a classifier, the most likely classes, most likely first.
        task: What the network's outputs mean; None where that is not known.
        labels: The name of each of `boxes`.
        boxes: Of a detector, the objects.
        segmentation: Of a segmenter, the class of each pixel.
        segments: Of a segmenter, its classes, the largest first.
        vector: Of an embedding, float32 (D,).
        similar: Of an embedding, the cosine similarity to each earlier picture of the same call.
        output: Of an image-to-image network, float32 (h, w) or (h, w, 3).
        outputs: Of a head that is not known, what its outputs look like.
        drawing: The file with the picture and what was found on it.
        mask: The file with the class of each pixel, an indexed PNG.
        masks: The file with the mask of each of `boxes`.
        picture: The file with `output` as a picture.
        attached: What was taken from outputs that `inspector attach` added: ``probability`` (the output's name), and
            ``unknown`` (output, value, threshold, alarm).
    """

    path: str
    top: Predictions = field(default_factory=Predictions)
    task: Task | None = "classify"
    labels: tuple[str, ...] = ()
    boxes: Detections | None = None
    segmentation: Segmentation | None = None
    segments: tuple[Segment, ...] = ()
    vector: NDArray[np.float32] | None = None
    similar: tuple[tuple[str, float], ...] = ()
    output: NDArray[np.float32] | None = None
    outputs: tuple[OutputSummary, ...] = ()
    drawing: Path | None = None
    mask: Path | None = None
    masks: tuple[Path | None, ...] = ()
    picture: Path | None = None
    attached: Mapping[str, Any] = field(default_factory=dict)

    @property
    def label(self) -> str:
        """The name of the most likely class."""
        return self.top[0].label

    @property
    def probability(self) -> float:
        """The probability of the most likely class, in [0, 1]."""
        return self.top[0].probability

    def _repr_html_(self) -> str:
        from inspector.notebook import show_bars, show_pictures, show_table

        file = self.drawing or self.mask or self.picture
        if file is not None:
            return show_pictures([(self.path, file)])
        if self.boxes is not None:
            rows = [
                (label, f"{x.score:.2f}", *(round(side) for side in x.box))
                for label, x in zip(self.labels, self.boxes, strict=True)
            ]
            return show_table(("class", "score", "x1", "y1", "x2", "y2"), rows, self.path)
        shares = [(x.label, x.share) for x in self.segments] or [(x.label, x.probability) for x in self.top]
        return show_bars(shares or [(path, cosine) for path, cosine in self.similar], self.path)


class AnswerRun:
    """The answers of one model about pictures, one after the other.

    Args:
        model: The model.
        out: Folder that drawings are written into; each picture gets a folder in it.
        options: What is asked for.

    Raises:
        UsageError: An option does not fit the model's task, or cannot be.
    """

    def __init__(self, model: Model, out: str | os.PathLike[str], options: AnswerOptions) -> None:
        self.model = model
        self.options = options
        self._out = out
        self._folders: PictureFolders | None = None
        self._vectors: list[tuple[str, NDArray[np.float32]]] = []

    def answer(self, picture: Picture) -> PicturePredictions:
        """Answer about one picture."""
        source = read_if_open(picture.source)
        given = Picture(picture.path, source)
        task = self.model.task
        if task == "classify":
            return self._classify(given)
        if task in ("detect", "pose"):
            return self._detect(given, task)
        if task == "segment":
            return self._segment(given)
        if task == "embed":
            return self._embed(given)
        if task == "picture":
            return self._translate(given)
        return self._summarise(given)

    def _classify(self, picture: Picture) -> PicturePredictions:
        top, poses = self.options.top, self.options.poses
        if self.model.attached is None or poses:  # the file knows one picture, and no mean over its turns
            return PicturePredictions(picture.path, self.model.predict(picture.source, top, poses))
        found, said = predict_attached(self.model, self.model.tensor(picture.source), top)
        return PicturePredictions(picture.path, found, attached=said)

    def _detect(self, picture: Picture, task: Task) -> PicturePredictions:
        found = self.model.detect(picture.source, self.options.confidence, self.options.iou)
        labels = tuple(self.model.label(x.index) for x in found)
        drawing, masks = None, tuple[Path | None, ...]([None] * len(found))
        if self.options.draw:
            with self._claim(picture) as folder:
                drawing, masks = self._draw(picture, folder).draw_objects(found)
        return PicturePredictions(picture.path, task=task, labels=labels, boxes=found, drawing=drawing, masks=masks)

    def _segment(self, picture: Picture) -> PicturePredictions:
        found = self.model.segment(picture.source)
        shares = found.shares
        with self._claim(picture) as folder:
            mask, drawing = self._draw(picture, folder).draw_segments(found, shares, self.options.draw)
        segments = tuple(Segment(index, self.model.label(index), share) for index, share in shares)
        return PicturePredictions(
            picture.path, task="segment", segmentation=found, segments=segments, mask=mask, drawing=drawing
        )

    def _embed(self, picture: Picture) -> PicturePredictions:
        from inspector.model.answers import compare_vectors

        vector = self.model.embed(picture.source)
        cosines = compare_vectors([other for _, other in self._vectors], vector)
        similar = tuple((path, cosine) for (path, _), cosine in zip(self._vectors, cosines, strict=True))
        self._vectors.append((picture.path, vector))
        return PicturePredictions(picture.path, task="embed", vector=vector, similar=similar)

    def _translate(self, picture: Picture) -> PicturePredictions:
        output = self.model.translate(picture.source)
        with self._claim(picture) as folder:
            path = self._draw(picture, folder).draw_output(output)
        return PicturePredictions(picture.path, task="picture", output=output, picture=path)

    def _summarise(self, picture: Picture) -> PicturePredictions:
        from inspector.tasks.decoders import DECODERS

        values = self.model.output_values(picture.source)
        self.model.warn(
            f"what the outputs of {self.model.path} mean is not known; say it with `inspector annotate --task TASK "
            f"--head HEAD` (heads: {', '.join(sorted(DECODERS))})"
        )
        outputs = tuple(_summarise_output(name, value) for name, value in values.items())
        return PicturePredictions(picture.path, task=None, outputs=outputs)

    def _claim(self, picture: Picture) -> Any:
        from inspector.pages.folders import PictureFolders

        if self._folders is None:
            self._folders = PictureFolders(self._out)
        return self._folders.claim(picture.source, picture.stem, picture.name)

    def _draw(self, picture: Picture, folder: Path) -> Any:
        from inspector.pages.answers import AnswerFolder

        return AnswerFolder(self.model, picture.source, folder)


def _summarise_output(name: str, value: NDArray[Any]) -> OutputSummary:
    sound = value[np.isfinite(value)] if value.dtype.kind in "fiu" else value.astype(np.float64, copy=False)[:0]
    low, high = (float(sound.min()), float(sound.max())) if sound.size else (None, None)
    return OutputSummary(name, tuple(value.shape), value.dtype.name, low, high)
