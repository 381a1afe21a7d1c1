"""The rule of an operator that has none of its own, by what its row says."""

from __future__ import annotations

from typing import TYPE_CHECKING

from inspector.graph import operator_of
from inspector.slimming.rules.elements import pass_elements
from inspector.slimming.rules.pooling import pass_maps, pass_reduction

if TYPE_CHECKING:
    from onnx import NodeProto

    from inspector.slimming.walk import Rule


def find_family_rule(node: NodeProto) -> Rule | None:
    """The rule that the row of a node's operator asks for; None where it says too little."""
    row = operator_of(node)
    if row.elementwise and not row.integer and not row.compares and not row.logical:
        return pass_elements
    if row.channelwise:
        return pass_maps
    return pass_reduction if row.reduction and not row.positions else None
