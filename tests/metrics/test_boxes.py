"""Overlaps and matches of boxes, pixels and confidence against loops written here."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
from numpy.typing import NDArray

from inspector.metrics import BoxAgreement, CalibrationSums, PixelCounts, compute_overlaps, match_boxes
from tests.conftest import require


@dataclass
class Found:
    boxes: NDArray[np.float32]
    classes: NDArray[np.int64]
    scores: NDArray[np.float32]


def found(*rows: tuple[float, ...]) -> Found:
    table = np.array(rows, np.float32).reshape(-1, 6)
    return Found(table[:, :4], table[:, 4].astype(np.int64), table[:, 5])


def test_overlaps_are_those_of_pycocotools() -> None:
    mask = require("pycocotools.mask")
    rng = np.random.default_rng(0)
    a, b = (np.concatenate([rng.uniform(0, 50, (n, 2)), rng.uniform(1, 50, (n, 2))], axis=1) for n in (20, 30))
    crowd = rng.random(30) < 0.3
    corners = [np.concatenate([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], axis=1) for boxes in (a, b)]
    np.testing.assert_allclose(compute_overlaps(*corners, crowd), mask.iou(a, b, crowd.tolist()), atol=1e-12)


@pytest.mark.parametrize(
    ("box", "expected"),
    [((0, 0, 4, 4), 0.25), ((9, 9, 9, 9), 0), ((5, 5, 2, 2), 0), ((np.nan, 0, 4, 4), 0), ((0, 0, 16, 16), 0.25)],
)
def test_odd_boxes_overlap_nothing(box: tuple[float, ...], expected: float) -> None:
    assert compute_overlaps(np.array([box]), np.array([[0, 0, 8, 8.0]]))[0, 0] == pytest.approx(expected)
    assert compute_overlaps(np.zeros((0, 4)), np.array([[0, 0, 8, 8.0]])).shape == (0, 1)


def test_in_a_crowd_the_own_area_counts() -> None:
    pair = compute_overlaps(np.array([[0, 0, 4, 4.0]]), np.array([[0, 0, 8, 8.0]] * 2), np.array([True, False]))
    assert pair.tolist() == [[1.0, 0.25]]


def test_each_box_is_matched_once_and_within_its_class() -> None:
    boxes = np.array([[0, 0, 10, 10], [0, 0, 10, 9], [0, 0, 10, 10], [50, 50, 60, 60.0]])
    others = np.array([[0, 0, 10, 8], [0, 0, 10, 10], [0, 0, 10, 10.0]])
    assert match_boxes(boxes, np.array([1, 1, 2, 1]), others, np.array([1, 1, 3])).tolist() == [1, 0, -1, -1]
    assert match_boxes(np.zeros((0, 4)), np.zeros(0), others, np.array([1, 1, 3])).tolist() == []


def test_agreement_counts_both_sides() -> None:
    agreement = BoxAgreement()
    assert agreement.share == 1  # neither finds anything
    agreement.add("a", found((0, 0, 10, 10, 0, 0.9), (50, 50, 60, 60, 0, 0.5)), found((0, 0, 10, 9, 0, 0.7)))
    agreement.add("b", found(), found())
    agreement.add("c", found(), found((0, 0, 9, 9, 1, 0.5)))
    assert agreement.share == pytest.approx(2 * 1 / 4)
    assert agreement.score_shift == pytest.approx(0.2)
    assert agreement.by_picture == {"a": pytest.approx(2 / 3), "c": 0}


def test_the_mean_overlap_of_masks_is_that_of_a_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("inspector.metrics.pixels._STRIP", 25)  # two rows at a time
    rng = np.random.default_rng(1)
    counts = PixelCounts(5)
    right, union = np.zeros(5), np.zeros(5)
    present = set()
    for _ in range(4):
        true = rng.choice([0, 1, 2, 3, 255], (9, 11)).astype(np.uint8)
        given = np.where(rng.random((9, 11)) < 0.6, np.minimum(true, 4), rng.integers(-1, 5, (9, 11)))
        judged = counts.add(true, given)
        for own, answer, is_judged in zip(true.flat, given.flat, judged.flat, strict=True):
            assert is_judged == (own != 255 and answer >= 0)
            if own == 255 or answer < 0:
                continue
            present.add(int(own))
            for k in range(5):
                right[k] += own == k and answer == k
                union[k] += own == k or answer == k
    assert set(counts.overlaps()) == present == {0, 1, 2, 3}
    assert counts.mean_overlap == pytest.approx(np.mean([right[k] / union[k] for k in sorted(present)]), abs=1e-12)
    assert counts.agreement == pytest.approx(right.sum() / counts.table.sum())
    assert counts.skipped + counts.table.sum() == 4 * 99
    assert np.isnan(PixelCounts(3).mean_overlap)


@pytest.mark.parametrize(("true", "given"), [([[7]], [[0]]), ([[0]], [[7]]), ([[0, 1]], [[0]])])
def test_masks_that_do_not_fit_are_refused(true: list[list[int]], given: list[list[int]]) -> None:
    with pytest.raises(ValueError, match=r"beyond the 5 classes|cannot be compared"):
        PixelCounts(5).add(np.array(true), np.array(given))


def test_calibration_may_be_summed_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("inspector.metrics.calibration._STRIP", 30)
    rng = np.random.default_rng(2)
    sure, right = rng.random(200), rng.random(200) < 0.7
    whole, parts = CalibrationSums(10), CalibrationSums(10)
    whole.add(sure, right)
    for at in range(0, 200, 50):
        parts.add(sure[at : at + 50].reshape(5, 10), right[at : at + 50].reshape(5, 10))
    error = 0.0
    for k in range(10):
        inside = [i for i in range(200) if k / 10 < sure[i] <= (k + 1) / 10]
        error += abs(sum(sure[i] for i in inside) - sum(right[i] for i in inside)) / 200
    assert whole.error == pytest.approx(error)
    assert parts.error == pytest.approx(error)
    assert whole.gap == pytest.approx(sure.mean() - right.mean())
    assert sum(row["pixels"] for row in parts.rows("pixels")) == 200
    assert CalibrationSums().error == 0
