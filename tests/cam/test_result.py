"""Scaling, emptiness, the peak in the picture's pixels, and several layers in one map."""

from __future__ import annotations

import numpy as np
import pytest

from inspector.cam.resize import enlarge
from inspector.cam.result import find_peak, fuse_maps, scale_map
from inspector.image import Preprocess
from tests.cam.reference import bilinear


@pytest.mark.parametrize("factor", [1e-30, 1e-12, 1.0, 1e12])
def test_the_heatmap_keeps_its_shape_at_any_scale(factor: float) -> None:
    raw = np.array([[1.0, 2.0], [-3.0, 4.0]], np.float32)
    heatmap, empty = scale_map(raw * np.float32(factor))
    assert not empty
    assert np.allclose(heatmap, [[0.25, 0.5], [0, 1]], rtol=1e-6)


def test_zero_evidence_stays_zero_and_the_minimum_is_not_subtracted() -> None:
    heatmap, _ = scale_map(np.array([[2.0, 4.0]], np.float32))
    assert heatmap.tolist() == [[0.5, 1.0]]


@pytest.mark.parametrize(
    "raw",
    [
        np.zeros((2, 2)),
        -np.ones((2, 2)),
        np.array([[-5.0, 1e-7], [-3.0, 0]]),  # rounding beside the rest
        np.full((2, 2), np.nan),
        np.array([[1.0, np.inf], [0, 0]]),
    ],
)
def test_maps_without_positive_evidence_are_empty(raw: np.ndarray) -> None:
    heatmap, empty = scale_map(raw.astype(np.float32))
    assert empty
    assert heatmap.dtype == np.float32
    assert not heatmap.any()


def test_a_little_evidence_among_much_against_is_not_empty() -> None:
    heatmap, empty = scale_map(np.array([[-5.0, 1e-4]], np.float32))
    assert not empty
    assert heatmap.tolist() == [[0, 1]]


@pytest.mark.parametrize("align", [False, True])
@pytest.mark.parametrize(("old", "new"), [((3, 4), (9, 7)), ((1, 1), (4, 5)), ((7, 7), (28, 30)), ((2, 5), (2, 5))])
def test_enlargement_is_bilinear(old: tuple[int, int], new: tuple[int, int], align: bool) -> None:
    a = np.random.default_rng(0).standard_normal(old)
    found = enlarge(a, new, align)
    assert found.dtype == np.float32
    assert np.abs(found - bilinear(a, new, align)).max() < 1e-5


def peak(preprocess: Preprocess, size: tuple[int, int], cell: tuple[int, int], shape: tuple[int, int] = (4, 4)):
    raw = np.zeros(shape, np.float32)
    raw[cell] = 1
    return find_peak(raw, scale_map(raw)[0], preprocess.box(size), size)


def test_the_peak_is_the_centre_of_its_cell_in_picture_pixels() -> None:
    stretched = Preprocess(size=(32, 32))
    assert peak(stretched, (320, 160), (0, 0)) == (40, 20)
    assert peak(stretched, (320, 160), (3, 1)) == (120, 140)
    cropped = Preprocess(size=(32, 32), resize="shortest")
    assert peak(cropped, (320, 160), (0, 0)) == (100, 20)  # the crop begins at x = 80
    padded = Preprocess(size=(32, 32), resize="pad")
    assert peak(padded, (320, 160), (1, 0)) == (40, 40)
    assert peak(padded, (320, 160), (0, 0)) == (40, 0)  # in the padding: the nearest pixel


def test_the_peak_lies_where_the_enlarged_map_is_highest() -> None:
    raw = np.random.default_rng(3).random((5, 6)).astype(np.float32)
    heatmap, _ = scale_map(raw)
    x, y = find_peak(raw, heatmap, (0, 0, 120, 100), (120, 100))
    large = enlarge(heatmap, (100, 120))
    assert large[y, x] > 0.95 * large.max()


def test_an_empty_map_peaks_where_least_speaks_against() -> None:
    raw = np.array([[-3.0, -1.0], [-2.0, -4.0]], np.float32)
    assert find_peak(raw, scale_map(raw)[0], (0, 0, 10, 10), (10, 10)) == (7, 2)


def test_several_layers_are_scaled_enlarged_and_averaged() -> None:
    small = np.array([[4.0, 0.0], [0.0, -2.0]], np.float32)
    large = np.zeros((4, 4), np.float32)
    large[0, 0], large[3, 3] = 0.5, 0.25
    raw, heatmap, empty = fuse_maps([small, large])
    wanted = (bilinear(small / 4, (4, 4), False) + large / 0.5) / 2
    assert not empty
    assert np.abs(raw - wanted).max() < 1e-6
    positive = (bilinear(np.maximum(small, 0) / 4, (4, 4), False) + large / 0.5) / 2
    assert np.abs(heatmap - positive / positive.max()).max() < 1e-6
    assert heatmap.max() == 1


def test_a_layer_without_evidence_does_not_hide_the_others() -> None:
    raw, heatmap, empty = fuse_maps([-np.ones((2, 2), np.float32), np.eye(2, dtype=np.float32)])
    assert not empty
    assert heatmap.tolist() == [[1, 0], [0, 1]]
    assert raw.tolist() == [[0, -0.5], [-0.5, 0]]
    assert fuse_maps([np.zeros((2, 2), np.float32)] * 2)[2]
