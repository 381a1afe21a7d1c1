"""`inspector activations`: what every layer and channel makes of a picture."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

from inspector.cli.console import (
    Console,
    ImagesArgument,
    InputOption,
    JsonOption,
    LinksOption,
    ModelArgument,
    OutOption,
    ProviderOption,
    QuietOption,
    ThreadsOption,
    align_columns,
    document_top,
    format_shape,
    format_top,
    relative,
)
from inspector.cli.options import option
from inspector.cli.predict import document_boxes, document_segments, show_boxes, show_segments

if TYPE_CHECKING:
    from inspector.pages.gallery import DrawnLayer, Gallery

_WHAT, _LOOK, _OUTPUT = "What is drawn", "How it looks", "Output"


def activations(
    model: ModelArgument,
    images: ImagesArgument,
    layer: Annotated[
        list[str] | None,
        option(
            "--layer", _WHAT, "A layer, by its name or any unique ending; again for more. All unless given.", "NAME"
        ),
    ] = None,
    channel: Annotated[
        int | None, option("--channel", _WHAT, "Draw only this channel, large, beside the picture.", "N")
    ] = None,
    scale: Annotated[
        str,
        option(
            "--scale",
            _LOOK,
            "What a color stands for: the range of each channel, of the whole layer, or as in the lecture.",
            "channel|layer|lecture",
        ),
    ] = "channel",
    colormap: Annotated[
        str, option("--colormap", _LOOK, "Colors: viridis, magma, inferno, turbo, grey, diverging.", "NAME")
    ] = "viridis",
    size: Annotated[
        int, option("--size", _LOOK, "Side of the picture of a single channel, in pixels.", "PX", min=64, max=4096)
    ] = 448,
    save_arrays: Annotated[
        bool, option("--save-arrays", _OUTPUT, "Also write the values of each layer as .npy, float32.")
    ] = False,
    out: OutOption = "inspector-out",
    links: LinksOption = None,
    inputs: InputOption = None,
    json: JsonOption = False,
    provider: ProviderOption = "auto",
    threads: ThreadsOption = None,
    quiet: QuietOption = False,
) -> None:
    """Draw the activations of every layer and channel, with statistics and a page to open first."""
    from inspector.api.draw import ActivationOptions, ActivationRun

    console = Console("activations", json, quiet)
    opened = console.open(model, provider, threads, links, inputs)
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
    found, segments = gallery.found, gallery.segments
    answers: dict[str, Any] = {}
    if found is not None:
        boxes = document_boxes(found.boxes, found.labels, found.masks)
        answers = {"boxes": boxes, "drawing": relative(found.drawing)}
    if segments is not None:
        answers = document_segments(segments.shares, segments.mask) | {"drawing": relative(segments.drawing)}
    return {
        "path": path,
        "top": document_top(gallery.top),
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
                "apart": _apart(x),
                "grid": relative(x.grid) if x.grid else None,
                "arrays": relative(x.arrays) if x.arrays else None,
            }
            for x in gallery.layers
        ],
        "overview": relative(gallery.overview),
        "chart": relative(gallery.chart) if gallery.chart else None,
        "channels": relative(gallery.channels),
        **answers,
    }


def _apart(drawn: DrawnLayer) -> dict[str, Any] | None:
    """What stands apart from the maps of a layer: class and register tokens."""
    found = drawn.apart
    if found is None:
        return None
    return {
        "tokens": drawn.tokens,
        "min": found.minimum,
        "max": found.maximum,
        "mean": found.mean,
        "std": found.std,
    }


def show(entry: Any) -> str:
    """The same for people."""
    rows = [
        (
            x["name"], x["kind"], format_shape(x["shape"]), "empty", "", "", "", "", "",
        )
        if x["grid"] is None
        else (
            x["name"], x["kind"], format_shape(x["shape"][1:]), f"{x['min']:.3g}", f"{x['max']:.3g}",
            f"{x['mean']:.3g}", f"{x['std']:.3g}", f"{x['zero_fraction']:.1%}", len(x["blank_channels"]) or "",
        )
        for x in entry["layers"]
    ]  # fmt: skip
    headers = ("layer", "kind", "shape", "min", "max", "mean", "std", "zero", "constant")
    told = f"{entry['path']}: {format_top(entry['top'])}" if entry["top"] else entry["path"]
    if "segments" in entry:
        told = show_segments(entry["path"], entry)
    lines = [show_boxes(entry["path"], entry) if "boxes" in entry else told, ""]
    return "\n".join(
        [*lines, align_columns(headers, rows, "min max mean std zero constant"), "", f"open {entry['overview']}"]
    )
