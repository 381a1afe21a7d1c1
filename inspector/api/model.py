"""The model that `import inspector` offers: an opened file, with the questions that other packages answer."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

import inspector.model as models
from inspector.api.arguments import ModelFile, ModelSource, check_arguments
from inspector.errors import UsageError, wrong_type
from inspector.image import ImageSource, open_image
from inspector.layers import Layer, LayerNames

if TYPE_CHECKING:
    from inspector.cam import CamResult


class Activations(dict[str, NDArray[np.float32]]):
    """Layer name -> float32 (1, C, H, W) or (1, K): a mapping that a notebook shows as grids of all channels."""

    layers: Mapping[str, Layer] = {}
    """The layers by name, which tell how tokens are laid out as maps."""

    def _repr_html_(self) -> str:
        from inspector.notebook import MOST_PICTURES, show_pictures, to_png
        from inspector.pages.maps import to_maps
        from inspector.render.grid import draw_grid

        names = list(self)[:: max(1, -(-len(self) // MOST_PICTURES))]
        grids = []
        for name in names:
            values = self.layers[name].to_maps(self[name]) if name in self.layers else self[name]
            maps = to_maps(values[0])
            # Maps of one element have no range of their own; only side by side do they say something.
            scale = "layer" if maps[0].size == 1 else "channel"
            grids.append((name, to_png(draw_grid(maps, title=name, scale=scale))))
        return show_pictures(grids, f"{len(names)} of {len(self)} layers" if len(names) < len(self) else "")


class Maps(list["CamResult"]):
    """Class activation maps of one picture, one for each class: a list that a notebook shows over the picture."""

    def _repr_html_(self) -> str:
        from inspector.notebook import show_pictures

        drawn = [(f"{x.target.label}: {x.method} at {x.layer}", x._repr_png_()) for x in self]
        return show_pictures([(line, png) for line, png in drawn if png is not None])


class Model(models.Model):
    """An opened .onnx file, with the questions that other packages answer. Made by :func:`open_model`.

    Example:
        >>> import inspector
        >>> model = inspector.open_model("models/efficientnet-lite0.onnx")
        >>> model.predict("docs/chelsea.jpg")[0].label
        'Egyptian cat'
        >>> model.layer("blocks.5.swish").shape
        ('N', 240, 28, 28)
    """

    @check_arguments
    def activations(self, image: ImageSource, layers: LayerNames | None = None) -> Activations:
        """Compute what layers make of one picture. Only the part of the graph that they need is run.

        Args:
            image: A path, the bytes of a file, a PIL image, or a uint8 array (H, W, 3).
            layers: A name (a unique ending will do) or a layer, or several of either; None means all layers.

        Returns:
            Layer name -> float32 (1, C, H, W) or (1, K), channels first, as the network computes it: tokens as
            (1, C, L), the class token among them, windows as (1, C, k, L); `Layer.to_maps` lays them out as the maps
            that commands show. A notebook shows the channels as grids.

        Raises:
            LayerNotFound: No layer, or more than one, goes by a name.
            ImageError: The picture cannot be opened.
            ModelError: onnxruntime cannot run the model.
            UsageError: `layers` is something else.

        Example:
            >>> model.activations("docs/chelsea.jpg", "blocks.5.swish")["blocks.5.swish"].shape
            (1, 240, 28, 28)
        """
        found = Activations(super().activations(image, layers))
        found.layers = {layer.name: layer for layer in self.layers if layer.name in found}
        return found

    def find_alternatives(self, image: ImageSource) -> tuple[models.Alternative, ...] | None:
        """Find out whether an assumed preprocess decides the answer: which others would change the top class.

        Args:
            image: A path, the bytes of a file, a PIL image, or a uint8 array (H, W, 3).

        Returns:
            One for each named preprocess that gives another top class; none where all give the same. None where
            nothing was assumed: the file says its preprocess or its first nodes prove it, or it does not classify.

        Raises:
            ImageError: The picture cannot be opened.
            ModelError: onnxruntime cannot run the model.

        Example:
            >>> model.find_alternatives("docs/chelsea.jpg") is None  # its metadata holds the preprocess
            True
        """
        return models.find_alternatives(self, image)

    # Wide: the options of `inspector cam`.
    # Long: each of them is explained.
    @check_arguments
    def cam(
        self,
        image: ImageSource | NDArray[Any],
        *,
        classes: str | int | Sequence[str | int] | None = None,
        top: int | None = None,
        box: str | int | Sequence[int] | None = None,
        confidence: float | None = None,
        iou: float | None = None,
        side: str | None = None,
        method: str | None = None,
        layer: LayerNames | None = None,
        backend: str = "auto",
        output: str | None = None,
        masks: int = 1000,
        seed: int = 0,
        region: str | None = None,
    ) -> Maps:
        """Compute where in one picture the evidence lies: a class activation map for each class, or each box found.

        Args:
            image: A path, the bytes of a file, a PIL image, a uint8 array (H, W, 3), or an input tensor of the model
                (1, ...) as it is.
            classes: Labels or indices, one map each in this order; None takes the `top` most likely.
            top: How many classes where none is named, 1 or more, or how many boxes; None takes one class, five boxes.
            box: On a detector the number of a box in the order of `detect`, the best being 0, several, or ``"all"``.
            confidence: Smallest score of a box, in [0, 1]; None takes that of the head.
            iou: Overlap in [0, 1] above which two boxes of a class show one object; None takes that of the head.
            side: ``left``, ``top``, ``right`` or ``bottom``: the place of that side of a box is explained.
            method: cam, gradcam, gradcam++, hirescam, xgradcam, layercam, eigencam, scorecam, ablationcam, reciprocam,
                drise. None takes layercam for boxes, gradcam else.
            layer: The layer to look at, or several whose maps are averaged; None chooses one.
            backend: ``auto`` takes torch only where it is needed, ``onnx`` never, ``twin`` always.
            output: What to explain where it is not the classifier: a tensor's name, with ``:INDEX`` for one value.
            masks: How many masks drise covers the picture with.
            seed: Of these masks.
            region: On a segmenter ``"X,Y,W,H"`` in pixels: the area that is explained; None takes that of each class.

        Returns:
            The maps; of boxes the best first, and none where nothing was found. A notebook shows them over the picture.

        Raises:
            LayerNotFound: No layer, or more than one, goes by a name.
            ClassNotFound: No class, or more than one, goes by a label or an index.
            ImageError: The picture cannot be opened.
            NotComputable: The method cannot be had for this layer.
            MissingExtra: Torch is needed and not installed.
            UsageError: There is no such method, backend or output.

        Example:
            >>> [best] = model.cam("docs/chelsea.jpg")
            >>> best.target.label, best.shape, best.empty
            ('Egyptian cat', (7, 7), False)
        """
        from inspector.cam import class_activation_maps
        from inspector.cam.boxes import BoxChoice, choose_box_numbers
        from inspector.cam.faithfulness import parse_region

        if top is not None:
            models.check_top(top)
        names = [x.name for x in self.choose_layers(layer)] if layer is not None else None
        picture = None if isinstance(image, np.ndarray) and image.ndim == 4 else open_image(image, warn=self.warn)
        choice = BoxChoice(choose_box_numbers(box), confidence, iou, side, masks, seed)
        found = class_activation_maps(
            self, image if picture is None else picture, classes=classes, top=top, method=method, layer=names,
            backend=backend, output=output, choice=choice, region=parse_region(region),
        )  # fmt: skip
        return Maps(replace(x, picture=picture) for x in found)


@check_arguments
def open_model(
    path: ModelFile,
    *,
    provider: str = "auto",
    threads: int | None = None,
    metadata: bool = True,
    allow_links: Sequence[str | os.PathLike[str]] = (),
    inputs: Mapping[str, Any] = models.NO_INPUTS,
    warn: Callable[[str], None] | None = None,
) -> Model:
    """Open an .onnx file from any exporter. No session is made before something is run.

    Args:
        path: The file.
        provider: auto, cpu, cuda, ...; auto takes an accelerator where there is one.
        threads: Threads for onnxruntime, 1 to 1024; None takes all cores that this process may use.
        metadata: False ignores the metadata document that the file carries.
        allow_links: Folders that links to external data may lead into, as caches of models lay them.
        inputs: Values of the inputs that are no picture, such as ``{"scale_factor": [1, 1]}``; those that are known by
            their names are filled in.
        warn: Gets a line where something is noteworthy but not wrong.

    Returns:
        The opened model.

    Raises:
        ModelError: It is not a model, damaged, unsafe, or does not take one picture.
        MetadataError: The metadata document in the file cannot be read.
        UsageError: The number of threads is out of range, `path` is not a path, or `inputs` do not fit.

    Example:
        >>> import inspector
        >>> model = inspector.open_model("models/efficientnet-lite0.onnx")
        >>> model.classes, len(model.layers), model.assumed
        (1000, 93, ())
    """
    if not isinstance(path, str | os.PathLike):
        raise wrong_type("a model", path, "give the path of an .onnx file")
    return models.open_model(
        path, provider=provider, threads=threads, metadata=metadata, allow_links=allow_links, inputs=inputs,
        warn=warn, cls=Model,
    )  # fmt: skip


def to_model(
    model: ModelSource,
    provider: str = "auto",
    threads: int | None = None,
    warn: Callable[[str], None] | None = None,
) -> Model:
    """The model that was given, opened where it is a path.

    Raises:
        UsageError: For what is neither, and for a provider or threads beside a model that is open already.
    """
    if isinstance(model, models.Model):
        if provider != "auto" or threads is not None:
            raise UsageError(
                f"{model.path} is open already, so provider and threads cannot be chosen any more",
                "give them to open_model",
            )
        return model if isinstance(model, Model) else Model(**vars(model))
    return open_model(model, provider=provider, threads=threads, warn=warn)
