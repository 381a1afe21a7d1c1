"""Filter patterns: pictures that excite the channels of a layer, batch by batch."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor

from inspector.ascent.filter_objective import FilterObjective
from inspector.ascent.loop import AscentResult, ascend, draw, make_generator
from inspector.ascent.network import Network, measure_free_memory
from inspector.ascent.objectives import Objective, channel, diversity, neuron, stay
from inspector.ascent.pictures import start_picture
from inspector.ascent.settle import FilterSpec
from inspector.errors import NotComputable, UsageError
from inspector.model import Model

_BUDGET = 1024**3
_BATCH = 32
"""Pictures at once: more is hardly faster, and less would be lost when a run is stopped."""


@dataclass(frozen=True, eq=False)
class PatternPicture:
    """One picture of a channel.

    Args:
        pixels: uint8 (H, W, 3) or (H, W, 1), as it is shown.
        start: What the objective measures of the channel on the starting noise, without transforms.
        end: The same on the picture.
        stuck: No way up was found, twice.
    """

    pixels: NDArray[Any]
    start: float
    end: float
    stuck: bool


@dataclass(frozen=True, eq=False)
class Pattern:
    """What excites one channel: one picture, or several that were pushed apart."""

    channel: int
    pictures: tuple[PatternPicture, ...]


def find_patterns(
    model: Model,
    spec: FilterSpec,
    channels: Sequence[int] | None = None,
    *,
    batch: int | None = None,
    on_steps: Callable[[int], None] = lambda count: None,
) -> Iterator[Pattern]:
    """The patterns of channels of a layer, one after the other, each as soon as its batch is done.

    Args:
        model: The model.
        spec: What `settle_filters` settled.
        channels: Those of `spec.channels` that are wanted; None takes all.
        batch: Pictures at once; by the free memory unless given. It does not change the pictures.
        on_steps: Called with how many steps of single pictures were done.

    Raises:
        UsageError: A batch of less than 1.
        NotComputable: There is not enough memory.
    """
    if batch is not None and batch < 1:
        raise UsageError("a batch and the pictures of a channel must be 1 or more")
    wanted = list(spec.channels if channels is None else channels)
    if not wanted:
        return
    variants = spec.objective.variants
    # Pictures of one channel that are pushed apart, or kept near to one, are compared in all channels.
    alone = variants == 1 and spec.objective.start is None
    # Built for the run alone: the networks of a hundred layers would hold the weights a hundred times.
    network = Network(model, spec.layers, device=spec.device, precision=spec.precision, picking=alone)
    ascent = _FilterAscent(model, spec, network, on_steps)
    group = min(len(wanted), max(1, (batch or ascent.batch_size()) // variants))
    at = 0
    while at < len(wanted):
        try:
            patterns = ascent.find(wanted[at : at + group])
        except (MemoryError, RuntimeError) as error:
            if not _is_out_of_memory(error):
                raise
            if batch is not None or group == 1:
                pictures = min(group, len(wanted) - at) * variants
                raise NotComputable(
                    f"there is not enough memory for {pictures} pictures of {spec.size[1]}x{spec.size[0]} "
                    f"at layer {spec.layer.name!r} at once",
                    "give a smaller --size, --batch or --variants",
                ) from None
            group //= 2
            continue
        yield from patterns
        at += group


@dataclass(frozen=True)
class _FilterAscent:
    """The ascents of one layer."""

    model: Model
    spec: FilterSpec
    network: Network
    on_steps: Callable[[int], None]

    def batch_size(self) -> int:
        """Pictures at once that fit into memory."""
        spec = self.spec
        whole = (spec.size[0] + spec.recipe.margin, spec.size[1] + spec.recipe.margin)
        view = spec.recipe.view() if spec.objective.start is None else None
        each = self.network.bytes_per_picture(view.size(whole) if view is not None else spec.size)
        each *= 2 if spec.objective.keep else 1
        if spec.objective.variants > 1:
            channels = self.network.shapes(spec.size)[spec.layer.name][0]
            each += 3 * 4 * channels**2  # correlations between channels, and what their gradient needs
        budget = min(_BUDGET, int(0.35 * measure_free_memory(self.network.device)))
        return max(1, min(_BATCH, budget // max(each, 1)))

    def find(self, numbers: Sequence[int]) -> list[Pattern]:
        """The patterns of some channels, in one ascent, and in a second one of those that are stuck."""
        objective, recipe = self.spec.objective, self.spec.recipe
        variants = objective.variants
        rows = [(c, v) for c in numbers for v in range(variants)]
        first = self._ascend(rows, 0, lambda step: self.on_steps(len(rows)))
        shown = recipe.shown(first.pictures).cpu()
        start, end, stuck = first.start.tolist(), first.end.tolist(), _stuck(first, objective)
        again = [k for k, bad in enumerate(stuck) if bad]
        if again:
            # Another start: stronger noise of another seed. A group is retried as one, its pictures depend on another.
            whole = sorted({k // variants for k in again})
            places = [g * variants + v for g in whole for v in range(variants)]
            second = self._ascend([rows[k] for k in places], 1, lambda step: None)
            pictures, bad = recipe.shown(second.pictures).cpu(), _stuck(second, objective)
            for n, k in enumerate(places):
                if stuck[k] and not bad[n]:
                    shown[k], stuck[k] = pictures[n], False
                    start[k], end[k] = float(second.start[n]), float(second.end[n])
        pixels = [picture.permute(1, 2, 0).contiguous().numpy() for picture in shown]
        made = [PatternPicture(*values) for values in zip(pixels, start, end, stuck, strict=True)]
        return [Pattern(c, tuple(made[g * variants : (g + 1) * variants])) for g, c in enumerate(numbers)]

    def _ascend(self, rows: Sequence[tuple[int, int]], attempt: int, on_step: Callable[[int], None]) -> AscentResult:
        """One ascent; rows: (channel, variant) of each picture.

        An odd number of pictures gets a copy of the last one beside it. oneDNN rounds a picture the same in any even
        batch, but not in an odd one, and many steps turn a last digit into another picture. Only a picture that is
        the only one of its run is made alone, as the copy would double its time.
        """
        if len(rows) % 2 and not self.spec.alone:
            return _first(self._ascend_rows([*rows, rows[-1]], len(rows), attempt, on_step), len(rows))
        return self._ascend_rows(rows, len(rows), attempt, on_step)

    def _ascend_rows(
        self, rows: Sequence[tuple[int, int]], real: int, attempt: int, on_step: Callable[[int], None]
    ) -> AscentResult:
        network, spec, recipe, asked = self.network, self.spec, self.spec.recipe, self.spec.objective
        numbers = [c for c, _ in rows]
        if network.picks:
            network.pick(numbers)
            numbers = [0] * len(rows)
        plain = (neuron if asked.unit else channel)(spec.layer.name, numbers)
        objective = -plain if asked.negative else plain
        if asked.variants > 1:
            groups = [c if k < real else -1 for k, (c, _) in enumerate(rows)]
            objective = objective + _spread(plain, spec.layer.name, groups)
        starts = [make_generator(spec.seed, c, v, attempt, "start") for c, v in rows]
        reference = None
        if asked.start is not None:
            picture = start_picture(self.model, asked.start, spec.size).to(network.device)
            if asked.keep is not None:
                worth = _scale(network, spec.layer.name, picture)
                objective = objective * (1 / worth) + asked.keep[1] * stay(asked.keep[0].name)
            reference = picture if asked.keep is not None else None
            canvas = recipe.canvas_of(_add_noise(picture, starts, attempt))
            view, crop = recipe.view(crop=False), None
        else:
            # The second try stays within what a picture can hold: whatever fires only beyond that is stuck.
            tried = recipe if attempt == 0 else recipe.with_(clip=True)
            canvas = tried.canvas(spec.size, network.channels, starts, 1.0 if attempt == 0 else 20.0)
            view, crop = recipe.view(), recipe.crop if recipe.margin else None
        if network.device.type != "cpu":
            canvas = canvas.to(network.device)
        draws = None
        if view is not None:
            draws = draw([make_generator(spec.seed, c, v, attempt, "view") for c, v in rows], recipe.steps, view.draws)
            draws = draws.to(network.device)
        return ascend(
            network, objective, canvas, recipe.new_optimiser(), steps=recipe.steps, view=view, draws=draws,
            penalties=recipe.penalties(), after=recipe.after(canvas), leaky=max(recipe.leaky, 16 * attempt), crop=crop,
            measure=plain, reference=reference, on_step=on_step,
        )  # fmt: skip


def _first(result: AscentResult, count: int) -> AscentResult:
    """The first `count` pictures of a result."""
    return AscentResult(result.pictures[:count], result.start[:count], result.end[:count], result.moved[:count])


def _is_out_of_memory(error: Exception) -> bool:
    """torch has a class for the GPU's memory, and only words for the processor's."""
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or "allocate memory" in str(error)


def _stuck(result: AscentResult, objective: FilterObjective) -> list[bool]:
    """No gradient at all, or a picture that is no better than the noise it began as.

    A picture that must stay the same to some layer may have to give up what it gains.
    """
    if objective.keep is not None:
        return (~result.moved).tolist()
    gain = result.end - result.start
    gain = -gain if objective.negative else gain
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


def _add_noise(picture: Tensor, generators: Sequence[torch.Generator], attempt: int) -> Tensor:
    """The picture once for each generator, with a little noise from it."""
    noise = torch.stack([torch.randn(picture.shape[1:], generator=g) for g in generators])
    return (picture + (0.002 if attempt == 0 else 0.05) * noise.to(picture.device)).clamp(0, 1)
