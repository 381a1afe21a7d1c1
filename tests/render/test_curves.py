"""Training curves and confusion matrices: what is drawn is what was given, at any size."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from inspector.errors import UsageError
from inspector.render.colormap import make_color_table
from inspector.render.confusion import MOST, draw_confusion
from inspector.render.curves import COLORS, Curve, Panel, draw_curves
from inspector.render.figure import INK


def columns_of(figure: Image.Image, color: tuple[int, int, int], top: int = 0) -> np.ndarray:
    """Columns in which a color appears below `top`."""
    pixels = np.asarray(figure)[top:]
    return np.flatnonzero((pixels == color).all(axis=2).any(axis=0))


def rows_of(figure: Image.Image, color: tuple[int, int, int], left: int, right: int, top: int) -> np.ndarray:
    return np.flatnonzero((np.asarray(figure)[top:, left:right] == color).all(axis=2).any(axis=1)) + top


def test_a_line_goes_where_its_values_are() -> None:
    rising = draw_curves([Panel("loss", [Curve("a", [0.0, 1.0, 2.0, 3.0])])], title="t")
    found = columns_of(rising, COLORS[0], 90)
    first = rows_of(rising, COLORS[0], found[0], found[0] + 12, 90).mean()
    last = rows_of(rising, COLORS[0], found[-1] - 12, found[-1], 90).mean()
    assert first - last > 150


def test_every_panel_has_its_lines_and_the_best_epoch_its_mark() -> None:
    panels = [
        Panel("loss", [Curve("a", [2, 1, 1]), Curve("b", [2, 1.5, None])]),
        Panel("share", [Curve("c", [0, 1, 1])]),
    ]
    plain = draw_curves(panels, title="t", phases=[("head", 0), ("joint", 2)])
    marked = draw_curves(panels, title="t", phases=[("head", 0), ("joint", 2)], best=1)
    assert plain.size == marked.size
    assert columns_of(plain, COLORS[1]).size
    tall = [np.asarray(f)[:, :, 0] for f in (plain, marked)]
    differs = np.flatnonzero((tall[0] != tall[1])[90 : plain.height - 40].any(axis=0))
    assert differs.size
    assert np.ptp(differs) <= 3
    assert abs(differs.mean() - plain.width / 2 - 27) < 30


@pytest.mark.parametrize("count", [1, 2, 400])
def test_any_number_of_epochs_and_equal_values(count: int) -> None:
    figure = draw_curves([Panel("loss", [Curve("a", [0.7] * count)])], title="t", best=count - 1)
    assert columns_of(figure, COLORS[0]).size


def test_no_epochs_are_refused() -> None:
    with pytest.raises(UsageError, match="no epochs"):
        draw_curves([Panel("loss", [Curve("a", [])])], title="t")


def test_a_cell_has_the_color_of_its_share() -> None:
    figure = draw_confusion([[3, 1], [0, 4]], ["cat", "dog"], title="Answers")
    pixels = {tuple(int(v) for v in p) for p in np.asarray(figure).reshape(-1, 3)}
    table = make_color_table("viridis", 256)
    for share in (0.75, 0.25, 0.0, 1.0):
        assert tuple(int(v) for v in table[round(255 * share)]) in pixels
    assert INK in pixels


@pytest.mark.parametrize("count", [2, 10, 40, 200])
def test_any_number_of_classes_with_long_names(count: int) -> None:
    counts = np.eye(count, dtype=int) * 3
    counts[0, 1] = 2
    names = [f"a class with a rather long name, number {k}" for k in range(count)]
    figure = draw_confusion(counts.tolist(), names, title="Answers on 600 pictures", subtitle="x")
    assert 400 < figure.width < MOST * 14 + 400
    assert figure.height < 1500


def test_a_class_without_pictures_is_no_division_by_zero() -> None:
    assert draw_confusion([[0, 0], [0, 1]], ["a", "b"], title="t").width


def test_labels_that_do_not_match_are_refused() -> None:
    with pytest.raises(UsageError, match="as many rows and columns"):
        draw_confusion([[1, 0]], ["a", "b"], title="t")
