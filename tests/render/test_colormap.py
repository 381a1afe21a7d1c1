import numpy as np
import pytest

from inspector.errors import UsageError
from inspector.render.colormap import COLORMAPS, is_diverging, make_color_table
from inspector.render.scale import LEVELS


@pytest.mark.parametrize("name", ["viridis", "magma", "inferno", "turbo"])
def test_tables_are_those_of_matplotlib(name):
    matplotlib = pytest.importorskip("matplotlib")
    theirs = np.rint(matplotlib.colormaps[name](np.arange(256))[:, :3] * 255)
    assert np.abs(make_color_table(name) - theirs).max() <= 1  # it rounds 0.5 another way


@pytest.mark.parametrize("name", COLORMAPS)
def test_every_map_has_colors_enough_to_tell_values_apart(name):
    table = make_color_table(name, LEVELS)
    assert table.shape == (LEVELS, 3)
    assert table.dtype == np.uint8
    assert len(np.unique(table, axis=0)) >= LEVELS - 3


@pytest.mark.parametrize("name", ["viridis", "magma", "inferno", "grey"])
def test_sequential_maps_grow_lighter(name):
    light = make_color_table(name).astype(float) @ [0.2126, 0.7152, 0.0722]
    assert (np.diff(light) > -0.8).all()
    assert light[-1] - light[0] > 150


def test_the_middle_of_the_diverging_map_is_its_lightest_and_neutral():
    table = make_color_table("diverging").astype(int)
    light = table.sum(axis=1)
    assert 120 <= light.argmax() <= 135
    assert np.ptp(table[127]) < 10
    assert table[0, 2] > table[0, 0]
    assert table[-1, 0] > table[-1, 2]
    assert [is_diverging(name) for name in COLORMAPS] == [name == "diverging" for name in COLORMAPS]


def test_an_unknown_map_is_refused_with_the_known_ones():
    with pytest.raises(UsageError, match="no color map is called 'jet'; there are viridis, magma"):
        make_color_table("jet")


def test_a_table_cannot_be_changed_by_a_caller():
    with pytest.raises(ValueError, match="read-only"):
        make_color_table("viridis")[0, 0] = 1
