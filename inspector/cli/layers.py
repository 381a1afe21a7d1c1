"""`inspector layers`: what is in there."""

from __future__ import annotations

from inspector.cli.console import (
    Console,
    JsonOption,
    ModelArgument,
    ProviderOption,
    QuietOption,
    ThreadsOption,
    relative,
    shape_text,
    table,
)


def layers(
    model: ModelArgument,
    json: JsonOption = False,
    provider: ProviderOption = "auto",
    threads: ThreadsOption = None,
    quiet: QuietOption = False,
) -> None:
    """List the layers of a model: name, kind, shape, and whether the file exposes it.

    A layer is given to other commands by its name or any unique ending of it.
    """
    from inspector.model import describe

    console = Console("layers", json, quiet)
    opened = console.open(model, provider, threads)
    entries = [
        {
            "name": layer.name,
            "tensor": layer.tensor,
            "kind": layer.kind,
            "shape": list(layer.shape) if layer.shape else None,
            "channels": layer.channels,
            "exposed": layer.exposed,
            "aliases": list(layer.aliases),
        }
        for layer in opened.layers
    ]
    console.document(console.head(opened, layers=entries, model={**describe(opened), "path": relative(opened.path)}))
    rows = [(x.name, x.kind, shape_text(x.shape), "yes" if x.exposed else "") for x in opened.layers]
    graph = opened.graph
    console.say(
        f"{model}: {len(rows)} layers, {graph.parameters:,} parameters, opset {graph.opset}, "
        f"input {opened.input.name} {shape_text(opened.input.shape)} ({opened.input.layout}), "
        f"{opened.classes or 'no'} classes\n"
    )
    console.say(table(("layer", "kind", "shape", "exposed"), rows))
