"""`inspector cam`: where in a picture the evidence for a class lies."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from inspector.cli.console import (
    Console,
    ImagesArgument,
    JsonOption,
    ModelArgument,
    OutOption,
    Picture,
    ProviderOption,
    QuietOption,
    ThreadsOption,
    relative,
)


def cam(
    model: ModelArgument,
    images: ImagesArgument,
    classes: Annotated[
        list[str] | None, typer.Option("--class", metavar="NAME|INDEX", help="A class to explain; again for more.")
    ] = None,
    top: Annotated[int, typer.Option("--top", metavar="K", min=1, help="Else the K most likely classes.")] = 1,
    method: Annotated[
        str,
        typer.Option(
            "--method",
            metavar="NAME",
            help="cam, gradcam, gradcam++, hirescam, xgradcam, layercam, eigencam, scorecam, ablationcam, reciprocam.",
        ),
    ] = "gradcam",
    layer: Annotated[
        list[str] | None, typer.Option("--layer", metavar="NAME", help="The layer to look at; several are averaged.")
    ] = None,
    backend: Annotated[
        str, typer.Option("--backend", metavar="auto|onnx|twin", help="auto uses torch only where it is needed.")
    ] = "auto",
    output: Annotated[
        str | None, typer.Option("--output", metavar="NAME[:INDEX]", help="Output of a detector or segmenter.")
    ] = None,
    opacity: Annotated[
        float | None,
        typer.Option("--opacity", min=0, max=1, help="Of the map on the picture; 0.4, with --negative 0.8 at most."),
    ] = None,
    colormap: Annotated[
        str | None, typer.Option("--colormap", metavar="NAME", help="viridis, magma, inferno, turbo, grey, diverging.")
    ] = None,
    negative: Annotated[bool, typer.Option("--negative", help="Show evidence against the class too.")] = False,
    score: Annotated[
        bool, typer.Option("--score", help="Measure how faithful each map is: deletion, insertion.")
    ] = False,
    region: Annotated[
        str | None,
        typer.Option("--region", metavar="X,Y,W,H", help="Score too, and: is the evidence inside this box? In pixels."),
    ] = None,
    mask: Annotated[
        str | None, typer.Option("--mask", metavar="FILE", help="The same for a mask picture: bright is inside.")
    ] = None,
    out: OutOption = "inspector-out",
    json: JsonOption = False,
    provider: ProviderOption = "auto",
    threads: ThreadsOption = None,
    quiet: QuietOption = False,
) -> None:
    """Show where in pictures the evidence for a class lies: maps of the most likely classes, or of any named."""
    from inspector.cam import prepare
    from inspector.files import safe_name
    from inspector.pages.overlays import draw_maps

    console = Console("cam", json, quiet)
    opened = console.open(model, provider, threads)
    console.layers(opened, layer)
    engine = prepare(opened, method, layer, backend, output)
    console.note(f"at {' + '.join(x.name for x in engine.layers)}: {engine.reason}")
    if engine.method.class_independent and (classes or top > 1):
        console.note(f"{engine.method.name} does not depend on the class: one map for all")
    check, judge = _judge(engine, score, region, mask)
    taken: set[str] = set()

    def handle(picture: Picture) -> dict[str, Any]:
        check(picture.source)
        folder = Path(out) / safe_name(picture.stem, taken)
        maps, sheet = draw_maps(
            engine, picture.source, folder, name=picture.name, classes=classes, top=top, opacity=opacity,
            colormap=colormap, negative=negative,
        )  # fmt: skip
        entries = [
            {**_entry(drawn, engine.method.class_independent), **judge(picture.source, drawn.result)} for drawn in maps
        ]
        return {"path": picture.path, "maps": entries, "sheet": relative(sheet) if sheet else None}

    console.each(opened, images, handle, _show)


def _judge(engine: Any, score: bool, region: str | None, mask: str | None) -> tuple[Any, Any]:
    """(image -> whether the region fits it, (image, map) -> keys about its faithfulness); nothing unless asked for."""
    if not (score or region or mask):
        return lambda image: None, lambda image, found: {}
    from inspector.cam.faithfulness import judge_map, parse_region
    from inspector.image import open_image

    area = parse_region(region, mask)
    return (
        lambda image: area.check(open_image(image).size) if area else None,
        lambda image, found: {"score": judge_map(engine.model, image, found, region=area)},
    )


def _entry(drawn: Any, class_independent: bool) -> dict[str, Any]:
    found = drawn.result
    return {
        "class": {
            "index": found.target.index,
            "label": found.target.label,
            "probability": found.target.probability,
            "score": found.target.score,
        },
        "method": found.method,
        "layer": found.layer,
        "backend": found.backend,
        "shape": list(found.shape),
        "peak": list(found.peak),
        "empty": found.empty,
        "heatmap": relative(drawn.heatmap),
        "raw": relative(drawn.raw),
        "overlay": relative(drawn.overlay),
        "reason": found.reason,
        "class_independent": class_independent,
    }


def _show(entry: Any) -> str:
    from inspector.cam.faithfulness import BETTER

    lines = [f"{entry['path']}:"]
    for found in entry["maps"]:
        about = found["class"]
        sure = "" if about["probability"] is None else f" {about['probability']:.1%}".replace("%", " %")
        where = "peak at {}, {}".format(*found["peak"])
        made = f"({found['method']} at {found['layer']}, {found['backend']})"
        if found["class_independent"]:
            where = "no pattern" if found["empty"] else where
            lines.append(f"  the strongest pattern, whatever the class: {where} {made}")
            if "score" in found:
                lines.append(f"    its figures are those of {about['label']}{sure}")
        else:
            where = "no positive evidence" if found["empty"] else where
            lines.append(f"  {about['label']}{sure}: {where} {made}")
        for key, value in found.get("score", {}).items():
            lines.append(f"    {key.replace('_', ' ')} {value:.3f} ({BETTER[key]} is better)")
        lines.append(f"    {found['overlay']}")
    return "\n".join(lines + ([f"  all: {entry['sheet']}"] if entry["sheet"] else []))
