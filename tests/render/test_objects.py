"""Objects and segments drawn onto pictures."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image, ImageDraw

from inspector.render.objects import Mark, choose_color, draw_indices, draw_objects, draw_segments, to_picture
from inspector.render.text import draw_text_mask

SIZES = [(1, 1), (8000, 200), (200, 3000), (3, 900), (640, 480)]


def grey(size: tuple[int, int]) -> Image.Image:
    return Image.new("RGB", size, (128, 128, 128))


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, tuple[int, int, int, int], tuple[int, int]]]:
    """Every line of text that is drawn: what, where (left, top, right, bottom), and the size of the sheet."""
    from inspector.render import objects

    lines: list[tuple[str, tuple[int, int, int, int], tuple[int, int]]] = []
    real = objects.draw_text

    def draw_text(draw: ImageDraw.ImageDraw, xy: tuple[int, int], text: str, size: int, fill: object) -> None:
        mask = draw_text_mask(text, size)
        lines.append((text, (*xy, xy[0] + mask.shape[1], xy[1] + mask.shape[0]), draw.im.size))
        real(draw, xy, text, size, fill)  # type: ignore[arg-type]

    monkeypatch.setattr(objects, "draw_text", draw_text)
    return lines


Said = list[tuple[str, tuple[int, int, int, int], tuple[int, int]]]


@pytest.mark.parametrize("size", SIZES)
def test_names_are_whole_in_any_picture(size: tuple[int, int], said: Said) -> None:
    """A box that fills the picture leaves no room above it: the name moves inside or beside, and is not cut."""
    width, height = size
    sheet = draw_objects(grey(size), [Mark("cat", 0.98, 0, (0, 0, width, height))])
    scale = max(1, -(-320 // max(size)))
    assert sheet.width >= max(width * scale, 280)
    assert sheet.height >= max(height * scale, 72)
    [(text, (left, top, right, bottom), room)] = said
    assert text == "cat 0.98"
    assert 0 <= left < right <= room[0]
    assert 0 <= top < bottom <= room[1]


def test_boxes_masks_keypoints_and_oriented_boxes_are_where_they_belong() -> None:
    mask = np.zeros((300, 400), np.bool_)
    mask[100:150, 40:80] = True
    corners = np.array([[300, 100], [350, 150], [300, 200], [250, 150]], np.float32)
    points = np.array([[60, 250, 0.9], [np.nan, 3, 1], [90, 250, 0.0]], np.float32)
    marks = [
        Mark("a", 0.9, 1, (40, 100, 80, 150), mask=mask),
        Mark("b", 0.8, 2, (250, 100, 350, 200), corners=corners),
        Mark("c", 0.7, 3, (30, 220, 120, 280), keypoints=points),
    ]
    sheet = np.asarray(draw_objects(grey((400, 300)), marks))
    assert tuple(sheet[125, 40]) == choose_color(1)
    tint = np.rint(128 * 0.55 + np.array(choose_color(1)) * 0.45)
    np.testing.assert_allclose(sheet[130, 60], tint, atol=1)
    assert tuple(sheet[125, 120]) == (128, 128, 128)
    for x, y in ((325, 125), (325, 175), (275, 125)):
        assert tuple(sheet[y, x]) == choose_color(2)
    assert tuple(sheet[102, 255]) == (128, 128, 128)
    assert tuple(sheet[250, 60]) == choose_color(3)
    assert tuple(sheet[250, 90]) == (128, 128, 128)


def test_a_crowd_stays_readable(said: Said) -> None:
    """300 objects: no name covers another one; a box beyond the picture does no harm."""
    rng = np.random.default_rng(0)
    corner = rng.uniform(-20, 400, (300, 2))
    boxes = np.concatenate([corner, corner + rng.uniform(1, 90, (300, 2))], axis=1)
    marks = [Mark("person", 0.5, 0, tuple(box)) for box in boxes.tolist()]
    sheet = draw_objects(grey((400, 300)), marks)
    assert sheet.size == (800, 600)
    assert 10 < len(said) < 300
    for at, (text, (left, top, right, bottom), _) in enumerate(said):
        assert text == "0.50"  # all are persons
        assert not any(left < r and x < right and top < b and y < bottom for _, (x, y, r, b), _ in said[:at])
    assert draw_objects(grey((400, 300)), []).size == (400, 300)


def test_a_segment_is_tinted_and_named_below(said: Said) -> None:
    classes = np.zeros((300, 400), np.int32)
    classes[:, 200:] = 5
    classes[:10] = -1
    sheet = draw_segments(grey((400, 300)), classes, [(0, "road", 0.49), (5, "a very long name " * 20, 0.48)])
    pixels = np.asarray(sheet)
    assert sheet.height > 300
    assert tuple(pixels[5, 5]) == (128, 128, 128)
    np.testing.assert_allclose(pixels[200, 300], np.rint(128 * 0.55 + np.array(choose_color(5)) * 0.45), atol=1)
    assert next(text for text, _, _ in said) == "49.0 % road"
    assert said[1][0].endswith("…")
    assert all(right <= 400 and top >= 300 and bottom <= sheet.height for _, (_, top, right, bottom), _ in said)


@pytest.mark.parametrize(("most", "mode", "none"), [(3, "P", 255), (254, "P", 255), (255, "I;16", 65535)])
def test_an_indexed_picture_holds_the_classes(most: int, mode: str, none: int) -> None:
    classes = np.array([[-1, 0], [1, most]], np.int32)
    image = draw_indices(classes)
    assert image.mode == mode
    assert np.asarray(image).tolist() == [[none, 0], [1, most]]
    if mode == "P":
        assert image.convert("RGB").getpixel((0, 1)) == choose_color(1)


@pytest.mark.parametrize(
    ("values", "low", "high"),
    [([0, 0.5, 1.02], 0, 1), ([-1, 0, 1], -1, 1), ([0, 200, 255], 0, 255), ([-7, 3, 900], -7, 900)],
)
def test_the_range_of_a_picture_is_told(values: list[float], low: float, high: float) -> None:
    array = np.array(values * 3, np.float32).reshape(1, 3, 3)
    assert to_picture(array)[1] == (low, high)
    plane, spread = to_picture(np.array([[0.2, 0.4, np.nan]], np.float32))
    assert spread == pytest.approx((0.2, 0.4))
    assert np.asarray(plane)[0, :2].tolist() == [0, 255]


def test_neighbors_in_number_have_other_colors() -> None:
    colors = np.array([choose_color(i) for i in range(80)], float)
    assert np.linalg.norm(np.diff(colors, axis=0), axis=1).min() > 60
    assert len({choose_color(i) for i in range(80)}) == 80
