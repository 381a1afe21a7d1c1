"""`inspector predict`: what a network says about pictures."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

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
    align_columns,
    document_top,
    format_alarm,
    format_shape,
    format_top,
    relative,
)
from inspector.errors import listing

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from inspector.api.answers import PicturePredictions
    from inspector.model import Model
    from inspector.tasks.answers import Detection

_MOST = 8
_CONFIDENCE = "Smallest score of an object that is told, 0 to 1; the head's own unless given, mostly 0.25."
_IOU = "Overlap, 0 to 1, above which two boxes of a class show the same object; the head's own unless given."
_DRAW = "Write the picture with boxes, masks, keypoints or segments into the folder of -o."


def predict(
    model: ModelArgument,
    images: ImagesArgument,
    top: Annotated[
        int, typer.Option("--top", metavar="K", min=1, help="How many classes are named for each picture.")
    ] = 3,
    poses: Annotated[
        str,
        typer.Option(
            "--poses",
            metavar="KIND,...",
            help="Flips and turns that the scores are averaged over: hflip, vflip, rotate.",
        ),
    ] = "none",
    confidence: Annotated[float | None, typer.Option("--confidence", metavar="X", help=_CONFIDENCE)] = None,
    iou: Annotated[float | None, typer.Option("--iou", metavar="X", help=_IOU)] = None,
    draw: Annotated[bool, typer.Option("--draw", help=_DRAW)] = False,
    out: OutOption = "inspector-out",
    links: LinksOption = None,
    inputs: InputOption = None,
    json: JsonOption = False,
    provider: ProviderOption = "auto",
    threads: ThreadsOption = None,
    quiet: QuietOption = False,
) -> None:
    """Say what a network sees on pictures: classes, objects, segments, a vector or a picture, as its task is.

    Classes are the most likely ones with probabilities. A segmenter and a network that makes pictures write a PNG.
    """
    from inspector.api.answers import AnswerOptions, AnswerRun
    from inspector.image.poses import read_poses

    console = Console("predict", json, quiet)
    kinds = read_poses(poses)
    opened = console.open(model, provider, threads, links, inputs)
    _note_attached(console, opened, kinds)
    run = AnswerRun(opened, out, AnswerOptions(top, kinds, confidence, iou, draw))
    console.each(opened, images, lambda picture: document(run.answer(picture)), show)


def _note_attached(console: Console, model: Model, poses: Sequence[str]) -> None:
    """Say which outputs of the file answer instead of the library."""
    entries = model.attached.entries if model.attached is not None and model.task == "classify" and not poses else ()
    used = [repr(entry.name) for entry in entries if entry.meaning in ("probability", "unknown")]
    if used:
        console.note(f"by the file's own attached outputs: {', '.join(used)}")


def document(found: PicturePredictions) -> dict[str, Any]:
    """The entry of a picture in `images`."""
    entry: dict[str, Any] = {"path": found.path, "top": document_top(found.top)}
    if found.attached:
        entry["attached"] = dict(found.attached)
    if found.boxes is not None:
        entry["boxes"] = document_boxes(found.boxes, found.labels, found.masks)
    if found.mask is not None:
        entry |= document_segments([(x.index, x.label, x.share) for x in found.segments], found.mask)
    if found.boxes is not None or found.mask is not None:
        entry["drawing"] = None if found.drawing is None else relative(found.drawing)
    if found.vector is not None:
        similar = [{"path": path, "cosine": cosine} for path, cosine in found.similar]
        norm = float((found.vector.astype("float64") ** 2).sum() ** 0.5)
        entry["embedding"] = {"size": len(found.vector), "norm": norm, "similar": similar}
    if found.output is not None and found.picture is not None:
        entry |= {"picture": relative(found.picture), "shape": list(found.output.shape)}
        entry |= {"min": float(found.output.min()), "max": float(found.output.max())}
    if found.task is None:
        entry["outputs"] = [
            {"name": x.name, "shape": list(x.shape), "dtype": x.dtype, "min": x.low, "max": x.high}
            for x in found.outputs
        ]
    return entry


def document_boxes(
    boxes: Sequence[Detection], labels: Sequence[str], masks: Sequence[Path | None]
) -> list[dict[str, Any]]:
    """The objects of a detector, as every document holds them."""
    return [
        {
            "class": {"index": x.index, "label": label},
            "score": x.score,
            "box": list(x.box),
            "corners": x.corners,
            "mask": None if mask is None else relative(mask),
            "keypoints": x.keypoints,
        }
        for label, x, mask in zip(labels, boxes, masks, strict=True)
    ]


def document_segments(segments: Iterable[tuple[int, str, float]], mask: Path) -> dict[str, Any]:
    """The classes of a segmenter (index, label, share), as every document holds them."""
    told = [{"class": {"index": index, "label": label}, "share": share} for index, label, share in segments]
    return {"segments": told, "mask": relative(mask)}


def show(entry: Any) -> str:
    """The same for people."""
    path = entry["path"]
    if "boxes" in entry:
        return show_boxes(path, entry)
    if "segments" in entry:
        return show_segments(path, entry)
    if "embedding" in entry:
        found = entry["embedding"]
        similar = "".join(f"\n  {x['cosine']:+.3f} to {x['path']}" for x in found["similar"])
        return f"{path}: {found['size']} numbers, norm {found['norm']:.3g}{similar}"
    if "picture" in entry:
        return f"{path}: {format_shape(entry['shape'])}, {entry['min']:.3g} to {entry['max']:.3g}: {entry['picture']}"
    if "outputs" in entry:
        rows = [
            (x["name"], format_shape(x["shape"]), x["dtype"], _format(x["min"]), _format(x["max"]))
            for x in entry["outputs"]
        ]
        return f"{path}\n{align_columns(('output', 'shape', 'type', 'min', 'max'), rows, 'min max')}"
    return f"{path}: {format_top(entry['top'])}{format_alarm(entry.get('attached', {}))}"


def show_segments(path: str, entry: Any) -> str:
    """The classes of a segmenter with their shares, and where they are drawn."""
    told = [f"{x['class']['label']} {x['share']:.1%}".replace("%", " %") for x in entry["segments"]]
    drawing = f", drawn in {entry['drawing']}" if entry["drawing"] else ""
    return f"{path}: {listing(told, _MOST)}\n  mask {entry['mask']}{drawing}"


def show_boxes(path: str, entry: Any) -> str:
    """How many objects there are on a picture, and a table of them."""
    rows = [(x["class"]["label"], f"{x['score']:.2f}", *(f"{side:.0f}" for side in x["box"])) for x in entry["boxes"]]
    many = f"{len(rows)} object{'' if len(rows) == 1 else 's'}" if rows else "nothing found"
    drawing = f", drawn in {entry['drawing']}" if entry["drawing"] else ""
    table = align_columns(("class", "score", "x1", "y1", "x2", "y2"), rows, "score x1 y1 x2 y2")
    return f"{path}: {many}{drawing}" + (f"\n{table}" if rows else "")


def _format(value: float | None) -> str:
    return "" if value is None else f"{value:.3g}"
