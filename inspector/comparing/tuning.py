"""What a fine-tuning changed: weights, activations, the pictures that excite a channel most, the classes it serves."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from inspector.comparing.compare import ComparedSides
from inspector.comparing.matching import LayerNodes
from inspector.comparing.result import LayerDifference, ModelDifference
from inspector.errors import UsageError
from inspector.graph import free_picture
from inspector.image import ImageSource, open_image
from inspector.model import Model
from inspector.model.assume import find_image_input
from inspector.receptive.patches import Patch, find_patches
from inspector.runtime import Sessions
from inspector.text import to_plain

PATCHES = 6
"""Best patches of a channel that are compared."""
MOST_CHANNELS_TOLD = 12
_MOST_LAYERS = 16
"""Layers whose patches are looked for: the last ones that changed."""


@dataclass(frozen=True)
class LayerChange:
    """How far one layer moved.

    Attributes:
        layer: Its name.
        frozen: Whether every number that belongs to it is what it was.
        weights: |w' - w| / |w| of all its weights; None where it has none, or of another shape.
        channels: float64 (C,), the same of each output channel; empty as above.
        sqnr_db: Of its activations.
        cka: Linear CKA of its activations; None for fewer than three pictures.
        same: Whether its activations are exactly what they were.
    """

    layer: str
    frozen: bool
    weights: float | None
    channels: NDArray[np.float64] = field(repr=False)
    sqnr_db: float
    cka: float | None
    same: bool

    def to_json(self) -> dict[str, Any]:
        """The row of a JSON document."""
        worst = int(self.channels.argmax()) if self.channels.size else None
        row: dict[str, Any] = to_plain(
            {
                "layer": self.layer, "frozen": self.frozen, "weights": self.weights, "sqnr_db": self.sqnr_db,
                "cka": self.cka, "same": self.same, "most_moved_channel": worst,
                "most_moved": None if worst is None else float(self.channels[worst]),
            }
        )  # fmt: skip
        return row


@dataclass(frozen=True)
class ChannelChange:
    """A channel that other pictures excite now.

    Attributes:
        layer: The layer.
        channel: Its index.
        kept: How many of the pictures that excited it most still do.
        weights: How far its weights moved; None where they are not known.
        before: Its best patches in A, the best first.
        after: Its best patches in B.
        serves: The class whose pictures excite it most now; empty where the classes of the pictures are not known.
        selectivity: (m - r) / (m + r), with m its mean on that class and r its mean on the others, in [0, 1].
        served: The same class in A.
        selectivity_before: Of that.
    """

    layer: str
    channel: int
    kept: int
    weights: float | None
    before: tuple[Patch, ...]
    after: tuple[Patch, ...]
    serves: str
    selectivity: float | None
    served: str
    selectivity_before: float | None

    def to_json(self) -> dict[str, Any]:
        """The row of a JSON document."""
        names = ("layer", "channel", "kept", "weights", "serves", "selectivity", "served", "selectivity_before")
        row: dict[str, Any] = to_plain({name: getattr(self, name) for name in names})
        row["best_before"] = [patch.image for patch in self.before]
        row["best_after"] = [patch.image for patch in self.after]
        return row


@dataclass(frozen=True)
class TuningChange:
    """What a fine-tuning changed.

    Attributes:
        run: The folder of the run.
        layers: Every pair of layers, in the order of A.
        channels: The channels that changed their best pictures most.
        labels: The classes of the pictures, by folder or as B answers.
    """

    run: Path
    layers: tuple[LayerChange, ...]
    channels: tuple[ChannelChange, ...]
    labels: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """The part of a JSON document."""
        return {
            "run": to_plain(self.run),
            "frozen": [x.layer for x in self.layers if x.frozen],
            "layers": [x.to_json() for x in self.layers],
            "channels": [x.to_json() for x in self.channels],
        }


def check_run(run: str | os.PathLike[str], model: Model) -> Path:
    """The folder of the run that made a model.

    Raises:
        UsageError: It holds no finished run, or that of another model.
    """
    folder = Path(run)
    try:
        document = json.loads((folder / "result.json").read_text("utf-8"))
        digest = document["sha256"]
    except (OSError, ValueError, KeyError, TypeError):
        raise UsageError(f"{folder} holds no finished run", "give the folder that `inspector finetune` wrote") from None
    if digest != model.sha256:
        raise UsageError(
            f"{model.path} is not what the run in {folder} wrote", f"compare BASE with {folder / 'model.onnx'}"
        )
    return folder


def match_input(base: Model, tuned: Model) -> Model:
    """The base with the input size and the preprocess of what was made from it."""
    if base.preprocess == tuned.preprocess:
        return base
    if base.preprocess.layout != tuned.preprocess.layout:
        return base
    axes = (1, 2) if base.input.layout == "NHWC" else (2, 3)
    graph = free_picture(base.graph, axes) if base.input.size != tuned.input.size else base.graph
    sessions = Sessions(graph, base.provider, base.threads, base.warn)
    return replace(base, graph=graph, input=find_image_input(graph), sessions=sessions, preprocess=tuned.preprocess)


def measure_change(
    sides: ComparedSides,
    found: ModelDifference,
    pictures: Sequence[tuple[str, ImageSource]],
    run: Path,
    on_picture: Callable[[], None] = lambda: None,
) -> TuningChange:
    """Measure what a fine-tuning changed, after the comparison of base and result.

    Args:
        sides: The base and the result.
        found: What the comparison found.
        pictures: (name, what `open_image` takes) of each.
        run: The folder of the run.
        on_picture: Called after each picture.
    """
    layers = tuple(_measure_layer(sides, i, row) for i, row in enumerate(found.layers))
    moved = [i for i, x in enumerate(layers) if not x.same and not found.layers[i].note]
    moved = [i for i in moved if len(found.layers[i].a_shape) == 4 and found.layers[i].kind != "pool"]
    # A channel and its activation are one to a reader.
    moved = ([i for i in moved if found.layers[i].kind == "activation"] or moved)[-_MOST_LAYERS:]
    means = _ClassMeans(sides.b.model, [name for name, _ in pictures])
    for name, source in pictures:
        picture = open_image(source)
        means.begin(name, lambda picture=picture: sides.b.model.predict(picture, 1)[0].label)  # type: ignore[misc]
        sides.show(picture, lambda i, a, b: means.add(i, a, b) if i in moved else None)
        on_picture()
    channels = _find_channels(sides, layers, moved, pictures, means) if moved else ()
    return TuningChange(run, layers, channels, means.labels)


def _measure_layer(sides: ComparedSides, i: int, row: LayerDifference) -> LayerChange:
    ours, theirs = sides.nodes[0][row.layer], sides.nodes[1][row.b_layer]
    a, b = _read_weights(ours), _read_weights(theirs)
    frozen = len(a) == len(b) and all(
        x.shape == y.shape and np.array_equal(x, y, equal_nan=True) for x, y in zip(a, b, strict=True)
    )
    weights, channels = None, np.zeros(0)
    pair = [(ours.graph.weight(x), theirs.graph.weight(y)) for x, y in zip(ours.weights, theirs.weights, strict=False)]
    if len(pair) == 1 and pair[0][0].shape == pair[0][1].shape and pair[0][0].dtype.kind == "f":
        first, second = (np.asarray(x, np.float64) for x in pair[0])
        rows = ours.count_rows()
        first, second = (x.reshape(rows, -1) if rows == x.shape[0] else np.moveaxis(x, 1, 0).reshape(x.shape[1], -1)
                         for x in (first, second))  # fmt: skip
        size = np.linalg.norm(first, axis=1)
        channels = np.linalg.norm(second - first, axis=1) / np.maximum(size, 1e-12)
        weights = float(np.linalg.norm(second - first) / max(float(np.linalg.norm(first)), 1e-12))
    return LayerChange(row.layer, frozen, weights, channels, row.sqnr_db, row.cka, row.max_abs == 0)


def _read_weights(nodes: LayerNodes) -> list[NDArray[Any]]:
    """Every constant that belongs to a layer, in the order that its nodes read them."""
    graph = nodes.graph
    names = dict.fromkeys(name for i in nodes.nodes for name in graph.nodes[i].input if name in graph.initializers)
    return [np.asarray(graph.weight(name)) for name in names]


class _ClassMeans:
    """Mean of each channel on the pictures of each class, in both networks."""

    def __init__(self, model: Model, names: Sequence[str]) -> None:
        known = model.labels or ()
        folders = {Path(name).parent.name for name in names}
        self.by_folder = len(folders) > 1 and folders <= set(known)
        self.classifies = model.classifier is not None
        self.labels: tuple[str, ...] = ()
        self._sums: dict[int, dict[str, list[Any]]] = {}
        self._label = ""

    def begin(self, name: str, answer: Callable[[], str]) -> None:
        """A picture begins: its class is its folder's, or what the network says."""
        self._label = Path(name).parent.name if self.by_folder else answer() if self.classifies else ""
        if self._label and self._label not in self.labels:
            self.labels = (*self.labels, self._label)

    def add(self, i: int, a: NDArray[np.float32], b: NDArray[np.float32] | None) -> None:
        """Take in a pair of layers, float32 (C, ...) each."""
        if b is None or not self._label:
            return
        means = [np.maximum(x.reshape(len(x), -1), 0).mean(axis=1, dtype=np.float64) for x in (a, b)]
        row = self._sums.setdefault(i, {}).setdefault(self._label, [0, 0.0, 0.0])
        row[0] += 1
        row[1], row[2] = row[1] + means[0], row[2] + means[1]

    def find(self, i: int, channel: int, which: int) -> tuple[str, float | None]:
        """(the class that a channel serves, how selective it is) in A (1) or in B (2)."""
        rows = self._sums.get(i, {})
        if len(rows) < 2:
            return "", None
        values = {label: float(row[which][channel]) / row[0] for label, row in rows.items()}
        best = max(values, key=lambda label: values[label])
        others = [value for label, value in values.items() if label != best]
        rest = sum(others) / len(others)
        return best, (values[best] - rest) / (values[best] + rest) if values[best] + rest > 0 else None


def _find_channels(
    sides: ComparedSides,
    layers: Sequence[LayerChange],
    moved: Sequence[int],
    pictures: Sequence[tuple[str, ImageSource]],
    means: _ClassMeans,
) -> tuple[ChannelChange, ...]:
    """The channels whose best pictures changed most, at most three of a layer."""
    k = max(1, min(PATCHES, len(pictures) // 2))
    matches = [sides.pairs[i].match for i in moved]
    before = find_patches(sides.a.model, pictures, [match.a for match in matches], k=k)
    after = find_patches(sides.b.model, pictures, [match.b for match in matches], k=k)
    ranked: list[tuple[float, float, int, int]] = []
    for i, match in zip(moved, matches, strict=True):
        ours, theirs = before[match.a.name].patches, after[match.b.name].patches
        own = []
        for channel in ours.keys() & theirs.keys():
            if len(ours[channel]) < k or len(theirs[channel]) < k:
                continue  # dead on most pictures in one of them
            same = len({x.image for x in ours[channel]} & {x.image for x in theirs[channel]})
            grown = abs(theirs[channel][0].value - ours[channel][0].value) / max(
                abs(ours[channel][0].value), abs(theirs[channel][0].value), 1e-12
            )
            own.append((same / k, -grown, i, channel))
        ranked += sorted(own)[:3]
    chosen = sorted(ranked)[:MOST_CHANNELS_TOLD]
    made = []
    for share, _, i, channel in chosen:
        match, row = sides.pairs[i].match, layers[i]
        serves, served = means.find(i, channel, 2), means.find(i, channel, 1)
        moved_by = float(row.channels[channel]) if channel < len(row.channels) else None
        made.append(
            ChannelChange(
                match.a.name, channel, round(share * k), moved_by, before[match.a.name].patches[channel],
                after[match.b.name].patches[channel], serves[0], serves[1], served[0], served[1],
            )
        )  # fmt: skip
    return tuple(made)
