"""Convolutions: Conv, ConvTranspose, DeformConv, Col2Im, and onnxruntime's FusedConv."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from inspector.twin.operators.activation import fused_activation
from inspector.twin.operators.depthwise import conv2d
from inspector.twin.operators.windows import padded, same_pads, torch_order
from inspector.twin.table import Node, NotSupported, Run, operator

CONVOLUTIONS: dict[int, Callable[..., Tensor]] = {1: F.conv1d, 2: conv2d, 3: F.conv3d}
_TRANSPOSED: dict[int, Callable[..., Tensor]] = {
    1: F.conv_transpose1d,
    2: F.conv_transpose2d,
    3: F.conv_transpose3d,
}

_LONG = 1024
"""Strides from which on torch is told the shortest that does the same: its gradient may take memory for each step."""


def convolution(node: Node) -> Run:
    """The closure (x, weight, bias=None) of a Conv node; the rank is known from the weight or an attribute."""
    rank = spatial_rank(node, 1)
    if rank is None:
        cache: dict[int, Run] = {}

        def by_rank(x: Tensor, w: Tensor, b: Tensor | None = None) -> Any:
            n = w.dim() - 2
            if n not in cache:
                cache[n] = _convolution(node, n)
            return cache[n](x, w, b)

        return by_rank
    return _convolution(node, rank)


def _stop_at_the_end(conv: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """The same convolution, with strides that go no farther than to the end of what is read."""

    def stopping(
        x: Tensor, w: Tensor, b: Tensor | None, strides: Sequence[int], pads: int | Sequence[int], *rest: Any
    ) -> Tensor:
        around = [pads] * len(strides) if isinstance(pads, int) else pads
        sizes = zip(strides, x.shape[2:], around, strict=True)
        return conv(x, w, b, tuple(min(stride, size + 2 * pad) for stride, size, pad in sizes), pads, *rest)

    return stopping


def spatial_rank(node: Node, weight: int) -> int | None:
    """Number of spatial axes of a convolution, as far as the node tells."""
    for name in ("kernel_shape", "strides", "dilations"):
        if node.get(name):
            return len(node.get(name))
    if node.get("pads"):
        return len(node.get("pads")) // 2
    value = node.constant(weight)
    return None if value is None else value.dim() - 2


def _convolution(node: Node, rank: int) -> Run:
    if rank not in CONVOLUTIONS:
        raise NotSupported(f"a convolution over {rank} axes")
    strides = tuple(node.get("strides") or [1] * rank)
    conv = CONVOLUTIONS[rank] if max(strides) < _LONG else _stop_at_the_end(CONVOLUTIONS[rank])
    dilations = tuple(node.get("dilations") or [1] * rank)
    group = node.get("group", 1)
    mode = node.get("auto_pad", "NOTSET")
    if mode in ("SAME_UPPER", "SAME_LOWER"):
        upper = mode == "SAME_UPPER"

        def same(x: Tensor, w: Tensor, b: Tensor | None = None) -> Tensor:
            extent = [(k - 1) * d + 1 for k, d in zip(w.shape[2:], dilations, strict=True)]
            pads = same_pads(x.shape[2:], extent, strides, upper)
            if all(before == after for before, after in pads):
                return conv(x, w, b, strides, tuple(p[0] for p in pads), dilations, group)
            return conv(padded(x, pads), w, b, strides, 0, dilations, group)

        return same
    raw = [0] * (2 * rank) if mode == "VALID" else list(node.get("pads") or [0] * (2 * rank))
    begin, end = tuple(raw[:rank]), tuple(raw[rank:])
    if begin == end and min(begin) >= 0:
        return lambda x, w, b=None: conv(x, w, b, strides, begin, dilations, group)
    order = torch_order(list(zip(begin, end, strict=True)))
    return lambda x, w, b=None: conv(F.pad(x, order), w, b, strides, 0, dilations, group)


@operator("Conv", weights=(1, 2), fresh=True)
def _conv(node: Node) -> Run:
    return convolution(node)


@operator("FusedConv", domain="com.microsoft", weights=(1, 2))
def _fused_conv(node: Node) -> Run:
    conv = convolution(node)
    then = fused_activation(node.get("activation"), node.get("activation_params") or [])

    def run(x: Tensor, w: Tensor, b: Tensor | None = None, z: Tensor | None = None) -> Tensor:
        y = conv(x, w, b)
        return then(y if z is None else y + z)

    return run


@operator("ConvTranspose", weights=(1, 2), fresh=True)
def _conv_transpose(node: Node) -> Run:
    rank = spatial_rank(node, 1)
    fixed = None if rank is None else _transposed(node, rank)
    if fixed is not None:
        return fixed
    return lambda x, w, b=None: _transposed(node, w.dim() - 2)(x, w, b)


def _transposed(node: Node, rank: int) -> Run:
    if rank not in _TRANSPOSED:
        raise NotSupported(f"a transposed convolution over {rank} axes")
    conv = _TRANSPOSED[rank]
    strides = list(node.get("strides") or [1] * rank)
    dilations = list(node.get("dilations") or [1] * rank)
    extra = list(node.get("output_padding") or [0] * rank)
    group = node.get("group", 1)
    mode = node.get("auto_pad", "NOTSET")
    wanted = node.get("output_shape")
    pads = node.get("pads") or [0] * (2 * rank)

    def full(size: int, kernel: int, axis: int) -> int:
        """Output size without any cropping."""
        return int(strides[axis] * (size - 1) + extra[axis] + (kernel - 1) * dilations[axis] + 1)

    def crop(x: Tensor, w: Tensor) -> list[tuple[int, int]]:
        """How much of the uncropped output to take off, (before, after) per axis."""
        if not wanted and mode not in ("SAME_UPPER", "SAME_LOWER"):
            return [(0, 0)] * rank if mode == "VALID" else list(zip(pads[:rank], pads[rank:], strict=True))
        crops = []
        for axis in range(rank):
            size = x.shape[2 + axis]
            target = wanted[-rank:][axis] if wanted else size * strides[axis]
            total = full(size, w.shape[2 + axis], axis) - target
            if not wanted:
                total = max(total, 0)  # onnxruntime does not add to the output for SAME
            # The specification gives the odd one to the start except for SAME_UPPER.
            small = total // 2
            crops.append((small, total - small) if mode == "SAME_UPPER" else (total - small, small))
        return crops

    def run(x: Tensor, w: Tensor, b: Tensor | None = None) -> Tensor:
        crops = crop(x, w)
        # torch crops both sides by `padding` and gives `output_padding` back at the end, in [0, max(stride, dilation)).
        before = [c[0] for c in crops]
        back = [extra[i] + c[0] - c[1] for i, c in enumerate(crops)]
        limits = [max(s, d) for s, d in zip(strides, dilations, strict=True)]
        if min(before) >= 0 and all(0 <= k < limit for k, limit in zip(back, limits, strict=True)):
            return conv(x, w, b, strides, before, back, group, dilations)
        y = conv(x, w, b, strides, 0, 0, group, dilations)
        # Negative crops and output_padding beyond torch's limit grow the output by rows that hold the bias only.
        grow = [(-c[0], extra[i] - c[1]) for i, c in enumerate(crops)]
        if b is None or all(v <= 0 for pair in grow for v in pair):
            return F.pad(y, torch_order(grow))
        shaped = b.reshape(-1, *[1] * rank)
        return F.pad(y - shaped, torch_order(grow)) + shaped

    return run


@operator("DeformConv", weights=(1, 3), since=19)
def _deform_conv(node: Node) -> Run:
    strides = node.get("strides") or [1, 1]
    dilations = node.get("dilations") or [1, 1]
    pads = node.get("pads") or [0, 0, 0, 0]
    group = node.get("group", 1)
    offset_group = node.get("offset_group", 1)
    if len(strides) != 2:
        raise NotSupported("a deformable convolution over other than 2 axes")

    def run(x: Tensor, w: Tensor, offset: Tensor, bias: Tensor | None = None, mask: Tensor | None = None) -> Tensor:
        n, c, height, width = x.shape
        kh, kw = w.shape[2:]
        oh, ow = offset.shape[2:]
        shift = offset.reshape(n, offset_group, kh * kw, 2, oh, ow)
        row = torch.arange(oh, device=x.device, dtype=x.dtype) * strides[0] - pads[0]
        column = torch.arange(ow, device=x.device, dtype=x.dtype) * strides[1] - pads[1]
        ky = torch.arange(kh, device=x.device, dtype=x.dtype).repeat_interleave(kw) * dilations[0]
        kx = torch.arange(kw, device=x.device, dtype=x.dtype).repeat(kh) * dilations[1]
        y = row.reshape(1, 1, 1, oh, 1) + ky.reshape(1, 1, -1, 1, 1) + shift[:, :, :, 0]
        z = column.reshape(1, 1, 1, 1, ow) + kx.reshape(1, 1, -1, 1, 1) + shift[:, :, :, 1]
        # grid_sample interpolates linearly between pixel centres and reads zeros outside, as the operator asks.
        grid = torch.stack(((2 * z + 1) / width - 1, (2 * y + 1) / height - 1), -1)
        parts = x.reshape(n * offset_group, c // offset_group, height, width)
        grid = grid.reshape(n * offset_group, kh * kw * oh, ow, 2)
        taps = F.grid_sample(parts, grid, mode="bilinear", padding_mode="zeros", align_corners=False)
        taps = taps.reshape(n, offset_group, c // offset_group, kh * kw, oh * ow)
        if mask is not None:
            taps = taps * mask.reshape(n, offset_group, 1, kh * kw, oh * ow)
        taps = taps.reshape(n, group, c // group * kh * kw, oh * ow)
        kernels = w.reshape(group, w.shape[0] // group, -1)
        out = torch.einsum("ngkp,gok->ngop", taps, kernels).reshape(n, w.shape[0], oh, ow)
        return out if bias is None else out + bias.reshape(-1, 1, 1)

    return run


@operator("Col2Im", since=18, settings=(1, 2))
def _col2im(node: Node) -> Run:
    def run(x: Tensor, image: Tensor, block: Tensor) -> Tensor:
        sizes, kernel = image.tolist(), block.tolist()
        rank = len(sizes)
        strides = node.get("strides") or [1] * rank
        dilations = node.get("dilations") or [1] * rank
        pads = node.get("pads") or [0] * (2 * rank)
        counts = [
            (sizes[i] + pads[i] + pads[rank + i] - (kernel[i] - 1) * dilations[i] - 1) // strides[i] + 1
            for i in range(rank)
        ]
        channels = x.shape[1] // _product(kernel)
        # Every column is a window: add each of its elements to the pixel it came from.
        index = torch.zeros((), dtype=torch.int64)
        whole = [sizes[i] + pads[i] + pads[rank + i] for i in range(rank)]
        for i in range(rank):
            tap = (torch.arange(kernel[i]) * dilations[i]).reshape(-1, *[1] * (2 * rank - 1 - i))
            place = (torch.arange(counts[i]) * strides[i]).reshape(-1, *[1] * (rank - 1 - i))
            index = index * whole[i] + tap + place
        flat = x.new_zeros(x.shape[0], channels, _product(whole))
        flat = flat.index_add(2, index.flatten().to(x.device), x.reshape(x.shape[0], channels, -1))
        image_ = flat.reshape(x.shape[0], channels, *whole)
        inside: tuple[Any, ...] = (..., *(slice(pads[i], pads[i] + sizes[i]) for i in range(rank)))
        return image_[inside]

    return run


def _product(values: list[int]) -> int:
    result = 1
    for value in values:
        result *= value
    return result
