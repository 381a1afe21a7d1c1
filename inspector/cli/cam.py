"""`inspector cam`: where in a picture the evidence for a class lies."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

from inspector.cli.console import (
    Console,
    ImagesArgument,
    InputOption,
    JsonOption,
    LinksOption,
    ModelArgument,
    OutOption,
    ProviderOption,
    QuietOption,
    ThreadsOption,
    format_alarm,
)
from inspector.cli.options import option
from inspector.text import relative

if TYPE_CHECKING:
    from inspector.api.pictures import Picture
    from inspector.cam import CamResult, MapEngine
    from inspector.model import Model
    from inspector.pages.overlays import DrawnMap, DrawnMaps


_WHAT, _HOW, _LOOK, _SCORE = "What is explained", "How maps are made", "How maps are drawn", "How good maps are"


def cam(
    model: ModelArgument,
    images: ImagesArgument,
    classes: Annotated[
        list[str] | None, option("--class", _WHAT, "A class to explain; again for more.", "NAME|INDEX")
    ] = None,
    top: Annotated[
        int | None,
        option("--top", _WHAT, "Number of the most likely classes to explain, 1, or of the best boxes, 5.", "K", min=1),
    ] = None,
    box: Annotated[
        list[str] | None,
        option("--box", _WHAT, "A box of a detector to explain, the best being 0; again for more.", "N|all"),
    ] = None,
    confidence: Annotated[
        float | None,
        option("--confidence", _WHAT, "Smallest score of a box; the head's own unless given.", min=0, max=1),
    ] = None,
    iou: Annotated[
        float | None,
        option(
            "--iou", _WHAT, "Overlap above which two boxes show one object; the head's own unless given.", min=0, max=1
        ),
    ] = None,
    side: Annotated[
        str | None,
        option("--side", _WHAT, "Explain the place of a side of each box, not its score.", "left|top|right|bottom"),
    ] = None,
    method: Annotated[
        str | None,
        option(
            "--method",
            _HOW,
            "cam, gradcam, gradcam++, hirescam, xgradcam, layercam, eigencam, scorecam, ablationcam, reciprocam, "
            "drise. For boxes layercam unless given, gradcam else.",
            "NAME",
        ),
    ] = None,
    masks: Annotated[
        int, option("--masks", _HOW, "Number of masks that drise covers the picture with.", "N", min=1)
    ] = 1000,
    seed: Annotated[int, option("--seed", _HOW, "Seed of these masks.", "N", min=0)] = 0,
    layer: Annotated[
        list[str] | None,
        option("--layer", _HOW, "The layer to look at; again for more, whose maps are averaged.", "NAME"),
    ] = None,
    backend: Annotated[
        str, option("--backend", _HOW, "Where gradients come from; auto uses torch only if needed.", "auto|onnx|twin")
    ] = "auto",
    output: Annotated[
        str | None,
        option("--output", _WHAT, "An output of a detector or segmenter instead of a class.", "NAME[:INDEX]"),
    ] = None,
    opacity: Annotated[
        float | None,
        option("--opacity", _LOOK, "Opacity of a map on the picture; 0.4, with --negative 0.8 at most.", min=0, max=1),
    ] = None,
    colormap: Annotated[
        str | None,
        option("--colormap", _LOOK, "Colors: viridis, magma, inferno, turbo, grey, diverging.", "NAME"),
    ] = None,
    negative: Annotated[bool, option("--negative", _LOOK, "Show evidence against the class too.")] = False,
    score: Annotated[bool, option("--score", _SCORE, "Measure how faithful each map is: deletion, insertion.")] = False,
    region: Annotated[
        str | None,
        option(
            "--region",
            _SCORE,
            "Score, and measure the evidence in this box, in pixels; a segmenter explains it.",
            "X,Y,W,H",
        ),
    ] = None,
    mask: Annotated[
        str | None,
        option("--mask", _SCORE, "Score, and measure the evidence where this picture is bright.", "FILE"),
    ] = None,
    out: OutOption = "inspector-out",
    links: LinksOption = None,
    inputs: InputOption = None,
    json: JsonOption = False,
    provider: ProviderOption = "auto",
    threads: ThreadsOption = None,
    quiet: QuietOption = False,
) -> None:
    """Show where in pictures the evidence for a class lies: maps of the most likely classes, or of any named."""
    from inspector.cam.boxes import BoxChoice, choose_box_numbers
    from inspector.cam.faithfulness import parse_region
    from inspector.pages.folders import PictureFolders
    from inspector.pages.overlays import MapStyle, write_overlays

    console = Console("cam", json, quiet)
    choice = BoxChoice(choose_box_numbers(box), confidence, iou, side, masks, seed)
    area = parse_region(region, mask)
    opened = console.open(model, provider, threads, links, inputs)
    engine = _prepare(console, opened, (method, layer, backend, output, choice, area), bool(classes), top or 1)
    style = MapStyle(opacity, colormap, negative)
    folders = PictureFolders(out)

    def handle(picture: Picture) -> dict[str, Any]:
        with folders.claim(picture.source, picture.stem, picture.name) as folder:
            made = write_overlays(
                engine, picture.source, folder, name=picture.name, classes=classes, top=top, style=style,
                judge=score, region=area,
            )  # fmt: skip
        return document(console, picture.path, engine, made)

    console.each(engine.model, images, handle, _show)


def _prepare(console: Console, model: Model, how: tuple[Any, ...], named: bool, top: int) -> MapEngine:
    """The method made ready, and a note of the layer that was chosen. how: what `prepare_maps` takes."""
    from inspector.cam import prepare_maps
    from inspector.cam.covers import CoverEngine
    from inspector.cam.file_engine import FileEngine

    def tell(done: int, total: int) -> None:
        if done % 100 == 0:
            console.note(f"{done} of {total} masks")

    console.layers(model, how[1])
    engine = prepare_maps(model, *how)
    if isinstance(engine, CoverEngine):
        engine.progress = tell
    if isinstance(engine, FileEngine) and (used := engine.list_used(named)):
        console.note(f"by the file's own attached outputs: {', '.join(map(repr, used))}")
    if engine.layers:
        console.note(f"at {' + '.join(x.name for x in engine.layers)}: {engine.reason}")
    if engine.method.class_independent and (named or top > 1):
        console.note(f"{engine.method.name} does not depend on the class: one map for all")
    return engine


def document(console: Console, path: str, engine: MapEngine, drawn: DrawnMaps) -> dict[str, Any]:
    """One entry of `images`. Where each box has layers of its own, they are said when the first one is known."""
    if drawn.maps and not engine.layers:
        console.note(engine.reason)
    maps = [_entry(x, engine.method.class_independent) for x in drawn.maps]
    said = drawn.maps[0].result.said if drawn.maps else {}
    sheet = relative(drawn.sheet) if drawn.sheet else None
    return {"path": path, "maps": maps, "sheet": sheet, **({"attached": dict(said)} if said else {})}


def _entry(drawn: DrawnMap, class_independent: bool) -> dict[str, Any]:
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
        **({"score": dict(drawn.figures)} if drawn.figures else {}),
        **({"attached": found.attached} if found.attached else {}),
        **_entry_of_box(found),
    }


def _entry_of_box(found: CamResult) -> dict[str, Any]:
    """What an entry says of the box that it is of; nothing for a map of a class."""
    if found.found is None:
        return {}
    return {
        "number": found.number,
        "box": [round(side, 3) for side in found.found.box],
        "score": found.found.score,
        "energy_inside": found.energy_inside,
    }


def _show(entry: Any) -> str:
    from inspector.cam.faithfulness import BETTER

    lines = [f"{entry['path']}:{format_alarm(entry.get('attached', {}))}"]
    for found in entry["maps"]:
        about = found["class"]
        sure = "" if about["probability"] is None else f" {about['probability']:.1%}".replace("%", " %")
        where = "peak at {}, {}".format(*found["peak"])
        made = f"({found['method']}{' at ' if found['layer'] else ''}{found['layer']}, {found['backend']})"
        if "box" in found:
            lines.append(_show_box(found, f"{about['label']}{sure}", made))
        elif found["class_independent"]:
            where = "no pattern" if found["empty"] else where
            lines.append(f"  the strongest pattern, whatever the class: {where} {made}")
            if "score" in found:
                lines.append(f"    its figures are those of {about['label']}{sure}")
        else:
            where = "no positive evidence" if found["empty"] else where
            lines.append(f"  {about['label']}{sure}: {where} {made}")
        for key, value in () if "box" in found else found.get("score", {}).items():
            lines.append(f"    {key.replace('_', ' ')} {value:.3f} ({BETTER[key]} is better)")
        lines.append(f"    {found['overlay']}")
    lines += [] if entry["maps"] else ["  nothing found: there is nothing to explain"]
    return "\n".join(lines + ([f"  all: {entry['sheet']}"] if entry["sheet"] else []))


def _show_box(found: Any, what: str, made: str) -> str:
    """The line of one box."""
    box = ", ".join(f"{side:.0f}" for side in found["box"])
    share = found["energy_inside"]
    where = "no positive evidence" if share is None else f"{share:.1%} of the map inside".replace("%", " %")
    return f"  {found['number']}. {what} at {box}: {where} {made}"
