"""Matrix products: Gemm, MatMul, Einsum, and onnxruntime's fused forms."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from inspector.twin.operators.activation import fused_activation
from inspector.twin.table import Node, Run, operator


@operator("Gemm", weights=(0, 1, 2), fresh=True)
def _gemm(node: Node) -> Run:
    alpha, beta = node.get("alpha", 1.0), node.get("beta", 1.0)
    trans_a, trans_b = bool(node.get("transA", 0)), bool(node.get("transB", 0))

    def run(a: Tensor, b: Tensor, c: Tensor | None = None) -> Tensor:
        if trans_a:
            a = a.t()
        if not trans_b:
            b = b.t()
        if alpha == beta == 1 and (c is None or (c.dim() == 1 and c.shape[0] == b.shape[0])):
            return F.linear(a, b, c) if a.is_floating_point() else _integer_linear(a, b, c)
        y = a @ b.t()
        if alpha != 1:
            y = y * alpha
        if c is None or beta == 0:
            return y
        return y + (c if beta == 1 else beta * c)

    return run


def _integer_linear(a: Tensor, b: Tensor, c: Tensor | None) -> Tensor:
    return a @ b.t() if c is None else a @ b.t() + c


@operator("FusedGemm", domain="com.microsoft", weights=(0, 1, 2))
def _fused_gemm(node: Node) -> Run:
    product = _gemm(node)
    numbers = [node.get("activation_alpha", 0.01), node.get("activation_beta", 0.0)]
    then = fused_activation(node.get("activation"), numbers)
    assert callable(product)
    return lambda a, b, c=None: then(product(a, b, c))


@operator("MatMul", weights=(0, 1), fresh=True)
def _matmul(node: Node) -> Run:
    return torch.matmul


@operator("Linear", domain="inspector", weights=(1, 2), fresh=True)
def _linear(node: Node) -> Run:
    """What MatMul and Add with a vector become: x (..., K), weight (K, M) as in the file, bias (M)."""
    return lambda x, w, b: F.linear(x, w.t(), b)


@operator("FusedMatMul", "TransposeMatMul", domain="com.microsoft", weights=(0, 1))
def _fused_matmul(node: Node) -> Run:
    alpha = node.get("alpha", 1.0)
    trans_a, trans_b = node.get("transA", 0), node.get("transB", 0)
    batch_a, batch_b = node.get("transBatchA", 0), node.get("transBatchB", 0)

    def turned(x: Tensor, trans: int, batch: int) -> Tensor:
        if batch and x.dim() > 2:
            x = x.movedim(0, -2)
        return x.transpose(-1, -2) if trans and x.dim() > 1 else x

    def run(a: Tensor, b: Tensor) -> Tensor:
        y = turned(a, trans_a, batch_a) @ turned(b, trans_b, batch_b)
        return y if alpha == 1 else y * alpha

    return run


@operator("Einsum", since=12, weights=tuple(range(8)))
def _einsum(node: Node) -> Run:
    equation = "".join(node.need("equation").split())
    return lambda *xs: torch.einsum(equation, *xs)


@operator("Det", since=11)
def _det(node: Node) -> Run:
    return lambda x: torch.linalg.det(x)
