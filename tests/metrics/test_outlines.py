"""Masks of outlines, and average precision by masks, against pycocotools."""

from __future__ import annotations

import contextlib
import io
from typing import Any

import numpy as np
import pytest

from inspector.metrics import AveragePrecision, Outline, Silhouette, compute_mask_overlaps, make_true_boxes
from inspector.metrics.outlines import count_runs, fill_polygon, read_packed_runs
from tests.conftest import require

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
SIDE = 60


def test_polygons_and_runs_hold_the_pixels_of_pycocotools() -> None:
    masks = require("pycocotools.mask")
    rng = np.random.default_rng(0)
    for turn in range(300):
        width, height = (int(side) for side in rng.integers(1, 70, 2))
        ring = rng.uniform(-3, max(width, height) + 3, (int(rng.integers(3, 9)), 2))
        ring = np.round(ring) if turn % 3 == 0 else ring
        [packed] = masks.frPyObjects([ring.ravel().tolist()], height, width)
        wanted = masks.decode(packed).astype(bool)
        np.testing.assert_array_equal(fill_polygon(ring, (width, height)), wanted)
        runs = read_packed_runs(packed["counts"].decode())
        np.testing.assert_array_equal(Outline(runs=runs).fill((width, height)), wanted)
        np.testing.assert_array_equal(Outline(runs=count_runs(wanted)).fill((width, height)), wanted)
    with pytest.raises(ValueError, match="run lengths of 9 pixels for 4 x 4"):
        Outline(runs=(4, 5)).fill((4, 4))
    with pytest.raises(ValueError, match="end too early"):
        read_packed_runs("o")


def random_scene(rng: np.random.Generator) -> dict[str, Any]:
    """Objects, some of two polygons and some crowds of runs, and masks like them; now and then nothing of either."""
    count = int(rng.integers(0, 5))
    centres = rng.uniform(8, 52, (count, 2))
    rings = [[c + rng.uniform(-14, 14, (5, 2)) for _ in range(rng.integers(1, 3))] for c in centres]
    crowd = rng.random(count) < 0.25
    outlines = [Outline(tuple(one)) for one in rings]
    filled = [one.fill((SIDE, SIDE)) for one in outlines]
    given = [Outline(runs=count_runs(mask)) if c else one for c, mask, one in zip(crowd, filled, outlines, strict=True)]
    own = rng.integers(0, 3, count)
    many = [int(rng.integers(1, 3)) for _ in range(count)]
    near = [np.roll(mask, tuple(rng.integers(-2, 3, 2)), (0, 1)) for m, mask in zip(many, filled, strict=True)
            for _ in range(m)]  # fmt: skip
    classes = [*np.repeat(own, many).tolist(), *rng.integers(0, 3, 2).tolist()]
    near += [fill_polygon(rng.uniform(0, SIDE, (4, 2)), (SIDE, SIDE)) for _ in range(2)]
    return {
        "outlines": given, "filled": filled, "crowd": crowd, "own": own, "found": near,
        "scores": np.round(rng.random(len(near)), 1).astype(np.float32), "classes": np.array(classes),
    }  # fmt: skip


def official(scenes: list[dict[str, Any]]) -> list[float]:
    """mAP50-95 and mAP50 of masks by COCO's own code."""
    coco, evaluation = require("pycocotools.coco"), require("pycocotools.cocoeval")
    masks = require("pycocotools.mask")
    truth, found = [], []
    for k, one in enumerate(scenes):
        for outline, mask, index, crowd in zip(one["outlines"], one["filled"], one["own"], one["crowd"], strict=True):
            shape: Any = [ring.ravel().tolist() for ring in outline.rings]
            if outline.runs:
                shape = {"counts": list(outline.runs), "size": [SIDE, SIDE]}
            truth.append({"id": len(truth) + 1, "image_id": k, "category_id": int(index), "iscrowd": int(crowd),
                          "area": float(mask.sum()), "bbox": [0, 0, 1, 1], "segmentation": shape})  # fmt: skip
        for mask, index, score in zip(one["found"], one["classes"], one["scores"], strict=True):
            packed = masks.encode(np.asfortranarray(mask.astype(np.uint8)))
            found.append({"image_id": k, "category_id": int(index), "score": float(score), "segmentation": packed})
    with contextlib.redirect_stdout(io.StringIO()):
        data = coco.COCO()
        data.dataset = {
            "images": [{"id": k, "width": SIDE, "height": SIDE} for k in range(len(scenes))],
            "categories": [{"id": k, "name": str(k)} for k in range(3)], "annotations": truth, "info": {},
        }  # fmt: skip
        data.createIndex()
        run = evaluation.COCOeval(data, data.loadRes(found), "segm")
        run.evaluate()
        run.accumulate()
        run.summarize()
    return [float(run.stats[0]), float(run.stats[1])]


@pytest.mark.parametrize("seed", range(3))
def test_precision_of_masks_equals_pycocotools(seed: int) -> None:
    rng = np.random.default_rng(seed)
    scenes = [random_scene(rng) for _ in range(20)]
    precision = AveragePrecision()
    for one in scenes:
        areas = [mask.sum() for mask in one["filled"]]
        truth = make_true_boxes(
            np.tile([0, 0, 1, 1], (len(areas), 1)),
            one["own"],
            crowd=one["crowd"],
            areas=areas,
            outlines=one["outlines"],
        )
        others = [Silhouette.cut(x.fill((SIDE, SIDE))) for x in one["outlines"]]
        judged = compute_mask_overlaps(one["found"], others, one["crowd"])
        precision.add(np.zeros((len(one["found"]), 4)), one["scores"], one["classes"], truth, judged)
    found = precision.summary()
    np.testing.assert_allclose([found.map50_95, found.map50], official(scenes), rtol=0, atol=1e-6)
    assert 0.01 < found.map50_95 < found.map50 < 1
