"""Whether the twin that gradients are taken from computes what the file computes."""

from __future__ import annotations

from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

import numpy as np

from inspector.compare import HALF_TOLERANCE, TOLERANCE
from inspector.twin import Twin, verify_twin

if TYPE_CHECKING:
    from inspector.graph import Graph
    from inspector.model import Model

_OTHER_DEVICE = 1e-2
"""Accelerators multiply with shorter mantissas (TF32), where onnxruntime on the processor does not."""
_checked: WeakKeyDictionary[Model, set[tuple[str, ...]]] = WeakKeyDictionary()


def check_twin(model: Model, graph: Graph, twin: Twin) -> None:
    """Compare a twin with onnxruntime on a picture of noise, once for each set of tensors of a model.

    Args:
        model: The model; its preprocess makes the picture into a tensor.
        graph: What the twin was built from.
        twin: It begins at the picture.

    Raises:
        TwinMismatch: They differ by more than rounding explains; it names the tensor.
        ModelError: onnxruntime cannot run the file.
    """
    known = _checked.setdefault(model, set())
    tensors = tuple(twin.outputs)
    if tensors in known or list(twin.inputs) != [model.input.name]:
        return
    height, width = model.preprocess.size or (224, 224)
    noise = np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)
    picture = model.tensor(noise)
    on_processor = twin.get_buffer("_anchor").device.type == "cpu"
    tolerance = HALF_TOLERANCE if graph.half_precision else TOLERANCE if on_processor else _OTHER_DEVICE
    verify_twin(twin, graph, {model.input.name: np.repeat(picture, model.input.batch or 1, 0)}, tolerance=tolerance)
    known.add(tensors)
