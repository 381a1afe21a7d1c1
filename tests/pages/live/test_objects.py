"""What the page shows of objects is what `inspector predict --json` says of the same picture."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from PIL import Image

from inspector import Preprocess, open_model
from inspector.metadata import KEY, Metadata
from inspector.model.answers import compare_vectors
from inspector.pages.live import write_live_page
from inspector.render.objects import to_picture
from tests.foreign import Net
from tests.pages.browser import needs_chromium, opened
from tests.tasks.heads import CASES, Arrays, make_head
from tests.test_cli import call as run_command

pytestmark = [needs_chromium, pytest.mark.slow]


@dataclass
class Kind:
    """A network of one head, and what its file says of itself.

    Attributes:
        head: The head.
        outputs: Values of its outputs, of which NUMBER is the key of what the page has to show besides boxes.
        shows: What is compared besides boxes: corners, points or mask.
        labels: Names of its classes.
        props: Further properties of the file.
    """

    head: str
    outputs: Arrays
    shows: str = ""
    labels: int | None = None
    props: Mapping[str, str] = field(default_factory=dict)


def case(head: str) -> Arrays:
    return next(one for one in CASES if one.head == head).make(np.random.default_rng(2))


def masked() -> Arrays:
    rng = np.random.default_rng(5)
    boxes = np.concatenate([rng.uniform(10, 54, (84, 2)), rng.uniform(14, 36, (84, 2))], axis=1)
    rows = np.concatenate([boxes, rng.random((84, 2)), rng.normal(0, 1, (84, 8))], axis=1)
    smooth = [
        np.asarray(Image.fromarray(rng.normal(0, 1, (4, 4)).astype(np.float32)).resize((16, 16))) for _ in "x" * 8
    ]
    return {"output0": rows.T[None].astype(np.float32), "output1": np.stack(smooth)[None]}


def tables() -> Arrays:
    rng = np.random.default_rng(6)
    masks = np.zeros((3, 1, 64, 64), np.float32)
    masks[0, 0, 12:30, 14:26] = masks[1, 0, 30:60, 34:60] = masks[2, 0, 30:38, 4:30] = 0.9
    boxes = np.array([[10, 8, 40, 40], [30, 20, 62, 62], [2, 30, 30, 40]], np.float32)
    return {
        "b": boxes, "l": np.array([1, 2, 1]), "s": np.array([0.9, 0.8, 0.7], np.float32),
        "m": masks, "k": rng.uniform(8, 56, (3, 4, 3)).astype(np.float32),
    }  # fmt: skip


KINDS = [
    Kind("yolov8_masks", masked(), "mask"),
    Kind("yolov8_pose", case("yolov8_pose"), "points"),
    Kind("yolov8_obb", case("yolov8_obb"), "corners", 3),
    Kind("torchvision", tables(), "mask"),
    Kind("yolo_end_to_end", case("yolo_end_to_end")),
    Kind("detr_sigmoid", case("detr_sigmoid"), labels=5),
]


def write_network(kind: Kind, path: Path) -> Path:
    labels = tuple(f"thing {n}" for n in range(kind.labels or 0)) or None
    known = Metadata(labels=labels, preprocess=Preprocess(size=(64, 64), resize="pad"), head=kind.head)
    proto = make_head(kind.outputs)
    onnx.helper.set_model_props(proto, {KEY: known.dumps(), **kind.props})
    onnx.save(proto, path)
    return path


def place(mask: Mapping[str, Any], size: tuple[int, int]) -> NDArray[np.bool_]:
    whole = np.zeros((size[1], size[0]), bool)
    x, y, width, height = (mask[key] for key in ("x", "y", "width", "height"))
    whole[y : y + height, x : x + width] = np.reshape(mask["on"], (height, width)) > 0
    return whole


READ = """inspector.images[0].boxes.map((one) =>
  ({ ...one, mask: one.mask && { ...one.mask, on: Array.from(one.mask.on) } }))"""


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.head)
def test_the_same_objects(
    browser: Any, kind: Kind, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    rough = np.random.default_rng(1).integers(0, 256, (6, 9, 3), np.uint8)
    Image.fromarray(rough).resize((180, 120), Image.Resampling.BICUBIC).save("some.png")
    path = write_network(kind, tmp_path / "net.onnx")
    code, out, _ = run_command(capsys, "predict", path, "some.png", "--draw", "--json")
    assert code == 0
    [entry] = json.loads(out)["images"]
    tab = opened(browser, write_live_page(open_model(path), ["some.png"], tmp_path / "live.html").path)
    found = tab.page.evaluate(READ)
    assert len(found) == len(entry["boxes"]) > 2
    for mine, one in zip(found, entry["boxes"], strict=True):
        assert mine["index"] == one["class"]["index"]
        assert mine["score"] == pytest.approx(one["score"], abs=1e-4)
        np.testing.assert_allclose(mine["box"], one["box"], atol=1e-2)
        if one["corners"] is not None:
            np.testing.assert_allclose(mine["corners"], one["corners"], atol=1e-2)
        if one["keypoints"] is not None:
            np.testing.assert_allclose(mine["points"], one["keypoints"], atol=1e-2)
        if one["mask"] is not None:
            with Image.open(one["mask"]) as picture:
                expected = np.asarray(picture) > 0
            assert (place(mine["mask"], (180, 120)) == expected).mean() > 0.999
    assert all(mine.get(kind.shows) for mine in found) or not kind.shows
    assert f"{len(found)} objects found" in tab.text("#pictures")
    assert tab.page.get_attribute("#picture-0", "data-drawn") == "classes-55"
    assert tab.page.input_value("#view") == "classes"
    assert tab.complaints == []
    tab.page.context.close()


def test_vectors_are_compared_with_those_of_the_other_pictures(browser: Any, tmp_path: Path) -> None:
    net = Net(seed=7)
    flat = net("Flatten", net("GlobalAveragePool", net.conv(net.input("x", (1, 3, 32, 32)), 3, 6)))
    onnx.save(net.model(net("LpNormalization", flat, axis=1, p=2)), tmp_path / "embed.onnx")
    rng = np.random.default_rng(3)
    names = [f"{n}.png" for n in range(3)]
    for name in names:
        Image.fromarray(rng.integers(0, 256, (40, 50, 3), np.uint8)).save(tmp_path / name)
    model = open_model(tmp_path / "embed.onnx")
    page = write_live_page(model, [tmp_path / name for name in names], tmp_path / "live.html")
    tab = opened(browser, page.path)
    tab.until("document.getElementById('status').textContent.startsWith('Ready. 2.png')")
    first, *others = (model.embed(tmp_path / name) for name in names)
    told = [tab.text(f"#made-0 p:has-text('{name}')") for name in names[1:]]
    assert told == [
        f"{name} {cosine:.3f}" for name, cosine in zip(names[1:], compare_vectors(others, first), strict=True)
    ]
    assert tab.complaints == []
    tab.page.context.close()


@pytest.mark.parametrize("planes", [1, 3])
def test_the_picture_that_a_network_makes(browser: Any, tmp_path: Path, planes: int) -> None:
    net = Net(seed=7)
    made = net("Conv", net.input("x", (1, 3, 32, 32)), net.weight((planes, 3, 3, 3)), pads=[1] * 4)
    onnx.save(net.model(net("Sigmoid", made) if planes == 3 else made), tmp_path / "make.onnx")
    Image.fromarray(np.random.default_rng(3).integers(0, 256, (40, 50, 3), np.uint8)).save(tmp_path / "x.png")
    model = open_model(tmp_path / "make.onnx")
    assert model.task == "picture"
    tab = opened(browser, write_live_page(model, [tmp_path / "x.png"], tmp_path / "live.html").path)
    pixels = tab.page.evaluate("Array.from(inspector.images[0].found.made.pixels)")
    expected, _ = to_picture(model.translate(tmp_path / "x.png"))
    mine = np.reshape(pixels, (32, 32, 4))[..., :3]
    assert np.abs(mine - np.asarray(expected.convert("RGB")).astype(int)).max() <= 1
    assert "What it makes of it, 32 × 32" in tab.text("#made-0")
    assert tab.complaints == []
    tab.page.context.close()
