"""The last convolution of an ascent, for the one channel that each picture is scored by.

A layer of 512 channels is 512 convolutions, and a picture needs one of them. Its kernel of kh x kw x C numbers is taken
apart: at every place the C input channels are weighed once for each of the kh x kw places of the kernel, which is one
matrix product a picture, and the kh x kw maps are then shifted onto one another.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from inspector.graph import Graph, attributes, operator_of


class PickedConvolution(nn.Module):
    """A convolution of which each picture gets one channel: (N, C, H, W) and N channels to (N, 1, H', W').

    Args:
        weight: float32 (K, C, kh, kw).
        bias: float32 (K,) or None.
        stride: (vertical, horizontal).
        padding: (vertical, horizontal).
        dilation: (vertical, horizontal).
    """

    def __init__(
        self,
        weight: Tensor,
        bias: Tensor | None,
        stride: Sequence[int],
        padding: Sequence[int],
        dilation: Sequence[int],
    ) -> None:
        super().__init__()
        count, _, height, width = weight.shape
        places = height * width
        self.stride, self.padding, self.dilation = tuple(stride), tuple(padding), tuple(dilation)
        self.register_buffer("weight", weight.flatten(2).contiguous())  # (K, C, kh * kw)
        self.register_buffer("bias", torch.zeros(count) if bias is None else bias)
        self.register_buffer("shifts", torch.eye(places).reshape(1, places, height, width))

    def forward(self, x: Tensor, channels: Tensor) -> Tensor:
        """One channel of each picture.

        Args:
            x: float (N, C, H, W).
            channels: int64 (N,).
        """
        weight, shifts = self.get_buffer("weight"), self.get_buffer("shifts")
        n, _, height, width = x.shape
        maps = torch.bmm(x.permute(0, 2, 3, 1).flatten(1, 2), weight[channels])  # (N, H * W, kh * kw)
        maps = maps.transpose(1, 2).reshape(n, -1, height, width)
        summed = functional.conv2d(maps, shifts.to(maps.dtype), None, self.stride, self.padding, self.dilation)
        return summed + self.get_buffer("bias")[channels].reshape(-1, 1, 1, 1).to(summed.dtype)


def find_last_convolution(graph: Graph, tensor: str) -> tuple[str, str, PickedConvolution] | None:
    """(its input, its output, the convolution) that `tensor` comes from, through nothing but elementwise activations.

    None where there is no such convolution: another operator, groups, one or three dimensions, weights that are
    computed, or padding that differs between opposite sides.
    """
    index = graph.producer_of.get(tensor)
    while index is not None and operator_of(graph.nodes[index]).unary:
        index = graph.producer_of.get(graph.nodes[index].input[0])
    if index is None:
        return None
    node = graph.nodes[index]
    given = attributes(node)
    if node.op_type != "Conv" or node.domain or given.get("group", 1) != 1:
        return None
    if any(name and name not in graph.initializers for name in node.input[1:]):
        return None
    weight = graph.weight(node.input[1])
    pads = list(given.get("pads", [0] * 4))
    if weight.ndim != 4 or str(weight.dtype) != "float32" or pads[:2] != pads[2:]:
        return None
    if given.get("auto_pad", "NOTSET") not in ("NOTSET", b"NOTSET"):
        return None
    bias = graph.weight(node.input[2]) if len(node.input) > 2 and node.input[2] else None
    convolution = PickedConvolution(
        torch.tensor(weight), None if bias is None else torch.tensor(bias), given.get("strides", [1, 1]), pads[:2],
        given.get("dilations", [1, 1]),
    )  # fmt: skip
    return node.input[0], node.output[0], convolution
