"""What to make more of: one number per picture, from the values of some layers.

An objective is a small object called with the layers' values; objectives are added, scaled and negated like numbers:

>>> target = channel("features.21", [3, 7]) - 0.1 * deep("features.5")

Each picture of a batch has its own target, since rows do not touch one another: picture b is scored by channel
``channels[b]``. `diversity` is the one exception, it compares the pictures of a group.

The objectives are those of Olah, Mordvintsev & Schubert, "Feature Visualization" (Distill, 2017), the mean square is
Mordvintsev's DeepDream (2015), `likeness` is lucid's caricature, and `stay` the constraint of Hamblin et al.,
"Feature Accentuation" (2024).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from inspector.ascent.network import take_layer
from inspector.errors import UsageError

LayerTensors = Mapping[str, Tensor]
Score = Callable[[LayerTensors], Tensor]


@dataclass(frozen=True)
class Objective:
    """A score per picture: called with layer name -> (N, C, H, W) or (N, K), gives float32 (N,), larger is better."""

    layers: tuple[str, ...]
    score: Score

    def __call__(self, values: LayerTensors) -> Tensor:
        """Float32 (N,)."""
        return self.score(values)

    def __add__(self, other: Objective) -> Objective:
        return Objective(_both(self, other), lambda v: self.score(v) + other.score(v))

    def __sub__(self, other: Objective) -> Objective:
        return self + (-other)

    def __mul__(self, factor: float) -> Objective:
        return Objective(self.layers, lambda v: factor * self.score(v))

    __rmul__ = __mul__

    def __neg__(self) -> Objective:
        return -1.0 * self


def _both(a: Objective, b: Objective) -> tuple[str, ...]:
    return tuple(dict.fromkeys((*a.layers, *b.layers)))


def _maps(values: LayerTensors, layer: str) -> Tensor:
    """(N, C, positions); one position for a layer (N, K)."""
    return (
        take_layer(values, layer).flatten(2)
        if take_layer(values, layer).dim() > 2
        else (take_layer(values, layer).unsqueeze(2))
    )


def _picked(values: LayerTensors, layer: str, channels: Sequence[int]) -> Tensor:
    """Channel channels[b] of picture b: (N, positions)."""
    maps = _maps(values, layer)
    if len(channels) != len(maps):
        raise UsageError(f"{len(channels)} channels were given for {len(maps)} pictures")
    if bad := [c for c in channels if not 0 <= c < maps.shape[1]]:
        raise UsageError(f"layer {layer!r} has no channel {bad[0]}", f"its channels are 0 to {maps.shape[1] - 1}")
    return maps[torch.arange(len(maps), device=maps.device), torch.as_tensor(channels, device=maps.device)]


def channel(layer: str, channels: Sequence[int]) -> Objective:
    """The mean of one channel's map: picture b is scored by channel ``channels[b]``."""
    chosen = tuple(channels)
    return Objective((layer,), lambda v: _picked(v, layer, chosen).mean(1))


logit = channel
"""The score of one class per picture: `channel` of the layer that holds the logits. Not the probability: the gradient
of a saturated softmax is zero."""


def neuron(layer: str, channels: Sequence[int], position: tuple[int, int] | None = None) -> Objective:
    """One unit: channel ``channels[b]`` at `position` (y, x) of the map, the middle unless given."""
    chosen = tuple(channels)

    def score(values: LayerTensors) -> Tensor:
        whole = take_layer(values, layer)
        if whole.dim() < 4:
            return _picked(values, layer, chosen).mean(1)
        height, width = whole.shape[2:4]
        y, x = position if position is not None else (height // 2, width // 2)
        if not (0 <= y < height and 0 <= x < width):
            raise UsageError(f"layer {layer!r} has no unit at {y}, {x}", f"its map is {height} x {width}")
        return _picked(values, layer, chosen)[:, y * width + x]

    return Objective((layer,), score)


def direction(layer: str, vectors: Tensor, power: float = 0.0) -> Objective:
    """The mean over positions of the activation along a direction: vectors float (C,), or (N, C) one a picture.

    With `power` p the projection is multiplied by its cosine to the power of p, so that pictures are preferred that
    have this direction and little else (Carter et al., "Activation Atlas", 2019).
    """

    def score(values: LayerTensors) -> Tensor:
        maps = _maps(values, layer)
        along = vectors.to(maps).expand(len(maps), -1)
        if along.shape[1] != maps.shape[1]:
            raise UsageError(
                f"a direction of {along.shape[1]} numbers for layer {layer!r} with {maps.shape[1]} channels"
            )
        dot = torch.einsum("ncp,nc->np", maps, along)
        if power:
            lengths = maps.norm(dim=1).clamp_min(1e-6) * along.norm(dim=1, keepdim=True).clamp_min(1e-6)
            dot = dot * (dot / lengths).clamp_min(0.1) ** power
        return dot.mean(1)

    return Objective((layer,), score)


def deep(layer: str) -> Objective:
    """The mean square of a whole layer: make more of whatever it sees (DeepDream)."""
    return Objective((layer,), lambda v: _maps(v, layer).square().mean((1, 2)))


def _reference(values: LayerTensors, layer: str, given: Tensor | None) -> Tensor:
    """The activation to compare with: the one given, else that of the picture which the loop shows beside."""
    return (take_layer(values, f"{layer}@reference") if given is None else given).detach()


def likeness(layer: str, reference: Tensor | None = None, power: float = 1.0) -> Objective:
    """A caricature: as much as possible along a picture's own activation, float (1 or N, C, H, W) or (1 or N, K).

    The projection on the reference, times its cosine to the power `power`. None takes the activation of the picture
    that the loop shows beside, through the same views; one that is given is compared position by position.
    """

    def score(values: LayerTensors) -> Tensor:
        own = take_layer(values, layer)
        target = _reference(values, layer, reference).to(own)
        if own.dim() == 4 and target.shape[2:] != own.shape[2:]:
            target = torch.nn.functional.interpolate(target, own.shape[2:], mode="bilinear", align_corners=False)
        a, b = own.flatten(1), target.expand(len(own), *target.shape[1:]).flatten(1)
        dot: Tensor = (a * b).sum(1) / b.norm(dim=1).clamp_min(1e-6)
        cosine = dot / a.norm(dim=1).clamp_min(1e-6)
        value: Tensor = dot * cosine.clamp_min(0.1).pow(power)
        return value

    return Objective((layer,), score)


def stay(layer: str, reference: Tensor | None = None) -> Objective:
    """Minus the relative distance to a picture's own activation: 0 where it is unchanged.

    Feature accentuation is a channel plus this at an earlier layer: more of the channel, the same picture
    otherwise.

    Args:
        layer: Name of the layer.
        reference: As in `likeness`.
    """

    def score(values: LayerTensors) -> Tensor:
        own = take_layer(values, layer)
        target = _reference(values, layer, reference).to(own).expand_as(own)
        distance: Tensor = (own - target).flatten(1).norm(dim=1)
        value: Tensor = -distance / target.flatten(1).norm(dim=1).clamp_min(1e-6)
        return value

    return Objective((layer,), score)


def diversity(layer: str, groups: Sequence[int]) -> Objective:
    """Minus the mean likeness of a picture to the others of its group.

    Likeness is the cosine between Gram matrices (channel by channel correlations over the map), as in Olah et al.
    2017: several pictures of one channel that must not show the same thing.

    Args:
        layer: Name of the layer.
        groups: One number per picture.
    """
    names = torch.as_tensor(tuple(groups))

    def score(values: LayerTensors) -> Tensor:
        maps = _maps(values, layer)
        if len(maps) != len(names):
            raise UsageError(f"{len(names)} groups were given for {len(maps)} pictures")
        gram = torch.einsum("ncp,ndp->ncd", maps, maps).flatten(1)
        gram = gram / gram.norm(dim=1, keepdim=True).clamp_min(1e-6)
        group = names.to(gram.device)
        others = (group[:, None] == group[None]) & ~torch.eye(len(group), dtype=torch.bool, device=gram.device)
        alike: Tensor = ((gram @ gram.T) * others).sum(1)
        return -alike / others.sum(1).clamp_min(1)

    return Objective((layer,), score)
