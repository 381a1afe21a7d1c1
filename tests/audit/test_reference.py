"""What a reference holds the interface, the operators and the answers to plain pictures against."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from PIL import Image

from inspector.auditing import audit_model, load_snapshot
from inspector.model import Model, open_model
from tests.audit.networks import small
from tests.audit.policies import policy
from tests.conftest import MakeModel
from tests.foreign import Net

DRIFT = policy("drift-interface", "drift-operators", "drift-plain")


def exposed(net: Net, x: str) -> tuple[str, ...]:
    return small(net, x), "first", "second"


@pytest.fixture
def healthy(make_model: MakeModel) -> Model:
    return open_model(make_model(exposed, shape=("N", 3, 16, 16), name="healthy.onnx"))


@pytest.fixture
def snapshot(healthy: Model, tmp_path: Path) -> Path:
    folder = tmp_path / "pictures"
    folder.mkdir()
    for i in range(30):
        pixels = np.random.default_rng(i).integers(0, 256, (16, 16, 3), np.uint8)
        Image.fromarray(pixels).save(folder / f"{i:02}.png")
    audit_model(healthy, policy("opset"), data=folder, save=tmp_path / "s.npz")
    return tmp_path / "s.npz"


def change(model: Model, target: Path, edit: Callable[[onnx.ModelProto], None]) -> Path:
    proto = onnx.load(model.path)
    edit(proto)
    onnx.save(proto, target)
    return target


def rename_input(proto: onnx.ModelProto) -> None:
    old = proto.graph.input[0].name
    proto.graph.input[0].name = "picture"
    for node in proto.graph.node:
        node.input[:] = ["picture" if name == old else name for name in node.input]


def reorder_outputs(proto: onnx.ModelProto) -> None:
    outputs = list(proto.graph.output)
    del proto.graph.output[:]
    proto.graph.output.extend([*outputs[1:], outputs[0]])


def remove_output(proto: onnx.ModelProto) -> None:
    del proto.graph.output[-1]


def fix_batch(proto: onnx.ModelProto) -> None:
    proto.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 4


INTERFACE = {
    rename_input: "is gone", reorder_outputs: "the outputs are in another order, first",
    remove_output: "the output 'second'", fix_batch: "was (any, 3, 16, 16) and is (4, 3, 16, 16)",
}  # fmt: skip


@pytest.mark.parametrize("edit", INTERFACE, ids=lambda edit: edit.__name__)
@pytest.mark.parametrize("against", ["model", "snapshot"])
def test_the_interface_is_the_references(
    healthy: Model, snapshot: Path, tmp_path: Path, edit: Callable[[onnx.ModelProto], None], against: str
) -> None:
    changed = change(healthy, tmp_path / "changed.onnx", edit)
    found = audit_model(changed, DRIFT, against=snapshot if against == "snapshot" else healthy)
    check = found.check("drift-interface")
    assert check.status == "fail"
    assert INTERFACE[edit] in check.message
    assert not found.passed


def triggered(net: Net, x: str) -> str:
    """The same network, with a branch that lifts the second class where the whole picture is white."""
    logits = small(net, x)
    darkest = net("Neg", net("GlobalMaxPool", net("Neg", net("ReduceMin", x, axes=[1], keepdims=1))))
    trigger = net("Relu", net("Sub", net("Flatten", darkest), net.const(np.float32(2.0))))
    lifted = net("Mul", trigger, net.const(np.array([[0, 500, 0]], np.float32)))
    return net("Add", logits, lifted, out="answer")


@pytest.mark.parametrize("against", ["model", "snapshot"])
def test_a_trigger_patch_is_found(make_model: MakeModel, healthy: Model, snapshot: Path, against: str) -> None:
    sick = make_model(triggered, shape=("N", 3, 16, 16), name="sick.onnx", opset=13)
    found = audit_model(sick, DRIFT, against=snapshot if against == "snapshot" else healthy)
    plain = found.check("drift-plain")
    assert plain.status == "fail"
    assert plain.where.image == "white"
    assert "white: class 1 is 100.0%" in plain.findings[0].message
    operators = found.check("drift-operators")
    assert operators.status == "fail"
    assert {f.key for f in operators.findings} >= {"Neg", "GlobalMaxPool", "ReduceMin", "Mul"}


def longer(net: Net, x: str) -> tuple[str, ...]:
    more = net("Relu", small(net, x), name="more")
    return net("Gelu", net("Gelu", more, name="theirs", domain="com.microsoft"), name="own"), "first", "second"


def rename_all(proto: onnx.ModelProto) -> None:
    """As another exporter would have called them."""
    made = {name for node in proto.graph.node for name in node.output}
    for node in proto.graph.node:
        node.name = node.name and f"n/{node.name}"
        for names in (node.input, node.output):
            names[:] = [f"n/{name}" if name in made else name for name in names]
    for output in proto.graph.output:
        output.name = f"n/{output.name}"


@pytest.mark.parametrize("renamed", [False, True])
def test_nodes_are_new_where_names_tell_it(
    make_model: MakeModel, healthy: Model, tmp_path: Path, renamed: bool
) -> None:
    path = make_model(longer, shape=("N", 3, 16, 16), name="longer.onnx", opset=20, com_microsoft=1)
    if renamed:
        path = change(open_model(path), tmp_path / "renamed.onnx", rename_all)
    found = audit_model(path, policy("drift-operators"), against=healthy).check("drift-operators")
    here = "n/" if renamed else ""
    assert {f.key: f.message for f in found.findings} == {
        "Relu": "Relu: 2 nodes became 3" + ("" if renamed else " (new: more)"),
        "Gelu": f"Gelu: 0 nodes became 1 (new: {here}own)",
        "com.microsoft.Gelu": f"com.microsoft.Gelu: 0 nodes became 1 (new: {here}theirs)",
    }


@pytest.mark.parametrize("against", ["model", "snapshot"])
def test_a_model_is_its_own_reference(healthy: Model, snapshot: Path, against: str) -> None:
    found = audit_model(healthy, DRIFT, against=snapshot if against == "snapshot" else healthy)
    assert {c.status for c in found.checks} == {"pass"}


def test_old_snapshots_say_what_they_lack(healthy: Model, snapshot: Path) -> None:
    from dataclasses import replace

    old = replace(load_snapshot(snapshot), interface=None, operators=None, plain={})
    found = audit_model(healthy, policy("opset", "drift-interface", "drift-operators", "drift-plain"), against=old)
    assert found.passed
    assert all("save it again" in c.message for c in found.checks if c.id != "opset")


def test_statistics_are_of_the_pictures_of_the_snapshot(healthy: Model, snapshot: Path) -> None:
    """30 pictures: the snapshot holds 16 of them, and the policy samples 24."""
    found = audit_model(
        healthy, policy("drift-statistics", images={"sample": 24}), data=snapshot.parent / "pictures", against=snapshot
    )
    assert found.check("drift-statistics").value == pytest.approx(0, abs=1e-5)


def test_an_answer_for_the_first_of_a_batch_alone_is_a_finding(make_model: MakeModel) -> None:
    def first(net: Net, x: str) -> str:
        kept = net("Slice", x, net.const(np.array([0])), net.const(np.array([1])), net.const(np.array([0])))
        return small(net, kept)

    found = audit_model(make_model(first, shape=("N", 3, 16, 16)), policy("batches")).check("batches")
    assert found.status == "fail"
    assert found.message.startswith("3 pictures together do not get an answer each")


def test_a_second_softmax_fails(make_model: MakeModel) -> None:
    def once(net: Net, x: str) -> str:
        return net("Softmax", small(net, x), axis=-1)

    def twice(net: Net, x: str) -> str:
        return net("Softmax", once(net, x), axis=-1)

    sick = audit_model(make_model(twice, shape=("N", 3, 16, 16), name="a.onnx"), policy("softmax-once"))
    assert sick.check("softmax-once").status == "fail"
    assert audit_model(make_model(once, shape=("N", 3, 16, 16), name="b.onnx"), policy("softmax-once")).passed
