"""What a model answers that is no classifier: boxes, masks, vectors, pictures."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NoReturn, TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image as images

from inspector.errors import NotComputable, UsageError
from inspector.graph import Graph
from inspector.image import ImageSource, Preprocess, open_image
from inspector.metadata import Task
from inspector.tasks.answers import Detections, Segmentation
from inspector.tasks.back import segment_picture, take_back
from inspector.tasks.classify import Classifier
from inspector.tasks.decoder import BoxDecoder, Decoder, MapDecoder, PictureDecoder, VectorDecoder

D = TypeVar("D", bound=Decoder)

CALLS: dict[str, str] = {
    "classify": "predict",
    "detect": "detect",
    "pose": "detect",
    "segment": "segment",
    "embed": "embed",
    "picture": "translate",
}
"""Task -> the method of a model that answers it."""

_NEEDS = {
    "predict": "classification output",
    "detect": "output with objects",
    "segment": "output with a class for every pixel",
    "embed": "output with one vector",
    "translate": "output with a picture",
}


class Answers:
    """The questions to a model that finds objects, labels pixels, or makes vectors or pictures."""

    graph: Graph
    preprocess: Preprocess
    classifier: Classifier | None
    decoder: Decoder | None
    warn: Callable[[str], None]
    run: Callable[..., dict[str, NDArray[Any]]]

    @property
    def task(self) -> Task | None:
        """What the outputs mean; None where that is not known."""
        if self.decoder is not None:
            return self.decoder.task
        return "classify" if self.classifier is not None else None

    def detect(self, image: ImageSource, confidence: float | None = None, iou: float | None = None) -> Detections:
        """Find the objects in one picture.

        Args:
            image: A path, the bytes of a file, a PIL image, or a uint8 array (H, W, 3).
            confidence: Smallest score, in [0, 1]; None takes that of the head, which mostly is 0.25.
            iou: Overlap in [0, 1] above which two boxes of a class show one object; None takes that of the head.

        Returns:
            At most 300 objects, highest score first, in pixels of the picture as a person sees it.

        Raises:
            NotComputable: The model finds no objects.
            ImageError: The picture cannot be opened.
            UsageError: A number is not in [0, 1].

        Example:
            >>> for one in model.detect("street.jpg", confidence=0.5):  # doctest: +SKIP
            ...     print(model.label(one.index), one.score, one.box)
        """
        decoder = self._decoder(BoxDecoder, "detect")  # type: ignore[type-abstract]
        for name, value in (("confidence", confidence), ("iou", iou)):
            if value is not None and not 0 <= value <= 1:
                raise UsageError(f"{name} {value} is not in [0, 1]")
        picture, values, sides = self._run_on(image, decoder)
        return self.read_objects(values, sides, picture.size, confidence, iou)

    def segment(self, image: ImageSource) -> Segmentation:
        """Find the class of every pixel of one picture.

        Args:
            image: A path, the bytes of a file, a PIL image, or a uint8 array (H, W, 3).

        Returns:
            The classes, and how probable each is, of the picture's size.

        Raises:
            NotComputable: The model gives no classes of pixels.
            ImageError: The picture cannot be opened.

        Example:
            >>> (model.segment("street.jpg").classes == model.find_class("road")).mean()  # doctest: +SKIP
            0.41
        """
        decoder = self._decoder(MapDecoder, "segment")  # type: ignore[type-abstract]
        picture, values, _ = self._run_on(image, decoder)
        return self.read_segments(values, picture.size)

    def embed(self, image: ImageSource) -> NDArray[np.float32]:
        """Compute the vector of one picture, which is near those of pictures that are alike.

        Args:
            image: A path, the bytes of a file, a PIL image, or a uint8 array (H, W, 3).

        Returns:
            float32 (D,), as the network gives it.

        Raises:
            NotComputable: The model gives no such vector.
            ImageError: The picture cannot be opened.

        Example:
            >>> one, other = model.embed("a.jpg"), model.embed("b.jpg")  # doctest: +SKIP
            >>> float(one @ other / np.linalg.norm(one) / np.linalg.norm(other))  # doctest: +SKIP
            0.83
        """
        decoder = self._decoder(VectorDecoder, "embed")  # type: ignore[type-abstract]
        values = self._run_on(image, decoder)[1]
        with decoder.guard(values):
            return decoder.vector(values)

    def translate(self, image: ImageSource) -> NDArray[np.float32]:
        """Compute the picture that the network makes of one: a depth, a matte, a larger picture.

        Args:
            image: A path, the bytes of a file, a PIL image, or a uint8 array (H, W, 3).

        Returns:
            float32 (h, w) or (h, w, 3), as the network gives it: not scaled, and not cut to the picture.

        Raises:
            NotComputable: The model makes no picture.
            ImageError: The picture cannot be opened.

        Example:
            >>> model.translate("street.jpg").shape  # doctest: +SKIP
            (384, 384)
        """
        decoder = self._decoder(PictureDecoder, "translate")  # type: ignore[type-abstract]
        values = self._run_on(image, decoder)[1]
        with decoder.guard(values):
            planes = decoder.planes(values)
            return planes[0] if len(planes) == 1 else np.ascontiguousarray(planes.transpose(1, 2, 0))

    # Wide: a run, the two sizes that it has, and what is asked for.
    def read_objects(
        self,
        values: Mapping[str, NDArray[Any]],
        sides: tuple[int, int],
        size: tuple[int, int],
        confidence: float | None = None,
        iou: float | None = None,
    ) -> Detections:
        """Read the objects off a run that was made already.

        Args:
            values: Output name -> what the run gave.
            sides: (H, W) of the network's input.
            size: (width, height) of the picture.
            confidence: As for :meth:`detect`.
            iou: As for :meth:`detect`.

        Raises:
            NotComputable: The model finds no objects, or the outputs are not those of its head.
        """
        decoder = self._decoder(BoxDecoder, "detect")  # type: ignore[type-abstract]
        least = decoder.confidence if confidence is None else confidence
        return take_back(decoder.find(values, sides, least, iou, self.warn), self.preprocess, size)

    def read_segments(self, values: Mapping[str, NDArray[Any]], size: tuple[int, int]) -> Segmentation:
        """Read the class of every pixel off a run that was made already; the arguments as for :meth:`read_objects`."""
        decoder = self._decoder(MapDecoder, "segment")  # type: ignore[type-abstract]
        with decoder.guard(values):
            return segment_picture(decoder, decoder.maps(values), self.preprocess, size)

    def sides(self, tensor: NDArray[Any]) -> tuple[int, int]:
        """(H, W) of an input tensor."""
        found = tensor.shape[1:3] if self.preprocess.layout == "NHWC" else tensor.shape[2:4]
        return int(found[0]), int(found[1])

    def output_values(self, image: ImageSource) -> dict[str, NDArray[Any]]:
        """Compute all outputs for one picture, as they are: for a head that is not known.

        Args:
            image: A path, the bytes of a file, a PIL image, or a uint8 array (H, W, 3).

        Returns:
            Output name -> array, in the type and shape that the graph gives it.

        Raises:
            ImageError: The picture cannot be opened.
            ModelError: onnxruntime cannot run the model.
        """
        return self.run(self.preprocess.tensor(open_image(image, warn=self.warn)), self.graph.outputs)

    def _run_on(
        self, image: ImageSource, decoder: Decoder
    ) -> tuple[images.Image, dict[str, NDArray[Any]], tuple[int, int]]:
        """(the picture, the outputs that the decoder reads, (H, W) of the input)."""
        picture = open_image(image, warn=self.warn)
        tensor = self.preprocess.tensor(picture)
        return picture, self.run(tensor, decoder.outputs), self.sides(tensor)

    # Callers say `type: ignore[type-abstract]`: mypy allows abstract classes only where nothing could build them, and
    # here they are only asked for by isinstance.
    def _decoder(self, kind: type[D], call: str) -> D:
        if not isinstance(self.decoder, kind):
            self._refuse(call)
        return self.decoder

    def _refuse(self, call: str) -> NoReturn:
        """Raise NotComputable for a call that is for another task, with the right one."""
        outputs = ", ".join(self.graph.outputs[:4])
        message = f"{self.graph.path} has no {_NEEDS[call]} (its outputs: {outputs})"
        if self.task is not None:
            raise NotComputable(message, f"its task is {self.task!r}: call model.{CALLS[self.task]}")
        hint = "activations and layers work on it; predict needs scores of shape (N, K), or that"
        raise NotComputable(message, f"{hint} `inspector annotate --task ... --head ...` says what the outputs are")


def compare_vectors(vectors: Sequence[NDArray[np.float32]], one: NDArray[np.float32]) -> list[float]:
    """Compute the cosine similarity of one vector to each of others.

    Args:
        vectors: float32 (D,) each.
        one: float32 (D,).

    Returns:
        A number in [-1, 1] for each of `vectors`; 0 where one of the two has no length.

    Example:
        >>> compare_vectors([np.array([0.0, 2.0]), np.array([3.0, 4.0])], np.array([0.0, 5.0]))
        [1.0, 0.8]
    """
    return [_cosine(one.astype(np.float64), other.astype(np.float64)) for other in vectors]


def _cosine(one: NDArray[np.float64], other: NDArray[np.float64]) -> float:
    lengths = float(np.linalg.norm(one) * np.linalg.norm(other))
    return float(one @ other) / lengths if lengths > 0 else 0.0
