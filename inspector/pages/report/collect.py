"""One HTML page about a model and a few pictures, that a person opens and walks through: `inspector report`."""

from __future__ import annotations

import base64
import io
import math
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from inspector import __version__
from inspector.errors import ImageError, MissingExtra, NotComputable, UsageError
from inspector.image import ImageSource, image_digest, open_image, read_if_open
from inspector.layers import Layer
from inspector.layers.statistics import LayerStatistics, statistics
from inspector.model import Model, describe
from inspector.pages.gallery import as_maps
from inspector.runtime import available_cores

if TYPE_CHECKING:
    from PIL.Image import Image

METHODS = ("gradcam", "gradcam++", "layercam", "eigencam", "reciprocam")
"""Class activation maps that are shown unless others are asked for: those that cost milliseconds."""

BUDGET = 11_600_000
"""Bytes that a page should not exceed by much; maps are reduced to fit."""

LEVELS = 47
"""Sprites hold 0 for exactly zero, 1 to LEVELS + 1 from the channel's minimum to its maximum, 255 for not finite."""

_SIDES = ((56, 28), (28, 28), (28, 14), (14, 14), (14, 7), (7, 7))
_FEW = 64
_PICTURE_SIDE = 480


@dataclass(frozen=True)
class Report:
    """The page that was written. size: its bytes. top: the predictions of each picture, in order."""

    path: Path
    size: int
    pictures: tuple[PicturePart, ...]


@dataclass(frozen=True)
class PicturePart:
    """What the page holds about one picture. sprites: PNG of each layer, in the order of the layers."""

    name: str
    top: tuple[dict[str, Any], ...]
    document: Mapping[str, Any]
    sprites: tuple[str, ...]
    channels: str

    @property
    def size(self) -> int:
        """Bytes that it adds to the page, but for the photograph and the maps of evidence."""
        return sum(map(len, self.sprites)) + len(self.channels)


def write_report(
    model: Model,
    pictures: Iterable[tuple[str, ImageSource]],
    path: str | os.PathLike[str],
    *,
    layers: Iterable[str] | None = None,
    methods: Sequence[str] = METHODS,
    top: int = 3,
    parts: Mapping[str, Any] | None = None,
    on_picture: Callable[[], None] = lambda: None,
    on_unreadable: Callable[[int, ImageError], None] | None = None,
) -> Report:
    """Write one self-contained page about `model` and `pictures`, (name, what open_image takes) each.

    layers: names; None takes all. methods: of class activation maps; one that this model cannot have is left out, with
    the reason on the page. top: classes per picture. parts: what was computed before, see
    :mod:`inspector.pages.report.parts`. on_picture: called after each picture. on_unreadable: called with the place
    in `pictures` of one that cannot be opened, and why; it is then left out. Without it, that is the error.

    The maps are kept as LEVELS levels of each channel's range and, where they are large, reduced by area so that the
    page keeps to BUDGET; statistics are always of the full maps.
    Raises ImageError, LayerNotFound, UsageError, ModelError, OutputError.
    """
    from inspector.pages.report import write_page

    chosen = list(model.layers) if layers is None else list(dict.fromkeys(model.layer(x) for x in layers))
    if not chosen:
        raise UsageError(f"{model.path.name} has no layers to show")
    if top < 1:
        raise UsageError(f"top {top} is less than 1")
    given = list(pictures)
    if not given:
        raise UsageError("a report needs at least one picture")
    maps = _Maps(model, methods, top)
    choices: Sequence[tuple[int, int]] = ()
    made: list[PicturePart] = []
    problem: ImageError | None = None
    for place, (name, source) in enumerate(given):
        try:
            source = read_if_open(source)
            picture = open_image(source)
        except ImageError as error:
            if on_unreadable is None or len(given) == 1:
                raise
            on_unreadable(place, error)
            problem = problem or error
            continue
        values, scores = model.layer_values(model.preprocess.tensor(picture), chosen, scores=True)
        choices = choices or _sides([values[x.name].shape for x in chosen], len(given))
        best = tuple(vars(p) for p in model.top(scores[0], top)) if scores is not None else ()
        while True:
            part = _picture_part(model, name, source, picture, chosen, values, best, maps, choices[0])
            # How well the first picture's maps compress tells whether all of them will fit.
            if made or part.size * len(given) <= BUDGET or len(choices) == 1:
                break
            choices = choices[1:]
        made.append(part)
        on_picture()
    if not made:
        raise ImageError(f"none of {len(given)} pictures could be read; the first: {problem}")
    document = {
        "version": __version__,
        "model": _model_document(model),
        "layers": [_layer_document(x, made[0].document["layers"][i]) for i, x in enumerate(chosen)],
        "images": [part.document for part in made],
        "levels": LEVELS,
        "notes": maps.notes,
        "parts": dict(parts or {}),
    }
    target = write_page(Path(path), document, [part.sprites for part in made], [part.channels for part in made])
    return Report(target, target.stat().st_size, tuple(made))


class _Maps:
    """Class activation maps by every method that this model can have."""

    def __init__(self, model: Model, methods: Sequence[str], top: int) -> None:
        self.model, self.top = model, top
        self.notes: list[str] = []
        self.engines: dict[str, Any] = {}
        if model.classifier is None:
            self.notes.append("No class activation maps: the model has no classification output.")
            return
        from inspector.cam import prepare

        for method in dict.fromkeys(methods):
            try:
                self.engines[method] = prepare(model, method)
            except (NotComputable, MissingExtra) as error:
                self.notes.append(f"No {method}: {error.message}.")

    def of(self, picture: Image) -> list[dict[str, Any]]:
        """One entry a method and class."""
        found = []
        for method, engine in self.engines.items():
            for result in engine.maps(picture, top=self.top):
                found.append(
                    {
                        "method": method,
                        "class": result.target.index,
                        "label": result.target.label,
                        "layer": result.layer,
                        "backend": result.backend,
                        "reason": result.reason,
                        "empty": result.empty,
                        "shape": list(result.shape),
                        "map": [round(float(v), 4) for v in result.heatmap.ravel()],
                        "box": list(result.box),
                    }
                )
        return found

    def relevance(self, picture: Image) -> dict[str, Any] | None:
        """What each channel of the layer looked at adds to each class, where a gradient is known."""
        for engine in self.engines.values():
            if engine.method.needs == "gradient":
                values = engine.relevance(picture, top=self.top)
                return {
                    "layer": engine.layers[0].name,
                    "values": [[round(float(v), 5) for v in np.nan_to_num(row)] for row in values],
                }
        return None


def _sides(shapes: Sequence[tuple[int, ...]], pictures: int) -> Sequence[tuple[int, int]]:
    """(longest side of a map in layers of few channels, in others), from those that should keep within BUDGET."""
    for n, sides in enumerate(_SIDES):
        elements = 0
        for shape in shapes:
            side = sides[0] if shape[1] <= _FEW else sides[1]
            maps = [math.ceil(n / math.ceil(max(shape[2:]) / side)) for n in shape[2:]]
            elements += shape[1] * math.prod(maps)
        # Measured: an element takes 0.52 bytes of PNG, base64 a third more; a channel's numbers take 14 bytes.
        size = elements * 0.7 + sum(shape[1] for shape in shapes) * 19
        if size * pictures <= BUDGET:
            return _SIDES[n:]
    return _SIDES[-1:]


def _picture_part(
    model: Model,
    name: str,
    source: ImageSource,
    picture: Image,
    layers: Sequence[Layer],
    values: Mapping[str, NDArray[np.float32]],
    best: tuple[dict[str, Any], ...],
    maps: _Maps,
    sides: tuple[int, int],
) -> PicturePart:
    from inspector.pages.report.parts import jpeg_address

    def part(layer: Layer) -> tuple[dict[str, Any], str, bytes]:
        one = values[layer.name][0]
        found = statistics(one)
        flat = as_maps(one)
        sprite, tile = make_sprite(flat, found, sides[0] if len(flat) <= _FEW else sides[1])
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
        }
        return entry, sprite, _channel_table(found)

    # numpy and zlib leave the interpreter lock alone.
    with ThreadPoolExecutor(model.threads or available_cores()) as pool:
        entries, sprites, tables = zip(*pool.map(part, layers), strict=True)
    document = {
        "name": name,
        "sha256": image_digest(source),
        "size": list(picture.size),
        "box": list(model.preprocess.box(picture.size)),
        "picture": jpeg_address(picture, _PICTURE_SIDE, 88),
        "top": list(best),
        "cams": maps.of(picture),
        "relevance": maps.relevance(picture),
        "layers": list(entries),
    }
    return PicturePart(name, best, document, tuple(sprites), base64.b64encode(b"".join(tables)).decode())


def make_sprite(maps: NDArray[np.float32], found: LayerStatistics, side: int) -> tuple[str, tuple[int, int]]:
    """(PNG as base64, (h, w) of one tile): every channel of (C, H, W) as a tile of at most `side` elements a side.

    Tiles fill rows of ceil(sqrt(C)). A reduced element is the mean of what it covers, and zero only if all of that is.
    """
    from PIL import Image

    from inspector.render.scale import area_mean

    channels, height, width = maps.shape
    factor = math.ceil(max(height, width) / side)
    zero, bad = maps == 0, ~np.isfinite(maps)
    with np.errstate(invalid="ignore", over="ignore"):
        small = area_mean(np.array(maps, np.float32), factor) if factor > 1 else maps
    if factor > 1:
        zero = area_mean(zero.astype(np.float32), factor) == 1
        bad = ~np.isfinite(small)
    low, high = np.nan_to_num(found.channel_minimum), np.nan_to_num(found.channel_maximum)
    span = (high.astype(np.float64) - low)[:, None, None]
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        share = np.where(span > 0, (small - low[:, None, None]) / np.where(span > 0, span, 1), 0)
    levels = 1 + np.rint(np.nan_to_num(share).clip(0, 1) * LEVELS)
    indices = np.where(bad, 255, np.where(zero, 0, levels)).astype(np.uint8)
    _, h, w = indices.shape
    columns = math.ceil(math.sqrt(channels))
    rows = math.ceil(channels / columns)
    sheet = np.zeros((rows * columns, h, w), np.uint8)
    sheet[:channels] = indices
    pixels = sheet.reshape(rows, columns, h, w).transpose(0, 2, 1, 3).reshape(rows * h, columns * w)
    out = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(pixels)).save(out, format="PNG", compress_level=6)
    return base64.b64encode(out.getvalue()).decode(), (h, w)


def _channel_table(found: LayerStatistics) -> bytes:
    """The numbers of every channel, little endian: float32 minimum (C) and maximum (C), then uint16, in 1/65535, the
    mean within that range (C), the standard deviation as a share of it (C), and the zero fraction (C). A channel
    without finite elements has NaN as its minimum and maximum.
    """
    low, high = found.channel_minimum, found.channel_maximum
    span = high.astype(np.float64) - low
    safe = np.where(span > 0, span, 1)

    def share(values: NDArray[Any]) -> bytes:
        scaled: NDArray[np.uint16] = np.rint(np.nan_to_num(values).clip(0, 1) * 65535).astype("<u2")
        return scaled.tobytes()

    parts = (
        low.astype("<f4").tobytes(),
        high.astype("<f4").tobytes(),
        share((found.channel_mean - low) / safe),
        share(found.channel_std / safe),
        share(found.channel_zero_fraction),
    )
    return b"".join(parts)


def _model_document(model: Model) -> dict[str, Any]:
    kinds: dict[str, int] = {}
    for layer in model.layers:
        kinds[layer.kind] = kinds.get(layer.kind, 0) + 1
    document = dict(describe(model))
    known = model.metadata
    return {
        **document,
        "path": model.path.name,
        "kinds": kinds,
        "labels": list(model.labels[:2000]) if model.labels else [],
        "source": dict(known.source),
        "training": dict(known.training),
        "licence": known.licence,
        "versions": dict(known.versions),
    }


def _layer_document(layer: Layer, first: Mapping[str, Any]) -> dict[str, Any]:
    return {"name": layer.name, "kind": layer.kind, "shape": first["shape"], "tile": first["tile"]}
