"""Quantized detectors and segmenters are measured by their boxes and pixels."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from exporters.quantizing import quantize_model
from inspector.model.agreement import compare_answers
from inspector.tasks.answers import Detection, Detections
from tests.audit.detectors import LABELS, detector, opened, random_cells, segmenter, write_masks
from tests.conftest import MakeModel
from tests.foreign import Net


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    return write_masks(tmp_path / "pictures", random_cells(6)) / "images"


def boxes(*rows: tuple[int, float, tuple[float, float, float, float]]) -> Detections:
    return Detections(tuple(Detection(*row) for row in rows), (64, 64))


def test_answers_are_compared_by_their_kind() -> None:
    one, other = (0, 0.9, (0.0, 0.0, 10.0, 10.0)), (1, 0.5, (20.0, 20.0, 40.0, 40.0))
    found = compare_answers([boxes(one, other), boxes()], [boxes((0, 0.8, (0.0, 1.0, 10.0, 10.0))), boxes()])
    assert (found.kind, found.share, found.changed) == ("boxes", pytest.approx(2 / 3), (0,))
    assert found.score_shift == pytest.approx(0.1)
    mask = np.zeros((10, 10), np.int32)
    turned = mask.copy()
    turned[:2], turned[9, 9] = 1, -1
    pixels = compare_answers([mask, mask], [turned, mask])
    assert (pixels.kind, pixels.changed, pixels.score_shift) == ("pixels", (0,), None)
    assert pixels.share == pytest.approx((79 / 99 + 1) / 2)
    classes = compare_answers([1, 2, 3, 4], [1, 2, 0, 4])
    assert (classes.kind, classes.share, classes.changed) == ("top class", 0.75, (2,))


@pytest.mark.parametrize(("build", "labels", "kind"), [
    (detector(), LABELS, "boxes"), (segmenter(), ("other", *LABELS), "pixels"),
])  # fmt: skip
@pytest.mark.parametrize("to", ["int8", "fp16"])
def test_a_detector_and_a_segmenter_keep_their_answers(
    make_model: MakeModel, tmp_path: Path, pictures: Path, build: Callable[[Net, str], str], labels: tuple[str, ...],
    kind: str, to: str,
) -> None:  # fmt: skip
    source = opened(make_model, build, labels=labels)
    made = quantize_model(source, tmp_path / f"{to}.onnx", pictures, to=to)
    assert (made.compared, made.counted, made.pictures) == (kind, kind, 6)
    assert made.agreement == pytest.approx(1, abs=0.02)
    assert (made.score_shift is None) == (kind == "pixels")
    assert not made.flipped


def drowned(net: Net, x: str) -> str:
    """A detector with a channel between whose range leaves the colors nothing of 8 bits."""
    wide = np.concatenate([np.eye(3), np.full((1, 3), 1000)]).astype(np.float32)
    x = net("Conv", x, net.const(wide.reshape(4, 3, 1, 1)), out="wide")
    back = np.eye(3, 4, dtype=np.float32)
    return detector()(net, net("Conv", x, net.const(back.reshape(3, 4, 1, 1)), out="back"))


def test_auto_goes_by_the_boxes(make_model: MakeModel, tmp_path: Path, pictures: Path) -> None:
    source = opened(make_model, drowned)
    assert quantize_model(source, tmp_path / "plain.onnx", pictures).agreement == 0
    lines: list[str] = []
    made = quantize_model(source, tmp_path / "auto.onnx", pictures, auto=True, target=0.9, note=lines.append)
    assert (made.agreement, lines[0]) == (1, "plain int8: 0.0% of the boxes on 6 pictures agree")
    assert 0 < len(made.kept) < 3
