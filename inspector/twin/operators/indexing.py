"""Picking and placing: Gather*, Scatter*, NonZero, OneHot, TopK, Compress, Unique."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from inspector.twin.table import Node, Run, operator


def _wrapped(index: Tensor, size: int) -> Tensor:
    """Negative indices count from the end."""
    index = index.long()
    return torch.where(index < 0, index + size, index)


@operator("Gather", weights=(0,), loose_weights=True)
def _gather(node: Node) -> Run:
    axis = node.get("axis", 0)
    fixed = node.constant(1)
    if fixed is not None and fixed.dim() == 0:
        place = int(fixed.item())
        return lambda x, index: x.select(axis, place)
    positive = fixed is not None and bool((fixed >= 0).all())

    def run(x: Tensor, index: Tensor) -> Tensor:
        at = axis % x.dim()
        chosen = index if positive else _wrapped(index, x.shape[at])
        if chosen.dim() == 1:
            return x.index_select(at, chosen)
        flat = x.index_select(at, chosen.flatten())
        return flat.reshape(*x.shape[:at], *index.shape, *x.shape[at + 1 :])

    return run


@operator("GatherElements", since=11)
def _gather_elements(node: Node) -> Run:
    axis = node.get("axis", 0)
    return lambda x, index: torch.gather(x, axis, _wrapped(index, x.shape[axis]))


@operator("GatherND", since=11)
def _gather_nd(node: Node) -> Run:
    batch = node.get("batch_dims", 0)

    def run(x: Tensor, index: Tensor) -> Tensor:
        depth = index.shape[-1]
        places: list[Tensor] = []
        for i in range(batch):
            steps = torch.arange(x.shape[i], device=x.device)
            places.append(steps.reshape(*[1] * i, -1, *[1] * (index.dim() - 2 - i)))
        places += [_wrapped(index[..., i], x.shape[batch + i]) for i in range(depth)]
        return x[tuple(places)]

    return run


_REDUCE = {"add": "sum", "mul": "prod", "max": "amax", "min": "amin"}


@operator("Scatter", since=9)
@operator("ScatterElements", since=11)
def _scatter_elements(node: Node) -> Run:
    axis, reduction = node.get("axis", 0), node.get("reduction", "none")

    def run(x: Tensor, index: Tensor, updates: Tensor) -> Tensor:
        index = _wrapped(index, x.shape[axis])
        updates = updates.to(x.dtype)
        if reduction == "none":
            return x.scatter(axis, index, updates)
        if reduction == "add":
            return x.scatter_add(axis, index, updates)
        return x.scatter_reduce(axis, index, updates, _REDUCE[reduction])

    return run


def _linear_index(index: Tensor, sizes: Sequence[int]) -> Tensor:
    """(..., k) indices into the first k axes -> (...,) indices into those axes flattened."""
    flat = torch.zeros_like(index[..., 0])
    for i, size in enumerate(sizes):
        flat = flat * size + _wrapped(index[..., i], size)
    return flat.flatten()


@operator("ScatterND", since=11)
def _scatter_nd(node: Node) -> Run:
    reduction = node.get("reduction", "none")

    def run(x: Tensor, index: Tensor, updates: Tensor) -> Tensor:
        depth = index.shape[-1]
        flat = _linear_index(index.long(), x.shape[:depth])
        rows = x.reshape(x.shape[:depth].numel(), -1)
        new = updates.to(x.dtype).reshape(flat.shape[0], rows.shape[1])
        if reduction in ("none", "add"):
            out = rows.index_put((flat,), new, accumulate=reduction == "add")
        else:
            out = rows.scatter_reduce(0, flat[:, None].expand_as(new), new, _REDUCE[reduction])
        return out.reshape(x.shape)

    return run


@operator("TensorScatter", since=24)
def _tensor_scatter(node: Node) -> Run:
    axis, circular = node.get("axis", -2), node.get("mode", "linear") == "circular"

    def run(cache: Tensor, update: Tensor, start: Tensor | None = None) -> Tensor:
        at = axis % cache.dim()
        steps = torch.arange(update.shape[at], device=cache.device)
        first = torch.zeros(cache.shape[0], dtype=torch.int64, device=cache.device) if start is None else start
        place = first.reshape(-1, 1) + steps
        if circular:
            place = place % cache.shape[at]
        shape = [cache.shape[0]] + [1] * (cache.dim() - 1)
        shape[at] = update.shape[at]
        return cache.scatter(at, place.reshape(shape).expand_as(update), update)

    return run


@operator("NonZero", since=9)
def _non_zero(node: Node) -> Run:
    return lambda x: x.nonzero().t() if x.dim() else x.reshape(1).nonzero().t()


@operator("OneHot", since=9, settings=(1,))
def _one_hot(node: Node) -> Run:
    axis = node.get("axis", -1)

    def run(index: Tensor, depth_: Tensor, values: Tensor) -> Tensor:
        depth = int(depth_.reshape(-1)[0].item())
        at = axis % (index.dim() + 1)
        place = index.long()
        place = torch.where(place < 0, place + depth, place).unsqueeze(at)
        steps = torch.arange(depth, device=index.device).reshape(-1, *[1] * (index.dim() - at))
        return torch.where(place == steps, values[1], values[0])

    return run


@operator("TopK")
def _top_k_attribute(node: Node) -> Run:
    return _top_k(node, node.need("k"))


@operator("TopK", since=10, settings=(1,))
def _top_k_input(node: Node) -> Run:
    fixed = node.integers(1)
    return _top_k(node, fixed[0] if fixed else None)


def _top_k(node: Node, fixed: int | None) -> Run:
    axis, largest = node.get("axis", -1), bool(node.get("largest", 1))

    def run(x: Tensor, count: Tensor | None = None) -> tuple[Tensor, Tensor]:
        k = fixed if fixed is not None or count is None else int(count.item())
        # A stable sort, not topk: of equal values ONNX takes the ones with the lower index.
        values, index = torch.sort(x, dim=axis, descending=largest, stable=True)
        return values.narrow(axis, 0, k or 0), index.narrow(axis, 0, k or 0)

    return run


@operator("Compress", since=9)
def _compress(node: Node) -> Run:
    axis = node.get("axis")

    def run(x: Tensor, condition: Tensor) -> Tensor:
        chosen = condition.nonzero().flatten()
        return x.flatten()[chosen] if axis is None else x.index_select(axis, chosen)

    return run


@operator("Unique", since=11)
def _unique(node: Node) -> Run:
    axis, ordered = node.get("axis"), bool(node.get("sorted", 1))

    def run(x: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        values, inverse, counts = torch.unique(x, return_inverse=True, return_counts=True, dim=axis)
        along, places = 0 if axis is None else axis, inverse.flatten()
        order = torch.arange(places.numel(), device=x.device)
        first = torch.full_like(counts, places.numel()).scatter_reduce(0, places, order, "amin")
        if not ordered:  # in the order of their first appearance
            rank = first.argsort()
            values, counts, first = values.index_select(along, rank), counts[rank], first[rank]
            places = rank.argsort()[places]
        return values, first, places, counts

    return run


@operator("ReverseSequence", since=10)
def _reverse_sequence(node: Node) -> Run:
    time, batch = node.get("time_axis", 0), node.get("batch_axis", 1)

    def run(x: Tensor, lengths: Tensor) -> Tensor:
        steps = torch.arange(x.shape[time], device=x.device)
        place = torch.where(steps < lengths[:, None], lengths[:, None] - 1 - steps, steps)
        place = place if batch < time else place.t()
        shape = [1] * x.dim()
        shape[time], shape[batch] = x.shape[time], x.shape[batch]
        return torch.gather(x, time, place.reshape(shape).expand_as(x))

    return run
