"""How the outputs of a head lie, as data: what a page needs to find the objects in them without this code."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from inspector.records import record

NumberPlace = tuple[int, int]
"""(table, column): one number of every place."""
NumberRange = tuple[int, int, int | None]
"""(table, first column, how many): some numbers of every place; None for how many takes all that follow."""


@record
class OutputTable:
    """Numbers of every place that a head looks at, or of every object.

    Attributes:
        tensors: The outputs that hold them; several are joined one behind the other.
        first: The numbers come before the places, as in (1, C, A) and (1, C, h, w); else behind them, as in (1, A, C).
        inner: How many axes at the end hold the numbers of one place, where they come behind: 0 in (n,), 1 in (n, C),
            2 in (n, P, 3).
    """

    tensors: tuple[str, ...]
    first: bool = False
    inner: int = 1


@record
class PlaceGrid:
    """Boxes that are told from the place of a grid.

    Attributes:
        pyramids: Strides of the grids; those count that have as many places as the outputs, of several the first.
        shifts: For each of them what is added to rows and columns.
        sides: Width and height in strides are ``exp`` of what the outputs hold, are it (``linear``), or the four
            distances from the place are means of `bins` numbers (``bins``), whose first columns `HeadLayout.box` has.
        bins: Numbers of one distance.
    """

    pyramids: tuple[tuple[int, ...], ...]
    shifts: tuple[float, ...]
    sides: Literal["exp", "linear", "bins"] = "exp"
    bins: int = 0


@record
class Points:
    """Keypoints.

    Attributes:
        at: Where they lie.
        numbers: Of one keypoint: 3 with its visibility, else 2.
        unit: They are told in pixels of the input, in cells from the place of the grid, or in parts of the box.
        swapped: y stands before x.
    """

    at: NumberRange
    numbers: int = 3
    unit: Literal["pixels", "cells", "box"] = "pixels"
    swapped: bool = False


@record
class Masks:
    """Masks of objects.

    Attributes:
        tensor: Prototypes (1, m, h, w); or planes (n, 1, H, W) in [0, 1], one for each object.
        coefficients: Of the prototypes; None for planes.
    """

    tensor: str
    coefficients: NumberRange | None = None


@record
class MapPieces:
    """Objects that are pieces of one map, each in the smallest rectangle around it.

    Attributes:
        threshold: Places above it that touch are a piece; its score is the mean of the map over it.
        growth: A rectangle grows on each side by so many times its area by its perimeter.
        smallest: Smaller ones are none, in places of the map, before they grow.
    """

    threshold: float
    growth: float
    smallest: float


@dataclass(frozen=True, kw_only=True)
class HeadLayout:
    """How the outputs of a head lie.

    Attributes:
        tables: What the numbers below are found in.
        box: The four numbers of a box; they tell nothing where there are `pieces`.
        corners: They are x1, y1, x2, y2; else centre x and y, width, height.
        shares: They are in [0, 1] of the input; else in pixels of it.
        grid: Where they are told from the place of a grid; else None.
        scores: One for each class.
        activation: What makes probabilities of them; with ``softmax`` the last stands for no object.
        sure: How sure the head is that there is an object; None where it does not say.
        root: The score is the root of the product of both, each cut to [0, 1]; else their product.
        label: The class; None where it is that of the highest score.
        first_class: What is added to the place of the highest score.
        within: (number, lowest, highest): only these rows are objects.
        peaks: Objects are where a map of scores is highest among its neighbors, in each class.
        pieces: Objects are pieces of the one map in the first table; else None.
        angle: Of oriented boxes, in radians.
        points: Keypoints.
        masks: Masks.
    """

    tables: tuple[OutputTable, ...]
    box: tuple[NumberPlace, NumberPlace, NumberPlace, NumberPlace]
    corners: bool = False
    shares: bool = False
    grid: PlaceGrid | None = None
    scores: NumberRange
    activation: Literal["none", "sigmoid", "softmax"] = "none"
    sure: NumberPlace | None = None
    root: bool = False
    label: NumberPlace | None = None
    first_class: int = 0
    within: tuple[NumberPlace, float, float | None] | None = None
    peaks: bool = False
    pieces: MapPieces | None = None
    angle: NumberPlace | None = None
    points: Points | None = None
    masks: Masks | None = None


def number_box(table: int, first: int = 0) -> tuple[NumberPlace, NumberPlace, NumberPlace, NumberPlace]:
    """Four numbers that stand side by side."""
    return (table, first), (table, first + 1), (table, first + 2), (table, first + 3)
