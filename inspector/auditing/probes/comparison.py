"""The model beside a reference, picture by picture: another model, each with its own preprocess, or a snapshot."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from inspector.agreement import SignalToNoise
from inspector.auditing.forward_pass import ForwardPass
from inspector.auditing.probes import Probe
from inspector.auditing.probes.predictions import PredictionChange
from inspector.auditing.probes.recorder import Moments, sample_places
from inspector.auditing.result import NotChecked
from inspector.auditing.snapshot import PICTURES, Snapshot
from inspector.auditing.subject import Subject
from inspector.comparing import RunPair, match_layers
from inspector.image import Preprocess
from inspector.model import find_folder_class


class Comparison(Probe):
    """Both on every picture: top classes on all, layer by layer on a sample.

    Attributes:
        sums: By layer name, in the order of the network.
        missing: Layers that only one of them has, or of another shape.
        flipped: Pictures with another top class.
        compared: How many pictures' top classes were compared.
        labelled: How many of these have a known class.
        right: How many of those the model recognised.
        right_before: How many of those the reference recognised.
        moments: Mean and deviation of the channels on the sample; kept only against a snapshot.
    """

    layers = True
    needs = ("reference", "pictures")

    def __init__(self, subject: Subject) -> None:
        super().__init__(subject)
        self.chosen = frozenset(subject.pictures.sample(subject.policy.images.sample))
        self.sums: dict[str, SignalToNoise] = {}
        self.recorded = frozenset(subject.pictures.sample(PICTURES))
        self.moments: dict[str, Moments] = {}
        self.measured: set[str] = set()
        self.flipped: list[PredictionChange] = []
        self.compared = self.labelled = self.right = self.right_before = self.sampled = 0
        self.snapshot = subject.snapshot if subject.reference is None else None
        self.pairs: dict[str, RunPair] = {}
        if self.snapshot is not None:
            theirs = {name: len(shot.mean) for name, shot in self.snapshot.layers.items()}
            ours = {layer.name: layer.channels or 0 for layer in subject.model.layers}
            same = [n for n in ours if n in theirs and (ours[n] == theirs[n] or not ours[n] or not theirs[n])]
            self.missing = [name for name in (*ours, *theirs) if name not in same]
        else:
            assert subject.reference is not None
            matching = match_layers(subject.reference, subject.model)
            self.pairs = {match.b.name: RunPair(match) for match in matching.pairs}
            same = list(self.pairs)
            self.missing = [layer.name for layer in (*matching.only_b, *matching.only_a)]
        self.missing = list(dict.fromkeys(self.missing))
        self.common = [layer for layer in subject.model.layers if layer.name in same]
        self.own_classes: dict[str, int | None] = {}

    def needs_layers(self, index: int) -> bool:
        """Against a model only on the sample; which pictures a snapshot sampled, only their digests tell."""
        return self.snapshot is not None or index in self.chosen

    def look(self, forward: ForwardPass) -> None:
        """Take in one picture."""
        if self.snapshot is not None:
            self._compare_snapshot(forward, self.snapshot)
        else:
            self._compare_model(forward)

    # --- another model --------------------------------------------------------------------------------------------

    def _compare_model(self, forward: ForwardPass) -> None:
        reference = self.subject.reference
        assert reference is not None
        wanted = [self.pairs[layer.name].match.a for layer in self.common] if forward.index in self.chosen else []
        scores = reference.classifier is not None
        if not wanted and not scores:
            return
        values, theirs, _ = reference.run_layers(reference.tensor(forward.picture), wanted, scores)
        self.sampled += bool(wanted)
        pairs = self._lay_out(forward, values) if wanted else []
        sums = [self.sums.setdefault(name, SignalToNoise()) for name, _, _ in pairs]

        def add(work: tuple[SignalToNoise, tuple[str, NDArray[np.float32], NDArray[np.float32]]]) -> None:
            own, (_, before, after) = work
            own.add(before.reshape(len(before), -1), after.reshape(len(after), -1))

        self.subject.spread(add, list(zip(sums, pairs, strict=True)), [before.size for _, before, _ in pairs])
        if theirs is None or forward.classes is None:
            return
        best = reference.top(theirs, 1)[0]
        self._compare_answers(forward, best.index, best.label, best.probability, reference.labels)
        if forward.entry.label is not None:
            folder = forward.entry.key.split("/")[0]
            if folder not in self.own_classes:
                self.own_classes[folder] = find_folder_class(reference, folder)
            self.right_before += self.own_classes[folder] == best.index

    def _lay_out(
        self, forward: ForwardPass, values: Mapping[str, NDArray[np.float32]]
    ) -> list[tuple[str, NDArray[np.float32], NDArray[np.float32]]]:
        """(name, the reference's values, the model's laid out alike) of the layers; those of other shapes are left."""
        pairs = []
        for layer in self.common:
            pair = self.pairs[layer.name]
            before = values[pair.match.a.name]
            if layer.name not in forward.layers or not before.size:
                continue
            after = forward.layers[layer.name].values[None]
            pair.find(before, after)
            turned = None if pair.turn is None else pair.turn.to_a(after, before.shape)
            if turned is None:
                self.missing.append(layer.name)
                self.common = [other for other in self.common if other.name != layer.name]
                continue
            pairs.append((layer.name, before[0], np.ascontiguousarray(turned[0])))
        return pairs

    # --- a snapshot -----------------------------------------------------------------------------------------------

    def _compare_snapshot(self, forward: ForwardPass, snapshot: Snapshot) -> None:
        seen = [layer for layer in self.common if layer.name in forward.layers]
        if forward.digest in snapshot.sampled:
            row = snapshot.sampled.index(forward.digest)
            self.sampled += 1
            for layer in seen:
                after = sample_places(forward.layers[layer.name], forward.digest)
                before = snapshot.layers[layer.name].samples
                before = before[row * len(after) : (row + 1) * len(after)]
                self.sums.setdefault(layer.name, SignalToNoise()).add(
                    np.ascontiguousarray(before.T), np.ascontiguousarray(after.T)
                )
        # As many pictures as the snapshot's statistics are of, and of the same folder the same ones.
        fresh = forward.digest not in self.measured and len(self.measured) < len(snapshot.sampled)
        if forward.index in self.recorded and fresh:
            self.measured.add(forward.digest)
            for layer in seen:
                maps = forward.layers[layer.name].maps
                self.moments.setdefault(layer.name, Moments(len(maps))).add(maps)
        known = snapshot.predictions.get(forward.digest)
        if known is None or forward.classes is None:
            return
        index, probability = known
        labels = snapshot.labels
        name = labels[index] if labels and index < len(labels) else str(index)
        self._compare_answers(forward, index, name, probability, labels)
        if (own := forward.entry.label) is not None:
            ours = self.subject.model.labels
            self.right_before += name == self.subject.model.label(own) if ours and labels else index == own

    # --- both -----------------------------------------------------------------------------------------------------

    def _compare_answers(
        self, forward: ForwardPass, index: int, label: str, probability: float, labels: tuple[str, ...] | None
    ) -> None:
        assert forward.classes is not None
        model = self.subject.model
        now = model.top(forward.classes, 1)[0]
        # By name where both have names: an index may mean another class after the labels were changed.
        same = now.label == label if model.labels and labels else now.index == index
        self.compared += 1
        if not same:
            self.flipped.append(PredictionChange(forward.entry.shown, label, now.label, probability))
        if forward.entry.label is not None:
            self.labelled += 1
            self.right += now.index == forward.entry.label

    @property
    def agreement(self) -> float:
        """Share of the pictures with the same top class in both."""
        return 1 - len(self.flipped) / self.compared

    def _need(self, count: int, of: int, fewest: int, what: str) -> None:
        # All of the pictures are enough where there are fewer.
        fewest = min(fewest, of, len(self.subject.pictures) - len(self.subject.unreadable))
        if count < fewest:
            raise NotChecked(f"{count} pictures {what} are too few to compare; the policy asks for {fewest}")

    def need_layers(self, fewest: int = 1) -> None:
        """Raise NotChecked where no layer could be compared, or on fewer than `fewest` of more pictures."""
        if not self.sums:
            if self.snapshot is not None and not self.sampled:
                raise NotChecked(
                    f"none of the {len(self.snapshot.sampled)} pictures that the snapshot sampled is among the pictures"
                )
            raise NotChecked("model and reference have no layer in common")
        known = len(self.chosen) if self.snapshot is None else len(self.snapshot.sampled)
        self._need(self.sampled, known, fewest, "that the snapshot sampled" if self.snapshot else "that can be read")

    def need_answers(self, fewest: int = 1) -> None:
        """Raise NotChecked where no top class could be compared, or on fewer than `fewest` of more pictures."""
        if not self.compared:
            raise NotChecked(
                "none of the snapshot's pictures is among the pictures"
                if self.snapshot is not None
                else "model or reference has no classification output"
            )
        known = len(self.subject.pictures) if self.snapshot is None else len(self.snapshot.predictions)
        self._need(self.compared, known, fewest, "of the snapshot's" if self.snapshot else "that can be read")


def find_reference_preprocess(subject: Subject) -> Preprocess | None:
    """How the reference prepares pictures; None where it cannot be told."""
    if subject.reference is not None:
        return subject.reference.preprocess
    return Preprocess.from_json(subject.snapshot.preprocess) if subject.snapshot else None


def find_reference_labels(subject: Subject) -> tuple[str, ...] | None:
    """The reference's class names."""
    if subject.reference is not None:
        return subject.reference.labels
    return subject.snapshot.labels if subject.snapshot else None
