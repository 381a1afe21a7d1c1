"""The one run of a page's picture: layers, scores, and the outputs that the answer is read off."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from inspector.errors import ModelError
from inspector.layers import Layer
from inspector.model import Model
from inspector.model.probabilities import ClassRows

DRAWN = ("detect", "pose", "segment")
"""Tasks whose answer is drawn beside the layers."""


def run_picture(
    model: Model, tensor: NDArray[Any], chosen: Sequence[Layer], named: bool
) -> tuple[dict[str, NDArray[np.float32]], ClassRows | None, dict[str, NDArray[Any]]]:
    """Run one picture.

    Args:
        model: The model.
        tensor: Its input.
        chosen: The layers.
        named: Whether somebody asked for these layers, and not for all.

    Returns:
        The activations by layer name; what the run says of classes, or None; the outputs of a detector or segmenter by
        name, none where they cannot be run, which is warned of.

    Raises:
        ModelError: The layers cannot be run.
    """
    answers = model.decoder.outputs if model.task in DRAWN and model.decoder is not None else ()
    try:
        return model.run_layers(tensor, chosen, True, answers)
    except ModelError as error:
        # A head that fails, or does not fit this picture, is no reason to withhold layers before it.
        if not answers and (not named or model.classifier is None):
            raise
        values = model.run_layers(tensor, chosen, False)
        model.warn(f"no predictions: {error.message}")
        return values
