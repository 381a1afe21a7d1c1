import numpy as np
import pytest
from PIL import Image

from inspector.errors import UsageError
from inspector.render import cam, figure
from inspector.render.cam import CamMap, draw_cam, draw_cam_sheet, draw_overlay
from inspector.render.colormap import make_color_table
from tests.render.pictures import AWKWARD, LONG, assert_margin, find, gradient, record


def heat(height=7, width=7, seed=0):
    values = np.random.default_rng(seed).random((height, width))
    return values / values.max()


def slowly(heatmap, box, x, y):
    """Bilinear interpolation at the middle of pixel (x, y), from the definition."""
    h, w = heatmap.shape
    u = min(max((x + 0.5 - box[0]) / (box[2] - box[0]) * w - 0.5, 0), w - 1)
    v = min(max((y + 0.5 - box[1]) / (box[3] - box[1]) * h - 0.5, 0), h - 1)
    total = 0.0
    for j in range(h):
        for i in range(w):
            total += max(0, 1 - abs(u - i)) * max(0, 1 - abs(v - j)) * heatmap[j, i]
    return total


@pytest.mark.parametrize("box", [None, (10.25, 5.5, 50.75, 40.0), (0.0, 0.0, 60.0, 44.0)])
@pytest.mark.parametrize("shape", [(7, 7), (1, 1), (3, 1), (2, 9), (60, 80)])
def test_overlay_is_bilinear_and_blended(box, shape):
    picture, values = gradient(60, 44), heat(*shape)
    out = np.asarray(draw_overlay(picture, values, box, opacity=0.4)).astype(int)
    exact = box or (0, 0, 60, 44)
    table, pixels = make_color_table("magma" if False else "viridis").astype(int), np.asarray(picture).astype(int)
    for x, y in [(12, 7), (30, 20), (49, 38), (25, 6), (11, 39)]:
        index = round(slowly(values, exact, x, y) * 255)
        near = [0.6 * pixels[y, x] + 0.4 * table[min(max(index + d, 0), 255)] for d in (-1, 0, 1)]
        assert min(np.abs(out[y, x] - n).max() for n in near) <= 1.01


def test_overlay_keeps_out_of_what_the_network_did_not_see():
    picture = gradient(60, 44)
    out = np.asarray(draw_overlay(picture, heat(), (10, 5, 50, 40)))
    same = (out == np.asarray(picture)).all(axis=2)
    assert same[:5].all()
    assert same[:, :10].all()
    assert same[40:].all()
    assert same[:, 50:].all()
    assert not same[5:40, 10:50].any()


@pytest.mark.parametrize("mode", ["RGB", "L", "RGBA", "P", "CMYK", "1"])
def test_overlay_has_the_size_of_the_picture_and_leaves_it_alone(mode):
    picture = gradient(31, 17).convert(mode)
    before, values = picture.tobytes(), heat()
    held = values.copy()
    out = draw_overlay(picture, values)
    assert (out.size, out.mode) == ((31, 17), "RGB")
    assert picture.tobytes() == before
    assert (values == held).all()


def test_nothing_to_see_changes_nothing():
    picture = gradient(40, 30)
    for out in (draw_overlay(picture, np.zeros((7, 7))), draw_overlay(picture, heat(), opacity=0)):
        assert out.tobytes() == picture.tobytes()
        assert out is not picture


def test_zero_of_a_signed_map_leaves_the_picture_and_its_ends_have_the_colors():
    values = np.array([[-2.0, 0.0, 4.0]])
    out = np.asarray(draw_overlay(Image.new("RGB", (300, 10)), values, signed=True, opacity=1)).astype(int)
    table = make_color_table("diverging").astype(int)
    assert out[5, 150].max() <= 3  # black, as the picture is
    assert np.abs(out[5, 299] - table[255]).max() <= 1
    assert np.abs(out[5, 0] - table[64] / 2).max() <= 4  # half of the largest magnitude: half transparent


@pytest.mark.parametrize(
    ("options", "title"),
    [
        ({"signed": True}, "What speaks for and against “tabby”, 50.0 %"),
        ({"class_independent": True}, "The strongest pattern at conv; it does not depend on the class"),
        ({}, "Where the network sees “tabby”, 50.0 %"),
    ],
)
def test_the_title_says_what_the_map_is(monkeypatch, options, title):
    said = record(monkeypatch, figure)
    draw_cam(gradient(80, 60), heat(), label="tabby", probability=0.5, layer="conv", **options)
    assert said[0] == title
    draw_cam_sheet(gradient(80, 60), [CamMap(heat(), "a"), CamMap(heat(), "b")], signed=True)
    assert "What speaks for and against its first guesses" in said


@pytest.mark.parametrize("size", [(30, 20), (20, 30), (1, 1), (1, 900), (2000, 3), (451, 300), (1200, 1600)])
def test_figures_of_pictures_of_any_size(size):
    figure = draw_cam(gradient(*size), heat(), label="tabby", probability=0.5)
    assert_margin(figure)
    assert 400 < figure.width < 1000
    assert figure.height < 650
    sheet = draw_cam_sheet(gradient(*size), [CamMap(heat(seed=n), f"class {n}", 0.3) for n in range(3)])
    assert_margin(sheet)
    assert sheet.width < 1500


def test_the_figure_shows_the_picture_and_the_overlay():
    picture = gradient(448, 300)
    figure = draw_cam(picture, heat(), label="tabby")
    left, top = find(figure, picture)
    assert find(figure, draw_overlay(picture, heat())) == (left + 448 + 16, top)


def test_what_the_network_did_not_see_is_dimmed_and_outlined():
    picture = gradient(448, 300)
    figure = np.asarray(draw_cam(picture, heat(), label="tabby", box=(100, 50, 300, 250)))
    left, top = find(draw_cam(picture, heat(), label="tabby"), picture)
    shown = figure[top : top + 300, left : left + 448].astype(int)
    assert (shown[50:250, 100:300][5:-5, 5:-5] == np.asarray(picture)[50:250, 100:300][5:-5, 5:-5]).all()
    assert (shown[50, 100:300] == 255).all()
    assert np.ptp(shown[:40]) < np.ptp(np.asarray(picture)[:40].astype(int)) / 2


@pytest.mark.parametrize("values", [np.zeros((7, 7)), heat()])
def test_an_empty_map_is_said_not_drawn(values, monkeypatch):
    said = record(monkeypatch, figure)
    picture = gradient(448, 300)
    drawn = draw_cam(picture, values, label="tabby", empty=True)
    assert "no positive evidence for “tabby”" in said
    left, top = find(drawn, picture)
    shown = np.asarray(drawn)[top : top + 300, left + 464 : left + 464 + 448]
    assert (shown[:120] == np.asarray(picture)[:120]).all()
    assert (shown[-120:] == np.asarray(picture)[-120:]).all()


def test_labels_and_probabilities_are_all_there(monkeypatch):
    said = record(monkeypatch, cam)
    draw_cam_sheet(gradient(100, 80), [CamMap(heat(), "tabby", 0.5), CamMap(heat(), LONG, 0.25), CamMap(heat(), "c")])
    assert "1. tabby (50.0 %)" in said
    assert "(25.0 %)" in said
    assert "3. c" in said


@pytest.mark.parametrize("label", AWKWARD)
def test_nothing_is_clipped(label):
    for empty in (False, True):
        entry = CamMap(heat(), label, 0.01, empty)
        assert_margin(draw_cam(gradient(30, 90), heat(), label=label, layer=label, method=label, empty=empty))
        assert_margin(draw_cam_sheet(gradient(90, 30), [entry] * 5, subtitle=label, title=label, size=64))
    assert_margin(draw_cam(gradient(64, 64), heat() - 0.5, label=label, signed=True, size=64))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda p: draw_overlay(p, np.zeros(3)), r"\(h, w\), not \(3,\)"),
        (lambda p: draw_overlay(p, np.full((2, 2), np.nan)), "NaN or infinite"),
        (lambda p: draw_overlay(p, heat(), opacity=1.5), "opacity must be 0 to 1, not 1.5"),
        (lambda p: draw_cam(p, heat(), label="x", size=8), "64 to 2048"),
        (lambda p: draw_cam(p, heat(), label="x", colormap="jet"), "no color map"),
        (lambda p: draw_cam_sheet(p, []), "no class activation maps"),
    ],
)
def test_what_cannot_be_drawn_is_refused(call, message):
    with pytest.raises(UsageError, match=message):
        call(gradient(20, 20))
