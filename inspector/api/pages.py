"""The page of everything about a model: of pictures that are computed beforehand, or with the network itself in it."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from inspector.api.arguments import ModelSource, Progress, Warn, check_arguments
from inspector.api.model import to_model
from inspector.api.pictures import Picture, Pictures, Skipped, find_pictures
from inspector.errors import ImageError, UsageError, check_whole

if TYPE_CHECKING:
    from inspector.layers import LayerNames
    from inspector.model import Model
    from inspector.pages.report import Report


@dataclass(frozen=True)
class ReportPage:
    """A report that was written.

    Attributes:
        path: The HTML file; it works from the file, without a server.
        size: Its size in bytes.
        images: The classes of each picture on it, as `predict` gives them.
        skipped: The pictures that could not be used.
        live: The network itself is in the page.
    """

    path: Path
    size: int
    images: tuple[dict[str, Any], ...]
    skipped: tuple[Skipped, ...]
    live: bool = False


MOST_PICTURES = 24
"""Pictures that one report can show side by side."""


# Wide: the options of `inspector report`.
# Long: a third says what they are, and most of the rest hands them on.
@check_arguments
def report(
    model: ModelSource,
    images: Pictures = (),
    out: str | os.PathLike[str] = "report.html",
    *,
    layers: LayerNames | None = None,
    methods: Iterable[str] | None = None,
    top: int = 3,
    audit: str | os.PathLike[str] | None = None,
    filters: str | os.PathLike[str] | None = None,
    run: str | os.PathLike[str] | None = None,
    live: bool = False,
    int8: bool = False,
    provider: str = "auto",
    threads: int | None = None,
    warn: Warn | None = None,
    on_progress: Progress | None = None,
) -> ReportPage:
    """Write one HTML page that works from the file: layers, channels, maps of evidence, and the model card.

    Args:
        model: The path of an .onnx file, or a model that is open.
        images: A picture or a folder of pictures, or several of either; at most 24 pictures. With `live` at most 8,
            which the page begins with, or none.
        out: The page to write.
        layers: A name (a unique ending will do) or a layer, or several of either; None means all layers.
        methods: The class activation maps to show; None takes those of the command.
        top: Classes of each picture, 1 to 20.
        audit: A file with the verdict: the output of ``inspector audit --json``.
        filters: A file with patterns and patches: the output of ``inspector filters --json``.
        run: The folder of the ``inspector finetune`` that made the model.
        live: Put the network itself into the page, and onnxruntime for browsers: it computes all of this for any
            picture that is dropped on it, or for a camera, and sends nothing anywhere.
        int8: With `live`: put the network in as int8, a quarter of the size, calibrated on `images`, or on a photograph
            of this project where there are none.
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
    check_whole("top", top, 1, 20)
    if int8 and not live:
        raise UsageError("int8 is for the network in a live page", "add --live, or leave --int8 out")
    opened = to_model(model, provider, threads, warn)
    pictures, skipped = _gather(images, none=live)
    broken: dict[int, ImageError] = {}
    counted = itertools.count(1)

    def advance() -> None:
        if on_progress is not None:
            on_progress(next(counted), len(pictures))

    options: dict[str, Any] = {
        "layers": None if layers is None else opened.choose_layers(layers),
        "methods": None if methods is None else list(methods),
        "top": top, "audit": audit, "filters": filters, "run": run,
        "on_picture": advance, "on_unreadable": broken.__setitem__,
    }  # fmt: skip
    page = _write(opened, pictures, out, options, live, int8)
    shown = [x for place, x in enumerate(pictures) if place not in broken]
    entries = [
        {"path": x.path, "top": [dict(one) for one in part.top]} for x, part in zip(shown, page.pictures, strict=True)
    ]
    skipped += [Skipped(pictures[place].path, error) for place, error in broken.items()]
    return ReportPage(page.path, page.size, tuple(entries), tuple(skipped), live)


def _write(
    model: Model,
    pictures: Sequence[Picture],
    out: str | os.PathLike[str],
    options: dict[str, Any],
    live: bool,
    int8: bool,
) -> Report:
    given = [(x.name, x.source) for x in pictures]
    if not live:
        from inspector.pages.report import PAGE_METHODS, write_report

        methods = PAGE_METHODS if options["methods"] is None else options["methods"]
        return write_report(model, given, out, **{**options, "methods": methods})
    from inspector.pages.live import write_live_page

    if not int8:
        return write_live_page(model, given, out, **options)
    return _with_integers(model, pictures, lambda smaller, told: write_live_page(
        smaller, given, out, original=model, variant=told, **{**options, "layers": _names(options["layers"])}
    ))  # fmt: skip


def _names(layers: Iterable[Any] | None) -> list[str] | None:
    return None if layers is None else [layer.name for layer in layers]


def _with_integers(model: Model, pictures: Sequence[Picture], write: Callable[[Model, str], Report]) -> Report:
    """Call `write` with the model in int8, which is gone afterwards, and with what it cost."""
    from exporters import __file__ as exporters
    from exporters.quantizing import quantize_model
    from inspector.files import temporary_folder
    from inspector.model import open_model

    paths = [x.source for x in pictures if isinstance(x.source, str | os.PathLike)]
    which = "a photograph of this project"
    if paths:
        which = f"the {len(paths)} pictures given" if len(paths) > 1 else "the picture given"
    with temporary_folder() as folder:
        made = quantize_model(
            model, folder / model.path.name, paths or [Path(exporters).parent / "exporting" / "chelsea.jpg"],
            expose="none", provider=model.provider, threads=model.threads,
        )  # fmt: skip
        agreement = "" if made.agreement is None else f"; there the {made.compared} agrees in {made.agreement:.0%}"
        told = f"quantized to int8, calibrated on {which}{agreement}"
        model.warn(f"the network was {told}; for more exact numbers, give 50 or more pictures to `inspector quantize`")
        smaller = open_model(made.path, provider=model.provider, threads=model.threads, warn=model.warn)
        return write(smaller, told)


def _gather(images: Pictures, none: bool = False) -> tuple[list[Picture], list[Skipped]]:
    """The pictures of one report, and what is none. Raises where there are too many, or none unless that may be."""
    pictures: list[Picture] = []
    skipped: list[Skipped] = []
    for found in find_pictures(images):
        if isinstance(found, ImageError):
            skipped.append(Skipped("", found))
            continue
        pictures.append(found)
        if len(pictures) > MOST_PICTURES:
            raise UsageError(f"a report shows at most {MOST_PICTURES} pictures side by side", "choose some of them")
    if not pictures and (skipped or not none):
        raise skipped[0].error if skipped else ImageError("no pictures were given")
    return pictures, skipped
