"""Recurrent layers, as the readers of text lines have behind their convolutions: RNN, LSTM, GRU."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from inspector.twin.table import Node, NotSupported, Run, operator

RecurrentState = tuple[Tensor, ...]
Cell = Callable[[Tensor, RecurrentState, Tensor, Tensor | None, Tensor | None], RecurrentState]
"""(input already multiplied (N, G*H), state, recurrence (G*H, H), recurrent bias (G*H), peepholes) -> next state."""

_SIDES = {"forward": (False,), "reverse": (True,), "bidirectional": (False, True)}
_FUNCTIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "Relu": torch.relu,
    "Tanh": torch.tanh,
    "Sigmoid": torch.sigmoid,
}


def _functions(node: Node, default: Sequence[str]) -> list[Callable[[Tensor], Tensor]]:
    names = node.get("activations") or list(default)
    if unknown := [n for n in names if n not in _FUNCTIONS]:
        raise NotSupported(f"the activation {unknown[0]!r} in a recurrent layer")
    if names[: len(default)] * (len(names) // len(default)) != names:
        raise NotSupported("other activations in each direction")
    return [_FUNCTIONS[n] for n in names[: len(default)]]


def _recurrent(node: Node, cell: Cell, states: int, *, split_bias: bool = False) -> Run:
    """The closure (X, W, R, B, sequence_lens, initial_h, initial_c, P) of a layer with this cell.

    X: (T, N, I), or (N, T, I) with layout 1. split_bias: the cell itself adds the recurrent half of the bias.
    """
    direction, batch_first = node.get("direction", "forward"), bool(node.get("layout", 0))
    if direction not in _SIDES or node.get("clip"):
        raise NotSupported(f"direction {direction!r}" if direction not in _SIDES else "the attribute 'clip'")

    def run(
        x: Tensor, w: Tensor, r: Tensor, b: Tensor | None = None, lengths: Tensor | None = None,
        h: Tensor | None = None, c: Tensor | None = None, p: Tensor | None = None,
    ) -> tuple[Tensor, ...]:  # fmt: skip
        if batch_first:
            x = x.transpose(0, 1)
            h, c = (None if s is None else s.transpose(0, 1) for s in (h, c))
        if lengths is not None and bool((lengths != x.shape[0]).any()):
            raise ValueError("sequences of different lengths in one batch")
        size = r.shape[2]
        every, last = [], []
        for side, backwards in enumerate(_SIDES[direction]):
            begin = (h, c)[:states]
            state = tuple(x.new_zeros(x.shape[1], size) if s is None else s[side] for s in begin)
            half = w.shape[1]
            bias = None if b is None else b[side, :half] if split_bias else b[side, :half] + b[side, half:]
            projected = torch.nn.functional.linear(x, w[side], bias)
            own = b[side, half:] if b is not None and split_bias else None
            outputs = []
            for step in reversed(range(x.shape[0])) if backwards else range(x.shape[0]):
                state = cell(projected[step], state, r[side], own, None if p is None else p[side])
                outputs.append(state[0])
            every.append(torch.stack(outputs[::-1] if backwards else outputs))
            last.append(state)
        y = torch.stack(every, 1)
        ends = [torch.stack(parts) for parts in zip(*last, strict=True)]
        if batch_first:
            return y.permute(2, 0, 1, 3), *(end.transpose(0, 1) for end in ends)
        return y, *ends

    return run


@operator("RNN", since=7, weights=(1, 2, 3))
def _rnn(node: Node) -> Run:
    (f,) = _functions(node, ["Tanh"])

    def cell(x: Tensor, state: RecurrentState, r: Tensor, own: Tensor | None, p: Tensor | None) -> RecurrentState:
        return (f(x + state[0] @ r.t()),)

    return _recurrent(node, cell, 1)


@operator("LSTM", since=7, weights=(1, 2, 3, 7))
def _lstm(node: Node) -> Run:
    f, g, out = _functions(node, ["Sigmoid", "Tanh", "Tanh"])
    if node.get("input_forget", 0):
        raise NotSupported("the attribute 'input_forget'")

    def cell(x: Tensor, state: RecurrentState, r: Tensor, own: Tensor | None, p: Tensor | None) -> RecurrentState:
        h, c = state
        i, o, forget, new = (x + h @ r.t()).chunk(4, 1)
        if p is not None:
            pi, po, pf = p.chunk(3)
            i, forget = i + pi * c, forget + pf * c
        c = f(forget) * c + f(i) * g(new)
        if p is not None:
            o = o + po * c
        return f(o) * out(c), c

    return _recurrent(node, cell, 2)


@operator("GRU", since=7, weights=(1, 2, 3))
def _gru(node: Node) -> Run:
    f, g = _functions(node, ["Sigmoid", "Tanh"])
    before_reset = bool(node.get("linear_before_reset", 0))

    def cell(x: Tensor, state: RecurrentState, r: Tensor, own: Tensor | None, p: Tensor | None) -> RecurrentState:
        (h,) = state
        size = h.shape[1]
        gates = x[:, : 2 * size] + h @ r[: 2 * size].t()
        if own is not None:
            gates = gates + own[: 2 * size]
        z, reset = f(gates).chunk(2, 1)
        bias = 0 if own is None else own[2 * size :]
        if before_reset:
            new = g(x[:, 2 * size :] + reset * (h @ r[2 * size :].t() + bias))
        else:
            new = g(x[:, 2 * size :] + (reset * h) @ r[2 * size :].t() + bias)
        return ((1 - z) * new + z * h,)

    return _recurrent(node, cell, 1, split_bias=True)
