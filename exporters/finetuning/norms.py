"""Batch norms for the joint phase, in a base whose own are folded away or frozen, and their way back into the weights.

Far from the pictures that a base has learned, its channels are no longer on the scale that they were trained at, and
with every step they move further. A norm (https://arxiv.org/abs/1502.03167) behind each convolution that is trained
keeps them there. It begins with what it measures on the training pictures, so that the network first computes what it
did; while it trains it goes by its batches; in the end it is folded into the weights before it, and the file has the
nodes that it had.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from functools import partial

from exporters.planning.options import FEWEST
from exporters.planning.places import NormPlace
from exporters.sources.needs import nn, torch
from inspector.twin import Twin

State = dict[str, torch.Tensor]
MOMENTUM = 0.1
"""Weight of a batch in the running statistics."""
EPSILON = 1e-5
_PARTS = ("gain", "offset", "mean", "variance")


class Norm(nn.Module):
    """Batch norm of (N, C, H, W) that can be off. gain, offset: float32 (C,), learned; mean, variance: running."""

    def __init__(self, place: NormPlace) -> None:
        super().__init__()
        self.place = place
        self.on = False
        self._sums: list[torch.Tensor] = []
        self.gain = nn.Parameter(torch.ones(0))
        self.offset = nn.Parameter(torch.zeros(0))
        self.register_buffer("mean", torch.zeros(0))
        self.register_buffer("variance", torch.ones(0))

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        """The values normalised: by their own statistics while training, by the running ones otherwise."""
        if not self.on:
            return values
        mean, variance = self._buffers["mean"], self._buffers["variance"]
        # The short last batch of an epoch is no measure of anything.
        batch = self.training and len(values) >= FEWEST
        return nn.functional.batch_norm(values, mean, variance, self.gain, self.offset, batch, MOMENTUM, EPSILON)

    def measure(self, values: torch.Tensor) -> None:
        """Adds values to the statistics. Those of 1x1 maps (of a squeeze-and-excite block) do not count."""
        if values.ndim == 4 and values.shape[2] * values.shape[3] > 1:
            variance, mean = torch.var_mean(values, (0, 2, 3), correction=0)
            mean, count = mean.double(), values.numel() // values.shape[1]
            found = [torch.full_like(mean, count), count * mean, count * (variance.double() + mean.square())]
            self._sums = [a + b for a, b in zip(self._sums, found, strict=True)] if self._sums else found

    def _measured(self) -> tuple[torch.Tensor, torch.Tensor]:
        count, total, squares = self._sums
        self._sums = []
        mean = total / count
        return mean.float(), (squares / count - mean.square()).clamp(min=0).float()

    def begin(self) -> None:
        """Takes the measured statistics, and such gains and offsets that nothing changes; stays off without any."""
        if not self._sums:
            return
        mean, variance = self._measured()
        self.gain = nn.Parameter((variance + EPSILON).sqrt())
        self.offset = nn.Parameter(mean.clone())
        self.register_buffer("mean", mean)
        self.register_buffer("variance", variance)
        self.on = True

    def settle(self) -> None:
        """Takes the measured statistics for the running ones."""
        if self.on and self._sums:
            for name, value in zip(("mean", "variance"), self._measured(), strict=True):
                getattr(self, name).copy_(value)


class Norms(nn.Module):
    """The norms of a network's trained part. They are off until :meth:`begin`."""

    def __init__(self, places: list[NormPlace]) -> None:
        super().__init__()
        self._measuring = False
        self._each = tuple(Norm(place) for place in places)
        self.all = nn.ModuleList(self._each)

    @property
    def on(self) -> int:
        """How many are on."""
        return sum(norm.on for norm in self._each)

    def transforms(self) -> dict[str, Callable[[torch.Tensor], torch.Tensor]]:
        """What :func:`inspector.twin.build_twin` puts behind each tensor, by tensor name."""
        return {norm.place.tensor: partial(self._pass_through, norm) for norm in self._each}

    def _pass_through(self, norm: Norm, values: torch.Tensor) -> torch.Tensor:
        if self._measuring:
            norm.measure(values)
        normalised: torch.Tensor = norm(values)
        return normalised

    def _measure(self, batches: Iterable[tuple[torch.Tensor, ...]], trunk: Twin) -> None:
        self._measuring = True
        with torch.no_grad():
            for batch in batches:
                trunk(*batch)
        self._measuring = False

    def begin(self, batches: Iterable[tuple[torch.Tensor, ...]], trunk: Twin) -> None:
        """Measures `batches` of what the trunk takes, and turns the norms on."""
        self._measure(batches, trunk)
        for norm in self._each:
            norm.begin()

    def settle(self, batches: Iterable[tuple[torch.Tensor, ...]], trunk: Twin) -> None:
        """Measures the running statistics anew, for the weights as they are.

        Those that ran along are of mixed pictures where there is mixup, and of other weights where these are an average
        (https://arxiv.org/abs/1803.05407, section 3.3).
        """
        self.train()
        self._measure(batches, trunk)
        for norm in self._each:
            norm.settle()

    def learned(self) -> dict[str, nn.Parameter]:
        """Gains and offsets by their names in a state."""
        return {n.place.key(part): getattr(n, part) for n in self._each if n.on for part in ("gain", "offset")}

    def statistics(self) -> State:
        """The running statistics by their names in a state; not copies."""
        return {n.place.key(part): getattr(n, part) for n in self._each if n.on for part in ("mean", "variance")}

    def stop(self) -> None:
        """Turns them off: the weights are folded."""
        for norm in self._each:
            norm.on = False


def find_weight(name: str) -> str:
    """The initializer whose rate the tensor `name` of a state goes by: the weights before a norm, or itself."""
    return str(json.loads(name)[1]) if _is_norm(name) else name


def fold_state(state: Mapping[str, torch.Tensor]) -> State:
    """A state with its norms folded into weights and biases: what the file holds."""
    found = {name: value for name, value in state.items() if not _is_norm(name)}
    for weight, bias in dict.fromkeys(tuple(json.loads(name)[1:3]) for name in state if _is_norm(name)):
        place = NormPlace("", weight, bias)
        gain, offset, mean, variance = (state[place.key(part)].double() for part in _PARTS)
        scale = gain / (variance + EPSILON).sqrt()
        before = found[weight]
        rows = scale.reshape(-1, *[1] * (before.ndim - 1))
        found[weight] = (before.double() * rows).to(before.dtype)
        found[bias] = ((found[bias].double() - mean) * scale + offset).to(found[bias].dtype)
    return found


def _is_norm(name: str) -> bool:
    return name.startswith('["norm", ')
