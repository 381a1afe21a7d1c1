"""Every picture of one image's activations, in one folder, with the page that a person opens first."""

from __future__ import annotations

import json
import os
import re
import zipfile
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from inspector import __version__
from inspector.errors import ModelError, OutputError, UsageError, one_line
from inspector.files import atomic_path, output_folder, safe_name, write_npy, write_text
from inspector.image import ImageSource, image_digest, open_image, read_if_open
from inspector.layers import Layer
from inspector.layers.statistics import LayerStatistics, statistics
from inspector.model import Model, Prediction
from inspector.runtime import available_cores

if TYPE_CHECKING:
    from PIL.Image import Image

    from inspector.pages.overview import PageLayer, PagePictures

SCALES = ("channel", "layer", "lecture")
_RECORD = ".inspector.json"
"""Names the files of the run that wrote a folder, so that the next one takes them away and nothing else."""
_OURS = re.compile(r"\d{3,}-[\w.-]+\.(png|npy)|(index\.html|picture\.png|depth\.png|channels\.npz)", re.ASCII)


@dataclass(frozen=True)
class DrawnLayer:
    """One layer of a gallery: its statistics and the files made from it.

    shape: as it was on this picture, (1, C, H, W) or (1, K). grid: PNG with every channel, or the one asked for.
    arrays: .npy float32 of `shape`, when it was asked for.
    """

    layer: Layer
    shape: tuple[int, ...]
    statistics: LayerStatistics
    grid: Path
    size: tuple[int, int]
    arrays: Path | None


@dataclass(frozen=True)
class Gallery:
    """What was drawn for one image. overview: HTML page. chart: zero fraction by depth."""

    folder: Path
    overview: Path
    chart: Path | None
    channels: Path
    top: tuple[Prediction, ...]
    layers: tuple[DrawnLayer, ...]


def draw_gallery(
    model: Model,
    image: ImageSource,
    folder: str | os.PathLike[str],
    *,
    name: str = "",
    layers: Iterable[str] | None = None,
    channel: int | None = None,
    scale: str = "channel",
    colormap: str = "viridis",
    size: int = 448,
    save_arrays: bool = False,
    top: int = 3,
) -> Gallery:
    """Run one image and draw its activations into `folder`.

    name: how the image is called in titles. layers: names or unique endings; None takes all. channel: draw only this
    one, enlarged to `size` pixels, beside the input. scale: every channel by its own range, or all channels of a layer
    by one, or the lecture's rule.
    What an earlier run drew into `folder` is removed first, its page before all else, and the new page is written
    last: a folder with index.html is complete, and of one run. Files of other origin stay.
    Raises ImageError, LayerNotFound, UsageError (no such channel or scale), ModelError, OutputError.
    """
    _check_drawing(scale, colormap, size if channel is not None else None)
    chosen = list(model.layers) if layers is None else list(dict.fromkeys(model.layer(x) for x in layers))
    image = read_if_open(image)
    picture = open_image(image)
    shown = name or (os.fspath(image) if isinstance(image, str | os.PathLike) else "image")
    # Drawing is numpy and zlib, which leave the interpreter lock alone, and so does making a session.
    with ThreadPoolExecutor(model.threads or available_cores()) as pool:
        pool.submit(_load_drawing)
        values, scores = _run(model, model.preprocess.tensor(picture), chosen, layers is not None)
        _check_channel(values, channel, layers is not None)
        if channel is not None:
            chosen = [x for x in chosen if values[x.name].shape[1] > channel]
        for x in chosen:
            if values[x.name].size == 0:
                raise ModelError(f"layer {x.name!r} is empty on this picture: shape {values[x.name].shape}")
        target = output_folder(folder)
        names: set[str] = set()
        files = {x.name: target / f"{i:03d}-{safe_name(x.name, names)}" for i, x in enumerate(chosen)}
        _start_folder(target, model, _planned(files.values(), channel, save_arrays))
        # Large layers first, so that no thread is left with one at the end.
        by_size = sorted(chosen, key=lambda layer: -values[layer.name].size)
        found = dict(zip(by_size, pool.map(lambda x: statistics(values[x.name][0]), by_size), strict=True))
        marks = {"Software": f"inspector {__version__}", "Model": model.sha256, "Image": image_digest(image)}
        view = model.preprocess.view(picture).convert("RGB")

        def draw(layer: Layer) -> DrawnLayer:
            return _draw_layer(
                model, layer, values[layer.name], found[layer], files[layer.name], shown, view, channel, scale,
                colormap, size, marks, save_arrays,
            )  # fmt: skip

        points = [(x.name, x.kind, found[x].zero_fraction) for x in chosen]
        pictures = pool.submit(_draw_page_pictures, target, model, shown, picture, points, marks)
        done = dict(zip(by_size, pool.map(draw, by_size), strict=True))
        drawn = tuple(done[layer] for layer in chosen)
        best = tuple(model.top(scores[0], top)) if scores is not None else ()
        channels = _write_channels(target / "channels.npz", drawn)
        page_pictures = pictures.result()
    overview = _write_page(target, model, shown, picture, best, drawn, marks, page_pictures)
    chart = target / "depth.png" if page_pictures.chart else None
    return Gallery(target, overview, chart, channels, best, drawn)


def _check_drawing(scale: str, colormap: str, size: int | None) -> None:
    """Raise UsageError for what could not be drawn, before anything is run or written."""
    from inspector.render.channel import LARGEST, SMALLEST
    from inspector.render.colormap import color_table

    if scale not in SCALES:
        raise UsageError(f"there is no scale {scale!r}", f"known: {', '.join(SCALES)}")
    color_table(colormap)
    if size is not None and not SMALLEST <= size <= LARGEST:
        raise UsageError(f"the size must be {SMALLEST} to {LARGEST} pixels, not {size}")


def _sheet(stem: Path, channel: int | None) -> Path:
    return stem.with_name(f"{stem.name}.png" if channel is None else f"{stem.name}-channel-{channel}.png")


def _planned(stems: Iterable[Path], channel: int | None, arrays: bool) -> set[str]:
    """The names of all files that a run writes beside its record."""
    names = {"index.html", "picture.png", "depth.png", "channels.npz"}
    for stem in stems:
        names.add(_sheet(stem, channel).name)
        if arrays:
            names.add(f"{stem.name}.npy")
    return names


def _start_folder(folder: Path, model: Model, planned: set[str]) -> None:
    """Take away what an earlier run left in `folder`, the page first, and record what this one is going to write."""
    record = _read_record(folder / _RECORD)
    left = {name for name in record["files"] if _OURS.fullmatch(name)}
    for name in sorted(left, key=lambda name: name != "index.html"):
        # What is written anew is replaced whole at its time; only the page must not stand beside it before.
        if name == "index.html" or name not in planned:
            try:
                (folder / name).unlink(missing_ok=True)
            except OSError as error:
                raise OutputError(
                    f"cannot remove {folder / name} of an earlier run: {error.strerror}", "choose another folder"
                ) from error
    if left and record["sha256"] != model.sha256:
        name = one_line(record["model"], 80)
        model.warn(f"results of {name}, of an earlier run into the same folder, were replaced")
    written = {"software": f"inspector {__version__}", "model": model.path.name, "sha256": model.sha256}
    write_text(folder / _RECORD, json.dumps({**written, "files": sorted(planned)}, indent=1) + "\n")


def _read_record(path: Path) -> dict[str, Any]:
    """The record of an earlier run; without files where there is none, or none that can be read."""
    try:
        found = json.loads(path.read_text("utf-8"))
        files = [str(name) for name in found["files"]]
        return {"files": files, "model": str(found["model"]), "sha256": str(found["sha256"])}
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return {"files": [], "model": "", "sha256": ""}


def _limits(maps: NDArray[np.float32], colormap: str) -> tuple[float, float] | None:
    """The range of the layer's finite values, centred on 0 for a diverging map; None where they are all alike."""
    from inspector.render.colormap import is_diverging

    finite = maps[np.isfinite(maps)]
    if not finite.size:
        return None
    low, high = float(finite.min()), float(finite.max())
    if is_diverging(colormap):
        high = max(abs(low), abs(high))
        low = -high
    return (low, high) if low < high else None


def _run(
    model: Model, tensor: NDArray[Any], chosen: list[Layer], named: bool
) -> tuple[dict[str, NDArray[np.float32]], NDArray[np.float32] | None]:
    """(activations by layer name, scores or None)."""
    try:
        return model.layer_values(tensor, chosen, scores=True)
    except ModelError as error:
        # A head that fails, or does not fit this picture, is no reason to withhold layers before it.
        if not named or model.classifier is None:
            raise
        values = model.layer_values(tensor, chosen)
        model.warn(f"no predictions: {error.message}")
        return values


def _check_channel(values: Mapping[str, NDArray[np.float32]], channel: int | None, named: bool) -> None:
    if channel is None:
        return
    short = {name: array.shape[1] for name, array in values.items() if not 0 <= channel < array.shape[1]}
    if channel < 0 or len(short) == len(values) or (named and short):
        name, count = next(iter(short.items()), ("", 0))
        raise UsageError(f"layer {name!r} has no channel {channel}", f"its channels are 0 to {count - 1}")


def _draw_layer(
    model: Model,
    layer: Layer,
    array: NDArray[np.float32],
    found: LayerStatistics,
    stem: Path,
    shown: str,
    view: Image,
    channel: int | None,
    scale: str,
    colormap: str,
    size: int,
    marks: Mapping[str, str],
    save_arrays: bool,
) -> DrawnLayer:
    from inspector.render.channel import draw_channel
    from inspector.render.grid import draw_grid
    from inspector.render.png import save_png

    maps = as_maps(array[0])
    # Maps of one element have no range of their own; only side by side do they say something.
    by = "layer" if maps[0].size == 1 and scale == "channel" else scale
    title, subtitle = f"{layer.name}  ({layer.kind})", f"{model.path.name} on {shown}"
    text = {**marks, "Layer": layer.name, "Scale": by}
    if channel is None:
        drawing = draw_grid(maps, title=title, subtitle=subtitle, scale=by, colormap=colormap)
        path = save_png(drawing, _sheet(stem, None), text)
    else:
        limits = _limits(maps, colormap) if by == "layer" else None
        drawing = draw_channel(
            maps[channel],
            title=f"{title}, channel {channel}",
            subtitle=subtitle,
            picture=view,
            size=size,
            scale="fixed" if limits else "lecture" if by == "lecture" else "channel",
            limits=limits,
            colormap=colormap,
        )
        path = save_png(drawing, _sheet(stem, channel), {**text, "Channel": str(channel)})
    arrays = write_npy(stem.with_name(f"{stem.name}.npy"), array) if save_arrays else None
    return DrawnLayer(layer, array.shape, found, path, drawing.size, arrays)


def as_maps(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """(C, H, W) as it is; (K,) as K maps of one element; (C, L) as rows; (C, D, H, W) with its slices stacked."""
    if values.ndim == 3:
        return values
    if values.ndim < 3:
        return values.reshape(len(values), 1, -1)
    return values.reshape(len(values), -1, values.shape[-1])


def _write_channels(path: Path, drawn: Iterable[DrawnLayer]) -> Path:
    """Statistics of every channel: one float32 (C, 5) array a layer, under the layer's name; see LayerStatistics.table.

    np.load reads it. np.savez takes names as keyword arguments, and a layer may well be called `file`.
    """
    with atomic_path(path) as temporary, zipfile.ZipFile(temporary, "w") as archive:
        for x in drawn:
            # A fixed date, so that the same statistics are the same file.
            entry = zipfile.ZipInfo(f"{x.layer.name}.npy")
            with archive.open(entry, "w") as stream:
                np.lib.format.write_array(stream, x.statistics.table(), allow_pickle=False)
    return path


def _load_drawing() -> None:
    """Import what draws, while the session is being made."""
    import inspector.pages.overview  # noqa: F401


def _draw_page_pictures(
    folder: Path,
    model: Model,
    shown: str,
    picture: Image,
    points: list[tuple[str, str, float]],
    marks: Mapping[str, str],
) -> PagePictures:
    from inspector.pages.overview import depth_points, draw_page_pictures

    return draw_page_pictures(
        folder,
        model=model.path.name,
        picture=picture,
        picture_name=shown,
        points=depth_points(points),
        box=model.preprocess.box(picture.size),
        text=marks,
    )


def _write_page(
    folder: Path,
    model: Model,
    shown: str,
    picture: Image,
    best: tuple[Prediction, ...],
    drawn: tuple[DrawnLayer, ...],
    marks: Mapping[str, str],
    pictures: PagePictures,
) -> Path:
    from inspector.pages.overview import write_overview

    found = model.preprocess
    seen = f"{found.resize} to {found.size[1]} x {found.size[0]}" if found.size else "as it is"
    return write_overview(
        folder,
        model=model.path.name,
        picture=picture,
        picture_name=shown,
        predictions=[(p.label, p.probability) for p in best],
        layers=[_page_layer(x) for x in drawn],
        box=found.box(picture.size),
        facts={
            **marks,
            "Preprocess": f"{seen}, mean {found.mean}, std {found.std}, {found.colour}",
            "To walk through every channel": f"inspector report {quote(model.path.name)} IMAGE -o report.html",
        },
        text=marks,
        notes=[f"The file does not say everything; assumed: {'; '.join(model.assumed)}."] if model.assumed else (),
        pictures=pictures,
    )


def _page_layer(drawn: DrawnLayer) -> PageLayer:
    from inspector.pages.overview import PageLayer

    found = drawn.statistics
    return PageLayer(
        name=drawn.layer.name,
        kind=drawn.layer.kind,
        shape=drawn.shape[1:],
        low=found.minimum,
        high=found.maximum,
        mean=found.mean,
        std=found.std,
        zero_fraction=found.zero_fraction,
        blank=len(found.blank_channels) if np.prod(drawn.shape[2:]) > 1 else None,
        grid=drawn.grid.name,
        grid_size=drawn.size,
    )
