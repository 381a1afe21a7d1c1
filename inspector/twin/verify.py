"""Comparison of a twin with onnxruntime, tensor by tensor."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from inspector.agreement import TOLERANCE, Agreement, compare_layer
from inspector.errors import InspectorError, UsageError, listing
from inspector.tasks.rounding import find_operand_scales
from inspector.twin.devices import compute_exactly
from inspector.twin.types import to_array, to_tensor

if TYPE_CHECKING:
    from onnx import NodeProto

    from inspector.graph import Graph
    from inspector.twin.module import Twin


class TwinMismatch(InspectorError):
    """The twin does not compute what onnxruntime computes. `agreements` holds what was compared."""

    kind = "twin-mismatch"

    def __init__(self, message: str, hint: str = "", agreements: Sequence[Agreement] = ()) -> None:
        super().__init__(message, hint)
        self.agreements = tuple(agreements)


@compute_exactly()
def verify_twin(
    twin: Twin,
    graph: Graph,
    feeds: Mapping[str, NDArray[Any]],
    *,
    tolerance: float = TOLERANCE,
    tensors: Sequence[str] | None = None,
) -> list[Agreement]:
    """Runs the twin and onnxruntime on the same input and compares `tensors` (default: the twin's outputs).

    In a quantised graph a difference in the last bit becomes a whole step, and the steps add up. So there every rounded
    tensor is compared too, may differ by one step, and from it the twin goes on with onnxruntime's value.

    Returns one Agreement per tensor, in topological order.

    Args:
        twin: The twin.
        graph: What it was built from.
        feeds: An array per input of the twin, in the file's dtype: a preprocessed picture, or what comes out of
            the layer that the twin starts at.
        tolerance: The largest difference, as a share of the scale of a tensor.
        tensors: Any that the twin computes on its way.

    Raises:
        TwinMismatch: A tensor is off by more than tolerance * its largest value: it names the first one in
            topological order, whether it was asked for or not, with the figures. Also where nothing can be compared.
        UsageError: An input has no array.
        ModelError: onnxruntime cannot run the file.
    """
    missing = [name for name in twin.inputs if name not in feeds]
    if missing:
        raise UsageError(f"no array for input {listing(missing)}", f"feed {listing(twin.inputs)}")
    wanted = list(dict.fromkeys(tensors if tensors is not None else twin.outputs))
    agreements = _compare(twin, graph, feeds, wanted, tolerance)
    if not agreements:
        raise TwinMismatch(
            f"nothing was compared: the twin computes none of {listing(wanted) or 'no tensors'}",
            "ask for tensors that the twin computes",
        )
    if all(a.ok for a in agreements):
        return agreements
    every = [name for name in twin.computed if name in graph.producer_of]
    located = _compare(twin, graph, feeds, list(dict.fromkeys((*every, *wanted))), tolerance)
    first = next((a for a in located if not a.ok), None) or next(a for a in agreements if not a.ok)
    node = graph.nodes[graph.producer_of[first.layer]] if first.layer in graph.producer_of else None
    made_by = f", made by {node.op_type} node {node.name!r}" if node is not None else ""
    where = f"the twin differs from onnxruntime at tensor {first.layer!r}{made_by}"
    if first.note:
        raise TwinMismatch(f"{where}: it {first.note}", "without the twin, use the onnxruntime side", located)
    raise TwinMismatch(
        f"{where} by {first.max_abs:.3g}, where {tolerance:g} of its scale {first.scale:.3g} is "
        f"{tolerance * first.scale:.3g}",
        f"a tolerance of {first.relative:.1g} would have passed it; without the twin, use the onnxruntime side",
        located,
    )


def _tensors(twin: Twin, feeds: Mapping[str, NDArray[Any]]) -> list[torch.Tensor]:
    anchor = twin.get_buffer("_anchor")
    given = []
    for name in twin.inputs:
        value = to_tensor(np.asarray(feeds[name])).to(anchor.device)
        given.append(value.to(anchor.dtype) if value.is_floating_point() else value)
    return given


def _compare(
    twin: Twin, graph: Graph, feeds: Mapping[str, NDArray[Any]], wanted: Sequence[str], tolerance: float
) -> list[Agreement]:
    """Agreements on those of `wanted` that the twin computes, in topological order."""
    feeds = {name: feeds[name] for name in twin.inputs}
    given = _tensors(twin, feeds)
    nodes, _ = graph.needed([n for n in wanted if n in graph.producer_of], twin.inputs)
    forced = {name for i in nodes if quantizes(graph.nodes[i]) for name in graph.nodes[i].output if name}
    mine: dict[str, NDArray[Any]] = {}
    with torch.no_grad():
        if not forced and set(wanted) <= set(twin.outputs):
            mine = {name: to_array(value) for name, value in twin(*given).items() if name in wanted}
            theirs = _onnxruntime(graph, feeds, list(mine)) if mine else {}
        else:
            reached = {*twin.computed, *twin.outputs}
            compared = [n for n in dict.fromkeys((*wanted, *forced)) if n in reached]
            theirs = _onnxruntime(graph, feeds, compared) if compared else {}
            mine = _traced(twin, given, theirs, forced)
    order = sorted(mine, key=lambda name: graph.producer_of.get(name, -1))
    shown = set(wanted)
    kept = [name for name in order if name in shown or name in forced]

    def judge(name: str, operands: float = 0.0) -> Agreement:
        step = 1.0 if name in forced and theirs[name].dtype.kind in "iu" else 0.0
        return compare_layer(name, theirs[name], mine[name], tolerance=tolerance, step=step, operands=operands)

    rows = [judge(name) for name in kept]
    # Bounds are proven only where a difference might be no more than a rounding.
    scales = find_operand_scales(graph, [row.layer for row in rows if not row.ok])
    return [row if row.ok else judge(row.layer, scales[row.layer]) for row in rows]


def _traced(
    twin: Twin, given: Sequence[torch.Tensor], theirs: Mapping[str, NDArray[Any]], forced: Collection[str]
) -> dict[str, NDArray[Any]]:
    """What the twin makes of the tensors in `theirs`; from a `forced` one it goes on with the value in `theirs`."""
    mine: dict[str, NDArray[Any]] = {}
    steps = twin.trace(*given)
    other: torch.Tensor | None = None
    while True:
        try:
            name, value = steps.send(other)
        except StopIteration:
            break
        other = None
        if name in theirs:
            mine[name] = to_array(value)
            if name in forced and mine[name].shape == theirs[name].shape:
                other = to_tensor(theirs[name]).to(value)
    rest = [name for name in theirs if name not in mine]  # outputs that are an input or a constant
    if rest:
        mine |= {name: to_array(value) for name, value in twin(*given).items() if name in rest}
    return mine


def quantizes(node: NodeProto) -> bool:
    """Whether a node rounds to integers, where the last bit of its input decides between two of them."""
    rounding = ("QuantizeLinear", "DynamicQuantizeLinear", "QGemm")
    return node.op_type in rounding or node.op_type.startswith("QLinear")


def _onnxruntime(graph: Graph, feeds: Mapping[str, NDArray[Any]], tensors: Sequence[str]) -> dict[str, NDArray[Any]]:
    from inspector.runtime import Sessions

    return Sessions(graph, provider="cpu").run_from(feeds, tensors)
