import numpy as np
import pytest

from inspector.errors import UsageError
from inspector.render.grid import _PAD, MAX_PIXELS, SMALLEST_TILE, _labels, draw_grid, plan_layout
from inspector.render.scale import LEVELS, NAN_COLOR, NAN_INDEX, PAPER_INDEX, draw_hatch, to_indices
from inspector.render.text import draw_text_mask
from tests.render.pictures import AWKWARD, LONG, assert_margin

SHAPES = [(1, 1, 1), (1, 14, 14), (3, 112, 112), (7, 7, 7), (13, 5, 9), (17, 28, 28), (33, 1, 7), (40, 1, 1)]
SHAPES += [(5, 3, 500), (4, 500, 3), (130, 14, 14), (257, 7, 7), (1280, 7, 7), (2, 600, 400), (4096, 1, 1)]


def random_maps(shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def cells(image, layout, count):
    """(number strips, tiles) as palette indices, one for each channel."""
    sheet = np.asarray(image)
    top = sheet.shape[0] - _PAD - layout.rows * layout.cell_height
    strips, tiles = [], []
    for channel in range(count):
        row, column = divmod(channel, layout.columns)
        y, x = top + row * layout.cell_height, _PAD + column * layout.cell_width
        strips.append(sheet[y : y + layout.label_height, x : x + layout.cell_width - 3])
        left = x + (layout.cell_width - 3 - layout.tile_width) // 2
        y += layout.label_height
        tiles.append(sheet[y : y + layout.tile_height, left : left + layout.tile_width])
    return strips, tiles


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("scale", ["channel", "layer"])
def test_every_channel_is_drawn_whole_and_in_its_place(shape, scale):
    maps = random_maps(shape)
    before = maps.copy()
    image = draw_grid(maps, title="layer", scale=scale)
    np.testing.assert_array_equal(maps, before)
    layout = plan_layout(*shape, digits=len(str(shape[0] - 1)))
    scaled = to_indices(maps, scale, shrink=layout.shrink)
    strips, tiles = cells(image, layout, shape[0])
    for channel, tile in enumerate(tiles):
        expected = scaled.indices[channel].repeat(layout.enlarge_y, 0).repeat(layout.enlarge_x, 1)
        assert (tile == expected).all()
    # Nothing else is in the area of the tiles.
    top = image.height - _PAD - layout.rows * layout.cell_height
    inked = (np.asarray(image)[top:] != PAPER_INDEX).sum()
    inside = [(strip != PAPER_INDEX).sum() + tile.size for strip, tile in zip(strips, tiles, strict=True)]
    assert inked == sum(inside)


@pytest.mark.parametrize(("first", "count", "width"), [(0, 12, 28), (95, 10, 28), (990, 20, 40), (9998, 4, 60)])
def test_every_channel_has_its_number(first, count, width):
    strips = _labels(first, count, 10, width)
    for n, strip in enumerate(strips):
        columns = np.flatnonzero((strip != PAPER_INDEX).any(axis=0))
        mask = draw_text_mask(str(first + n), 10)
        inked = np.flatnonzero(mask.any(axis=0))
        assert columns[-1] - columns[0] == pytest.approx(inked[-1] - inked[0], abs=1)
        assert (columns[0] + columns[-1]) / 2 == pytest.approx(width / 2, abs=3)
    assert len({strip.tobytes() for strip in strips}) == count


def test_numbering_can_start_anywhere():
    maps = random_maps((5, 14, 14))
    late = draw_grid(maps, title="t", first_channel=1000)
    layout = plan_layout(5, 14, 14)
    strips, _ = cells(late, layout, 5)
    for n, strip in enumerate(strips):
        number = _labels(1000, 5, layout.label_size, strip.shape[1])[n]
        assert (strip[: len(number)] == number).all()
    assert late.tobytes() != draw_grid(maps, title="t").tobytes()


def test_the_palette_gives_back_the_ranks():
    values = np.linspace(-3, 5, LEVELS, dtype=np.float32).reshape(1, 14, 16)
    image = draw_grid(values, title="t", colormap="magma").convert("RGB")
    layout = plan_layout(1, 14, 16)
    _, tiles = cells(draw_grid(values, title="t", colormap="magma"), layout, 1)
    assert (tiles[0][:: layout.enlarge_y, :: layout.enlarge_x].ravel() == np.arange(LEVELS)).all()
    colors = {tuple(c) for c in np.asarray(image).reshape(-1, 3)}
    assert len(colors) >= LEVELS


def test_constant_channels_are_hatched_never_noise():
    maps = random_maps((4, 14, 14))
    maps[1], maps[2] = 0, 6
    for scale in ("channel", "layer", "lecture"):
        _, tiles = cells(draw_grid(maps, title="t", scale=scale), plan_layout(4, 14, 14), 4)
        for blank in (tiles[1], tiles[2]):
            assert (blank == draw_hatch(*blank.shape)).all()
        assert (tiles[0] < LEVELS).all()


def test_values_that_are_not_finite_stand_out():
    maps = random_maps((2, 14, 14))
    maps[0, 3, 4], maps[1, 0] = np.nan, np.inf
    image = draw_grid(maps, title="t")
    layout = plan_layout(2, 14, 14)
    _, tiles = cells(image, layout, 2)
    assert (tiles[0] == NAN_INDEX).sum() == layout.enlarge_x * layout.enlarge_y
    assert (tiles[1][: layout.enlarge_y] == NAN_INDEX).all()
    assert tuple(np.asarray(image.convert("RGB"))[np.asarray(image) == NAN_INDEX][0]) == NAN_COLOR
    assert np.array(draw_grid(random_maps((2, 14, 14)), title="t") != NAN_INDEX).all()


def test_header_names_what_is_drawn(monkeypatch):
    from inspector.render import figure, grid

    said = []
    for module in (figure, grid):
        monkeypatch.setattr(module, "draw_text", lambda draw, xy, text, *rest, **more: said.append(text))
    maps = np.maximum(random_maps((20, 14, 14)), 0)
    maps[3] = 0
    maps[4, 0, 0] = np.nan
    draw_grid(maps, title="features.3 (activation)", subtitle="m.onnx on cat.png", columns=20)
    words = " ".join(said)
    zeros = (maps == 0).mean()
    for expected in (
        "features.3 (activation)",
        "m.onnx on cat.png",
        "20 channels of 14 x 14",
        f"{zeros:.1%}"[:-1],
    ):
        assert expected in words
    for expected in ("1 constant channel", "1 NaN values", "constant on this picture", "lowest", "highest"):
        assert expected in words
    said.clear()
    draw_grid(maps, title="t", scale="layer")
    assert {"0", "1", "2", "3"} <= set(said)


def test_sixteen_in_a_row_as_in_the_lecture():
    for channels, side in ((32, 112), (64, 56), (240, 14), (96, 112), (16, 130)):
        assert plan_layout(channels, side, side).columns == 16
    assert plan_layout(7, 14, 14).columns == 7
    assert plan_layout(240, 14, 14, columns=10).columns == 10


@pytest.mark.parametrize(
    "shape", [(1280, 7, 7), (4096, 1, 1), (2048, 7, 7), (64, 224, 224), (64, 1000, 1000), (512, 250, 250)]
)
def test_sheets_keep_a_readable_shape(shape):
    layout = plan_layout(*shape)
    width, height = layout.columns * layout.cell_width, layout.rows * layout.cell_height
    assert 0.4 <= height / width <= 2.5
    assert width * height <= MAX_PIXELS
    assert layout.columns * layout.rows >= shape[0] > layout.columns * (layout.rows - 1)


@pytest.mark.parametrize("shape", SHAPES)
def test_tiles_are_large_enough_to_see(shape):
    layout = plan_layout(*shape)
    assert max(layout.tile_width, layout.tile_height) >= SMALLEST_TILE
    assert min(layout.tile_width, layout.tile_height) >= 12


def test_huge_layers_are_reduced_and_say_so(monkeypatch):
    from inspector.render import figure, grid

    assert plan_layout(64, 1000, 1000).shrink == 2
    assert plan_layout(1, 3, 100_000).tile_width <= 4096
    said = []
    monkeypatch.setattr(figure, "draw_text", lambda draw, xy, text, *rest, **more: said.append(text))
    monkeypatch.setattr(grid, "MAX_PIXELS", 20_000)
    maps = random_maps((3, 201, 130))
    image = draw_grid(maps, title="t")
    layout = plan_layout(3, 201, 130, digits=1)
    assert f"drawn at 1/{layout.shrink} of its size" in " ".join(said)
    _, tiles = cells(image, layout, 3)
    expected = to_indices(maps, shrink=layout.shrink).indices
    assert all((tile == drawn).all() for tile, drawn in zip(tiles, expected, strict=True))
    assert sum(tile.size for tile in tiles) < 20_000


@pytest.mark.parametrize("title", AWKWARD)
def test_nothing_is_clipped(title):
    for maps in (random_maps((1, 1, 1)), random_maps((5, 14, 14))):
        assert_margin(draw_grid(maps, title=title, subtitle=title))
    wide = draw_grid(random_maps((1, 1, 1)), title=LONG, scale="fixed", limits=(-1e-7, 123456))
    assert_margin(wide)
    assert wide.width < 700


def test_the_same_maps_give_the_same_sheet():
    maps = random_maps((20, 14, 14))
    assert draw_grid(maps, title="t").tobytes() == draw_grid(maps.copy(), title="t").tobytes()
    assert draw_grid(maps, title="t").mode == "P"
    # Any memory layout will do.
    turned = np.ascontiguousarray(maps.transpose(1, 2, 0)).transpose(2, 0, 1)
    assert draw_grid(turned, title="t").tobytes() == draw_grid(maps, title="t").tobytes()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"columns": 0}, "at least one column, not 0"),
        ({"first_channel": -1}, "first channel cannot be -1"),
        ({"colormap": "jet"}, "no color map"),
        ({"scale": "fixed"}, "limits go with"),
    ],
)
def test_what_cannot_be_drawn_is_refused(arguments, message):
    with pytest.raises(UsageError, match=message):
        draw_grid(random_maps((2, 4, 4)), title="t", **arguments)
