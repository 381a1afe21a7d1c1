"""How little a picture looks like those a network knows: what an attached output claims, computed anew.

The file holds the statistics that the number is made of as constants, and its metadata says which they are.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from inspector.graph import operator_of
from inspector.metrics.separation import ClassCenters, measure_energy
from inspector.model import Model, make_picture_shape

Array = NDArray[Any]
Rows = NDArray[np.float64]
_QUARTER = 1.349
"""The distance between the quartiles of a normal distribution, in standard deviations."""


def find_features(model: Model, scores: str) -> str | None:
    """The tensor that the last convolution or matrix product before the scores reads: one vector for each picture.

    Returns:
        Its name; None where the last weights read maps, or there is no one tensor.
    """
    graph, at = model.graph, scores
    while (number := graph.producer_of.get(at)) is not None:
        node = graph.nodes[number]
        moving = [name for name in node.input if name in graph.from_picture]
        if len(moving) != 1:
            return None
        at = moving[0]
        if operator_of(node).weighted:
            picture = np.zeros(make_picture_shape(model), model.input.dtype)
            shape = model.run(picture, [at])[at].shape
            return at if int(np.prod(shape[1:])) == max(shape[1:], default=0) else None
    return None


@dataclass(frozen=True)
class KnownRange:
    """Where a number lies for pictures that are known, which makes it one in [0, 1].

    Attributes:
        quartiles: The first, second and third of them.
        alarm: The value above which an alarm is raised.
    """

    quartiles: tuple[float, float, float]
    alarm: float

    @property
    def spread(self) -> float:
        """The distance between the quartiles, as a standard deviation; more than rounding where they are the same."""
        low, _, high = self.quartiles
        return max((high - low) / _QUARTER, 1e-6 * max(1.0, *(abs(one) for one in self.quartiles)))

    def squash(self, value: float) -> float:
        """A number as one in [0, 1]: 0.5 at the middle of what is known."""
        return float(0.5 * (1 + np.tanh(0.5 * (value - self.quartiles[1]) / self.spread)))


def digest_arrays(arrays: Iterable[Array]) -> str:
    """The SHA-256 of float32 arrays, one behind the other."""
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(np.ascontiguousarray(array, np.float32).tobytes())
    return digest.hexdigest()


@dataclass(frozen=True)
class UnknownClaim:
    """What the metadata of an output says that the number is made of.

    Attributes:
        known: The range of the number on pictures that are known.
        centers: Where the classes lie among the features, as the file's constants say; None for the energy.
        intact: These constants are those that were written.
    """

    known: KnownRange
    centers: ClassCenters | None
    intact: bool

    def measure(self, model: Model, tensor: Array) -> float | None:
        """The number for one picture, in [0, 1]; None where the network has no such features."""
        classifier = model.classifier
        name = None if classifier is None else classifier.scores
        if self.centers is not None and name is not None:
            name = find_features(model, name)
        if name is None:
            return None
        rows: Rows = model.run(tensor[:1], [name])[name][:1].reshape(1, -1).astype(np.float64)
        if self.centers is not None and rows.shape[1] != len(self.centers.origin):
            return None
        raw = measure_energy(rows) if self.centers is None else self.centers.measure(rows)
        return self.known.squash(float(raw[0]))


def read_claim(model: Model, settings: Mapping[str, Any]) -> UnknownClaim | None:
    """Read what the number is made of; None where the metadata does not say it."""
    graph = model.attached.graph if model.attached is not None else model.graph
    quartiles, names = settings.get("quartiles"), settings.get("constants", {})
    if quartiles is None or "alarm" not in settings:
        return None
    first, middle, third = (float(one) for one in quartiles)
    known = KnownRange((first, middle, third), float(settings["alarm"]))
    if settings["method"] == "energy":
        return UnknownClaim(known, None, True)
    if not all(name in graph.initializers for name in names.values()) or not {"origin", "means"} <= {*names}:
        return UnknownClaim(known, None, False)
    arrays = {key: graph.weight(name) for key, name in names.items()}
    whole = digest_arrays(arrays[key] for key in ("origin", "turn", "means") if key in arrays)
    wide = {key: array.astype(np.float64) for key, array in arrays.items()}
    centers = ClassCenters(wide["origin"].reshape(-1), wide.get("turn"), wide["means"][0])
    return UnknownClaim(known, centers, whole == settings.get("digest"))
