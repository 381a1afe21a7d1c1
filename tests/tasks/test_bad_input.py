"""Detectors that find nothing, too much, or what is no number; pictures of odd sizes."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from inspector.model import open_model
from tests.conftest import MakeModel
from tests.tasks.heads import make_head
from tests.tasks.test_decoders import write_document

BLANK = np.full((64, 64, 3), 90, np.uint8)
SOUND = (20, 20, 40, 40, 0.9)


def open_rows(
    make_model: MakeModel, *rows: tuple[float, ...], warn: Callable[[str], None] | None = None, labels: int = 1
):  # type: ignore[no-untyped-def]
    """A detector (1, 300, 6) with these rows; a row without a class is of class 0."""
    values = np.zeros((1, 300, 6), np.float32)
    for at, row in enumerate(rows):
        values[0, at, : len(row)] = row
    path = make_model(make_head({"output0": values}), metadata=write_document(labels))
    return open_model(path, warn=warn)


def test_nothing_is_found(make_model: MakeModel) -> None:
    found = open_rows(make_model).detect(BLANK)
    assert (len(found), list(found), found.boxes.shape, found.size) == (0, [], (0, 4), (64, 64))


def test_at_most_300(make_model: MakeModel) -> None:
    rng = np.random.default_rng(0)
    rows = np.concatenate([rng.uniform(0, 60, (5376 // 64, 2)), np.full((84, 2), 3), rng.uniform(0.5, 1, (84, 8))], 1)
    model = open_model(make_model(make_head({"output0": rows.T[None]})))
    assert len(model.detect(BLANK, iou=1.0)) == 84
    many = [(i % 60, i // 60, i % 60 + 2, i // 60 + 2, 0.5 + i / 1000) for i in range(300)]
    found = open_rows(make_model, *many).detect(BLANK)
    assert len(found) == 300
    assert (np.diff(found.scores) <= 0).all()


def test_what_is_no_number_is_left_out_and_said(make_model: MakeModel) -> None:
    lines: list[str] = []
    nan, inf = float("nan"), float("inf")
    rows = (SOUND, (20, 20, 40, 40, nan), (nan, 20, 40, 40, 0.8), (20, 20, inf, 40, 0.8))
    found = open_rows(make_model, *rows, warn=lines.append).detect(BLANK)
    assert [round(one.score, 3) for one in found] == [0.9]
    assert lines == ["3 of 4 objects have a score or a box that is not finite: left out"]


def test_boxes_beyond_the_picture_are_clipped(make_model: MakeModel) -> None:
    rows = ((-30, -5, 20, 90, 0.9), (70, 10, 90, 20, 0.8), (-9, -9, -1, -1, 0.7))
    [one] = open_rows(make_model, *rows).detect(BLANK)
    assert one.box == (0, 0, 20, 64)


def test_classes_beyond_the_names(make_model: MakeModel) -> None:
    model = open_rows(make_model, (*SOUND, 7), (1, 1, 9, 9, 0.5, 0), labels=2)
    assert [model.label(one.index) for one in model.detect(BLANK)] == ["class 7", "thing 0"]


@pytest.mark.parametrize("size", [(1, 1), (8000, 200), (200, 8000), (3, 64)])
def test_pictures_of_odd_sizes(size: tuple[int, int], make_model: MakeModel) -> None:
    width, height = size
    found = open_rows(make_model, (0, 0, 64, 64, 0.9), SOUND).detect(np.zeros((height, width, 3), np.uint8))
    assert found[0].box == pytest.approx((0, 0, width, height))
    assert all(0 <= x1 < x2 <= width and 0 <= y1 < y2 <= height for x1, y1, x2, y2 in found.boxes.tolist())
