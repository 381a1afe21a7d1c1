"""Random networks: what was planted is found, and no answer changes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from numpy.typing import NDArray
from onnx.reference import ReferenceEvaluator

from exporters.slimming.rewrite import cut_graph
from inspector.graph import read_graph
from inspector.slimming import find_slim_plan
from tests.slimming.networks import PlantedNetwork


def to_double(proto: onnx.ModelProto) -> onnx.ModelProto:
    """The same network on float64."""
    copy = onnx.ModelProto()
    copy.CopyFrom(proto)
    for tensor in copy.graph.initializer:
        if tensor.data_type == onnx.TensorProto.FLOAT and tensor.dims != [4]:  # the scales of a resize are float32
            tensor.CopyFrom(onnx.numpy_helper.from_array(onnx.numpy_helper.to_array(tensor).astype(float), tensor.name))
    for value in (*copy.graph.input, *copy.graph.output):
        value.type.tensor_type.elem_type = onnx.TensorProto.DOUBLE
    return copy


def run_reference(proto: onnx.ModelProto, picture: NDArray[np.float64]) -> NDArray[np.float64]:
    found: NDArray[np.float64] = ReferenceEvaluator(to_double(proto)).run(None, {"x": picture})[0]
    return found


def run_runtime(proto: onnx.ModelProto, picture: NDArray[np.float64]) -> NDArray[np.float32]:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(proto.SerializeToString(), options, providers=["CPUExecutionProvider"])
    found: NDArray[np.float32] = session.run(None, {"x": picture.astype(np.float32)})[0]
    return found


def slim_and_compare(seeds: range, folder: Path, reference: bool) -> float:
    """The share of what was planted that is cut; asserts that no answer changes."""
    planted = found = 0
    path = folder / "network.onnx"
    for seed in seeds:
        network = PlantedNetwork(seed)
        proto = network.build()
        path.unlink(missing_ok=True)
        path.write_bytes(proto.SerializeToString())
        plan = find_slim_plan(read_graph(path))
        slimmed = cut_graph(plan)
        onnx.checker.check_model(slimmed, full_check=True)
        picture = np.random.default_rng(seed).standard_normal((1, 3, 8, 8))
        run, limit = (run_reference, 1e-6) if reference else (run_runtime, 1e-5)
        before, after = run(proto, picture), run(slimmed, picture)
        assert np.abs(before - after).max() <= limit * np.abs(before).max(), f"seed {seed}"
        cut = {(each.tensor, channel) for each in plan.cut for channel in each.channels}
        planted += len(network.planted)
        found += len(network.planted & cut)
    return found / planted


def test_what_is_planted_is_cut(tmp_path: Path) -> None:
    assert slim_and_compare(range(30), tmp_path, reference=False) >= 0.95


@pytest.mark.slow
def test_a_thousand_networks(tmp_path: Path) -> None:
    assert slim_and_compare(range(1000, 1700), tmp_path, reference=False) >= 0.95
    assert slim_and_compare(range(1700, 2000), tmp_path, reference=True) >= 0.95
