"""What a run is going to do, layer by layer: the five steps made visible before anything is trained."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from exporters.planning.boundary import Boundary, find_first_node, find_float_initializers
from exporters.planning.dataset import Dataset
from exporters.planning.head import ClassifierHead
from exporters.planning.options import FineTuneOptions
from exporters.planning.places import place_norms
from inspector.errors import UsageError
from inspector.graph import Graph, node_inputs
from inspector.layers import Layer
from inspector.model import Model


@dataclass(frozen=True)
class PlannedLayer:
    """One layer with weights.

    Attributes:
        head: Peak learning rate while the head is trained; None where it is frozen.
        joint: Peak learning rate of the joint training, relative to the size of the weights when the run starts (of
            the head, at its random start); None where it is frozen.
    """

    name: str
    kind: str
    parameters: int
    head: float | None
    joint: float | None
    weights: tuple[str, ...]


@dataclass(frozen=True)
class FineTunePlan:
    """The whole plan.

    Attributes:
        boundary: First layer that the joint phase trains, None without one.
        kept: Tensors whose activations are stored.
        norms: What becomes of batch norms.
        counts: Pictures per class of each split.
    """

    base: str
    classes: tuple[str, ...]
    layers: tuple[PlannedLayer, ...]
    boundary: str | None
    kept: tuple[str, ...]
    norms: str
    counts: dict[str, list[int]]
    preprocess: dict[str, Any]
    options: dict[str, Any]

    def rates(self) -> dict[str, float]:
        """Share of the joint phase's peak rate by initializer name."""
        top = self.options["joint_rate"]
        return {name: layer.joint / top for layer in self.layers if layer.joint is not None for name in layer.weights}

    def trained(self, phase: str) -> frozenset[str]:
        """Names of the initializers that learn in the phase ``head`` or ``joint``; all others are frozen."""
        return frozenset(name for x in self.layers if getattr(x, phase) is not None for name in x.weights)

    def to_json(self) -> dict[str, Any]:
        """Everything, for plan.json."""
        return asdict(self)

    def text(self) -> str:
        """Everything, for people."""
        return _text(self)


# Long: a good part is the description of its parameters.
def make_plan(
    base: str, model: Model, head: ClassifierHead, boundary: Boundary | None, dataset: Dataset, options: FineTuneOptions
) -> FineTunePlan:
    """The plan of a run.

    Args:
        base: The base.
        model: The base with its new head, as it is written into the run folder.
        head: Its head.
        boundary: Where the trained part begins.
        dataset: The pictures.
        options: What was asked for.
    """
    graph = model.graph
    starts = {layer.name: find_first_node(graph, layer) for layer in model.layers}
    owned = _owned(graph, model.layers)
    frozen_too = find_float_initializers(graph, range(boundary.start if boundary else head.node))
    unfrozen = [x.name for x in model.layers if boundary and starts[x.name] >= boundary.start and owned[x.name]]
    rows = []
    for layer in model.layers:
        weights = owned[layer.name]
        is_head = head.weight in weights
        if not weights:
            continue
        joint = None
        if boundary is not None and (is_head or layer.name in unfrozen):
            depth = unfrozen.index(layer.name) / max(1, len(unfrozen) - 1) if layer.name in unfrozen else 1.0
            joint = options.joint_rate * options.lowest_rate ** (1 - depth)
        own = tuple(name for name in weights if is_head or joint is None or name not in frozen_too)
        rows.append(
            PlannedLayer(
                layer.name, layer.kind, sum(weights.values()), options.head_rate if is_head else None, joint, own
            )
        )
    named = {name for weights in owned.values() for name in weights}
    trained = find_float_initializers(graph, range(boundary.start, len(graph.nodes))) if boundary else {}
    between = {n: c for n, c in trained.items() if n not in named | frozen_too.keys() and graph.initializers[n].dims}
    if between:
        rows.append(PlannedLayer("between layers", "", sum(between.values()), None, options.joint_rate, tuple(between)))
    norms = sum(node.op_type == "BatchNormalization" for node in graph.nodes)
    said = (
        f"{norms} batch norms, all in inference mode in both phases: their statistics stay"
        if norms
        else "none in the graph: they are folded into the convolutions, so their statistics stay"
    )
    if boundary is not None and options.norms == "batch":
        free = {n for row in rows if row.joint is not None for n in row.weights}
        if not any({p.weight, p.bias} <= free for p in place_norms(graph, boundary.start, head.node)):
            raise UsageError(
                f"norms batch: from {boundary.first.name!r} on there is no convolution with a bias and no norm",
                "unfreeze more, or leave --norms kept",
            )
        said += "; others behind the unfrozen convolutions in the joint phase, folded into them in the end"
    return FineTunePlan(
        base,
        dataset.classes,
        tuple(rows),
        boundary.first.name if boundary else None,
        (*(boundary.tensors if boundary else ()), head.features),
        said,
        dataset.counts(),
        model.preprocess.to_json(),
        options.to_json(),
    )


def _owned(graph: Graph, layers: Sequence[Layer]) -> dict[str, dict[str, int]]:
    """The weights of each layer: those read on the way from the layers before it, each counted once."""
    ends = {layer.tensor for layer in layers}
    taken: set[int] = set()
    named: set[str] = set()
    found: dict[str, dict[str, int]] = {}
    for layer in layers:
        stack, nodes = [layer.tensor], []
        while stack:
            index = graph.producer_of.get(stack.pop())
            if index is None or index in taken:
                continue
            taken.add(index)
            nodes.append(index)
            stack += [n for n in node_inputs(graph.nodes[index]) if n not in ends]
        weights = find_float_initializers(graph, sorted(nodes))
        found[layer.name] = {n: c for n, c in weights.items() if n not in named and graph.initializers[n].dims}
        named.update(weights)
    return found


def _text(plan: FineTunePlan) -> str:
    options = plan.options
    total = sum(x.parameters for x in plan.layers)
    in_head = sum(x.parameters for x in plan.layers if x.head is not None)
    in_joint = sum(x.parameters for x in plan.layers if x.joint is not None)
    width = max(24, *(len(x.name) for x in plan.layers))
    lines = [f"base        {plan.base}, {total:,} parameters"]
    lines.append(f"classes     {len(plan.classes)}: {_some(plan.classes)}")
    for split, counts in plan.counts.items():
        if sum(counts):
            lines.append(f"{split:<11} {sum(counts):,} pictures: {_some(list(map(str, counts)), 12)}")
    size = plan.preprocess["size"]
    lines.append(
        f"preprocess  {size[0]}x{size[1]}, {plan.preprocess['resize']} {plan.preprocess['filter']}, "
        f"{plan.preprocess['colour']}, scale {plan.preprocess['scale']:.6g}, mean {_numbers(plan.preprocess['mean'])}, "
        f"std {_numbers(plan.preprocess['std'])}"
    )
    lines.append(
        f"versions    {options['versions']} of each training picture: {', '.join(options['augment']) or 'none'}"
    )
    lines.append(f"batch norms {plan.norms}")
    lines += [
        "",
        f"1 new head           {next((x.name for x in plan.layers if x.head is not None), 'head')} for "
        f"{len(plan.classes)} classes, {in_head:,} parameters",
        f"2 base frozen        {total - in_head:,} parameters; its features are computed once",
        f"3 head trained       {options['head_epochs']} epochs at most, rate {options['head_rate']:g}, "
        f"{options['schedule']}",
    ]
    lowest = options["joint_rate"] * options["lowest_rate"]
    if plan.boundary is None:
        lines += ["4 nothing unfrozen", "5 no joint training"]
    else:
        lines += [
            f"4 unfrozen           from {plan.boundary} on, {in_joint:,} parameters with the head; what comes before "
            "is computed once",
            f"5 joint training     {options['joint_epochs']} epochs at most, {options['schedule']}, rate relative to "
            f"each weight at the start: {options['joint_rate']:g} at the head to {lowest:g} at {plan.boundary}",
        ]
    lines += ["", f"{'layer':<{width}}  {'kind':<10}  {'parameters':>10}  {'head phase':>10}  {'joint phase':>11}"]
    lines.append("-" * len(lines[-1]))
    for x in plan.layers:
        rates = ["frozen" if r is None else f"{r:.2g}" for r in (x.head, x.joint)]
        lines.append(f"{x.name:<{width}}  {x.kind:<10}  {x.parameters:>10,}  {rates[0]:>10}  {rates[1]:>11}")
    return "\n".join(lines)


def _some(names: Sequence[str], limit: int = 8) -> str:
    return ", ".join(names[:limit]) + (f" and {len(names) - limit} more" if len(names) > limit else "")


def _numbers(values: Sequence[float]) -> str:
    return "/".join(f"{v:.3g}" for v in values)
