"""`inspector annotate`: write what a foreign file does not say into a copy of it."""

from __future__ import annotations

from typing import Annotated

import typer

from inspector.cli.console import (
    Console,
    JsonOption,
    ModelArgument,
    ProviderOption,
    QuietOption,
    ThreadsOption,
    relative,
)

_LABELS = (
    "Class names: one a line, or JSON. A WordNet id before the name is left out; "
    "of several names, as in tabby, tabby cat, --class takes any."
)


def annotate(
    model: ModelArgument,
    out: Annotated[str, typer.Option("-o", "--out", metavar="FILE.onnx", help="The file to write.")],
    preprocess: Annotated[
        str | None,
        typer.Option(
            "--preprocess",
            metavar="FILE|NAME",
            help="imagenet, unit, signed, caffe, raw, or a JSON file with its keys.",
        ),
    ] = None,
    labels: Annotated[str | None, typer.Option("--labels", metavar="FILE", help=_LABELS)] = None,
    cam_layer: Annotated[
        str | None, typer.Option("--cam-layer", metavar="NAME", help="The layer that class activation maps look at.")
    ] = None,
    size: Annotated[
        str | None, typer.Option("--size", metavar="HxW", help="Input size, for a model that leaves it open.")
    ] = None,
    activation: Annotated[
        str | None,
        typer.Option("--activation", metavar="NAME", help="Of the scores: softmax, sigmoid (many labels) or none."),
    ] = None,
    json: JsonOption = False,
    provider: ProviderOption = "auto",
    threads: ThreadsOption = None,
    quiet: QuietOption = False,
) -> None:
    """Write preprocess, labels and layer names into a copy of a model; the network itself stays byte for byte.

    What is not given is kept from the file's own metadata, or written as it had to be assumed.
    """
    from inspector.model.annotate import annotate_model, open_to_annotate

    console = Console("annotate", json, quiet)
    opened = open_to_annotate(model, provider=provider, threads=threads, warn=console.note)
    written = annotate_model(
        opened, out, preprocess=preprocess, labels=labels, cam_layer=cam_layer, size=size, activation=activation
    )
    console.document(
        console.head(
            written,
            file=relative(out),
            preprocess=written.preprocess.to_json(),
            labels=len(written.labels or ()),
            layers=len(written.layers),
        )
    )
    console.say(
        f"{out}: {len(written.layers)} layers, {len(written.labels or ()) or 'no'} labels, "
        f"{written.preprocess.resize} to {written.preprocess.size}, mean {written.preprocess.mean}, "
        f"std {written.preprocess.std}, {written.preprocess.colour}"
    )
