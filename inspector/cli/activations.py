"""`inspector activations`: what every layer and channel makes of a picture."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from inspector.cli.console import (
    Console,
    ImagesArgument,
    JsonOption,
    ModelArgument,
    OutOption,
    ProviderOption,
    QuietOption,
    ThreadsOption,
    relative,
    shape_text,
    table,
    top_document,
    top_line,
)

if TYPE_CHECKING:
    from inspector.pages.gallery import Gallery


# Wide: a command's options.
def activations(
    model: ModelArgument,
    images: ImagesArgument,
    layer: Annotated[
        list[str] | None, typer.Option("--layer", metavar="NAME", help="A layer, by any unique ending; again for more.")
    ] = None,
    channel: Annotated[
        int | None, typer.Option("--channel", metavar="N", help="Only this channel, large, beside the input.")
    ] = None,
    scale: Annotated[
        str,
        typer.Option(
            "--scale", metavar="channel|layer|lecture", help="Colours by each channel's range or the layer's."
        ),
    ] = "channel",
    colormap: Annotated[
        str, typer.Option("--colormap", metavar="NAME", help="viridis, magma, inferno, turbo, grey, diverging.")
    ] = "viridis",
    size: Annotated[
        int, typer.Option("--size", metavar="PX", min=64, max=4096, help="Size of a single channel.")
    ] = 448,
    save_arrays: Annotated[bool, typer.Option("--save-arrays", help="Write each layer as .npy, float32.")] = False,
    out: OutOption = "inspector-out",
    json: JsonOption = False,
    provider: ProviderOption = "auto",
    threads: ThreadsOption = None,
    quiet: QuietOption = False,
) -> None:
    """Draw the activations of every layer and channel, with statistics and a page to open first."""
    from inspector.api.draw import ActivationOptions, ActivationRun

    console = Console("activations", json, quiet)
    opened = console.open(model, provider, threads)
    console.layers(opened, layer)
    run = ActivationRun(opened, out, ActivationOptions(layer, channel, scale, colormap, size, save_arrays))
    try:
        with run:
            console.each(opened, images, lambda picture: document(picture.path, run.draw(picture)), show)
    finally:
        # One page for all of them, also for those that were done when something ended the run.
        if run.index is not None:
            console.say(f"\nall: {relative(run.index)}")


def document(path: str, gallery: Gallery) -> dict[str, Any]:
    """The entry of a picture in `images`."""
    return {
        "path": path,
        "top": top_document(gallery.top),
        "layers": [
            {
                "name": x.layer.name,
                "kind": x.layer.kind,
                "shape": list(x.shape),
                "min": x.statistics.minimum,
                "max": x.statistics.maximum,
                "mean": x.statistics.mean,
                "std": x.statistics.std,
                "zero_fraction": x.statistics.zero_fraction,
                "blank_channels": list(x.statistics.blank_channels),
                "non_finite": x.statistics.non_finite,
                "grid": relative(x.grid),
                "arrays": relative(x.arrays) if x.arrays else None,
            }
            for x in gallery.layers
        ],
        "overview": relative(gallery.overview),
        "chart": relative(gallery.chart) if gallery.chart else None,
        "channels": relative(gallery.channels),
    }


def show(entry: Any) -> str:
    """The same for people."""
    rows = [
        (
            x["name"], x["kind"], shape_text(x["shape"][1:]), f"{x['min']:.3g}", f"{x['max']:.3g}", f"{x['mean']:.3g}",
            f"{x['std']:.3g}", f"{x['zero_fraction']:.1%}", len(x["blank_channels"]) or "",
        )
        for x in entry["layers"]
    ]  # fmt: skip
    headers = ("layer", "kind", "shape", "min", "max", "mean", "std", "zero", "constant")
    lines = [entry["path"] + (f": {top_line(entry['top'])}" if entry["top"] else ""), ""]
    return "\n".join([*lines, table(headers, rows, "min max mean std zero constant"), "", f"open {entry['overview']}"])
