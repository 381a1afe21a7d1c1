"""`inspector attach`: outputs that a device gets from the one run that it makes anyway."""

from __future__ import annotations

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
    align_columns,
    relative,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from exporters.attaching import AttachedModel


def attach(
    model: ModelArgument,
    out: Annotated[str, typer.Option("-o", "--out", metavar="FILE.onnx", help="The file to write.")],
    cam: Annotated[
        str | None,
        typer.Option(
            "--cam",
            metavar="METHOD",
            help="Add a map of what speaks for the top class, by this method: gradcam, cam, ...",
        ),
    ] = None,
    layer: Annotated[
        str | None,
        typer.Option(
            "--layer", metavar="LAYER", help="For --cam: the layer that the map looks at; chosen unless given."
        ),
    ] = None,
    all_classes: Annotated[
        bool | None,
        typer.Option(
            "--all-classes/--no-all-classes",
            help="For --cam: add the maps of all classes; unless given, where a run gets a tenth longer at most.",
        ),
    ] = None,
    calibrate: Annotated[
        str | None,
        typer.Option(
            "--calibrate",
            metavar="DIR",
            help="Add honest probabilities; DIR holds labelled pictures in folders named after the classes.",
        ),
    ] = None,
    unknown: Annotated[
        str | None,
        typer.Option(
            "--unknown",
            metavar="DIR",
            help="Add how unknown a picture is; DIR holds pictures such as the model is for.",
        ),
    ] = None,
    outliers: Annotated[
        str | None,
        typer.Option(
            "--outliers", metavar="DIR", help="For --unknown: DIR holds pictures such as the model is not for."
        ),
    ] = None,
    false_alarms: Annotated[
        float | None,
        typer.Option(
            "--false-alarms",
            metavar="RATE",
            help="For --unknown: the share of known pictures that may raise an alarm; 0.05 unless given.",
        ),
    ] = None,
    saliency: Annotated[
        str | None,
        typer.Option(
            "--saliency",
            metavar="KIND",
            help="Add the gradient of the top score with respect to the input: gradient, smoothgrad[:STEPS] or "
            "integrated[:STEPS].",
        ),
    ] = None,
    links: LinksOption = None,
    inputs: InputOption = None,
    json: JsonOption = False,
    provider: ProviderOption = "auto",
    threads: ThreadsOption = None,
    quiet: QuietOption = False,
) -> None:
    """Write a copy of a model that gives more than scores in the one run that is made of it anyway.

    Standard operators only: any program that runs the model gets the outputs, behind the model's own.
    """
    from exporters.attaching import attach_outputs, check_attached_options

    console = Console("attach", json, quiet)
    check_attached_options(cam, layer, all_classes, calibrate, unknown, outliers, false_alarms, saliency)
    opened = console.open(model, provider, threads, links, inputs)
    made = attach_outputs(
        opened, out, cam=cam, layer=layer, all_classes=all_classes, calibrate=calibrate, unknown=unknown,
        outliers=outliers, false_alarms=false_alarms, saliency=saliency, provider=provider, threads=threads,
    )  # fmt: skip
    console.document(console.head(opened, file=relative(made.path), sha256=made.sha256, **made.to_json()))
    console.say(show(made))
    for line in made.notes:
        console.warn(line)


def show(made: AttachedModel) -> str:
    """The outputs and how near they are, for people."""
    near = {row.layer: row for row in made.parity}
    rows = [
        (
            one.name,
            " x ".join(map(str, one.shape)),
            f"{near[one.name].relative:.1e}" if one.name in near else "-",
            one.meaning,
        )
        for one in made.outputs
    ]
    lines = [align_columns(("output", "shape", "differs by", "what it says"), rows), "", *show_figures(made)]
    own = [row for row in made.parity if row.layer not in {one.name for one in made.outputs}]
    worst = max((row.relative for row in own), default=0.0)
    lines.append(
        f"{made.path}: {_count(len(made.outputs))} added; the model's own {_count(len(own))} "
        f"{'differs' if len(own) == 1 else 'differ'} by at most {worst:.1e}"
    )
    return "\n".join(lines)


def show_figures(made: AttachedModel) -> list[str]:
    """What was measured on pictures, for people."""
    lines = []
    if found := made.figures.get("calibration"):
        before, after = found["ece_before"], found["ece_after"]
        lines.append(
            f"temperature {found['temperature']:.3f} by {found['pictures']} pictures; calibration error on held-out "
            f"halves {_interval(before)} before, {_interval(after)} after"
        )
    if found := made.figures.get("unknown"):
        best = found["tried"][found["method"]]
        against = "outliers" if found["against"] == "outliers" else "pictures with shuffled tiles"
        lines.append(
            f"unknown by {found['method']}: AUROC {best['auroc']:.3f} against {found['outliers']} {against}; above "
            f"{found['threshold']:.4f} lie {100 * found['false_alarms']:.3g} % of {found['held_out']} held-out pictures"
        )
    return lines


def _count(outputs: int) -> str:
    return f"{outputs} output" + "s" * (outputs != 1)


def _interval(found: Mapping[str, float]) -> str:
    return f"{found['value']:.3f} ({found['low']:.3f} to {found['high']:.3f})"
