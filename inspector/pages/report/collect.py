"""One HTML page about a model and a few pictures, that a person opens and walks through: `inspector report`."""

from __future__ import annotations

import base64
import math
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from inspector.errors import ImageError, UsageError
from inspector.guard import check_outputs
from inspector.image import ImageSource, digest_image, open_image, read_if_open
from inspector.layers import Layer, LayerNames
from inspector.layers.statistics import statistics, take_first
from inspector.model import Model
from inspector.pages.html import write_page
from inspector.pages.maps import to_maps
from inspector.pages.report.card import describe_card, encode_color_tables
from inspector.pages.report.evidence import PAGE_METHODS, Evidence
from inspector.pages.report.found import list_boxes, list_segments
from inspector.pages.report.parts import encode_jpeg, read_parts
from inspector.pages.report.sprites import SPRITE_LEVELS, make_sprite, pack_channels
from inspector.pages.runs import run_picture
from inspector.provenance import Provenance
from inspector.runtime import count_cores
from inspector.text import to_script

if TYPE_CHECKING:
    from PIL.Image import Image


BUDGET = 11_600_000
"""Bytes that a page should not exceed by much; maps are reduced to fit."""

_SIDES = ((56, 28), (28, 28), (28, 14), (14, 14), (14, 7), (7, 7))
_FEW = 64
_PICTURE_SIDE = 480


@dataclass(frozen=True)
class Report:
    """The page that was written.

    Args:
        path: The page.
        size: Its bytes.
        pictures: What it holds about each picture, in order.
    """

    path: Path
    size: int
    pictures: tuple[PicturePart, ...]


@dataclass(frozen=True)
class PicturePart:
    """What the page holds about one picture.

    Args:
        name: What it is called.
        top: The most likely classes, as in the JSON of ``inspector predict``.
        document: All but the maps and the numbers of single channels.
        sprites: PNG of each layer as base64, in the order of the layers.
        channels: The numbers of all channels as base64, see `pack_channels`.
    """

    name: str
    top: tuple[dict[str, Any], ...]
    document: Mapping[str, Any]
    sprites: tuple[str, ...]
    channels: str


@dataclass(frozen=True)
class _Drawn:
    """The layers of one picture: an entry of numbers and a sprite each, and the numbers of all channels."""

    entries: tuple[dict[str, Any], ...]
    sprites: tuple[str, ...]
    channels: str

    @property
    def size(self) -> int:
        """Bytes that it adds to the page."""
        return sum(map(len, self.sprites)) + len(self.channels)


# Wide: the options of `inspector report`, all but the first three by name.
def write_report(
    model: Model,
    pictures: Iterable[ImageSource | tuple[str, ImageSource]],
    path: str | os.PathLike[str],
    *,
    layers: LayerNames | None = None,
    methods: Sequence[str] = PAGE_METHODS,
    top: int = 3,
    audit: str | os.PathLike[str] | None = None,
    filters: str | os.PathLike[str] | None = None,
    run: str | os.PathLike[str] | None = None,
    on_picture: Callable[[], None] = lambda: None,
    on_unreadable: Callable[[int, ImageError], None] | None = None,
) -> Report:
    """Write one self-contained page about `model` and `pictures`.

    The maps are kept as LEVELS levels of each channel's range and, where they are large, reduced by area so that the
    page keeps to BUDGET; statistics are always of the full maps.

    Args:
        model: The model.
        pictures: What `open_image` takes, or (name, what `open_image` takes) each.
        path: Where to.
        layers: Layers, or their names or unique endings; None takes all.
        methods: Of class activation maps; one that this model cannot have is left out, with the reason on the page.
        top: Number of the most likely classes of each picture.
        audit: File with what ``inspector audit --json`` said of this model.
        filters: File with what ``inspector filters --json`` said of this model.
        run: Folder of the ``inspector finetune`` that made this model.
        on_picture: Called after each picture.
        on_unreadable: Called with the place in `pictures` of one that cannot be opened, and why; it is then left out.
            Without it, that is the error.

    Raises:
        ImageError: A picture, or none of them, can be opened.
        LayerNotFound: There is no such layer.
        UsageError: There are no pictures or layers, or a file of another command is not about this model.
        ModelError: The model cannot be run on a picture.
        OutputError: The page cannot be written.
    """
    parts = read_parts(model, audit, filters, run)
    chosen = tuple(model.choose_layers(layers))
    if not chosen:
        raise UsageError(f"{model.path.name} has no layers to show")
    if top < 1:
        raise UsageError(f"top {top} is less than 1")
    given = [name_picture(x) for x in pictures]
    if not given:
        raise UsageError("a report needs at least one picture")
    sources = [source for _, source in given if isinstance(source, str | os.PathLike)]
    side = [file for file in (audit, filters) if file is not None]
    check_outputs({"-o": path}, {"the model itself": model.graph.files, "one of the pictures": sources, "read": side})
    collector = _Collector(model, chosen, Evidence(model, methods, top), len(given))
    _add_pictures(collector, given, on_picture, on_unreadable)
    return collector.write(Path(path), parts)


def _add_pictures(
    collector: _Collector,
    given: Sequence[tuple[str, ImageSource]],
    on_picture: Callable[[], None],
    on_unreadable: Callable[[int, ImageError], None] | None,
) -> None:
    """Collect every picture that can be opened. Raises ImageError where none can."""
    problem: ImageError | None = None
    for place, (name, source) in enumerate(given):
        try:
            source = read_if_open(source)
            picture = open_image(source, warn=collector.model.warn)
        except ImageError as error:
            if on_unreadable is None or len(given) == 1:
                raise
            on_unreadable(place, error)
            problem = problem or error
            continue
        collector.add(name, source, picture)
        on_picture()
    if not collector.made:
        raise ImageError(f"none of {len(given)} pictures could be read; the first: {problem}")


def name_picture(given: ImageSource | tuple[str, ImageSource]) -> tuple[str, ImageSource]:
    """(what a picture is called, what open_image takes)."""
    if isinstance(given, tuple) and len(given) == 2 and isinstance(given[0], str):
        return given
    return (Path(given).name if isinstance(given, str | os.PathLike) else "picture"), given


class _Collector:
    """The pictures of one page, as far as they are done."""

    def __init__(self, model: Model, layers: tuple[Layer, ...], maps: Evidence, expected: int) -> None:
        self.model, self.layers, self.maps, self.expected = model, layers, maps, expected
        self.made: list[PicturePart] = []
        self._choices: Sequence[tuple[int, int]] = ()

    def add(self, name: str, source: ImageSource, picture: Image) -> None:
        """Run one picture and keep what the page shows of it."""
        model = self.model
        tensor = model.preprocess.tensor(picture)
        values, classes, outputs = run_picture(model, tensor, self.layers, named=False)
        values = {x.name: x.to_maps(values[x.name]) for x in self.layers}
        self._choices = self._choices or _sides([values[x.name].shape for x in self.layers], self.expected)
        best = tuple(vars(p) for p in model.top(classes, self.maps.top)) if classes is not None else ()
        cams = self.maps.of(picture)
        sides, size = model.sides(tensor), picture.size
        boxes, segments = list_boxes(model, outputs, sides, size), list_segments(model, outputs, size, _PICTURE_SIDE)
        best = best or self.maps.name_choices(segments)
        drawn = self._draw(values)
        # How well the first picture's maps compress tells whether all of them will fit.
        while not self.made and drawn.size * self.expected > BUDGET and len(self._choices) > 1:
            self._choices = self._choices[1:]
            drawn = self._draw(values)
        document = {
            "name": name,
            "sha256": digest_image(source),
            "size": list(picture.size),
            "box": list(model.preprocess.box(picture.size)),
            "picture": encode_jpeg(picture, _PICTURE_SIDE, 88),
            "top": list(best),
            "cams": cams,
            "boxes": boxes,
            "segments": segments,
            "relevance": self.maps.relevance(picture),
            "layers": list(drawn.entries),
        }
        self.made.append(PicturePart(name, best, document, drawn.sprites, drawn.channels))

    def _draw(self, values: Mapping[str, NDArray[np.float32]]) -> _Drawn:
        sides = self._choices[0]

        def part(layer: Layer) -> tuple[dict[str, Any], str, bytes]:
            one = take_first(values[layer.name])
            found = statistics(one)
            empty = not one.size
            # The page shows a layer without elements as one place a channel that has no value.
            flat = to_maps(one) if not empty else np.full((max(1, len(one)), 1, 1), np.nan, np.float32)
            side = sides[0] if len(flat) <= _FEW else sides[1]
            sprite, tile = make_sprite(flat, statistics(flat) if empty else found, side)
            entry = {
                "shape": list(values[layer.name].shape[1:]),
                "tile": list(tile),
                "min": found.minimum,
                "max": found.maximum,
                "mean": found.mean,
                "std": found.std,
                "zero": found.zero_fraction,
                "blank": list(found.blank_channels),
                "bad": found.non_finite,
                "empty": empty,
                "places": layer.places,
                "apart": 0 if layer.grid is None else layer.grid.extra,
            }
            return entry, sprite, pack_channels(found)

        # numpy and zlib leave the interpreter lock alone.
        with ThreadPoolExecutor(self.model.threads or count_cores()) as pool:
            entries, sprites, tables = zip(*pool.map(part, self.layers), strict=True)
        return _Drawn(entries, sprites, base64.b64encode(b"".join(tables)).decode())

    def write(self, path: Path, parts: Mapping[str, Any]) -> Report:
        """Write the page."""
        made = self.made
        digests = [part.document["sha256"] for part in made]
        made_by = Provenance(
            self.model.digest,
            digests[0] if len(digests) == 1 else "",
            method=", ".join(self.maps.engines),
            settings={"top": self.maps.top, "levels": SPRITE_LEVELS}
            | ({"images": digests} if len(digests) > 1 else {}),
        )
        document = {
            "version": made_by.version,
            "model": describe_card(self.model),
            "layers": [_layer_document(x, made[0].document["layers"][i]) for i, x in enumerate(self.layers)],
            "images": [part.document for part in made],
            "levels": SPRITE_LEVELS,
            "notes": self.maps.notes,
            "parts": dict(parts),
        }
        write_page(
            path,
            "report",
            made_by,
            document=document,
            data=to_script({**document, "colormaps": encode_color_tables()}),
            sprites=[part.sprites for part in made],
            channels=[part.channels for part in made],
        )
        return Report(path, path.stat().st_size, tuple(made))


def _sides(shapes: Sequence[tuple[int, ...]], pictures: int) -> Sequence[tuple[int, int]]:
    """(longest side of a map in layers of few channels, in others), from those that should keep within BUDGET."""
    for n, sides in enumerate(_SIDES):
        elements = 0
        for shape in shapes:
            if not math.prod(shape):
                continue
            side = sides[0] if shape[1] <= _FEW else sides[1]
            maps = [math.ceil(n / math.ceil(max(shape[2:]) / side)) for n in shape[2:]]
            elements += shape[1] * math.prod(maps)
        # Measured: an element takes 0.52 bytes of PNG, base64 a third more; a channel's numbers take 14 bytes.
        size = elements * 0.7 + sum(shape[1] for shape in shapes) * 19
        if size * pictures <= BUDGET:
            return _SIDES[n:]
    return _SIDES[-1:]


def _layer_document(layer: Layer, first: Mapping[str, Any]) -> dict[str, Any]:
    return {"name": layer.name, "kind": layer.kind, "shape": first["shape"], "tile": first["tile"]}
