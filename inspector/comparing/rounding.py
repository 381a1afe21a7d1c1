"""How much of a difference rounding explains."""

from __future__ import annotations

from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from inspector.agreement import FLOAT_ROUNDING, LIMIT_DB
from inspector.comparing.matching import LayerNodes
from inspector.graph import Graph, operator_of

STEP = 2.0**-10
"""The share by which the values before a segment are changed at random, to see how much it makes of that."""
_SAFETY = 4.0
_FEWEST_SUMMANDS = 64
_FLOOR = 10 ** (-LIMIT_DB / 20)
"""A difference below this share of a channel is told apart from nothing, whatever it is made of."""
_HALF = float(np.finfo(np.float16).eps)
_LEAST = float(np.finfo(np.float32).smallest_normal)
"""Smaller numbers may be 0 for an engine."""
_LEAST_HALF = float(np.finfo(np.float16).smallest_subnormal)

DRAWS = 4
"""How often the values before a segment are changed at most: a channel of one number may not answer one change, by
chance, and among the thousand outputs of a linear layer there is one that neither answers nor is far from 0."""


class RoundingBound:
    """What rounding may change in a layer, derived from what its segment does with the numbers it is given.

    Every number that goes in is changed by a random share of STEP, up or down. What comes out changes by a noise: the
    square root of the sum of the squares of all products, with what cancels or saturates behind them. One rounding
    changes each of them by FLOAT_ROUNDING at most, and a sum of n numbers is rounded up to n times, the errors of which
    add up as a random walk (Higham and Mary 2019, "A New Approach to Probabilistic Rounding Error Analysis"): rounding
    explains sqrt(n) * FLOAT_ROUNDING / STEP of that noise. To be safe, four times as much is let pass. Numbers below
    the smallest normal one may be taken for 0, each of the n.

    Args:
        a: The segment of A.
        b: The segment of B.
    """

    def __init__(self, a: LayerNodes, b: LayerNodes) -> None:
        half = a.graph.half_precision or b.graph.half_precision
        unit = _HALF if half else FLOAT_ROUNDING
        summands = max(a.fan_in, b.fan_in, _FEWEST_SUMMANDS)
        self.factor = (_SAFETY * np.sqrt(summands) * unit / STEP) ** 2
        self.floor = (8 * _HALF if half else _FLOOR) ** 2
        step, least = min(find_step(a), find_step(b)) / 2, _LEAST_HALF if half else _LEAST
        self.absolute = step**2 + (_SAFETY * np.sqrt(summands) * least) ** 2

    def allow(
        self, signal: NDArray[np.float64], count: int, response: NDArray[np.float64] | None
    ) -> NDArray[np.float64]:
        """The sums of squared differences (C,) that rounding explains.

        Args:
            signal: (C,), sums of the squares of the layer.
            count: Elements of a channel.
            response: (C,), sums of the squares of what changed; None where it is not known.
        """
        allowed: NDArray[np.float64] = signal * self.floor + count * self.absolute
        return allowed if response is None else allowed + response * self.factor


def find_step(segment: LayerNodes) -> float:
    """One step of the integers that a layer is kept in; 0 where it is kept in floats.

    Two engines that differ in the last bit of a float round a number between two integers to one or the other.
    """
    graph = segment.graph
    index = graph.producer_of.get(segment.layer.tensor)
    if index is None:
        return 0.0
    node = graph.nodes[index]
    operator = operator_of(node)
    if operator.output_scale is not None or (operator.integer and operator.weighted):
        return 1.0
    if not operator.requantizes or len(node.input) < 2:
        return 0.0
    if operator.integer:
        return 1.0
    return _read_scale(graph, node.input[1])


def _read_scale(graph: Graph, name: str) -> float:
    return float(np.max(np.abs(graph.weight(name)), initial=0.0)) if name in graph.initializers else 0.0


def shake(values: NDArray[np.generic], name: str, draw: int = 0) -> NDArray[np.generic]:
    """The same values, each changed by a share of STEP, up or down at random; integers stay as they are.

    Args:
        values: Of any shape.
        name: What they are called: others change otherwise.
        draw: The number of the change.
    """
    if values.dtype.kind != "f":
        return values
    signs = (
        np.random.default_rng(crc32(f"{name}{draw or ''}".encode()))
        .integers(0, 2, values.size, np.int8)
        .reshape(values.shape)
    )
    shares = np.array([1 - STEP, 1 + STEP], values.dtype)
    return np.asarray(values * shares[signs], values.dtype)
