"""Pools: torch's own where it has the node's form, windows spelled out where not (odd pads, dilated means, Lp)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from inspector.twin.operators.windows import Pairs, padded, pads_for
from inspector.twin.table import Node, NotSupported, Run, operator

_MAX: dict[int, Callable[..., Any]] = {1: F.max_pool1d, 2: F.max_pool2d, 3: F.max_pool3d}
_MEAN: dict[int, Callable[..., Tensor]] = {1: F.avg_pool1d, 2: F.avg_pool2d, 3: F.avg_pool3d}


class Pool:
    """The attributes that all pools share, decoded; and where their windows lie."""

    def __init__(self, node: Node) -> None:
        self.kernel: list[int] = list(node.need("kernel_shape"))
        self.rank = len(self.kernel)
        self.strides: list[int] = list(node.get("strides") or [1] * self.rank)
        self.dilations: list[int] = list(node.get("dilations") or [1] * self.rank)
        self.ceil = bool(node.get("ceil_mode", 0))
        self.same = node.get("auto_pad", "NOTSET") in ("SAME_UPPER", "SAME_LOWER")
        self.extent = [(k - 1) * d + 1 for k, d in zip(self.kernel, self.dilations, strict=True)]
        self.pads = pads_for(node, self.rank, self.extent, self.strides)

    def native(self, pads: Pairs, halves: Sequence[int]) -> bool:
        """Whether torch's own pools take these pads: symmetric, and at most half the window."""
        return all(before == after and 2 * before <= half for (before, after), half in zip(pads, halves, strict=True))

    def windows(self, x: Tensor, pads: Pairs) -> Pairs:
        """The pads that make the windows tile the tensor exactly, ceil_mode's last window included.

        The end may be negative: elements that no window reads.
        """
        exact = []
        for i, (before, after) in enumerate(pads):
            size = x.shape[2 + i]
            span = size + before + after - self.extent[i]
            # With SAME the output size is ceil(size / stride), which the pads give already when rounding down.
            count = (-(-span // self.strides[i]) if self.ceil and not self.same else span // self.strides[i]) + 1
            if self.ceil and not self.same and (count - 1) * self.strides[i] >= size + before:
                count -= 1  # a window that would start in the padding at the end does not count
            exact.append((before, (count - 1) * self.strides[i] + self.extent[i] - size - before))
        return exact

    def unfolded(self, x: Tensor) -> Tensor:
        """(N, C, *outputs, *kernel): the windows of an already padded x, as a view."""
        for i in range(self.rank):
            x = x.unfold(2 + i, self.extent[i], self.strides[i])
        index: tuple[Any, ...] = (..., *(slice(None, None, d) for d in self.dilations))
        return x[index]

    @property
    def axes(self) -> tuple[int, ...]:
        """The window's axes in the result of `unfolded`."""
        return tuple(range(-self.rank, 0))


@operator("MaxPool")
def _max_pool(node: Node) -> Run:
    pool = Pool(node)
    if node.wants(1):
        return _max_pool_with_indices(node, pool)
    native = _MAX.get(pool.rank)
    halves = pool.extent

    def run(x: Tensor) -> Tensor:
        if not x.is_floating_point():
            return run(x.to(torch.float64)).to(x.dtype)
        pads = pool.pads(x)
        if native is not None and not pool.same and pool.native(pads, halves):
            return native(x, pool.kernel, pool.strides, [p[0] for p in pads], pool.dilations, pool.ceil)  # type: ignore[no-any-return]
        x = padded(x, pool.windows(x, pads), float("-inf"))
        if native is not None:
            return native(x, pool.kernel, pool.strides, 0, pool.dilations)  # type: ignore[no-any-return]
        return pool.unfolded(x).amax(pool.axes)

    return run


def _max_pool_with_indices(node: Node, pool: Pool) -> Run:
    column_major = bool(node.get("storage_order", 0))
    if pool.rank not in _MAX:
        raise NotSupported(f"the indices of a maximum pool over {pool.rank} axes")

    def run(x: Tensor) -> tuple[Tensor, Tensor]:
        values = x if x.is_floating_point() else x.to(torch.float64)
        pads = pool.windows(x, pool.pads(x))
        y, flat = _MAX[pool.rank](
            padded(values, pads, float("-inf")),
            pool.kernel,
            pool.strides,
            0,
            pool.dilations,
            return_indices=True,
        )
        sizes = [s + a + b for s, (a, b) in zip(x.shape[2:], pads, strict=True)]
        places: list[Tensor] = []
        for size, (before, _) in zip(reversed(sizes), reversed(pads), strict=True):
            places.insert(0, flat % size - before)
            flat = flat // size
        # Indices count through the whole tensor, batch and channels included.
        index = torch.zeros_like(flat)
        order = range(pool.rank - 1, -1, -1) if column_major else range(pool.rank)
        for i in order:
            index = index * x.shape[2 + i] + places[i]
        plane = torch.arange(x.shape[0] * x.shape[1], device=x.device).reshape(*x.shape[:2], *[1] * pool.rank)
        return y.to(x.dtype), index + plane * x.shape[2:].numel()

    return run


@operator("MaxUnpool", since=9, settings=(2,))
def _max_unpool(node: Node) -> Run:
    kernel = node.need("kernel_shape")
    rank = len(kernel)
    strides = node.get("strides") or [1] * rank
    pads = node.get("pads") or [0] * (2 * rank)

    def run(x: Tensor, index: Tensor, shape: Tensor | None = None) -> Tensor:
        natural = [(x.shape[2 + i] - 1) * strides[i] - pads[i] - pads[rank + i] + kernel[i] for i in range(rank)]
        sizes = [*x.shape[:2], *natural] if shape is None else shape.tolist()
        # The indices count through the tensor of the natural size, even when a larger one is asked for.
        places: list[Tensor] = []
        for size in reversed(natural):
            places.insert(0, index % size)
            index = index // size
        flat = index
        for place, size in zip(places, sizes[2:], strict=True):
            flat = flat * size + place
        out = x.new_zeros(sizes)
        return out.flatten().index_put((flat.flatten(),), x.flatten()).reshape(sizes)

    return run


@operator("AveragePool")
def _average_pool(node: Node) -> Run:
    return average_pool(node)


def average_pool(node: Node) -> Run:
    """The closure (x) of an AveragePool node."""
    pool = Pool(node)
    include = bool(node.get("count_include_pad", 0))
    native = _MEAN.get(pool.rank) if all(d == 1 for d in pool.dilations) else None

    def run(x: Tensor) -> Tensor:
        if not x.is_floating_point():
            return run(x.to(torch.float64)).to(x.dtype)
        pads = pool.pads(x)
        if native is not None and not pool.same and pool.native(pads, pool.kernel):
            return native(x, pool.kernel, pool.strides, [p[0] for p in pads], pool.ceil, include)
        exact = pool.windows(x, pads)
        sums = pool.unfolded(padded(x, exact)).sum(pool.axes)
        counted = x.new_ones(1, 1, *x.shape[2:])
        if include:
            counted = padded(counted, pads, 1.0)
            exact = [(0, b - after) for (_, b), (_, after) in zip(exact, pads, strict=True)]
        return sums / pool.unfolded(padded(counted, exact)).sum(pool.axes)

    return run


@operator("LpPool")
def _lp_pool(node: Node) -> Run:
    pool = Pool(node)
    p = float(node.get("p", 2))

    def run(x: Tensor) -> Tensor:
        exact = pool.windows(x, pool.pads(x))
        return _root(pool.unfolded(padded(x, exact)).abs().pow(p).sum(pool.axes), p)

    return run


def _root(sums: Tensor, p: float) -> Tensor:
    """The p-th root with a derivative of zero, not infinity, where the sum is zero."""
    if p == 1:
        return sums
    safe = torch.where(sums > 0, sums, torch.ones_like(sums))
    return torch.where(sums > 0, safe.pow(1 / p), torch.zeros_like(sums))


def _spatial(x: Tensor) -> tuple[int, ...]:
    return tuple(range(2, x.dim()))


@operator("GlobalAveragePool")
def _global_average(node: Node) -> Run:
    return lambda x: x.mean(_spatial(x), keepdim=True)


@operator("GlobalMaxPool")
def _global_max(node: Node) -> Run:
    return lambda x: x.amax(_spatial(x), keepdim=True)


@operator("GlobalLpPool")
def _global_lp(node: Node) -> Run:
    p = float(node.get("p", 2))
    return lambda x: _root(x.abs().pow(p).sum(_spatial(x), keepdim=True), p)
