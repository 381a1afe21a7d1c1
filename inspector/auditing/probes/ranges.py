"""Minimum and maximum of every channel on every picture: enough for NaN, blank layers and dead channels."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from inspector.auditing.forward_pass import ForwardPass, LayerOutput
from inspector.auditing.probes import Probe
from inspector.auditing.result import MAX_FINDINGS, Where
from inspector.auditing.subject import Subject
from inspector.model import Model
from inspector.scanning.reference import ScanReference
from inspector.text import count


class Ranges(Probe):
    """The least and the largest value of each channel over all pictures.

    Attributes:
        lowest: float32 (C,) by layer.
        highest: float32 (C,) by layer.
        awake: bool (C,) by layer, whether the map varied on some picture.
        single: Layers whose maps are one number.
        bad: Where values were not finite, one place for each layer and picture, or else in the scores.
        blank: Layers that were constant on a picture.
        scanned: Layers of which all pictures of a scan are taken in.
        source: Which these are, as a clause behind a message; empty without a scan.
        blank_source: The same for the layers that the scan shows never to be blank.
    """

    layers = True
    needs = ("pictures",)

    def __init__(self, subject: Subject) -> None:
        super().__init__(subject)
        self.lowest: dict[str, NDArray[np.float32]] = {}
        self.highest: dict[str, NDArray[np.float32]] = {}
        self.awake: dict[str, NDArray[np.bool_]] = {}
        self.single: set[str] = set()
        self.bad: list[Where] = []
        self.blank: list[Where] = []
        self.scanned: list[str] = []
        self.source = self.blank_source = ""
        self.bad_count = self.blank_count = self.pictures = 0
        scan = subject.pictures.scan
        self.settled = scan is not None and _holds_all(scan, subject.model)
        if scan is not None and self.settled:
            self.pictures = scan.pictures
            for name in (layer.name for layer in subject.model.layers):
                known = scan.layers[name]
                self.lowest[name], self.highest[name] = known.low.copy(), known.high.copy()
                # A map of one number is never constant on a picture, and dead where it is the same on all.
                self.awake[name] = ~known.dead & (known.low != known.high)

    def look(self, forward: ForwardPass) -> None:
        """Take in one picture."""
        self.pictures += 1
        before = self.bad_count
        layers = list(forward.layers.values())
        self.subject.spread(_measure, layers, [layer.values.size for layer in layers])
        for name, layer in forward.layers.items():
            low, high = layer.low, layer.high
            varied = low != high
            if name not in self.awake:
                self.lowest[name], self.highest[name], self.awake[name] = low.copy(), high.copy(), varied.copy()
            else:
                np.minimum(self.lowest[name], low, out=self.lowest[name])
                np.maximum(self.highest[name], high, out=self.highest[name])
                np.logical_or(self.awake[name], varied, out=self.awake[name])
            if layer.maps.shape[1] == 1:
                self.single.add(name)
            finite = np.isfinite(low) & np.isfinite(high)
            if not finite.all():
                self._not_finite(Where(name, int(np.argmin(finite)), forward.entry.shown))
            if name not in self.single and not varied.any():
                self.blank_count += 1
                if len(self.blank) < MAX_FINDINGS:
                    self.blank.append(Where(name, None, forward.entry.shown))
        # What a layer spoils, the scores show too; by themselves they are spoilt by what comes after the last layer.
        if self.bad_count == before and forward.scores is not None and not np.isfinite(forward.scores).all():
            self._not_finite(Where("scores", int(np.isfinite(forward.scores).argmin()), forward.entry.shown))

    def _not_finite(self, where: Where) -> None:
        self.bad_count += 1
        if len(self.bad) < MAX_FINDINGS:
            self.bad.append(where)

    def add_scan(self, scan: ScanReference) -> None:
        """Take in what a scan knows of the layers that it holds, behind the last picture."""
        for name in self.awake:
            known = scan.layers.get(name)
            if known is None or len(known.dead) != len(self.awake[name]):
                continue
            self.scanned.append(name)
            self.lowest[name] = np.minimum(self.lowest[name], known.low)
            self.highest[name] = np.maximum(self.highest[name], known.high)
            if name not in self.single and not self.settled:
                self.awake[name] = self.awake[name] | ~known.dead
            if known.non_finite and all(where.layer != name for where in self.bad):
                self._not_finite(Where(name))
        self.source = self._tell(self.scanned, scan)
        self.blank_source = self._tell([x for x in self.scanned if scan.layers[x].blank.min(initial=1) == 0], scan)

    def _tell(self, layers: Sequence[str], scan: ScanReference) -> str:
        told = "all layers" if len(layers) == len(self.awake) else count(len(layers), "layer")
        return f"; {told} by {count(scan.pictures, 'picture')} of the scan" if layers else ""

    def dead(self, layer: str) -> NDArray[np.bool_]:
        """Which channels (C,) never varied: constant on each picture, or over all of them where a map is one number."""
        if layer in self.single:
            return np.asarray(self.lowest[layer] == self.highest[layer])
        return ~self.awake[layer]


def _holds_all(scan: ScanReference, model: Model) -> bool:
    """Whether a scan tells of every layer all that is asked: its range, and that no picture leaves it blank."""
    held = [scan.layers.get(layer.name) for layer in model.layers]
    scores = model.classifier.scores if model.classifier is not None else None
    judged = scores is None or any(layer.tensor == scores for layer in model.layers)
    return bool(held) and judged and all(x is not None and x.blank.min(initial=1) == 0 for x in held)


def _measure(layer: LayerOutput) -> None:
    # Read once in a thread, so that the loop above finds them there.
    _ = layer.low, layer.high
