"""The audit of files whose attached outputs were changed behind their back, one kind of damage after the other."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import ModelProto, helper, numpy_helper

from exporters.attaching import attach_outputs
from inspector.auditing import audit_model
from inspector.metadata import KEY
from inspector.model import Model, open_model
from tests.attaching.test_attach import pooled
from tests.attaching.test_calibration import write_pictures
from tests.audit.policies import policy
from tests.foreign import Net


@pytest.fixture(scope="module")
def attached(tmp_path_factory: Any) -> tuple[Path, Path]:
    """A file with every output, and the pictures that it was made with."""
    folder = tmp_path_factory.mktemp("attached")
    net = Net()
    onnx.save(net.model(pooled(net, net.input("x", ("N", 3, 8, 8)))), folder / "net.onnx")
    source = open_model(folder / "net.onnx", provider="cpu")
    known = write_pictures(source, folder / "pictures") / "known"
    made = attach_outputs(
        source, folder / "made.onnx", cam="hirescam", calibrate=known, unknown=known, saliency="gradient"
    )
    assert made.figures["unknown"]["method"] != "energy"
    return made.path, known


def judge(path: Path, known: Path) -> Any:
    return audit_model(path, policy("attached-outputs"), data=known, provider="cpu").check("attached-outputs")


def find_node(proto: ModelProto, output: str) -> Any:
    """The node that makes a tensor."""
    return next(node for node in proto.graph.node if output in node.output)


def change_settings(proto: ModelProto, meaning: str, **changes: Callable[[Any], Any]) -> None:
    [entry] = [entry for entry in proto.metadata_props if entry.key == KEY]
    document = json.loads(entry.value)
    [settings] = [one["settings"] for one in document["attached"] if one["meaning"] == meaning]
    settings.update({name: change(settings[name]) for name, change in changes.items()})
    entry.value = json.dumps(document)


def change_constant(proto: ModelProto, name: str, factor: float) -> None:
    [tensor] = [tensor for tensor in proto.graph.initializer if tensor.name == name]
    array = numpy_helper.to_array(tensor)
    tensor.CopyFrom(numpy_helper.from_array((array * factor).astype(array.dtype), name))


def put_behind(proto: ModelProto, output: str, op: str, constant: Any, **attributes: Any) -> None:
    """One more node between an output and what it was."""
    for node in proto.graph.node:
        for names in (node.input, node.output):
            names[:] = ["attached/before" if name == output else name for name in names]
    proto.graph.initializer.append(numpy_helper.from_array(np.asarray(constant), "attached/more"))
    more = helper.make_node(op, ["attached/before", "attached/more"], [output], name="attached/more", **attributes)
    proto.graph.node.append(more)


def scale_gradient(proto: ModelProto) -> None:
    put_behind(proto, "saliency", "Mul", np.float32(1.01))


def take_other_features(proto: ModelProto) -> None:
    """The means of the maps before the ReLU in place of those behind it."""
    flat = find_node(proto, find_node(proto, proto.graph.output[0].name).input[0])
    pool = find_node(proto, flat.input[0])
    relu = find_node(proto, pool.input[0])
    at = next(k for k, node in enumerate(proto.graph.node) if node.name.startswith("attached/"))
    pooled = helper.make_node("GlobalAveragePool", [relu.input[0]], ["attached/other"], name="attached/other")
    proto.graph.node.insert(at, pooled)
    for node in proto.graph.node:
        if node.name.startswith("attached/Reshape") and node.input[0] == flat.output[0]:
            node.input[0] = "attached/other"


def reverse_classes(proto: ModelProto) -> None:
    put_behind(proto, "cam_classes", "Gather", np.arange(7)[::-1].copy(), axis=1)


def take_unlikeliest(proto: ModelProto) -> None:
    for node in proto.graph.node:
        if node.name.startswith("attached/") and node.op_type == "ArgMax":
            node.op_type = "ArgMin"


def change_statistics(proto: ModelProto) -> None:
    [entry] = [entry for entry in proto.metadata_props if entry.key == KEY]
    [settings] = [one["settings"] for one in json.loads(entry.value)["attached"] if one["meaning"] == "unknown"]
    change_constant(proto, settings["constants"]["means"], 1.01)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (scale_gradient, "'saliency' differs"),
        (take_other_features, "'unknown' differs"),
        (reverse_classes, "'cam_classes' differs"),
        (take_unlikeliest, "'cam' differs"),
        (change_statistics, "'unknown' differs by inf of its scale: the statistics"),
        (lambda p: change_settings(p, "unknown", threshold=lambda x: 0.99 * x), "'unknown' differs.*: its threshold"),
        (lambda p: change_settings(p, "unknown", quartiles=lambda x: [x[0], x[1], 2 * x[2]]), "'unknown' differs"),
        (lambda p: change_settings(p, "probability", temperature=lambda x: 1.05 * x), "'probability' differs"),
    ],
)
def test_damage_is_found(change: Any, told: str, attached: Any, tmp_path: Path) -> None:
    path, known = attached
    proto = onnx.load(path)
    change(proto)
    onnx.save(proto, tmp_path / "changed.onnx")
    found = judge(tmp_path / "changed.onnx", known)
    assert found.status == "fail"
    assert re.search(told, found.message)


def test_what_is_whole_passes(attached: Any) -> None:
    found = judge(*attached)
    assert found.status == "pass"
    assert "not computed anew" not in found.message
    assert found.value < 1e-4


def test_means_over_copies(make_model: Any, tmp_path: Path) -> None:
    source: Model = open_model(make_model(pooled, shape=("N", 3, 8, 8)), provider="cpu")
    known = write_pictures(source, tmp_path / "pictures") / "known"
    path = attach_outputs(source, tmp_path / "made.onnx", saliency="smoothgrad:3").path
    assert judge(path, known).status == "pass"
    proto = onnx.load(path)
    [noise] = [t.name for t in proto.graph.initializer if t.data_type == onnx.TensorProto.FLOAT16]
    change_constant(proto, noise, 2.0)
    onnx.save(proto, tmp_path / "loud.onnx")
    assert judge(tmp_path / "loud.onnx", known).status == "fail"
    path = attach_outputs(source, tmp_path / "made.onnx", saliency="integrated:17").path
    assert "saliency: finite, and not computed anew" in judge(path, known).message
