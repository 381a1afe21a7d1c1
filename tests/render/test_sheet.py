import numpy as np
import pytest
from PIL import ImageChops

from inspector.errors import UsageError
from inspector.render.scale import draw_hatch, to_rgb
from inspector.render.sheet import draw_sheet
from tests.render.pictures import AWKWARD, assert_margin, find, gradient, record


@pytest.mark.parametrize("count", [1, 7, 8, 9, 64])
def test_every_tile_is_there(count):
    tiles = [ImageChops.offset(gradient(64, 64), 7 * n, n) for n in range(count)]
    image = draw_sheet(tiles, [str(n) for n in range(count)])
    places = [find(image, tile.crop((20, 20, 44, 44))) for tile in tiles[:: max(1, count // 4)]]
    assert None not in places
    assert_margin(image)


def test_tiles_are_in_rows_with_the_margin_between():
    tiles = [gradient(64, 64).point(lambda value, n=n: value + 3 * n) for n in range(10)]
    image = draw_sheet(tiles, [str(n) for n in range(10)], columns=4, margin=5)
    first, second, fifth = (find(image, tiles[n].crop((20, 20, 44, 44))) for n in (0, 1, 4))
    assert second == (first[0] + 69, first[1])
    assert fifth[0] == first[0]
    assert fifth[1] > first[1] + 64


def test_a_tile_that_could_not_be_made_is_hatched_and_says_so(monkeypatch):
    from inspector.render import sheet

    said = record(monkeypatch, sheet)
    image = np.asarray(draw_sheet([gradient(64, 64), None], ["0", "1"], missing="stuck"))
    assert "stuck" in said
    top = to_rgb(draw_hatch(64, 64))[:12]
    assert any((image[y : y + 12, 85:149] == top).all() for y in range(image.shape[0] - 12))
    assert_margin(draw_sheet([None], ["x"]))


def test_tiles_of_different_sizes_share_a_cell():
    tiles = [gradient(30, 20), gradient(200, 300), gradient(1, 400), gradient(700, 10).convert("L")]
    image = draw_sheet(tiles, AWKWARD[:4], columns=2, title=AWKWARD[2], note=AWKWARD[3], subtitle="x")
    assert_margin(image)
    assert image.width < 600


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"tiles": [], "captions": []}, "one caption for each tile"),
        ({"captions": ["a", "b"]}, "not 2 for 1"),
        ({"columns": 0}, "at least one column"),
        ({"tile_size": 5000}, "16 to 2048"),
        (
            {"tiles": [None] * 400, "captions": [""] * 400, "tile_size": 1000},
            "too large; give a smaller tile size",
        ),
    ],
)
def test_what_cannot_be_drawn_is_refused(arguments, message):
    with pytest.raises(UsageError, match=message):
        draw_sheet(**{"tiles": [gradient(9, 9)], "captions": ["a"], **arguments})
