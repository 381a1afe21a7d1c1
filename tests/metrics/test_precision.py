"""Average precision against pycocotools."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from inspector.metrics import AREAS, AveragePrecision, TrueBoxes, make_true_boxes
from tests.conftest import require


@dataclass
class Picture:
    truth: TrueBoxes
    boxes: NDArray[np.float32]
    scores: NDArray[np.float32]
    classes: NDArray[np.int64]


def picture(truth: Sequence[Any] = (), found: Sequence[Any] = (), crowd: Sequence[int] = ()) -> Picture:
    """truth: rows of x1, y1, x2, y2, class; found: rows with a score behind; crowd: which of truth are one."""
    own = np.array(truth, float).reshape(-1, 5)
    got = np.array(found, np.float32).reshape(-1, 6)
    one = make_true_boxes(own[:, :4], own[:, 4], crowd=np.isin(np.arange(len(own)), crowd))
    return Picture(one, got[:, :4], got[:, 5], got[:, 4].astype(np.int64))


def random_pictures(seed: int, count: int = 25, classes: int = 4) -> list[Picture]:
    """Objects of all sizes, and detections near some of them, doubled, of other classes, and anywhere."""
    rng = np.random.default_rng(seed)
    pictures = []
    for _ in range(count):
        sizes = rng.choice([12, 50, 140], (rng.integers(0, 7), 1)) * rng.uniform(0.6, 1.4, (1, 2))
        corners = rng.uniform(0, 300, (len(sizes), 2))
        boxes = np.concatenate([corners, corners + sizes], axis=1)
        own = rng.integers(0, classes, len(boxes))
        near = np.repeat(boxes, rng.integers(0, 4, len(boxes)), axis=0)
        near = near + rng.normal(0, 0.1, near.shape) * np.tile(near[:, 2:] - near[:, :2], 2)
        anywhere = rng.uniform(0, 150, (rng.integers(0, 4), 4))
        near = np.concatenate([near, anywhere + np.array([0, 0, 150, 150])])
        given = rng.integers(0, classes, len(near))
        hits = rng.random(len(near)) < 0.8
        overlap = np.abs(near[:, None] - boxes[None]).sum(axis=2) if len(boxes) else None
        if overlap is not None:
            given = np.where(hits, own[overlap.argmin(axis=1)], given)
        scores = np.round(rng.random(len(near)), 1).astype(np.float32)  # many are equal
        crowd = rng.random(len(boxes)) < 0.2
        areas = np.prod(sizes, axis=1) * rng.uniform(0.5, 1, len(boxes))
        truth = make_true_boxes(boxes, own, crowd=crowd, areas=areas)
        pictures.append(Picture(truth, near.astype(np.float32), scores, given))
    return pictures


HAND_MADE = {
    "empty": [picture()],
    "no detection": [picture([(0, 0, 10, 10, 0)])],
    "no object": [picture(found=[(0, 0, 10, 10, 0, 0.9)])],
    "one right": [picture([(0, 0, 50, 50, 0)], [(0, 0, 50, 50, 0, 0.9)])],
    "half": [picture([(0, 0, 10, 10, 0)], [(0, 0, 10, 5, 0, 0.9)])],
    "twice": [picture([(0, 0, 99, 99, 1)], [(0, 0, 99, 90, 1, 0.5), (0, 0, 99, 99, 1, 0.4)])],
    "only a crowd": [picture([(0, 0, 90, 90, 1)], [(0, 0, 9, 9, 1, 0.5)], crowd=[0])],
    "in a crowd": [
        picture(
            [(0, 0, 90, 90, 1), (5, 5, 25, 25, 1)],
            [(5, 5, 25, 24, 1, 0.5), (40, 40, 60, 60, 1, 0.9), (60, 60, 80, 80, 1, 0.8), (80, 80, 130, 130, 1, 0.95)],
            crowd=[0],
        )
    ],
    "beyond a hundred": [picture([(0, 0, 40, 40, 0)], [(50, 50, 90, 90, 0, 0.9)] * 100 + [(0, 0, 40, 40, 0, 0.1)])],
    "two alike": [
        picture([(0, 0, 40, 40, 0), (0, 0, 40, 40, 0)], [(0, 0, 40, 39, 0, 0.9), (0, 1, 40, 40, 0, 0.8)]),
        picture([(9, 9, 40, 40, 2)], [(9, 9, 40, 40, 0, 0.85)]),
    ],
}


def official(pictures: Sequence[Picture]) -> NDArray[np.float64]:
    """COCO's own twelve numbers of bounding boxes; -1 where there is nothing to average."""
    coco, evaluation = require("pycocotools.coco"), require("pycocotools.cocoeval")
    truth, found = [], []
    for k, one in enumerate(pictures):
        for box, index, crowd, area in zip(
            one.truth.boxes, one.truth.classes, one.truth.crowd, one.truth.areas, strict=True
        ):
            truth.append({"id": len(truth) + 1, "image_id": k, "category_id": int(index), "iscrowd": int(crowd),
                          "area": area, "bbox": [*box[:2], *(box[2:] - box[:2])]})  # fmt: skip
        for box, index, score in zip(one.boxes.astype(float), one.classes, one.scores, strict=True):
            found.append({"image_id": k, "category_id": int(index), "score": float(score),
                          "bbox": [*box[:2], *(box[2:] - box[:2])]})  # fmt: skip
    with contextlib.redirect_stdout(io.StringIO()):
        data = coco.COCO()
        data.dataset = {
            "images": [{"id": k} for k in range(len(pictures))],
            "categories": [{"id": k, "name": str(k)} for k in range(4)],
            "annotations": truth,
            "info": {},
        }
        data.createIndex()
        results = data.loadRes(found) if found else coco.COCO()
        run = evaluation.COCOeval(data, results, "bbox")
        run.params.imgIds, run.params.catIds = list(range(len(pictures))), list(range(4))
        run.evaluate()
        run.accumulate()
        run.summarize()
    return np.array([*run.stats, *per_class(run.eval["precision"])])


def per_class(precision: NDArray[np.float64]) -> list[float]:
    parts = [precision[:, :, k, 0, 2] for k in range(4)]
    return [float(part.mean()) if (part > -1).all() else -1.0 for part in parts]


def ours(pictures: Sequence[Picture]) -> NDArray[np.float64]:
    precision = AveragePrecision()
    for one in pictures:
        precision.add(one.boxes, one.scores, one.classes, one.truth)
    found = precision.summary()
    areas = [found.by_area[name] for name in AREAS if name != "all"]
    classes = [found.by_class.get(k, -1) for k in range(4)]
    return np.nan_to_num([found.map50_95, found.map50, found.map75, *areas, found.recall, *classes], nan=-1.0)


@pytest.mark.parametrize(
    "pictures", [*HAND_MADE.values(), *(random_pictures(seed) for seed in range(4))], ids=[*HAND_MADE, *"abcd"]
)
def test_the_figures_are_those_of_pycocotools(pictures: list[Picture]) -> None:
    reference = official(pictures)
    wanted = [0, 1, 2, 3, 4, 5, 8, 12, 13, 14, 15]
    np.testing.assert_allclose(ours(pictures), reference[wanted], rtol=0, atol=1e-6)


def test_difficult_objects_are_neither_right_nor_wrong() -> None:
    precision = AveragePrecision()
    truth = make_true_boxes([[0, 0, 50, 50], [60, 60, 90, 90]], [0, 0], difficult=[False, True])
    boxes = np.array([[60, 60, 90, 90], [60, 60, 90, 91], [0, 0, 50, 50], [0, 0, 50, 49]])
    precision.add(boxes, np.array([0.9, 0.8, 0.7, 0.6]), np.zeros(4, int), truth)
    assert precision.summary().map50_95 == pytest.approx(1)
    assert precision.objects == {0: 1}
    scores, right = precision.judged()
    assert scores.tolist() == pytest.approx([0.7, 0.6])
    assert right.tolist() == [True, False]


def test_recall_at_a_confidence_and_broken_numbers() -> None:
    precision = AveragePrecision()
    truth = make_true_boxes([[0, 0, 50, 50], [60, 60, 90, 90], [0, 0, 9, 9]], [0, 0, 2])
    boxes = np.array([[0, 0, 50, 50], [60, 60, 90, 90], [np.nan, 0, 9, 9], [0, 0, 9, 9]])
    precision.add(boxes, np.array([0.9, 0.2, 0.9, np.nan]), np.array([0, 0, 2, 2]), truth)
    assert precision.recalls() == {0: 1.0, 2: 0.0}
    assert precision.recalls(0.5) == {0: 0.5, 2: 0.0}
    assert AveragePrecision().recalls() == {}
    assert np.isnan(AveragePrecision().summary().map50)
