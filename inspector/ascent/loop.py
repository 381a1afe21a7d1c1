"""The one loop: a canvas, seen through transforms by a network, moved uphill on an objective."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from inspector.ascent.network import Network
from inspector.ascent.objectives import Objective
from inspector.ascent.optimise import Optimiser
from inspector.ascent.parametrise import Canvas
from inspector.ascent.regularise import Penalty
from inspector.ascent.transforms import View
from inspector.twin.devices import compute_exactly


@dataclass(frozen=True)
class AscentResult:
    """What an ascent came to.

    Args:
        pictures: Float32 (N, C, H, W), as the network was shown them last, without transforms.
        start: Float32 (N,), the objective on the first pictures, without transforms and penalties.
        end: The same on `pictures`.
        moved: Bool (N,), whether the gradient was ever anything but zero.
    """

    pictures: Tensor
    start: Tensor
    end: Tensor
    moved: Tensor


# Wide: the parts that an ascent is composed of, and what is told of it, by name.
@compute_exactly()
def ascend(
    network: Network,
    objective: Objective,
    canvas: Canvas,
    optimiser: Optimiser,
    *,
    steps: int,
    view: View | None = None,
    draws: Tensor | None = None,
    penalties: Sequence[Penalty] = (),
    after: Callable[[int], None] | None = None,
    leaky: int = 0,
    crop: Callable[[Tensor], Tensor] | None = None,
    measure: Objective | None = None,
    reference: Tensor | None = None,
    on_step: Callable[[int], None] | None = None,
) -> AscentResult:
    """Move a canvas of N pictures uphill.

    Args:
        network: Its layers are what the objective reads.
        objective: A score for each picture.
        canvas: The N pictures; changed in place.
        optimiser: How far and where to along the gradient.
        steps: How often.
        view: Transforms that the network sees the pictures through, with `draws`.
        draws: Float32 (steps, N, view.draws) in [0, 1), see `draw`.
        penalties: Subtracted from the score.
        after: Called with the step's number when it is done, for a blur.
        leaky: In so many first steps a picture without any gradient gets one through units that are switched off, see
            `Network.redirected`.
        crop: What of a picture is shown, and scored at start and end.
        measure: What `start` and `end` of the result say; the objective unless given.
        reference: A picture, float32 (1, C, H, W), that the network is shown through the same views; its values are
            there for the objective under ``<layer>@reference``.
        on_step: Called with the number of steps done.
    """
    scorer = _Scorer(network, objective, canvas, view, penalties, reference)
    with torch.no_grad():
        start = scorer.measure(measure or objective, crop)
    moved = torch.zeros(len(start), dtype=torch.bool, device=start.device)
    for step in range(steps):
        drawn = draws[step] if draws is not None else None
        gradient = scorer.gradient(drawn)
        alive = gradient.flatten(1).abs().amax(1) > 0
        if step < leaky and not bool(alive.all()):
            with network.redirected():
                again = scorer.gradient(drawn)
            gradient = torch.where(alive.reshape(-1, *[1] * (gradient.dim() - 1)), gradient, again)
        moved |= alive
        optimiser.step(canvas.parameter, gradient)
        canvas.constrain()
        if after is not None:
            after(step)
        if on_step is not None:
            on_step(step + 1)
    with torch.no_grad():
        end = scorer.measure(measure or objective, crop)
        final = canvas.pictures()
        return AscentResult((crop(final) if crop else final).detach(), start, end, moved)


@dataclass(frozen=True, eq=False)
class _Scorer:
    """The objective of a canvas and its gradient, seen through transforms."""

    network: Network
    objective: Objective
    canvas: Canvas
    view: View | None
    penalties: Sequence[Penalty]
    reference: Tensor | None

    def measure(self, objective: Objective, crop: Callable[[Tensor], Tensor] | None) -> Tensor:
        """What an objective says of the pictures as they are shown: float32 (N,)."""
        pictures = self.canvas.pictures()
        return objective(self._values(crop(pictures) if crop else pictures, None))

    def gradient(self, draws: Tensor | None) -> Tensor:
        """Of the score less the penalties, in the canvas's parameter; 0 where it is not finite."""
        pictures = self.canvas.pictures()
        score = self.objective(self._values(pictures, draws))
        for penalty in self.penalties:
            score = score - penalty(pictures)
        (gradient,) = torch.autograd.grad(score.sum(), self.canvas.parameter)
        return torch.nan_to_num(gradient, 0.0, 0.0, 0.0)

    def _values(self, pictures: Tensor, draws: Tensor | None) -> dict[str, Tensor]:
        values = self.network(self._see(pictures, draws))
        if self.reference is not None:
            beside = self.reference.expand(len(pictures), *self.reference.shape[1:])
            with torch.no_grad():
                seen = self.network(self._see(beside, draws))
            values.update({f"{name}@reference": value for name, value in seen.items()})
        return values

    def _see(self, pictures: Tensor, draws: Tensor | None) -> Tensor:
        return self.view(pictures, draws) if self.view is not None and draws is not None else pictures


def make_generator(*what: object) -> torch.Generator:
    """A random generator that depends on `what` (seed, channel, attempt) and on nothing else."""
    digest = hashlib.sha256(repr(what).encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "little") >> 1)


def draw(generators: Sequence[torch.Generator], steps: int, count: int) -> Tensor:
    """Uniform numbers for every step: float32 (steps, N, count) in [0, 1), each picture's from its own generator."""
    return torch.stack([torch.rand(steps, count, generator=g) for g in generators], dim=1)
