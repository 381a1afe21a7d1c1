"""Class activation maps as files: the overlay a person looks at, and the arrays behind it."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from inspector.files import output_folder, safe_name, write_npy
from inspector.image import ImageSource, image_digest, open_image, read_if_open
from inspector.provenance import Provenance

if TYPE_CHECKING:
    from inspector.cam import CamEngine, CamResult


@dataclass(frozen=True)
class DrawnMap:
    """One map and its files. overlay: PNG, the picture beside the picture under the map.

    heatmap: .npy float32 (h, w) in [0, 1]. raw: .npy float32 (h, w), before ReLU and scaling.
    """

    result: CamResult
    overlay: Path
    heatmap: Path
    raw: Path


def draw_maps(
    engine: CamEngine,
    image: ImageSource,
    folder: str | os.PathLike[str],
    *,
    name: str,
    classes: Sequence[str] | None = None,
    top: int = 1,
    opacity: float | None = None,
    colormap: str | None = None,
    negative: bool = False,
) -> tuple[tuple[DrawnMap, ...], Path | None]:
    """Make the maps of one picture and write them into `folder`: (the maps, a sheet of all when there are several).

    name: how the picture is called in titles. classes, top: as for CamEngine.maps; a method that does not depend on the
    class gives one map all the same. opacity: as for render.draw_cam. negative: draw evidence against the class too,
    with a diverging colour map. Raises what CamEngine.maps raises, UsageError, OutputError.
    """
    from inspector.render.cam import CamMap, draw_cam, draw_cam_sheet
    from inspector.render.png import save_png

    image = read_if_open(image)
    picture = open_image(image)
    alone = engine.method.class_independent
    results = engine.maps(image, classes, top)[: 1 if alone else None]
    target = output_folder(folder)
    model = engine.model
    subtitle = f"{model.path.name} on {name}"
    settings = {"backend": results[0].backend, "negative": negative}
    made_by = Provenance(
        model.sha256, image_digest(image), layer=results[0].layer, method=results[0].method, settings=settings
    )
    taken: set[str] = set()
    drawn = []
    for found in results:
        about = "" if alone else f"-{found.target.index}-{found.target.label}"
        stem = safe_name(found.method.replace("+", "p") + about, taken)
        figure = draw_cam(
            picture,
            found.raw if negative else found.heatmap,
            label=found.target.label,
            probability=found.target.probability,
            layer=found.layer,
            method=found.method,
            backend=found.backend,
            subtitle=subtitle,
            box=found.box,
            opacity=opacity,
            colormap=colormap,
            signed=negative,
            empty=found.empty and not negative,
            class_independent=alone,
        )
        made = made_by if alone else made_by.with_(settings={"class": found.target.label})
        drawn.append(
            DrawnMap(
                found,
                save_png(figure, target / f"{stem}.png", made.png_info(), level=6),
                write_npy(target / f"{stem}.npy", found.heatmap),
                write_npy(target / f"{stem}-raw.npy", found.raw),
            )
        )
    if len(results) < 2:
        return tuple(drawn), None
    first = results[0]
    sheet = draw_cam_sheet(
        picture,
        [
            CamMap(r.raw if negative else r.heatmap, r.target.label, r.target.probability, r.empty and not negative)
            for r in results
        ],
        layer=first.layer,
        method=first.method,
        backend=first.backend,
        subtitle=subtitle,
        box=first.box,
        opacity=opacity,
        colormap=colormap,
        signed=negative,
    )
    return tuple(drawn), save_png(sheet, target / f"{safe_name(first.method, taken)}.png", made_by.png_info(), level=6)
