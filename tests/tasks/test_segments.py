"""Segmenters, embeddings, and networks that make pictures."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import inspector
from inspector.errors import NotComputable
from inspector.model import Model, open_model
from inspector.model.answers import compare_vectors
from tests.conftest import MakeModel
from tests.tasks.heads import make_head


def open_maps(make_model: MakeModel, name: str, value: Any, size: tuple[int, int] = (32, 48), **said: Any) -> Model:
    document = {"schema": 1, "preprocess": {"size": list(size), **said.pop("preprocess", {})}, **said}
    return open_model(make_model(make_head({name: value}, size), metadata={"inspector": json.dumps(document)}))


def test_every_pixel_gets_the_class_of_its_largest_logit(make_model: MakeModel) -> None:
    """Bilinear between the centres of cells, as torch and Pillow have it; a second time in plain loops."""
    maps = np.random.default_rng(1).normal(0, 3, (1, 5, 8, 12)).astype(np.float32)
    model = open_maps(make_model, "logits", maps, preprocess={"resize": "pad"})
    assert (model.task, model.classes) == ("segment", 5)
    picture = np.zeros((40, 40, 3), np.uint8)
    found = model.segment(picture)
    assert (found.classes.shape, found.count) == ((40, 40), 5)
    assert found.confidence is not None
    for y in range(0, 40, 3):
        for x in range(0, 40, 3):
            # 40 x 40 in 48 x 32: 32 x 32 pixels, 8 of padding to the left.
            u, v = ((x + 0.5) * 0.8 + 8) / 4 - 0.5, (y + 0.5) * 0.8 / 4 - 0.5
            j, i = int(np.clip(np.floor(u), 0, 11)), int(np.clip(np.floor(v), 0, 7))
            a, b = min(max(u - j, 0), 1), min(max(v - i, 0), 1)
            low, right = min(i + 1, 7), min(j + 1, 11)
            logits = (1 - b) * ((1 - a) * maps[0, :, i, j] + a * maps[0, :, i, right])
            logits += b * ((1 - a) * maps[0, :, low, j] + a * maps[0, :, low, right])
            shares = np.exp(logits) / np.exp(logits).sum()
            assert found.confidence[y, x] == pytest.approx(shares[found.classes[y, x]], abs=1e-4)
            assert shares[found.classes[y, x]] == pytest.approx(shares.max(), abs=1e-5)


def test_channels_last_and_class_indices(make_model: MakeModel) -> None:
    classes = np.random.default_rng(0).integers(0, 4, (1, 32, 48))
    picture = np.zeros((32, 48, 3), np.uint8)
    codes = np.eye(4, dtype=np.float32)[classes]
    np.testing.assert_array_equal(open_maps(make_model, "logits", codes).segment(picture).classes, classes[0])
    found = open_maps(make_model, "out", classes).segment(picture)
    np.testing.assert_array_equal(found.classes, classes[0])
    assert found.confidence is None
    assert open_maps(make_model, "out", classes[:, None], head="segmenter").segment(picture).count == 4


def test_one_map_is_a_foreground(make_model: MakeModel) -> None:
    logits = np.random.default_rng(0).normal(0, 2, (1, 1, 32, 48)).astype(np.float32)
    model = open_maps(make_model, "mask", logits)
    found = model.segment(np.zeros((32, 48, 3), np.uint8))
    np.testing.assert_array_equal(found.classes, logits[0, 0] >= 0)
    assert found.confidence is not None
    assert found.confidence.min() >= 0.5
    assert model.classes == found.count == 2
    assert [model.label(k) for k in range(2)] == ["background", "foreground"]
    assert [open_maps(make_model, "mask", logits, labels=["road"]).label(k) for k in range(2)] == ["background", "road"]


def test_what_lies_beyond_a_centre_crop_has_no_class(make_model: MakeModel) -> None:
    model = open_maps(
        make_model, "logits", np.ones((1, 3, 32, 32), np.float32), (32, 32), preprocess={"resize": "shortest"}
    )
    found = model.segment(np.zeros((50, 100, 3), np.uint8))
    assert (found.classes[:, 30:70] == 0).all()
    assert (found.classes[:, :20] == -1).all()
    assert (found.classes[:, 80:] == -1).all()


def test_classes_of_a_broken_graph(make_model: MakeModel, tmp_path: Path) -> None:
    """Numbers that are no classes: none of them asks for memory, or ends in a trace."""
    values = np.array([-5, 0, 2**31 - 1, 2**40], np.int64)[np.random.default_rng(0).integers(0, 4, (1, 32, 48))]
    model = open_maps(make_model, "out", values)
    picture = np.zeros((32, 48, 3), np.uint8)
    [found] = inspector.predict(inspector.open_model(model.path), picture, draw=True, out=tmp_path)
    assert found.segmentation is not None
    assert found.segmentation.classes.min() == -1
    assert {one.index for one in found.segments} == {0, 2**31 - 128}


def test_other_shapes_than_the_file_declares(make_model: MakeModel) -> None:
    model = open_maps(make_model, "logits", np.ones((1, 3, 8, 8), np.float32))
    broken = replace(model, decoder=replace(model.decoder, outputs=("images",), activation="indices"))
    assert broken.segment(np.zeros((8, 8, 3), np.uint8)).classes.shape == (8, 8)
    detector = open_model(make_model(make_head({"output0": np.ones((1, 6, 84), np.float32)})))
    assert detector.decoder is not None
    with pytest.raises(NotComputable, match=r"the outputs are not those of yolov8: output0 \(1, 0, 0\)"):
        detector.decoder.find({"output0": np.ones((1, 0, 0))}, (64, 64))  # type: ignore[attr-defined]


def test_numbers_that_are_none_are_no_evidence(make_model: MakeModel) -> None:
    maps = np.full((1, 3, 32, 48), np.nan, np.float32)
    maps[:, 2] = 0
    found = open_maps(make_model, "logits", maps).segment(np.zeros((1, 1, 3), np.uint8))
    assert found.classes.tolist() == [[2]]


@pytest.mark.parametrize("size", [(1, 1), (8000, 200)])
def test_odd_sizes(size: tuple[int, int], make_model: MakeModel) -> None:
    maps = np.random.default_rng(1).normal(0, 3, (1, 5, 32, 48)).astype(np.float32)
    found = open_maps(make_model, "logits", maps).segment(np.zeros((size[1], size[0], 3), np.uint8))
    assert found.classes.shape == (size[1], size[0])
    assert found.classes.min() >= 0


def test_a_picture_of_the_network(make_model: MakeModel) -> None:
    planes = np.random.default_rng(0).random((1, 3, 64, 96)).astype(np.float32)
    model = open_maps(make_model, "out", planes)
    assert (model.task, model.classes) == ("picture", None)
    np.testing.assert_array_equal(model.translate(np.zeros((9, 9, 3), np.uint8)), planes[0].transpose(1, 2, 0))
    depth = open_maps(make_model, "predicted_depth", planes[:, 0])
    np.testing.assert_array_equal(depth.translate(np.zeros((9, 9, 3), np.uint8)), planes[0, 0])


def test_vectors(make_model: MakeModel) -> None:
    def build(net: Any, x: str) -> str:
        vector = net("Flatten", net("GlobalAveragePool", net.conv(x, 3, 16)))
        return str(net("LpNormalization", vector, axis=1, p=2, out="embedding"))

    model = open_model(make_model(build))
    assert model.task == "embed"
    rng = np.random.default_rng(0)
    one, other = (model.embed(rng.integers(0, 256, (8, 8, 3), np.uint8)) for _ in range(2))
    assert np.linalg.norm(one) == pytest.approx(1, abs=1e-4)
    assert compare_vectors([one, other, 0 * one], one) == pytest.approx([1, float(one @ other), 0], abs=1e-4)


def test_a_classifier_is_an_embedding_where_somebody_says_so(make_model: MakeModel) -> None:
    def build(net: Any, x: str) -> str:
        return str(net("Flatten", net("GlobalAveragePool", net.conv(x, 3, 16)), out="features"))

    assert open_model(make_model(build)).task == "classify"
    said = {"inspector": json.dumps({"schema": 1, "task": "embed"})}
    model = open_model(make_model(build, metadata=said))
    assert (model.task, model.classifier) == ("embed", None)
    assert model.embed(np.zeros((8, 8, 3), np.uint8)).shape == (16,)
