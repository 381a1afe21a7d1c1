"""Reductions. Axes come as an attribute (to opset 17, ReduceSum to 12) or as an input."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from inspector.twin.table import Node, Run, operator
from inspector.twin.types import WIDE_UNSIGNED

Reduction = Callable[[Tensor, list[int], bool], Tensor]


def _sum(x: Tensor, axes: list[int], keep: bool) -> Tensor:
    return x.sum(axes, keepdim=keep, dtype=x.dtype)


def _mean(x: Tensor, axes: list[int], keep: bool) -> Tensor:
    return x.mean(axes, keepdim=keep) if x.is_floating_point() else _through_double(_mean, x, axes, keep)


def _through_double(function: Reduction, x: Tensor, axes: list[int], keep: bool) -> Tensor:
    return function(x.to(torch.float64), axes, keep).to(x.dtype)


def _extreme(x: Tensor, axes: list[int], keep: bool, largest: bool) -> Tensor:
    if x.dtype == torch.bool:
        return _extreme(x.to(torch.uint8), axes, keep, largest).to(torch.bool)
    if x.dtype in WIDE_UNSIGNED:
        return _extreme(x.to(torch.int64), axes, keep, largest).to(x.dtype)
    if any(x.shape[axis] == 0 for axis in axes):
        # Over nothing: the neutral element, -inf or inf where the type has one.
        info = torch.finfo(x.dtype) if x.is_floating_point() else torch.iinfo(x.dtype)
        value = float("-inf" if largest else "inf") if x.is_floating_point() else info.min if largest else info.max
        return _sum(x, axes, keep).fill_(value)
    return x.amax(axes, keepdim=keep) if largest else x.amin(axes, keepdim=keep)


def _max(x: Tensor, axes: list[int], keep: bool) -> Tensor:
    return _extreme(x, axes, keep, True)


def _min(x: Tensor, axes: list[int], keep: bool) -> Tensor:
    return _extreme(x, axes, keep, False)


def _prod(x: Tensor, axes: list[int], keep: bool) -> Tensor:
    for axis in sorted((a % x.dim() for a in axes), reverse=True):
        x = x.prod(axis, keepdim=keep, dtype=x.dtype)
    return x


def _l1(x: Tensor, axes: list[int], keep: bool) -> Tensor:
    return _sum(x.abs(), axes, keep)


def _l2(x: Tensor, axes: list[int], keep: bool) -> Tensor:
    if not x.is_floating_point():
        return _through_double(_l2, x, axes, keep)
    norm: Tensor = torch.linalg.vector_norm(x, 2, axes, keepdim=keep)
    return norm


def _sum_square(x: Tensor, axes: list[int], keep: bool) -> Tensor:
    return _sum(x * x, axes, keep)


def _log_sum(x: Tensor, axes: list[int], keep: bool) -> Tensor:
    return _sum(x, axes, keep).log() if x.is_floating_point() else _through_double(_log_sum, x, axes, keep)


def _log_sum_exp(x: Tensor, axes: list[int], keep: bool) -> Tensor:
    if not x.is_floating_point():
        return _through_double(_log_sum_exp, x, axes, keep)
    return torch.logsumexp(x, axes, keepdim=keep)


def _reduce(node: Node, function: Reduction, axes_position: int | None) -> Run:
    keep = bool(node.get("keepdims", 1))
    noop = bool(node.get("noop_with_empty_axes", 0))
    fixed: list[int] | None = node.get("axes") if axes_position is None else node.integers(axes_position)

    def run(x: Tensor, given: Tensor | None = None) -> Tensor:
        axes = fixed if fixed is not None or given is None else given.tolist()
        if axes:
            return function(x, axes, keep)
        if noop:
            return function(x.unsqueeze(-1), [-1], False)
        if x.dim() == 0:
            return function(x.reshape(1), [0], False)
        return function(x, list(range(x.dim())), keep)

    return run


def _maker(function: Reduction, position: int | None) -> Callable[[Node], Run]:
    return lambda node: _reduce(node, function, position)


_REDUCTIONS: dict[str, Reduction] = {
    "ReduceL1": _l1,
    "ReduceL2": _l2,
    "ReduceLogSum": _log_sum,
    "ReduceLogSumExp": _log_sum_exp,
    "ReduceMax": _max,
    "ReduceMean": _mean,
    "ReduceMin": _min,
    "ReduceProd": _prod,
    "ReduceSum": _sum,
    "ReduceSumSquare": _sum_square,
}

for _name, _function in _REDUCTIONS.items():
    operator(_name)(_maker(_function, None))
    operator(_name, since=13 if _name == "ReduceSum" else 18, settings=(1,))(_maker(_function, 1))


@operator("ArgMax", "ArgMin")
def _arg(node: Node) -> Run:
    largest = node.op == "ArgMax"
    axis, keep = node.get("axis", 0), bool(node.get("keepdims", 1))
    last = bool(node.get("select_last_index", 0))
    pick: Callable[..., Tensor] = torch.argmax if largest else torch.argmin

    def run(x: Tensor) -> Tensor:
        if not last:
            return pick(x, axis, keepdim=keep)
        place: Tensor = x.shape[axis] - 1 - pick(x.flip(axis), axis, keepdim=keep)
        return place

    return run


@operator("CumSum", since=11, settings=(1,))
def _cum_sum(node: Node) -> Run:
    return _cumulative(node, lambda x, axis: x.cumsum(axis, dtype=x.dtype), 0)


@operator("CumProd", since=26, settings=(1,))
def _cum_prod(node: Node) -> Run:
    return _cumulative(node, lambda x, axis: x.cumprod(axis, dtype=x.dtype), 1)


def _cumulative(node: Node, function: Callable[[Tensor, int], Tensor], neutral: int) -> Run:
    exclusive, reverse = node.get("exclusive", 0), node.get("reverse", 0)

    def run(x: Tensor, axis_: Tensor) -> Tensor:
        axis = int(axis_.item())
        if reverse:
            x = x.flip(axis)
        if exclusive:
            first = torch.full_like(x.narrow(axis, 0, 1), neutral)
            x = torch.cat((first, x.narrow(axis, 0, x.shape[axis] - 1)), axis)
        y = function(x, axis)
        return y.flip(axis) if reverse else y

    return run
