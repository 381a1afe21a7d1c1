"""Whether a part of the network does nothing on any ordinary picture."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import NodeProto

from inspector.auditing.limits import Limit, Limits
from inspector.auditing.registry import check
from inspector.auditing.result import MAX_FINDINGS, Finding, NotChecked, Verdict
from inspector.auditing.subject import Subject
from inspector.cam.ways import infer_fixed_shapes
from inspector.errors import InspectorError, listing
from inspector.graph import is_standard, operator_of

_LARGEST_RUN = 2**25
"""Elements that are kept of one run; where the tensors have more, it takes several runs."""

_UNKNOWN = 2**20
"""Elements that are expected of a tensor of unknown size."""

_NOTHING = 1e-20
"""What lies no farther from zero adds nothing to a score."""


@check(
    title="No part of the network sleeps",
    severity="warning",
    limits={"pictures": Limit(8, "random pictures that are tried", kind="whole", low=2, high=256)},
    remedy="Look at what wakes the node that is named: a trigger waits there, or a part that the training lost.",
)
def nothing_sleeps(subject: Subject, limits: Limits) -> Verdict:
    """Random pictures get different values from every node that computes with them, and no operand is without effect.

    A finding is a node that gives the same values for inputs that differ, or an operand of a sum, a maximum or a
    selection that changes nothing on any picture. A trigger that waits for its picture looks like this. So does what
    the training lost: a branch whose ReLU is always zero, a gate that is always shut or always open, a share that is
    smaller than the rounding of what it is added to. The check is on by default, and warns.
    """
    graph = subject.graph
    counted = subject.model.classifier is None and not graph.counted.isdisjoint(graph.outputs)
    if counted or subject.model.task in ("detect", "pose"):
        raise NotChecked("a detector that finds nothing gives the same for every picture", applies=False)
    watch = _Watch(subject)
    count = len(watch.nodes)
    if not count:
        raise NotChecked("no node computes anything of the picture that could sleep", applies=False)
    pictures = int(limits["pictures"] or 2)
    for picture in _make_clouds(subject, pictures):
        watch.look(picture)
        if not watch.nodes:
            break
    found = {node.output[0]: (node, text) for node in watch.nodes if (text := watch.explain(node))}
    if not found:
        return Verdict(f"{count} nodes give other values for other pictures, and each operand counts", 0, 0)
    findings = tuple(
        Finding(f"{node.op_type} {node.name or name!r} {text} on {pictures} random pictures", key=node.name or name)
        for name, (node, text) in found.items()
    )
    message = f"{len(findings)} nodes sleep: {listing([f.message for f in findings], 2)}"
    return Verdict(message, len(findings), 0, findings=findings[:MAX_FINDINGS])


@dataclass
class _Seen:
    """What a tensor was on the pictures so far."""

    digest: bytes = b""
    varies: bool = False

    def look(self, array: NDArray[Any]) -> None:
        """Take the values on one more picture."""
        if array.dtype.kind == "f":
            array = np.where(np.abs(array) <= _NOTHING, array.dtype.type(0), array)
        found = blake2b(np.ascontiguousarray(array).data, digest_size=16).digest()
        self.varies |= self.digest not in (b"", found)
        self.digest = found


@dataclass
class _Watch:
    """The nodes that may sleep, and what was seen of them on the pictures so far.

    Attributes:
        subject: What is audited.
        nodes: Those that may still sleep.
        sizes: Elements of a tensor by name, where they are known.
        seen: What each tensor was.
        winners: Operands that an elementwise node has handed on every time, by the node's output.
    """

    subject: Subject
    nodes: list[NodeProto] = field(init=False)
    sizes: Mapping[str, int] = field(init=False)
    seen: dict[str, _Seen] = field(default_factory=dict)
    winners: dict[str, set[str]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        model = self.subject.model
        tensor = model.tensor(np.zeros((*self.subject.picture_size(), 3), np.uint8))
        shapes = infer_fixed_shapes(self.subject.graph, model.input.name, tensor.shape)
        self.sizes = {name: math.prod(shape) for name, shape in shapes.items()}
        self.nodes = list(_find_nodes(self.subject))

    def read(self, node: NodeProto) -> list[str]:
        """The tensors that depend on the picture, of those that a node reads."""
        return [name for name in dict.fromkeys(node.input) if name in self.subject.graph.from_picture]

    def _ends(self) -> tuple[str, ...]:
        """What the network answers: where it has no answer, its parts say nothing."""
        classifier = self.subject.model.classifier
        return self.subject.graph.outputs if classifier is None else (classifier.scores,)

    def look(self, picture: NDArray[np.uint8]) -> None:
        """Take in one picture. Raises NotChecked where onnxruntime cannot run it."""
        model = self.subject.model
        tensor = model.tensor(picture)
        for nodes in self._part():
            names = list(dict.fromkeys(name for node in nodes for name in (node.output[0], *self.read(node))))
            try:
                values = model.run(tensor, list(dict.fromkeys((*names, *self._ends()))))
            except InspectorError as error:
                raise NotChecked(f"a random picture cannot be computed: {error.message}") from None
            for name in names:
                self.seen.setdefault(name, _Seen()).look(np.asarray(values[name]))
            for node in nodes:
                self._find_winners(node, values)
        self.nodes = [
            node for node in self.nodes if not self.seen[node.output[0]].varies or self.winners[node.output[0]]
        ]

    def _part(self) -> Iterator[list[NodeProto]]:
        part: list[NodeProto] = []
        total = 0
        for node in self.nodes:
            size = sum(self.sizes.get(name, _UNKNOWN) for name in (node.output[0], *self.read(node)))
            if part and total + size > _LARGEST_RUN:
                yield part
                part, total = [], 0
            part.append(node)
            total += size
        if part:
            yield part

    def _find_winners(self, node: NodeProto, values: Mapping[str, NDArray[Any]]) -> None:
        made = np.asarray(values[node.output[0]])
        operands = self.read(node)
        kept = self.winners.setdefault(node.output[0], set(operands) if _may_pass_over(node, operands) else set())
        for name in list(kept):
            operand = np.asarray(values[name])
            try:
                same = operand.dtype == made.dtype and np.array_equal(np.broadcast_to(operand, made.shape), made)
            except ValueError:  # it has more elements than what is made of it
                same = False
            if not same:
                kept.discard(name)

    def explain(self, node: NodeProto) -> str:
        """What a node does, as the end of a sentence; empty where nothing is wrong with it."""
        made = self.seen[node.output[0]]
        operands = self.read(node)
        if not made.varies:
            wakes = not _is_held(node) and any(self.seen[name].varies for name in operands)
            return "gives the same values" if wakes else ""
        lost = [name for name in operands if name not in self.winners[node.output[0]] and self.seen[name].varies]
        return f"passes over its operand {lost[0]!r}" if lost else ""


def _find_nodes(subject: Subject) -> Iterator[NodeProto]:
    """The nodes that the scores need and that may make the same of different pictures, or pass over an operand."""
    graph, classifier = subject.graph, subject.model.classifier
    needed, _ = graph.needed([classifier.scores] if classifier is not None else graph.outputs)
    guards: set[str] = set()
    for index in sorted(needed):
        node = graph.nodes[index]
        read = [name for name in node.input if name in graph.from_picture]
        if not is_standard(node) or not read or graph.counted.intersection((*read, node.output[0])):
            continue
        row = operator_of(node)
        # Whether a value is a number at all is asked for safety: no picture answers it otherwise.
        if (row.compares and len(set(node.input)) == 1) or all(name in guards for name in read):
            guards.update(node.output)
        elif row.elementwise and not guards.intersection(read):
            if not _is_held(node) or _may_pass_over(node, read):
                yield node
        elif (row.reduction or row.kind == "pool") and row.moves:
            yield node  # a maximum may always be that of a bound; a sum that never changes is one of shares


def _is_held(node: NodeProto) -> bool:
    """Whether it cannot begin to differ: what it makes the same of one picture, it makes the same of all."""
    row = operator_of(node)
    return row.affine or row.per_channel or row.requantizes


def _may_pass_over(node: NodeProto, operands: Sequence[str]) -> bool:
    row = operator_of(node)
    return row.elementwise and row.operands != 1 and len(operands) > 1 and not (row.compares or row.logical)


def _make_clouds(subject: Subject, count: int) -> Iterator[NDArray[np.uint8]]:
    """Pictures with structure of every size, of medium brightness, color and contrast, as photographs have them."""
    height, width = subject.picture_size()
    random = subject.random(17)
    for _ in range(count):
        total = np.zeros((height, width, 3))
        side, weight = 2, 1.0
        while side <= 2 * min(height, width):
            cells = random.normal(0, 1, (side, side, 3)) + random.normal(0, 1, (side, side, 1))
            rows, columns = (np.arange(size) * side // size for size in (height, width))
            total += weight * cells[rows[:, None], columns[None]]
            side, weight = side * 2, weight / 1.6
        total = (total - total.mean()) / total.std()
        yield np.clip(random.uniform(90, 160, 3) + random.uniform(25, 50) * total, 0, 255).astype(np.uint8)
