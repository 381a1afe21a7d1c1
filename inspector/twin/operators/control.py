"""Constant, and the place of If in the table: its branches are the builder's business."""

from __future__ import annotations

import torch
from torch import Tensor

from inspector.twin.table import Node, NotSupported, Run, operator


@operator("Constant")
def _constant(node: Node) -> Run:
    value = node.get("value")
    for name, dtype in (
        ("value_float", torch.float32),
        ("value_floats", torch.float32),
        ("value_int", torch.int64),
        ("value_ints", torch.int64),
    ):
        if node.get(name) is not None:
            value = torch.tensor(node.get(name), dtype=dtype)
    if value is None:
        raise NotSupported("a constant of strings or in sparse form")
    fixed: Tensor = value
    return lambda: fixed


@operator("If", settings=(0,))
def _if(node: Node) -> Run:
    def run(condition: Tensor) -> Tensor:
        raise AssertionError("the builder lays out the branches")

    return run
