"""Which head a file is taken for, by what, and how somebody says otherwise."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from inspector.errors import MetadataError, NotComputable, UsageError
from inspector.model import Model, open_model
from inspector.model.annotate import annotate_model
from inspector.tasks.decoders import DECODERS
from tests.conftest import MakeModel
from tests.foreign import Net
from tests.tasks.heads import make_head

BLANK = np.full((64, 64, 3), 90, np.uint8)
ULTRALYTICS = {"names": "{0: 'cat', 1: 'dog'}", "imgsz": "[64, 64]", "stride": "32"}


def random(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).random(shape).astype(np.float32)


HEADS: dict[str, dict[str, Any]] = {
    "yolov8": {"output0": random(1, 6, 84)},
    "yolov8_masks": {"output0": random(1, 38, 84), "output1": random(1, 32, 16, 16)},
    "yolov8_pose": {"output0": random(1, 6 + 27, 84)},
    "yolov8_obb": {"output0": random(1, 7, 84)},
    "yolo_end_to_end": {"output0": random(1, 300, 6)},
}
TASKS = {"yolov8_masks": "segment", "yolov8_pose": "pose", "yolov8_obb": "obb"}


@pytest.mark.parametrize("head", HEADS)
def test_metadata_of_ultralytics_says_head_names_and_preprocess(head: str, make_model: MakeModel) -> None:
    made = {**ULTRALYTICS, "task": TASKS.get(head, "detect"), "kpt_shape": "[9, 3]"}
    model = open_model(make_model(make_head(HEADS[head]), metadata=made))
    assert model.decoder is not None
    assert model.decoder.head == head
    assert model.labels == ("cat", "dog")
    assert model.classes == 2
    assert (model.preprocess.resize, model.preprocess.size, model.preprocess.scale) == ("pad", (64, 64), 1 / 255)
    [line] = [line for line in model.assumed if "outputs are those of" in line]
    assert "by Ultralytics's metadata and output0" in line
    assert "annotate --head says otherwise" in line


def test_a_classifier_of_ultralytics_stays_one(make_model: MakeModel) -> None:
    def build(net: Net, x: str) -> str:
        pooled = net("Flatten", net("GlobalAveragePool", net.conv(x, 3, 4)))
        return net("Softmax", net("Gemm", pooled, net.weight((2, 4)), transB=1), out="output0")

    made = {**ULTRALYTICS, "task": "classify"}
    model = open_model(make_model(build, shape=(1, 3, 64, 64), metadata=made))
    assert (model.task, model.decoder) == ("classify", None)
    assert [p.label for p in model.predict(BLANK, 2)] in (["cat", "dog"], ["dog", "cat"])


def test_the_size_of_an_open_detector_is_not_that_of_a_classifier(make_model: MakeModel) -> None:
    """640 by habit, what the metadata says before it, and never 224."""
    open_shape = make_head({"output0": random(1, 84, 8400)})
    shape = open_shape.graph.input[0].type.tensor_type.shape
    shape.dim[2].dim_param, shape.dim[3].dim_param = "height", "width"
    model = open_model(make_model(open_shape, metadata={"names": "{0: 'a'}", "task": "detect", "imgsz": "[320, 416]"}))
    assert model.preprocess.size == (320, 416)
    said = {"inspector": json.dumps({"schema": 1, "head": "yolov8"})}
    model = open_model(make_model(open_shape, metadata=said))
    assert model.preprocess.size == (640, 640)
    assert "input size 640x640" in model.assumed


def test_numbers_straight_from_a_convolution_are_not_decoded(make_model: MakeModel) -> None:
    rows = {"output": random(1, 84, 8)}
    for raw, head in ((True, "yolox"), (False, "yolov5")):
        decoder = open_model(make_model(make_head(rows, raw=raw))).decoder
        assert decoder is not None
        assert decoder.head == head


@pytest.mark.parametrize(
    ("build", "why"),
    [
        (lambda n, x: n("Relu", n.conv(x, 3, 4)), "maps of features"),
        (lambda n, x: n.conv(x, 3, 64, 9, stride=16, pads=4), "coarse maps"),
        (lambda n, x: n("Reshape", n.conv(x, 3, 64, 4, stride=4, pads=0), n.const(np.array([1, 64, 256]))), "tokens"),
        (lambda n, x: (n.conv(x, 3, 4), n.conv(x, 3, 8, stride=2)), "maps of a backbone"),
    ],
)
def test_what_is_no_head_is_not_taken_for_one(
    build: Callable[[Net, str], Any], why: str, make_model: MakeModel
) -> None:
    model = open_model(make_model(build, shape=(1, 3, 64, 64)))
    assert model.decoder is None, why
    with pytest.raises(NotComputable, match="annotate --task"):
        model.detect(BLANK)


def test_the_wrong_call_names_the_right_one(make_model: MakeModel, default_model: Path) -> None:
    detector = open_model(make_model(make_head(HEADS["yolov8"])))
    for call in (detector.predict, detector.segment, detector.embed, detector.translate):
        with pytest.raises(NotComputable, match=r"its task is 'detect': call model.detect"):
            call(BLANK)
    with pytest.raises(NotComputable, match=r"no output with objects .* call model.predict"):
        open_model(default_model).detect(BLANK)
    with pytest.raises(UsageError, match=r"confidence 1\.5 is not in"):
        detector.detect(BLANK, confidence=1.5)


def test_saying_it_is_written_into_the_file(make_model: MakeModel, tmp_path: Path) -> None:
    path = make_model(make_head({"a": random(1, 50, 9)}))
    assert open_model(path).task is None
    copy = annotate_model(path, tmp_path / "said.onnx", head="rtdetr", labels=[f"c{i}" for i in range(5)])
    assert (copy.task, copy.decoder.head if copy.decoder else None) == ("detect", "rtdetr")
    assert copy.metadata.head == "rtdetr"
    assert copy.preprocess.resize == "stretch"
    assert copy.preprocess.mean == (0, 0, 0)
    assert not copy.assumed
    assert len(copy.detect(BLANK)) > 0
    grey = annotate_model(make_model(make_head(HEADS["yolov8"])), tmp_path / "raw.onnx", preprocess="raw").preprocess
    assert (grey.scale, grey.resize) == (1.0, "pad")  # the name is about values
    again = annotate_model(copy, tmp_path / "again.onnx")
    assert again.metadata == copy.metadata


@pytest.mark.parametrize(
    ("said", "text"),
    [
        ({"head": "yolov9"}, "there is no head 'yolov9'; nearest: yolov8"),
        ({"head": "detr"}, r"are not those of head 'detr': output0 \(1, 6, 84\); it has logits"),
        ({"task": "locate"}, "there is no task 'locate'; known: classify, detect, segment"),
        ({"task": "segment", "head": "yolov8"}, "head 'yolov8' is for the task 'detect', not 'segment'"),
        ({"task": "embed"}, "are not those of task 'embed'"),
        ({"task": "classify", "head": "yolov8"}, "a classifier has no head"),
    ],
)
def test_what_cannot_be_is_refused(said: dict[str, str], text: str, make_model: MakeModel, tmp_path: Path) -> None:
    path = make_model(make_head(HEADS["yolov8"]))
    with pytest.raises(UsageError, match=text):
        annotate_model(path, tmp_path / "said.onnx", **said)  # type: ignore[arg-type]
    assert not (tmp_path / "said.onnx").exists()
    with pytest.raises(MetadataError, match="3 labels for 2 classes"):
        annotate_model(path, tmp_path / "said.onnx", labels=["a", "b", "c"])


def test_known_heads_are_listed(make_model: MakeModel, tmp_path: Path) -> None:
    with pytest.raises(UsageError) as caught:
        annotate_model(make_model(make_head(HEADS["yolov8"])), tmp_path / "x.onnx", head="?")
    assert all(head in str(caught.value) for head in DECODERS)


def test_a_head_that_does_not_fit_any_more_is_told(make_model: MakeModel) -> None:
    said = {"inspector": json.dumps({"schema": 1, "head": "detr"})}
    model = open_model(make_model(make_head(HEADS["yolov8"]), metadata=said))
    assert model.decoder is None
    assert any("do not look like the head 'detr'" in line for line in model.assumed)


def test_a_model_that_is_copied_keeps_its_head(make_model: MakeModel) -> None:
    import pickle

    model = open_model(make_model(make_head(HEADS["yolov8"])))
    copy: Model = pickle.loads(pickle.dumps(model))
    assert copy.decoder is not None
    assert copy.decoder.head == "yolov8"


@pytest.mark.parametrize(("rows", "head"), [(64, "paddle"), (1, None)])
def test_rows_that_are_no_pictures_are_those_of_paddle(rows: int, head: str | None, make_model: MakeModel) -> None:
    """The name is that of any output of Paddle: (1, 6) are scores of classes. The file declares (?, 6)."""
    proto = make_head({"fetch_name_0": random(rows, 6)})
    dim = proto.graph.output[0].type.tensor_type.shape.dim[0]
    dim.Clear()
    dim.dim_param = "n"
    decoder = open_model(make_model(proto)).decoder
    assert (decoder.head if decoder else None) == head
