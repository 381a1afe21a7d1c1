"""One network in the ways that ONNX allows to write it: outputs are those that onnxruntime computes from the file."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from inspector import open_model, slim
from inspector.errors import ModelError
from inspector.graph import read_graph
from tests.conftest import MakeModel
from tests.foreign import Net

Build = Callable[[], onnx.ModelProto | bytes]
CASES: dict[str, Build] = {}


def case(function: Build) -> Build:
    CASES[function.__name__] = function
    return function


def start(**options: Any) -> tuple[Net, str]:
    """A net with a convolution."""
    n = Net(**options)
    return n, n("Relu", n.conv(n.input("x", (1, 3, 8, 8)), 3, 8, w="w1"))


def end(n: Net, y: str, **options: Any) -> onnx.ModelProto:
    return n.model(n("Gemm", n("Flatten", n("GlobalAveragePool", y)), n.weight((5, 8), "wf"), transB=1), **options)


# --- local functions -----------------------------------------------------------------


def function(name: str, nodes: list[onnx.NodeProto], inputs: str = "a", **options: Any) -> onnx.FunctionProto:
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("local", 1)]
    return helper.make_function("local", name, list(inputs), ["y"], nodes, opsets, **options)


@case
def functions_of_two_equal_operators_called_without_a_name() -> onnx.ModelProto:
    body = [("Neg", "a", "b"), ("Relu", "b", "c"), ("Neg", "c", "d"), ("Relu", "d", "y")]
    made = function("Twice", [helper.make_node(op, [x], [y]) for op, x, y in body])
    n, y = start(local=1)
    y = n("Twice", n("Twice", y, domain="local"), domain="local")
    return end(n, n("Sub", n.const(1.0), y), functions=[made])


@case
def a_function_whose_attribute_has_a_default() -> onnx.ModelProto:
    leaky = helper.make_node("LeakyRelu", ["a"], ["y"])
    leaky.attribute.append(onnx.AttributeProto(name="alpha", ref_attr_name="slope", type=onnx.AttributeProto.FLOAT))
    made = function("Leaky", [leaky], attribute_protos=[helper.make_attribute("slope", 0.3)])
    outer = function("Outer", [helper.make_node("Leaky", ["a"], ["y"], domain="local")])
    n, y = start(local=1)
    y = n("Neg", y)
    called = (n("Leaky", y, domain="local"), n("Outer", y, domain="local"), n("Leaky", y, domain="local", slope=0.7))
    return end(n, n("Sum", *called), functions=[made, outer])


@case
def two_functions_of_one_name() -> onnx.ModelProto:
    plain = function("Act", [helper.make_node("Relu", ["a"], ["y"])], overload="plain")
    other = function(
        "Act", [helper.make_node("Neg", ["a"], ["b"]), helper.make_node("Elu", ["b"], ["y"])], overload="o"
    )
    n, y = start(local=1, ir=10)
    made = []
    for overload in ("plain", "o"):
        made.append(n("Act", y, domain="local"))
        n.nodes[-1].overload = overload
    return end(n, n("Sub", *made), functions=[plain, other])


@case
def functions_in_branches_whose_tensors_have_equal_names() -> onnx.ModelProto:
    gate = function("Gate", [helper.make_node("Sigmoid", ["a"], ["s"]), helper.make_node("Mul", ["a", "s"], ["y"])])
    n, y = start(local=1)
    branches = {}
    for name, op, number in (("then_branch", "Gate", 1.0), ("else_branch", "Neg", 2.0)):
        nodes = [helper.make_node(op, [y], ["t"], domain="local" if op == "Gate" else "")]
        nodes.append(helper.make_node("Add", ["t", "k"], ["out"]))
        own = [numpy_helper.from_array(np.array([number], np.float32), "k")]
        branches[name] = helper.make_graph(nodes, "b", [], [helper.make_tensor_value_info("out", 1, None)], own)
    y = n("If", n.const(np.array(True)), **branches)
    return end(n, n("Gate", n("Gate", y, domain="local"), domain="local"), functions=[gate])


@case
def bodies_in_bodies_whose_tensors_have_equal_names() -> onnx.ModelProto:
    """Each takes from around it what the one inside renames."""

    def branch(inner: list[onnx.NodeProto], read: str, number: float) -> onnx.GraphProto:
        nodes = [*inner, helper.make_node("Mul", [read, "k"], ["t"]), helper.make_node("Add", ["t", "k"], ["out"])]
        own = [numpy_helper.from_array(np.array([number], np.float32), "k")]
        return helper.make_graph(nodes, "b", [], [helper.make_tensor_value_info("out", 1, None)], own)

    n, y = start()
    yes, no = n.const(np.array(True)), n.const(np.array(False))
    deep = helper.make_node("If", [no], ["d"], then_branch=branch([], y, 3.0), else_branch=branch([], "a", 0.5))
    around = [helper.make_node("Neg", [y], ["a"]), deep]
    y = n("If", yes, then_branch=branch(around, "d", 2.0), else_branch=branch([], y, 4.0))
    count, go_on = n.const(np.array(3)), n.const(np.array(True))
    given = [helper.make_tensor_value_info(name, kind, []) for name, kind in (("i", 7), ("c", 9))]
    given.append(helper.make_tensor_value_info("t", 1, None))
    made = [helper.make_tensor_value_info("c2", 9, []), helper.make_tensor_value_info("t2", 1, None)]
    nodes = [helper.make_node("Identity", ["c"], ["c2"]), helper.make_node("Elu", ["t"], ["t2"])]
    y = n("Loop", count, go_on, y, body=helper.make_graph(nodes, "l", given, made))
    return end(n, y)


# --- constants -----------------------------------------------------------------


def sparse(values: np.ndarray, name: str, by_axis: bool) -> onnx.SparseTensorProto:
    places = np.argwhere(values) if by_axis else np.flatnonzero(values)
    made = onnx.SparseTensorProto(dims=values.shape)
    made.values.CopyFrom(numpy_helper.from_array(values[values != 0], name))
    made.indices.CopyFrom(numpy_helper.from_array(places.astype(np.int64), ""))
    return made


def with_zeros() -> tuple[onnx.ModelProto, np.ndarray]:
    n, y = start()
    model = end(n, y)
    [weight] = [t for t in model.graph.initializer if t.name == "wf"]
    values = numpy_helper.to_array(weight).copy()
    values[np.abs(values) < 0.2] = 0
    model.graph.initializer.remove(weight)
    return model, values


@case
def a_sparse_weight() -> onnx.ModelProto:
    model, values = with_zeros()
    model.graph.sparse_initializer.append(sparse(values, "wf", by_axis=False))
    return model


@case
def a_sparse_weight_by_axis() -> onnx.ModelProto:
    model, values = with_zeros()
    model.graph.sparse_initializer.append(sparse(values, "wf", by_axis=True))
    return model


@case
def a_sparse_constant() -> onnx.ModelProto:
    model, values = with_zeros()
    model.graph.node.insert(0, helper.make_node("Constant", [], ["wf"], sparse_value=sparse(values, "", by_axis=False)))
    return model


@case
def constants_in_every_spelling() -> onnx.ModelProto:
    n, y = start()
    y = n("Reshape", y, n("Constant", value_ints=[1, 8, -1, 4]))
    y = n("Mul", y, n("Constant", value_floats=[1.0, 2.0, 3.0, 4.0]))
    n("Constant", value_string="unused")
    n("Constant", value_strings=["a", "b"])
    y = n("ReduceMean", n("Add", y, n("Constant", value_float=0.5)), keepdims=1, axes=[3])
    return end(n, n("Unsqueeze", n("Squeeze", y, n("Constant", value_ints=[3])), n("Constant", value_ints=[3])))


@pytest.mark.parametrize(("kind", "low"), [("INT4", -8), ("UINT4", 0), ("INT2", -2), ("UINT2", 0)])
def test_several_values_to_a_byte(kind: str, low: int, make_model: MakeModel) -> None:
    """Above a KiB, where weights stay in the file."""
    values = np.random.default_rng(0).integers(low, low + (16 if "4" in kind else 4), (600, 3, 3, 3))
    n = Net(opset=25, ir=13)
    packed = helper.make_tensor("w", getattr(TensorProto, kind), values.shape, values.ravel().tolist())
    n.initializers.append(numpy_helper.from_array(numpy_helper.to_array(packed), "w"))
    y = n("Conv", n.input("x", (1, 3, 8, 8)), n("DequantizeLinear", "w", n.const(np.float32(0.1))))
    path = make_model(n.model(n("GlobalAveragePool", y)))
    assert len(onnx.load(path).graph.initializer[0].raw_data) < values.size
    np.testing.assert_array_equal(read_graph(path).weight("w").astype(int), values)
    check_against_onnxruntime(path)
    if kind == "INT4":
        slim(path, path.with_name("slim.onnx"))
        np.testing.assert_array_equal(read_graph(path.with_name("slim.onnx")).weight("w").astype(int), values)


# --- names and protobuf -----------------------------------------------------------------


@case
def the_long_name_of_onnx_itself() -> onnx.ModelProto:
    model = end(*start())
    for named in (*model.graph.node, *model.opset_import):
        named.domain = "ai.onnx"
    return model


@case
def both_names_of_onnx_itself() -> onnx.ModelProto:
    model = end(*start())
    model.opset_import.append(helper.make_opsetid("ai.onnx", 17))
    model.graph.node[1].domain = "ai.onnx"
    return model


@case
def an_output_of_no_type() -> onnx.ModelProto:
    model = end(*start())
    model.graph.output[0].ClearField("type")
    return model


def test_an_output_of_no_type_is_slimmed(make_model: MakeModel) -> None:
    path = make_model(an_output_of_no_type())
    slim(path, path.with_name("slim.onnx"))
    check_against_onnxruntime(path.with_name("slim.onnx"))


@case
def weights_that_are_outputs_and_inputs() -> onnx.ModelProto:
    model = end(*start())
    info = helper.make_tensor_value_info("wf", 1, (5, 8))
    model.graph.input.append(info)
    model.graph.output.append(info)
    return model


def varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


def block(number: int, body: bytes) -> bytes:
    return varint(number << 3 | 2) + varint(len(body)) + body


UNKNOWN = block(100, b"abc") + varint(100 << 3) + b"\x05" + varint(101 << 3 | 5) + b"abcd"


def rewrite(spell: Callable[[TensorProto], bytes]) -> bytes:
    """The model with every initializer as `spell` writes it."""
    model = end(*start())
    tensors = [TensorProto.FromString(t.SerializeToString()) for t in model.graph.initializer]
    del model.graph.initializer[:]
    body = model.graph.SerializeToString() + UNKNOWN + b"".join(block(5, spell(tensor)) for tensor in tensors)
    model.ClearField("graph")
    return bytes(model.SerializeToString()) + UNKNOWN + block(7, body)


def without(tensor: TensorProto, field: str) -> bytes:
    copy = TensorProto.FromString(tensor.SerializeToString())
    copy.ClearField(field)
    return bytes(copy.SerializeToString())


SPELLINGS: dict[str, Callable[[TensorProto], bytes]] = {
    "packed sizes": lambda t: block(1, b"".join(map(varint, t.dims))) + without(t, "dims"),
    "a long number": lambda t: b"\x10\x81\x80\x00" + without(t, "data_type"),
    "unknown fields": lambda t: t.SerializeToString() + UNKNOWN,
    "values twice": lambda t: (
        block(9, bytes(len(t.raw_data))) + without(t, "raw_data") + block(9, t.raw_data)
    ),
    "values one by one": lambda t: (
        without(t, "raw_data") + b"".join(b"\x25" + struct.pack("<f", v) for v in numpy_helper.to_array(t).ravel())
    ),
    "values in two pieces": lambda t: (
        without(t, "raw_data") + block(4, t.raw_data[: len(t.raw_data) // 8 * 4])
        + block(4, t.raw_data[len(t.raw_data) // 8 * 4 :])
    ),
}  # fmt: skip
CASES |= {name: lambda spell=spell: rewrite(spell) for name, spell in SPELLINGS.items()}  # type: ignore[misc]


def find_bodies(nodes: Iterable[onnx.NodeProto]) -> Iterator[onnx.GraphProto]:
    for node in nodes:
        for attribute in node.attribute:
            if attribute.type == onnx.AttributeProto.GRAPH:
                yield attribute.g
                yield from find_bodies(attribute.g.node)


def check_against_onnxruntime(path: Any) -> None:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(path, options)
    model = open_model(path)
    feed = model.tensor(np.random.default_rng(0).integers(0, 256, (8, 8, 3), np.uint8))
    expected = session.run(None, {"x": feed})
    found = model.run(feed, model.graph.outputs)
    for name, value in zip(model.graph.outputs, expected, strict=True):
        np.testing.assert_allclose(found[name], value, atol=1e-5)
    names = [name for body in find_bodies(model.graph.nodes) for node in body.node for name in node.output]
    names += [name for node in model.graph.nodes for name in node.output]
    assert len(set(names)) == len(names)  # so that nobody takes one branch's tensor for another's
    assert model.activations(np.zeros((8, 8, 3), np.uint8))


@pytest.mark.parametrize("name", CASES)
def test_outputs_are_those_of_the_file(name: str, make_model: MakeModel) -> None:
    made = CASES[name]()
    path = make_model(made if isinstance(made, onnx.ModelProto) else onnx.ModelProto())
    if isinstance(made, bytes):
        path.write_bytes(made)
    check_against_onnxruntime(path)


def damaged() -> Iterator[tuple[onnx.SparseTensorProto, str]]:
    values = np.eye(5, 8, dtype=np.float32)
    far, missing, large = (sparse(values, "wf", by_axis=False) for _ in range(3))
    far.indices.CopyFrom(numpy_helper.from_array(np.array([0, 1, 2, 3, 40])))
    missing.indices.CopyFrom(numpy_helper.from_array(np.array([0, 1, 2, 3])))
    large.dims[:] = [1 << 20, 1 << 20]
    yield far, "is damaged: sparse tensor 'wf': "
    yield missing, "has another number of places than of values"
    yield large, r"its sparse tensor is 4,398,046,511,104 bytes with zeros"


def test_sparse_weights_that_are_none(make_model: MakeModel) -> None:
    for tensor, message in damaged():
        model, _ = with_zeros()
        model.graph.sparse_initializer.append(tensor)
        with pytest.raises(ModelError, match=message):
            read_graph(make_model(model))


def test_sparse_weights_have_one_budget(make_model: MakeModel) -> None:
    """Each is allowed alone; together they are not, and nothing of them is made."""
    model, _ = with_zeros()
    for name in ("wf", "wg"):
        tensor = sparse(np.eye(5, 8, dtype=np.float32), name, by_axis=False)
        tensor.dims[:] = [40_000, 1_000]
        model.graph.sparse_initializer.append(tensor)
    with pytest.raises(ModelError, match="its 2 sparse tensors are 320,000,000 bytes with zeros"):
        read_graph(make_model(model))
