"""An opened .onnx file: its layers, its preprocess, its classes, and what it says about a picture."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self, cast

import numpy as np
from numpy.typing import NDArray

from inspector.errors import ModelError, NotComputable, wrong_type
from inspector.graph import Graph
from inspector.image import ImageSource, Preprocess, open_image
from inspector.layers import Layer, LayerNames, Layers, find_layer, move_channels_first
from inspector.metadata import Metadata
from inspector.model.assume import ImageInput
from inspector.model.attached import Attached
from inspector.model.batches import run_in_batches
from inspector.model.class_answers import ClassAnswers
from inspector.model.probabilities import ClassRows, run_rounded
from inspector.runtime import Sessions, ignore
from inspector.tasks.classify import Classifier
from inspector.tasks.decoder import Decoder


@dataclass(frozen=True, eq=False, repr=False)
class Model(ClassAnswers):
    """An opened .onnx file. Made by :func:`open_model`.

    Two models are equal only when they are the same object, so a model can be the key of a dictionary. A model that is
    pickled or copied is opened again from its path, which fails when the file has changed; `warn` is not pickled.

    Attributes:
        graph: The structure of the file.
        metadata: The document inside the file; empty when there is none.
        layers: All layers, in topological order.
        input: The one input, which takes pictures.
        preprocess: How a picture becomes the input tensor.
        classifier: Where the class scores are; None for a model that does not classify.
        assumed: What the file does not say and had to be assumed, one phrase each.
        sessions: The sessions of onnxruntime that are open.
        provider: The provider that was asked for: auto, cpu, cuda, ...
        threads: The threads that were asked for; None means all cores that this process may use.
        warn: Gets a line where something is noteworthy but not wrong.
        reads_metadata: False when the document inside the file was ignored on request.
        reopen: Opens the file again for a copy; :func:`inspector.model.open.open_again`.
        decoder: What makes answers of the outputs; None for a classifier, and for a head that is not known.
        attached: Outputs that `inspector attach` added, no part of `graph`, `layers` and `metadata`; None without any.
    """

    graph: Graph
    metadata: Metadata
    layers: Layers
    input: ImageInput
    preprocess: Preprocess
    classifier: Classifier | None
    assumed: tuple[str, ...]
    sessions: Sessions
    provider: str = "auto"
    threads: int | None = None
    warn: Callable[[str], None] = ignore
    reads_metadata: bool = True
    reopen: Callable[..., Any] = ignore
    decoder: Decoder | None = None
    attached: Attached | None = None

    def __repr__(self) -> str:
        shape = ", ".join("?" if size is None else str(size) for size in self.input.shape)
        classes = f"{self.classes} classes" if self.classes else "no classes"
        return (
            f"<{type(self).__name__} {str(self.path)!r} sha256 {self.sha256[:12]} input {self.input.name} ({shape}) "
            f"{classes}, {len(self.layers)} layers>"
        )

    def __reduce__(self) -> tuple[Any, ...]:
        given = {"provider": self.provider, "threads": self.threads, "metadata": self.reads_metadata}
        options = {**given, **self.graph.opening}
        return self.reopen, (type(self), self.path, self.path.resolve(), self.digest, options)

    def __copy__(self) -> Self:
        reopen, (*which, options) = self.__reduce__()
        return cast(Self, reopen(*which, {**options, "warn": self.warn}))

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return self.__copy__()

    @property
    def path(self) -> Path:
        """The file, as it was given."""
        return self.graph.path

    @property
    def sha256(self) -> str:
        """Hex digest of the file itself."""
        return self.graph.sha256

    @property
    def digest(self) -> str:
        """Hex digest of the file and of the weights that lie outside of it: what identifies the model."""
        return self.graph.digest

    def layer(self, name: str | Layer) -> Layer:
        """Find a layer.

        Args:
            name: Its name or a unique ending of it, or the layer itself.

        Raises:
            LayerNotFound: No layer, or more than one, goes by that name; the nearest names are told.

        Example:
            >>> model.layer("fc").kind
            'linear'
        """
        return name if isinstance(name, Layer) else find_layer(self.layers, name)

    def choose_layers(self, names: LayerNames | None = None) -> Layers:
        """Find several layers.

        Args:
            names: A name or a layer, or several of either; None means all layers.

        Returns:
            The layers in the order of `names`, each once.

        Raises:
            LayerNotFound: No layer, or more than one, goes by a name.
            UsageError: Something else than names and layers was given.
        """
        if names is None:
            return self.layers
        if isinstance(names, str | Layer):
            return Layers([self.layer(names)])
        if not isinstance(names, Iterable):
            raise wrong_type("layers", names, "give the name of a layer, one of model.layers, or a list of them")
        return Layers(dict.fromkeys(self.layer(name) for name in names))

    def tensor(self, image: ImageSource) -> NDArray[Any]:
        """Prepare one picture for the network.

        Args:
            image: A path, the bytes of a file, an open file, a PIL image, or a uint8 array (H, W, 3).

        Returns:
            The input tensor: (1, C, H, W) or (1, H, W, C), in the layout and type that the model wants.

        Raises:
            ImageError: The picture cannot be opened.
        """
        return self.preprocess.tensor(open_image(image, warn=self.warn))

    def run(self, tensor: NDArray[Any], tensors: Sequence[str]) -> dict[str, NDArray[Any]]:
        """Compute tensors of the graph. A graph with a fixed batch is fed in pieces of that size.

        Args:
            tensor: An input tensor as :meth:`tensor` makes it, with any number N of pictures.
            tensors: Names of tensors of the graph.

        Returns:
            Tensor name -> array, in the type and layout that the graph gives it.

        Raises:
            ModelError: onnxruntime cannot run the model, or there is no such tensor.
        """
        names = list(dict.fromkeys(tensors))
        if not names:
            return {}

        def run(names: Sequence[str]) -> dict[str, NDArray[Any]]:
            return run_in_batches(self.sessions, self.input.name, tensor, names, self.input.batch, self.layers)

        return run_rounded(self.classifier, names, run)

    def activations(self, image: ImageSource, layers: LayerNames | None = None) -> dict[str, NDArray[np.float32]]:
        """Compute what layers make of one picture. Only the part of the graph that they need is run.

        Args:
            image: A path, the bytes of a file, a PIL image, or a uint8 array (H, W, 3).
            layers: A name (a unique ending will do) or a layer, or several of either; None means all layers.

        Returns:
            Layer name -> float32 (1, C, H, W) or (1, K), channels first, as the network computes it.

        Raises:
            LayerNotFound: No layer, or more than one, goes by a name.
            ImageError: The picture cannot be opened.
            ModelError: onnxruntime cannot run the model.
            UsageError: `layers` is something else.

        Example:
            >>> model.activations("docs/chelsea.jpg", "fc")["fc"].shape
            (1, 1000)
        """
        return self.layer_values(self.tensor(image), layers)[0]

    def layer_values(
        self, tensor: NDArray[Any], layers: LayerNames | None = None, scores: bool = False
    ) -> tuple[dict[str, NDArray[np.float32]], NDArray[np.float32] | None]:
        """Compute activations and scores in one run.

        Args:
            tensor: An input tensor as :meth:`tensor` makes it, with any number N of pictures.
            layers: As for :meth:`activations`.
            scores: Whether the scores are wanted too.

        Returns:
            The activations by layer name, float32 (N, C, H, W) or (N, K), and the scores, float32 (N, K), or None,
            also where a run shows that they are no scores of classes.

        Raises:
            LayerNotFound: No layer, or more than one, goes by a name.
            ModelError: onnxruntime cannot run the model, or there is nothing to compute.
        """
        found, classes, _ = self.run_layers(tensor, layers, scores)
        return found, None if classes is None else classes.scores

    def run_layers(
        self, tensor: NDArray[Any], layers: LayerNames | None, scores: bool, others: Sequence[str] = ()
    ) -> tuple[dict[str, NDArray[np.float32]], ClassRows | None, dict[str, NDArray[Any]]]:
        """:meth:`layer_values`, with the file's own probabilities, and other tensors as they are, by name."""
        chosen = self.choose_layers(layers)
        if not (chosen or scores or others):
            raise ModelError(f"{self.path} has no layers to look at")
        scored = self.classifier.tensors if scores and self.classifier is not None else ()
        values = self.run(tensor, [*(layer.tensor for layer in chosen), *others, *scored])
        found = {x.name: move_channels_first(values[x.tensor], x, len(tensor)) for x in chosen}
        rest = {name: values[name] for name in others}
        try:
            return found, self.read_classes(values, len(tensor)) if scored else None, rest
        except NotComputable as error:  # the layers are right all the same
            self.warn(f"no predictions: {error.message}")
            return found, None, rest
