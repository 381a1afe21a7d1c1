"""What a model would answer, had another preprocess been assumed."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from inspector.image import NAMED, ImageSource, Preprocess, open_image
from inspector.model.assume import guess_values
from inspector.model.model import Model
from inspector.model.probabilities import Prediction
from inspector.records import record

if TYPE_CHECKING:
    from PIL.Image import Image


@record
class Alternative:
    """A preprocess with which the top class of a picture would be another one.

    Attributes:
        preprocess: Its name: imagenet, unit, signed, caffe or raw.
        top: The top class with it.
    """

    preprocess: str
    top: Prediction


def list_assumable(model: Model) -> tuple[str, ...]:
    """List the named preprocesses that a model may want just as well as the one that was assumed for it.

    Args:
        model: The model.

    Returns:
        Their names; none where the file says its preprocess, where the first nodes of the graph prove it, or where
        somebody gave another one.
    """
    if model.metadata.preprocess is not None:
        return ()
    guess = guess_values(model.graph, model.input)
    if guess.proven or model.preprocess != _named(model, guess.name):
        return ()
    # For one channel there is no order of colors, and caffe's mean is only known for three.
    names = [name for name in NAMED if model.input.channels == 3 or name != "caffe"]
    return tuple(name for name in names if name != guess.name)


def find_alternatives(model: Model, image: ImageSource) -> tuple[Alternative, ...] | None:
    """Find the preprocesses that would change the top class of one picture, where the preprocess was assumed.

    The network is run once more for each name that it may be, and once for the answer that they are held against.

    Args:
        model: The model.
        image: A path, the bytes of a file, a PIL image, or a uint8 array (H, W, 3).

    Returns:
        One for each preprocess that gives another top class; none where all give the same. None where nothing was
        assumed: the model does not classify, or the preprocess is known.

    Raises:
        ImageError: The picture cannot be opened.
        ModelError: onnxruntime cannot run the model.
    """
    names = list_assumable(model) if model.classifier is not None else ()
    if not names:
        return None
    picture = open_image(image)
    found = [(name, _top_class(model, _named(model, name), picture)) for name in names]
    given = _top_class(model, model.preprocess, picture).index
    return tuple(Alternative(name, top) for name, top in found if top.index != given)


def _named(model: Model, name: str) -> Preprocess:
    made = Preprocess.named(name, model.preprocess.size, model.input.channels, model.input.layout)
    return replace(made, dtype=model.input.dtype)


def _top_class(model: Model, preprocess: Preprocess, picture: Image) -> Prediction:
    return model.top(model.run_classes(preprocess.tensor(picture)), 1)[0]
