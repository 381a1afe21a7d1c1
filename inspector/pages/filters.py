"""What each channel of a layer responds to, as files: patterns by gradient ascent, and patches of real pictures.

A run can be stopped at any time and begun again: each picture carries a key of everything that made it, and one that
is there with the right key is not made again. Only patterns need torch.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from inspector.files import make_safe_name, output_folder
from inspector.guard import check_folder
from inspector.image import ImageSource, find_images
from inspector.layers import Layer, LayerNames
from inspector.model import Model
from inspector.pages.filter_files import FilterRun, LayerFiles, PatchSheet, describe_patterns
from inspector.pages.sheets import draw_patch_sheet
from inspector.pages.walk import write_walk
from inspector.receptive import find_patches
from inspector.scanning.kept import is_scan, read_scan_patches
from inspector.text import relative

if TYPE_CHECKING:
    from inspector.ascent import FilterObjective, FilterOptions, Recipe
    from inspector.receptive.patches import TopPatches

Channels = Mapping[str, Sequence[int]] | Sequence[int] | None
PatchPictures = str | os.PathLike[str] | Mapping[str, ImageSource]


# Wide: the options of `inspector filters`, all but the first three by name.
# Long: nearly half says what they are.
def draw_filters(
    model: Model,
    folder: str | os.PathLike[str],
    layers: LayerNames,
    *,
    channels: Channels = None,
    recipe: Recipe | str = "clear",
    size: int | None = None,
    seed: int = 0,
    objective: FilterObjective | None = None,
    batch: int | None = None,
    precision: str = "auto",
    provider: str = "auto",
    on_progress: Callable[[int, int], None] = lambda done, total: None,
    patterns: bool = True,
    pictures: PatchPictures | None = None,
    top: int = 9,
    on_picture: Callable[[int, int], None] = lambda done, total: None,
) -> FilterRun:
    """Draw what channels of `layers` respond to into ``folder/filters-<layer>/``. Patterns need torch, patches do not.

    Patterns are made by gradient ascent: for each channel ``<recipe>-0012.png``, then ``<recipe>-grid.png`` and
    ``<recipe>.json``; with several layers also ``filters.html`` and ``filters.png`` in `folder`. With `pictures`, the
    patches of them that excite each channel most are drawn to ``patches.png``. Stopped by Ctrl-C, it draws what is
    finished and returns with ``interrupted``.

    Args:
        model: The model.
        folder: Where to.
        layers: A layer or its name, or several.
        channels: Which, for all layers or by layer name; None takes all. Those a layer does not have are left out.
        recipe: A recipe or its name, "lecture" or "clear".
        size: Side of the square canvas in pixels, 16 to 1024; by the receptive field unless given.
        seed: Of all random numbers, 0 or more.
        objective: What is asked of each channel; the mean of its map unless given.
        batch: Pictures at once; by memory unless given. It does not change the pictures, nor does it matter which other
            channels are drawn, as long as there are others: a channel all alone is rounded in another way.
        precision: "float32", "bfloat16", or "auto", the faster one that looks the same.
        provider: "auto", "cpu" or "cuda".
        on_progress: Called with the steps of single patterns that are done, and how many there are in all.
        patterns: Make patterns.
        pictures: A picture, a folder of pictures, or what `open_image` takes by name: where patches are sought; or the
            folder of a scan, whose patches are shown as they are.
        top: Number of patches for each channel.
        on_picture: Called after each of `pictures` with how many are done, and how many there are.

    Raises:
        UsageError: A value is out of range, or a layer has none of the channels.
        NotComputable: A layer cannot be computed on this canvas, or there is not enough memory.
        TwinUnsupported: The model has an operator that the torch twin does not have.
        MissingExtra: torch is not installed.
        ImageError: None of `pictures` can be opened.
        ScanError: The scan is of another model, or did not look at a layer.
        OutputError: A file cannot be written.
    """
    chosen = model.choose_layers(layers)
    run = FilterRun((), False)
    if patterns:
        from inspector.ascent import FilterObjective, FilterOptions, find_recipe
        from inspector.twin.devices import choose_device

        options = FilterOptions(
            recipe=find_recipe(recipe) if isinstance(recipe, str) else recipe,
            size=size,
            seed=seed,
            objective=objective or FilterObjective(),
            precision=precision,
            device=choose_device(provider),
        )
        run = _draw_patterns(model, Path(folder), chosen, channels, options, batch, on_progress)
    if pictures is None or run.interrupted:
        return run
    kept = channels if not isinstance(channels, Mapping) else None
    if is_scan(pictures):
        found, kept_pictures = read_scan_patches(Path(str(pictures)), model, chosen, top, kept)
        return replace(run, patches=_draw_patch_sheets(model, Path(folder), found, kept_pictures, run))
    sources = pictures if isinstance(pictures, Mapping) else _find_sources(Path(pictures))
    try:
        found = find_patches(
            model, sources.items(), chosen, k=top, channels=kept, on_image=_count(on_picture, len(sources)),
        )  # fmt: skip
        return replace(run, patches=_draw_patch_sheets(model, Path(folder), found, sources, run))
    except KeyboardInterrupt:
        if not patterns:
            raise
        return replace(run, interrupted=True)


def _draw_patterns(
    model: Model,
    folder: Path,
    layers: Sequence[Layer],
    channels: Channels,
    options: FilterOptions,
    batch: int | None,
    on_progress: Callable[[int, int], None],
) -> FilterRun:
    from inspector.ascent import settle_filters

    target = output_folder(folder)
    names: set[str] = set()
    jobs = []
    for layer in layers:
        wanted = channels.get(layer.name) if isinstance(channels, Mapping) else channels
        spec = settle_filters(model, layer, replace(options, channels=wanted))
        jobs.append(LayerFiles(model, spec, target / f"filters-{make_safe_name(layer.name, names)}"))
    for job in jobs:
        recipe = re.escape(job.spec.recipe.name)
        numbers = "|".join(f"{number:04d}" for number in job.missing())
        written = re.compile(rf"{recipe}-({numbers or 'grid'}|grid).*\.png|{recipe}\.json|patches\.png", re.DOTALL)
        start = job.spec.objective.start
        check_folder(job.folder, written, [start, *model.graph.files])
    interrupted = _draw_missing(jobs, batch, on_progress)
    sheets = tuple(job.write_sheet() for job in jobs if job.finished or not interrupted)
    if len(sheets) < 2:
        return FilterRun(sheets, interrupted)
    made_by = describe_patterns(model, replace(jobs[0].spec, recipe=options.recipe))
    overview, walk = write_walk(target, model, sheets, options, made_by)
    return FilterRun(sheets, interrupted, overview, walk)


def _draw_missing(jobs: Sequence[LayerFiles], batch: int | None, on_progress: Callable[[int, int], None]) -> bool:
    """Make the pictures that are not there yet; whether that was interrupted."""
    todo = [job.missing() for job in jobs]
    each = [job.spec.recipe.steps * job.spec.objective.variants for job in jobs]
    total = sum(len(numbers) * steps for numbers, steps in zip(todo, each, strict=True))
    done = 0

    def add(count: int) -> None:
        nonlocal done
        done = min(done + count, total)
        on_progress(done, total)

    for job, numbers in zip(jobs, todo, strict=True):
        try:
            job.draw(numbers, batch, add)
        except KeyboardInterrupt:
            return True
    return False


def _draw_patch_sheets(
    model: Model, folder: Path, found: Mapping[str, TopPatches], sources: Mapping[str, ImageSource], run: FilterRun
) -> dict[str, PatchSheet]:
    """``filters-<layer>/patches.png`` of each layer, by the layer's name."""
    taken: set[str] = set()
    sheets = {}
    for name, patches in found.items():
        target = output_folder(folder / f"filters-{make_safe_name(name, taken)}")
        sheet = next((s for s in run.sheets if s.layer.name == name), None)
        patterns = {p.channel: None if p.stuck else p.image for p in sheet.pictures} if sheet else {}
        path = draw_patch_sheet(model, patches, sources, target / "patches.png", patterns)
        sheets[name] = PatchSheet(patches, path)
    return sheets


def _count(tell: Callable[[int, int], None], total: int) -> Callable[[], None]:
    """What tells how many steps are done each time that it is called."""
    done = 0

    def step() -> None:
        nonlocal done
        done += 1
        tell(done, total)

    return step


def _find_sources(path: Path) -> dict[str, ImageSource]:
    return {relative(x): x for x in (find_images(path) if path.is_dir() else [path])}
