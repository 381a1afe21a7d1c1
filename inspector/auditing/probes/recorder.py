"""Gathers what a snapshot holds."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from inspector.auditing.forward_pass import ForwardPass, LayerOutput
from inspector.auditing.graph_queries import is_quantized
from inspector.auditing.probes import Probe
from inspector.auditing.probes.predictions import LabelledPredictions, TopPredictions
from inspector.auditing.snapshot import PICTURES, LayerRecord, Snapshot, choose_places
from inspector.auditing.subject import Subject


class Moments:
    """Mean and deviation per channel over pictures. Sums of float64 (C,)."""

    def __init__(self, channels: int) -> None:
        self.count = 0
        self.total = np.zeros(channels)
        self.square = np.zeros(channels)

    def add(self, maps: NDArray[np.float32]) -> None:
        """Take in float32 (C, n)."""
        self.count += maps.shape[1]
        self.total += maps.sum(axis=1)
        self.square += np.einsum("ij,ij->i", maps, maps)

    @property
    def mean(self) -> NDArray[np.float32]:
        """float32 (C,)."""
        return (self.total / max(1, self.count)).astype(np.float32)

    @property
    def std(self) -> NDArray[np.float32]:
        """float32 (C,)."""
        mean = self.total / max(1, self.count)
        return np.sqrt(np.maximum(self.square / max(1, self.count) - mean**2, 0)).astype(np.float32)


class Recorder(Probe):
    """Samples and moments of the layers on up to PICTURES pictures, evenly spread."""

    layers = True
    needs = ("pictures",)

    def __init__(self, subject: Subject) -> None:
        super().__init__(subject)
        self.chosen = frozenset(subject.pictures.sample(PICTURES))
        self.moments: dict[str, Moments] = {}
        self.samples: dict[str, list[NDArray[np.float32]]] = {}
        self.digests: list[str] = []

    def needs_layers(self, index: int) -> bool:
        """Only on the chosen pictures."""
        return index in self.chosen

    def look(self, forward: ForwardPass) -> None:
        """Take in one picture."""
        if forward.index not in self.chosen or forward.digest in self.digests:
            return
        self.digests.append(forward.digest)
        for name, layer in forward.layers.items():
            self.moments.setdefault(name, Moments(len(layer.maps))).add(layer.maps)
            self.samples.setdefault(name, []).append(sample_places(layer, forward.digest))

    def snapshot(self, predictions: TopPredictions | None, labelled: LabelledPredictions | None) -> Snapshot:
        """What was gathered."""
        model = self.subject.model
        metrics = {}
        if labelled is not None:
            metrics = {"accuracy": labelled.accuracy, "balanced_accuracy": labelled.balanced_accuracy}
        return Snapshot(
            model={"name": model.path.name, "sha256": model.sha256, "digest": model.digest},
            labels=model.labels,
            preprocess=model.preprocess.to_json(),
            integers=is_quantized(model.graph),
            layers={
                name: LayerRecord(found.mean, found.std, np.concatenate(self.samples[name]))
                for name, found in self.moments.items()
                # Samples are found again by the place of their picture: a layer that was empty on one has none.
                if len(self.samples[name]) == len(self.digests)
            },
            sampled=tuple(self.digests),
            predictions={s.digest: (s.index, s.probability) for s in predictions.top} if predictions else {},
            metrics=metrics,
        )


def sample_places(layer: LayerOutput, digest: str) -> NDArray[np.float32]:
    """The values at the sampled places: float32 (PLACES, C)."""
    return np.ascontiguousarray(layer.maps[:, choose_places(layer.layer.name, digest, layer.maps.shape[1])].T)
