"""The plan for a model: what its file gives out and has to keep, and between which values its input lies."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from inspector.model import Model
from inspector.model.tensors import list_answers
from inspector.slimming.plan import SlimPlan, find_slim_plan


def find_free_outputs(model: Model) -> tuple[str, ...]:
    """Find the outputs that may lose channels: layers that our own exporters exposed, and no answers.

    What somebody else's file gives out keeps its shape: who reads it is not known.
    """
    ours = {entry.tensor for entry in model.metadata.layers}
    answers = {*list_answers(model), model.metadata.output}
    graph = model.graph
    return tuple(x for x in graph.outputs if x in ours and x not in answers and graph.consumers_of.get(x))


def find_model_plan(
    model: Model, seen: Mapping[str, NDArray[np.float64]] | None = None, smallest: bool = False
) -> SlimPlan:
    """Find what can be cut from a model.

    Where its file says its preprocess, its input lies between what black and white become. An assumed preprocess
    proves nothing, and then any input is reckoned with.

    Args:
        model: The model.
        seen: Values that channels are taken to have; see :func:`inspector.slimming.find_slim_plan`.
        smallest: Whether channels also go where that may make the network slower.
    """
    inputs: dict[str, tuple[float, float]] = {}
    if model.metadata.preprocess is not None:
        known = model.preprocess
        ends = [(x * known.scale - m) / s for m, s in zip(known.mean, known.std, strict=True) for x in (0, 255)]
        inputs[model.input.name] = (min(ends), max(ends))
    return find_slim_plan(
        model.graph, inputs=inputs, picture=model.preprocess.size, free=find_free_outputs(model), seen=seen,
        in_blocks=not smallest,
    )  # fmt: skip
