"""Whether a network says what the one says that it was made from: its top class, its boxes, the class of its pixels."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from inspector.metrics import BoxAgreement, sample_classes, share_of_same
from inspector.model.boxes import find_boxes
from inspector.model.model import Model
from inspector.tasks.answers import Detections
from inspector.tasks.decoder import BoxDecoder

if TYPE_CHECKING:
    from PIL.Image import Image

PictureAnswer = int | Detections | NDArray[np.int32]
"""The index of the top class; the boxes; or the class of pixels at 64 places each way."""

AnswerKind = Literal["top class", "boxes", "pixels"]
_SAME_PIXELS = 0.95
"""Share of a picture's pixels below which its answer is another one: at the edges of things a few always change."""


@dataclass(frozen=True)
class AnswerAgreement:
    """How far two networks agree on pictures.

    Attributes:
        kind: What is compared.
        share: Of the pictures with one top class; of the boxes of both that are matched one to one, by class at IoU
            0.5; or of the pixels with one class. In [0, 1].
        changed: Indices of the pictures with another top class, with a box that is lost or new, or with less than 95 %
            of their pixels as they were.
        score_shift: Mean absolute difference of score of the matched boxes; None for other answers.
    """

    kind: AnswerKind
    share: float
    changed: tuple[int, ...]
    score_shift: float | None = None


def list_answer_tensors(model: Model) -> tuple[str, ...]:
    """The tensors that :func:`read_answer` reads; none for a network that answers in no way that can be compared."""
    if model.classifier is not None:
        return model.classifier.tensors
    if isinstance(model.decoder, BoxDecoder) or (model.task == "segment" and model.decoder is not None):
        return model.decoder.outputs
    return ()


def find_answerer(model: Model) -> Callable[[Image], PictureAnswer] | None:
    """What answers a picture: for a classifier, detector or segmenter; None for any other network."""
    if not (names := list_answer_tensors(model)):
        return None

    def answer(picture: Image) -> PictureAnswer:
        tensor = model.preprocess.tensor(picture)
        return read_answer(model, picture, tensor, model.run(tensor, names))

    return answer


def read_answer(
    model: Model, picture: Image, tensor: NDArray[Any], values: Mapping[str, NDArray[Any]]
) -> PictureAnswer:
    """What a network says of one picture, read off a run that was made already, wherever it was made.

    Args:
        model: A classifier, detector or segmenter.
        picture: Upright, RGB.
        tensor: The network's input for it.
        values: What a run gave of :func:`list_answer_tensors`.

    Raises:
        NotComputable: The values are not what the file declares.
    """
    if model.classifier is not None:
        return model.top(model.read_classes(values, len(tensor)), 1)[0].index
    if isinstance(decoder := model.decoder, BoxDecoder):
        return find_boxes(model, picture, decoder.confidence, tensor, values)
    return sample_classes(model.read_segments(values, picture.size).classes)


def find_kind(answers: Sequence[PictureAnswer]) -> AnswerKind:
    """What answers are."""
    if isinstance(answers[0], Detections):
        return "boxes"
    return "pixels" if isinstance(answers[0], np.ndarray) else "top class"


def compare_answers(expected: Sequence[PictureAnswer], answers: Sequence[PictureAnswer]) -> AnswerAgreement:
    """Compare the answers of two networks, picture by picture.

    Args:
        expected: Of the one, as :func:`find_answerer` gives them.
        answers: Of the other, of the same kind.
    """
    boxes = BoxAgreement()
    shares: list[float] = []
    for at, (before, after) in enumerate(zip(expected, answers, strict=True)):
        if isinstance(before, Detections):
            assert isinstance(after, Detections)
            boxes.add(str(at), before, after)
            shares.append(boxes.by_picture.get(str(at), 1.0))
        elif isinstance(before, np.ndarray):
            assert isinstance(after, np.ndarray)
            shares.append(share_of_same(before, after))
        else:
            shares.append(float(before == after))
    kind = find_kind(expected)
    if kind == "boxes":
        changed = tuple(at for at, share in enumerate(shares) if share < 1)
        return AnswerAgreement(kind, boxes.share, changed, boxes.score_shift)
    least = _SAME_PIXELS if kind == "pixels" else 1
    return AnswerAgreement(kind, float(np.mean(shares)), tuple(at for at, share in enumerate(shares) if share < least))


def read_answer_values(model: Model, tensor: NDArray[Any]) -> list[NDArray[np.float32]]:
    """The numbers that the answers are made of, float32 (channels, n) each, for one input.

    Of a classifier its scores, as one channel; else the outputs that are decoded, along their second axis: boxes count
    pixels and scores shares, and each is to be judged by its own range.
    """
    if model.classifier is not None:
        return [model.scores(tensor).reshape(1, -1)]
    assert model.decoder is not None
    values = [value[0] for value in model.run(tensor, model.decoder.outputs).values()]
    return [np.asarray(value, np.float32).reshape(len(value) if value.ndim > 1 else 1, -1) for value in values]
