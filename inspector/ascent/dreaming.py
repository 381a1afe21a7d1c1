"""DeepDream: a photograph in which a network sees more and more of what it sees (Mordvintsev, Olah & Tyka, 2015).

The picture is worked on from small to large. After each enlargement the detail that the smaller size had lost is put
back, so the result is as sharp as the photograph. Large pictures are worked on in tiles whose seams lie elsewhere at
each step; memory then goes with the tile, not with the picture.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from inspector.ascent.loop import make_generator
from inspector.ascent.network import Network
from inspector.ascent.objectives import Objective, deep, likeness
from inspector.ascent.pictures import to_image
from inspector.ascent.precision import choose_precision
from inspector.ascent.recipes import LECTURE
from inspector.errors import NotComputable, UsageError
from inspector.image import ImageSource, open_image
from inspector.layers import Layer
from inspector.model import Model
from inspector.twin.devices import choose_device, compute_exactly

if TYPE_CHECKING:
    from PIL.Image import Image

TILE = 512
"""Side of a tile; a picture up to half as large again is one tile."""

_MOST_OCTAVES = 12
_MOST_FRAMES = 100
TileBox = tuple[int, int, int, int]
LayerWeights = str | Layer | Sequence[str | Layer | tuple[str | Layer, float]]


@dataclass(frozen=True)
class LayerGain:
    """What a dream made of one layer.

    Args:
        layer: Its name.
        weight: The weight it was given.
        start: Mean square of its values on the photograph, at full size.
        end: The same on the dream.
    """

    layer: str
    weight: float
    start: float
    end: float

    @property
    def stuck(self) -> bool:
        """Whether nothing was gained: the layer is dead on the photograph, and no step changes it."""
        gain = (self.end - self.start) * (1 if self.weight >= 0 else -1)
        return gain <= 1e-6 * max(abs(self.start), 1e-9)


@dataclass(frozen=True)
class Dream:
    """A dream.

    Args:
        picture: RGB, the size of the photograph, or that of the network where its graph takes no other.
        activation_start: The layers' mean squares, weighted and summed, on the photograph.
        activation: The same on the dream.
        octaves: (width, height) of each size worked at, smallest first.
        layers: What became of each layer.
        precision: "float32" or "bfloat16".
        frames: Pictures of how it came about; the last is the dream.
    """

    picture: Image
    activation_start: float
    activation: float
    octaves: tuple[tuple[int, int], ...]
    layers: tuple[LayerGain, ...]
    precision: str
    frames: tuple[Image, ...] = ()

    @property
    def stuck(self) -> bool:
        """Whether nothing was gained in any layer, so that the picture is the photograph, more or less."""
        return all(gain.stuck for gain in self.layers)


# Wide: the options of `inspector dream`, all but the first three by name.
# Long: half of it says what they are.
@compute_exactly()
def dream(
    model: Model,
    image: ImageSource,
    layers: LayerWeights,
    *,
    octaves: int | None = None,
    ratio: float = 1.4,
    steps: int = 20,
    rate: float = 1.5 / 255,
    jitter: int = 32,
    tile: int = TILE,
    seed: int = 0,
    caricature: bool = False,
    frames_every: int = 0,
    frame_size: int = 480,
    precision: str = "auto",
    provider: str = "auto",
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> Dream:
    """Amplify in a picture what `layers` detect: ascent on the mean square of their activations.

    Args:
        model: The model.
        image: What `open_image` takes.
        layers: Layers or their names, or (layer or name, weight). Each counts relative to its own mean square on the
            photograph, so that a weight of 1 means the same for all; a negative one makes less of a layer.
        octaves: Number of sizes to work at, 1 to 12; by the picture's size unless given.
        ratio: From one size to the next, above 1 and up to 10.
        steps: Number of steps at each size.
        rate: Length of a step, as a share of the range of pixels: it is multiplied with the gradient over its mean
            magnitude.
        jitter: Pixels that the picture is moved by at each step.
        tile: Side of the pieces that large pictures are worked on in, 64 pixels or more.
        seed: Of the random moves.
        caricature: Follow the photograph's own activation instead of its square.
        frames_every: Keep a picture after so many steps, or after more where these would be above a hundred; 0 keeps
            none.
        frame_size: Longest side of a kept picture in pixels.
        precision: "float32", "bfloat16", or "auto", the faster one that looks the same.
        provider: "auto", "cpu" or "cuda".
        on_progress: Called with the number of steps done, and how many there are in all.

    Raises:
        ImageError: The image cannot be opened.
        UsageError: A value is out of range.
        LayerNotFound: There is no such layer.
        NotComputable: A layer cannot run on the smallest size.
        TwinUnsupported: The model has an operator that the torch twin does not have.
    """
    weighted = choose_weighted(model, layers)
    _check(weighted, octaves, ratio, steps, rate, tile)
    opened = open_image(image, warn=model.warn)
    network = Network(model, [layer for layer, _ in weighted], device=choose_device(provider))
    photograph = picture_to_tensor(opened, model.preprocess.channels).to(network.device)
    sizes = plan_octaves((photograph.shape[2], photograph.shape[3]), model.preprocess.size, octaves, ratio)
    probe = (min(sizes[0][0], 224), min(sizes[0][1], 224))
    own = model.preprocess.size
    if own is not None and _takes_only(network, own, [probe, (min(sizes[-1][0], tile), min(sizes[-1][1], tile))]):
        model.warn(f"the graph fixes the size of its pictures: the dream is of {own[1]}x{own[0]} pixels")
        photograph = picture_to_tensor(model.preprocess.view(opened), model.preprocess.channels).to(network.device)
        sizes, probe, tile = [own], own, max(*own, tile)
    worker = _Dreamer(network, weighted, photograph, tile, jitter, seed, caricature)
    worker.check(probe)
    network.precision = choose_precision(
        network, weighted[0][0], probe, LECTURE, seed, precision, network.shapes(probe)[weighted[0][0].name][0]
    )
    start = worker.measure(photograph)
    film = _Film(frames_every, frame_size, len(sizes) * steps, photograph, on_progress)
    picture = worker.work(sizes, steps, rate, film)
    end = worker.measure(picture)
    gains = tuple(
        LayerGain(layer.name, weight, a, b) for (layer, weight), a, b in zip(weighted, start, end, strict=True)
    )
    return Dream(
        to_image((picture[0] * 255).round().to(torch.uint8)),
        sum(g.weight * g.start for g in gains),
        sum(g.weight * g.end for g in gains),
        tuple((w, h) for h, w in sizes),
        gains,
        network.precision,
        tuple(film.frames),
    )


def _takes_only(network: Network, own: tuple[int, int], others: Sequence[tuple[int, int]]) -> bool:
    """Whether the layers run on pictures of the network's own size (H, W), and not on some other that a dream needs."""
    try:
        for size in others:
            network.shapes(size)
    except NotComputable:
        try:
            network.shapes(own)
        except NotComputable:
            return False
        return True
    return False


def choose_weighted(model: Model, layers: LayerWeights) -> list[tuple[Layer, float]]:
    """(layer, weight) of layers that are given as such or by name, with a weight or without."""
    given = [layers] if isinstance(layers, str | Layer) else list(layers)
    pairs = [x if isinstance(x, tuple) else (x, 1.0) for x in given]
    return [(model.layer(layer), float(weight)) for layer, weight in pairs]


def _check(
    layers: Sequence[tuple[Layer, float]], octaves: int | None, ratio: float, steps: int, rate: float, tile: int
) -> None:
    """Raises UsageError for what is out of range."""
    if not layers:
        raise UsageError("no layer was given to dream of", "see `inspector layers MODEL`")
    if not 0 < rate <= 1:
        raise UsageError(f"a step of {rate * 255:g} is out of range", "give a rate above 0 and up to 255")
    if not any(weight for _, weight in layers):
        raise UsageError("the weights of all layers are 0", "give one of them another weight")
    if steps < 1 or not 1 < ratio <= 10 or (octaves is not None and not 1 <= octaves <= _MOST_OCTAVES) or tile < 64:
        raise UsageError(
            f"{steps} steps, {octaves} octaves at a ratio of {ratio:g} in tiles of {tile}",
            f"steps are 1 or more, octaves 1 to {_MOST_OCTAVES}, the ratio is above 1 and up to 10, a tile 64 or more",
        )


def plan_octaves(
    size: tuple[int, int], own: tuple[int, int] | None, octaves: int | None, ratio: float
) -> list[tuple[int, int]]:
    """(H, W) of each octave, smallest first, the picture's own last.

    Unless told how many: down to about half the size that the network was made for, at least three where there is room.
    """
    side = min(own) if own else 224
    short = min(size)
    if octaves is None:
        octaves = 1 + max(0, math.floor(math.log(max(short / (0.6 * side), 1)) / math.log(ratio)))
        octaves = min(max(octaves, 3), _MOST_OCTAVES)
        while octaves > 1 and short / ratio ** (octaves - 1) < min(0.45 * side, short):
            octaves -= 1
    sizes = [(max(1, round(size[0] / ratio**k)), max(1, round(size[1] / ratio**k))) for k in reversed(range(octaves))]
    return list(dict.fromkeys(sizes))


class _Film:
    """Counts the steps of a dream, and keeps pictures of it on the way."""

    def __init__(
        self, every: int, size: int, total: int, photograph: Tensor, on_progress: Callable[[int, int], None]
    ) -> None:
        self.every = max(every, -(-total // _MOST_FRAMES)) if every else 0
        self.size, self.total, self.photograph, self.on_progress = size, total, photograph, on_progress
        self.frames: list[Image] = []
        self.done = 0

    def add(self, picture: Tensor) -> None:
        """One more step was done."""
        self.done += 1
        if self.every and (self.done % self.every == 0 or self.done == self.total):
            self.frames.append(_draw_frame(picture, self.size, self.photograph))
        self.on_progress(self.done, self.total)


@dataclass
class _Dreamer:
    """The gradient of a whole picture, tile by tile, and the steps along it."""

    network: Network
    layers: Sequence[tuple[Layer, float]]
    photograph: Tensor
    tile: int
    jitter: int
    seed: int
    caricature: bool
    objective: Objective | None = None

    def work(self, sizes: Sequence[tuple[int, int]], steps: int, rate: float, film: _Film) -> Tensor:
        """The dream, float32 (1, C, H, W) in [0, 1], worked on at each size (H, W), smallest first."""
        picture = small = resize(self.photograph, sizes[0])
        for number, size in enumerate(sizes):
            if number:
                lost = resize(self.photograph, size) - resize(small, size)
                picture = (resize(picture, size) + lost).clamp_(0, 1)
            small = resize(self.photograph, size)
            self.prepare(small)
            for step in range(steps):
                self.step(picture, small, number, step, rate)
                film.add(picture)
        return picture

    def check(self, size: tuple[int, int]) -> None:
        """Raises NotComputable when a layer cannot run on the smallest octave."""
        try:
            self.network.shapes(size)
        except NotComputable as error:
            names = ", ".join(layer.name for layer, _ in self.layers)
            raise NotComputable(
                f"{names} cannot be computed on {size[1]}x{size[0]} pixels", f"take an earlier layer; {error.message}"
            ) from None

    def prepare(self, small: Tensor) -> None:
        """The objective for an octave: each layer by its worth on the photograph at this size."""
        worth = self.measure(small)
        objective: Objective | None = None
        for (layer, weight), value in zip(self.layers, worth, strict=True):
            part = likeness(layer.name) if self.caricature else deep(layer.name)
            scaled = part * (weight / max(value, 1e-12) ** (0.5 if self.caricature else 1))
            objective = scaled if objective is None else objective + scaled
        self.objective = objective

    def measure(self, picture: Tensor) -> list[float]:
        """Mean square of each layer, from tiles: the mean over tiles by their area."""
        sums = [0.0] * len(self.layers)
        area = picture.shape[2] * picture.shape[3]
        with torch.no_grad():
            for top, left, bottom, right in cut_tiles(picture.shape[2:], self.tile, None):
                values = self.network(picture[..., top:bottom, left:right])
                share = (bottom - top) * (right - left) / area
                for k, (layer, _) in enumerate(self.layers):
                    sums[k] += share * float(deep(layer.name)(values))
        return sums

    def step(self, picture: Tensor, small: Tensor, octave: int, step: int, rate: float) -> None:
        """One step, in place. picture: float32 (1, C, H, W). small: the photograph at this size."""
        assert self.objective is not None
        random = make_generator(self.seed, "dream", octave, step)
        limit = [min(self.jitter, side // 4) for side in picture.shape[2:]]
        shift = [int(torch.randint(-n, n + 1, (1,), generator=random)) if n else 0 for n in limit]
        moved = torch.roll(picture, shift, (2, 3))
        beside = torch.roll(small, shift, (2, 3)) if self.caricature else None
        gradient = torch.zeros_like(moved)
        area = picture.shape[2] * picture.shape[3]
        for top, left, bottom, right in cut_tiles(picture.shape[2:], self.tile, random):
            part = moved[..., top:bottom, left:right].detach().requires_grad_()
            values = self.network(part)
            if beside is not None:
                with torch.no_grad():
                    reference = self.network(beside[..., top:bottom, left:right])
                values.update({f"{name}@reference": value for name, value in reference.items()})
            score = self.objective(values) * ((bottom - top) * (right - left) / area)
            (found,) = torch.autograd.grad(score.sum(), part)
            gradient[..., top:bottom, left:right] = found
        gradient = torch.roll(torch.nan_to_num_(gradient), [-s for s in shift], (2, 3))
        gradient *= rate / (gradient.abs().mean().clamp_min(1e-12))
        picture += gradient
        picture.clamp_(0, 1)


def cut_tiles(size: Sequence[int], tile: int, random: torch.Generator | None) -> Iterator[TileBox]:
    """(top, left, bottom, right) of tiles that cover (H, W), each side between half a tile and one and a half.

    Args:
        size: (H, W) of the picture.
        tile: Side of a tile.
        random: Moves the seams; None puts them at whole tiles.
    """
    rows, columns = (_cuts(int(side), tile, random) for side in size)
    for top, bottom in pairwise(rows):
        for left, right in pairwise(columns):
            yield top, left, bottom, right


def _cuts(side: int, tile: int, random: torch.Generator | None) -> list[int]:
    if side <= tile + tile // 2:
        return [0, side]
    # Sixteen places for the seams are enough, and keep the number of different shapes small.
    room = min(tile, side - tile)
    shift = int(torch.randint(0, 16, (1,), generator=random)) * room // 16 if random is not None else room // 2
    cuts = [0, *range(tile // 2 + shift, side - tile // 2 + 1, tile)]
    return [*cuts, side]


def picture_to_tensor(image: Image, channels: int) -> Tensor:
    """An RGB picture as float32 (1, C, H, W) in [0, 1]; grey for one channel."""
    array = np.array(image.convert("L") if channels == 1 else image, np.float32)
    return (torch.from_numpy(array) / 255).reshape(1, *array.shape[:2], -1).permute(0, 3, 1, 2).contiguous()


def resize(picture: Tensor, size: tuple[int, int]) -> Tensor:
    """float32 (1, C, H, W) at another (H, W): bicubic, smoothed where it becomes smaller; always a copy."""
    if picture.shape[2:] == size:
        return picture.clone()
    smaller = size[0] < picture.shape[2]
    return functional.interpolate(picture, size, mode="bicubic", align_corners=False, antialias=smaller).clamp_(0, 1)


def _draw_frame(picture: Tensor, limit: int, photograph: Tensor) -> Image:
    """The picture as it is, at the proportions of the photograph."""
    height, width = photograph.shape[2:]
    factor = min(1.0, limit / max(height, width))
    size = (max(1, round(height * factor)), max(1, round(width * factor)))
    return to_image((resize(picture, size)[0] * 255).round().to(torch.uint8))
