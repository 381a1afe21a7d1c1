"""What a model says of classes: scores, probabilities, predictions."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from inspector.image import ImageSource, open_image
from inspector.image.poses import check_poses, list_poses, turn_picture
from inspector.metadata import Metadata
from inspector.model.answers import Answers
from inspector.model.classes import find_class
from inspector.model.probabilities import (
    ClassRows,
    Prediction,
    Predictions,
    are_probabilities,
    check_top,
    order_classes,
    read_rows,
    take_one_row,
    to_probabilities,
)
from inspector.tasks.classify import Classifier


class ClassAnswers(Answers):
    """The questions to a model that knows classes."""

    metadata: Metadata
    tensor: Callable[[ImageSource], NDArray[Any]]

    @property
    def labels(self) -> tuple[str, ...] | None:
        """K class names, or None when the file has none or too few."""
        return self.metadata.labels or (self.decoder.names if self.decoder is not None else ()) or None

    @property
    def classes(self) -> int | None:
        """Number of classes K; None where the model has no classes, or their number is not fixed."""
        source = self.classifier or self.decoder
        return source.classes if source else None

    def label(self, index: int) -> str:
        """The name of a class; ``class 6`` when the file has no names."""
        return self.labels[index] if self.labels and index < len(self.labels) else f"class {index}"

    def find_class(self, name: str | int) -> int:
        """Find a class.

        Args:
            name: Its label in any case, one of several names in its label, or its index.

        Returns:
            The index of the class, 0 or more.

        Raises:
            ClassNotFound: No class, or more than one, goes by that name; the nearest labels are told.

        Example:
            >>> model.find_class("egyptian cat")
            285
        """
        return find_class(name, self.labels or (), 2 if self.says_two else self.classes)

    @property
    def says_two(self) -> bool:
        """Whether one score stands for two classes: it gives the probability of class 1, class 0 has the rest."""
        classifier = self.classifier
        if classifier is None or classifier.classes != 1 or classifier.activation == "softmax":
            return False
        return self.labels is None or len(self.labels) != 1

    def scores(self, tensor: NDArray[Any]) -> NDArray[np.float32]:
        """Compute the scores, before softmax or sigmoid.

        Args:
            tensor: An input tensor as :meth:`tensor` makes it, with any number N of pictures.

        Returns:
            float32 (N, K).

        Raises:
            NotComputable: The model has no classification output.
            ModelError: onnxruntime cannot run the model.
        """
        return self.run_classes(tensor).scores

    def run_classes(self, tensor: NDArray[Any]) -> ClassRows:
        """Compute the scores, and in the same run the probabilities that the file itself gives.

        Args:
            tensor: An input tensor as :meth:`tensor` makes it, with any number N of pictures.

        Raises:
            NotComputable: The model has no classification output.
            ModelError: onnxruntime cannot run the model.
        """
        return self.read_classes(self.run(tensor, self._classifier().tensors), len(tensor))

    def read_classes(self, values: Mapping[str, NDArray[Any]], pictures: int) -> ClassRows:
        """Read classes off a run that was made already.

        Args:
            values: What the run gave of the `tensors` of the classifier, by name; others are passed over. Where only
                the scores are among them, there are no probabilities of the file.
            pictures: N, how many went in.

        Raises:
            NotComputable: The values are not one row of K numbers for each picture, or there is no classifier.
        """
        classifier = self._classifier()
        scores = read_rows(values[classifier.scores], pictures, classifier, self.graph.path)
        own = None if classifier.probabilities is None else values.get(classifier.probabilities)
        if own is None:
            return ClassRows(scores)
        return ClassRows(scores, read_rows(own, pictures, classifier, self.graph.path).astype(np.float64))

    def probabilities(self, scores: NDArray[Any] | ClassRows) -> NDArray[np.float64]:
        """Turn scores into probabilities: by softmax, by sigmoid or not at all, as the model means them.

        Args:
            scores: (N, K), as :meth:`scores` gives them, or what :meth:`run_classes` gives: the file's own
                probabilities are taken then, where it has some.

        Returns:
            float64 (N, K) in [0, 1].

        Raises:
            NotComputable: The model has no classification output.
        """
        classifier = self._classifier()
        if isinstance(scores, ClassRows):
            if scores.probabilities is not None:
                return scores.probabilities
            scores = scores.scores
        if classifier.guessed and are_probabilities(scores):
            self.warn(
                f"the scores of {self.graph.path} are probabilities already (in [0, 1], and they add up to 1): taken "
                "as they are; `inspector annotate --activation none` writes that into the file"
            )
            return to_probabilities(scores, "none")
        return to_probabilities(scores, classifier.activation)

    def mean_scores(self, image: ImageSource, kinds: Sequence[str] = ()) -> NDArray[np.float32]:
        """Compute the scores of one picture as the mean over its flips and turns.

        The mean of scores is the geometric mean of probabilities.

        Args:
            image: A path, the bytes of a file, an open file, a PIL image, or a uint8 array (H, W, 3).
            kinds: ``hflip``, ``vflip``, ``rotate``; none means the picture as it is.

        Returns:
            float32 (K,).

        Raises:
            NotComputable: The model has no classification output.
            ImageError: The picture cannot be opened.
            UsageError: There is no such pose.
        """
        check_poses(kinds)
        if not len(kinds):
            return np.asarray(self.scores(self.tensor(image))[0])
        picture = open_image(image, warn=self.warn)
        tensors = [self.tensor(turn_picture(picture, pose)) for pose in list_poses(kinds)]
        # A turn of an oblong picture has another shape where the preprocess keeps it.
        together = len({t.shape for t in tensors}) == 1
        rows = self.scores(np.concatenate(tensors)) if together else [self.scores(t)[0] for t in tensors]
        return np.asarray(np.mean(rows, axis=0, dtype=np.float64), np.float32)

    def predict(self, image: ImageSource, top: int = 3, poses: Sequence[str] = ()) -> Predictions:
        """Name the most likely classes of one picture.

        Args:
            image: A path, the bytes of a file, a PIL image, or a uint8 array (H, W, 3).
            top: How many classes, 1 or more.
            poses: ``hflip``, ``vflip``, ``rotate``: the answer is that of the scores' mean over them.

        Returns:
            The classes, most likely first. A notebook shows them with bars.

        Raises:
            NotComputable: The model has no classification output.
            ImageError: The picture cannot be opened.
            UsageError: `top` is not 1 or more, or there is no such pose.

        Example:
            >>> model.predict("docs/chelsea.jpg")[0].label
            'Egyptian cat'
        """
        check_top(top)
        if poses:
            return self.top(self.mean_scores(image, poses), top)
        return self.top(self.run_classes(self.tensor(image)), top)

    def top(self, scores: NDArray[Any] | ClassRows, top: int = 3) -> Predictions:
        """Name the most likely classes of one picture.

        Args:
            scores: (K,), one row of what :meth:`scores` gives, or what :meth:`run_classes` gives for one picture: the
                probabilities, and the order, are the file's own then, where it has some.
            top: How many classes, 1 or more.

        Returns:
            The classes, most likely first.

        Raises:
            NotComputable: The model has no classification output.
            UsageError: `top` is not 1 or more, or `scores` are not those of one picture.
        """
        check_top(top)
        row, own = take_one_row(scores)
        if row.size == 1 and self._classifier().activation != "softmax":
            return Predictions(self._binary(float(row[0]), own)[:top])
        probabilities = self.probabilities(row[None])[0] if own is None else own
        order = order_classes(row, own)[:top]
        return Predictions(
            Prediction(int(i), self.label(int(i)), float(probabilities[i]), float(row[i])) for i in order
        )

    def _binary(self, score: float, own: NDArray[np.float64] | None) -> list[Prediction]:
        """One score for two classes: what it gives is the probability of the second, or of the only label there is."""
        activation = self._classifier().activation
        p = float((to_probabilities(np.array([score]), activation) if own is None else own)[0])
        if self.labels and len(self.labels) == 1:
            return [Prediction(0, self.label(0), p, score)]
        other = 1 - score if activation == "none" else -score
        both = [Prediction(1, self.label(1), p, score), Prediction(0, self.label(0), 1 - p, other)]
        second = p >= 0.5 if p != 0.5 or activation == "none" else score >= 0
        return both if second else both[::-1]

    def _classifier(self) -> Classifier:
        return self.classifier if self.classifier is not None else self._refuse("predict")
