import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from inspector.errors import UsageError
from inspector.render.scale import (
    LEVELS,
    NAN_COLOR,
    NAN_INDEX,
    SCALES,
    MapRange,
    average_areas,
    find_grey_index,
    make_palette,
    to_indices,
    to_rgb,
    wants_symmetric,
)

TOP = LEVELS - 1


def random_maps(shape, seed=0, dtype=np.float32):
    return np.random.default_rng(seed).normal(size=shape).astype(dtype)


def slowly(maps, start, stop):
    """The definition, one channel at a time in float64."""
    out = np.zeros(maps.shape, int)
    for c, channel in enumerate(maps.astype(np.float64)):
        if stop[c] > start[c]:
            out[c] = np.clip(np.floor((channel - start[c]) / (stop[c] - start[c]) * TOP + 0.5), 0, TOP)
    return out


def test_a_known_range_is_not_looked_for_again(monkeypatch: pytest.MonkeyPatch) -> None:
    maps = np.random.default_rng(3).normal(size=(5, 6, 7)).astype(np.float32)
    maps[1] = 2
    maps[2].flat[:21] = 0
    flat = maps.reshape(5, -1)
    known = MapRange(flat.min(axis=1), flat.max(axis=1), 21 / maps.size)
    for which in ("channel", "layer", "lecture"):
        plain, quick = to_indices(maps, which), to_indices(maps, which, known=known)
        for name in vars(plain):
            np.testing.assert_array_equal(getattr(plain, name), getattr(quick, name))
    # The sheet below the words is of it.
    wrong = MapRange(known.low - 1, known.high, known.zero_fraction)
    assert not np.array_equal(to_indices(maps, known=wrong).indices, to_indices(maps).indices)


@pytest.mark.parametrize("shape", [(1, 1, 2), (3, 7, 7), (17, 5, 9), (2, 300, 300), (700, 7, 7)])
@pytest.mark.parametrize("scale", SCALES)
def test_indices_follow_the_definition(shape, scale):
    maps = random_maps(shape)
    limits = (-1.0, 2.0) if scale == "fixed" else None
    flat = maps.reshape(len(maps), -1).astype(np.float64)
    mean, std = flat.mean(1), flat.std(1)
    start, stop = {
        "channel": (flat.min(1), flat.max(1)),
        "layer": (np.full(len(maps), flat.min()), np.full(len(maps), flat.max())),
        "fixed": (np.full(len(maps), -1.0), np.full(len(maps), 2.0)),
        "lecture": (mean - 2 * std, mean + 127 / 64 * std),
    }[scale]
    found = to_indices(maps, scale, limits)
    assert found.indices.dtype == np.uint8
    wrong = np.abs(found.indices.astype(int) - slowly(maps, start, stop))
    assert wrong.max() <= 1
    assert (wrong > 0).mean() < 0.01


def test_the_lecture_scale_is_the_lectures_rule():
    maps = random_maps((4, 20, 20), dtype=np.float64) * 5 + 3
    rule = maps - maps.mean(axis=(1, 2), keepdims=True)
    rule /= maps.std(axis=(1, 2), keepdims=True)
    rule = np.clip(rule * 64 + 128, 0, 255)
    assert np.abs(to_indices(maps, "lecture").indices - rule / 255 * TOP).max() <= 0.51


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    arrays(
        np.float32,
        array_shapes(min_dims=3, max_dims=3, max_side=6),
        elements=st.floats(width=32, allow_nan=True, allow_infinity=True),
    ),
    st.sampled_from(["channel", "layer", "lecture"]),
    st.booleans(),
)
def test_any_values_at_all(maps, scale, symmetric):
    before = maps.copy()
    found = to_indices(maps, scale, symmetric=symmetric)
    np.testing.assert_array_equal(maps, before)
    finite = np.isfinite(maps)
    assert ((found.indices == NAN_INDEX) == ~finite).all()
    assert (found.indices[finite] < LEVELS).all()
    assert found.nan + found.infinite == (~finite).sum()
    assert found.zero_fraction == pytest.approx((maps == 0).mean())
    # Order is kept: a larger value never has a lower color.
    groups = [maps] if found.scale == "layer" else list(maps)
    indexed = [found.indices] if found.scale == "layer" else list(found.indices)
    for values, levels in zip(groups, indexed, strict=True):
        keep = np.isfinite(values)
        order = np.argsort(values[keep], kind="stable")
        assert (np.diff(levels[keep][order].astype(int)) >= 0).all()
    for channel, blank in zip(maps, found.blank, strict=True):
        assert blank == (channel.size > 1 and bool((channel == channel.flat[0]).all() and np.isfinite(channel).all()))


@pytest.mark.parametrize("factor", [1e-38, 1e-30, 1.0, 1e30, 1e38])
def test_the_size_of_the_numbers_does_not_matter(factor):
    maps = np.linspace(-1, 1, 81, dtype=np.float32).reshape(1, 9, 9)
    found = to_indices(maps * np.float32(factor)).indices.astype(int)
    assert np.abs(found - to_indices(maps).indices).max() <= 1


def test_a_small_range_far_from_zero_keeps_its_detail():
    maps = (1000 + np.arange(16, dtype=np.float32) / 1024).reshape(1, 4, 4)
    assert len(np.unique(to_indices(maps).indices)) == 16


@pytest.mark.parametrize("dtype", [np.float16, np.float64, np.int8, np.uint8, np.int64, bool])
def test_other_types_are_converted(dtype):
    maps = (np.arange(12) % 2).reshape(1, 3, 4).astype(dtype)
    assert set(to_indices(maps).indices.ravel().tolist()) == {0, TOP}


def test_a_channel_takes_the_whole_map_and_a_layer_shares_it():
    maps = np.stack([np.linspace(0, 1, 9), np.linspace(0, 4, 9)]).reshape(2, 3, 3)
    own, shared = to_indices(maps, "channel"), to_indices(maps, "layer")
    assert own.indices[0].max() == own.indices[1].max() == TOP
    assert shared.indices[0].max() == round(TOP / 4)
    assert (own.limits, shared.limits) == (None, (0.0, 4.0))


def test_maps_of_one_element_are_scaled_by_layer():
    for scale in ("channel", "lecture"):
        found = to_indices(np.arange(5.0).reshape(5, 1, 1), scale)
        assert found.scale == "layer"
        assert not found.blank.any()
        assert found.indices.ravel().tolist() == [0, 56, 112, 167, 223]


def test_values_that_are_not_finite_take_no_part_in_the_range():
    maps = np.array([[[0, 1, 2, np.nan], [3, np.inf, -np.inf, 4]]], np.float32)
    found = to_indices(maps)
    assert (found.nan, found.infinite) == (1, 2)
    assert found.indices[0, 1].tolist() == [round(TOP * 0.75), NAN_INDEX, NAN_INDEX, TOP]
    assert (found.low[0], found.high[0]) == (0, 4)
    lecture = to_indices(maps, "lecture")
    assert (lecture.indices == NAN_INDEX).sum() == 3


def test_zero_is_in_the_middle_of_a_symmetric_range():
    maps = np.array([[[-1, 0, 4]], [[0, 0, 2]]], np.float32)
    for scale in ("channel", "layer"):
        found = to_indices(maps, scale, symmetric=True).indices
        assert set(found[maps == 0].tolist()) <= {111, 112}
    assert wants_symmetric("diverging", "layer")
    assert not wants_symmetric("diverging", "fixed")
    assert not wants_symmetric("viridis", "layer")


@pytest.mark.parametrize("size", [(1, 1), (5, 7), (6, 6), (1, 9)])
@pytest.mark.parametrize("factor", [1, 2, 3, 20])
def test_area_mean_is_the_mean_of_every_block(size, factor):
    maps = random_maps((2, *size), dtype=np.float64)
    found = average_areas(maps, factor)
    for y in range(found.shape[1]):
        for x in range(found.shape[2]):
            block = maps[:, y * factor : (y + 1) * factor, x * factor : (x + 1) * factor]
            assert found[:, y, x] == pytest.approx(block.mean(axis=(1, 2)))


def test_reduced_maps_keep_the_statistics_of_the_whole():
    maps = random_maps((2, 8, 8))
    maps[0, 0, 0] = np.nan
    small, whole = to_indices(maps, shrink=2), to_indices(maps)
    assert small.indices.shape == (2, 4, 4)
    assert small.indices[0, 0, 0] == NAN_INDEX
    assert (small.low == whole.low).all()
    assert small.nan == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"maps": np.zeros((3, 3))}, r"the shape \(C, H, W\).*not \(3, 3\)"),
        ({"maps": np.zeros((3, 0, 3))}, "no empty side"),
        ({"maps": np.zeros((1, 2, 2), complex)}, "real numbers"),
        ({"scale": "row"}, "no scale is called 'row'; there are channel, layer, fixed, lecture"),
        ({"scale": "fixed"}, "limits go with the scale 'fixed'"),
        ({"limits": (0, 1)}, "limits go with the scale 'fixed'"),
        ({"scale": "fixed", "limits": (1, 1)}, "1 to 1 are not an increasing finite range"),
        ({"scale": "fixed", "limits": (0, float("nan"))}, "not an increasing finite range"),
    ],
)
def test_what_cannot_be_scaled_is_refused(arguments, message):
    with pytest.raises(UsageError, match=message):
        to_indices(**{"maps": np.zeros((1, 2, 2)), **arguments})


def test_the_palette_holds_the_map_the_greys_and_one_color_that_is_neither():
    table = np.frombuffer(make_palette(), np.uint8).reshape(256, 3)
    assert tuple(table[NAN_INDEX]) == NAN_COLOR
    assert tuple(find_grey_index(np.array([255, 0], np.uint8))) == (LEVELS, NAN_INDEX - 1)
    for name in ("viridis", "magma", "inferno", "turbo", "grey", "diverging"):
        colors = to_rgb(np.arange(LEVELS, dtype=np.uint8), name).astype(int)
        assert np.abs(colors - NAN_COLOR).sum(axis=1).min() > 100
