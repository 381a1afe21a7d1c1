"""`inspector report`: one page that a person opens, with every layer, channel and map of a few pictures."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from inspector.cli.console import (
    Console,
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
from inspector.errors import ImageError, UsageError
from inspector.text import relative

if TYPE_CHECKING:
    from inspector.api.pages import ReportPage
    from inspector.api.pictures import Picture
    from inspector.model import Model

_SHOWN, _OTHERS, _LIVE = "What the page shows", "What other commands found", "The network in the page"


def report(
    model: ModelArgument,
    images: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[IMAGE...]",
            help="Pictures, folders of pictures, or - for one on stdin. A picture that fails is skipped; exit 2 if all "
            "fail. With --live there may be none.",
        ),
    ] = None,
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
    live: Annotated[
        bool,
        option("--live", _LIVE, "Put the network itself into the page, which then works on any picture, offline."),
    ] = False,
    int8: Annotated[
        bool, option("--int8", _LIVE, "Put it in as int8, a quarter of the size, calibrated on the pictures.")
    ] = False,
    links: LinksOption = None,
    inputs: InputOption = None,
    json: JsonOption = False,
    provider: ProviderOption = "auto",
    threads: ThreadsOption = None,
    quiet: QuietOption = False,
) -> None:
    """Write one HTML page that works from the file: layers, channels, maps of evidence, and the model card."""
    from inspector.api.pages import report as write

    console = Console("report", json, quiet)
    opened = console.open(model, provider, threads, links, inputs)
    pictures, empty = sort_pictures(images or (), none=live)
    with progress_bar("report", quiet) as move:
        page = write(
            opened, pictures, out, layers=layer, methods=method, top=top, audit=audit, filters=filters, run=run,
            live=live, int8=int8, warn=console.warn, on_progress=move,
        )  # fmt: skip
    tell(console, opened, page, empty, pictures)


def sort_pictures(images: Sequence[str], none: bool = False) -> tuple[list[Picture], list[ImageError]]:
    """The pictures that arguments name, and the folders that hold none.

    Args:
        images: The arguments.
        none: Whether there may be no arguments.

    Raises:
        UsageError: There are no arguments.
        ImageError: There is nothing but folders without pictures.
    """
    if not images and not none:
        raise UsageError(
            "a report needs at least one picture", "give IMAGE..., or --live, which takes them in the page"
        )
    good: list[Picture] = []
    empty: list[ImageError] = []
    for picture in find_given_pictures(images):
        if isinstance(picture, ImageError):
            empty.append(picture)
        else:
            good.append(picture)
    if empty and not good:
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
    about = {"report": relative(page.path), "bytes": page.size, "live": page.live}
    about |= {"images": list(page.images), "skipped": skipped}
    if page.images:
        about |= console.alternatives(model, next(x for x in pictures if x.path == page.images[0]["path"]))
    console.document(console.head(model, **about))
    nothing = ": nothing found" if model.task in ("detect", "pose") else ""
    for entry in page.images:
        console.say(entry["path"] + (f": {format_top(entry['top'])}" if entry["top"] else nothing))
    console.say(f"open {relative(page.path)} ({page.size / 1e6:.1f} MB)")
