"""Receptive fields: which pixels of the input a position of a layer can see, by arithmetic on the graph alone.

Each spatial axis of a tensor is followed from the input as an affine interval: position ``p`` sees the input pixels
``jump * p + low`` to ``jump * p + high``. Convolutions and pools widen it, strides multiply the jump, a residual add
or a concat takes the union, elementwise operators pass it on, and what looks at a whole map (a global pool, a flatten,
attention) sees everything.

The arithmetic is that of Araujo, Norris & Sim, "Computing Receptive Fields of Convolutional Neural Networks"
(Distill, 2019), written for ONNX operators. No torch and no onnxruntime.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import inspector.receptive.arrange  # noqa: F401  its rules are registered by the import
from inspector.graph import Graph, operator_of
from inspector.receptive.combine import combine_elements, reduce_axes
from inspector.receptive.reach import Pair
from inspector.receptive.walk import RULES, FieldWalk, mix_places
from inspector.receptive.windows import slide_window

if TYPE_CHECKING:
    from onnx import NodeProto

    from inspector.model import Model


@dataclass(frozen=True)
class ReceptiveField:
    """What one position of a layer can see of the input.

    Attributes:
        size: (height, width) in input pixels; None where a position sees the whole picture.
        jump: (y, x), input pixels from one position to the next.
        first: (y, x), the first input pixel that position (0, 0) sees; negative where the network pads.
        last: (y, x), the last one. Both may lie between pixels behind a layer that enlarges.
        everything: Something at this position depends on the whole picture as well, as behind a squeeze-and-excitation
            gate or an instance norm; `size` is then that of the part that does not.
    """

    size: tuple[int, int] | None
    jump: tuple[float, float]
    first: tuple[float, float]
    last: tuple[float, float]
    everything: bool

    def box(self, position: tuple[int, int], picture: tuple[int, int]) -> tuple[int, int, int, int]:
        """(left, top, right, bottom) in input pixels that `position` (y, x) sees; it may reach beyond the picture.

        Args:
            position: (row, column) in the layer.
            picture: (H, W) of the input, which is the answer where a position sees everything.
        """
        if self.size is None:
            return 0, 0, picture[1], picture[0]
        moved = [j * p for j, p in zip(self.jump, position, strict=True)]
        top, left = (math.ceil(m + f - 1e-6) for m, f in zip(moved, self.first, strict=True))
        bottom, right = (math.floor(m + e + 1e-6) + 1 for m, e in zip(moved, self.last, strict=True))
        return left, top, right, bottom


def compute_receptive_field(model: Model, tensor: str) -> ReceptiveField:
    """The receptive field of one tensor of `model`; see :func:`compute_receptive_fields`."""
    return compute_receptive_fields(model.graph, [tensor], model.input.layout)[tensor]


def compute_receptive_fields(graph: Graph, tensors: Sequence[str], layout: str = "NCHW") -> dict[str, ReceptiveField]:
    """The receptive field of each of some tensors.

    Operators that nothing is known about count as seeing everything, so a field is never too small; behind a Resize it
    may be a pixel or two too large.

    Args:
        graph: The graph.
        tensors: Names of tensors.
        layout: Of the graph's input, NCHW or NHWC.

    Returns:
        Tensor name -> its receptive field.
    """
    walk = FieldWalk(graph, tensors, layout, _pass_node)
    return {name: _field_of(walk.reach_of(name)) for name in tensors}


def _pass_node(walk: FieldWalk, node: NodeProto) -> Pair:
    """What the outputs of a node see."""
    operator = operator_of(node)
    if operator.elementwise:
        return combine_elements(walk, node)
    if operator.window:
        return slide_window(walk, node)
    if node.op_type in RULES:
        try:
            return RULES[node.op_type](walk, node)
        except (ValueError, IndexError, TypeError, ArithmeticError):  # axes that the tensor has not: a damaged node
            return mix_places(walk, node)
    if operator.reduction and operator.standard:
        return reduce_axes(walk, node)
    return mix_places(walk, node)


def _field_of(pair: Pair) -> ReceptiveField:
    everything = any(reach.everything for reach in pair)
    spans = [reach.span for reach in pair]
    if spans[0] is None or spans[1] is None:
        return ReceptiveField(None, (0.0, 0.0), (0.0, 0.0), (0.0, 0.0), everything)
    y, x = spans[0], spans[1]
    return ReceptiveField(
        size=(math.floor(y.high - y.low) + 1, math.floor(x.high - x.low) + 1),
        jump=(float(y.jump), float(x.jump)),
        first=(float(y.low), float(x.low)),
        last=(float(y.high), float(x.high)),
        everything=everything,
    )
