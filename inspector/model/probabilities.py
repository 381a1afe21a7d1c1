"""From raw scores to probabilities and predictions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from numbers import Integral
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from inspector.errors import NotComputable, UsageError, wrong_type
from inspector.metadata import Activation
from inspector.records import record
from inspector.tasks.classify import Classifier


@record
class Prediction:
    """One class of an answer.

    Attributes:
        index: Index of the class.
        label: Its name.
        probability: In [0, 1].
        score: The model's raw output.
    """

    index: int
    label: str
    probability: float
    score: float


@record(eq=False)
class ClassRows:
    """What one run says of the classes of N pictures.

    Attributes:
        scores: float32 (N, K), before softmax or sigmoid.
        probabilities: float64 (N, K), as the file itself gives them; None where it gives none.
    """

    scores: NDArray[np.float32]
    probabilities: NDArray[np.float64] | None = None

    def pick(self, picture: int) -> ClassRows:
        """The rows of one of the pictures, of a graph that takes a fixed number of them."""
        own = self.probabilities
        return ClassRows(self.scores[picture : picture + 1], None if own is None else own[picture : picture + 1])


class Predictions(list[Prediction]):
    """Classes, most likely first: a list that a notebook shows with bars."""

    def _repr_html_(self) -> str:
        from inspector.notebook import show_bars

        return show_bars([(x.label, x.probability) for x in self])


def to_probabilities(scores: NDArray[Any], activation: Activation) -> NDArray[np.float64]:
    """Scores (N, K) -> probabilities (N, K) in float64, without overflow."""
    values = np.asarray(scores, np.float64)
    if activation == "softmax":
        with np.errstate(invalid="ignore"):  # inf - inf in a broken model gives NaN, which is the right answer
            exponents = np.exp(values - values.max(axis=-1, keepdims=True))
            ratio: NDArray[np.float64] = exponents / exponents.sum(axis=-1, keepdims=True)
        return ratio
    if activation == "sigmoid":
        logistic: NDArray[np.float64] = 0.5 * (1 + np.tanh(0.5 * values))
        return logistic
    return values


def read_rows(values: NDArray[Any], pictures: int, classifier: Classifier, path: Path) -> NDArray[np.float32]:
    """Scores as a run gives them -> float32 (N, K), contiguous. What the file declares is held against them.

    Args:
        values: (N, K), (N, K, 1, 1), (N, 1, K), or for one picture (K,) or a single number.
        pictures: N, how many went in.
        classifier: What was read off the file.
        path: The file.

    Raises:
        NotComputable: The values are not one row of K numbers for each picture; the text says what they are.
    """
    try:
        return _to_rows(values, pictures, classifier.classes)
    except ValueError as error:
        raise NotComputable(
            f"{path}: {classifier.scores!r} was declared as scores of classes, and {error}",
            "the network does something else; activations and layers work on it",
        ) from None


def _to_rows(values: NDArray[Any], pictures: int, classes: int | None) -> NDArray[np.float32]:
    """The rows. Raises ValueError with what is wrong where they are none."""
    shape = f"has the shape ({', '.join(map(str, values.shape))}) for {pictures} picture{'s' * (pictures != 1)}"
    rows = values.reshape(1, -1) if values.ndim < 2 and pictures == 1 else values
    if rows.ndim == 1 and len(rows) == pictures:
        rows = rows[:, None]
    if rows.ndim < 2 or len(rows) != pictures:
        raise ValueError(f"a run {shape}")
    if sum(size != 1 for size in rows.shape[1:]) > 1:
        raise ValueError(f"a run {shape}: several axes, not one row of scores")
    flat = rows.reshape(len(rows), -1)
    if classes is not None and flat.shape[1] != classes:
        raise ValueError(f"a run {shape}, not {classes} scores")
    return np.ascontiguousarray(flat, np.float32)


def take_one_row(scores: NDArray[Any] | ClassRows) -> tuple[NDArray[np.float64], NDArray[np.float64] | None]:
    """Take the scores of one picture, and the probabilities of the file where there are some: float64 (K,) each.

    Raises:
        UsageError: They are those of several pictures, or no numbers.
    """
    given = scores.scores if isinstance(scores, ClassRows) else scores
    try:
        array = np.asarray(given, np.float64)
    except (TypeError, ValueError):
        raise wrong_type("scores", scores, "give one row of numbers, (K,)") from None
    one = array.ndim == 1 if not isinstance(scores, ClassRows) else array.ndim == 2 and len(array) == 1
    if not one or not array.size:
        raise UsageError(f"scores of shape {array.shape} are not those of one picture", "give one row of them, (K,)")
    if not isinstance(scores, ClassRows):
        return array, None
    return array[0], None if scores.probabilities is None else scores.probabilities[0]


def order_classes(scores: NDArray[Any], probabilities: NDArray[Any] | None = None) -> NDArray[np.intp]:
    """Put classes in order, the likeliest first.

    Args:
        scores: (K,); NaN comes last.
        probabilities: (K,), as the file gives them. Where it rounds two of them to one number, the score decides.

    Returns:
        The indices (K,); of equal ones the first stays first.
    """
    least = [-np.nan_to_num(row, nan=-np.inf) for row in (scores, probabilities) if row is not None]
    return np.lexsort(least)


def run_rounded(
    classifier: Classifier | None, names: Sequence[str], run: Callable[[Sequence[str]], dict[str, NDArray[Any]]]
) -> dict[str, NDArray[Any]]:
    """Run a graph, with rounded scores rounded here where its own probabilities are asked for beside them.

    onnxruntime computes a softmax between integers by a table of its own, unless somebody looks at what stands right in
    front of it: then it computes in floats, which rounds to the next integer here and there. So what is looked at are
    the floats before they are rounded.

    Args:
        classifier: Where the classes are.
        names: The tensors that are wanted.
        run: Computes tensors of the graph by their names.

    Returns:
        Tensor name -> array, of `names`.
    """
    rounding = classifier.rounding if classifier is not None else None
    if classifier is None or rounding is None or classifier.probabilities not in names:
        return run(names)
    values = run(list(dict.fromkeys(rounding.tensor if name == classifier.scores else name for name in names)))
    if classifier.scores in names:
        values[classifier.scores] = rounding.round(values[rounding.tensor])
    return {name: values[name] for name in names}


def are_probabilities(scores: NDArray[Any]) -> bool:
    """Whether rows (N, K) of at least two numbers look like probabilities: all in [0, 1], each row adding up to one.

    Raw scores that do so by chance are of no account: their softmax would be nearly flat.
    """
    values = np.asarray(scores, np.float64)
    if values.shape[-1] < 2 or not np.isfinite(values).all() or values.min() < 0 or values.max() > 1:
        return False
    return bool(np.abs(values.sum(axis=-1) - 1).max() < 1e-3)


def check_top(top: int) -> None:
    """Raise UsageError for a number of classes that cannot be."""
    if not isinstance(top, Integral) or isinstance(top, bool):
        raise wrong_type("top", top, "give a whole number of 1 or more")
    if top < 1:
        raise UsageError(f"top {top} is less than 1")
