"""The page finds the objects of every head where our own decoders find them, by what each head writes of itself."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from inspector.image import Preprocess
from inspector.pages.html import read_asset
from inspector.tasks.back import take_back
from inspector.tasks.candidates import find_corners
from inspector.tasks.decoder import BoxDecoder
from inspector.tasks.decoders import DECODERS
from inspector.tasks.decoders.dbnet import DbNet
from inspector.tasks.decoders.torchvision import Torchvision
from inspector.tasks.decoders.yolo_end_to_end import YoloEndToEnd
from inspector.tasks.decoders.yolov5 import YoloV5
from inspector.tasks.decoders.yolov8_masks import YoloV8Masks
from inspector.tasks.decoders.yolov8_obb import YoloV8Obb
from tests.conftest import MakeModel
from tests.tasks.heads import CASES, Arrays, Case
from tests.tasks.test_decoders import open_head

NODE = shutil.which("node")
pytestmark = pytest.mark.skipif(NODE is None, reason="needs Node")

FIND = """
const find = ([values, about, masked]) => {
  const found = {};
  for (const [name, [data, dims]] of Object.entries(values))
    found[name] = { data: Float32Array.from(data), dims, type: "float32" };
  const objects = findBoxes(found, about, [64, 64]), whole = [0, 0, 64, 64];
  const shown = boxesInPicture(objects, [64, 64], whole, [64, 64]);
  const masks = masked ? masksInPicture(shown, found, about.layout, whole, [64, 64], [64, 64]) : [];
  masks.forEach((mask, n) => { shown[n].mask = { ...mask, on: Array.from(mask.on) }; });
  return { objects, shown }; };
require("readline").createInterface({ input: process.stdin }).on("line", (line) =>
  console.log(JSON.stringify(find(JSON.parse(line)))));
"""


@pytest.fixture(scope="module")
def script() -> Iterator[Any]:
    """The page's scripts in Node: a question is a line, and so is the answer."""
    assert NODE is not None
    names = ("live_preprocess", "live_network", "live_boxes", "live_pieces", "live_segments")
    code = "".join(read_asset(f"{name}.js") for name in names) + FIND
    with subprocess.Popen([NODE, "-e", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        yield process
        assert process.stdin is not None
        process.stdin.close()


def find_in_page(script: Any, decoder: BoxDecoder, values: Mapping[str, NDArray[Any]], least: float) -> Any:
    """What the page finds: the objects in pixels of the input, and on a picture that is the input."""
    assert decoder.layout is not None
    about = {"layout": asdict(decoder.layout), "iou": decoder.iou, "confidence": least}
    # NaN is no JSON: it goes as a text, and Float32Array.from makes it NaN again.
    packed = {n: [["NaN" if v != v else v for v in x.ravel().tolist()], list(x.shape)] for n, x in values.items()}
    script.stdin.write(json.dumps([packed, about, decoder.layout.masks is not None]) + "\n")
    script.stdin.flush()
    return json.loads(script.stdout.readline())


def compare(script: Any, decoder: BoxDecoder, values: Mapping[str, NDArray[Any]], least: float) -> None:
    """Boxes, scores, classes, corners, keypoints and masks, number by number."""
    values = {name: np.asarray(value, np.float32) for name, value in values.items()}
    found, expected = find_in_page(script, decoder, values, least), decoder.find(values, (64, 64), least)
    objects = found["objects"]
    assert len(objects) == len(expected) > 1
    np.testing.assert_allclose([one["box"] for one in objects], expected.boxes, rtol=1e-4, atol=1e-3)
    np.testing.assert_allclose([one["score"] for one in objects], expected.scores, rtol=1e-5)
    assert [one["index"] for one in objects] == expected.classes.tolist()
    if expected.keypoints is not None:
        np.testing.assert_allclose([one["points"] for one in objects], expected.keypoints, rtol=1e-4, atol=1e-3)
    shown = take_back(expected, Preprocess(size=(64, 64)), (64, 64))
    assert len(shown) == len(found["shown"])
    for mine, one in zip(found["shown"], shown, strict=True):
        np.testing.assert_allclose(mine["box"], one.box, rtol=1e-4, atol=1e-3)
        assert (mine["corners"] is None) == (one.corners is None)
        if one.corners is not None:
            np.testing.assert_allclose(mine["corners"], one.corners, rtol=1e-4, atol=1e-3)
        if one.mask is not None:
            cut, whole = mine["mask"], np.zeros((64, 64), bool)
            part = np.reshape(cut["on"], (cut["height"], cut["width"])) > 0
            whole[cut["y"] : cut["y"] + cut["height"], cut["x"] : cut["x"] + cut["width"]] = part
            assert (whole == one.mask).mean() > 0.999  # a pixel on the edge may fall either way by rounding


def test_every_head_of_objects_says_its_layout() -> None:
    silent = {name for name, head in DECODERS.items() if issubclass(head, BoxDecoder) and "layout" not in vars(head)}
    assert not silent, "write `layout` in its file"
    assert {case.head for case in CASES} | {"yolov8_masks", "dbnet"} == {
        name for name, head in DECODERS.items() if issubclass(head, BoxDecoder)
    }


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.head)
def test_a_head_as_its_decoder_has_it(script: Any, case: Case, make_model: MakeModel) -> None:
    model, outputs = open_head(make_model, case)
    decoder = model.decoder
    assert isinstance(decoder, BoxDecoder)
    values = {name: np.array(outputs[name], np.float32) for name in decoder.outputs}
    next(iter(values.values())).reshape(-1)[1] = np.nan
    compare(script, decoder, values, 0.3)


def rows_of(rng: np.random.Generator, many: int, *columns: NDArray[Any]) -> NDArray[Any]:
    """cx, cy, w, h in pixels of 64 x 64, and further columns."""
    return np.concatenate([rng.uniform(10, 54, (many, 2)), rng.uniform(4, 30, (many, 2)), *columns], axis=1)


def further_heads() -> Iterator[tuple[str, BoxDecoder, Arrays]]:
    """Heads with masks, keypoints or an angle behind what the cases have, and rows that name their picture."""
    rng = np.random.default_rng(3)
    planes, weights = rng.normal(0, 1, (1, 8, 16, 16)), rng.normal(0, 1, (84, 8))
    more = rows_of(rng, 84, rng.random((84, 2)), weights)
    yield "yolov8_masks", YoloV8Masks(("o", "p"), "detect", 2, "", 8), {"o": more.T[None], "p": planes}
    more = rows_of(rng, 84, rng.random((84, 1)), rng.random((84, 2)), weights)
    yield "yolov5 with masks", YoloV5(("o", "p"), "detect", 2, "", 8), {"o": more[None], "p": planes}
    corners = np.concatenate([rng.uniform(0, 30, (30, 2)), rng.uniform(35, 64, (30, 2))], axis=1)
    told = np.concatenate([corners, rng.random((30, 1)), rng.integers(0, 3, (30, 1))], axis=1)
    final = np.concatenate([told, weights[:30]], axis=1)
    yield "end to end with masks", YoloEndToEnd(("o", "p"), "detect", 3, "", "masks"), {"o": final[None], "p": planes}
    final = np.concatenate([told, rng.uniform(0, 64, (30, 10))], axis=1)
    yield "end to end with keypoints", YoloEndToEnd(("o",), "pose", 3, "", "keypoints", 2), {"o": final[None]}
    final = np.concatenate([rows_of(rng, 30), told[:, 4:], rng.uniform(-2, 2, (30, 1))], axis=1)
    yield "end to end with an angle", YoloEndToEnd(("o",), "detect", 3, "", "angle"), {"o": final[None]}
    final = np.concatenate([rng.integers(0, 2, (30, 1)), corners, told[:, 5:], told[:, 4:5]], axis=1)
    yield "numbered", YoloEndToEnd(("o",), "detect", 3, "", "numbered"), {"o": final}
    masks, points = rng.random((9, 1, 64, 64)), rng.uniform(0, 64, (9, 4, 3))
    tables = {"b": corners[:9], "l": told[:9, 5], "s": told[:9, 4], "m": masks, "k": points}
    yield "torchvision", Torchvision(tuple(tables), "pose", 3, "", "m", "k"), tables
    batched = {name: tables[name][None] for name in ("b", "l", "s")}
    yield "torchvision, batched", Torchvision(("b", "l", "s"), "detect", 3, "", batched=True), batched
    crowd = rows_of(rng, 84, rng.random((84, 3)), rng.uniform(-2, 2, (84, 1)))
    crowd[:, :2] /= 3
    smooth = np.kron(rng.random((1, 1, 8, 16)), np.ones((1, 1, 5, 3))) * rng.uniform(0.8, 1, (1, 1, 40, 48))
    smooth[0, 0, 20:] = np.where(np.add.outer(np.arange(20), np.arange(48)) % 20 < 7, 0.9, 0.1)
    yield "dbnet", DbNet(("o",), "detect", 1, ""), {"o": smooth}
    yield "yolov8_obb", YoloV8Obb(("o",), "detect", 3, ""), {"o": crowd.T[None]}


@pytest.mark.parametrize(("decoder", "values"), [
    pytest.param(decoder, values, id=name) for name, decoder, values in further_heads()
])  # fmt: skip
def test_masks_keypoints_and_angles(script: Any, decoder: BoxDecoder, values: Arrays) -> None:
    compare(script, decoder, values, 0.4)
    if decoder.layout is not None and decoder.layout.angle and decoder.iou is not None:
        left = decoder.find({n: np.asarray(x, np.float32) for n, x in values.items()}, (64, 64), 0.4)
        assert left.rotated is not None
        assert len(left) < 80, "some overlap a better one"
        assert find_corners(left.rotated).shape == (len(left), 4, 2)
