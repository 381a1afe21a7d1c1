"""How much of the activation layers is exactly zero, and how much stands at its upper bound."""

from __future__ import annotations

import math

import numpy as np

from inspector.auditing.forward_pass import ForwardPass, LayerOutput
from inspector.auditing.graph_queries import find_origin
from inspector.auditing.probes import Probe
from inspector.auditing.result import NotChecked
from inspector.auditing.subject import Subject
from inspector.graph import attributes, operator_of


class Zeros(Probe):
    """Counts the elements of activation layers that are exactly 0, over all pictures.

    Attributes:
        names: The activation layers.
        zeros: Elements that are 0, by layer.
        sizes: All elements, by layer.
        known: Share of zeros on all pictures of a scan, by layer, for those that it holds.
        source: Which they are, as a clause behind a message; empty without a scan.
    """

    layers = True
    needs = ("pictures",)

    def __init__(self, subject: Subject) -> None:
        super().__init__(subject)
        self.names = [layer.name for layer in subject.model.layers if layer.kind == "activation"]
        if not self.names:
            raise NotChecked("the model has no activation layers", applies=False)
        scan = subject.pictures.scan
        held = scan.layers if scan is not None else {}
        self.known = {name: held[name].zeros for name in self.names if name in held}
        self.settled = len(self.known) == len(self.names)
        which = "" if self.settled else f"{len(self.known)} of the layers "
        self.source = f", {which}by {scan.pictures:,} pictures of the scan" if scan is not None and self.known else ""
        self.zeros = dict.fromkeys(self.names, 0)
        self.sizes = dict.fromkeys(self.names, 0)

    def look(self, forward: ForwardPass) -> None:
        """Take in one picture."""
        names = [name for name in self.names if name in forward.layers and name not in self.known]
        seen = [forward.layers[name] for name in names]
        counts = self.subject.spread(_zeros, seen, [layer.values.size for layer in seen])
        for name, layer, count in zip(names, seen, counts, strict=True):
            self.zeros[name] += count
            self.sizes[name] += layer.values.size

    def fractions(self) -> dict[str, float]:
        """Share of zeros by layer, in the order of the network."""
        return {name: self.known.get(name, self.zeros[name] / max(1, self.sizes[name])) for name in self.names}


class Saturation(Probe):
    """Counts the elements within 1 % of the upper bound of a bounded activation (ReLU6, sigmoid, tanh).

    Attributes:
        bounds: The upper bound, by layer.
        counts: Elements near it, by layer.
        sizes: All elements, by layer.
    """

    layers = True
    needs = ("pictures",)

    def __init__(self, subject: Subject) -> None:
        super().__init__(subject)
        self.bounds = {
            layer.name: bound
            for layer in subject.model.layers
            if layer.kind == "activation" and (bound := find_upper_bound(subject, layer.tensor)) is not None
        }
        if not self.bounds:
            raise NotChecked("the model has no bounded activations", applies=False)
        self.counts = dict.fromkeys(self.bounds, 0)
        self.sizes = dict.fromkeys(self.bounds, 0)

    def look(self, forward: ForwardPass) -> None:
        """Take in one picture."""
        seen = [(forward.layers[name], bound) for name, bound in self.bounds.items() if name in forward.layers]
        counts = self.subject.spread(_saturated, seen, [layer.values.size for layer, _ in seen])
        for (layer, _), count in zip(seen, counts, strict=True):
            self.counts[layer.layer.name] += count
            self.sizes[layer.layer.name] += layer.values.size

    def fractions(self) -> dict[str, float]:
        """Share of saturated elements by layer, in the order of the network."""
        return {name: self.counts[name] / max(1, self.sizes[name]) for name in self.bounds}


def find_upper_bound(subject: Subject, tensor: str) -> float | None:
    """The value that an activation cannot exceed; None where there is none."""
    graph = subject.graph
    node = find_origin(graph, tensor)
    if node is None:
        return None
    if node.op_type != "Clip":
        highest = operator_of(node).bounds[1]
        return highest if math.isfinite(highest) else None
    if "max" in (given := attributes(node)):  # before opset 11
        bound = float(given["max"])
    elif len(node.input) > 2 and node.input[2] in graph.initializers:
        bound = float(np.asarray(graph.weight(node.input[2])).reshape(-1)[0])
    else:
        return None
    return bound if 0 < bound < 1e30 else None


def _zeros(layer: LayerOutput) -> int:
    # The minimum is known already where Ranges watches too; a layer above zero needs no look.
    if layer.known_low is not None and (layer.known_low > 0).all():
        return 0
    return int(np.count_nonzero(layer.values == 0))


def _saturated(pair: tuple[LayerOutput, float]) -> int:
    layer, bound = pair
    edge = np.float32(0.99 * bound)
    if layer.known_high is not None:
        reached = np.flatnonzero(~(layer.high < edge))
        # Most channels never reach the bound: look only into those that do.
        return int(np.count_nonzero(layer.maps[reached] >= edge))
    return int(np.count_nonzero(layer.values >= edge))
