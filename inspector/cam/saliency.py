"""The gradient of the top score with respect to the picture, in numpy: what an attached output claims."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from inspector import onnx
from inspector.cam.target import find_output
from inspector.graph import ATTACHED_PREFIX, Graph
from inspector.metadata import AttachedEntry
from inspector.model import Model
from inspector.reverse import Head, find_head

Array = NDArray[Any]
COPY_PREFIX = f"{ATTACHED_PREFIX}copy/"
"""What the tensors of a second set of the network's nodes are called first, which runs on copies of a picture."""
NOISE_SHARE = 0.15
"""Standard deviation of SmoothGrad's noise, as a share of the picture's range."""
_SAME = 1e-3
"""Values of two runs that differ by more, as a share of the largest, are of different inputs or weights."""


def find_half(model: Model) -> float | None:
    """The score at which both classes of a network with one score are as likely; None where it has one class."""
    if model.labels and len(model.labels) == 1:
        return None
    return 0.5 if model.classifier is not None and model.classifier.activation == "none" else 0.0


def compute_saliency(model: Model, entry: AttachedEntry, picture: Array) -> tuple[Array, Array] | None:
    """The gradient that an output of the file says, and the same in numpy.

    A unit whose value is nearly 0 may lie on either side of its bend in two runs, which moves the gradient. So numpy
    gets the values of the very run that the file's gradient is of; of copies of the picture only where they are those
    of the network itself but for rounding.

    Args:
        model: The model, with attached outputs.
        entry: The output.
        picture: The input of one picture (1, ...).

    Returns:
        (in numpy, by the file), float32 in the shape of the picture; None where the noise of SmoothGrad is not found.
    """
    attached, scores = model.attached, find_output(model, None).tensor
    assert attached is not None
    kind, steps = str(entry.settings["kind"]), int(entry.settings["steps"])
    x = np.asarray(picture[:1], np.float32)
    copies = _make_copies(attached.graph, kind, steps, x)
    if copies is None:
        return None
    head = find_head(model.graph, model.input.name, scores)
    needed = [*head.needed, scores]
    prefix = "" if kind == "gradient" else COPY_PREFIX
    known = [name for name in needed if prefix + name in attached.graph.producer_of]
    names = [entry.name, scores, *(prefix + name for name in known)]
    ran = attached.run(model.input.name, x, names, model.input.batch)
    seed = _make_seed(model, ran[scores][:1])
    constants = _read_constants(model, head, x)
    total = np.zeros(x.shape, np.float64)
    for number, row in enumerate(copies):
        values = dict(model.run(row[None], needed))
        for name in known:
            found = ran[prefix + name]
            mine = found if not prefix else found.reshape(steps, -1, *found.shape[1:])[number]
            if mine.shape == values[name].shape and _is_same(mine, values[name]):
                values[name] = mine
        total += head.gradient(seed, {**values, **constants, model.input.name: row[None]})
    mean = total / len(copies)
    return np.asarray(mean * x if kind == "integrated" else mean, np.float32), ran[entry.name][:1]


def _make_copies(graph: Graph, kind: str, steps: int, x: Array) -> Array | None:
    """The pictures that the gradient is the mean over, (steps, ...)."""
    if kind == "integrated":
        shares = ((np.arange(steps) + 0.5) / steps).astype(np.float32)
        return np.asarray(x * shares.reshape(-1, *[1] * (x.ndim - 1)))
    if kind == "gradient":
        return x
    sides = (1, steps, *x.shape[1:])
    for name, tensor in graph.initializers.items():
        half = tensor.data_type == onnx.TensorProto.FLOAT16
        if half and name.startswith(ATTACHED_PREFIX) and tuple(tensor.dims) == sides:
            noise = graph.weight(name).astype(np.float32)[0]
            # Noise that is not of deviation 1 makes another gradient than the one that is claimed.
            expected, found = (1 - 1 / steps) ** 0.5, float(noise.std())
            noise = noise if abs(found - expected) < 0.1 else noise * np.float32(expected / (found or 1))
            return np.asarray(x + noise * np.float32(NOISE_SHARE) * (x.max() - x.min()))
    return None


def _make_seed(model: Model, scores: Array) -> Array:
    """1 at the top score, 0 elsewhere; -1 at one score that says the first of two classes."""
    half = find_half(model) if scores.size == 1 else None
    seed = np.zeros(scores.size, np.float32)
    seed[int(np.argmax(scores))] = -1 if half is not None and float(scores.reshape(())) < half else 1
    return seed.reshape(scores.shape)


def _read_constants(model: Model, head: Head, x: Array) -> Mapping[str, Array]:
    known = {name: model.graph.weight(name) for name in head.weights if name in model.graph.initializers}
    made = [name for name in head.weights if name not in known]
    return {**known, **(model.run(x, made) if made else {})}


def _is_same(one: Array, other: Array) -> bool:
    if one.dtype.kind != "f":
        return bool((one == other).all())
    reach = float(np.abs(other).max(initial=0.0))
    return bool((np.abs(one - other) <= _SAME * reach).all())
