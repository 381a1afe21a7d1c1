"""The comparison itself, on arrays."""

from __future__ import annotations

import math

import numpy as np
import pytest

from exporters.exporting.parity import ParityError, compare_values, compute_onnx_values
from inspector.agreement import TOLERANCE
from inspector.errors import MissingExtra


def test_the_tolerance_is_a_share_of_the_layer():
    values = {"a": np.array([0.0, -100.0]), "b": np.array([0.001])}
    within = {"a": np.array([0.09, -100.0]), "b": np.array([0.0010009])}
    table = compare_values(values, within)
    assert [row.layer for row in table] == ["a", "b"]
    assert table[0].max_abs == pytest.approx(0.09)
    assert table[0].scale == 100
    assert all(row.ok for row in table)
    with pytest.raises(
        ParityError, match=r"layer 'b' differs .* by 2e-06 at a scale of 0.001; 1 of 2 layers"
    ) as caught:
        compare_values(values, within | {"b": np.array([0.001002])})
    assert [row.ok for row in caught.value.parity] == [True, False]
    assert TOLERANCE == 1e-3


def test_a_layer_of_zeros_must_be_zeros():
    assert compare_values({"a": np.zeros(3)}, {"a": np.zeros(3)})[0].ok
    with pytest.raises(ParityError):
        compare_values({"a": np.zeros(3)}, {"a": np.full(3, 1e-9)})


def test_the_first_layer_off_is_named_and_the_worst():
    ours = {"a": np.ones(2), "b": np.ones(2), "c": np.ones(2)}
    with pytest.raises(ParityError, match=r"layer 'b' .* 2 of 3 layers .* most of all 'c'"):
        compare_values(ours, {"a": np.ones(2), "b": np.full(2, 1.1), "c": np.full(2, 3.0)})


def test_nan_and_other_shapes_never_agree():
    for theirs in (np.array([math.nan]), np.zeros(2), np.zeros((1, 1))):
        with pytest.raises(ParityError) as caught:
            compare_values({"a": np.zeros(1)}, {"a": theirs})
        assert caught.value.parity[0].max_abs == math.inf
    with pytest.raises(ParityError, match="not finite in torch"):
        compare_values({"a": np.array([math.nan])}, {"a": np.array([math.nan])})


def test_nothing_compared_is_a_failure():
    with pytest.raises(ParityError, match="no layer was compared"):
        compare_values({}, {})
    with pytest.raises(ParityError, match="does not give b"):
        compare_values({"a": np.zeros(1), "b": np.zeros(1)}, {"a": np.zeros(1)})


def test_a_file_that_onnxruntime_cannot_run(tmp_path):
    (tmp_path / "x.onnx").write_bytes(b"\x08\x01nonsense")
    with pytest.raises(ParityError, match="onnxruntime cannot run the exported graph") as caught:
        compute_onnx_values(tmp_path / "x.onnx", np.zeros((1, 3, 8, 8), np.float32), ["logits"])
    assert "\n" not in str(caught.value)


def test_without_onnxruntime_the_extra_is_named(monkeypatch, tmp_path):
    monkeypatch.setitem(__import__("sys").modules, "onnxruntime", None)
    with pytest.raises(MissingExtra, match=r'pip install -e ".*\[cpu\]"'):
        compute_onnx_values(tmp_path / "x.onnx", np.zeros(1), ["logits"])
