"""The gradient of an output of a network with respect to one of its tensors, written as nodes behind the network."""

from __future__ import annotations

from collections.abc import Mapping

import exporters.attaching.rules  # noqa: F401  the rules are registered by the import
from exporters.attaching.rule import EMIT_RULES, BackStep, EmitRule, find_emit_rule
from exporters.attaching.sizes import TensorSizes
from exporters.attaching.writer import GraphWriter
from inspector.errors import NotComputable, listing
from inspector.graph import attributes
from inspector.reverse import Head


def list_steps(write: GraphWriter, sizes: TensorSizes, head: Head) -> list[tuple[BackStep, EmitRule | None]]:
    """For each node of the way from a tensor to an output the step back and its rule, None where there is none."""
    steps = [
        BackStep(node, tuple(name in head.moving for name in node.input), write, sizes, attributes(node))
        for node in (head.graph.nodes[i] for i in head.path)
    ]
    return [(step, find_emit_rule(step)) for step in steps]


def check_covered(write: GraphWriter, sizes: TensorSizes, head: Head, what: str, hint: str = "") -> None:
    """Raise NotComputable, with their names, where operators have no derivative as nodes."""
    missing = {step.node.op_type: step.node for step, rule in reversed(list_steps(write, sizes, head)) if rule is None}
    # Of an operator that has a rule it is the form of a node that has none, such as a place that is computed.
    unknown = [
        f"{name} in the form that {node.name or node.output[0]!r} has" if name in EMIT_RULES else name
        for name, node in reversed(missing.items())
    ]
    if unknown:
        raise NotComputable(
            f"{what} needs the gradient of {listing(unknown, 6)}, which cannot be written as nodes",
            hint or "choose a layer behind it with --layer",
        )


def emit_gradient(write: GraphWriter, sizes: TensorSizes, heads: Mapping[str, str], head: Head) -> str | None:
    """Write the gradient of what is explained with respect to the tensor that a head begins with.

    Args:
        write: Where to.
        sizes: The shapes of the network's tensors.
        heads: Output tensor -> the derivative of what is explained with respect to it.
        head: The way from the tensor to these outputs.

    Returns:
        The name of the gradient, float32 in the shape of the tensor; None where nothing leads there.
    """
    gradients: dict[str, str] = dict(heads)
    for step, rule in reversed(list_steps(write, sizes, head)):
        outputs = tuple(gradients.pop(name, None) for name in step.node.output)
        first = next((part for part in outputs if part is not None), None)
        if first is None or rule is None:
            continue
        here = BackStep(step.node, step.moving, write, sizes, step.settings, outputs)
        for name, moves, part in zip(step.node.input, step.moving, rule.emit(here, first), strict=False):
            if moves and part is not None:
                gradients[name] = write.emit("Add", gradients[name], part) if name in gradients else part
    return gradients.get(head.layer)
