"""The output that says "I do not know": a number for each picture, and the threshold for a rate of false alarms."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from exporters.attaching.pictures import find_known_pictures, read_values, split_halves
from exporters.attaching.sizes import TensorSizes
from exporters.attaching.workbench import AttachError, Workbench
from inspector.cam.attached import Claim
from inspector.cam.unknown import KnownRange, digest_arrays, find_features
from inspector.errors import NotComputable
from inspector.image import open_image
from inspector.metrics.separation import ClassCenters, fit_centers, measure_energy, summarise
from inspector.model import Model, find_folder_class

Rows = NDArray[np.float64]
_FEWEST = 40
"""Pictures below which half of them say little about a threshold."""
_TILES = 4
"""Rows and columns of tiles that stand-ins for outliers are shuffled in."""


# Long: a third is the description of what it does and takes.
def attach_unknown(
    bench: Workbench,
    folder: str | os.PathLike[str],
    outliers: str | os.PathLike[str] | None = None,
    false_alarms: float = 0.05,
) -> tuple[dict[str, Any], list[str]]:
    """Add a number in [0, 1] that is large where the network sees what it does not know.

    Half of the pictures say where the classes lie. The other half, which is held out, chooses between the energy, the
    Mahalanobis distance and the distance to the nearest class mean by the area under the curve against outliers, and
    gives the threshold. Where no outliers are given, the held-out pictures with their tiles shuffled stand in.

    Args:
        bench: The network that is added to.
        folder: Pictures such as the network is for.
        outliers: Pictures such as it is not for.
        false_alarms: The share of known pictures that may lie above the threshold, in (0, 1).

    Returns:
        The figures, and notes.

    Raises:
        NotComputable: The network is no classifier, or its last layer reads no features.
        ImageError: There are no pictures.
        AttachError: There are too few.
    """
    model, classifier = bench.model, bench.model.classifier
    if classifier is None or (model.classes or 0) == 1:
        raise NotComputable(f"{model.path} is no classifier of several classes", "--unknown looks at scores of classes")
    feature = find_features(model, classifier.scores)
    paths = find_known_pictures(folder, "--unknown")
    tensors = [classifier.scores, *([feature] if feature else [])]
    values, read, notes = read_values(model, paths, tensors)
    if len(read) < _FEWEST:
        raise AttachError(f"{len(read)} pictures are too few to say what is known", f"give {_FEWEST} or more")
    kept = [paths[number] for number in read]
    known = _Values(values, classifier.scores, feature)
    labels = _find_labels(model, kept, Path(folder), known.scores)
    first = split_halves(labels)
    if outliers is not None:
        found, _, more = read_values(model, find_known_pictures(outliers, "--outliers"), tensors)
        strange, against = _Values(found, classifier.scores, feature), "outliers"
        notes += more
    else:
        held = [path for path, fits in zip(kept, first, strict=True) if not fits]
        strange = _Values(_shuffle(model, held, tensors), classifier.scores, feature)
        against = "shuffled"
    tried = _try_all(known, strange, labels, first, classifier.activation != "none")
    if not tried:
        raise NotComputable(
            f"{model.path} gives neither scores before probabilities nor features", "export it without them"
        )
    name = max(tried, key=lambda one: tried[one][2]["auroc"])
    center, inside, _ = tried[name]
    first_quarter, middle, third_quarter = (float(one) for one in np.quantile(inside, (0.25, 0.5, 0.75)))
    alarm = float(np.quantile(inside, 1 - false_alarms, method="higher"))
    normal = KnownRange((first_quarter, middle, third_quarter), alarm)
    limit = normal.squash(alarm)
    score, statistics = _emit_score(bench, classifier.scores, feature, center, bench.measure())
    write = bench.write
    shifted = write.emit("Sub", score, write.number(middle))
    number = write.emit("Sigmoid", write.emit("Div", shifted, write.number(normal.spread)))

    def expect(tensor: Any, said: Any) -> Claim:
        seen = _Values(model.run(tensor, tensors), classifier.scores, feature)
        raw = measure_energy(seen.scores) if center is None else center.measure(_features(seen))
        return Claim(np.array([normal.squash(float(raw[0]))]), said.reshape(-1)[:1], reach=1.0)

    output = bench.add_output(
        number,
        "unknown",
        f"how little the picture looks like those the network knows ({name}); above {limit:.4g} it raises an alarm",
        (bench.batch,),
        {
            "method": name,
            "threshold": limit,
            "false_alarms": false_alarms,
            "pictures": len(read),
            "quartiles": list(normal.quartiles),
            "alarm": alarm,
            **statistics,
        },
        expect,
        1e-4,
    )
    figures = {
        "output": output, "method": name, "threshold": limit, "false_alarms": false_alarms,
        "pictures": len(read), "held_out": int((~first).sum()), "against": against, "outliers": len(strange.scores),
        "tried": {one: summary for one, (_, _, summary) in tried.items()},
    }  # fmt: skip
    return figures, notes


class _Values:
    """Scores and features of some pictures, float64 (N, K) and (N, C)."""

    def __init__(self, values: dict[str, Any], scores: str, feature: str | None) -> None:
        self.scores: Rows = values[scores].reshape(len(values[scores]), -1).astype(np.float64)
        self.features: Rows | None = None
        if feature is not None:
            self.features = values[feature].reshape(len(values[feature]), -1).astype(np.float64)


def _features(values: _Values) -> Rows:
    assert values.features is not None
    return values.features


Tried = tuple[ClassCenters | None, Rows, dict[str, Any]]
"""What a number needs, its values on the held-out pictures, how well it parts them from outliers."""


def _try_all(
    known: _Values, strange: _Values, labels: NDArray[np.int64], first: NDArray[np.bool_], logits: bool
) -> dict[str, Tried]:
    held = ~first
    inside, outside = measure_energy(known.scores[held]), measure_energy(strange.scores)
    # Probabilities have lost what the energy is.
    tried: dict[str, Tried] = {"energy": (None, inside, summarise(inside, outside))} if logits else {}
    if known.features is None or strange.features is None:
        return tried
    for name in ("mahalanobis", "nearest-mean"):
        center = fit_centers(known.features[first], labels[first], name == "mahalanobis")
        inside, outside = center.measure(known.features[held]), center.measure(strange.features)
        tried[name] = (center, inside, summarise(inside, outside))
    return tried


def _find_labels(model: Model, paths: Sequence[Path], folder: Path, scores: Rows) -> NDArray[np.int64]:
    """The class of each picture: that of its folder where all are named after classes, else the likeliest."""
    names = [path.relative_to(folder).parts[0] if path.parent != folder else "" for path in paths]
    classes = {name: find_folder_class(model, name) if name else None for name in set(names)}
    if any(index is None for index in classes.values()):
        likely: NDArray[np.int64] = scores.argmax(axis=1)
        return likely
    return np.array([classes[name] for name in names], np.int64)


def _shuffle(model: Model, paths: Sequence[Path], tensors: Sequence[str]) -> dict[str, Any]:
    """The values of tensors for pictures whose tiles were shuffled: the same parts, and nothing that makes sense."""
    rng = np.random.default_rng(0)
    rows: dict[str, list[Any]] = {name: [] for name in tensors}
    for path in paths:
        array = np.asarray(open_image(path, warn=model.warn).convert("RGB"))
        side = [max(1, n // _TILES) for n in array.shape[:2]]
        tiles = [
            array[y * side[0] : (y + 1) * side[0], x * side[1] : (x + 1) * side[1]]
            for y in range(_TILES)
            for x in range(_TILES)
        ]
        order = rng.permutation(len(tiles))
        strips = [
            np.concatenate([tiles[k] for k in order[r : r + _TILES]], axis=1) for r in range(0, len(tiles), _TILES)
        ]
        tensor = model.preprocess.tensor(open_image(np.ascontiguousarray(np.concatenate(strips, axis=0))))
        for name, value in model.run(tensor, tensors).items():
            rows[name].append(np.asarray(value[:1], np.float32))
    return {name: np.concatenate(found) for name, found in rows.items()}


def _emit_score(
    bench: Workbench, scores: str, feature: str | None, center: ClassCenters | None, sizes: TensorSizes
) -> tuple[str, dict[str, Any]]:
    """Write the number itself, (N,); gives its name, and what the metadata says of the constants that it is made of."""
    write, batch = bench.write, bench.model.input.batch or -1

    def rows(name: str, count: int) -> str:
        return write.reshape(write.to_float(name) if sizes.is_half(name) else name, batch, count)

    if center is None or feature is None:
        values = rows(scores, int(bench.model.classes or 0) or -1)
        top = write.reduce("ReduceMax", values, [1])
        total = write.reduce("ReduceSum", write.emit("Exp", write.emit("Sub", values, top)), [1])
        return write.reshape(write.emit("Neg", write.emit("Add", top, write.emit("Log", total))), batch), {}
    arrays = {"origin": center.origin, "turn": center.turn, "means": center.means[None]}
    single = {key: array.astype(np.float32) for key, array in arrays.items() if array is not None}
    names = {key: write.constant(array) for key, array in single.items()}
    moved = write.emit("Sub", rows(feature, len(center.origin)), names["origin"])
    if "turn" in names:
        moved = write.emit("MatMul", moved, names["turn"])
    apart = write.emit("Sub", write.emit("Unsqueeze", moved, write.ints(1)), names["means"])
    distances = write.reduce("ReduceSum", write.emit("Mul", apart, apart), [2])
    nearest = write.reshape(write.reduce("ReduceMin", distances, [1]), batch)
    return nearest, {"constants": names, "digest": digest_arrays(single.values())}
