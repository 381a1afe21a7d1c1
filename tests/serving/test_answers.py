"""Answers and maps of detectors and segmenters on frames: those of `Model.detect`, `Model.segment` and `Model.cam`."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import inspector
from inspector.errors import NotComputable
from inspector.model import Model, open_model
from inspector.serving.frames import Frame
from inspector.serving.look import FrameFindings, Looker
from inspector.serving.views import Wanted
from tests.conftest import MakeModel, require
from tests.foreign import Net
from tests.serving.conftest import paint
from tests.tasks.heads import CASES
from tests.tasks.test_decoders import open_head

FRAME = paint(3, (90, 60))


def look(model: Model, *targets: int | str) -> FrameFindings:
    looker = Looker(model)
    looker.look(Frame(FRAME, time.time()), Wanted((), targets))
    return looker.look(Frame(FRAME, time.time()), Wanted((), targets))


@pytest.mark.parametrize("head", ["yolov8", "yolov8_pose", "yolov8_obb"])
def test_boxes_are_those_of_detect(head: str, make_model: MakeModel) -> None:
    [case] = [case for case in CASES if case.head == head]
    model, _ = open_head(make_model, case)
    found, own = look(model).answer, model.detect(FRAME)
    assert len(own) > 1
    boxes = found.about["boxes"]
    assert [one["index"] for one in boxes] == own.classes.tolist()
    np.testing.assert_allclose([one["box"] for one in boxes], own.boxes, rtol=1e-5)
    assert found.confidence == pytest.approx(float(own[0].score))
    assert boxes[0]["label"] == model.label(own[0].index)
    assert (boxes[0]["keypoints"] is not None) == (head == "yolov8_pose")
    assert (boxes[0]["corners"] is not None) == (head == "yolov8_obb")


def make_segmenter(make_model: MakeModel) -> Model:
    def build(n: Net, x: str) -> str:
        return n.conv(n("Relu", n.conv(x, 3, 6)), 6, 4, out="seg_logits")

    return open_model(make_model(build, shape=(1, 3, 48, 64)), threads=1)


def test_segments_are_those_of_segment(make_model: MakeModel) -> None:
    model = make_segmenter(make_model)
    assert model.task == "segment"
    found, own = look(model).answer, model.segment(FRAME)
    np.testing.assert_array_equal(found.plane, own.classes)
    for one in found.about["segments"]:
        assert one["share"] == pytest.approx((own.classes == one["index"]).mean(), abs=1e-6)
    assert own.confidence is not None
    assert found.confidence == pytest.approx(float(own.confidence.mean()), rel=1e-4)
    large = Looker(model).look(Frame(np.repeat(np.repeat(FRAME, 20, 0), 20, 1), 0.0), Wanted()).answer
    assert large.plane is not None
    assert large.plane.shape == (427, 640), "a mask is as large as what is shown"


def test_what_is_no_task_to_watch_has_an_empty_answer(make_model: MakeModel) -> None:
    model = open_model(make_model(lambda n, x: n("Relu", n.conv(x, 3, 4)), shape=(1, 3, 16, 16)), threads=1)
    assert dict(look(model).answer.about) == {}


@pytest.mark.slow
def test_maps_of_boxes_and_of_segments_take_one_run_and_are_those_of_cam(tmp_path: Path) -> None:
    require("torch")
    from tests.cam import detectors, test_areas

    detector = inspector.open_model(detectors.export(detectors.Detector().eval(), tmp_path / "boxes.onnx"), threads=1)
    segmenter = test_areas.make(tmp_path, 4, "none")[1]
    for model in (detector, segmenter):
        looker = Looker(model)
        frames = [Frame(FRAME, 0.0), Frame(FRAME[:, ::-1].copy(), 0.0)]
        for frame in (*frames, *frames):
            seen = looker.look(frame, Wanted((), ("best",)))
        before = looker.sessions.runs
        seen = looker.look(frames[0], Wanted((), ("best",)))
        assert looker.sessions.runs == before + 1
        [own] = model.cam(Image.fromarray(FRAME), classes=[seen.answer.best], top=1)
        found = seen.maps["best"]
        assert not isinstance(found, Exception), found
        np.testing.assert_allclose(found.heatmap, own.heatmap, atol=1e-4)
        nothing = looker.look(frames[0], Wanted((), (3 if seen.answer.best != 3 else 2,)))
        [result] = nothing.maps.values()
        assert not isinstance(result, Exception) or isinstance(result, NotComputable)
