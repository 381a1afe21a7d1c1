"""Whether what the camera shows is still what the network was judged on: against a snapshot of an audit, or a scan."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from inspector.auditing.snapshot import PLACES, LayerRecord, Snapshot, load_snapshot
from inspector.errors import UsageError
from inspector.image import choose_evenly
from inspector.model import Model
from inspector.scanning.reference import LayerReference, read_scan_reference

MOST_LAYERS = 6
"""Layers that are held against the snapshot, evenly spread from the first to the last."""

WINDOW = 30.0
"""Seconds that are taken together."""

PAUSE = 0.5
"""Seconds between two frames that are measured."""

LIMIT = 0.5
"""Smallest limit of a layer, in deviations of the snapshot: that of the check `drift-statistics`."""

_MARGIN = 1.5
_SPREADS = 2
"""Of the means over the pictures of a scan: the picture of 46 that lay farthest from EfficientNet-Lite0's means lay at
0.7 to 1.9 of them, by layer."""
_LEAST_SPREAD = 0.05
"""Of shares and probabilities: what is nearer to the snapshot is never drift."""


@dataclass(frozen=True)
class DriftMeasure:
    """One number that is held against the snapshot, or the scan.

    Attributes:
        name: What it is, with the layer where it is of one.
        value: How far it is from there.
        limit: How far it may be.
    """

    name: str
    value: float
    limit: float

    @property
    def ratio(self) -> float:
        """Value by limit: above 1 it left its range."""
        return self.value / self.limit if np.isfinite(self.value) else float("inf")


@dataclass(frozen=True)
class DriftReading:
    """What one frame, or several together, are against the snapshot or scan.

    Attributes:
        measures: The numbers, the one that is nearest to its limit, or farthest beyond, first.
        frames: Frames that they are of.
    """

    measures: tuple[DriftMeasure, ...]
    frames: int

    @property
    def ratio(self) -> float:
        """The largest of all ratios: above 1 something left its range."""
        return self.measures[0].ratio if self.measures else 0.0

    @property
    def beyond(self) -> tuple[DriftMeasure, ...]:
        """The measures that left their range."""
        return tuple(one for one in self.measures if one.ratio > 1)

    def tell(self) -> dict[str, Any]:
        """For pages and documents."""
        return {
            "ratio": min(self.ratio, 1e6),
            "frames": self.frames,
            "measures": [{"name": x.name, "value": x.value, "limit": x.limit} for x in self.measures],
        }


@dataclass(frozen=True, eq=False)
class _Range:
    """What the snapshot or scan has of a layer: means and deviations (C,), and how far its pictures are from them."""

    mean: NDArray[np.float32]
    scale: NDArray[np.float32]
    limit: float
    zeros: float
    zero_limit: float

    @staticmethod
    def of(record: LayerRecord) -> _Range:
        scale = _find_scale(record.std)
        # A scene that does not change is one picture, however many frames: it may be as far away as the farthest
        # picture of the snapshot, as its samples tell, and half as far again, since these are only a few.
        pictures = record.samples.reshape(-1, PLACES, len(record.mean))
        own = np.median(np.abs(pictures.mean(axis=1) - record.mean) / scale, axis=1)
        zeros = (pictures == 0).mean(axis=(1, 2))
        return _Range(
            record.mean,
            scale,
            max(LIMIT, _MARGIN * float(own.max(initial=0.0))),
            float(zeros.mean()) if len(zeros) else 0.0,
            max(_LEAST_SPREAD, 3 * float(zeros.std()) if len(zeros) else 0.0),
        )

    @staticmethod
    def of_scan(known: LayerReference) -> _Range:
        mean, scale = known.mean.astype(np.float32), _find_scale(known.std.astype(np.float32))
        # What a scan has of single pictures is how far their means spread.
        own = _SPREADS * float(np.median(known.spread / scale))
        return _Range(mean, scale, max(LIMIT, own), known.zeros, max(_LEAST_SPREAD, 3 * known.zero_spread))


def _find_scale(std: NDArray[np.float32]) -> NDArray[np.float32]:
    """Deviations to measure in, float32 (C,), as the check drift-statistics has them."""
    return np.maximum(std, 1e-6 + 1e-3 * float(std.mean()))


@dataclass(frozen=True, eq=False)
class _Moment:
    """What is kept of one frame: when it was, and of each layer the means (C,) and the share of zeros."""

    when: float
    means: Mapping[str, NDArray[np.float32]]
    zeros: Mapping[str, float]
    confidence: float | None


@dataclass
class DriftWatch:
    """Holds frames against a snapshot or scan, one by one and over the last seconds.

    Attributes:
        layers: Names of the layers whose values it needs.
    """

    layers: tuple[str, ...]
    _ranges: Mapping[str, _Range] = field(repr=False)
    _sure: tuple[float, float] | None = None
    _moments: deque[_Moment] = field(default_factory=deque, repr=False)
    _last: float = float("-inf")

    def is_due(self, when: float) -> bool:
        """Whether a frame of that moment is to be measured, in seconds of any clock that does not go back."""
        return when - self._last >= PAUSE or when < self._last

    def measure(self, when: float, values: Mapping[str, NDArray[np.float32]], confidence: float | None) -> DriftReading:
        """Measure one frame and remember it.

        Args:
            when: Its moment, as for :meth:`is_due`.
            values: Of each of `layers` float32 (C, ...), as the network computes it.
            confidence: How sure the network is, in [0, 1].

        Returns:
            What the frame is by itself.
        """
        if when < self._last:
            self._moments.clear()
        self._last = when
        flat = {name: one.reshape(len(one), -1) for name, one in values.items()}
        with np.errstate(invalid="ignore", over="ignore"):
            means = {name: one.mean(axis=1, dtype=np.float32) for name, one in flat.items()}
        zeros = {name: 1 - np.count_nonzero(one) / max(1, one.size) for name, one in flat.items()}
        moment = _Moment(when, means, zeros, confidence)
        self._moments.append(moment)
        while self._moments[0].when < when - WINDOW:
            self._moments.popleft()
        return self._read([moment])

    @property
    def reading(self) -> DriftReading | None:
        """What the frames of the last seconds are together; None before the first."""
        return self._read(list(self._moments)) if self._moments else None

    def _read(self, moments: list[_Moment]) -> DriftReading:
        measures = []
        for name, known in self._ranges.items():
            mean = np.mean([one.means[name] for one in moments], axis=0)
            shift = float(np.median(np.abs(mean - known.mean) / known.scale))
            measures.append(DriftMeasure(f"channels of {name}, deviations", shift, known.limit))
            zero = float(np.mean([one.zeros[name] for one in moments]))
            measures.append(DriftMeasure(f"zero fraction of {name}", abs(zero - known.zeros), known.zero_limit))
        sure = [one.confidence for one in moments if one.confidence is not None]
        if self._sure is not None and sure:
            mean_sure, limit = self._sure
            # More confidence than there was is no reason to worry.
            measures.append(DriftMeasure("loss of confidence", max(0.0, mean_sure - float(np.mean(sure))), limit))
        return DriftReading(tuple(sorted(measures, key=lambda one: -one.ratio)), len(moments))


def open_drift(model: Model, path: str | os.PathLike[str]) -> DriftWatch:
    """Make ready what holds frames against a snapshot, or a scan.

    Args:
        model: The network.
        path: A file of ``inspector audit --save-snapshot``, or the folder of a scan of this network.

    Raises:
        SnapshotError: The file is no snapshot, or damaged.
        ScanError: The folder is no scan, or of another network.
        UsageError: It has no layer in common with the model.
    """
    if Path(path).is_dir():
        return _open_scan(model, Path(path))
    snapshot = load_snapshot(path)
    names = [layer.name for layer in model.layers if _fits(layer.shape, snapshot.layers.get(layer.name))]
    if not names:
        raise UsageError(
            f"{path} has no layer in common with {model.path}",
            "save a snapshot of this model: inspector audit --save-snapshot",
        )
    chosen = tuple(names[k] for k in choose_evenly(len(names), MOST_LAYERS))
    return DriftWatch(chosen, {name: _Range.of(snapshot.layers[name]) for name in chosen}, _find_confidence(snapshot))


def _open_scan(model: Model, folder: Path) -> DriftWatch:
    reference = read_scan_reference(folder, model)
    # What was not finite says nothing of what is usual.
    names = [name for name, known in reference.layers.items() if np.isfinite(known.mean).all() and not known.non_finite]
    chosen = tuple(names[k] for k in choose_evenly(len(names), MOST_LAYERS))
    answers = reference.read_answers()
    sure = _spread_confidence(answers.confidence[np.isfinite(answers.confidence)]) if answers is not None else None
    return DriftWatch(chosen, {name: _Range.of_scan(reference.layers[name]) for name in chosen}, sure)


def _fits(shape: tuple[Any, ...] | None, record: LayerRecord | None) -> bool:
    """Whether a layer has as many channels as the snapshot has of it, with samples of whole pictures."""
    if record is None or not len(record.samples) or len(record.samples) % PLACES:
        return False
    return shape is None or len(shape) < 2 or not isinstance(shape[1], int) or shape[1] == len(record.mean)


def _find_confidence(snapshot: Snapshot) -> tuple[float, float] | None:
    """(how sure the network was on average, how much less sure it may be), of its classes or its best boxes."""
    sure = [probability for _, probability in snapshot.predictions.values()]
    sure = sure or [float(one.scores[0]) for one in snapshot.objects.values() if len(one.scores)]
    return _spread_confidence(np.array(sure))


def _spread_confidence(sure: NDArray[np.float64]) -> tuple[float, float] | None:
    return (float(sure.mean()), max(_LEAST_SPREAD, 2 * float(sure.std()))) if sure.size else None
