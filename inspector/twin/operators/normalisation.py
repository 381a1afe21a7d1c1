"""Normalisations. All compute what the file computes: batch norm uses the statistics of the file, never the batch's."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from inspector.twin.table import Node, NotSupported, Run, operator


@operator("BatchNormalization", weights=(1, 2), buffers=(3, 4), fresh=True)
def _batch_norm(node: Node) -> Run:
    eps = node.get("epsilon", 1e-5)
    if node.get("spatial", 1) != 1:
        raise NotSupported("batch normalisation with spatial=0")
    training = node.get("training_mode", 0) if node.opset >= 14 else 0
    if training:
        return _batch_norm_training(node, eps)
    if any(node.wants(i) for i in range(1, 5)) and node.opset < 14:
        raise NotSupported("batch normalisation in training form")

    def run(x: Tensor, scale: Tensor, bias: Tensor, mean: Tensor, var: Tensor) -> Tensor:
        return F.batch_norm(x, mean, var, scale, bias, False, 0.0, eps)

    return run


def _batch_norm_training(node: Node, eps: float) -> Run:
    """With training_mode=1 the file itself asks for the statistics of the batch, and for updated running ones."""
    momentum = node.get("momentum", 0.9)

    def run(x: Tensor, scale: Tensor, bias: Tensor, mean: Tensor, var: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        axes = [i for i in range(x.dim()) if i != 1]
        batch_var, batch_mean = torch.var_mean(x, axes, correction=0)
        y = F.batch_norm(x, None, None, scale, bias, True, 0.0, eps)
        return y, mean * momentum + batch_mean * (1 - momentum), var * momentum + batch_var * (1 - momentum)

    return run


@operator("InstanceNormalization", weights=(1, 2))
def _instance_norm(node: Node) -> Run:
    eps = node.get("epsilon", 1e-5)

    def run(x: Tensor, scale: Tensor, bias: Tensor) -> Tensor:
        # group_norm with one channel per group: unlike instance_norm it takes planes of a single element.
        return F.group_norm(x, x.shape[1], scale, bias, eps)

    return run


@operator("GroupNormalization", since=18, weights=(1, 2))
def _group_norm_per_group(node: Node) -> Run:
    groups, eps = node.need("num_groups"), node.get("epsilon", 1e-5)

    def run(x: Tensor, scale: Tensor, bias: Tensor) -> Tensor:
        each = x.shape[1] // groups
        return F.group_norm(x, groups, scale.repeat_interleave(each), bias.repeat_interleave(each), eps)

    return run


@operator("GroupNormalization", since=21, weights=(1, 2))
def _group_norm(node: Node) -> Run:
    groups, eps = node.need("num_groups"), node.get("epsilon", 1e-5)
    return lambda x, scale, bias: F.group_norm(x, groups, scale, bias, eps)


@operator("LayerNormalization", since=17, weights=(1, 2))
@operator("LayerNormalization", domain="inspector", weights=(1, 2))
def _layer_norm(node: Node) -> Run:
    axis, eps = node.get("axis", -1), node.get("epsilon", 1e-5)

    def run(x: Tensor, scale: Tensor, bias: Tensor | None = None) -> Tensor:
        at = axis % x.dim()
        shape = x.shape[at:]
        if scale.shape == shape and (bias is None or bias.shape == shape):
            return F.layer_norm(x, shape, scale, bias, eps)
        y = F.layer_norm(x, shape, None, None, eps) * scale  # the scale may broadcast
        return y if bias is None else y + bias

    def with_statistics(x: Tensor, scale: Tensor, bias: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor]:
        axes = list(range(axis % x.dim(), x.dim()))
        var, mean = torch.var_mean(x, axes, correction=0, keepdim=True)
        return run(x, scale, bias), mean, torch.rsqrt(var + eps)

    return with_statistics if node.wants(1) or node.wants(2) else run


@operator("SkipLayerNormalization", domain="com.microsoft", weights=(2, 3, 4))
def _skip_layer_norm(node: Node) -> Run:
    eps = node.get("epsilon", 1e-12)
    if node.wants(1) or node.wants(2):
        raise NotSupported("the mean and deviation outputs of SkipLayerNormalization")

    def run(x: Tensor, skip: Tensor, gamma: Tensor, beta: Tensor | None = None, bias: Tensor | None = None) -> Any:
        total = x + skip if bias is None else x + skip + bias
        y = F.layer_norm(total, gamma.shape, gamma, beta, eps)
        return (y, None, None, total) if node.wants(3) else y

    return run


@operator("RMSNormalization", since=23, weights=(1,))
@operator("SimplifiedLayerNormalization", weights=(1,))
def _rms_norm(node: Node) -> Run:
    axis, eps = node.get("axis", -1), node.get("epsilon", 1e-5)

    def run(x: Tensor, scale: Tensor) -> Tensor:
        axes = list(range(axis % x.dim(), x.dim()))
        return x * torch.rsqrt(x.square().mean(axes, keepdim=True) + eps) * scale

    return run


@operator("LpNormalization")
def _lp_normalization(node: Node) -> Run:
    axis, p = node.get("axis", -1), node.get("p", 2)

    def run(x: Tensor) -> Tensor:
        norm = torch.linalg.vector_norm(x, p, axis, keepdim=True)
        # A zero vector stays a zero vector.
        return x / torch.where(norm == 0, torch.ones_like(norm), norm)

    return run


@operator("MeanVarianceNormalization", since=9)
def _mean_variance(node: Node) -> Run:
    axes = node.get("axes", [0, 2, 3])

    def run(x: Tensor) -> Tensor:
        centred = x - x.mean(axes, keepdim=True)
        return centred / (centred.square().mean(axes, keepdim=True).sqrt() + 1e-9)

    return run


@operator("LRN")
def _lrn(node: Node) -> Run:
    size = int(node.need("size"))
    alpha, beta, bias = node.get("alpha", 1e-4), node.get("beta", 0.75), node.get("bias", 1.0)
    before, after = (size - 1) // 2, size // 2

    def run(x: Tensor) -> Tensor:
        planes = x.square().reshape(x.shape[0], 1, x.shape[1], -1)
        planes = F.pad(planes, (0, 0, before, after))
        sums = F.avg_pool2d(planes, (size, 1), 1, divisor_override=1).reshape(x.shape)
        scale: Tensor = bias + alpha / size * sums
        return x / scale.pow(beta)

    return run
