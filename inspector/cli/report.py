"""`inspector report`: one page that a person opens, with every layer, channel and map of a few pictures."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from inspector.cli.console import (
    Console,
    ImagesArgument,
    InputOption,
    JsonOption,
    LinksOption,
    ModelArgument,
    ProviderOption,
    QuietOption,
    ThreadsOption,
    find_given_pictures,
    format_top,
    progress_bar,
)
from inspector.cli.options import option
from inspector.errors import ImageError
from inspector.text import relative

if TYPE_CHECKING:
    from inspector.api.look import ReportPage
    from inspector.api.pictures import Picture
    from inspector.model import Model

_SHOWN, _OTHERS = "What the page shows", "What other commands found"


def report(
    model: ModelArgument,
    images: ImagesArgument,
    out: Annotated[str, typer.Option("-o", "--out", metavar="FILE.html", help="The page to write.")] = "report.html",
    layer: Annotated[
        list[str] | None,
        option("--layer", _SHOWN, "Show this layer and not all; again for more.", "NAME"),
    ] = None,
    method: Annotated[
        list[str] | None,
        option("--method", _SHOWN, "Show this class activation map instead of the usual; again for more.", "NAME"),
    ] = None,
    top: Annotated[
        int, option("--top", _SHOWN, "Number of the most likely classes of each picture.", "K", min=1, max=20)
    ] = 3,
    audit: Annotated[
        str | None, option("--audit", _OTHERS, "The verdict: output of `inspector audit --json`.", "FILE.json")
    ] = None,
    filters: Annotated[
        str | None,
        option("--filters", _OTHERS, "Patterns and patches: output of `inspector filters --json`.", "FILE.json"),
    ] = None,
    run: Annotated[
        str | None, option("--run", _OTHERS, "The folder of the `inspector finetune` that made the model.", "DIR")
    ] = None,
    links: LinksOption = None,
    inputs: InputOption = None,
    json: JsonOption = False,
    provider: ProviderOption = "auto",
    threads: ThreadsOption = None,
    quiet: QuietOption = False,
) -> None:
    """Write one HTML page that works from the file: layers, channels, maps of evidence, and the model card."""
    from inspector.api.look import report as write

    console = Console("report", json, quiet)
    opened = console.open(model, provider, threads, links, inputs)
    pictures, empty = sort_pictures(images)
    with progress_bar("report", quiet) as move:
        page = write(
            opened, pictures, out, layers=layer, methods=method, top=top, audit=audit, filters=filters, run=run,
            on_progress=move,
        )  # fmt: skip
    tell(console, opened, page, empty, pictures)


def sort_pictures(images: Sequence[str]) -> tuple[list[Picture], list[ImageError]]:
    """The pictures that arguments name, and the folders that hold none.

    Raises:
        ImageError: For nothing but such.
    """
    good: list[Picture] = []
    empty: list[ImageError] = []
    for picture in find_given_pictures(images):
        if isinstance(picture, ImageError):
            empty.append(picture)
        else:
            good.append(picture)
    if not good:
        raise empty[0]
    return good, empty


def tell(
    console: Console, model: Model, page: ReportPage, empty: Sequence[ImageError], pictures: Sequence[Picture]
) -> None:
    """Give out the document, or the same for people."""
    problems = [("", error) for error in empty] + [(one.path, one.error) for one in page.skipped]
    for _, error in problems:
        console.warn(f"skipped: {error}")
    skipped = [{"path": path, "error": error.message} for path, error in problems]
    about = {"report": relative(page.path), "bytes": page.size, "images": list(page.images), "skipped": skipped}
    shown = next(x for x in pictures if x.path == page.images[0]["path"])
    about |= console.alternatives(model, shown)
    console.document(console.head(model, **about))
    nothing = ": nothing found" if model.task in ("detect", "pose") else ""
    for entry in page.images:
        console.say(entry["path"] + (f": {format_top(entry['top'])}" if entry["top"] else nothing))
    console.say(f"open {relative(page.path)} ({page.size / 1e6:.1f} MB)")
