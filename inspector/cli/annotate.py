"""`inspector annotate`: write what a foreign file does not say into a copy of it."""

from __future__ import annotations

from typing import Annotated

import typer

from inspector.cli.console import Console, JsonOption, ModelArgument, QuietOption, relative


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
    labels: Annotated[
        str | None, typer.Option("--labels", metavar="FILE", help="Class names: one a line, or JSON.")
    ] = None,
    cam_layer: Annotated[
        str | None, typer.Option("--cam-layer", metavar="NAME", help="The layer that class activation maps look at.")
    ] = None,
    size: Annotated[
        str | None, typer.Option("--size", metavar="HxW", help="Input size, for a model that leaves it open.")
    ] = None,
    json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Write preprocess, labels and layer names into a copy of a model; the network itself stays byte for byte.

    What is not given is kept from the file's own metadata, or written as it had to be assumed.
    """
    from inspector.annotate import annotate_model

    console = Console("annotate", json, quiet)
    written = annotate_model(model, out, preprocess=preprocess, labels=labels, cam_layer=cam_layer, size=size)
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
        f"{out}: {len(written.layers)} layers, {len(written.labels or ())} labels, "
        f"{written.preprocess.resize} to {written.preprocess.size}, mean {written.preprocess.mean}, "
        f"std {written.preprocess.std}, {written.preprocess.colour}"
    )
