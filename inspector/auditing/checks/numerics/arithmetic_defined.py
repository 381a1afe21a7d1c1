"""Whether the graph's own arithmetic allows a division by zero, or a root or logarithm of a negative number."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import NodeProto, TensorProto

from inspector.auditing.graph_queries import is_half_precision
from inspector.auditing.limits import Limits
from inspector.auditing.registry import check
from inspector.auditing.result import MAX_FINDINGS, Finding, NotChecked, Verdict, Where
from inspector.auditing.subject import Subject
from inspector.errors import InspectorError, listing
from inspector.graph import attributes, is_standard, operator_of
from inspector.layers.layout import infer_shapes, infer_values
from inspector.tasks.ranges import Range, find_ranges

_HALF = 65504.0
"""The largest number of half precision."""


@dataclass(frozen=True)
class _Danger:
    """A node, the tensor that it must not be given some values of, and which these are."""

    node: NodeProto
    tensor: str
    low: float = -math.inf
    high: float = math.inf
    nonzero: bool = False

    @property
    def name(self) -> str:
        return f"{self.node.op_type} {self.node.name or self.node.output[0]!r}"

    def is_excluded_by(self, found: Range) -> bool:
        """Whether no picture can give it what it must not be given."""
        slack = 1e-6 * max(abs(x) for x in (found.low, found.high, 0.0) if math.isfinite(x))
        inside = found.low >= self.low - slack and found.high <= self.high + slack
        return inside and not (self.nonzero and found.low <= 0 <= found.high)

    def is_allowed_by(self, found: Range) -> bool:
        """Whether the arithmetic gives it that, as far as an interval can prove it.

        An interval that is not exact is wider than what comes. Touching zero is then no proof, since lengths and sums
        of positive numbers do; nor is a large upper end. But what may become negative by its arithmetic has no root,
        and no network that is meant well divides by what changes its sign.
        """
        if found.exact:
            return True
        if not (math.isfinite(found.low) and math.isfinite(found.high)):
            return False
        if (self.low, self.high) == (0, math.inf):
            return found.low < 0
        return self.nonzero and found.low < 0 < found.high


@check(
    title="No division by zero, and no root or logarithm of a negative number",
    remedy="Look at the node that is named: an epsilon, a clip or an absolute value keeps what it is given from zero.",
)
def arithmetic_defined(subject: Subject, limits: Limits) -> Verdict:
    """The intervals that the picture's range allows, followed to every division, root, logarithm and power.

    Where the interval alone proves nothing, pictures of every level of each channel are run. Overflow of half precision
    is looked for in the same way, and no stored variance is below zero.
    """
    dangers = list(_find_dangers(subject))
    halves = list(_find_halves(subject))
    tensors = list(dict.fromkeys(danger.tensor for danger in dangers + halves))
    found = find_ranges(subject.graph, tensors, infer_shapes(subject.graph), _know_inputs(subject)) if tensors else {}
    # Of other intervals in half precision nothing is known before a layer is infinite, which is another check's matter.
    dangers += [danger for danger in halves if found[danger.tensor].exact]
    left = [danger for danger in dangers if not danger.is_excluded_by(found[danger.tensor])]
    left = [danger for danger in left if not _is_variance(subject, danger.tensor)]
    findings = [
        Finding(_explain(danger, found[danger.tensor]), key=danger.name)
        for danger in left
        if danger.is_allowed_by(found[danger.tensor])
    ]
    variances = list(_find_variances(subject))
    try:
        findings += _run([danger for danger in left if not danger.is_allowed_by(found[danger.tensor])], subject)
    except NotChecked:
        if not findings and not variances:  # what is found without a run is found
            raise
    findings += variances
    if not findings:
        safe = len(dangers) - len(left)
        message = f"{len(dangers)} nodes are not defined for every number"
        message += f": {safe} cannot be given others, {len(left)} were given none" if dangers else ""
        return Verdict(message if dangers else "every node is defined for every number", 0, 0)
    message = f"{len(findings)} nodes may be given what they are not defined for: "
    return Verdict(
        message + listing([x.message for x in findings], 2), len(findings), 0, findings=tuple(findings[:MAX_FINDINGS])
    )


def _find_dangers(subject: Subject) -> Iterator[_Danger]:
    graph = subject.graph
    needed, _ = graph.needed(graph.outputs)
    for index in sorted(needed):
        node = graph.nodes[index]
        row = operator_of(node)
        if not is_standard(node) or not any(name in graph.from_picture for name in node.input):
            continue
        first = node.input[0]
        if row.nonzero is not None and node.input[row.nonzero] in graph.from_picture:
            yield _Danger(node, node.input[row.nonzero], *row.valid, nonzero=True)
        elif row.valid != (-math.inf, math.inf):
            yield _Danger(node, first, *row.valid)
        elif node.op_type == "Pow" and first in graph.from_picture and node.input[1] in graph.initializers:
            powers = np.asarray(graph.weight(node.input[1]))
            whole = bool((powers == np.rint(powers)).all())
            if not whole or (powers < 0).any():
                yield _Danger(node, first, -math.inf if whole else 0.0, nonzero=bool((powers < 0).any()))
        elif node.op_type == "Cast" and attributes(node).get("to") == TensorProto.FLOAT16:
            yield _Danger(node, first, -_HALF, _HALF)


def _find_halves(subject: Subject) -> Iterator[_Danger]:
    """What each node gives in half precision, where the graph computes so; a cast is among the others."""
    graph = subject.graph
    types = infer_values(graph) if is_half_precision(graph) else {}
    for node in graph.nodes if types else ():
        name = node.output[0]
        half = name in types and types[name].type.tensor_type.elem_type == TensorProto.FLOAT16
        if half and name in graph.from_picture and node.op_type != "Cast":
            yield _Danger(node, name, -_HALF, _HALF)


def _find_variances(subject: Subject) -> Iterator[Finding]:
    """Norms whose stored variance is below zero, which no mean of squares is: the epsilon may hide the root of it."""
    graph = subject.graph
    for node in graph.nodes:
        if node.op_type != "BatchNormalization" or node.input[4] not in graph.initializers:
            continue
        variance = np.asarray(graph.weight(node.input[4]))
        if (variance < 0).any():
            text = f"takes the root of a variance of {variance.min():.3g} in channel {int(variance.argmin())}"
            name = f"BatchNormalization {node.name or node.output[0]!r}"
            yield Finding(f"{name} {text}", key=name)


def _know_inputs(subject: Subject) -> dict[str, Range]:
    found = subject.model.preprocess
    ends = [(x * found.scale - m) / s for m, s in zip(found.mean, found.std, strict=True) for x in (0, 255)]
    return {subject.model.input.name: Range(min(ends), max(ends), exact=True)}


def _is_variance(subject: Subject, tensor: str) -> bool:
    """Whether it is a mean of squares less the square of a mean, which is never below zero, maybe with an epsilon."""
    graph = subject.graph

    def made_by(name: str, *ops: str) -> NodeProto | None:
        index = graph.producer_of.get(name)
        node = graph.nodes[index] if index is not None else None
        return node if node is not None and node.op_type in ops else None

    def is_square(name: str) -> bool:
        node = made_by(name, "Mul")
        power = made_by(name, "Pow")
        return (node is not None and node.input[0] == node.input[1]) or (
            power is not None and power.input[1] in graph.initializers and float(graph.weight(power.input[1])) == 2
        )

    lifted = made_by(tensor, "Add")
    if lifted is not None:
        tensor = next((x for x in lifted.input if x not in graph.initializers), tensor)
    difference = made_by(tensor, "Sub")
    if difference is None or not is_square(difference.input[1]):
        return False
    index = graph.producer_of.get(difference.input[0])
    mean = graph.nodes[index] if index is not None else None
    return mean is not None and operator_of(mean).kind == "pool" and is_square(mean.input[0])


def _explain(danger: _Danger, found: Range) -> str:
    span = f"between {found.low:.3g} and {found.high:.3g}"
    if danger.nonzero and found.low <= 0 <= found.high:
        what = "divides by" if danger.node.op_type != "Log" else "takes the logarithm of"
        return f"{danger.name} {what} what lies {span}"
    if danger.tensor == danger.node.output[0]:
        return f"{danger.name} gives what lies {span}, and half precision ends at {_HALF:g}"
    wanted = f"below {danger.low:g}" if found.low < danger.low else f"above {danger.high:g}"
    return f"{danger.name} is not defined {wanted}, and is given what lies {span}"


def _run(dangers: Sequence[_Danger], subject: Subject) -> list[Finding]:
    """Those that pictures of every level of each channel reach."""
    findings: list[Finding] = []
    waiting, seen = list(dangers), {danger.tensor: _Seen() for danger in dangers}
    for name, picture in _make_pictures(subject).items() if dangers else ():
        tensors = list(dict.fromkeys(danger.tensor for danger in waiting))
        if not tensors:
            break
        try:
            values = subject.model.run(subject.model.tensor(picture), tensors)
        except InspectorError as error:
            if findings:
                break
            raise NotChecked(f"a {name} picture cannot be computed: {error.message}") from None
        for tensor in tensors:
            seen[tensor].look(np.asarray(values[tensor]))
        for danger in list(waiting):
            what = seen[danger.tensor]
            if what.broken:
                waiting.remove(danger)  # the node before it is the one, or it is another check's matter
            elif what.low < danger.low or what.high > danger.high or (danger.nonzero and what.crossed):
                waiting.remove(danger)
                findings.append(
                    Finding(_explain(danger, Range(what.low, what.high)), where=Where(image=name), key=danger.name)
                )
    return findings


class _Seen:
    """What a tensor was on the pictures so far; `crossed` once an element was above zero and below it."""

    def __init__(self) -> None:
        self.low, self.high, self.broken, self.crossed = math.inf, -math.inf, False, False
        self.above: NDArray[np.bool_] | None = None
        self.below: NDArray[np.bool_] | None = None

    def look(self, array: NDArray[Any]) -> None:
        """Take the values on one more picture."""
        if (
            not array.size
            or not np.isfinite(array).all()
            or (self.above is not None and self.above.shape != array.shape)
        ):
            self.broken = True
            return
        self.low, self.high = min(self.low, float(array.min())), max(self.high, float(array.max()))
        self.above = array > 0 if self.above is None else self.above | (array > 0)
        self.below = array < 0 if self.below is None else self.below | (array < 0)
        self.crossed = bool((self.above & self.below).any())


def _make_pictures(subject: Subject) -> dict[str, NDArray[np.uint8]]:
    """The plain pictures; grey pictures in which one channel has each level; one picture of every color."""
    height, width = subject.picture_size()
    found = dict(subject.plain_pictures())
    for channel, color in enumerate(("red", "green", "blue")):
        for level in range(16, 256, 32):
            flat = np.full((height, width, 3), 128, np.uint8)
            flat[:, :, channel] = level
            found[f"{color} {level}"] = flat
    count = np.arange(height * width, dtype=np.int64) * 65536 * 256 // (height * width)
    every = np.stack([count >> 16, (count * 37 >> 8) & 255, (count * 91 >> 4) & 255], axis=1)
    found["every color"] = every.reshape(height, width, 3).astype(np.uint8)
    return found
