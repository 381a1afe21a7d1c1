"""Filter patterns: what each channel of a layer wants to see, in one folder, channel by channel.

A run can be stopped at any time and begun again: each picture carries a key of everything that made it, and one that
is there with the right key is not made again.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from inspector import __version__
from inspector.ascent.loop import Result, ascend, draw, generator
from inspector.ascent.network import Network, choose_device, free_memory, has_bfloat16
from inspector.ascent.objectives import Objective, channel, diversity, neuron, stay
from inspector.ascent.recipes import CLEAR, Recipe
from inspector.errors import NotComputable, UsageError
from inspector.files import output_folder, safe_name, write_text
from inspector.image import ImageSource, image_digest, open_image
from inspector.layers import Layer
from inspector.model import Model
from inspector.receptive.fields import ReceptiveField, receptive_field
from inspector.text import finite

if TYPE_CHECKING:
    from PIL.Image import Image

SMALLEST, LARGEST = 16, 1024
"""Canvas sizes that may be asked for."""

_FIRST, _LAST = 48, 160
"""Canvas of layers that see little, and of layers that see (nearly) everything."""

_BUDGET = 1024**3
_BATCH = 32
"""Pictures at once: more is hardly faster, and less would be lost when a run is stopped."""

_SIMILAR = 0.99
"""Cosine of the gradient in bfloat16 with the gradient in float32 from which on pictures look the same."""


@dataclass(frozen=True)
class FilterPicture:
    """One channel. label: the class it stands for, if any.

    activation_start, activation: what the objective measures of the channel (its mean, or its middle unit) on the
    starting noise and on the picture, both without transforms. image: PNG; hatched where `stuck`.
    stuck: no way up was found, twice. reused: it was there from an earlier run.
    variants: further pictures of the same channel, pushed apart from one another.
    """

    channel: int
    label: str
    activation_start: float
    activation: float
    image: Path
    stuck: bool
    reused: bool
    variants: tuple[Path, ...] = ()


@dataclass(frozen=True)
class FilterSheet:
    """One layer. size: (H, W) of the pictures. grid: PNG of all of them, None where none was finished."""

    layer: Layer
    size: tuple[int, int]
    pictures: tuple[FilterPicture, ...]
    grid: Path | None
    folder: Path
    precision: str
    field: ReceptiveField


@dataclass(frozen=True)
class FilterRun:
    """All layers of a run. interrupted: not everything that was asked for is there.

    overview: page with the layers side by side; walk: the same as a picture; None for a single layer.
    """

    sheets: tuple[FilterSheet, ...]
    interrupted: bool
    overview: Path | None = None
    walk: Path | None = None


@dataclass(frozen=True)
class Wish:
    """What is wanted of each channel.

    unit: the unit in the middle instead of the whole map. negative: as little as possible instead of as much.
    variants: pictures per channel, pushed apart. start: a picture to start from instead of noise (anything that
    `open_image` takes); keep: (layer, weight), what must stay of it.
    """

    unit: bool = False
    negative: bool = False
    variants: int = 1
    start: Any = None
    keep: tuple[Layer, float] | None = None

    def to_json(self) -> dict[str, Any]:
        """For the key: digests instead of pictures."""
        return {
            "unit": self.unit,
            "negative": self.negative,
            "variants": self.variants,
            "start": image_digest(self.start) if self.start is not None else None,
            "keep": [self.keep[0].name, self.keep[1]] if self.keep else None,
        }

    def sentence(self) -> str:
        """What the pictures show and how they were made, for people."""
        what = "what silences" if self.negative else "what excites"
        whom = "the unit in the middle of each channel" if self.unit else "each channel"
        start = "from noise" if self.start is None else "from a picture"
        kept = f", staying the same to {self.keep[0].name} (weight {self.keep[1]:g})" if self.keep else ""
        return f"{what} {whom} most: gradient {'descent' if self.negative else 'ascent'} {start}{kept}"

    def text(self) -> dict[str, str]:
        """The same for the text chunks of a file."""
        found = {
            "Method": f"gradient {'descent' if self.negative else 'ascent'}",
            "Objective": "unit in the middle" if self.unit else "channel mean",
        }
        if self.start is not None:
            found["Image"] = image_digest(self.start)
        if self.keep:
            found["Kept"] = f"{self.keep[0].name}:{self.keep[1]:g}"
        return found


@dataclass
class Progress:
    """Counts picture-steps and tells how many there are and how many are done."""

    tell: Callable[[int, int], None]
    total: int = 0
    done: int = 0

    def add(self, count: int) -> None:
        """`count` more are done."""
        self.done = min(self.done + count, self.total)
        self.tell(self.done, self.total)


def draw_filters(
    model: Model,
    folder: str | os.PathLike[str],
    layers: Sequence[Layer],
    *,
    channels: Mapping[str, Sequence[int]] | Sequence[int] | None = None,
    recipe: Recipe = CLEAR,
    size: int | None = None,
    seed: int = 0,
    wish: Wish | None = None,
    batch: int | None = None,
    precision: str = "auto",
    provider: str = "auto",
    on_progress: Callable[[int, int], None] | None = None,
) -> FilterRun:
    """Draw the patterns of channels of `layers` into ``folder/filters-<layer>/``.

    channels: which, for all layers or by layer name; all unless given; those a layer does not have are left out.
    size: side of the square canvas; by the receptive field unless given. batch: pictures at once; by memory unless
    given. It does not change the pictures, nor does it matter which other channels are drawn, as long as there are
    others: a channel all alone is rounded in another way. precision: float32, bfloat16, or auto.
    on_progress: picture-steps done and in all.

    Writes per channel ``<recipe>-0012.png``, then ``<recipe>-grid.png`` and ``<recipe>.json``; with several layers also
    ``filters.html`` and ``filters.png`` in `folder`. Stopped by Ctrl-C, it draws what is finished and returns with
    ``interrupted``. Raises UsageError, NotComputable, TwinUnsupported, ModelError, OutputError.
    """
    if size is not None and not SMALLEST <= size <= LARGEST:
        raise UsageError(f"the size must be {SMALLEST} to {LARGEST} pixels, not {size}")
    if seed < 0:
        raise UsageError(f"the seed must be 0 or more, not {seed}")
    asked = wish or Wish()
    if asked.variants < 1 or (batch is not None and batch < 1):
        raise UsageError("a batch and the pictures of a channel must be 1 or more")
    target = output_folder(folder)
    device = choose_device(provider)
    names: set[str] = set()
    jobs = []
    for layer in dict.fromkeys(layers):
        jobs.append(
            _Job.prepare(
                model, layer, target / f"filters-{safe_name(layer.name, names)}", channels, recipe, size, seed, asked,
                precision, device,
            )
        )  # fmt: skip
    progress = Progress(on_progress or (lambda done, total: None))
    progress.total = sum(len(job.todo) for job in jobs) * recipe.steps * asked.variants
    interrupted = False
    for job in jobs:
        try:
            job.run(batch, progress)
        except KeyboardInterrupt:
            interrupted = True
            break
    sheets = tuple(job.sheet() for job in jobs if job.finished or not interrupted)
    if len(sheets) < 2:
        return FilterRun(sheets, interrupted)
    from inspector.pages.sheets import write_walk

    overview, walk = write_walk(target, model, sheets, recipe, asked.sentence(), seed)
    return FilterRun(sheets, interrupted, overview, walk)


def canvas_size(model: Model, field: ReceptiveField) -> tuple[int, int]:
    """(H, W) of the canvas for a layer with this receptive field.

    One and a half times what a unit sees, from 48 to 160 pixels, but not larger than the network's own input.
    """
    own = model.preprocess.size or (224, 224)
    seen = max(field.size) if field.size else max(own)
    side = min(max(_FIRST, 8 * math.ceil(1.5 * seen / 8)), _LAST)
    return (own[0], own[1]) if side >= max(own) else (min(side, own[0]), min(side, own[1]))


@dataclass
class _Job:
    """One layer of a run: what is there, what is to do, and how."""

    model: Model
    layer: Layer
    folder: Path
    recipe: Recipe
    size: tuple[int, int]
    seed: int
    wish: Wish
    precision: str
    sees: ReceptiveField
    device: str
    key: str
    arguments: dict[str, Any]
    order: list[int]
    todo: list[int] = field(default_factory=list)
    finished: dict[int, FilterPicture] = field(default_factory=dict)

    @classmethod
    def prepare(
        cls,
        model: Model,
        layer: Layer,
        folder: Path,
        channels: Mapping[str, Sequence[int]] | Sequence[int] | None,
        recipe: Recipe,
        size: int | None,
        seed: int,
        wish: Wish,
        precision: str,
        device: str,
    ) -> _Job:
        """Builds the network, settles the canvas, and finds what an earlier run has left."""
        seen = receptive_field(model, layer.tensor)
        network = Network(model, cls._parts(layer, wish), device=device)
        chosen, count = _settle(model, network, layer, seen, size, recipe)
        wanted = channels.get(layer.name) if isinstance(channels, Mapping) else channels
        numbers = list(range(count)) if wanted is None else [c for c in dict.fromkeys(wanted) if 0 <= c < count]
        if not numbers:
            raise UsageError(
                f"layer {layer.name!r} has none of the channels asked for", f"its channels are 0 to {count - 1}"
            )
        network.precision = choose_precision(network, layer, chosen, recipe, seed, precision, count)
        fitted = _fitted(recipe, network, chosen)
        arguments = {
            "version": __version__,
            "torch": torch.__version__,
            "model": model.sha256,
            "preprocess": model.preprocess.to_json(),
            "layer": layer.name,
            "tensor": layer.tensor,
            "recipe": fitted.to_json(),
            "size": list(chosen),
            "seed": seed,
            "precision": network.precision,
            "device": device,
            "wish": wish.to_json(),
            # The only picture of a run is rounded in another way, see `ascend`.
            "alone": len(numbers) * wish.variants == 1,
        }
        key = hashlib.sha256(json.dumps(arguments, sort_keys=True).encode()).hexdigest()
        job = cls(
            model, layer, folder, fitted, chosen, seed, wish, network.precision, seen, device, key, arguments, numbers,
        )  # fmt: skip
        job.finished = {c: found for c in numbers if (found := job.read(c)) is not None}
        job.todo = [c for c in numbers if c not in job.finished]
        return job

    def path(self, number: int, variant: int = 0) -> Path:
        """The file of a channel."""
        ending = f"-{variant + 1}" if variant else ""
        return self.folder / f"{self.recipe.name}-{number:04d}{ending}.png"

    def read(self, number: int) -> FilterPicture | None:
        """A channel that an earlier run has finished with the same key, or None."""
        from PIL import Image as images

        variants = []
        for variant in range(self.wish.variants):
            try:
                with images.open(self.path(number, variant), formats=("PNG",)) as image:
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
        scores = self.model.classifier and self.layer.tensor == self.model.classifier.scores
        return FilterPicture(
            channel=number,
            label=self.model.label(number) if scores and self.model.labels else "",
            activation_start=start,
            activation=end,
            image=self.path(number),
            stuck=stuck,
            reused=reused,
            variants=tuple(self.path(number, v) for v in range(1, self.wish.variants)),
        )

    def run(self, batch: int | None, progress: Progress) -> None:
        """Makes what is to do, batch by batch, and writes each batch when it is done."""
        if not self.todo:
            return
        output_folder(self.folder)
        # Built for the run alone: the networks of a hundred layers would hold the weights a hundred times.
        parts = self._parts(self.layer, self.wish)
        # Pictures of one channel that are pushed apart, or kept near to one, are compared in all channels.
        alone = self.wish.variants == 1 and self.wish.start is None
        network = Network(self.model, parts, device=self.device, precision=self.precision, picking=alone)
        group = min(len(self.todo), max(1, (batch or self.batch_size(network)) // self.wish.variants))
        at = 0
        while at < len(self.todo):
            try:
                self._batch(network, self.todo[at : at + group], progress)
            except (MemoryError, RuntimeError) as error:
                if not _is_out_of_memory(error):
                    raise
                if batch is not None or group == 1:
                    pictures = min(group, len(self.todo) - at) * self.wish.variants
                    raise NotComputable(
                        f"there is not enough memory for {pictures} pictures of {self.size[1]}x{self.size[0]} "
                        f"at layer {self.layer.name!r} at once",
                        "give a smaller --size, --batch or --variants",
                    ) from None
                group //= 2
                continue
            at += group

    @staticmethod
    def _parts(layer: Layer, wish: Wish) -> list[Layer]:
        return [layer, *([wish.keep[0]] if wish.keep else [])]

    def batch_size(self, network: Network) -> int:
        """Pictures at once that fit into memory."""
        whole = (self.size[0] + self.recipe.margin, self.size[1] + self.recipe.margin)
        view = self.recipe.view() if self.wish.start is None else None
        each = network.bytes_per_picture(view.size(whole) if view is not None else self.size)
        each *= 2 if self.wish.keep else 1
        if self.wish.variants > 1:
            channels = network.shapes(self.size)[self.layer.name][0]
            each += 3 * 4 * channels**2  # correlations between channels, and what their gradient needs
        budget = min(_BUDGET, int(0.35 * free_memory()))
        return max(1, min(_BATCH, budget // max(each, 1)))

    def _batch(self, network: Network, numbers: list[int], progress: Progress) -> None:
        rows = [(c, v) for c in numbers for v in range(self.wish.variants)]
        first = self.ascend(network, rows, 0, lambda step: progress.add(len(rows)))
        shown = self.recipe.shown(first.pictures).cpu()
        start, end, stuck = first.start.tolist(), first.end.tolist(), _stuck(first, self.wish)
        again = [k for k, bad in enumerate(stuck) if bad]
        if again:
            # Another start: stronger noise of another seed. A group is retried as one, its pictures depend on another.
            whole = sorted({k // self.wish.variants for k in again})
            places = [g * self.wish.variants + v for g in whole for v in range(self.wish.variants)]
            second = self.ascend(network, [rows[k] for k in places], 1, lambda step: None)
            pictures, bad = self.recipe.shown(second.pictures).cpu(), _stuck(second, self.wish)
            for n, k in enumerate(places):
                if stuck[k] and not bad[n]:
                    shown[k], stuck[k] = pictures[n], False
                    start[k], end[k] = float(second.start[n]), float(second.end[n])
        for g, number in enumerate(numbers):
            own = slice(g * self.wish.variants, (g + 1) * self.wish.variants)
            self._write(number, shown[own], list(zip(start[own], end[own], stuck[own], strict=True)))

    def _write(self, number: int, shown: Tensor, values: Sequence[tuple[float, float, bool]]) -> None:
        """The pictures of a channel, and of each its activation at start and end, and whether it is stuck."""
        from inspector.render.png import save_png

        for variant, (picture, (start, end, stuck)) in enumerate(zip(shown, values, strict=True)):
            text = {
                "Software": f"inspector {__version__}",
                "Model": self.model.sha256,
                "Layer": self.layer.name,
                "Channel": str(number),
                **self.wish.text(),
                "Recipe": self.recipe.name,
                "Steps": str(self.recipe.steps),
                "Seed": str(self.seed),
                "Size": f"{self.size[1]}x{self.size[0]}",
                "Precision": self.precision,
                "Activation start": repr(start),
                "Activation": repr(end),
                "Stuck": "yes" if stuck else "no",
                "Key": self.key,
            }
            image = hatched(self.size) if stuck else to_image(picture)
            save_png(image, self.path(number, variant), text, level=6)
        self.finished[number] = self._picture(number, values, False)

    def ascend(
        self, network: Network, rows: Sequence[tuple[int, int]], attempt: int, on_step: Callable[[int], None]
    ) -> Result:
        """One ascent; rows: (channel, variant) of each picture.

        An odd number of pictures gets a copy of the last one beside it. oneDNN rounds a picture the same in any even
        batch, but not in an odd one, and many steps turn a last digit into another picture. Only a picture that is
        the only one of its run is made alone, as the copy would double its time.
        """
        if len(rows) % 2 and len(self.order) * self.wish.variants > 1:
            return _first(self._ascend(network, [*rows, rows[-1]], len(rows), attempt, on_step), len(rows))
        return self._ascend(network, rows, len(rows), attempt, on_step)

    def _ascend(
        self,
        network: Network,
        rows: Sequence[tuple[int, int]],
        real: int,
        attempt: int,
        on_step: Callable[[int], None],
    ) -> Result:
        recipe, wish = self.recipe, self.wish
        name = self.layer.name
        make = neuron if wish.unit else channel
        numbers = [c for c, _ in rows]
        if network.picks:
            network.pick(numbers)
            numbers = [0] * len(rows)
        plain = make(name, numbers)
        objective = -plain if wish.negative else plain
        if wish.variants > 1:
            objective = objective + _spread(plain, name, [c if k < real else -1 for k, (c, _) in enumerate(rows)])
        starts = [generator(self.seed, c, v, attempt, "start") for c, v in rows]
        reference = None
        if wish.start is not None:
            picture = start_picture(self.model, wish.start, self.size).to(network.device)
            if wish.keep is not None:
                objective = objective * (1 / _scale(network, name, picture)) + wish.keep[1] * stay(wish.keep[0].name)
            reference = picture if wish.keep is not None else None
            canvas = recipe.canvas_of(_noisy(picture, starts, attempt))
            view, crop = recipe.view(crop=False), None
        else:
            # The second try stays within what a picture can hold: whatever fires only beyond that is stuck.
            tried = recipe if attempt == 0 else recipe.with_(clip=True)
            canvas = tried.canvas(self.size, network.channels, starts, 1.0 if attempt == 0 else 20.0)
            view, crop = recipe.view(), recipe.crop if recipe.margin else None
        if network.device.type != "cpu":
            canvas = canvas.to(network.device)
        draws = None
        if view is not None:
            draws = draw([generator(self.seed, c, v, attempt, "view") for c, v in rows], recipe.steps, view.draws)
            draws = draws.to(network.device)
        return ascend(
            network, objective, canvas, recipe.new_optimiser(), steps=recipe.steps, view=view, draws=draws,
            penalties=recipe.penalties(), after=recipe.after(canvas), leaky=max(recipe.leaky, 16 * attempt), crop=crop,
            measure=plain, reference=reference, on_step=on_step,
        )  # fmt: skip

    def sheet(self) -> FilterSheet:
        """The layer's grid and record, drawn from what is finished."""
        from inspector.pages.sheets import draw_layer

        pictures = tuple(self.finished[c] for c in self.order if c in self.finished)
        grid = None
        if pictures:
            text = {
                "Software": f"inspector {__version__}",
                "Model": self.model.sha256,
                "Layer": self.layer.name,
                **self.wish.text(),
                "Recipe": self.recipe.name,
                "Steps": str(self.recipe.steps),
                "Seed": str(self.seed),
                "Key": self.key,
            }
            grid = draw_layer(
                self.model, self.layer, self.sees, self.recipe, self.wish.sentence(), self.size, pictures, self.folder,
                text,
            )  # fmt: skip
            self._manifest(pictures)
        return FilterSheet(self.layer, self.size, pictures, grid, self.folder, self.precision, self.sees)

    def _manifest(self, pictures: Sequence[FilterPicture]) -> None:
        """What made the pictures and how high each got; written last."""
        record = {
            "key": self.key,
            "arguments": self.arguments,
            "channels": [
                {
                    "channel": p.channel,
                    "activation_start": finite(p.activation_start),
                    "activation": finite(p.activation),
                    "image": p.image.name,
                    "stuck": p.stuck,
                }
                for p in pictures
            ],
        }
        write_text(self.folder / f"{self.recipe.name}.json", json.dumps(record, indent=1) + "\n")


def _settle(
    model: Model,
    network: Network,
    layer: Layer,
    seen: ReceptiveField,
    size: int | None,
    recipe: Recipe,
) -> tuple[tuple[int, int], int]:
    """(H, W) of the canvas, and the number of channels that the layer has on it."""
    own = model.preprocess.size
    tries = [(size, size)] if size is not None else [canvas_size(model, seen)]
    if size is None and recipe.display == "lecture":
        tries = [(min(64, own[0]), min(64, own[1])) if own else (64, 64)]
    problem: NotComputable | None = None
    for candidate in [*tries, *([own] if size is None and own else [])]:
        try:
            return candidate, network.shapes(candidate)[layer.name][0]
        except NotComputable as error:
            problem = problem or error
    assert problem is not None
    fixed = f"; the model's own size is {own[1]}x{own[0]}" if own else ""
    raise NotComputable(
        f"layer {layer.name!r} cannot be computed at {tries[0][1]}x{tries[0][0]}{fixed}", problem.message
    )


def _fitted(recipe: Recipe, network: Network, size: tuple[int, int]) -> Recipe:
    """The recipe for this canvas, or as it is where the network takes only pictures of the canvas's own size."""
    fitted = recipe.for_canvas(size)
    view = fitted.view()
    if view is not None and fitted is not recipe:
        try:
            network.shapes(view.size((size[0] + fitted.margin, size[1] + fitted.margin)))
        except NotComputable:
            return recipe
    return fitted


def _first(result: Result, count: int) -> Result:
    """The first `count` pictures of a result."""
    return Result(result.pictures[:count], result.start[:count], result.end[:count], result.moved[:count])


def _is_out_of_memory(error: Exception) -> bool:
    """torch has a class for the GPU's memory, and only words for the processor's."""
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or "allocate memory" in str(error)


def _stuck(result: Result, wish: Wish) -> list[bool]:
    """No gradient at all, or a picture that is no better than the noise it began as.

    A picture that must stay the same to some layer may have to give up what it gains.
    """
    if wish.keep is not None:
        return (~result.moved).tolist()
    gain = result.end - result.start
    gain = -gain if wish.negative else gain
    enough = gain > 1e-6 * result.start.abs().clamp_min(1e-3)
    return (~(result.moved & enough)).tolist()


def _spread(plain: Objective, name: str, groups: Sequence[int]) -> Objective:
    """Diversity that weighs half of what the channel itself is worth, whatever its scale."""
    apart = diversity(name, groups)

    def score(values: Mapping[str, Tensor]) -> Tensor:
        worth = plain(values).detach().abs()
        return 0.5 * worth * apart(values)

    return Objective(apart.layers, score)


def _scale(network: Network, name: str, picture: Tensor) -> float:
    """What a channel of this layer is worth on a picture: the standard deviation over all its elements."""
    with torch.no_grad():
        return max(float(network(picture)[name].std(unbiased=False)), 1e-6)


def _noisy(picture: Tensor, generators: Sequence[torch.Generator], attempt: int) -> Tensor:
    """The picture once for each generator, with a little noise from it."""
    noise = torch.stack([torch.randn(picture.shape[1:], generator=g) for g in generators])
    return (picture + (0.002 if attempt == 0 else 0.05) * noise.to(picture.device)).clamp(0, 1)


def start_picture(model: Model, source: ImageSource, size: tuple[int, int]) -> Tensor:
    """A picture as the network sees it, at another size (H, W): float32 (1, C, H, W) in [0, 1]."""
    view = model.preprocess.view(open_image(source))
    if view.size != (size[1], size[0]):
        view = view.resize((size[1], size[0]))
    pixels = torch.from_numpy(np.array(view, np.float32) / 255)
    return pixels.reshape(1, *pixels.shape[:2], -1).permute(0, 3, 1, 2).contiguous()


def choose_precision(
    network: Network,
    layer: Layer,
    size: tuple[int, int],
    recipe: Recipe,
    seed: int,
    wanted: str,
    count: int,
) -> str:
    """ "float32" or "bfloat16": the latter where the processor has it and the gradients agree.

    Compared are the gradients of three channels on noise of this seed, whatever channels are asked for, so that the
    choice does not depend on them.
    """
    if wanted not in ("auto", "float32", "bfloat16"):
        raise UsageError(f"there is no precision {wanted!r}", "known: auto, float32, bfloat16")
    if wanted != "auto":
        return wanted
    if network.device.type != "cpu" or not has_bfloat16():
        return "float32"
    numbers = sorted({0, count // 2, count - 1})
    canvas = Recipe("probe", "fourier", 1, 1.0, "adam").canvas(
        size, network.channels, [generator(seed, c, "probe") for c in numbers], 40.0
    )
    pictures = canvas.pictures().detach().requires_grad_()
    gradients = []
    try:
        for precision in ("float32", "bfloat16"):
            network.precision = precision
            (gradient,) = torch.autograd.grad(channel(layer.name, numbers)(network(pictures)).sum(), pictures)
            gradients.append(gradient.flatten(1).double())
    except (RuntimeError, NotComputable):
        return "float32"
    finally:
        network.precision = "float32"
    agree = torch.nn.functional.cosine_similarity(gradients[0], gradients[1], dim=1)
    return "bfloat16" if bool((agree > _SIMILAR).all()) else "float32"


def to_image(picture: Tensor) -> Image:
    """uint8 (C, H, W) as an RGB picture; one channel is shown grey."""
    from PIL import Image as images

    array = picture.permute(1, 2, 0).contiguous().numpy()
    return images.fromarray(array[:, :, 0] if array.shape[2] == 1 else array).convert("RGB")


def hatched(size: tuple[int, int]) -> Image:
    """What stands for a picture that could not be made."""
    from PIL import Image as images

    from inspector.render.scale import hatch, to_rgb

    return images.fromarray(to_rgb(hatch(*size)))
