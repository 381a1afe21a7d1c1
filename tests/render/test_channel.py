import numpy as np
import pytest

from inspector.errors import UsageError
from inspector.render.channel import draw_channel
from inspector.render.colormap import make_color_table
from inspector.render.scale import LEVELS, NAN_COLOR
from tests.render.pictures import AWKWARD, assert_margin, find, gradient


def map_of(height, width, seed=0):
    return np.random.default_rng(seed).normal(size=(height, width)).astype(np.float32)


def test_every_element_is_a_square_of_its_color():
    values = np.arange(12, dtype=np.float32).reshape(3, 4)
    image = np.asarray(draw_channel(values, title="t", size=100))
    table = make_color_table("viridis", LEVELS)
    for k, index in enumerate(np.rint(np.arange(12) / 11 * (LEVELS - 1)).astype(int)):
        at = np.argwhere((image == table[index]).all(axis=2))
        square = at[at[:, 0] > 60]
        assert len(square) >= 625, k


def test_the_colors_are_those_of_the_value_whatever_the_picture():
    values = map_of(14, 14)
    before = values.copy()
    alone = draw_channel(values, title="t")
    beside = draw_channel(values, title="t", picture=gradient(300, 200), box=(50.5, 0, 250.5, 200))
    np.testing.assert_array_equal(values, before)
    tile = alone.crop((16, alone.height - 60 - 448, 16 + 448, alone.height - 60))
    assert find(beside, tile.crop((0, 20, 200, 200))) is not None
    assert beside.width > alone.width + 400


def test_the_part_the_network_saw_is_as_large_as_the_map():
    picture = gradient(448, 448)
    image = draw_channel(map_of(7, 7), title="t", picture=picture)
    assert find(image, picture) is not None
    crop = draw_channel(map_of(7, 7), title="t", picture=gradient(600, 500), box=(10, 20, 458, 468))
    assert find(crop, gradient(600, 500).crop((10, 20, 458, 468))) is not None


@pytest.mark.parametrize("shape", [(1, 1), (1, 40), (40, 1), (3, 500), (7, 9), (112, 112), (1000, 700), (5000, 20)])
@pytest.mark.parametrize("smooth", [False, True])
def test_any_shape_fits(shape, smooth):
    image = draw_channel(map_of(*shape), title="t", size=200, smooth=smooth, picture=gradient(64, 48))
    assert image.mode == "RGB"
    assert image.width < 700
    assert image.height < 450
    assert_margin(image)


@pytest.mark.parametrize("title", AWKWARD)
def test_nothing_is_clipped(title):
    assert_margin(draw_channel(map_of(5, 5), title=title, subtitle=title, size=64))


def test_a_constant_map_is_hatched_and_says_its_value():
    image = np.asarray(draw_channel(np.full((6, 6), 2.5), title="t", size=120))
    assert np.ptp(image.astype(int), axis=2).max() == 0  # no color anywhere


def test_nan_stands_out_smooth_or_not():
    values = map_of(8, 8)
    values[2, 3] = np.nan
    for smooth in (False, True):
        image = np.asarray(draw_channel(values, title="t", size=160, smooth=smooth))
        assert (image == NAN_COLOR).all(axis=2).sum() >= 400


def test_smooth_lies_between_its_neighbours():
    values = np.array([[0, 1]], np.float32)
    image = draw_channel(values, title="t", size=200, smooth=True)
    assert len(image.getcolors(100000)) > 100


@pytest.mark.parametrize("scale", ["channel", "lecture", "fixed"])
def test_every_scale_draws(scale):
    limits = (-1.0, 1.0) if scale == "fixed" else None
    for smooth in (False, True):
        image = draw_channel(map_of(9, 9), title="t", scale=scale, limits=limits, smooth=smooth, colormap="diverging")
        assert_margin(image)


@pytest.mark.parametrize(
    ("values", "size", "message"),
    [
        (np.zeros(3), 100, r"\(H, W\), not \(3,\)"),
        (np.zeros((2, 2)), 10, "64 to 4096"),
        (np.zeros((0, 2)), 100, "empty"),
    ],
)
def test_what_cannot_be_drawn_is_refused(values, size, message):
    with pytest.raises(UsageError, match=message):
        draw_channel(values, title="t", size=size)
