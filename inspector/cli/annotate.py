"""`inspector annotate`: write what a foreign file does not say into a copy of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

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
    relative,
)
from inspector.cli.options import read_inputs

if TYPE_CHECKING:
    from inspector.model import Model

_LABELS = (
    "Names of the classes: one on each line, or JSON. A WordNet id before a name is left out. "
    "A line may hold several names with commas between; --class then takes any of them."
)


def annotate(
    model: ModelArgument,
    out: Annotated[str, typer.Option("-o", "--out", metavar="FILE.onnx", help="The file to write.")],
    preprocess: Annotated[
        str | None,
        typer.Option(
            "--preprocess",
            metavar="FILE|NAME",
            help="How a picture becomes the input: imagenet, unit, signed, caffe, raw, or a JSON file with its keys.",
        ),
    ] = None,
    labels: Annotated[str | None, typer.Option("--labels", metavar="FILE", help=_LABELS)] = None,
    cam_layer: Annotated[
        str | None, typer.Option("--cam-layer", metavar="NAME", help="The layer that class activation maps look at.")
    ] = None,
    size: Annotated[
        str | None,
        typer.Option("--size", metavar="HxW", help="Height and width of the input, for a model that leaves them open."),
    ] = None,
    activation: Annotated[
        str | None,
        typer.Option(
            "--activation",
            metavar="NAME",
            help="What makes probabilities of the scores: softmax, sigmoid (many labels) or none.",
        ),
    ] = None,
    output: Annotated[
        str | None,
        typer.Option(
            "--output", metavar="NAME", help="The output, or any tensor or layer, that holds the scores of the classes."
        ),
    ] = None,
    task: Annotated[
        str | None,
        typer.Option(
            "--task",
            metavar="NAME",
            help="What the outputs mean: classify, detect, segment, pose, embed or picture.",
        ),
    ] = None,
    head: Annotated[
        str | None,
        typer.Option("--head", metavar="NAME", help="Whose outputs they are, such as yolov8; a wrong one lists all."),
    ] = None,
    links: LinksOption = None,
    inputs: InputOption = None,
    json: JsonOption = False,
    provider: ProviderOption = "auto",
    threads: ThreadsOption = None,
    quiet: QuietOption = False,
) -> None:
    """Write preprocess, labels and layer names into a copy of a model; the network itself stays byte for byte.

    What is not given is kept from the file's own metadata, or written as it had to be assumed. Values of --input are
    written too: every command then uses them, and says so; --input there gives others.
    """
    from inspector import annotate as call

    console = Console("annotate", json, quiet)
    written = call(
        model, out, preprocess=preprocess, labels=labels, cam_layer=cam_layer, size=size, activation=activation,
        output=output, task=task, head=head,
        provider=provider, threads=threads, allow_links=links or (), inputs=read_inputs(inputs), warn=console.note,
    )  # fmt: skip
    console.document(console.head(written, **document(written, out)))
    console.say(show(written, out))


def document(written: Model, out: str) -> dict[str, Any]:
    """The keys of the JSON document."""
    return {
        "file": relative(out),
        "preprocess": written.preprocess.to_json(),
        "labels": len(written.labels or ()),
        "layers": len(written.layers),
    }


def show(written: Model, out: str) -> str:
    """The same for people."""
    made = written.preprocess
    return (
        f"{out}: {len(written.layers)} layers, {len(written.labels or ()) or 'no'} labels, "
        f"{made.resize} to {made.size}, mean {made.mean}, std {made.std}, {made.colour}"
    )
