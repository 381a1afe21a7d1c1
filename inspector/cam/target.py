"""What a map explains: one number that the network puts out."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from inspector.errors import ClassNotFound, NotComputable, UsageError, nearest
from inspector.model import Model, Prediction
from inspector.model.probabilities import ClassRows, read_rows
from inspector.records import record
from inspector.tasks.classify import find_ends

Array = NDArray[Any]


@record
class CamClass:
    """The class (or output element) that a map explains.

    Args:
        index: Of the class, or of the element.
        label: Of the class, or the output's name and the index.
        probability: In [0, 1]; None for an output that is no classifier's.
        score: The number explained, before softmax or sigmoid.
    """

    index: int
    label: str
    probability: float | None
    score: float


@record
class Target:
    """A number read off the output tensor: `sign` times the sum of the elements `cells` of a picture's row.

    Attributes:
        cells: A range of flat indices into the output without its batch axis.
    """

    about: CamClass
    cells: range
    sign: int = 1
    weights: NDArray[np.float32] | None = field(default=None, repr=False, compare=False)

    def score(self, output: Array) -> NDArray[np.float64]:
        """The number for each picture of a batch: output (N, ...) -> float64 (N,)."""
        rows = output.reshape(len(output), -1)[:, self.cells.start : self.cells.stop]
        if self.weights is not None:
            return np.asarray(self.sign * (rows * self.weights).sum(1, dtype=np.float64), np.float64)
        total: NDArray[np.float64] = self.sign * rows.sum(1, dtype=np.float64)
        return total

    def seed(self, shape: Sequence[int]) -> NDArray[np.float32]:
        """The derivative of the number with respect to the output of one picture: float32 of this shape."""
        out = np.zeros(math.prod(shape), np.float32)
        out[self.cells.start : self.cells.stop] = self.sign if self.weights is None else self.sign * self.weights
        return out.reshape(shape)


@record
class Explained:
    """Which tensor of the model is explained.

    Attributes:
        element: An index given along with its name, flat or per axis.
    """

    tensor: str
    element: tuple[int, ...] | None
    classifier: bool


def find_output(model: Model, output: str | None) -> Explained:
    """The classifier's scores, or the tensor that `output` names: ``NAME``, ``NAME:INDEX`` or ``NAME:I,J,...``.

    Raises:
        NotComputable: For a model without a classifier when nothing is named.
        UsageError: For an unknown name.
    """
    if output is None:
        if model.classifier is None:
            raise NotComputable(
                f"{model.path} has no classification output (its outputs: {', '.join(model.graph.outputs[:4])})",
                f"say what to explain with --output NAME:INDEX (in Python output=), as in {model.graph.outputs[0]}:0",
            )
        return Explained(model.classifier.scores, None, True)
    name, element = output, None
    if name not in model.graph.producer_of:
        head, colon, tail = output.rpartition(":")
        if colon and head in model.graph.producer_of:
            try:
                name, element = head, tuple(int(part) for part in tail.split(","))
            except ValueError:
                raise UsageError(f"{tail!r} in output {output!r} is not an index", "as in 'scores:3'") from None
    if name not in model.graph.producer_of:
        known = [n for n in model.graph.outputs if n in model.graph.producer_of]
        raise UsageError(f"there is no output {output!r}; nearest: {', '.join(nearest(output, known))}")
    if element is None and model.classifier is not None and name in (model.classifier.scores, *_ends(model)):
        return Explained(model.classifier.scores, None, True)
    return Explained(name, element, False)


def _ends(model: Model) -> tuple[str, ...]:
    """Outputs of the file that only turn the classifier's scores into probabilities."""
    if model.classifier is None or not model.classifier.in_graph:
        return ()
    return find_ends(model.graph, model.classifier.scores)


def choose_targets(
    model: Model,
    explained: Explained,
    values: Array,
    classes: Sequence[str | int],
    top: int,
    own: Array | None = None,
) -> list[Target]:
    """The targets for one picture, in the order asked for, or the `top` highest.

    Args:
        model: The model.
        explained: What is explained.
        values: The explained tensor of this picture, batch axis of 1 included.
        classes: Indices or labels that were named, if any.
        top: How many of the most likely classes where none is named.
        own: The probabilities of the classes as the file itself gives them, where it does.
    """
    if explained.classifier:
        assert model.classifier is not None
        rows = read_rows(values, 1, model.classifier, model.path)
        given = None if own is None else own.reshape(1, -1).astype(np.float64)
        return _of_classifier(model, ClassRows(rows, given), classes, top)
    shape = values.shape[1:] if values.ndim > 1 else values.shape
    if explained.element is not None:
        if classes:
            raise UsageError("an output with an index and classes exclude each other", "give one of them")
        return [_element(explained, explained.element, values, shape)]
    if classes:
        return [_element(explained, (_index(model, shape, name),), values, shape) for name in classes]
    scores = values.reshape(shape[0], -1).sum(axis=1) if _is_maps(shape) else values.reshape(-1)
    order = np.argsort(-np.nan_to_num(scores.astype(np.float64), nan=-np.inf), kind="stable")
    return [_element(explained, (int(i),), values, shape) for i in order[:top]]


def _is_maps(shape: Sequence[int]) -> bool:
    """Whether an output of one picture is a stack of maps (K, H, W), as a segmenter's."""
    return len(shape) == 3 and shape[1] * shape[2] > 1


def _index(model: Model, shape: Sequence[int], name: str | int) -> int:
    text = str(name).strip()
    if text.lstrip("-").isdigit() and not (model.labels and text in model.labels):
        return int(text)
    index = model.find_class(name)
    if model.labels and len(model.labels) != shape[0]:
        raise ClassNotFound(
            f"the labels do not belong to this output: {len(model.labels)} labels for {shape[0]}", "give an index"
        )
    return index


def _element(explained: Explained, element: tuple[int, ...], values: Array, shape: Sequence[int]) -> Target:
    sizes = "x".join(map(str, shape))
    if len(element) == 1 and _is_maps(shape):
        size, limit = math.prod(shape[1:]), shape[0]
        first = element[0]
        cells = range(first * size, (first + 1) * size)
    else:
        limit = math.prod(shape)
        if len(element) > 1:
            if len(element) != len(shape) or not all(0 <= e < s for e, s in zip(element, shape, strict=True)):
                raise UsageError(f"output {explained.tensor!r} of {sizes} has no element {','.join(map(str, element))}")
            first = int(np.ravel_multi_index(element, tuple(shape)))
        else:
            first = element[0]
        cells = range(first, first + 1)
    if not 0 <= first < limit:
        raise UsageError(
            f"output {explained.tensor!r} of {sizes} has no index {first}", f"the indices are 0 to {limit - 1}"
        )
    score = float(values.reshape(-1)[cells.start : cells.stop].sum(dtype=np.float64))
    label = f"{explained.tensor}:{','.join(map(str, element))}"
    return Target(CamClass(first, label, None, score), cells)


def _of_classifier(model: Model, given: ClassRows, classes: Sequence[str | int], top: int) -> list[Target]:
    row = given.scores[0]
    if row.size == 1:
        return _of_single_logit(model, given, classes, top)
    if not classes:
        return [_target(p) for p in model.top(given, top)]
    probabilities = model.probabilities(given)[0]
    found = []
    for name in classes:
        index = model.find_class(name)
        if index >= row.size:
            raise ClassNotFound(f"there is no class {index}", f"the indices are 0 to {row.size - 1}")
        found.append(_target(Prediction(index, model.label(index), float(probabilities[index]), float(row[index]))))
    return found


def _target(p: Prediction) -> Target:
    return Target(CamClass(p.index, p.label, p.probability, p.score), range(p.index, p.index + 1))


def _of_single_logit(model: Model, given: ClassRows, classes: Sequence[str | int], top: int) -> list[Target]:
    """One logit: the second of two labels, with the first as its opposite; or the only class there is."""
    found = list(model.top(given, 2))
    by_index = {p.index: p for p in found}
    if classes:
        indices = []
        for name in classes:
            text = str(name).strip()
            index = int(text) if text.isdigit() and int(text) in by_index else model.find_class(name)
            if index not in by_index:
                raise ClassNotFound(f"there is no class {index}", f"the indices are 0 to {len(by_index) - 1}")
            indices.append(index)
        found = [by_index[i] for i in indices]
    targets = []
    for p in found if classes else found[:top]:
        sign = -1 if len(by_index) == 2 and p.index == 0 else 1
        targets.append(Target(CamClass(p.index, p.label, p.probability, p.score), range(1), sign))
    return targets
