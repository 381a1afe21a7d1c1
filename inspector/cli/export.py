"""`inspector export`: a torch network as one .onnx file with its layers exposed."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from exporters.forms import list_forms
from inspector.cli.console import (
    Console,
    JsonOption,
    ProviderOption,
    QuietOption,
    ThreadsOption,
    align_columns,
    identify,
    relative,
)
from inspector.errors import UsageError
from inspector.extras import import_from_here, prepare_torch

if TYPE_CHECKING:
    from exporters.exporting import Exported


def export(
    source: Annotated[
        str,
        typer.Argument(metavar="SOURCE", help=f"{list_forms()}, or a run of finetune."),
    ],
    out: Annotated[str, typer.Option("-o", "--out", metavar="FILE.onnx", help="The file to write.")],
    weights: Annotated[
        str | None, typer.Option("--weights", metavar="FILE", help="A safetensors file, or a saved state dict.")
    ] = None,
    pretrained: Annotated[
        bool, typer.Option("--pretrained", help="Take the library's own weights; the library downloads them.")
    ] = False,
    labels: Annotated[
        str | None, typer.Option("--labels", metavar="FILE", help="Class names: one a line, or JSON.")
    ] = None,
    preprocess: Annotated[
        str | None,
        typer.Option(
            "--preprocess", metavar="FILE|NAME", help="How pictures are prepared, instead of the library's own way."
        ),
    ] = None,
    size: Annotated[int | None, typer.Option("--size", metavar="PX", min=1, help="Input height and width.")] = None,
    expose: Annotated[
        str, typer.Option("--expose", metavar="features|all|NAME,...", help="Layers that become graph outputs.")
    ] = "features",
    activation: Annotated[
        str | None,
        typer.Option(
            "--activation", metavar="NAME", help="What makes probabilities of the scores: softmax, sigmoid or none."
        ),
    ] = None,
    opset: Annotated[int | None, typer.Option("--opset", metavar="N", help="Version of the operator set.")] = None,
    json: JsonOption = False,
    provider: ProviderOption = "auto",
    threads: ThreadsOption = None,
    quiet: QuietOption = False,
) -> None:
    """Export a torch network to one .onnx file: named layers, preprocess and labels inside, every layer checked.

    A run folder of `inspector finetune`, or one of its checkpoints, gives its .onnx again.
    Without --weights or --pretrained the weights are random. Every exposed layer is compared between torch and
    onnxruntime on a photograph; a difference above 1e-3 of the layer's scale fails the export and writes nothing.
    """
    prepare_torch(threads)
    import_from_here()
    console = Console("export", json, quiet)
    _check_provider(console, provider)
    if _is_run(source):
        _export_run(console, source, out)
        return
    from exporters.exporting import export_onnx
    from exporters.sources import load_source

    given = {"weights": weights, "preprocess": preprocess, "labels": labels, "size": (size, size) if size else None}
    loaded = load_source(source, pretrained=pretrained, **cast(Any, given))
    written = export_onnx(loaded, out, expose=expose, activation=cast(Any, activation), opset=opset)
    for line in written.notes:
        console.note(line)
    console.document(document(console, written))
    console.say(show(written))


def document(console: Console, written: Exported) -> dict[str, Any]:
    """The JSON document."""
    head = console.head(None, model=identify(written.path, written.sha256))
    rows = [row.to_json() for row in written.parity]
    names = [layer.name for layer in written.layers]
    return {**head, "file": relative(written.path), "layers": names, "parity": rows, "notes": list(written.notes)}


def show(written: Exported) -> str:
    """The same for people."""
    from inspector.agreement import find_worst

    worst = find_worst(written.parity)
    rows = [(row.layer, f"{row.max_abs:.1e}", f"{row.scale:.3g}") for row in written.parity]
    return (
        f"{align_columns(('layer', 'difference', 'scale'), rows)}\n\n"
        f"{written.path}: {written.size / 1e6:.1f} MB, {len(written.layers)} layers, {len(written.parity)} outputs "
        f"compared between torch and onnxruntime on {written.picture}; the largest difference is "
        f"{worst.relative:.1e} of the scale of {worst.layer}"
    )


def _is_run(source: str) -> bool:
    """Whether SOURCE is a run folder or a checkpoint. Raises UsageError for a path where there is nothing."""
    if "/" in source and ":" not in source and not Path(source).exists():
        raise UsageError(
            f"there is no run folder or checkpoint {source}",
            "give the folder that `inspector finetune` wrote, a .safetensors in its checkpoints, or torchvision:NAME",
        )
    return Path(source).is_dir() or source.endswith(".safetensors")


def _check_provider(console: Console, provider: str) -> None:
    """The provider only has to exist: the reference of the comparison is the CPU."""
    from inspector.runtime import choose_providers

    if len(choose_providers(provider)) > 1 and provider.lower() != "auto":
        console.note(f"--provider {provider}: an export is compared with torch on the CPU all the same")


def _export_run(console: Console, source: str, out: str) -> None:
    """A run folder or a checkpoint: its weights in the graph that it was trained from."""
    from exporters.finetuning import export_run

    model = export_run(source, out)
    names = [layer.name for layer in model.layers]
    console.document(console.head(model, file=relative(out), layers=names, parity=[], notes=[]))
    console.say(f"{out}: {model.graph.size / 1e6:.1f} MB, {len(names)} layers, classes {', '.join(model.labels or ())}")
