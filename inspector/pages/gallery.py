"""Every picture of one image's activations, in one folder, with the page that a person opens first."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from inspector.errors import UsageError
from inspector.files import atomic_path, make_safe_name, open_part, output_folder, write_npy
from inspector.guard import check_folder
from inspector.image import ImageSource, digest_image, open_image, read_if_open
from inspector.layers import Layer, LayerNames
from inspector.layers.statistics import LayerStatistics, statistics, take_first
from inspector.model import Model, Prediction
from inspector.pages.folder import OURS, list_files, place_sheet, start_folder
from inspector.pages.maps import to_maps
from inspector.pages.runs import run_picture
from inspector.provenance import Provenance
from inspector.records import record
from inspector.runtime import count_cores, load_runtime

if TYPE_CHECKING:
    from PIL.Image import Image

    from inspector.pages.answers import FoundObjects, FoundSegments
    from inspector.pages.overview import Overview, PageLayer
    from inspector.render.png import Indices

SCALES = ("channel", "layer", "lecture")

_Values = Mapping[str, NDArray[np.float32]]


@record
class DrawnLayer:
    """One layer of a gallery: its statistics and the files made from it.

    Args:
        layer: The layer.
        shape: Of what is shown of it on this picture, (1, C, H, W) or (1, K).
        statistics: Of what is shown.
        grid: PNG with every channel, or the one asked for; None where the layer is empty on this picture.
        size: Width and height of `grid` in pixels.
        arrays: .npy float32 of `shape`; None where it was not asked for, or the layer is empty.
        apart: Statistics of the tokens that are no places, as a class token, each of C numbers; they stand apart on the
            sheet. None where there are none.
        tokens: How many they are.
    """

    layer: Layer
    shape: tuple[int, ...]
    statistics: LayerStatistics
    grid: Path | None
    size: tuple[int, int]
    arrays: Path | None
    apart: LayerStatistics | None = None
    tokens: int = 0


@record
class Gallery:
    """What was drawn for one image.

    Args:
        folder: Where it is.
        overview: The HTML page to open first.
        chart: PNG of the zero fraction by depth; None where no layer was drawn.
        channels: .npz with the statistics of every channel, see `LayerStatistics.table`.
        top: The most likely classes; empty where the model has none.
        layers: The layers, first to last.
        found: The objects of a detector; None of other networks.
        segments: The classes of a segmenter's pixels; None of other networks.
    """

    folder: Path
    overview: Path
    chart: Path | None
    channels: Path
    top: tuple[Prediction, ...]
    layers: tuple[DrawnLayer, ...]
    found: FoundObjects | None = None
    segments: FoundSegments | None = None

    def _repr_html_(self) -> str:
        from inspector.notebook import show_bars, show_pictures

        bars = show_bars([(x.label, x.probability) for x in self.top]) if self.top else ""
        sheets = [(x.layer.name, x.grid) for x in self.layers if x.grid is not None]
        return bars + show_pictures(sheets, f"Everything: {self.overview}")


@record
class _Style:
    """How the layers of one picture are drawn."""

    model: Model
    shown: str
    view: Image
    channel: int | None
    scale: str
    colormap: str
    size: int
    save_arrays: bool
    provenance: Provenance


# Wide: the options of `inspector activations`, all but the first three by name.
# Long: a third says what they are.
def draw_gallery(
    model: Model,
    image: ImageSource,
    folder: str | os.PathLike[str],
    *,
    name: str = "",
    layers: LayerNames | None = None,
    channel: int | None = None,
    scale: str = "channel",
    colormap: str = "viridis",
    size: int = 448,
    save_arrays: bool = False,
    top: int = 3,
) -> Gallery:
    """Run one image and draw its activations into `folder`.

    What an earlier run drew into `folder` is removed first, its page before all else, and the new page is written
    last: a folder with index.html is complete, and of one run. Files of other origin stay.

    Args:
        model: The model.
        image: What `open_image` takes.
        folder: Where to.
        name: How the image is called in titles; its path unless given.
        layers: Layers, or their names or unique endings; None takes all.
        channel: Draw only this one, enlarged, beside the input.
        scale: Colors of "channel" (every channel by its own range), "layer" (all channels of a layer by one) or
            "lecture" (by mean and standard deviation).
        colormap: Name of a color map.
        size: Longer side of a single channel's picture in pixels.
        save_arrays: Write the values of each layer as .npy too.
        top: Number of the most likely classes.

    Raises:
        ImageError: The image cannot be opened.
        LayerNotFound: There is no such layer.
        UsageError: There is no such channel, scale or color map.
        ModelError: The model cannot be run on this image.
        OutputError: A file cannot be written.
    """
    _check_drawing(scale, colormap, size if channel is not None else None)
    chosen = list(model.choose_layers(layers))
    image = read_if_open(image)
    check_folder(folder, OURS, [image, *model.graph.files])
    picture = open_image(image, warn=model.warn)
    shown = name or (os.fspath(image) if isinstance(image, str | os.PathLike) else "image")
    # Drawing is numpy and zlib, which leave the interpreter lock alone, and so does making a session.
    with ThreadPoolExecutor(model.threads or count_cores()) as pool:
        tensor = model.preprocess.tensor(picture)
        # First what this thread needs: two threads that import take turns, and one that makes a session does not.
        load_runtime()
        pool.submit(_load_drawing)
        values, classes, outputs = run_picture(model, tensor, chosen, layers is not None)
        apart = {x.name: x.take_apart(values[x.name]) for x in chosen if x.grid is not None}
        values = {x.name: x.to_maps(values[x.name]) for x in chosen}
        chosen = _keep_drawable(chosen, values, channel, layers is not None)
        target = output_folder(folder)
        names: set[str] = set()
        files = {x.name: target / f"{i:03d}-{make_safe_name(x.name, names)}" for i, x in enumerate(chosen)}
        best = tuple(model.top(classes, top)) if classes is not None else ()
        full = [x for x in chosen if values[x.name].size]
        # Removing what an earlier run left waits for the disk more than it computes.
        planned = list_files([files[x.name] for x in full], channel, save_arrays)
        started = pool.submit(start_folder, target, model, planned, shown, [(p.label, p.probability) for p in best])
        # Large layers first, so that no thread is left with one at the end.
        by_size = sorted(chosen, key=lambda layer: -values[layer.name].size)
        found = dict(zip(by_size, pool.map(lambda x: statistics(take_first(values[x.name])), by_size), strict=True))
        started.result()
        made_by = Provenance(model.digest, digest_image(image), method="activations")
        view = model.preprocess.view(picture).convert("RGB")
        style = _Style(model, shown, view, channel, scale, colormap, size, save_arrays, made_by)
        page = _start_page(style, picture)
        points = [(x.name, x.kind, found[x].zero_fraction) for x in full]
        pictures = pool.submit(_draw_page_pictures, target, page, points)
        tables = pool.submit(_write_channels, target / "channels.npz", [(x.name, found[x]) for x in chosen])
        drawings = pool.map(
            lambda x: _draw_layer(style, x, values[x.name], found[x], files[x.name], apart.get(x.name)), by_size
        )
        done = dict(zip(by_size, drawings, strict=True))
        drawn = tuple(done[layer] for layer in chosen)
        page_pictures, channels = pictures.result(), tables.result()
    objects = segments = None
    if outputs:
        objects, segments = _draw_answers(model, image, target, outputs, model.sides(tensor), picture.size)
    overview = _write_page(target, replace(page, found=objects or segments), drawn, best, page_pictures)
    chart = target / "depth.png" if page_pictures.chart else None
    return Gallery(target, overview, chart, channels, best, drawn, objects, segments)


def _check_drawing(scale: str, colormap: str, size: int | None) -> None:
    """Raise UsageError for what could not be drawn, before anything is run or written."""
    from inspector.render.colormap import make_color_table

    if scale not in SCALES:
        raise UsageError(f"there is no scale {scale!r}", f"known: {', '.join(SCALES)}")
    make_color_table(colormap)
    if size is None:
        return
    from inspector.render.channel import LARGEST, SMALLEST

    if not SMALLEST <= size <= LARGEST:
        raise UsageError(f"the size must be {SMALLEST} to {LARGEST} pixels, not {size}")


def _keep_drawable(chosen: list[Layer], values: _Values, channel: int | None, named: bool) -> list[Layer]:
    """The layers that have the channel. Raises UsageError where none has, or where one was named that has not."""
    if channel is not None:
        short = {name: array.shape[1] for name, array in values.items() if not 0 <= channel < array.shape[1]}
        if channel < 0 or len(short) == len(values) or (named and short):
            name, count = next(iter(short.items()), ("", 0))
            raise UsageError(f"layer {name!r} has no channel {channel}", f"its channels are 0 to {count - 1}")
        chosen = [x for x in chosen if x.name not in short]
    return chosen


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


def _draw_layer(
    style: _Style,
    layer: Layer,
    array: NDArray[np.float32],
    found: LayerStatistics,
    stem: Path,
    apart: NDArray[np.float32] | None,
) -> DrawnLayer:
    from inspector.render.channel import draw_channel
    from inspector.render.grid import draw_map_sheet
    from inspector.render.png import save_png
    from inspector.render.scale import MapRange

    if not array.size:
        return DrawnLayer(layer, array.shape, found, None, (0, 0), None)
    maps, channel = to_maps(array[0]), style.channel
    # Maps of one element have no range of their own; only side by side do they say something.
    by = "layer" if maps[0].size == 1 and style.scale == "channel" else style.scale
    title, subtitle = f"{layer.name}  ({layer.kind})", f"{style.model.path.name} on {style.shown}"
    made_by = style.provenance.with_(layer=layer.name, settings={"scale": by, "colormap": style.colormap})
    if channel is None:
        known = MapRange(found.channel_minimum, found.channel_maximum, found.zero_fraction)
        sheet = draw_map_sheet(
            maps,
            title=title,
            subtitle=subtitle,
            scale=by,
            colormap=style.colormap,
            known=None if found.non_finite else known,
        )
        if apart is not None and apart.size:
            sheet = _stack(sheet, _draw_apart(apart[0], style.colormap))
        drawing: Indices | Image = sheet
    else:
        limits = _limits(maps, style.colormap) if by == "layer" else None
        drawing = draw_channel(
            maps[channel],
            title=f"{title}, channel {channel}",
            subtitle=subtitle,
            picture=style.view,
            size=style.size,
            scale="fixed" if limits else "lecture" if by == "lecture" else "channel",
            limits=limits,
            colormap=style.colormap,
        )
        made_by = made_by.with_(settings={"channel": channel})
    path = save_png(drawing, place_sheet(stem, channel), made_by.png_info())
    arrays = write_npy(stem.with_name(f"{stem.name}.npy"), array) if style.save_arrays else None
    tokens = 0 if apart is None else apart.shape[2]
    aside = statistics(apart[0]) if apart is not None and tokens else None
    return DrawnLayer(layer, array.shape, found, path, drawing.size, arrays, aside, tokens)


def _draw_apart(tokens: NDArray[np.float32], colormap: str) -> Indices:
    """The tokens (C, extra) that are no places, on a scale of their own."""
    from inspector.render.grid import draw_map_sheet

    many = f"{tokens.shape[1]} tokens that are no places" if tokens.shape[1] > 1 else "the token that is no place"
    return draw_map_sheet(tokens[:, None], title=f"Apart: {many} of the picture", scale="layer", colormap=colormap)


def _stack(upper: Indices, lower: Indices) -> Indices:
    """Two sheets of the same palette, one above the other."""
    (width, height), (other, more) = upper.size, lower.size
    both = np.full((height + more, max(width, other)), upper.pixels[0, 0], np.uint8)
    both[:height, :width] = upper.pixels
    both[height:, :other] = lower.pixels
    return replace(upper, pixels=both, repeats=None)


def _write_channels(path: Path, found: Iterable[tuple[str, LayerStatistics]]) -> Path:
    """Statistics of every channel: one float32 (C, 5) array a layer, under the layer's name; see LayerStatistics.table.

    np.load reads it. np.savez takes names as keyword arguments, and a layer may well be called `file`.
    """
    with atomic_path(path) as temporary, open_part(temporary) as file, zipfile.ZipFile(file, "w") as archive:
        for name, layer in found:
            # A fixed date, so that the same statistics are the same file.
            entry = zipfile.ZipInfo(f"{name}.npy")
            with archive.open(entry, "w") as stream:
                np.lib.format.write_array(stream, layer.table(), allow_pickle=False)
    return path


def _draw_answers(*given: Any) -> tuple[FoundObjects | None, FoundSegments | None]:
    from inspector.pages.answers import draw_answers

    return draw_answers(*given)


def _load_drawing() -> None:
    """Import what draws and make the template ready, while the session is being made."""
    import inspector.pages.overview
    import inspector.render.grid  # noqa: F401
    from inspector.pages.html import load_template

    load_template("overview")


def _start_page(style: _Style, picture: Image) -> Overview:
    """The page, as far as it is known before the layers are drawn."""
    from inspector.pages.overview import Overview

    model = style.model
    found = model.preprocess
    seen = f"{found.resize} to {found.size[1]} x {found.size[0]}" if found.size else "as it is"
    return Overview(
        model=model.path.name,
        picture=picture,
        picture_name=style.shown,
        provenance=style.provenance,
        box=found.box(picture.size),
        facts={
            "Preprocess": f"{seen}, mean {found.mean}, std {found.std}, {found.colour}",
            "To walk through every channel": f"inspector report {quote(model.path.name)} IMAGE -o report.html",
        },
        notes=[f"The file does not say everything; assumed: {'; '.join(model.assumed)}."] if model.assumed else (),
    )


def _draw_page_pictures(folder: Path, page: Overview, points: Iterable[tuple[str, str, float]]) -> Any:
    from inspector.pages.overview import draw_page_pictures, select_depth_points

    return draw_page_pictures(folder, page, select_depth_points(points))


def _write_page(
    folder: Path, page: Overview, drawn: Iterable[DrawnLayer], best: Iterable[Prediction], pictures: Any
) -> Path:
    from inspector.pages.overview import write_overview

    layers, predictions = [_page_layer(x) for x in drawn], [(p.label, p.probability) for p in best]
    return write_overview(folder, replace(page, layers=layers, predictions=predictions), pictures)


def _page_layer(drawn: DrawnLayer) -> PageLayer:
    from inspector.pages.overview import PageLayer

    found = drawn.statistics
    return PageLayer(
        name=drawn.layer.name,
        kind=drawn.layer.kind,
        # Of a layer that is empty the whole shape tells why: (0, 6) are no boxes.
        shape=drawn.shape[1:] if drawn.grid is not None else drawn.shape,
        low=found.minimum,
        high=found.maximum,
        mean=found.mean,
        std=found.std,
        zero_fraction=found.zero_fraction,
        constant=len(found.blank_channels) if np.prod(drawn.shape[2:]) > 1 else None,
        grid=drawn.grid.name if drawn.grid is not None else None,
        empty=drawn.grid is None,
        grid_size=drawn.size,
    )
