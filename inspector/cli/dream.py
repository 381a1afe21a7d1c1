"""`inspector dream`: a picture in which the network sees more of what it sees."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from inspector.cli.console import (
    Console,
    JsonOption,
    ModelArgument,
    ProviderOption,
    QuietOption,
    ThreadsOption,
    find_pictures,
    relative,
)
from inspector.cli.filters import Precision, shares, weighted_layer
from inspector.errors import ImageError, UsageError
from inspector.extras import prepare_torch


def dream(
    model: ModelArgument,
    image: Annotated[str, typer.Argument(metavar="IMAGE", help="A picture, or - for one on stdin.")],
    layer: Annotated[
        list[str], typer.Option("--layer", metavar="NAME[:WEIGHT]", help="A layer and its weight; again for more.")
    ],
    octaves: Annotated[
        int | None, typer.Option("--octaves", metavar="N", min=1, help="Sizes to work at; by the picture's size.")
    ] = None,
    ratio: Annotated[float, typer.Option("--ratio", metavar="X", help="From one octave to the next.")] = 1.4,
    steps: Annotated[int, typer.Option("--steps", metavar="N", min=1, help="For each octave.")] = 20,
    rate: Annotated[float, typer.Option("--rate", metavar="X", help="Length of a step, in 255ths.")] = 1.5,
    jitter: Annotated[int, typer.Option("--jitter", metavar="PX", min=0, help="Shift at each step.")] = 32,
    tile: Annotated[
        int, typer.Option("--tile", metavar="PX", min=64, help="Large pictures are worked on in tiles of this size.")
    ] = 512,
    seed: Annotated[int, typer.Option("--seed", metavar="N", min=0, help="Same seed, same picture.")] = 0,
    caricature: Annotated[
        bool, typer.Option("--caricature", help="Exaggerate the picture's own activation, not all activation.")
    ] = False,
    frames: Annotated[
        str | None, typer.Option("--frames", metavar="FILE", help="Also how it came about, as .gif or .webp.")
    ] = None,
    precision: Precision = "auto",
    out: Annotated[
        str | None, typer.Option("-o", "--out", metavar="FILE", help="PNG, JPEG or WebP; inspector-out/dream-NAME.png.")
    ] = None,
    json: JsonOption = False,
    provider: ProviderOption = "auto",
    threads: ThreadsOption = None,
    quiet: QuietOption = False,
) -> None:
    """Amplify in a picture what layers of a model detect: DeepDream."""
    console = Console("dream", json, quiet)
    opened = console.open(model, provider, threads)
    chosen = [weighted_layer(console, opened, text) for text in layer]
    if Path(image).is_dir():
        raise UsageError(f"{image} is a folder", "a dream is made of one picture")
    picture = next(find_pictures([image]))
    if isinstance(picture, ImageError):
        raise picture
    target = Path(out) if out else Path("inspector-out") / f"dream-{picture.stem}.png"
    prepare_torch(threads)
    from inspector.ascent import dream as run
    from inspector.pages.dreams import check_target, save_dream, save_frames

    check_target(target, frames)
    with shares("dream", quiet) as tell:
        made = run(
            opened, picture.source, chosen, octaves=octaves, ratio=ratio, steps=steps, rate=rate / 255, jitter=jitter,
            tile=tile, seed=seed, caricature=caricature, frames_every=2 if frames else 0, precision=precision,
            provider=provider, on_progress=tell,
        )  # fmt: skip
    save_dream(made, target, opened, picture.source, seed, caricature)
    more: dict[str, Any] = {"frames": relative(save_frames(made, Path(frames)))} if frames else {}
    console.document(
        console.head(
            opened,
            image=relative(target),
            activation_start=made.activation_start,
            activation=made.activation,
            octaves=[list(size) for size in made.octaves],
            layers=[{"layer": x.layer, "weight": x.weight, "start": x.start, "end": x.end} for x in made.layers],
            seed=seed,
            precision=made.precision,
            **more,
        )
    )
    sizes = ", ".join(f"{w}x{h}" for w, h in made.octaves)
    names = ", ".join(x.layer for x in made.layers)
    console.say(
        f"mean square of {names}: {made.activation_start:.3g} -> {made.activation:.3g} "
        f"in {len(made.octaves)} octaves ({sizes})\n\nopen {relative(target)}"
        + (f"\nopen {more['frames']}" if frames else "")
    )
