"""The overview: one HTML page in a folder, that opens from a file and needs no network."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import field
from pathlib import Path
from typing import TYPE_CHECKING

from PIL import Image

from inspector.files import output_folder
from inspector.image import Box
from inspector.pages.html import write_page
from inspector.provenance import Provenance
from inspector.records import record
from inspector.render.chart import DepthPoint, describe_trend, draw_depth_chart
from inspector.render.figure import fit_size, mark_box, resize_picture, scale_box
from inspector.render.png import save_png

if TYPE_CHECKING:
    from inspector.pages.answers import FoundObjects, FoundSegments


@record
class PageLayer:
    """One layer of the overview.

    Args:
        name: Its name.
        kind: Its kind, such as "activation".
        shape: Without the batch, (C, H, W) or (K,).
        low: Smallest finite value.
        high: Largest finite value.
        mean: Mean of the finite values.
        std: Their standard deviation.
        zero_fraction: Share of the values that are exactly 0, in [0, 1].
        constant: Number of constant channels; None if that is not counted.
        grid: File name of its sheet, relative to the page; None if there is none.
        grid_size: Width and height of the sheet in pixels.
        empty: Whether the layer has no elements on this picture, and so no statistics; its shape is then a whole one.
    """

    name: str
    kind: str
    shape: tuple[int, ...]
    low: float
    high: float
    mean: float
    std: float
    zero_fraction: float
    constant: int | None = None
    grid: str | None = None
    grid_size: tuple[int, int] = (0, 0)
    empty: bool = False


@record(eq=False)
class Overview:
    """What the page of one picture shows.

    Args:
        model: Name of the model, as people know it.
        picture: The picture.
        picture_name: Its name, as people know it.
        provenance: What made the page and its pictures.
        layers: The layers, first to last. Their sheets must be in the folder of the page, or get there.
        predictions: Label and probability in [0, 1] of each class, best first; may be empty.
        box: The part of the picture that the network saw, in picture pixels; None for all of it.
        facts: Names and values for the foot of the page, after those of the provenance.
        notes: Sentences at the top.
        found: What a detector or a segmenter finds, drawn in the folder of the page; None of other networks.
    """

    model: str
    picture: Image.Image
    picture_name: str
    provenance: Provenance
    layers: Sequence[PageLayer] = ()
    predictions: Sequence[tuple[str, float]] = ()
    box: Box | None = None
    facts: Mapping[str, str] = field(default_factory=dict)
    notes: Sequence[str] = ()
    found: FoundObjects | FoundSegments | None = None

    @property
    def found_words(self) -> str:
        """What the drawing of what was found shows."""
        return self.found.words if self.found is not None else ""

    @property
    def found_size(self) -> tuple[int, int]:
        """Width and height that the drawing of what was found is shown with."""
        size = self.found.size if self.found else self.picture.size
        return fit_size(size, 640) if max(size) > 640 else size


@record
class PagePictures:
    """What `draw_page_pictures` wrote: width and height of ``picture.png``, and of ``depth.png`` if there is one."""

    picture: tuple[int, int]
    chart: tuple[int, int] | None


def select_depth_points(layers: Iterable[tuple[str, str, float]]) -> list[DepthPoint]:
    """The chart's points, from name, kind and zero fraction of each layer, first to last."""
    return [DepthPoint(name, zero, kind == "activation") for name, kind, zero in layers]


def draw_page_pictures(
    folder: str | os.PathLike[str], page: Overview, points: Sequence[DepthPoint] | None = None
) -> PagePictures:
    """Write ``picture.png`` and, when there are points, ``depth.png``.

    Args:
        folder: Where to.
        page: The page; of its layers only names, kinds and zero fractions are read.
        points: The chart's points, where the layers of the page are not known yet.

    Raises:
        OutputError: A file cannot be written.
    """
    target = output_folder(folder)
    size = page.picture.size
    shown = fit_size(size, 640) if max(size) > 640 or max(size) < 128 else size
    small = mark_box(resize_picture(page.picture, shown), scale_box(page.box, size, shown))
    text = page.provenance.png_info()
    save_png(small, target / "picture.png", text)
    points = _points_of(page) if points is None else points
    if not points:
        return PagePictures(small.size, None)
    chart = draw_depth_chart(points, subtitle=f"{page.model} · {page.picture_name}")
    save_png(chart, target / "depth.png", text)
    return PagePictures(small.size, chart.size)


def write_overview(folder: str | os.PathLike[str], page: Overview, pictures: PagePictures | None = None) -> Path:
    """Write ``index.html``, ``picture.png`` and ``depth.png`` into `folder`; return the path of the page.

    The page is written last, so that a folder with a page is complete.

    Args:
        folder: Where to.
        page: What the page shows.
        pictures: What `draw_page_pictures` wrote for the same page, if that was done already, beside other work.

    Raises:
        OutputError: A file cannot be written.
    """
    target = output_folder(folder)
    pictures = pictures or draw_page_pictures(target, page)
    return write_page(
        target / "index.html",
        "overview",
        page.provenance,
        page=page,
        pictures=pictures,
        trend=describe_trend(_points_of(page)) if pictures.chart else "",
        facts={**page.provenance.png_info(), **page.facts},
    )


def _points_of(page: Overview) -> list[DepthPoint]:
    return select_depth_points(
        (layer.name, layer.kind, layer.zero_fraction) for layer in page.layers if not layer.empty
    )


@record
class IndexEntry:
    """One picture of several.

    Args:
        name: As people know it.
        page: File of its page, relative to the index.
        picture: File of its picture, relative to the index.
        predictions: Label and probability of each class, best first.
    """

    name: str
    page: str
    picture: str
    predictions: Sequence[tuple[str, float]]


def write_index(
    folder: str | os.PathLike[str], *, model: str, entries: Sequence[IndexEntry], provenance: Provenance | None = None
) -> Path:
    """Write ``index.html`` into `folder`, which leads to the page of every picture; return its path.

    Args:
        folder: Where to.
        model: Name of the model, as people know it.
        entries: The pictures, in their order.
        provenance: What made the page.

    Raises:
        OutputError: The file cannot be written.
    """
    target = output_folder(folder) / "index.html"
    return write_page(target, "index", provenance or Provenance(), model=model, entries=entries)
