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
from tests.slimming.integers import IntegerNetwork
from tests.slimming.networks import PlantedNetwork
from tests.slimming.structures import RANGE, StructuredNetwork


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


def open_runtime(proto: onnx.ModelProto, optimised: bool = True) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    if not optimised:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    return onnxruntime.InferenceSession(proto.SerializeToString(), options, providers=["CPUExecutionProvider"])


def run_runtime(proto: onnx.ModelProto, picture: NDArray[np.float64]) -> NDArray[np.float32]:
    found: NDArray[np.float32] = open_runtime(proto).run(None, {"x": picture.astype(np.float32)})[0]
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


def slim_structures(seeds: range, kind: str, folder: Path) -> int:
    """How many channels are cut of networks of rare structures; asserts that no answer changes."""
    path, count = folder / "network.onnx", 0
    for seed in seeds:
        network = IntegerNetwork(seed) if kind == "integers" else StructuredNetwork(seed, kind)
        pixels = isinstance(network, StructuredNetwork) and network.integers
        proto = network.build()
        path.unlink(missing_ok=True)
        path.write_bytes(proto.SerializeToString())
        known = {"x": RANGE} if kind == "bounded" and not pixels else None
        plan = find_slim_plan(read_graph(path), inputs=known)
        slimmed = cut_graph(plan)
        rng = np.random.default_rng(seed)
        pictures = [rng.uniform(*RANGE, (1, 3, 8, 8)), rng.choice(RANGE, (1, 3, 8, 8))]
        if pixels:
            pictures = [rng.integers(0, 256, (1, 3, 8, 8)), rng.choice([0, 255], (1, 3, 8, 8))]
        # What onnxruntime makes of pairs around integers is rounded in ways of its own, and not the same in both files.
        before, after = (open_runtime(each, optimised=kind != "grid") for each in (proto, slimmed))
        for picture in pictures:
            given = {"x": picture.astype(np.uint8 if pixels else np.float32)}
            for old, new in zip(before.run(None, given), after.run(None, given), strict=True):
                assert old.shape == new.shape, f"seed {seed}: {network.used}"
                assert np.abs(old - new).max() <= 1e-5 * max(np.abs(old).max(), 1e-3), f"seed {seed}: {network.used}"
        count += plan.total
    return count


def test_what_is_planted_is_cut(tmp_path: Path) -> None:
    assert slim_and_compare(range(20), tmp_path, reference=False) >= 0.95


@pytest.mark.parametrize("kind", ["plain", "grid", "bounded", "integers"])
def test_rare_structures_answer_as_before(kind: str, tmp_path: Path) -> None:
    assert slim_structures(range(3), kind, tmp_path)


@pytest.mark.slow
def test_a_thousand_networks(tmp_path: Path) -> None:
    assert slim_and_compare(range(1000, 1750), tmp_path, reference=False) >= 0.95
    assert slim_and_compare(range(1750, 2000), tmp_path, reference=True) >= 0.95


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["plain", "grid", "bounded", "integers"])
def test_many_rare_structures(kind: str, tmp_path: Path) -> None:
    assert slim_structures(range(1000, 1100), kind, tmp_path)
