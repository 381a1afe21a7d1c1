"""Class activation maps as files: the overlay a person looks at, and the arrays behind it."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from inspector.files import make_safe_name, output_folder, write_npy
from inspector.guard import check_folder
from inspector.image import ImageSource, digest_image, open_image, read_if_open
from inspector.pages.folder import note_maps
from inspector.provenance import Provenance
from inspector.records import record

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from PIL.Image import Image

    from inspector.cam import CamResult, MapEngine
    from inspector.cam.faithfulness import Region
    from inspector.render.cam import CamMap


@record
class DrawnMap:
    """One map and its files.

    Args:
        result: The map.
        overlay: PNG, the picture beside the picture under the map.
        heatmap: .npy float32 (h, w) in [0, 1].
        raw: .npy float32 (h, w), before ReLU and scaling.
        figures: How faithful the map is, see `inspector.cam.faithfulness.judge_map`; empty unless it was asked for.
    """

    result: CamResult
    overlay: Path
    heatmap: Path
    raw: Path
    figures: Mapping[str, float] = field(default_factory=dict)


@record
class DrawnMaps:
    """The maps of one picture.

    Attributes:
        sheet: PNG of all of them; None for a single one.
    """

    maps: tuple[DrawnMap, ...]
    sheet: Path | None


@record
class MapStyle:
    """How maps are laid on a picture.

    Args:
        opacity: Of the map, 0 to 1; None takes the usual one.
        colormap: Name of a color map; None takes the usual one.
        negative: Show evidence against the class too, with a diverging color map.
    """

    opacity: float | None = None
    colormap: str | None = None
    negative: bool = False

    def values(self, result: CamResult) -> NDArray[np.float32]:
        """What of a map is drawn."""
        return result.raw if self.negative else result.heatmap

    def hides(self, result: CamResult) -> bool:
        """Whether there is nothing of it to draw."""
        return result.empty and not self.negative


# Wide: what of a picture is drawn and how, all but the first three by name.
def write_overlays(
    engine: MapEngine,
    image: ImageSource,
    folder: str | os.PathLike[str],
    *,
    name: str = "the picture",
    classes: Sequence[str | int] | None = None,
    top: int | None = None,
    style: MapStyle | None = None,
    judge: bool = False,
    region: Region | None = None,
) -> DrawnMaps:
    """Make the maps of one picture and write them into `folder`.

    Args:
        engine: The method, made ready by `inspector.cam.prepare_maps`.
        image: What `open_image` takes.
        folder: Where to.
        name: How the picture is called in titles.
        classes: Labels or indices; None takes the most likely. A method that does not depend on the class gives one map
            all the same.
        top: Number of the most likely classes, without `classes`, or of the best boxes; None takes one or five.
        style: How the maps are laid on the picture.
        judge: Measure how faithful each map is.
        region: Where the object is; measure whether the evidence lies inside.

    Raises:
        UsageError: The region does not fit the picture, or a value is out of range.
        ClassNotFound: There is no such class.
        ImageError: The image cannot be opened.
        NotComputable: The method does not exist for this picture.
        ModelError: The model cannot be run on this picture.
        OutputError: A file cannot be written.
    """
    from inspector.cam import labels_pixels
    from inspector.cam.faithfulness import judge_map

    image = read_if_open(image)
    stem = re.escape(make_safe_name(engine.method.name.replace("+", "p")))
    check_folder(folder, re.compile(rf"{stem}.*\.(png|npy)", re.DOTALL), [image, *engine.model.graph.files])
    picture = open_image(image, warn=engine.model.warn)
    if region is not None:
        region.check(picture.size)
    results = engine.maps(image, classes, top)[: 1 if engine.method.class_independent else None]
    if not results:
        return DrawnMaps((), None)
    settings = {"backend": results[0].backend, "negative": bool(style and style.negative)}
    made_by = Provenance(
        engine.model.digest, digest_image(image), layer=results[0].layer, method=results[0].method, settings=settings
    )
    writer = _MapWriter(engine, picture, output_folder(folder), name, style or MapStyle(), made_by)
    drawn = [writer.write_map(result) for result in results]
    # Of a segmenter the region is what is explained.
    if judge or (region is not None and not labels_pixels(engine.model)):
        drawn = [replace(x, figures=judge_map(engine.model, image, x.result, region=region)) for x in drawn]
    sheet = writer.write_sheet(results) if len(results) > 1 else None
    files = [file for x in drawn for file in (x.overlay, x.heatmap, x.raw)]
    note_maps(writer.folder, files if sheet is None else [*files, sheet])
    return DrawnMaps(tuple(drawn), sheet)


@record
class _MapWriter:
    """Writes the maps of one picture."""

    engine: MapEngine
    picture: Image
    folder: Path
    name: str
    style: MapStyle
    made_by: Provenance
    taken: set[str] = field(default_factory=set)

    @property
    def subtitle(self) -> str:
        """The model and the picture."""
        return f"{self.engine.model.path.name} on {self.name}"

    def write_map(self, result: CamResult) -> DrawnMap:
        """One map: its overlay and its arrays."""
        from inspector.render.cam import draw_cam
        from inspector.render.png import save_png

        alone = self.engine.method.class_independent
        about = "" if alone else f"-{result.target.index}-{result.target.label}"
        if result.number is not None:
            about = f"-box-{result.number}{about}"
        stem = make_safe_name(result.method.replace("+", "p") + about, self.taken)
        figure = draw_cam(
            self.picture,
            self.style.values(result),
            label=result.target.label,
            probability=result.target.probability,
            layer=result.layer,
            method=result.method,
            backend=result.backend,
            subtitle=self.subtitle,
            box=result.box,
            opacity=self.style.opacity,
            colormap=self.style.colormap,
            signed=self.style.negative,
            empty=self.style.hides(result),
            class_independent=alone,
            found=result.found.box if result.found is not None else None,
            inside=result.energy_inside,
        )
        made_by = self.made_by if alone else self.made_by.with_(settings={"class": result.target.label})
        return DrawnMap(
            result,
            save_png(figure, self.folder / f"{stem}.png", made_by.png_info(), level=6),
            write_npy(self.folder / f"{stem}.npy", result.heatmap),
            write_npy(self.folder / f"{stem}-raw.npy", result.raw),
        )

    def write_sheet(self, results: Sequence[CamResult]) -> Path:
        """All maps beside one another."""
        from inspector.render.cam import draw_cam_sheet
        from inspector.render.png import save_png

        style, first = self.style, results[0]
        sheet = draw_cam_sheet(
            self.picture,
            [_to_map(style, r) for r in results],
            title="" if first.found is None else "Where the network sees what it found",
            layer=" + ".join(dict.fromkeys(name for r in results for name in r.layers)),
            method=first.method,
            backend=first.backend,
            subtitle=self.subtitle,
            box=first.box,
            opacity=style.opacity,
            colormap=style.colormap,
            signed=style.negative,
        )
        path = self.folder / f"{make_safe_name(first.method, self.taken)}.png"
        return save_png(sheet, path, self.made_by.png_info(), level=6)


def _to_map(style: MapStyle, result: CamResult) -> CamMap:
    """A map as a sheet shows it."""
    from inspector.render.cam import CamMap

    return CamMap(
        style.values(result),
        result.target.label if result.number is None else f"box {result.number}: {result.target.label}",
        result.target.probability,
        style.hides(result),
        result.found.box if result.found is not None else None,
        result.energy_inside,
    )
