"""The same model written in other ways that protobuf allows gives the same answers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import numpy_helper

from inspector import open_model
from inspector.errors import ModelError
from inspector.graph import read_graph
from tests.conftest import MakeModel
from tests.foreign import Net
from tests.foreign.converters import BUILDERS


def two_convolutions(n: Net, x: str) -> str:
    y = n("Relu", n.conv(x, 3, 32, w="w1", out="c1"), out="r1")
    return n("GlobalAveragePool", n("Relu", n.conv(y, 32, 16, w="w2", out="c2"), out="r2"), out="pooled")


VALUES = {"raw_data", "f", "i", "s"}
"""Fields of which one says what the message holds: bytes that are there and empty are a value."""


def spell_defaults(message: Any) -> int:
    """Set every optional field that is not there to its default, in this message and all in it; how many."""
    count = 0
    for field in message.DESCRIPTOR.fields:
        if field.message_type is not None:
            parts = getattr(message, field.name)
            for part in parts if field.is_repeated else [parts] if message.HasField(field.name) else []:
                count += spell_defaults(part)
        elif field.has_presence and not field.containing_oneof and field.name not in VALUES:
            count += not message.HasField(field.name)
            setattr(message, field.name, getattr(message, field.name))
    return count


@pytest.mark.parametrize("name", BUILDERS)
def test_defaults_in_so_many_words(name: str, make_model: MakeModel) -> None:
    proto = BUILDERS[name]()
    plain = read_graph(make_model(proto, name="plain.onnx"))
    assert spell_defaults(proto) > 30
    onnx.checker.check_model(proto)
    spelt = read_graph(make_model(proto, name="spelt.onnx"))
    assert spelt.initializers.keys() == plain.initializers.keys()
    for tensor in plain.initializers:
        np.testing.assert_array_equal(spelt.weight(tensor), plain.weight(tensor))
    assert [n.op_type for n in spelt.nodes] == [n.op_type for n in plain.nodes]
    assert spelt.opset == plain.opset


def test_external_data_loaded_and_saved_as_one_file(make_model: MakeModel, tmp_path: Path) -> None:
    """What torch's exporter, onnxslim and converters to half precision leave: location DEFAULT in so many words."""
    path = make_model(two_convolutions)
    proto = onnx.load(path)
    (tmp_path / "split").mkdir()
    onnx.save_model(proto, tmp_path / "split" / "model.onnx", save_as_external_data=True, size_threshold=0)
    again = onnx.load(tmp_path / "split" / "model.onnx")
    assert all(t.HasField("data_location") for t in again.graph.initializer)
    onnx.save_model(again, tmp_path / "one.onnx")
    picture = np.random.default_rng(0).integers(0, 256, (8, 8, 3), np.uint8)
    before, after = open_model(path), open_model(tmp_path / "one.onnx")
    expected = before.activations(picture)
    for name, values in after.activations(picture).items():
        np.testing.assert_array_equal(values, expected[name])
    assert isinstance(after.graph.weight("w2"), np.memmap)


def test_values_come_before_and_after_the_location(make_model: MakeModel) -> None:
    """Fields may stand in any order in a file."""
    proto = onnx.load(make_model(two_convolutions))
    weight = next(t for t in proto.graph.initializer if t.name == "w2")
    expected = numpy_helper.to_array(weight)
    raw = weight.raw_data
    weight.ClearField("raw_data")
    weight.data_location = onnx.TensorProto.DEFAULT
    field = onnx.TensorProto(raw_data=raw).SerializeToString()
    for order in (lambda head: head + field, lambda head: field + head):
        tensor = order(weight.SerializeToString())
        [kept] = [t for t in proto.graph.initializer if t.name == "w1"]
        graph = onnx.GraphProto()
        graph.CopyFrom(proto.graph)
        del graph.initializer[:]
        graph.initializer.append(kept)
        model = onnx.ModelProto()
        model.CopyFrom(proto)
        model.ClearField("graph")
        for other in proto.graph.initializer:
            if other.name not in ("w1", "w2"):
                graph.initializer.append(other)
        # A message in two pieces is one message: the second piece holds nothing but the tensor.
        body = graph.SerializeToString() + b"\x2a" + _varint(len(tensor)) + tensor
        path = make_model(onnx.ModelProto(), name="other.onnx")
        path.write_bytes(model.SerializeToString() + b"\x3a" + _varint(len(body)) + body)
        np.testing.assert_array_equal(read_graph(path).weight("w2"), expected)


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


def test_nodes_in_any_order(make_model: MakeModel) -> None:
    """onnxruntime sorts them, so files with nodes in any order are about."""
    straight = make_model(two_convolutions)
    proto = onnx.load(straight)
    rng = np.random.default_rng(0)
    picture = rng.integers(0, 256, (8, 8, 3), np.uint8)
    expected = open_model(straight).activations(picture)
    for turn in range(5):
        nodes = list(proto.graph.node)
        order = rng.permutation(len(nodes)) if turn else reversed(range(len(nodes)))
        mixed = onnx.ModelProto()
        mixed.CopyFrom(proto)
        del mixed.graph.node[:]
        mixed.graph.node.extend(nodes[i] for i in order)
        model = open_model(make_model(mixed, name=f"mixed{turn}.onnx"))
        assert [layer.name for layer in model.layers] == list(expected)
        for name, values in model.activations(picture).items():
            np.testing.assert_array_equal(values, expected[name])


def test_nodes_of_bodies_in_any_order(make_model: MakeModel) -> None:
    from onnx import helper

    inner = [
        helper.make_node("Add", ["doubled", "two"], ["out"]),
        helper.make_node("Mul", ["x", "two"], ["doubled"]),
    ]
    branches = {}
    for name in ("then_branch", "else_branch"):
        output = helper.make_tensor_value_info("out", 1, None)
        branches[name] = helper.make_graph(inner, name, [], [output])
    nodes = [
        helper.make_node("If", ["yes"], ["y"], **branches),
    ]
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", 1, (1, 3, 8, 8))],
        [helper.make_tensor_value_info("y", 1, None)],
        [numpy_helper.from_array(np.array(True), "yes"), numpy_helper.from_array(np.float32(2).reshape(()), "two")],
    )
    path = make_model(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8))
    body = read_graph(path).nodes[0].attribute[0].g
    assert [node.op_type for node in body.node] == ["Mul", "Add"]


def test_a_circle_is_refused(make_model: MakeModel) -> None:
    from inspector.errors import ModelError

    proto = onnx.load(make_model(two_convolutions))
    proto.graph.node[0].input[0] = "r2"
    with pytest.raises(ModelError, match="reads 'r2', which nothing before it makes"):
        read_graph(make_model(proto, name="circle.onnx"))


def test_a_file_of_onnxruntime_is_named(make_model: MakeModel, tmp_path: Path) -> None:
    """What onnxruntime itself writes in its own format."""
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "model.ort")
    options.add_session_config_entry("session.save_model_format", "ORT")
    onnxruntime.InferenceSession(make_model(lambda n, x: n("Relu", n.conv(x, 3, 4))), options)
    with pytest.raises(ModelError) as caught:
        read_graph(tmp_path / "model.ort")
    assert str(caught.value) == (
        f"{tmp_path}/model.ort is in onnxruntime's own format (.ort), which holds no ONNX graph; "
        "give the .onnx that it was made of"
    )
