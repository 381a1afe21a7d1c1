"""Numbers that half precision does not hold."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from exporters.quantizing.pictures import CalibrationPictures
from exporters.quantizing.quantizable import QuantizableGraph
from inspector.errors import listing
from inspector.model import Model

LARGEST = 65504.0
"""The largest finite number of half precision."""


def find_overflow(source: Model, network: QuantizableGraph, inputs: CalibrationPictures) -> tuple[str, ...]:
    """Say which weights, and which layers on the calibration pictures, half precision does not hold.

    Args:
        source: The float model.
        network: Its network, with the weights.
        inputs: The calibration pictures; all of them are run.

    Returns:
        A sentence for the weights and one for the layers, with the largest number of each layer, as far as there are
        any.
    """
    weights = {
        name: float(np.abs(array).max())
        for name, array in network.weights.items()
        if array.dtype.kind == "f" and array.size and float(np.abs(array).max()) > LARGEST
    }
    notes = []
    if weights:
        owners = _find_owners(source, network, weights)
        notes.append(f"weights beyond the {LARGEST:g} of half precision are cut off there: {_tell(owners)}")
    reached: dict[str, float] = {}
    for tensor in inputs.read():
        for name, values in source.layer_values(tensor)[0].items():
            reached[name] = max(reached.get(name, 0.0), float(np.abs(values).max()) if values.size else 0.0)
    beyond = {name: most for name, most in reached.items() if most > LARGEST}
    if beyond:
        notes.append(
            f"on the calibration pictures values pass the {LARGEST:g} of half precision and become infinite: "
            f"{_tell(beyond)}"
        )
    return tuple(notes)


def _tell(found: Mapping[str, float]) -> str:
    return listing([f"{name} ({most:.3g})" for name, most in found.items()], 5)


def _find_owners(source: Model, network: QuantizableGraph, weights: Mapping[str, float]) -> dict[str, float]:
    """The same numbers by the layer that the weights belong to: the first that is made of what reads them."""
    layer_of = {layer.tensor: layer.name for layer in source.layers}
    readers = network.readers()
    owners: dict[str, float] = {}
    for weight, most in weights.items():
        pending, name = [weight], weight
        while pending:
            tensor = pending.pop(0)
            if tensor in layer_of:
                name = layer_of[tensor]
                break
            pending += [made for i in readers.get(tensor, ()) for made in network.nodes[i].output if made]
        owners[name] = max(most, owners.get(name, 0.0))
    return owners
