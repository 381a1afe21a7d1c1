"""Statistics against plain float64 numpy."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from inspector.layers.statistics import LayerStatistics, statistics

SHAPES = st.one_of(
    hnp.array_shapes(min_dims=1, max_dims=1, min_side=1, max_side=6),
    hnp.array_shapes(min_dims=2, max_dims=4, min_side=1, max_side=6),
)
FINITE = st.floats(-1e6, 1e6, width=32)
ANY = st.floats(width=32, allow_nan=True, allow_infinity=True)


def expected(values: np.ndarray) -> dict[str, object]:
    """The definition, slowly."""
    maps = [np.atleast_1d(channel).astype(np.float64).ravel() for channel in values]
    finite = [m[np.isfinite(m)] for m in maps]
    every = np.concatenate(finite)

    def of(function: object, numbers: np.ndarray) -> float:
        return float(function(numbers)) if numbers.size else math.nan  # type: ignore[operator]

    return {
        # Plus zero: of 0.0 and -0.0 either may be found first.
        "minimum": of(np.min, every) + 0.0,
        "maximum": of(np.max, every) + 0.0,
        "mean": of(np.mean, every),
        "std": of(np.std, every),
        "zero_fraction": float(np.mean(np.concatenate(maps) == 0)),
        "blank_channels": tuple(
            i for i, m in enumerate(maps) if m.size > 1 and np.isfinite(m).all() and m.min() == m.max()
        ),
        "non_finite": sum(m.size for m in maps) - every.size,
        "channel_minimum": [of(np.min, m) for m in finite],
        "channel_maximum": [of(np.max, m) for m in finite],
        "channel_mean": [of(np.mean, m) for m in finite],
        "channel_std": [of(np.std, m) for m in finite],
        "channel_zero_fraction": [float(np.mean(m == 0)) for m in maps],
    }


def check(values: np.ndarray) -> LayerStatistics:
    before = values.copy()
    found = statistics(values)
    np.testing.assert_array_equal(values, before)
    scale = float(np.abs(values[np.isfinite(values)]).max(initial=0)) or 1.0
    for key, want in expected(values).items():
        have = getattr(found, key)
        if key in ("blank_channels", "non_finite"):
            assert have == want, key
        else:
            # Standard deviations of single precision data: to a hundred-thousandth of the largest element.
            limit = 1e-7 if "fraction" in key else 1e-5 * scale + 2e-45
            np.testing.assert_allclose(have, want, rtol=2e-5, atol=limit, err_msg=key)
    return found


@settings(max_examples=150, deadline=None)
@given(hnp.arrays(np.float32, SHAPES, elements=FINITE))
def test_finite(values: np.ndarray) -> None:
    check(values)


@settings(max_examples=150, deadline=None)
@given(hnp.arrays(np.float32, SHAPES, elements=ANY))
def test_anything(values: np.ndarray) -> None:
    found = statistics(values)
    want = expected(values)
    for key in ("minimum", "maximum", "zero_fraction", "blank_channels", "non_finite"):
        np.testing.assert_equal(getattr(found, key), want[key])


@settings(max_examples=60, deadline=None)
@given(hnp.arrays(np.float32, SHAPES, elements=st.sampled_from([0.0, -0.0, 1.0, 2.5])))
def test_zeros_and_constant_channels(values: np.ndarray) -> None:
    check(values)


@pytest.mark.parametrize("mean", [0, 1, 30, 1000])
@pytest.mark.parametrize("size", [7, 224])
def test_spread_survives_a_large_mean(mean: float, size: int) -> None:
    values = np.random.default_rng(0).standard_normal((3, size, size)).astype(np.float32) + np.float32(mean)
    np.testing.assert_allclose(statistics(values).channel_std, values.astype(np.float64).std((1, 2)), rtol=1e-4)


def test_values_near_the_limits_of_float32() -> None:
    for scale in (3e38, 1e25, 1e-16, 1e-21, 1e-30, 1e-42):
        values = np.array([[[1, -1], [0, 0.5]], [[1, 1], [1, 1]]], np.float32) * np.float32(scale)
        found = check(values)
        assert found.blank_channels == (1,)
        assert found.std > 0


def test_non_finite_elements_are_counted_and_left_out() -> None:
    values = np.array([[[1, np.nan]], [[np.inf, 0]], [[np.nan, np.nan]]], np.float32)
    found = check(values)
    assert (found.non_finite, found.minimum, found.maximum, found.mean) == (4, 0, 1, 0.5)
    assert np.isnan(found.channel_mean[2])


def test_the_maps_of_a_linear_layer_are_never_blank() -> None:
    assert statistics(np.zeros(5, np.float32)).blank_channels == ()
    assert statistics(np.zeros((5, 1, 1), np.float32)).blank_channels == ()
    assert statistics(np.zeros((2, 2, 1), np.float32)).blank_channels == (0, 1)


def test_table() -> None:
    table = statistics(np.arange(12, dtype=np.float32).reshape(3, 2, 2)).table()
    assert table.shape == (3, 5)
    np.testing.assert_allclose(table[1], [4, 7, 5.5, math.sqrt(1.25), 0], rtol=1e-6)
