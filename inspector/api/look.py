"""What a model is and sees: its layers, the classes of pictures, and the page of everything."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from inspector.api.answers import AnswerOptions, AnswerRun, PicturePredictions
from inspector.api.arguments import ModelSource, Progress, Warn, check_whole
from inspector.api.model import to_model
from inspector.api.pictures import Picture, Pictures, Results, Skipped, collect, find_pictures, handle_pictures
from inspector.errors import ImageError, UsageError

if TYPE_CHECKING:
    from inspector.layers import LayerNames, Layers


# Wide: the options of `inspector predict`.
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


@dataclass(frozen=True)
class ReportPage:
    """A report that was written.

    Attributes:
        path: The HTML file; it works from the file, without a server.
        size: Its size in bytes.
        images: The classes of each picture on it, as `predict` gives them.
        skipped: The pictures that could not be used.
    """

    path: Path
    size: int
    images: tuple[dict[str, Any], ...]
    skipped: tuple[Skipped, ...]


MOST_PICTURES = 24
"""Pictures that one report can show side by side."""


# Wide: the options of `inspector report`.
# Long: a third says what they are, and most of the rest hands them on.
def report(
    model: ModelSource,
    images: Pictures,
    out: str | os.PathLike[str] = "report.html",
    *,
    layers: LayerNames | None = None,
    methods: Iterable[str] | None = None,
    top: int = 3,
    audit: str | os.PathLike[str] | None = None,
    filters: str | os.PathLike[str] | None = None,
    run: str | os.PathLike[str] | None = None,
    provider: str = "auto",
    threads: int | None = None,
    warn: Warn | None = None,
    on_progress: Progress | None = None,
) -> ReportPage:
    """Write one HTML page that works from the file: layers, channels, maps of evidence, and the model card.

    Args:
        model: The path of an .onnx file, or a model that is open.
        images: A picture or a folder of pictures, or several of either; at most 24 pictures.
        out: The page to write.
        layers: A name (a unique ending will do) or a layer, or several of either; None means all layers.
        methods: The class activation maps to show; None takes those of the command.
        top: Classes of each picture, 1 to 20.
        audit: A file with the verdict: the output of ``inspector audit --json``.
        filters: A file with patterns and patches: the output of ``inspector filters --json``.
        run: The folder of the ``inspector finetune`` that made the model.
        provider: Where a path is given: auto, cpu, cuda, ...
        threads: Where a path is given: threads of onnxruntime; None takes all cores.
        warn: Gets a line where something is noteworthy but not wrong.
        on_progress: Called after each picture with how many are done, and how many there are.

    Returns:
        The page that was written.

    Raises:
        InspectorError: The model cannot be opened, an argument is wrong, or no picture could be used.

    Example:
        >>> import inspector
        >>> page = inspector.report(model, "docs/chelsea.jpg", folder / "page.html", layers="blocks.5.swish")
        >>> page.path.name, page.images[0]["top"][0]["label"]
        ('page.html', 'Egyptian cat')
    """
    from inspector.pages.report import PAGE_METHODS, write_report

    check_whole("top", top, 1, 20)
    opened = to_model(model, provider, threads, warn)
    pictures, skipped = _gather(images)
    broken: dict[int, ImageError] = {}
    counted = itertools.count(1)

    def advance() -> None:
        if on_progress is not None:
            on_progress(next(counted), len(pictures))

    page = write_report(
        opened,
        [(x.name, x.source) for x in pictures],
        out,
        layers=None if layers is None else opened.choose_layers(layers),
        methods=PAGE_METHODS if methods is None else list(methods),
        top=top,
        audit=audit,
        filters=filters,
        run=run,
        on_picture=advance,
        on_unreadable=broken.__setitem__,
    )
    shown = [x for place, x in enumerate(pictures) if place not in broken]
    entries = [
        {"path": x.path, "top": [dict(one) for one in part.top]} for x, part in zip(shown, page.pictures, strict=True)
    ]
    skipped += [Skipped(pictures[place].path, error) for place, error in broken.items()]
    return ReportPage(page.path, page.size, tuple(entries), tuple(skipped))


def _gather(images: Pictures) -> tuple[list[Picture], list[Skipped]]:
    """The pictures of one report, and what is none. Raises where there are none, or too many."""
    pictures: list[Picture] = []
    skipped: list[Skipped] = []
    for found in find_pictures(images):
        if isinstance(found, ImageError):
            skipped.append(Skipped("", found))
            continue
        pictures.append(found)
        if len(pictures) > MOST_PICTURES:
            raise UsageError(f"a report shows at most {MOST_PICTURES} pictures side by side", "choose some of them")
    if not pictures:
        raise skipped[0].error if skipped else ImageError("no pictures were given")
    return pictures, skipped
