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


@dataclass(frozen=True)
class AscentResult:
    """What an ascent came to.

    pictures: float32 (N, C, H, W), as the network was shown them last, without transforms.
    start, end: float32 (N,), the objective on the first and on `pictures`, without transforms and penalties.
    moved: bool (N,), whether the gradient was ever anything but zero.
    """

    pictures: Tensor
    start: Tensor
    end: Tensor
    moved: Tensor


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
    """Move a canvas of N pictures uphill for `steps` steps.

    objective: a score per picture, from the layers of `network`. view: transforms, with draws float32
    (steps, N, view.draws) in [0, 1), see :func:`draw`. penalties: subtracted from the score.
    after: called with the step's number when it is done, for a blur. leaky: in so many first steps a picture without
    any gradient gets one through units that are switched off, see `Network.redirected`. crop: what of a picture is
    shown and scored at start and end. measure: what `start` and `end` say, the objective unless given.
    reference: a picture, float32 (1, C, H, W), that the network is shown through the same views; its values are there
    for the objective under ``<layer>@reference``.
    on_step: called with the number of steps done.
    """
    told = measure or objective

    def look(view_draws: Tensor | None, pictures: Tensor) -> dict[str, Tensor]:
        def seen(given: Tensor) -> Tensor:
            return view(given, view_draws) if view is not None and view_draws is not None else given

        values = network(seen(pictures))
        if reference is not None:
            with torch.no_grad():
                beside = network(seen(reference.expand(len(pictures), *reference.shape[1:])))
            values.update({f"{name}@reference": value for name, value in beside.items()})
        return values

    def score_now() -> Tensor:
        pictures = canvas.pictures()
        return told(look(None, crop(pictures) if crop else pictures))

    with torch.no_grad():
        start = score_now()
    moved = torch.zeros(len(start), dtype=torch.bool, device=start.device)
    for step in range(steps):

        def gradient_of(number: int = step) -> Tensor:
            pictures = canvas.pictures()
            score = objective(look(draws[number] if draws is not None else None, pictures))
            for penalty in penalties:
                score = score - penalty(pictures)
            (gradient,) = torch.autograd.grad(score.sum(), canvas.parameter)
            return torch.nan_to_num(gradient, 0.0, 0.0, 0.0)

        gradient = gradient_of()
        alive = gradient.flatten(1).abs().amax(1) > 0
        if step < leaky and not bool(alive.all()):
            with network.redirected():
                gradient = torch.where(alive.reshape(-1, *[1] * (gradient.dim() - 1)), gradient, gradient_of())
        moved |= alive
        optimiser.step(canvas.parameter, gradient)
        canvas.constrain()
        if after is not None:
            after(step)
        if on_step is not None:
            on_step(step + 1)
    with torch.no_grad():
        end = score_now()
        final = canvas.pictures()
        return AscentResult((crop(final) if crop else final).detach(), start, end, moved)


def generator(*what: object) -> torch.Generator:
    """A random generator that depends on `what` (seed, channel, attempt) and on nothing else."""
    digest = hashlib.sha256(repr(what).encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "little") >> 1)


def draw(generators: Sequence[torch.Generator], steps: int, count: int) -> Tensor:
    """Uniform numbers for every step: float32 (steps, N, count) in [0, 1), each picture's from its own generator."""
    return torch.stack([torch.rand(steps, count, generator=g) for g in generators], dim=1)
