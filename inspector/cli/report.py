"""`inspector report`: one page that a person opens, with every layer, channel and map of a few pictures."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from inspector.cli.console import (
    Console,
    ImagesArgument,
    JsonOption,
    ModelArgument,
    Picture,
    ProviderOption,
    QuietOption,
    ThreadsOption,
    find_pictures,
    progress,
    relative,
    top_line,
)
from inspector.errors import ImageError, UsageError

MOST = 24
"""Pictures that one page can show side by side."""


def report(
    model: ModelArgument,
    images: ImagesArgument,
    out: Annotated[str, typer.Option("-o", "--out", metavar="FILE.html", help="The page.")] = "report.html",
    layer: Annotated[
        list[str] | None, typer.Option("--layer", metavar="NAME", help="Only this layer; again for more. Default: all.")
    ] = None,
    method: Annotated[
        list[str] | None,
        typer.Option("--method", metavar="NAME", help="A class activation map to show; again for more."),
    ] = None,
    top: Annotated[int, typer.Option("--top", metavar="K", min=1, max=20, help="Classes of each picture.")] = 3,
    audit: Annotated[
        str | None,
        typer.Option("--audit", metavar="FILE.json", help="The verdict: output of `inspector audit --json`."),
    ] = None,
    filters: Annotated[
        str | None,
        typer.Option(
            "--filters", metavar="FILE.json", help="Patterns and patches: output of `inspector filters --json`."
        ),
    ] = None,
    run: Annotated[
        str | None, typer.Option("--run", metavar="DIR", help="The folder of the `inspector finetune` that made it.")
    ] = None,
    json: JsonOption = False,
    provider: ProviderOption = "auto",
    threads: ThreadsOption = None,
    quiet: QuietOption = False,
) -> None:
    """Write one HTML page that works from the file: layers, channels, maps of evidence, and the model card."""
    from inspector.pages.report import METHODS, write_report

    console = Console("report", json, quiet)
    opened = console.open(model, provider, threads)
    pictures, empty = _found(images)
    broken: dict[int, ImageError] = {}
    with progress(len(pictures), "report", quiet) as advance:
        page = write_report(
            opened, [(p.name, p.source) for p in pictures], out, layers=layer, methods=method or METHODS, top=top,
            audit=audit, filters=filters, run=run, on_picture=advance, on_unreadable=broken.__setitem__,
        )  # fmt: skip
    problems = [("", error) for error in empty] + [(pictures[place].path, error) for place, error in broken.items()]
    for _, error in problems:
        console.warn(f"skipped: {error}")
    skipped = [{"path": path, "error": error.message} for path, error in problems]
    shown = [picture for place, picture in enumerate(pictures) if place not in broken]
    entries: list[dict[str, Any]] = [
        {"path": picture.path, "top": [dict(x) for x in part.top]}
        for picture, part in zip(shown, page.pictures, strict=True)
    ]
    console.document(console.head(opened, report=relative(page.path), bytes=page.size, images=entries, skipped=skipped))
    for entry in entries:
        console.say(entry["path"] + (f": {top_line(entry['top'])}" if entry["top"] else ""))
    console.say(f"open {relative(page.path)} ({page.size / 1e6:.1f} MB)")


def _found(images: list[str]) -> tuple[list[Picture], list[ImageError]]:
    """The pictures that arguments name, and the folders that hold none. Raises UsageError for too many."""
    good: list[Picture] = []
    empty: list[ImageError] = []
    for picture in find_pictures(images):
        if isinstance(picture, ImageError):
            empty.append(picture)
            continue
        good.append(picture)
        if len(good) > MOST:
            raise UsageError(f"a report shows at most {MOST} pictures side by side", "choose some of them")
    if not good:
        raise empty[0]
    return good, empty
