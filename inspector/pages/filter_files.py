"""The files of filter patterns: what a run gives back, and what of an earlier run is used again."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PIL import Image

from inspector.files import output_folder, write_text
from inspector.model import Model
from inspector.pages.filter_sheet import FilterPicture, FilterSheet
from inspector.pages.sheets import draw_layer_sheet
from inspector.provenance import Provenance
from inspector.receptive.patches import TopPatches
from inspector.render.png import save_png
from inspector.render.scale import draw_hatch, to_rgb
from inspector.text import to_json

if TYPE_CHECKING:
    from inspector.ascent import FilterSpec, Pattern


@dataclass(frozen=True)
class PatchSheet:
    """The patches that excite the channels of one layer most, and the picture of them."""

    patches: TopPatches
    path: Path


@dataclass(frozen=True)
class FilterRun:
    """All layers of a run.

    Args:
        sheets: The patterns of each layer.
        interrupted: Not everything that was asked for is there.
        overview: Page with the layers side by side; None for a single layer.
        walk: The same as a picture.
        patches: The patches of each layer, by its name; empty unless pictures were given.
    """

    sheets: tuple[FilterSheet, ...]
    interrupted: bool
    overview: Path | None = None
    walk: Path | None = None
    patches: Mapping[str, PatchSheet] = field(default_factory=dict)


class LayerFiles:
    """The files of one layer of a run: what is there, and what is to be made."""

    def __init__(self, model: Model, spec: FilterSpec, folder: Path) -> None:
        self.model, self.spec, self.folder = model, spec, folder
        self.arguments = spec.to_json(model)
        self.key = hashlib.sha256(json.dumps(self.arguments, sort_keys=True).encode()).hexdigest()
        found = {c: self._read(c) for c in spec.channels}
        self.finished: dict[int, FilterPicture] = {c: made for c, made in found.items() if made is not None}

    def missing(self) -> list[int]:
        """The channels that are not there yet."""
        return [c for c in self.spec.channels if c not in self.finished]

    def draw(self, numbers: Sequence[int], batch: int | None, on_steps: Callable[[int], None]) -> None:
        """Make channels, and write each as soon as it is done."""
        from inspector.ascent import find_patterns

        if numbers:
            output_folder(self.folder)
            for pattern in find_patterns(self.model, self.spec, numbers, batch=batch, on_steps=on_steps):
                self._write(pattern)

    def _path(self, number: int, variant: int = 0) -> Path:
        """The file of a channel."""
        ending = f"-{variant + 1}" if variant else ""
        return self.folder / f"{self.spec.recipe.name}-{number:04d}{ending}.png"

    def _read(self, number: int) -> FilterPicture | None:
        """A channel that an earlier run has finished with the same key, or None."""
        variants = []
        for variant in range(self.spec.objective.variants):
            try:
                with Image.open(self._path(number, variant), formats=("PNG",)) as image:
                    found = dict(getattr(image, "text", {}))
                if found.get("Key") != self.key or found.get("Channel") != str(number):
                    return None
                start, end = float(found["Activation start"]), float(found["Activation"])
            except (OSError, ValueError, SyntaxError, KeyError):
                return None
            variants.append((start, end, found.get("Stuck") == "yes"))
        return self._picture(number, variants, True)

    def _picture(self, number: int, variants: Sequence[tuple[float, float, bool]], reused: bool) -> FilterPicture:
        """variants: activation at start and end, and whether it is stuck, of each."""
        start, end, stuck = next((v for v in variants if not v[2]), variants[0])
        scores = self.model.classifier and self.spec.layer.tensor == self.model.classifier.scores
        return FilterPicture(
            channel=number,
            label=self.model.label(number) if scores and self.model.labels else "",
            activation_start=start,
            activation=end,
            image=self._path(number),
            stuck=stuck,
            reused=reused,
            variants=tuple(self._path(number, v) for v in range(1, len(variants))),
        )

    def _write(self, pattern: Pattern) -> None:
        """The pictures of a channel."""
        spec, made_by = self.spec, describe_patterns(self.model, self.spec)
        for variant, picture in enumerate(pattern.pictures):
            settings = {
                "channel": pattern.channel,
                "size": f"{spec.size[1]}x{spec.size[0]}",
                "precision": spec.precision,
                "activation_start": picture.start,
                "activation": picture.end,
                "stuck": picture.stuck,
                "key": self.key,
            }
            image = _draw_hatched(spec.size) if picture.stuck else _to_image(picture.pixels)
            text = made_by.with_(layer=spec.layer.name, settings=settings).png_info()
            save_png(image, self._path(pattern.channel, variant), text, level=6)
        values = [(p.start, p.end, p.stuck) for p in pattern.pictures]
        self.finished[pattern.channel] = self._picture(pattern.channel, values, False)

    def write_sheet(self) -> FilterSheet:
        """The layer's grid and record, drawn from what is finished."""
        spec = self.spec
        pictures = tuple(self.finished[c] for c in spec.channels if c in self.finished)
        sheet = FilterSheet(spec.layer, spec.size, pictures, None, self.folder, spec.precision, spec.field)
        if not pictures:
            return sheet
        made_by = describe_patterns(self.model, spec).with_(layer=spec.layer.name, settings={"key": self.key})
        grid = draw_layer_sheet(self.model, sheet, spec, made_by)
        self._write_record(pictures, made_by)
        return replace(sheet, grid=grid)

    def _write_record(self, pictures: Sequence[FilterPicture], made_by: Provenance) -> None:
        """What made the pictures and how high each got; written last."""
        record = {
            "provenance": made_by.to_json(),
            "key": self.key,
            "arguments": self.arguments,
            "channels": [
                {
                    "channel": p.channel,
                    "activation_start": p.activation_start,
                    "activation": p.activation,
                    "image": p.image.name,
                    "stuck": p.stuck,
                }
                for p in pictures
            ],
        }
        write_text(self.folder / f"{self.spec.recipe.name}.json", to_json(record, indent=1) + "\n")


def describe_patterns(model: Model, spec: FilterSpec) -> Provenance:
    """What made the patterns of this run, whatever the layer."""
    return Provenance(
        model.digest,
        spec.objective.start_digest,
        method=spec.objective.method,
        seed=spec.seed,
        settings={**spec.objective.settings(), "recipe": spec.recipe.name, "steps": spec.recipe.steps},
    )


def _to_image(pixels: Any) -> Image.Image:
    """uint8 (H, W, C) as an RGB picture; one channel is shown grey."""
    return Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels).convert("RGB")


def _draw_hatched(size: tuple[int, int]) -> Image.Image:
    """What stands for a picture that could not be made."""
    return Image.fromarray(to_rgb(draw_hatch(*size)))
