"""`inspector quantize`: a smaller variant of a model, and what it costs."""

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
    align_columns,
    relative,
)

if TYPE_CHECKING:
    from exporters.quantizing import QuantizedModel


def quantize(
    model: ModelArgument,
    out: Annotated[str, typer.Option("-o", "--out", metavar="FILE.onnx", help="The file to write.")],
    calibrate: Annotated[
        str, typer.Option("--calibrate", metavar="DIR", help="Pictures like those the model is for; 50 to 200 do.")
    ],
    to: Annotated[str, typer.Option("--to", metavar="int8|fp16", help="Type to compute with.")] = "int8",
    keep: Annotated[
        list[str] | None, typer.Option("--keep", metavar="LAYER", help="A layer that stays in float; again for more.")
    ] = None,
    auto: Annotated[
        bool, typer.Option("--auto", help="Keep more layers in float, the worst first, until --target is reached.")
    ] = False,
    target: Annotated[
        float, typer.Option("--target", metavar="SHARE", help="Agreement of the answers that --auto reaches.")
    ] = 0.95,
    expose: Annotated[
        str, typer.Option("--expose", metavar="free|all|none", help="Layers to expose; free: those that cost no speed.")
    ] = "free",
    reduce_range: Annotated[
        bool, typer.Option("--reduce-range", help="7 bits for weights: for x86 machines without VNNI.")
    ] = False,
    pictures: Annotated[int, typer.Option("--pictures", metavar="N", min=1, help="Most pictures that are used.")] = 200,
    links: LinksOption = None,
    inputs: InputOption = None,
    json: JsonOption = False,
    provider: ProviderOption = "auto",
    threads: ThreadsOption = None,
    quiet: QuietOption = False,
) -> None:
    """Write an int8 or fp16 variant of a model with its layer names and metadata, measured against the model.

    int8 is static, with a scale per channel, calibrated on pictures. Every other command works on the result.
    """
    from exporters.quantizing import quantize_model

    console = Console("quantize", json, quiet)
    opened = console.open(model, provider, threads, links, inputs)
    made = quantize_model(
        opened, out, calibrate, to=to, keep=keep or (), auto=auto, target=target, expose=expose,
        reduce_range=reduce_range, pictures=pictures, note=console.note,
    )  # fmt: skip
    console.document(console.head(opened, **document(made)))
    console.say(show(made))
    for line in made.notes:
        console.warn(line)
    if not auto and to == "int8" and made.agreement is not None and made.agreement < target:
        verb = "are found by both" if made.compared == "boxes" else "keep their class"
        console.note(f"only {made.agreement:.1%} of the {made.counted} {verb}; --auto keeps layers in float")


def document(made: QuantizedModel) -> dict[str, Any]:
    """The keys of the JSON document."""
    return {
        "file": relative(made.path),
        "sha256": made.sha256,
        "to": made.to,
        "bytes_before": made.bytes_before,
        "bytes_after": made.bytes_after,
        "drift": [
            {
                "layer": d.layer,
                "sqnr_db": d.sqnr_db,
                "worst_channel": d.worst_channel,
                "worst_channel_db": d.worst_channel_db,
            }
            for d in made.drift
        ],
        "agreement": made.agreement,
        "compared": made.compared,
        "score_shift": made.score_shift,
        "flipped": [relative(path) for path in made.flipped],
        "kept": list(made.kept),
        "pictures": made.pictures,
        "latency_ratio": made.latency_ratio,
        "exposed": made.exposed,
        "notes": list(made.notes),
    }


def show(made: QuantizedModel) -> str:
    """The same for people."""
    rows = [(d.layer, f"{d.sqnr_db:.1f}", d.worst_channel, f"{d.worst_channel_db:.1f}") for d in made.drift]
    lines = [align_columns(("layer", "dB", "worst channel", "its dB"), rows, right="dB"), ""]
    agreement = ""
    if made.agreement is not None:
        agreement = f", {made.compared} agrees on {made.agreement:.1%} of {made.pictures} pictures"
        if made.compared != "top class":
            agreement = f", {made.agreement:.1%} of the {made.compared} agree on {made.pictures} pictures"
        if made.score_shift is not None:
            agreement += f", their scores move by {made.score_shift:.3f}"
    worst = min(made.drift, key=lambda d: d.sqnr_db)
    lines += [
        f"{made.path}: {made.bytes_before / 1e6:.1f} MB became {made.bytes_after / 1e6:.1f} MB "
        f"({made.bytes_before / made.bytes_after:.2f} times smaller){agreement}",
        f"{made.latency_ratio:.2f} times the time; worst layer {worst.layer}, {worst.sqnr_db:.1f} dB; "
        f"kept in float: {', '.join(made.kept) or 'none'}",
    ]
    return "\n".join(lines)
