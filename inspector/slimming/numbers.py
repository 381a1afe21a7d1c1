"""Numbers for values: two channels get one number where it is provable that they hold the same, up to a factor.

This is value numbering (Alpern, Wegman and Zadeck 1988, "Detecting equality of variables in programs"), channel by
channel: equal computations on equal numbers get one number.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from inspector.slimming.channels import Doubles, Units

_ALIKE = 2.0**-21
"""How far two weights may be apart, relative to them: multiples of float32 weights are rounded, each by itself. One
that is small beside others counts no less for that, as what it weighs may be large."""

_BIN = 1e-4


def find_leading(rows: NDArray[Any]) -> Doubles:
    """The first of the largest weights of each row (C, n), with its sign; 0 for a row of zeros."""
    if not rows.shape[1]:
        return np.zeros(len(rows))
    sizes = np.abs(rows)
    largest = sizes.max(axis=1, keepdims=True)
    at = (sizes >= largest * (1 - 4 * _ALIKE)).argmax(axis=1)
    return np.asarray(rows[np.arange(len(rows)), at], np.float64)


class ValueNumbers:
    """Hands out the numbers."""

    def __init__(self) -> None:
        self._next = 0
        self._by_key: dict[Hashable, int] = {}
        self._by_row: dict[Hashable, list[tuple[Doubles, int]]] = {}

    def fresh(self, count: int) -> Units:
        """Numbers that nothing else has."""
        self._next += count
        return np.arange(self._next - count, self._next, dtype=np.int64)

    def of_keys(self, keys: Sequence[Hashable]) -> Units:
        """One number for each key, the same for equal keys."""
        found = np.empty(len(keys), np.int64)
        for at, key in enumerate(keys):
            number = self._by_key.get(key)
            if number is None:
                number = self._by_key[key] = int(self.fresh(1)[0])
            found[at] = number
        return found

    def of_rows(self, keys: Sequence[Hashable], rows: NDArray[Any], bias: Doubles) -> tuple[Units, Doubles]:
        """Numbers for rows that are alike up to a factor, among those with one key.

        Args:
            keys: One for each row.
            rows: (C, n), the weights that each channel is computed with.
            bias: (C,), what is added to it.

        Returns:
            The numbers and the factors, (C,) each.
        """
        leading = find_leading(rows)
        leading = np.where(leading == 0, bias, leading)
        factor = np.where(leading == 0, 1.0, leading)
        chooser = np.random.default_rng(rows.shape[1]).uniform(0.5, 1.5, rows.shape[1])
        chooser /= max(float(np.sqrt(rows.shape[1])), 1.0)
        # The bias may be far larger than the weights, which have to be told apart all the same: its size counts here.
        part = np.abs(np.where(bias == 0, 1.0, bias) / factor)
        marks = (rows @ chooser) / factor + np.log(part)
        whole = np.concatenate([np.asarray(rows, np.float64), bias[:, None]], axis=1)
        found = np.empty(len(rows), np.int64)
        for at, (key, mark) in enumerate(zip(keys, marks, strict=True)):
            found[at] = self._of_row(key, mark, whole[at], factor[at])
        return found, factor

    def _of_row(self, key: Hashable, mark: float, row: NDArray[Any], factor: float) -> int:
        place = int(np.floor(mark / _BIN)) if np.isfinite(mark) else 0
        plain: Doubles | None = None
        for near in (place - 1, place, place + 1):
            for other, number in self._by_row.get((key, near), ()):
                plain = np.asarray(row, np.float64) / factor if plain is None else plain
                if other.shape == plain.shape and np.allclose(other, plain, rtol=_ALIKE, atol=0):
                    return number
        number = int(self.fresh(1)[0])
        self._by_row.setdefault((key, place), []).append((np.asarray(row, np.float64) / factor, number))
        return number
