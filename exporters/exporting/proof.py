"""The proof that a written file computes what the network computes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from exporters.exporting.checks import ExportError
from exporters.exporting.parity import ParityError, compare_values, compute_onnx_values, compute_torch_values
from exporters.sources.needs import torch
from inspector.agreement import Agreement
from inspector.errors import listing
from inspector.graph import Graph
from inspector.layers import Layer
from inspector.tasks.rounding import find_operand_scales


def prove(
    graph: Graph,
    layers: Sequence[Layer],
    tensors: Mapping[str, str],
    program: torch.export.ExportedProgram,
    picture: NDArray[Any],
    own: Mapping[str, torch.Tensor],
) -> tuple[Agreement, ...]:
    """Compare every output of a written file with torch on one picture.

    Args:
        graph: The file.
        layers: Its layers.
        tensors: Name of an fx node -> tensor of the file.
        program: What torch exported.
        picture: The input, float32 (1, C, H, W).
        own: Name of an fx node -> what the network itself gives there for the picture.

    Returns:
        One row for each output, in topological order.

    Raises:
        ParityError: An output differs, or cannot be compared.
        ExportError: The exported program is not the network.
    """
    node_of = {after: before for before, after in tensors.items()}
    name_of = {x.tensor: x.name for x in layers}
    ours = compute_torch_values(program, torch.from_numpy(picture), [node_of[name] for name in graph.outputs])
    if unmatched := [name_of.get(name, name) for name in graph.outputs if node_of[name] not in ours]:
        raise ParityError(f"there is no value in torch to compare with for {listing(unmatched)}")
    for node, value in own.items():
        _check_interpreter(ours[node], value)
    theirs = compute_onnx_values(graph.path, picture, graph.outputs)
    ordered = sorted(graph.outputs, key=graph.producer_of.__getitem__)
    scales = find_operand_scales(graph, ordered)
    return compare_values(
        {name_of.get(name, name): ours[node_of[name]] for name in ordered},
        {name_of.get(name, name): theirs[name] for name in ordered},
        {name_of.get(name, name): scales[name] for name in ordered},
    )


def _check_interpreter(scores: NDArray[Any], eager: torch.Tensor) -> None:
    """The exported program must be the network before it can stand for it."""
    expected = eager.numpy()
    limit = 1e-4 * float(np.abs(np.nan_to_num(expected)).max()) + 1e-12
    if scores.shape != expected.shape or not np.allclose(scores, expected, rtol=0, atol=limit, equal_nan=True):
        raise ExportError(
            "the program that torch exports does not give the network's own scores",
            "forward may depend on values or on state that torch.export does not see",
        )
