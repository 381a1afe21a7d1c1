import numpy as np
import pytest

from inspector.errors import UsageError
from inspector.render import chart
from inspector.render.chart import (
    ACTIVATION,
    OTHER,
    DepthPoint,
    correlate_with_position,
    describe_trend,
    draw_depth_chart,
)
from tests.render.pictures import AWKWARD, assert_margin, record


def points(fractions, activation=True):
    return [DepthPoint(f"features.{n}", f, activation) for n, f in enumerate(fractions)]


def ranks(values):
    """By definition: one more than the number of smaller values, ties sharing the mean."""
    return [sum(v < x for v in values) + (sum(v == x for v in values) + 1) / 2 for x in values]


@pytest.mark.parametrize("seed", range(8))
def test_rank_correlation_is_pearsons_of_the_ranks(seed):
    values = np.random.default_rng(seed).integers(0, 6, size=12).tolist()
    expected = np.corrcoef(ranks(values), np.arange(12))[0, 1]
    assert correlate_with_position(values) == pytest.approx(expected)
    stats = pytest.importorskip("scipy.stats")
    assert correlate_with_position(values) == pytest.approx(stats.spearmanr(range(12), values).statistic)


def test_rank_correlation_at_its_ends():
    assert correlate_with_position([1, 2, 9]) == pytest.approx(1)
    assert correlate_with_position([3, 2, 1]) == pytest.approx(-1)
    assert correlate_with_position([2, 2, 2]) is None


@pytest.mark.parametrize(
    ("fractions", "words"),
    [
        (
            [0.1, 0.2, 0.4, 0.9],
            "grows with depth: 10.0 % in the first activation layer, 90.0 % in the last; rank corr",
        ),
        ([0.9, 0.4, 0.2], "falls with depth"),
        ([0.5, 0.1, 0.9, 0.3, 0.5], "no clear trend"),
        ([0.5, 0.5, 0.5], "is 50.0 % in all 3 activation layers"),
        ([0.1, 0.9], "Too few activation layers (2)"),
    ],
)
def test_the_trend_in_words(fractions, words):
    assert words in describe_trend(points(fractions))


def test_only_activation_layers_make_the_trend():
    mixed = [p for f in (0.1, 0.2, 0.3) for p in (*points([f]), *points([0.0], False))]
    assert "+1.00 over 3 activation layers" in describe_trend(mixed)


@pytest.mark.parametrize("count", [1, 2, 13, 91, 1000])
@pytest.mark.parametrize("width", [480, 1100])
def test_any_number_of_layers(count, width):
    fractions = np.random.default_rng(0).random(count)
    image = draw_depth_chart([DepthPoint(f"l{n}", f, n % 2 == 0) for n, f in enumerate(fractions)], width=width)
    assert image.width == width
    assert 400 < image.height < 700
    assert_margin(image)


def test_markers_are_where_the_values_are():
    low, high = (np.asarray(draw_depth_chart(points([f]), width=600)) for f in (0.25, 0.75))

    def marker(image):
        # The legend's marker is higher up and further left.
        at = np.argwhere((image == ACTIVATION).all(axis=2))
        return at[at[:, 1] > 200].mean(axis=0)

    assert marker(low)[1] == pytest.approx(marker(high)[1], abs=1)
    assert marker(low)[0] - marker(high)[0] == pytest.approx(130, abs=2)


def test_kinds_differ_in_color_and_are_both_explained(monkeypatch):
    said = record(monkeypatch, chart)
    image = np.asarray(draw_depth_chart([*points([0.5, 0.6]), *points([0.1], False)]))
    assert (image == ACTIVATION).all(axis=2).any()
    assert (np.abs(image.astype(int) - OTHER).sum(axis=2) < 40).any()
    assert {"activation layers (2)", "other layers (1)", "0 %", "100 %"} <= set(said)


@pytest.mark.parametrize("name", AWKWARD)
def test_nothing_is_clipped(name):
    rows = [DepthPoint(name, n / 30, True) for n in range(30)]
    image = draw_depth_chart(rows, title=name, subtitle=name, width=600)
    assert_margin(image)
    assert image.height < 800


def test_what_cannot_be_drawn_is_refused():
    with pytest.raises(UsageError, match="no layers"):
        draw_depth_chart([])
    with pytest.raises(UsageError, match="480 pixels"):
        draw_depth_chart(points([0.5]), width=100)
    with pytest.raises(UsageError, match=r"in \[0, 1\]"):
        draw_depth_chart(points([float("nan")]))


def test_activation_layers_and_the_extreme_are_named_first(monkeypatch):
    said = record_up(monkeypatch)
    rows = [
        DepthPoint(f"relu{n}" if n % 3 == 1 else f"conv{n}", 0.97 if n == 61 else 0.3, n % 3 == 1) for n in range(180)
    ]
    draw_depth_chart(rows, width=700)
    assert {"relu61", "relu1", "relu178"} <= set(said)
    assert sum(name.startswith("relu") for name in said) > 0.9 * sum(name[:4] in ("relu", "conv") for name in said)


def record_up(monkeypatch):
    """A list that gets every text that the chart draws upwards."""
    said, real = [], chart.draw_text_up
    monkeypatch.setattr(
        chart, "draw_text_up", lambda draw, xy, text, *rest: (said.append(text), real(draw, xy, text, *rest))
    )
    return said
