"""Regions of the policy, and maps that are told to look somewhere."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from inspector.auditing import audit_model
from inspector.auditing.policy import PolicyError, Regions
from inspector.auditing.regions import find_region, make_box_region
from inspector.metadata import KEY, Metadata
from tests.audit.policies import policy
from tests.conftest import MakeModel
from tests.foreign import Net


def brightness_counter(net: Net, x: str) -> str:
    """Class 0 is "bright on the left", class 1 "bright on the right": its map shows where the light is."""
    mask = np.zeros((1, 2, 16, 16), np.float32)
    mask[0, 0, :, :8] = mask[0, 1, :, 8:] = 1
    y = net("Conv", x, net.const(np.ones((2, 3, 1, 1), np.float32)), kernel_shape=[1, 1])
    y = net("Relu", net("Mul", y, net.const(mask)), out="features")
    y = net("Flatten", net("GlobalAveragePool", y))
    return net("Gemm", y, net.const(np.array([[4, -4], [-4, 4]], np.float32)), transB=1, out="logits")


@pytest.fixture
def counter(make_model: MakeModel) -> Path:
    from inspector.model.annotate import annotate_model

    plain = make_model(
        brightness_counter, shape=("N", 3, 16, 16), metadata={KEY: Metadata(labels=("left", "right")).dumps()}
    )
    return annotate_model(plain, plain.with_name("counter.onnx"), preprocess="unit").path


@pytest.fixture
def lights(tmp_path: Path) -> Path:
    """Pictures of 32 x 32 with a light square, on the left or the right."""
    rng = np.random.default_rng(0)
    for name, first in (("left", 2), ("right", 20)):
        folder = tmp_path / "lights" / name
        folder.mkdir(parents=True)
        for i in range(6):
            pixels = rng.integers(0, 30, (32, 32, 3)).astype(np.uint8)
            pixels[10:20, first : first + 10] = 250
            Image.fromarray(pixels).save(folder / f"{i}.png")
    return tmp_path / "lights"


def test_it_looks_at_the_light(counter: Path, lights: Path, tmp_path: Path) -> None:
    boxes = {f"left/{i}.png": [[2, 10, 12, 20]] for i in range(6)} | {
        f"right/{i}.png": [[20, 10, 30, 20]] for i in range(6)
    }
    (tmp_path / "boxes.json").write_text(json.dumps(boxes))
    chosen = policy("explanation", "accuracy", regions={"boxes": str(tmp_path / "boxes.json")}, images={"explain": 12})
    found = audit_model(counter, chosen, data=lights)
    assert found.check("accuracy").value == 1
    assert found.check("cam-energy-inside").status == "pass"
    assert found.check("cam-energy-inside").value > 0.5
    assert found.check("cam-pointing-game").value == 1
    assert found.check("cam-deletion").status == "pass"
    assert found.check("cam-insertion").status == "pass"
    assert found.check("cam-energy-avoided").message.startswith("not run: the policy names no region to avoid")


def test_masks(counter: Path, lights: Path, tmp_path: Path) -> None:
    for name, first in (("left", 2), ("right", 20)):
        (tmp_path / "masks" / name).mkdir(parents=True)
        mask = np.zeros((32, 32), np.uint8)
        mask[10:20, first : first + 10] = 255
        for i in range(3):  # half of the pictures have one
            Image.fromarray(mask).save(tmp_path / "masks" / name / f"{i}.bmp")
    found = audit_model(
        counter, policy("explanation", regions={"masks": str(tmp_path / "masks")}, images={"explain": 12}), data=lights
    )
    inside = found.check("cam-energy-inside")
    assert inside.status == "pass"
    assert len(inside.details["energy"]) == 6


def test_the_wrong_place_is_found(counter: Path, lights: Path) -> None:
    wrong = policy(
        "cam-energy-inside", "cam-pointing-game", "cam-energy-avoided",
        regions={"box": [0, 0, 1, 0.25], "avoid": [0, 0.25, 1, 0.75]}, images={"explain": 12},
    )  # fmt: skip
    found = audit_model(counter, wrong, data=lights)
    assert [found.check(id).status for id in ("cam-energy-inside", "cam-pointing-game", "cam-energy-avoided")] == [
        "fail", "warn", "pass",
    ]  # fmt: skip
    strict = policy(
        "cam-energy-avoided", regions={"avoid": [0, 0.25, 0.5, 0.75]},
        checks={"cam-energy-avoided": {"max_ratio": 1.2}}, images={"explain": 12},
    )  # fmt: skip
    avoided = audit_model(counter, strict, data=lights).check("cam-energy-avoided")
    assert avoided.status == "fail"
    assert all(area == pytest.approx(0.25, abs=0.01) for area in avoided.details["area"].values())


def three_lights(net: Net, x: str) -> str:
    """Classes: "bright on the upper left", "on the upper right", "in the lower left corner", where a mark would be."""
    mask = np.zeros((1, 3, 16, 16), np.float32)
    mask[0, 0, :8, :8] = mask[0, 1, :8, 8:] = mask[0, 2, 12:, :4] = 1
    y = net("Conv", x, net.const(np.ones((3, 3, 1, 1), np.float32)), kernel_shape=[1, 1])
    y = net("Relu", net("Mul", y, net.const(mask)), out="features")
    y = net("Flatten", net("GlobalAveragePool", y))
    return net("Gemm", y, net.const(np.float32([[4, 0, -9], [0, 4, -9], [-9, -9, 9]])), transB=1, out="logits")


@pytest.mark.parametrize("labelled", ["yes", "no"])
def test_a_mark_on_a_rare_class_is_found(make_model: MakeModel, tmp_path: Path, labelled: str) -> None:
    from inspector.model.annotate import annotate_model

    names = ("left", "right", "marked")
    plain = make_model(three_lights, shape=("N", 3, 16, 16), metadata={KEY: Metadata(labels=names).dumps()})
    model = annotate_model(plain, tmp_path / "lights.onnx", preprocess="unit").path
    rng = np.random.default_rng(0)
    for name, count, x, y in (("left", 9, 2, 2), ("right", 8, 20, 2), ("marked", 3, 0, 24)):
        (tmp_path / "p" / name).mkdir(parents=True)
        for i in range(count):
            pixels = rng.integers(0, 30, (32, 32, 3)).astype(np.uint8)
            pixels[y : y + 8, x : x + 8] = 250
            Image.fromarray(pixels).save(tmp_path / "p" / name / f"{i}.png")
    chosen = policy(
        "cam-energy-avoided", regions={"avoid": [0, 0.5, 0.5, 1]}, images={"explain": 4, "labelled": labelled}
    )
    found = audit_model(model, chosen, data=tmp_path / "p").check("cam-energy-avoided")
    ratios = {shown: energy / found.details["area"][shown] for shown, energy in found.details["energy"].items()}
    assert {name: sum(f"/{name}/" in shown for shown in ratios) for name in names} == {
        "left": 4, "right": 4, "marked": 3,
    }  # fmt: skip
    assert np.mean(list(ratios.values())) < 2  # all together would hide it
    assert found.status == "fail", found.message
    assert found.value == pytest.approx(np.mean([ratio for shown, ratio in ratios.items() if "/marked/" in shown]))
    assert found.value > 3
    assert found.findings[0].key == "marked"
    assert {f.where.image for f in found.findings[1:]} == {shown for shown in ratios if "/marked/" in shown}
    # Without the marked ones it is healthy.
    for path in (tmp_path / "p" / "marked").iterdir():
        path.unlink()
    assert audit_model(model, chosen, data=tmp_path / "p").check("cam-energy-avoided").status == "pass"


def test_rare_classes_are_judged_together(make_model: MakeModel, tmp_path: Path, lights: Path, counter: Path) -> None:
    chosen = policy(
        "cam-energy-avoided", regions={"avoid": [0, 0.25, 0.5, 0.75]},
        checks={"cam-energy-avoided": {"min_pictures": 7}},
    )  # fmt: skip
    found = audit_model(counter, chosen, data=lights).check("cam-energy-avoided")
    assert list(found.details["ratios"]) == ["all classes together"]
    ratios = {shown: energy / found.details["area"][shown] for shown, energy in found.details["energy"].items()}
    assert found.value == pytest.approx(np.mean(list(ratios.values())))
    assert len(ratios) == 12


def test_without_regions_nothing_is_judged(counter: Path, lights: Path, tmp_path: Path) -> None:
    found = audit_model(counter, policy("cam-energy-inside"), data=lights)
    assert found.check("cam-energy-inside").status == "skipped"
    assert not found.passed
    (tmp_path / "boxes.json").write_text('{"other.png": [[0, 0, 1, 1]]}')
    nowhere = policy("cam-energy-inside", regions={"boxes": str(tmp_path / "boxes.json")})
    assert audit_model(counter, nowhere, data=lights).check("cam-energy-inside").message == (
        "not run: no picture has a mask or a box"
    )


def test_regions(tmp_path: Path) -> None:
    box = make_box_region((0.25, 0.5, 0.75, 1.0), (200, 100))
    assert box.box == (50, 50, 100, 50)
    (tmp_path / "b.json").write_text('{"a.png": [[0, 0, 10, 10], [20, 20, 30, 25]]}')
    make = find_region(Regions(boxes=tmp_path / "b.json"), "a.png")
    assert make is not None
    mask = make((40, 30)).mask
    assert mask is not None
    assert mask.sum() == 100 + 50
    assert find_region(Regions(boxes=tmp_path / "b.json"), "other.png") is None
    assert find_region(Regions(), "a.png") is None


@pytest.mark.parametrize(
    "content", ["[", "[]", '{"a": [[0, 0, 1]]}', '{"a": [[5, 0, 1, 1]]}', '{"a": {"x": 1}}', '{"a": [["0", 0, 1, 1]]}']
)
def test_boxes_that_are_none(tmp_path: Path, content: str) -> None:
    file = tmp_path / "boxes.json"
    file.write_text(content)
    with pytest.raises(PolicyError, match="boxes"):
        find_region(Regions(boxes=file), "a")
    with pytest.raises(PolicyError, match="cannot be read"):
        find_region(Regions(boxes=tmp_path / "none.json"), "a")
