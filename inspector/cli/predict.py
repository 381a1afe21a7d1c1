"""`inspector predict`: top classes with probabilities."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

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
    document_top,
    format_top,
)

if TYPE_CHECKING:
    from inspector.api.pictures import Picture


def predict(
    model: ModelArgument,
    images: ImagesArgument,
    top: Annotated[
        int, typer.Option("--top", metavar="K", min=1, help="How many classes are named for each picture.")
    ] = 3,
    poses: Annotated[
        str,
        typer.Option(
            "--poses",
            metavar="KIND,...",
            help="Flips and turns that the scores are averaged over: hflip, vflip, rotate.",
        ),
    ] = "none",
    links: LinksOption = None,
    inputs: InputOption = None,
    json: JsonOption = False,
    provider: ProviderOption = "auto",
    threads: ThreadsOption = None,
    quiet: QuietOption = False,
) -> None:
    """Name the most likely classes of pictures, with probabilities."""
    from inspector.image.poses import read_poses

    console = Console("predict", json, quiet)
    kinds = read_poses(poses)
    opened = console.open(model, provider, threads, links, inputs)

    def handle(picture: Picture) -> dict[str, Any]:
        return {"path": picture.path, "top": document_top(opened.predict(picture.source, top, kinds))}

    console.each(opened, images, handle, lambda entry: f"{entry['path']}: {format_top(entry['top'])}")
