"""How many weights the network has."""

from __future__ import annotations

import math

from onnx import TensorProto

from inspector.auditing.checks.cost._budget import Budget, judge_budget
from inspector.auditing.limits import Limit, Limits
from inspector.auditing.registry import check
from inspector.auditing.result import NotChecked, Verdict
from inspector.auditing.subject import Subject
from inspector.graph import FLOAT8_TYPES, FLOAT_TYPES, SUB_BYTE_TYPES, operator_of
from inspector.model import Model

_WEIGHTS = (
    FLOAT_TYPES
    | FLOAT8_TYPES
    | SUB_BYTE_TYPES
    | {TensorProto.INT8, TensorProto.UINT8, TensorProto.INT16, TensorProto.UINT16}
)
"""Floats of all widths, and integers up to 16 bits: 32 and 64 bits hold shapes, and biases that count below."""


@check(
    title="The number of weights keeps to its budget",
    limits={
        "max_millions": Limit(None, "most weights", unit="millions", low=0),
        "max_ratio": Limit(1.1, "largest ratio to the reference's", low=0),
    },
    remedy="Use fewer channels or a smaller head, or raise the budget if the growth is meant.",
)
def parameters(subject: Subject, limits: Limits) -> Verdict:
    """Elements of all weight tensors, whatever their width; scales and zero points of quantisation left out."""
    return judge_budget(subject, limits, Budget("parameters", count_parameters, "weights", 2))


def count_parameters(model: Model) -> int:
    """Elements of weight tensors.

    Raises:
        NotChecked: There are none.
    """
    graph = model.graph
    settings = {name for node in graph.nodes if operator_of(node).requantizes for name in node.input[1:]}
    biases = {node.input[0] for node in graph.nodes if node.op_type == "DequantizeLinear"}
    total: int = sum(
        math.prod(tensor.dims)
        for name, tensor in graph.initializers.items()
        if name not in settings
        and (tensor.data_type in _WEIGHTS or (tensor.data_type == TensorProto.INT32 and name in biases))
    )
    if not total:
        raise NotChecked("the file has no weights")
    return total
