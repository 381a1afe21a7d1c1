"""Every picture of one image's activations, in one folder, with the page that a person opens first."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from inspector import __version__
from inspector.activations import LayerStatistics, statistics
from inspector.errors import ModelError, UsageError
from inspector.image import image_digest, open_image
from inspector.layers import Layer
from inspector.model import Model, Prediction
from inspector.output import atomic_path, output_folder, safe_name, write_npy
from inspector.runtime import available_cores

if TYPE_CHECKING:
    from PIL.Image import Image

    from inspector.render.page import PageLayer, PagePictures

SCALES = ("channel", "layer", "lecture")


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
    image: Any,
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
    The page is written last, so a folder with index.html is complete.
    Raises ImageError, LayerNotFound, UsageError (no such channel or scale), ModelError, OutputError.
    """
    if scale not in SCALES:
        raise UsageError(f"there is no scale {scale!r}", f"known: {', '.join(SCALES)}")
    chosen = list(model.layers) if layers is None else list(dict.fromkeys(model.layer(x) for x in layers))
    picture = open_image(image)
    shown = name or (os.fspath(image) if isinstance(image, str | os.PathLike) else "image")
    # Drawing is numpy and zlib, which leave the interpreter lock alone, and so does making a session.
    with ThreadPoolExecutor(model.sessions.threads or available_cores()) as pool:
        pool.submit(_load_drawing)
        values, scores = _run(model, model.preprocess.tensor(picture), chosen, layers is not None)
        _check_channel(values, channel, layers is not None)
        if channel is not None:
            chosen = [x for x in chosen if values[x.name].shape[1] > channel]
        target = output_folder(folder)
        names: set[str] = set()
        files = {x.name: target / f"{i:03d}-{safe_name(x.name, names)}" for i, x in enumerate(chosen)}
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
        model.sessions.warn(f"no predictions: {error.message}")
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

    one = array[0]
    maps = as_maps(one)
    if maps.size == 0:
        raise ModelError(f"layer {layer.name!r} is empty on this picture: shape {array.shape}")
    # Maps of one element have no range of their own; only side by side do they say something.
    by = "layer" if maps[0].size == 1 and scale == "channel" else scale
    title, subtitle = f"{layer.name}  ({layer.kind})", f"{model.path.name} on {shown}"
    text = {**marks, "Layer": layer.name, "Scale": by}
    if channel is None:
        drawing = draw_grid(maps, title=title, subtitle=subtitle, scale=by, colormap=colormap)
        path = save_png(drawing, stem.with_name(f"{stem.name}.png"), text)
    else:
        limits = (float(np.nanmin(maps)), float(np.nanmax(maps))) if by == "layer" else None
        drawing = draw_channel(
            maps[channel],
            title=f"{title}, channel {channel}",
            subtitle=subtitle,
            picture=view,
            size=size,
            scale="fixed" if limits else by,
            limits=limits,
            colormap=colormap,
        )
        name = f"{stem.name}-channel-{channel}.png"
        path = save_png(drawing, stem.with_name(name), {**text, "Channel": str(channel)})
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
    import inspector.render.channel
    import inspector.render.grid
    import inspector.render.page  # noqa: F401


def _draw_page_pictures(
    folder: Path,
    model: Model,
    shown: str,
    picture: Image,
    points: list[tuple[str, str, float]],
    marks: Mapping[str, str],
) -> PagePictures:
    from inspector.render.page import depth_points, draw_page_pictures

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
    from inspector.render.page import write_overview

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
        facts={**marks, "Preprocess": f"{seen}, mean {found.mean}, std {found.std}, {found.colour}"},
        text=marks,
        notes=[f"The file does not say everything; assumed: {'; '.join(model.assumed)}."] if model.assumed else (),
        pictures=pictures,
    )


def _page_layer(drawn: DrawnLayer) -> PageLayer:
    from inspector.render.page import PageLayer

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
