"""`inspector layers`: what is in there."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from inspector.cli.console import (
    Console,
    InputOption,
    JsonOption,
    LinksOption,
    ModelArgument,
    ProviderOption,
    QuietOption,
    ThreadsOption,
    align_columns,
    format_shape,
    relative,
)

if TYPE_CHECKING:
    from inspector.model import Model


def layers(
    model: ModelArgument,
    links: LinksOption = None,
    inputs: InputOption = None,
    json: JsonOption = False,
    provider: ProviderOption = "auto",
    threads: ThreadsOption = None,
    quiet: QuietOption = False,
) -> None:
    """List the layers of a model: name, kind, shape, and whether the file exposes it.

    A layer is given to other commands by its name or any unique ending of it.
    """
    console = Console("layers", json, quiet)
    opened = console.open(model, provider, threads, links, inputs)
    console.document(console.head(opened, **document(opened)))
    console.say(show(opened, model))


def document(model: Model) -> dict[str, Any]:
    """The keys of the JSON document."""
    from inspector.model import describe_model

    layers = [
        {
            "name": layer.name,
            "tensor": layer.tensor,
            "kind": layer.kind,
            "shape": list(layer.shape) if layer.shape else None,
            "channels": layer.channels,
            "exposed": layer.exposed,
            "aliases": list(layer.aliases),
        }
        for layer in model.layers
    ]
    return {"layers": layers, "model": {**describe_model(model), "path": relative(model.path)}}


def show(model: Model, path: str) -> str:
    """The same for people."""
    rows = [(x.name, x.kind, format_shape(x.shape), "yes" if x.exposed else "") for x in model.layers]
    about = (
        f"{path}: {len(rows)} layers, {model.graph.parameters:,} parameters, opset {model.graph.opset}, "
        f"input {model.input.name} {format_shape(model.input.shape)} ({model.input.layout}), "
        f"{model.classes or 'no'} classes{f', task {model.task} ({model.decoder.head})' if model.decoder else ''}"
    )
    return f"{about}\n\n{align_columns(('layer', 'kind', 'shape', 'exposed'), rows)}"
