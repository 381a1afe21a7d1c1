import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageDraw

from inspector.render import text
from inspector.render.text import (
    choose_ticks,
    draw_digits,
    draw_text,
    draw_text_mask,
    format_percent,
    format_ticks,
    format_value,
    make_drawable,
    measure_text,
    shorten,
    wrap,
)

ANY_TEXT = st.text(max_size=60)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(ANY_TEXT, st.integers(8, 20), st.integers(30, 300))
def test_any_text_can_be_measured_drawn_shortened_and_wrapped(words, size, limit):
    mask = draw_text_mask(words, size)
    assert mask.shape[1] == max(1, measure_text(words, size))
    assert mask.shape[0] == draw_text_mask("x", size).shape[0]
    assert measure_text(shorten(words, size, limit), size) <= limit
    lines = wrap(words, size, limit, 3)
    assert len(lines) <= 3
    assert all(measure_text(line, size) <= limit for line in lines)
    if not any("…" in line for line in lines):
        assert "".join("".join(lines).split()) == "".join(make_drawable(words).split())


def test_text_is_drawn_as_pillow_draws_it():
    words = "features.28 conv 14"
    canvas = Image.new("L", (measure_text(words, 12) + 4, 24))
    ImageDraw.Draw(canvas).text((0, 0), words, fill=255, font=text._font("", 12))
    theirs = np.asarray(canvas).astype(int)
    ours = draw_text_mask(words, 12).astype(int)
    # Pillow moves some pairs of letters closer by kerning; here each keeps its own width.
    assert abs(ours.sum() - theirs.sum()) < 0.02 * theirs.sum()
    assert (ours.any(axis=1) == theirs[: ours.shape[0]].any(axis=1)).all()


def test_letters_that_reach_beyond_their_width_are_whole():
    cell, beyond = text._cell("j", 14)
    mask = draw_text_mask("aja", 14)
    if beyond is not None:
        assert mask.astype(int).sum() > 0.97 * sum(int(draw_text_mask(c, 14).sum()) for c in "aja")
    assert mask.shape[1] == cell.shape[1] + 2 * draw_text_mask("a", 14).shape[1]


def test_bold_is_heavier_and_no_wider():
    assert draw_text_mask("Title", 17, True).sum() > 1.1 * draw_text_mask("Title", 17).sum()
    assert draw_text_mask("Title", 17, True).shape == draw_text_mask("Title", 17).shape


def test_what_the_face_lacks_is_spelled_out():
    assert make_drawable("7×7 – café “ß”\n\t…") == "7x7 - cafe “ss” …"
    assert make_drawable("a\x00b\u202ec") == "a b c"


def test_scripts_no_face_knows_become_question_marks(monkeypatch):
    monkeypatch.setattr(text, "_SYSTEM_FACES", ("no such face.ttf",))
    text._face_for.cache_clear()
    assert text._face_for("大象 elephant") == ("", "?? elephant")
    text._face_for.cache_clear()


def test_an_installed_face_is_used_where_it_has_the_letters(monkeypatch):
    matplotlib = pytest.importorskip("matplotlib")
    face = f"{matplotlib.get_data_path()}/fonts/ttf/DejaVuSans.ttf"
    monkeypatch.setattr(text, "_SYSTEM_FACES", (face,))
    text._face_for.cache_clear()
    assert text._face_for("жук") == (face, "жук")
    assert text._face_for("大")[0] == ""
    assert draw_text_mask("жук", 12).max() > 200
    assert draw_text_mask("жук", 12).shape == (draw_text_mask("x", 12).shape[0], measure_text("жук", 12))
    for cached in (text._face_for, text.measure_text, text.draw_text_mask):
        cached.cache_clear()


def test_the_middle_is_cut_out_of_names():
    name = "features.28.block.5.conv_pw/Conv_output_0"
    cut = shorten(name, 12, 120, middle=True)
    assert cut.startswith("feat")
    assert cut.endswith("put_0")
    assert shorten(name, 12, 120).startswith("features.")


def test_a_label_of_a_million_letters_takes_no_time():
    label = "ab c" * 250_000
    assert len(make_drawable(label)) <= 1001
    assert len(wrap(label, 12, 300, 2)) == 2


def test_a_word_wider_than_the_line_is_broken_not_lost():
    assert "".join(wrap("a" * 100, 12, 100, 20)) == "a" * 100


def test_digits_are_the_texts_own():
    glyphs = draw_digits(10)
    for digit in range(10):
        mask = draw_text_mask(str(digit), 10)
        assert (glyphs[digit][:, : mask.shape[1]].sum()) == mask.sum()
    assert len({glyph.tobytes() for glyph in glyphs}) == 10


def test_text_is_drawn_where_it_is_asked():
    for align, left in (
        ("left", 50),
        ("middle", 50 - measure_text("abc", 12) / 2),
        ("right", 50 - measure_text("abc", 12)),
    ):
        canvas = Image.new("L", (100, 30), 255)
        draw_text(ImageDraw.Draw(canvas), (50, 5), "abc", 12, 0, align)
        columns = np.flatnonzero((np.asarray(canvas) < 255).any(axis=0))
        assert abs(columns[0] - left) <= 2


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (0, "0"),
        (-0.0, "0"),
        (0.12345, "0.123"),
        (12.345, "12.3"),
        (6, "6"),
        (100, "100"),
        (1234.5, "1234"),
        (1e-5, "1e-05"),
        (123456, "1.23e+05"),
        (-2.5, "-2.5"),
        (math.inf, "inf"),
        (math.nan, "nan"),
    ],
)
def test_numbers_are_short(value, shown):
    assert format_value(value) == shown


def test_only_all_is_100_percent_and_only_none_is_0():
    shown = [format_percent(f) for f in (0, 1e-9, 0.0004, 0.001, 0.123, 0.9994, 0.99999, 1)]
    assert shown == ["0 %", "< 0.1 %", "< 0.1 %", "0.1 %", "12.3 %", "99.9 %", "> 99.9 %", "100 %"]


@settings(max_examples=200, deadline=None, derandomize=True)
@given(st.floats(allow_nan=False, allow_infinity=False), st.floats(allow_nan=False, allow_infinity=False))
def test_ticks_are_in_their_range_and_have_a_label_each(a, b):
    low, high = min(a, b), max(a, b)
    values = choose_ticks(low, high)
    slack = 1e-6 * max(high / 2 - low / 2, 1e-300)
    assert 1 <= len(values) <= 12
    assert all(low - slack <= v <= high + slack for v in values)
    assert len(format_ticks(values)) == len(values)


@pytest.mark.parametrize(("low", "high"), [(0, 6), (-2.1, 4.4), (-1, 1), (-0.003, 5), (0, 1e-8), (-1e30, 1e30)])
def test_zero_is_a_tick_wherever_it_is_in_the_range(low, high):
    values = choose_ticks(low, high)
    assert 0 in values
    assert float(format_ticks(values)[values.index(0)]) == 0


def test_tick_labels_tell_their_values_apart():
    for low, high in ((0, 1), (1000, 1000.01), (0, 0.004), (-3e5, 3e5), (0, 2e-9)):
        labels = format_ticks(choose_ticks(low, high))
        assert len(set(labels)) == len(labels)
