"""How near two sets of values are."""

from __future__ import annotations

import math

import numpy as np
import pytest

from inspector.agreement import TOLERANCE, Agreement, SignalToNoise, compare_layer, find_worst, is_rounding


def test_the_difference_is_judged_by_the_scale() -> None:
    reference = np.float32([0, -100, 3])
    found = compare_layer("a", reference, reference + np.float32([0.0625, 0, 0]))
    assert (found.layer, found.max_abs, found.scale, found.ok, found.note) == ("a", 0.0625, 100, True, "")
    assert found.relative == 0.000625
    assert found.sqnr_db == pytest.approx(10 * math.log10((100**2 + 9) / 0.0625**2))
    assert found.to_json() == {"layer": "a", "max_abs": 0.0625, "scale": 100.0, "ok": True}
    assert not compare_layer("a", reference, reference + np.float32([0.125, 0, 0])).ok
    assert compare_layer("a", reference, reference + np.float32([0.125, 0, 0]), tolerance=2 * TOLERANCE).ok
    assert compare_layer("a", reference, reference).sqnr_db == 100


def test_zeros_must_be_zeros() -> None:
    assert compare_layer("a", np.zeros(3), np.zeros(3)).relative == 0
    found = compare_layer("a", np.zeros(3), np.full(3, 1e-9))
    assert (found.ok, found.relative, found.sqnr_db) == (False, math.inf, -100)


def test_one_rounding_of_the_operands_is_let_pass() -> None:
    """A sigmoid at 5.5e-5, which is rounded at the scale of 1."""
    reference = np.float32([5.5e-5, 1e-5])
    other = reference + np.float32([9.6e-8, 0])
    assert not compare_layer("s", reference, other).ok
    assert compare_layer("s", reference, other, operands=1.0).ok
    assert not compare_layer("s", reference, reference + np.float32([2e-7, 0]), operands=1.0).ok
    assert is_rounding(reference, other, 1.0)
    assert not is_rounding(reference, other, 0.5)
    assert not is_rounding(reference, other[:1], 1.0)


def test_integers_do_not_wrap_around_and_may_differ_by_a_step() -> None:
    reference, other = np.uint8([0, 255, 7]), np.uint8([1, 254, 8])
    assert compare_layer("q", reference, other).max_abs == 1
    assert not compare_layer("q", reference, other).ok
    assert compare_layer("q", reference, other, step=1).ok
    assert not compare_layer("q", reference, np.uint8([2, 255, 7]), step=1).ok
    assert compare_layer("b", np.array([True, False]), np.array([True, True])).max_abs == 1


def test_half_precision_is_compared_in_double() -> None:
    found = compare_layer("h", np.float16([60000]), np.float16([-60000]))
    assert (found.max_abs, found.scale) == (120000, 60000)


@pytest.mark.parametrize(
    ("reference", "other", "finite", "note"),
    [
        ([1.0, 2.0], [[1.0, 2.0]], False, "has shape (1, 2) and not (2,)"),
        ([1.0, 2.0], [1.0, math.nan], False, "has nan or infinity in other places"),
        ([1.0, math.inf], [1.0, -math.inf], False, "has nan or infinity in other places"),
        ([1.0, math.nan], [1.0, math.nan], True, "has values that are not finite"),
        ([1.0, math.nan], [1.0, math.nan], False, ""),
        ([1.0, math.inf], [1.0, math.inf], False, ""),
    ],
)
def test_what_is_not_finite(reference: list[float], other: list[float], finite: bool, note: str) -> None:
    found = compare_layer("a", np.array(reference), np.array(other), finite=finite)
    assert found.note == note
    assert found.ok == (not note)
    assert found.max_abs == (math.inf if note else 0)
    assert found.sqnr_db == (-100 if note else 100)


def test_nothing_at_all_agrees() -> None:
    assert compare_layer("a", np.zeros((0, 3)), np.zeros((0, 3))).ok


def test_the_worst_of_several() -> None:
    rows = [Agreement("a", 1, 100, True), Agreement("b", 1, 10, True), Agreement("c", 2, 20, True)]
    assert find_worst(rows).layer == "b"


def test_drift_of_several_pictures() -> None:
    sums = SignalToNoise()
    for _ in range(2):
        sums.add(np.float32([[1, 1], [10, 10]]), np.float32([[1, 1], [10, 9]]))
    found = sums.to_drift("a")
    assert (found.layer, found.worst_channel) == ("a", 1)
    assert found.sqnr_db == pytest.approx(10 * math.log10(202))
    assert found.worst_channel_db == pytest.approx(10 * math.log10(200))
