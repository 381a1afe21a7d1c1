"""Suppression against torchvision's, and what both leave."""

from __future__ import annotations

import math
from types import ModuleType

import numpy as np
import pytest

from inspector.tasks.candidates import enclose, find_corners
from inspector.tasks.suppress import measure_iou, measure_probabilistic_iou, suppress
from tests.conftest import require


def make_boxes(seed: int, many: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Boxes that overlap, scores with ties, classes."""
    rng = np.random.default_rng(seed)
    corner = rng.uniform(0, 200, (many, 2))
    boxes = np.concatenate([corner, corner + rng.uniform(0, 120, (many, 2))], axis=1).astype(np.float32)
    boxes[: many // 50] = boxes[-(many // 50) - 1 : -1]  # the same box twice
    return boxes, np.round(rng.random(many), 3).astype(np.float32), rng.integers(0, 5, many)


@pytest.mark.parametrize(("many", "limit"), [(0, 0.5), (1, 0.5), (300, 0.7), (3000, 0.45), (3000, 0.0), (5000, 0.7)])
def test_the_same_as_torchvision(torch: ModuleType, many: int, limit: float) -> None:
    from torchvision.ops import nms

    boxes, scores, classes = make_boxes(many, many)
    found = suppress(boxes, scores, classes, limit)
    # batched_nms moves the classes apart by large offsets, or runs nms for each class as here, which loses no digits.
    expected: list[int] = []
    for index in np.unique(classes):
        own = np.flatnonzero(classes == index)
        expected += own[nms(torch.from_numpy(boxes[own]), torch.from_numpy(scores[own]), limit).numpy()].tolist()
    assert sorted(found.tolist()) == sorted(expected)
    assert (np.diff(scores[found]) <= 0).all()


def test_the_same_as_batched_suppression(torch: ModuleType) -> None:
    require("torchvision")
    from torchvision.ops import batched_nms

    rng = np.random.default_rng(5)
    boxes, _, classes = make_boxes(5, 2000)
    scores = rng.permutation(2000).astype(np.float32) / 2000  # without ties the order is one
    there = batched_nms(torch.from_numpy(boxes), torch.from_numpy(scores), torch.from_numpy(classes), 0.6)
    assert suppress(boxes, scores, classes, 0.6).tolist() == there.tolist()
    assert suppress(boxes, scores, classes, 0.6, most=7).tolist() == there[:7].tolist()


def test_boxes_without_an_area_stay() -> None:
    boxes = np.array([[3, 3, 3, 3], [3, 3, 3, 3], [0, 0, 9, 9]], np.float32)
    assert suppress(boxes, np.array([0.9, 0.8, 0.7]), np.zeros(3, np.int64), 0.5).tolist() == [0, 1, 2]
    assert math.isnan(measure_iou(boxes[0], boxes[1:2])[0])


def test_oriented_boxes() -> None:
    """The overlap does not depend on how a box is turned as a whole, is 1 for the same and small for crossed ones."""
    box = np.array([10, 20, 40, 8, 0.3])
    turned = np.array([[10, 20, 8, 40, 0.3 + np.pi / 2], [10, 20, 40, 8, 0.3 + np.pi / 2], [500, 20, 40, 8, 0.3]])
    same, crossed, far = measure_probabilistic_iou(box, turned)
    assert same == pytest.approx(1, abs=1e-3)
    assert 0 < crossed < 0.5
    assert far == pytest.approx(0, abs=1e-6)
    boxes = np.zeros((3, 4), np.float32)
    rotated = np.array([box, turned[0], turned[1]], np.float32)
    assert suppress(boxes, np.array([0.5, 0.9, 0.8]), np.zeros(3, np.int64), 0.7, rotated).tolist() == [1, 2]


def test_the_hellinger_distance_is_that_of_the_densities() -> None:
    """Integrated numerically: the Bhattacharyya coefficient of the two Gaussians."""
    one, other = np.array([0.0, 0, 6, 2, 0.4]), np.array([1.0, 0.5, 4, 3, -0.2])
    y, x = np.mgrid[-12:12:0.02, -12:12:0.02]

    def density(box: np.ndarray) -> np.ndarray:
        cos, sin = np.cos(box[4]), np.sin(box[4])
        u, v = (x - box[0]) * cos + (y - box[1]) * sin, -(x - box[0]) * sin + (y - box[1]) * cos
        a, b = box[2] ** 2 / 12, box[3] ** 2 / 12
        return np.asarray(np.exp(-(u**2 / a + v**2 / b) / 2) / (2 * np.pi * np.sqrt(a * b)))

    coefficient = np.sqrt(density(one) * density(other)).sum() * 0.02**2
    expected = 1 - math.sqrt(1 - coefficient)
    assert measure_probabilistic_iou(one, other[None])[0] == pytest.approx(expected, abs=1e-4)


def test_an_oriented_box_goes_for_a_box_that_went_itself() -> None:
    """As Ultralytics has it: of a chain of boxes only the best stays, where upright ones lose every other link."""
    chain = np.array([[10 * k, 50, 40, 10, 0.2] for k in range(4)], np.float32)
    scores, classes = np.array([0.9, 0.8, 0.7, 0.6]), np.zeros(4, np.int64)
    next_ones = [measure_probabilistic_iou(chain[0], chain[k : k + 1])[0] for k in (1, 2)]
    limit = float(np.mean(next_ones))
    assert next_ones[0] > limit > next_ones[1]
    upright = enclose(find_corners(chain))
    assert suppress(upright, scores, classes, limit, chain).tolist() == [0]
    assert suppress(upright, scores, np.array([0, 1, 0, 1]), limit, chain).tolist() == [0, 1, 2, 3]
    assert suppress(upright, scores, classes, limit, chain, most=1).tolist() == [0]


def test_oriented_boxes_by_the_definition_in_loops() -> None:
    rng = np.random.default_rng(0)
    boxes = np.concatenate([rng.uniform(0, 60, (80, 2)), rng.uniform(8, 40, (80, 2)), rng.uniform(0, 3, (80, 1))], 1)
    scores, classes = rng.permutation(80) / 80, rng.integers(0, 2, 80)
    wanted = []
    for i in sorted(range(80), key=lambda one: -scores[one]):
        better = [j for j in range(80) if scores[j] > scores[i] and classes[j] == classes[i]]
        if all(measure_probabilistic_iou(boxes[j], boxes[i : i + 1])[0] <= 0.3 for j in better):
            wanted.append(i)
    assert suppress(enclose(find_corners(boxes)), scores, classes, 0.3, boxes).tolist() == wanted
    assert 5 < len(wanted) < 70
