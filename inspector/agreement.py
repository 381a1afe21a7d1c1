"""How near two sets of layer values are: one tolerance, one comparison, one measure in dB.

Everything that says whether two networks compute the same asks here: the export (torch against onnxruntime), the twin,
quantization, fine-tuning and the audit.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from inspector.records import record

TOLERANCE = 1e-3
"""Largest difference that is let pass, as a share of the layer's largest magnitude.

Two engines that add single-precision numbers in another order differ by 1e-6 to 1e-4 of it, deep networks most. What is
really wrong (a padding, an axis, an epsilon, a lost weight) differs by 1e-2 and more.
"""

HALF_TOLERANCE = 0.1
"""The same for a network in half precision, which torch computes in single: one rounding is 5e-4, and a network of
fifty layers is off by 5e-2 in the layer whose sums cancel most."""

FLOAT_ROUNDING = float(np.finfo(np.float32).eps)
"""What one rounding in float32 may change, as a share of the largest number that is added or multiplied."""

LIMIT_DB = 100.0
"""Differences below this, and signals drowned as deep, are not told apart; float32 ends at some 140 dB."""

_LEAST_SQUARES = 1e-28
"""A sum of squares below this may have lost some: float32 ends at 1e-38, and there are millions of them."""

FAINT = 1e-2
"""A channel below this share of its layer's mean power is left out of "the worst channel": nothing rests on it."""


@record
class Agreement:
    """How near one layer's values are to a reference.

    Attributes:
        layer: Name of the layer, or of the tensor where tensors of a graph are compared.
        max_abs: Largest absolute difference; inf where the shapes differ or not the same places are finite.
        scale: Largest magnitude of the reference's finite values.
        ok: Whether `max_abs` is within the tolerance.
        sqnr_db: Signal to noise, in dB; -100 where nothing could be measured, 100 without a difference;
            None in a table that was read from a file without it.
        note: Why nothing could be measured, as the rest of a sentence about the layer; else empty.
    """

    layer: str
    max_abs: float
    scale: float
    ok: bool
    sqnr_db: float | None = None
    note: str = ""

    @property
    def relative(self) -> float:
        """max_abs / scale, the tolerance that would have been needed."""
        return self.max_abs / self.scale if self.scale else (0.0 if self.max_abs == 0 else math.inf)

    def to_json(self) -> dict[str, Any]:
        """The row of a `parity` table in a JSON document."""
        return {"layer": self.layer, "max_abs": self.max_abs, "scale": self.scale, "ok": self.ok}


def compare_layer(
    layer: str,
    reference: NDArray[Any],
    other: NDArray[Any],
    *,
    tolerance: float = TOLERANCE,
    step: float = 0.0,
    finite: bool = False,
    operands: float = 0.0,
) -> Agreement:
    """Compare two arrays that should hold the same values. Other shapes never agree.

    Args:
        layer: Name for the result.
        reference: The values that count as right, of any shape and type.
        other: The values that are judged.
        tolerance: Largest difference, as a share of the reference's largest magnitude.
        step: A difference that is allowed whatever the scale: one step of a quantized tensor.
        finite: Whether every value of the reference must be finite. Without it NaN and infinities agree where both
            have the same one in the same place.
        operands: The scale of the numbers that the values are computed from, where it is known: what one rounding of
            them makes is let pass, however small the values are.

    Returns:
        The agreement, whether it is good or bad.
    """
    shapes = reference.shape, other.shape
    if not (reference.dtype == other.dtype and reference.dtype in (np.float32, np.float64)):
        # Integers would wrap around, half precision would round the difference.
        reference, other = reference.astype(np.float64), other.astype(np.float64)
    known = np.isfinite(reference)
    magnitudes = np.abs(reference[known])
    scale = float(magnitudes.max(initial=0.0))
    note = ""
    if shapes[0] != shapes[1]:
        note = f"has shape {shapes[1]} and not {shapes[0]}"
    elif finite and not known.all():
        note = "has values that are not finite"
    elif not np.array_equal(np.isfinite(other), known) or not np.array_equal(
        other[~known], reference[~known], equal_nan=True
    ):
        note = "has nan or infinity in other places"
    if note:
        return Agreement(layer, math.inf, scale, False, -LIMIT_DB, note)
    difference = np.abs(reference[known] - other[known])
    worst = float(difference.max(initial=0.0))
    signal, noise = (np.square(part, dtype=np.float64).sum() for part in (magnitudes, difference))
    allowed = max(tolerance * scale, step, FLOAT_ROUNDING * operands)
    return Agreement(layer, worst, scale, worst <= allowed, float(to_decibels(signal, noise)))


def is_rounding(reference: NDArray[Any], other: NDArray[Any], operands: float) -> bool:
    """Whether two arrays differ by no more than one float32 rounding of numbers of the scale `operands` makes."""
    return reference.shape == other.shape and bool(np.all(np.abs(reference - other) <= FLOAT_ROUNDING * operands))


def find_worst(rows: Iterable[Agreement]) -> Agreement:
    """The row with the largest difference for its scale, the first of equal ones."""
    return max(rows, key=lambda row: row.relative)


def to_decibels(signal: NDArray[np.float64], noise: NDArray[np.float64]) -> NDArray[np.float64]:
    """10 log10(signal / noise), clipped to +-100 dB: signal is a sum of squares, noise of squared differences.

    No noise is +100 dB, also without a signal; noise that is not a number is -100 dB.
    """
    signal, noise = np.asarray(signal, np.float64), np.asarray(noise, np.float64)
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = 10 * np.log10(signal / noise)
    ratio = np.where(noise == 0, LIMIT_DB, ratio)
    found: NDArray[np.float64] = np.nan_to_num(ratio, nan=-LIMIT_DB, posinf=LIMIT_DB, neginf=-LIMIT_DB).clip(
        -LIMIT_DB, LIMIT_DB
    )
    return found


@record
class LayerDrift:
    """What one layer lost over several pictures.

    Attributes:
        layer: Name of the layer.
        sqnr_db: 10 log10(sum a^2 / sum (a - b)^2), with a of the reference and b of the other, in [-100, 100].
        worst_channel: The channel with the lowest ratio, of those with at least 1 % of the layer's mean power.
        worst_channel_db: Its ratio.
    """

    layer: str
    sqnr_db: float
    worst_channel: int
    worst_channel_db: float


@dataclass
class SignalToNoise:
    """Sums of one layer over pictures.

    Attributes:
        signal: float64 (C,), sums of squares of the reference.
        noise: float64 (C,), sums of squared differences.
    """

    signal: NDArray[np.float64] = field(default_factory=lambda: np.zeros(0))
    noise: NDArray[np.float64] = field(default_factory=lambda: np.zeros(0))

    def add(self, reference: NDArray[np.float32], other: NDArray[np.float32]) -> None:
        """Take in the same layer of the same picture from both: float32 (C, ...) of equal shape."""
        first = reference.reshape(len(reference), -1)
        with np.errstate(over="ignore", invalid="ignore"):
            difference = first - other.reshape(first.shape)
            signal, noise = sum_squares(first), sum_squares(difference)
        self.signal = signal + (self.signal if self.signal.size else 0)
        self.noise = noise + (self.noise if self.noise.size else 0)

    @property
    def layer_db(self) -> float:
        """Of the layer as a whole."""
        return float(to_decibels(self.signal.sum(), self.noise.sum()))

    def channels_db(self) -> NDArray[np.float64]:
        """Of each channel (C,)."""
        return to_decibels(self.signal, self.noise)

    def worst_channel(self) -> tuple[int, float]:
        """(channel, dB) of the worst channel that carries a signal worth the name."""
        found = self.channels_db()
        strong = self.signal >= FAINT * self.signal.mean() if self.signal.size else np.zeros(0, bool)
        masked = np.where(strong | ~np.isfinite(self.signal), found, np.inf)
        worst = int(masked.argmin()) if np.isfinite(masked).any() else int(found.argmin())
        return worst, float(found[worst])

    def to_drift(self, layer: str) -> LayerDrift:
        """The sums as a row of a table."""
        return LayerDrift(layer, self.layer_db, *self.worst_channel())


def sum_squares(rows: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
    """Sum the squares of each row, in double precision where float32 cannot hold them.

    Args:
        rows: Float (C, P).

    Returns:
        float64 (C,).
    """
    found: NDArray[np.float64] = np.einsum("ij,ij->i", rows, rows).astype(np.float64)
    lost = ~(np.isfinite(found) & (found > _LEAST_SQUARES))
    if rows.dtype != np.float64 and lost.any():
        part = rows[lost].astype(np.float64)
        found[lost] = np.einsum("ij,ij->i", part, part)
    return found


def signal_to_noise(reference: NDArray[np.float32], other: NDArray[np.float32]) -> float:
    """dB of one array against another of the same shape, as a whole."""
    sums = SignalToNoise()
    sums.add(reference.reshape(1, -1), other.reshape(1, -1))
    return sums.layer_db
