"""`inspector dream`: a picture in which the network sees more of what it sees."""

from __future__ import annotations

from pathlib import Path
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
    progress_bar,
)
from inspector.cli.filters import parse_weighted_layer
from inspector.cli.options import option
from inspector.errors import ImageError, UsageError
from inspector.extras import prepare_torch
from inspector.text import relative

if TYPE_CHECKING:
    from inspector.api.pictures import Picture
    from inspector.model import Model
    from inspector.pages.dreams import DreamFiles

_WHAT, _HOW, _OUTPUT = "What is amplified", "How it is made", "Output"


def dream(
    model: ModelArgument,
    image: Annotated[str, typer.Argument(metavar="IMAGE", help="A picture, or - for one on stdin.")],
    layer: Annotated[
        list[str], option("--layer", _WHAT, "A layer and its weight, 1 unless given; again for more.", "NAME[:WEIGHT]")
    ],
    octaves: Annotated[
        int | None,
        option("--octaves", _HOW, "Number of sizes to work at; by the picture's size unless given.", "N", min=1),
    ] = None,
    ratio: Annotated[float, option("--ratio", _HOW, "Factor from one size to the next.", "X")] = 1.4,
    steps: Annotated[int, option("--steps", _HOW, "Number of steps at each size.", "N", min=1)] = 20,
    rate: Annotated[float, option("--rate", _HOW, "Length of a step, in 255ths of the range of pixels.", "X")] = 1.5,
    jitter: Annotated[
        int, option("--jitter", _HOW, "Pixels that the picture is moved by at each step.", "PX", min=0)
    ] = 32,
    tile: Annotated[
        int, option("--tile", _HOW, "Large pictures are worked on in tiles of this size.", "PX", min=64)
    ] = 512,
    seed: Annotated[int, option("--seed", _HOW, "Seed of the moves: same seed, same picture.", "N", min=0)] = 0,
    caricature: Annotated[
        bool, option("--caricature", _WHAT, "Exaggerate the picture's own activation, not all activation.")
    ] = False,
    frames: Annotated[
        str | None, option("--frames", _OUTPUT, "Also write how it came about, as .gif or .webp.", "FILE")
    ] = None,
    precision: Annotated[
        str,
        option(
            "--precision", _HOW, "Number format; auto takes the faster that looks the same.", "auto|float32|bfloat16"
        ),
    ] = "auto",
    out: Annotated[
        str | None,
        typer.Option(
            "-o",
            "--out",
            metavar="FILE",
            rich_help_panel=_OUTPUT,
            help="The picture: PNG, JPEG or WebP; inspector-out/dream-NAME.png unless given.",
        ),
    ] = None,
    links: LinksOption = None,
    inputs: InputOption = None,
    json: JsonOption = False,
    provider: ProviderOption = "auto",
    threads: ThreadsOption = None,
    quiet: QuietOption = False,
) -> None:
    """Amplify in a picture what layers of a model detect: DeepDream."""
    from inspector.pages.dreams import draw_dream

    console = Console("dream", json, quiet)
    opened = console.open(model, provider, threads, links, inputs)
    chosen = [parse_weighted_layer(console, opened, text) for text in layer]
    picture = find_one_picture(image)
    target = out or Path("inspector-out") / f"dream-{picture.stem}.png"
    prepare_torch(threads)
    with progress_bar("dream", quiet) as on_progress:
        made = draw_dream(
            opened, picture.source, chosen, target, frames=frames, octaves=octaves, ratio=ratio, steps=steps,
            rate=rate / 255, jitter=jitter, tile=tile, seed=seed, caricature=caricature, precision=precision,
            provider=provider, on_progress=on_progress,
        )  # fmt: skip
    tell(console, opened, made, seed)


def find_one_picture(image: str) -> Picture:
    """The picture that an argument names."""
    if Path(image).is_dir():
        raise UsageError(f"{image} is a folder", "a dream is made of one picture")
    picture = next(find_given_pictures([image]))
    if isinstance(picture, ImageError):
        raise picture
    return picture


def tell(console: Console, model: Model, files: DreamFiles, seed: int) -> None:
    """Give out the document, or the same for people."""
    made = files.dream
    more = {"frames": relative(files.frames)} if files.frames else {}
    console.document(
        console.head(
            model,
            image=relative(files.path),
            activation_start=made.activation_start,
            activation=made.activation,
            octaves=[list(size) for size in made.octaves],
            layers=[
                {"layer": x.layer, "weight": x.weight, "start": x.start, "end": x.end, "stuck": x.stuck}
                for x in made.layers
            ],
            stuck=made.stuck,
            seed=seed,
            precision=made.precision,
            **more,
        )
    )
    sizes = ", ".join(f"{w}x{h}" for w, h in made.octaves)
    names = ", ".join(x.layer for x in made.layers)
    console.say(
        f"mean square of {names}: {made.activation_start:.3g} -> {made.activation:.3g} "
        f"in {len(made.octaves)} octaves ({sizes})\n\nopen {relative(files.path)}"
        + (f"\nopen {more['frames']}" if more else "")
    )
