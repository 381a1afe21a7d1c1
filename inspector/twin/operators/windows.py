"""Padding arithmetic that convolutions and pools share."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from torch import Tensor
from torch.nn import functional as F

from inspector.twin.table import Node, NotSupported

Pairs = list[tuple[int, int]]


def torch_order(pads: Sequence[tuple[int, int]]) -> list[int]:
    """(before, after) per axis, first axis first, in the order of torch.nn.functional.pad."""
    return [side for pair in reversed(pads) for side in pair]


def same_pads(sizes: Sequence[int], kernel: Sequence[int], strides: Sequence[int], upper: bool) -> Pairs:
    """The pads of auto_pad SAME_UPPER and SAME_LOWER: ceil(size / stride) outputs, odd pad at the end or start.

    `kernel` is the extent of the window, dilation included.
    """
    pads = []
    for size, extent, stride in zip(sizes, kernel, strides, strict=True):
        total = max((-(-size // stride) - 1) * stride + extent - size, 0)
        small = total // 2
        pads.append((small, total - small) if upper else (total - small, small))
    return pads


def fixed_pads(node: Node, rank: int) -> Pairs | None:
    """The pads of the node if they do not depend on the input's size, else None (auto_pad SAME_*)."""
    mode = node.get("auto_pad", "NOTSET")
    if mode in ("SAME_UPPER", "SAME_LOWER"):
        return None
    if mode == "VALID":
        return [(0, 0)] * rank
    if mode not in ("NOTSET", ""):
        raise NotSupported(f"auto_pad {mode!r}")
    pads = node.get("pads") or [0] * (2 * rank)
    if len(pads) != 2 * rank:
        raise NotSupported(f"{len(pads)} pads for {rank} spatial axes")
    return list(zip(pads[:rank], pads[rank:], strict=True))


def pads_for(node: Node, rank: int, extent: Sequence[int], strides: Sequence[int]) -> Callable[[Tensor], Pairs]:
    """A function from the input to its pads, (before, after) per spatial axis."""
    fixed = fixed_pads(node, rank)
    if fixed is not None:
        return lambda x: fixed
    upper = node.get("auto_pad") == "SAME_UPPER"
    return lambda x: same_pads(x.shape[2:], extent, strides, upper)


def padded(x: Tensor, pads: Sequence[tuple[int, int]], value: float = 0.0) -> Tensor:
    """x with its spatial axes padded by a constant; x itself where there is nothing to pad."""
    if not any(side for pair in pads for side in pair):
        return x
    return F.pad(x, torch_order(pads), value=value)
