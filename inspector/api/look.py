"""What a model is and sees: its layers, and the classes of pictures."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING

from inspector.api.answers import AnswerOptions, AnswerRun, PicturePredictions
from inspector.api.arguments import ModelSource, Progress, Warn, check_arguments
from inspector.api.model import to_model
from inspector.api.pictures import Pictures, Results, collect, find_pictures, handle_pictures
from inspector.errors import check_whole

if TYPE_CHECKING:
    from inspector.layers import Layers


# Wide: the options of `inspector predict`.
@check_arguments
def predict(
    model: ModelSource,
    images: Pictures,
    *,
    top: int = 3,
    poses: Sequence[str] = (),
    confidence: float | None = None,
    iou: float | None = None,
    draw: bool = False,
    out: str | os.PathLike[str] = "inspector-out",
    provider: str = "auto",
    threads: int | None = None,
    warn: Warn | None = None,
    on_progress: Progress | None = None,
) -> Results[PicturePredictions]:
    """Say what a network sees on pictures: classes, objects, segments, a vector or a picture, as its task is.

    `Model.predict`, `Model.detect`, `Model.segment`, `Model.embed` and `Model.translate` do the same for one picture.

    Args:
        model: The path of an .onnx file, or a model that is open.
        images: A picture or a folder of pictures, or several of either.
        top: How many classes, 1 or more.
        poses: ``hflip``, ``vflip``, ``rotate``: a classifier's answer is that of the scores' mean over them.
        confidence: Smallest score of an object, in [0, 1]; None takes that of the head, which mostly is 0.25.
        iou: Overlap above which two boxes of a class show one object; None takes that of the head.
        draw: Write the picture with what was found into `out`. What a segmenter and an image-to-image network make is
            written in any case.
        out: The folder; each picture gets a folder in it.
        provider: Where a path is given: auto, cpu, cuda, ...
        threads: Where a path is given: threads of onnxruntime; None takes all cores.
        warn: Gets a line where something is noteworthy but not wrong.
        on_progress: Called after each picture with how many are done, and how many there are.

    Returns:
        The answer about each picture; `skipped` lists the pictures that could not be used.

    Raises:
        InspectorError: The model cannot be opened, an argument is wrong, or no picture could be used.

    Example:
        >>> import inspector
        >>> [found] = inspector.predict("models/efficientnet-lite0.onnx", "docs/chelsea.jpg")
        >>> found.label, round(found.probability, 1)
        ('Egyptian cat', 0.8)
    """
    check_whole("top", top, 1)
    run = AnswerRun(to_model(model, provider, threads, warn), out, AnswerOptions(top, poses, confidence, iou, draw))
    return collect(handle_pictures(find_pictures(images), run.answer, on_progress))


@check_arguments
def list_layers(model: ModelSource) -> Layers:
    """List the layers of a model: name, kind, shape, and whether the file exposes it.

    Args:
        model: The path of an .onnx file, or a model that is open.

    Returns:
        The layers, in topological order. A notebook shows them as a table.

    Raises:
        ModelError: The model cannot be opened.

    Example:
        >>> import inspector
        >>> inspector.list_layers("models/efficientnet-lite0.onnx")[0].name
        'conv_stem'
    """
    return to_model(model).layers
