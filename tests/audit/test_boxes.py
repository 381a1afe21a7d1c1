"""Detectors and segmenters are judged: what is right passes, and each fault is caught by its own check."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from inspector.auditing import audit_model, load_snapshot
from inspector.auditing.labelled import match_classes
from inspector.auditing.reports import make_document, write_reports
from inspector.datasets import LabelError, LabelledData
from inspector.errors import ImageError, InspectorError
from inspector.guard import guard_inputs
from inspector.metadata import KEY, Metadata
from inspector.model import open_model
from tests.audit.detectors import (
    COLORS,
    SIDE,
    detector,
    opened,
    random_cells,
    segmenter,
    write_masks,
    write_yolo,
)
from tests.audit.networks import small
from tests.audit.policies import policy
from tests.conftest import MakeModel
from tests.tasks.heads import make_head

MEASURES = ("map50", "map50-95", "box-recall", "box-calibration", "mean-iou", "pixel-calibration")
SWAPPED = COLORS[::-1]
BLIND = COLORS * np.array([[1], [0]], np.float32)


@pytest.fixture
def squares(tmp_path: Path) -> Path:
    return write_yolo(tmp_path / "squares", random_cells(12))


@pytest.fixture
def masks(tmp_path: Path) -> Path:
    return write_masks(tmp_path / "masks", random_cells(12))


def statuses(found: Any) -> dict[str, str]:
    return {check.id: check.status for check in found.checks}


# --- built-in policy by task ------------------------------------------------------------------------------------------


def test_a_sound_detector_passes_the_built_in_policy(make_model: MakeModel, squares: Path) -> None:
    model = opened(make_model, detector())
    assert model.task == "detect"
    found = audit_model(model, policy("file", "behaviour", "drift", "explanation"), data=squares)
    assert found.passed, [check.message for check in found.checks if check.counts == "fail"]
    values = {id: found.check(id).value for id in ("map50", "map50-95", "box-recall", "consistent-flip")}
    assert values == {"map50": 1, "map50-95": 1, "box-recall": 1, "consistent-flip": 1}
    no_class = "not run: the model has no classification output: it detects objects"
    for id in ("accuracy", "class-recall", "calibration", "confusion"):
        assert found.check(id).message == no_class
    assert found.check("mean-iou").message == "not run: the model gives no class to every pixel"
    assert "the classes of the labels" not in " ".join(found.notes)


def test_a_sound_segmenter_passes_the_built_in_policy(make_model: MakeModel, masks: Path) -> None:
    model = opened(make_model, segmenter(), labels=("other", "red", "green"))
    assert model.task == "segment"
    found = audit_model(model, policy("file", "behaviour", "drift", "explanation"), data=masks)
    assert found.passed, [check.message for check in found.checks if check.counts == "fail"]
    assert (found.check("mean-iou").value, found.check("consistent-flip").value) == (1, 1)
    assert found.check("pixel-calibration").value == pytest.approx(0, abs=0.01)
    assert found.check("map50").message == "not run: the model detects no objects"
    assert "it gives a class to every pixel" in found.check("accuracy").message


def test_a_classifier_is_not_judged_by_boxes(make_model: MakeModel, tmp_path: Path) -> None:
    model = open_model(make_model(small, shape=("N", 3, 16, 16)))
    found = audit_model(model, policy(*MEASURES, "drift-boxes", "opens"), data=write_yolo(tmp_path / "a", [{}]))
    assert {check.message for check in found.checks if check.id != "opens"} == {
        "not run: the model detects no objects", "not run: the model gives no class to every pixel",
    }  # fmt: skip


def test_time_and_memory_of_a_detector_are_measured(make_model: MakeModel) -> None:
    model = opened(make_model, detector())
    found = audit_model(model, policy("latency", "memory", checks={"latency": {"rounds": 5, "max_yardstick": 1000}}))
    assert [found.check(id).status for id in ("latency", "memory")] == ["pass", "pass"]


# --- faults of detectors ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("build", "failing"),
    [
        (detector(), set()),
        (detector(shift=2), {"map50-95"}),  # IoU 0.6: found, and the boxes lie badly
        (detector(shift=6), {"map50", "map50-95", "box-recall", "box-calibration"}),
        (detector(colors=BLIND), {"box-recall"}),  # one of two classes is never found
        (detector(scale=0.3), {"box-calibration"}),  # right, and never sure
    ],
    ids=["sound", "shifted", "elsewhere", "blind", "unsure"],
)
def test_each_fault_of_a_detector_is_caught(
    make_model: MakeModel, squares: Path, build: Callable[..., str], failing: set[str]
) -> None:
    demands = policy(*MEASURES, checks={"map50-95": {"min": 0.4}, "box-calibration": {"min_boxes": 10}})
    found = audit_model(opened(make_model, build), demands, data=squares)
    assert {id for id, status in statuses(found).items() if status in ("fail", "warn")} == failing


def test_the_findings_name_pictures_and_classes(make_model: MakeModel, squares: Path) -> None:
    found = audit_model(opened(make_model, detector(colors=BLIND)), policy("map50", "box-recall"), data=squares)
    message = found.check("map50").message
    assert message.startswith("mAP50 is 0.500 over ")
    assert message.endswith("on 12 pictures, lowest of green (0.000)")
    assert found.check("box-recall").message == "least found of 2 classes is green, 0.0%"
    assert found.check("map50").details["by_class"] == {"red": 1, "green": 0}
    strict = audit_model(
        opened(make_model, detector(colors=BLIND)), policy("map50", checks={"map50": {"min": 0.9}}), data=squares
    )
    texts = [finding.message for finding in strict.check("map50").findings]
    assert any(text.endswith("objects not found: 1 of green") for text in texts)
    assert all(finding.where.image for finding in strict.check("map50").findings[2:])


def test_no_object_at_all(make_model: MakeModel, tmp_path: Path) -> None:
    data = write_yolo(tmp_path / "empty", [{}] * 8)
    demands = policy(*MEASURES, "consistent-flip", "box-energy-inside", "opens")
    found = audit_model(opened(make_model, detector()), demands, data=data)
    assert (
        found.check("box-energy-inside").message == "not run: no object is found on the 8 pictures that are explained"
    )
    assert found.check("map50").message == "not run: there is no labelled object on the 8 pictures"
    assert found.check("consistent-flip").message == (
        "not run: no object is found on the 8 pictures with a score of 0.25 or more"
    )


def test_a_detector_that_sees_one_side_is_caught_by_flips(make_model: MakeModel, tmp_path: Path) -> None:
    data = write_yolo(tmp_path / "left", [{(k % 3, k % 8): k % 2} for k in range(8)])
    one_sided = detector()

    def build(net: Any, x: str) -> str:
        left = np.zeros((1, 1, 64, 64), np.float32)
        left[..., :32] = 1
        return one_sided(net, net("Mul", x, net.const(left)))

    demands = policy("consistent-flip", "consistent-noise", "consistent-shift")
    found = audit_model(opened(make_model, build), demands, data=data)
    assert (found.check("consistent-flip").status, found.check("consistent-flip").value) == ("warn", 0)
    assert found.check("consistent-noise").status == found.check("consistent-shift").status == "pass"
    sound = audit_model(opened(make_model, detector()), demands, data=data)
    assert [check.status for check in sound.checks] == ["pass"] * 3


@pytest.mark.parametrize(("shift", "status", "value"), [(0, "pass", 1), (24, "warn", 0)])
def test_a_detector_that_looks_beside_its_boxes_is_caught(
    make_model: MakeModel, squares: Path, shift: float, status: str, value: float
) -> None:
    demands = policy("box-energy-inside", images={"explain": 4})
    found = audit_model(opened(make_model, detector(shift=shift)), demands, data=squares).check("box-energy-inside")
    assert (found.status, found.value) == (status, pytest.approx(value, abs=1e-6))
    assert found.message.endswith("; 4 pictures")
    assert {box["class"] for box in found.details["boxes"]} <= {"red", "green"}


# --- faults of segmenters ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("build", "failing"),
    [
        (segmenter(), set()),
        (segmenter(colors=SWAPPED), {"mean-iou"}),
        (segmenter(confidence=0.2), {"pixel-calibration"}),
    ],
    ids=["sound", "swapped", "unsure"],
)
def test_each_fault_of_a_segmenter_is_caught(
    make_model: MakeModel, masks: Path, build: Callable[..., str], failing: set[str]
) -> None:
    model = opened(make_model, build, labels=("other", "red", "green"))
    found = audit_model(model, policy(*MEASURES), data=masks)
    assert {id for id, status in statuses(found).items() if status in ("fail", "warn")} == failing


# --- drift ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("saved", [False, True])
def test_boxes_drift_from_a_model_and_from_a_snapshot(
    make_model: MakeModel, squares: Path, tmp_path: Path, saved: bool
) -> None:
    before = opened(make_model, detector(), "before.onnx")
    reference: Any = before
    if saved:
        reference = tmp_path / "before.npz"
        audit_model(before, policy("opens"), data=squares, save=reference)
        assert sum(len(one.scores) for one in load_snapshot(reference).objects.values()) == 27
    cases = [
        (detector(), {}, "pass", 1),
        (detector(shift=6), {}, "fail", 0),
        (detector(scale=0.5), {}, "fail", 0.5),
        (detector(colors=SWAPPED), {"labels": ("green", "red")}, "pass", 1),  # by name they are the same
        (detector(colors=SWAPPED), {}, "fail", 0),
    ]
    for number, (build, more, status, value) in enumerate(cases):
        after = opened(make_model, build, f"after{number}.onnx", **more)
        found = audit_model(after, policy("drift-boxes"), data=squares, against=reference).check("drift-boxes")
        assert (found.status, found.value) == (status, pytest.approx(value)), (number, found.message)


@pytest.mark.parametrize("saved", [False, True])
def test_pixels_drift_from_a_model_and_from_a_snapshot(
    make_model: MakeModel, masks: Path, tmp_path: Path, saved: bool
) -> None:
    labels = ("other", "red", "green")
    reference: Any = opened(make_model, segmenter(), "before.onnx", labels=labels)
    if saved:
        audit_model(reference, policy("opens"), data=masks, save=tmp_path / "before.npz")
        reference = tmp_path / "before.npz"
    demands = policy("drift-pixels", checks={"drift-pixels": {"min": 0.99}})
    for build, status in ((segmenter(), "pass"), (segmenter(colors=SWAPPED), "fail")):
        after = opened(make_model, build, "after.onnx", labels=labels)
        assert audit_model(after, demands, data=masks, against=reference).check("drift-pixels").status == status


def test_a_detector_beside_a_classifier_is_not_compared_by_boxes(make_model: MakeModel, squares: Path) -> None:
    other = open_model(make_model(small, shape=("N", 3, 16, 16), name="other.onnx"))
    found = audit_model(opened(make_model, detector()), policy("drift-boxes", "opens"), data=squares, against=other)
    assert found.check("drift-boxes").message == "not run: the reference detects no objects"
    assert found.passed


# --- labels and classes -----------------------------------------------------------------------------------------------


def test_classes_are_the_models_by_name(make_model: MakeModel, tmp_path: Path) -> None:
    cells = [{(1, 1): 0, (5, 5): 1}] * 2
    turned = write_yolo(tmp_path / "turned", [{k: 1 - v for k, v in one.items()} for one in cells], ("Green", "red"))
    for folder in (tmp_path / "turned" / "images").iterdir():  # the pictures show what the names say
        write_yolo(tmp_path / folder.stem, cells)
        folder.write_bytes((tmp_path / folder.stem / "images" / folder.name).read_bytes())
    model = opened(make_model, detector())
    assert audit_model(model, policy("map50"), data=turned).check("map50").value == 1
    more = write_yolo(tmp_path / "more", [{(1, 1): 0, (5, 5): 1}], ("red", "blue"))
    found = audit_model(model, policy("map50"), data=more)
    assert found.check("map50").value == 1
    assert "1 labelled objects are left out, of classes that the model does not know: 'blue'" in found.notes
    with pytest.raises(LabelError, match=r"none of the classes of .* \(cat, dog\) is one of the model \(red, green\)"):
        audit_model(model, data=write_yolo(tmp_path / "none", [{}], ("cat", "dog")))


def test_classes_without_names_are_the_models_by_number(make_model: MakeModel, tmp_path: Path) -> None:
    model = opened(make_model, detector(), labels=None)
    data = write_yolo(tmp_path / "a", random_cells(3))
    found = audit_model(model, policy("map50"), data=data)
    assert found.check("map50").value == 1
    assert "the classes of the labels are the model's by their number" in found.notes
    (data / "data.yaml").write_text("val: images\nnames: [a, b, c]\n")
    with pytest.raises(LabelError, match="have 3 classes, and the model has 2"):
        audit_model(model, policy("map50"), data=data)


@pytest.mark.parametrize("ids", [(0, 1), (7, 90)])
def test_the_ids_of_coco_are_ranks(make_model: MakeModel, tmp_path: Path, ids: tuple[int, int]) -> None:
    cells = random_cells(3)
    write_yolo(tmp_path, cells)
    (tmp_path / "data.yaml").unlink()
    document = {
        "images": [{"id": k, "file_name": f"{k:02d}.png", "width": 64, "height": 64} for k in range(3)],
        "categories": [{"id": id, "name": f"c{id}"} for id in ids],
        "annotations": [
            {"image_id": k, "category_id": ids[index], "bbox": [x * 8, y * 8, 8, 8], "area": 64, "iscrowd": 0}
            for k, one in enumerate(cells) for (x, y), index in one.items()
        ],
    }  # fmt: skip
    (tmp_path / "labels.json").write_text(json.dumps(document))
    found = audit_model(opened(make_model, detector(), labels=None), policy("map50"), data=tmp_path / "labels.json")
    assert found.check("map50").value == 1


def test_the_ids_of_coco_are_classes_where_the_model_counts_so(make_model: MakeModel) -> None:
    names = tuple("abcd")
    data = LabelledData("coco", Path("labels.json"), (), names, ids=(1, 2, 5, 8))
    for count, expected in ((9, [1, 2, 5, 8]), (4, [0, 1, 2, 3]), (8, [0, 1, 2, 3])):
        model = opened(make_model, detector(colors=np.resize(COLORS, (count, 3))), f"{count}.onnx", labels=None)
        assert match_classes(model, data)[0] == expected


def test_every_report_has_the_findings(make_model: MakeModel, squares: Path, tmp_path: Path) -> None:
    model = opened(make_model, detector(shift=6))
    found = audit_model(model, policy("map50", "box-recall", "mean-iou"), data=squares / "data.yaml")
    document = make_document(found)
    assert {check["id"]: check["status"] for check in document["checks"]} == {
        "box-recall": "fail", "map50": "fail", "mean-iou": "skipped",
    }  # fmt: skip
    places = [finding["where"]["image"] for finding in document["checks"][1]["findings"]]
    assert sum(place is not None and place.endswith(".png") for place in places) == 12
    write_reports(found, **{kind: tmp_path / kind for kind in ("junit", "sarif", "markdown")})
    for kind in ("junit", "sarif", "markdown"):
        assert "objects not found: 1 of " in (tmp_path / kind).read_text(), kind


@pytest.mark.parametrize("target", ["images/00.png", "labels/00.txt", "data.yaml"])
def test_no_report_lands_on_labels_or_pictures(make_model: MakeModel, squares: Path, target: str) -> None:
    model = opened(make_model, detector())
    before = (squares / target).read_bytes()
    with guard_inputs({}, {}):
        found = audit_model(model, policy("map50"), data=squares / "data.yaml")
        with pytest.raises(InspectorError, match=r"is (one of the pictures|a file of labels)"):
            write_reports(found, junit=squares / target)
    assert (squares / target).read_bytes() == before


def test_pictures_without_labels_are_run_and_not_judged(make_model: MakeModel, squares: Path) -> None:
    (squares / "data.yaml").unlink()
    for file in (squares / "labels").iterdir():
        file.unlink()
    model = opened(make_model, detector())
    found = audit_model(model, policy("map50", "consistent-flip"), data=squares)
    assert "holds no labels of objects (YOLO, COCO or Pascal VOC)" in found.check("map50").message
    assert found.check("consistent-flip").value == 1
    with pytest.raises(ImageError, match="holds no labels of objects"):
        audit_model(model, policy(images={"labelled": "yes"}), data=squares)


def test_scores_that_are_no_numbers_and_pictures_of_odd_sizes(make_model: MakeModel, tmp_path: Path) -> None:
    data = write_yolo(tmp_path / "odd", random_cells(6))
    for name, size in (("00", (1, 1)), ("01", (800, 2)), ("02", (3, 500))):
        Image.new("RGB", size).save(data / "images" / f"{name}.png")
    demands = policy("map50", "consistent-flip", "consistent-shift", "box-energy-inside", "pictures-readable")
    for scale in (1, float("nan")):
        found = audit_model(opened(make_model, detector(scale=scale)), demands, data=data)
        assert {check.status for check in found.checks} <= {"pass", "fail", "skipped"}, found.checks
        assert found.check("map50").status == ("pass" if scale == 1 else "fail")
        assert found.check("pictures-readable").status == "pass"
    assert found.check("map50").value == 0


def test_a_broken_picture_is_named_and_the_others_are_judged(make_model: MakeModel, squares: Path) -> None:
    (squares / "images" / "00.png").write_bytes(b"no picture")
    found = audit_model(opened(make_model, detector()), policy("map50", "pictures-readable"), data=squares)
    assert found.check("map50").value == 1
    assert "on 11 pictures" in found.check("map50").message
    assert found.check("pictures-readable").status == "fail"
    assert found.check("pictures-readable").where.image.endswith("images/00.png")  # type: ignore[union-attr]


def test_a_mask_with_a_class_that_is_none_breaks_the_check(make_model: MakeModel, masks: Path) -> None:
    Image.fromarray(np.full((64, 64), 9, np.uint8)).save(masks / "masks" / "03.png")
    model = opened(make_model, segmenter(), labels=("other", "red", "green"))
    found = audit_model(model, policy("mean-iou"), data=masks)
    assert found.check("mean-iou").status == "error"
    assert found.check("mean-iou").message.endswith("masks/03.png: class 9 is beyond the 3 classes")


def test_layers_and_boxes_come_from_one_run(
    make_model: MakeModel, squares: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = opened(make_model, detector())
    runs: list[int] = []
    before = model.sessions.run
    monkeypatch.setattr(
        type(model.sessions), "run", lambda self, *given, **more: (runs.append(1), before(*given, **more))[1]
    )
    found = audit_model(model, policy("map50", "box-recall", "dead-channels"), data=squares)
    assert found.check("map50").value == 1
    assert len(runs) == 12


# --- masks of objects -------------------------------------------------------------------------------------------------


def with_masks(make_model: MakeModel, name: str = "masks.onnx") -> Any:
    """A detector that finds one object in any picture, whose mask is the left half of its box."""
    masks = np.zeros((1, 1, SIDE, SIDE), np.float32)
    masks[..., 16:48, 16:32] = 1
    outputs = {"boxes": np.array([[16.0, 16, 48, 48]]), "labels": np.array([1]), "scores": np.array([0.9]), "m": masks}
    metadata = {KEY: Metadata(labels=("background", "thing")).dumps()}
    return open_model(make_model(make_head(outputs), name=name, metadata=metadata))


def write_outlines(folder: Path, right: float) -> Path:
    """One picture with one outline, a rectangle from 16 to `right` pixels across."""
    for name in ("images", "labels"):
        (folder / name).mkdir(parents=True)
    Image.fromarray(np.zeros((SIDE, SIDE, 3), np.uint8)).save(folder / "images" / "a.png")
    corners = np.array([[16, 16], [right, 16], [right, 48], [16, 48]]) / SIDE
    (folder / "labels" / "a.txt").write_text("1 " + " ".join(map(str, corners.ravel())))
    (folder / "data.yaml").write_text("val: images\nnames: [background, thing]\n")
    return folder


@pytest.mark.parametrize(("right", "loose", "strict"), [(32, 1, 1), (28, 1, 0.6), (48, 1, 0.1)])
def test_masks_are_judged_by_outlines(
    right: float, loose: float, strict: float, make_model: MakeModel, tmp_path: Path
) -> None:
    """IoU of the masks 1, 12/16 and 16/32, where the box that the last label gives is right."""
    found = audit_model(
        with_masks(make_model),
        policy("map50-95", "mask-map50", "mask-map50-95"),
        data=write_outlines(tmp_path / "d", right),
    )
    assert (found.check("mask-map50").value, found.check("mask-map50-95").value) == pytest.approx((loose, strict))
    assert found.check("mask-map50").message == "mask mAP50 is 1.000 over 1 objects on 1 pictures"
    assert (found.check("map50-95").value == 1) is (right == 48)


def test_masks_that_cannot_be_judged(make_model: MakeModel, tmp_path: Path) -> None:
    boxes = write_yolo(tmp_path / "boxes", random_cells(2), ("background", "thing"))
    message = audit_model(with_masks(make_model), policy("mask-map50"), data=boxes).check("mask-map50").message
    assert message == "not run: the labels hold boxes and no outlines"
    plain = audit_model(opened(make_model, detector(), labels=("background", "thing")), policy("mask-map50"),
                        data=write_outlines(tmp_path / "d", 32))  # fmt: skip
    assert plain.check("mask-map50").message == "not run: the model gives boxes and no masks"
