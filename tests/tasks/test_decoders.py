"""Decoders against the same written in plain loops, each on a network that is run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from inspector.model import Model, open_model
from inspector.tasks.decoder import BoxDecoder
from inspector.tasks.decoders import DECODERS
from tests.conftest import MakeModel
from tests.tasks.heads import CASES, Case, make_head

BLANK = np.full((64, 64, 3), 90, np.uint8)
WITHOUT_LOOPS = {
    "yolov8_masks": "test_masks_of_prototypes",
    "dbnet": "tests/tasks/test_text.py",
    "segmenter": "tests/tasks/test_segments.py",
    "picture": "tests/tasks/test_segments.py",
    "embedding": "tests/tasks/test_segments.py",
}
"""Heads that are tested elsewhere."""


def write_document(labels: int | None, **more: Any) -> dict[str, str]:
    names = [f"thing {i}" for i in range(labels or 0)] or None
    return {"inspector": json.dumps({"schema": 1, "labels": names, **more})}


def open_head(make_model: MakeModel, case: Case, seed: int = 0) -> tuple[Model, dict[str, NDArray[Any]]]:
    outputs = case.make(np.random.default_rng(seed))
    path = make_model(make_head(outputs, raw=case.raw), metadata=write_document(case.labels))
    return open_model(path), outputs


def test_every_head_has_its_reference() -> None:
    tested = {case.head for case in CASES} | WITHOUT_LOOPS.keys()
    assert tested == DECODERS.keys(), "write the head in plain loops in tests/tasks/heads.py, and list it in CASES"


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.head)
def test_a_decoder_equals_plain_loops(case: Case, make_model: MakeModel) -> None:
    model, outputs = open_head(make_model, case)
    decoder = model.decoder
    assert isinstance(decoder, BoxDecoder)
    assert decoder.head == case.head
    assert model.task == ("pose" if case.head in ("yolov8_pose", "centerface", "yunet") else "detect")
    values = model.run(model.tensor(BLANK), decoder.outputs)
    found, expected = decoder.decode(values, (64, 64)), case.read(outputs)
    assert len(found) == len(expected)
    np.testing.assert_allclose(found.boxes, [one.box for one in expected], atol=0.01)
    np.testing.assert_allclose(found.scores, [one.score for one in expected], atol=1e-5)
    assert found.classes.tolist() == [one.index for one in expected]
    for one, there in zip(found.detections(), expected, strict=True):
        assert one.element is not None
        assert (one.element.tensor, one.element.index) == there.element
        assert np.ndim(values[one.element.tensor][one.element.index]) == 0
        if there.keypoints:
            np.testing.assert_allclose(one.keypoints, there.keypoints, atol=0.01)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.head)
def test_a_head_that_is_said_is_the_same(case: Case, make_model: MakeModel) -> None:
    outputs = case.make(np.random.default_rng(1))
    path = make_model(make_head(outputs), metadata=write_document(case.labels, head=case.head))
    model = open_model(path)
    assert model.decoder is not None
    assert model.decoder.head == case.head
    assert not any("outputs are those of" in line for line in model.assumed)
    assert len(model.detect(BLANK, confidence=0.3)) > 0


def test_masks_of_prototypes(make_model: MakeModel) -> None:
    rng = np.random.default_rng(3)
    boxes = np.concatenate([rng.uniform(16, 48, (84, 2)), rng.uniform(10, 40, (84, 2))], axis=1)
    scores, weights = rng.random((84, 2)), rng.normal(0, 1, (84, 8))
    planes = rng.normal(0, 1, (1, 8, 16, 16)).astype(np.float32)
    rows = np.concatenate([boxes, scores, weights], axis=1).astype(np.float32)
    model = open_model(make_model(make_head({"output0": rows.T[None], "output1": planes})))
    assert model.decoder is not None
    assert model.decoder.head == "yolov8_masks"
    found = model.detect(BLANK, confidence=0.9)
    assert len(found) > 3
    for one in found:
        assert one.element is not None
        assert one.mask is not None
        a = one.element.index[2]
        small = sum(weights[a, m] * planes[0, m].astype(np.float64) for m in range(8))
        x1, y1, x2, y2 = one.box
        for y in range(1, 63, 7):
            for x in range(1, 63, 5):
                u, v = (x + 0.5) / 4 - 0.5, (y + 0.5) / 4 - 0.5
                i, j = min(max(int(np.floor(v)), 0), 15), min(max(int(np.floor(u)), 0), 15)
                b, a_ = min(max(v - i, 0), 1), min(max(u - j, 0), 1)
                low, right = min(i + 1, 15), min(j + 1, 15)
                value = (1 - b) * ((1 - a_) * small[i, j] + a_ * small[i, right])
                value += b * ((1 - a_) * small[low, j] + a_ * small[low, right])
                inside = x1 <= x + 0.5 <= x2 and y1 <= y + 0.5 <= y2
                if abs(value) > 1e-4:
                    assert one.mask[y, x] == (inside and value > 0), (x, y)


def test_rows_of_a_suppression_in_the_graph(make_model: MakeModel) -> None:
    """(n, 7) of YOLOv7, (n, 6) whose number depends on the picture, keypoints and oriented boxes behind the class."""
    rows = np.array([[0, 1, 2, 30, 40, 5, 0.9], [0, 3, 3, 9, 9, 2, 0.5]], np.float32)
    model = open_model(make_model(make_head({"output": rows}), metadata=write_document(None, head="yolo_end_to_end")))
    first, second = model.detect(BLANK)
    assert (first.index, round(first.score, 3), first.box) == (5, 0.9, (1, 2, 30, 40))
    assert (second.index, second.box) == (2, (3, 3, 9, 9))
    turned = np.array([[[32, 32, 20, 10, 0.8, 1, np.pi / 2]]], np.float32)
    made = {"names": "{0: 'a', 1: 'b'}", "task": "obb", "imgsz": "[64, 64]", "args": "{'nms': True}"}
    model = open_model(make_model(make_head({"output0": turned}), metadata=made))
    [one] = model.detect(BLANK)
    np.testing.assert_allclose(one.box, (27, 22, 37, 42), atol=1e-3)
    assert one.corners is not None
    assert model.label(one.index) == "b"


def test_masks_of_torchvision(make_model: MakeModel) -> None:
    masks = np.zeros((1, 1, 64, 64), np.float32)
    masks[0, 0, 10:20, 12:30] = 0.9
    outputs = {"b": np.array([[10.0, 8, 40, 40]]), "l": np.array([3]), "s": np.array([0.8]), "m": masks}
    model = open_model(make_model(make_head(outputs)))
    [one] = model.detect(BLANK)
    assert one.mask is not None
    np.testing.assert_array_equal(one.mask, masks[0, 0] > 0.5)


def test_what_has_another_shape_than_its_head_is_told(make_model: MakeModel, tmp_path: Path) -> None:
    from inspector.errors import NotComputable

    model, _ = open_head(make_model, CASES[0])
    assert model.decoder is not None
    with pytest.raises(NotComputable, match=r"output 'output0' has the shape \(84, 10\), and yolov8 needs 3 axes"):
        model.decoder.fit({"output0": np.zeros((84, 10))}, "output0", 3)
