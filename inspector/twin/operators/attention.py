"""Scaled dot-product attention and what goes with it, for the networks that mix convolutions with transformers."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from inspector.twin.table import Node, NotSupported, Run, operator

_MASKED = float("-inf")


# Long: the closures read ten attributes of the node, which would be arguments of functions outside.
@operator("Attention", since=23)
def _attention(node: Node) -> Run:
    causal, scale, softcap = bool(node.get("is_causal", 0)), node.get("scale"), node.get("softcap", 0.0)
    left, right = node.get("left_window_size", -1), node.get("right_window_size", -1)
    heads, kv_heads = node.get("q_num_heads"), node.get("kv_num_heads")
    mode, outputs = node.get("qk_matmul_output_mode", 0), len(node.outputs)
    precision = node.get("softmax_precision")
    kind = node.dtype(precision)[0] if precision and node.exact else None
    simple = outputs == 1 and not softcap and left < 0 and right < 0 and kind is None and not causal

    def run(
        q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None,
        past_k: Tensor | None = None, past_v: Tensor | None = None, lengths: Tensor | None = None,
    ) -> Any:  # fmt: skip
        flat = q.dim() == 3
        if flat:
            q, k, v = _split(q, heads), _split(k, kv_heads), _split(v, kv_heads)
        offset: int | Tensor = 0
        if past_k is not None and past_v is not None:
            offset = past_k.shape[2]
            k, v = torch.cat((past_k, k), 2), torch.cat((past_v, v), 2)
        present = k, v
        groups = q.shape[1] // k.shape[1]
        if groups > 1:
            k, v = k.repeat_interleave(groups, 1), v.repeat_interleave(groups, 1)
        factor = scale or 1 / math.sqrt(q.shape[-1])
        if simple and mask is None and lengths is None:
            y = F.scaled_dot_product_attention(q, k, v, scale=factor)
            return _joined(y) if flat else y
        if lengths is not None:
            offset = lengths.reshape(-1, 1, 1, 1) - q.shape[2]
        bias = _bias(q, k, mask, lengths, offset)
        root = math.sqrt(factor)
        stages = [(q * root) @ (k * root).transpose(-1, -2)]
        stages.append(softcap * torch.tanh(stages[0] / softcap) if softcap else stages[0])
        stages.append(stages[1] + bias)
        scores = stages[2] if kind is None else stages[2].to(kind)
        weights = torch.softmax(scores, -1).to(q.dtype)
        # A query that may see nothing gets zeros, not nan.
        empty = (stages[2] == _MASKED).all(-1, keepdim=True)
        stages.append(torch.where(empty, torch.zeros_like(weights), weights))
        y = stages[3] @ v
        y = _joined(y) if flat else y
        return y if outputs == 1 else (y, *present, stages[mode])

    def _bias(q: Tensor, k: Tensor, mask: Tensor | None, lengths: Tensor | None, offset: int | Tensor) -> Tensor:
        """What is added to the scores: the mask, and -inf where a key is out of sight."""
        queries, keys = q.shape[2], k.shape[2]
        allowed = torch.ones(1, 1, queries, keys, dtype=torch.bool, device=q.device)
        place = torch.arange(queries, device=q.device)[:, None] + offset
        key = torch.arange(keys, device=q.device)
        if causal:
            allowed = allowed & (key <= place)
        if left >= 0:
            allowed = allowed & (key >= place - left)
        if right >= 0:
            allowed = allowed & (key <= place + right)
        if lengths is not None:
            allowed = allowed & (key < lengths.reshape(-1, 1, 1, 1))
        added = torch.zeros((), dtype=q.dtype, device=q.device)
        if mask is not None:
            short = keys - mask.shape[-1]
            if mask.dtype == torch.bool:
                allowed = allowed & (F.pad(mask, (0, short), value=False) if short else mask)
            else:
                added = F.pad(mask, (0, short), value=_MASKED) if short else mask
        return torch.where(allowed, added, _MASKED).to(q.dtype)

    return run


def _split(x: Tensor, heads: int) -> Tensor:
    """(N, L, heads * D) -> (N, heads, L, D)."""
    return x.reshape(*x.shape[:2], heads, -1).transpose(1, 2)


def _joined(x: Tensor) -> Tensor:
    """(N, heads, L, D) -> (N, L, heads * D)."""
    return x.transpose(1, 2).flatten(2)


@operator("RotaryEmbedding", since=23)
def _rotary_embedding(node: Node) -> Run:
    interleaved = bool(node.get("interleaved", 0))
    heads, width = node.get("num_heads", 0), node.get("rotary_embedding_dim", 0)

    def run(x: Tensor, cos: Tensor, sin: Tensor, places: Tensor | None = None) -> Tensor:
        flat = x.dim() == 3
        if flat:
            if not heads:
                raise ValueError("num_heads is missing")
            x = _split(x, heads)
        size = width or x.shape[-1]
        turned, rest = x[..., :size], x[..., size:]
        if places is not None:
            cos, sin = cos[places], sin[places]
        cos, sin = cos.unsqueeze(1), sin.unsqueeze(1)
        if interleaved:
            a, b = turned[..., 0::2], turned[..., 1::2]
        else:
            a, b = turned.chunk(2, -1)
        a, b = cos * a - sin * b, sin * a + cos * b
        y = torch.stack((a, b), -1).flatten(-2) if interleaved else torch.cat((a, b), -1)
        y = torch.cat((y, rest), -1)
        return _joined(y) if flat else y

    if node.opset < 23:
        raise NotSupported("rotary embedding before opset 23")
    return run
