"""The table of operators: nobody is missing from it, and what it says is what the operators do."""

from __future__ import annotations

import re
from collections import Counter
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import helper
from onnx.reference import ReferenceEvaluator

from inspector.graph import (
    KNOWN_DOMAINS,
    OPERATORS,
    Operator,
    find_operator,
    operator_of,
    read_graph,
    value_inputs,
)
from inspector.graph.operators.contributed import make_contributed_rows, make_learning_rows
from inspector.graph.operators.standard import make_standard_rows
from tests.conftest import MakeModel
from tests.foreign import Net

# What onnxruntime's quantizer and optimiser write into files; its generative and training operators are not expected.
_WRITTEN = re.compile(
    r"Q(?!MoE|uantizeBFP|uantizeWithOrder)|Fused|Nhwc|Skip|Fast|Quick|Bias|Gelu$|MatMulInteger|DynamicQuantize|"
    r"(?:Multi|Packed).*Attention$|Attention$|EmbedLayer|MatMulNBits$"
)


def test_every_operator_of_onnx_has_a_row() -> None:
    missing = [f"{s.domain}:{s.name}" for s in onnx.defs.get_all_schemas() if (s.domain, s.name) not in OPERATORS]
    assert not missing, f"add rows to inspector/graph/operators: {', '.join(missing)}"


def test_every_operator_that_onnxruntime_writes_has_a_row() -> None:
    state = pytest.importorskip("onnxruntime.capi.onnxruntime_pybind11_state")
    if not hasattr(state, "get_all_operator_schema"):
        pytest.skip("this onnxruntime does not list its operators")
    schemas = {(s.domain, s.name) for s in state.get_all_operator_schema()}
    assert any(domain == "com.microsoft" for domain, _ in schemas)
    missing = [
        f"{domain}:{name}"
        for domain, name in sorted(schemas - OPERATORS.keys())
        if domain == "com.microsoft.nchwc" or (domain == "com.microsoft" and _WRITTEN.match(name))
    ]
    assert not missing, f"add rows to inspector/graph/operators: {', '.join(missing)}"


def test_no_operator_has_two_rows() -> None:
    rows = [row for part in (make_standard_rows, make_contributed_rows, make_learning_rows) for row in part()]
    assert [key for key, times in Counter((r.domain, r.name) for r in rows).items() if times > 1] == []
    assert len(rows) == len(OPERATORS)


def test_the_domain_is_respected() -> None:
    assert find_operator("Softmax").ending == "softmax"
    assert find_operator("Softmax", "ai.onnx") is find_operator("Softmax")
    assert find_operator("Softmax", "com.microsoft") == Operator("com.microsoft", "Softmax", word="softmax")
    assert operator_of(helper.make_node("Gelu", ["x"], ["y"], domain="com.microsoft")).kind == "activation"
    assert operator_of(helper.make_node("Mine", ["x"], ["y"], domain="my.own")) == Operator(
        "my.own", "Mine", word="mine"
    )
    assert {row.domain for row in OPERATORS.values()} - {"ai.onnx.preview", "ai.onnx.preview.training"} <= KNOWN_DOMAINS


def test_what_is_read_for_its_shape_alone() -> None:
    assert list(value_inputs(helper.make_node("Shape", ["x"], ["y"]))) == []
    assert list(value_inputs(helper.make_node("CastLike", ["x", "like"], ["y"]))) == ["x"]
    assert list(value_inputs(helper.make_node("Clip", ["x", "", "high"], ["y"]))) == ["x", "high"]


@pytest.mark.parametrize(
    ("op", "attributes", "axis"),
    [
        ("Conv", {}, 0),
        ("ConvTranspose", {}, 1),
        ("Gemm", {}, 1),
        ("Gemm", {"transB": 0}, 1),
        ("Gemm", {"transB": 1}, 0),
        ("MatMul", {}, -1),
        ("Relu", {}, None),
    ],
)
def test_rows_of_weights(op: str, attributes: dict[str, int], axis: int | None) -> None:
    node = helper.make_node(op, ["x", "w"], ["y"], **attributes)
    assert operator_of(node).rows_axis(node) == axis


def test_what_draws_random_numbers() -> None:
    assert {row.name for row in OPERATORS.values() if row.random} == {
        "Bernoulli",
        "Multinomial",
        "RandomNormal",
        "RandomNormalLike",
        "RandomUniform",
        "RandomUniformLike",
    }


def test_facts_fit_together() -> None:
    for row in OPERATORS.values():
        assert not (row.elementwise and row.keeps_axes), row
        assert not row.affine or row.elementwise, row
        assert (row.rows is None) or row.weighted, row
        assert row.weighted == (row.kind in ("conv", "linear")), row
        assert not row.joins or row.kind, row
        assert row.bounds[0] < row.bounds[1], row


def test_what_is_computed_from_the_picture(make_model: MakeModel) -> None:
    """Positions of what a picture shows depend on it, its own size does not, and neither do constants."""

    def build(n: Net, x: str) -> str:
        r = n("Relu", n.conv(x, 3, 4, out="c"), out="r")
        n("Shape", r, out="size")
        n("ConstantOfShape", "size", out="zeros")
        n("NonZero", r, out="places")
        n("Gather", "places", n.const(np.array(0)), axis=0, out="first")
        n("ConstantOfShape", "first", out="as many")
        n("ArgMax", r, out="largest")
        n("CastLike", n.const(np.ones(2, np.int64), "ones"), r, out="typed")
        return n("Identity", r, out="y")

    graph = read_graph(make_model(build, opset=18))
    assert graph.from_picture == {"x", "c", "r", "places", "first", "as many", "largest", "y"}
    assert graph.find_dependents(["x"], positions=False) == {"x", "c", "r", "y"}
    assert graph.find_dependents(["size"]) == {"size", "zeros"}
    assert graph.find_dependents(["ones"]) == {"ones", "typed"}


# --- what the rows say, against the reference evaluator --------------------------------------------------------------

STANDARD = [row for row in OPERATORS.values() if row.standard]
SHAPE = (2, 3, 4, 5)
_FLOAT, _BOOL, _INTEGER, _BYTE = "tensor(float)", "tensor(bool)", "tensor(int32)", "tensor(uint8)"
_ATTRIBUTES: dict[str, dict[str, Any]] = {
    "BitShift": {"direction": "LEFT"},
    "Cast": {"to": 1},
    "Mod": {"fmod": 1},
    "Gather": {"axis": 2},
    "DepthToSpace": {"blocksize": 2},
    "SpaceToDepth": {"blocksize": 1},
    "Split": {"num_outputs": 1},
    "Concat": {"axis": 2},
    "MaxPool": {"kernel_shape": [2, 2]},
    "LpPool": {"kernel_shape": [2, 2]},
    "Transpose": {"perm": [3, 1, 2, 0]},
    "Dropout": {},
}
_SETTINGS: dict[str, list[Any]] = {
    "BatchNormalization": [np.ones(3, np.float32) * k for k in (1, 2, 3, 4)],
    "Clip": [np.float32(-0.5), np.float32(0.5)],
    "QuantizeLinear": [np.float32(0.1), np.uint8(128)],
    "DequantizeLinear": [np.float32(0.1), np.uint8(128)],
    "CastLike": [np.zeros(3, np.float32)],
    "Reshape": [np.array([5, 4, 6])],
    "Unsqueeze": [np.array([0])],
    "Slice": [np.array([1]), np.array([4]), np.array([3])],
    "Expand": [np.array([2, 2, 3, 4, 5])],
    "Tile": [np.array([1, 2, 1, 1])],
    "Gather": [np.array([0, 2])],
    "GatherND": [np.array([[0, 1], [1, 2]])],
    "GatherElements": [np.ones((1, 3, 4, 5), np.int64)],
    "ReverseSequence": [np.array([1, 2, 2])],
    "TopK": [np.array([2])],
    "Compress": [np.array([True, False, True])],
}  # fmt: skip
_DEPTH_FIRST = {"DepthToSpace": (2, 4, 4, 5)}


def _kinds(row: Operator) -> list[str]:
    """For each of the tensors that it combines, the first of our types that its schema takes."""
    schema = onnx.defs.get_schema(row.name)
    kinds = []
    for k in range(row.operands or 2):
        taken = schema.inputs[min(k, len(schema.inputs) - 1)].types
        # A condition, and what is dequantized, are of one type alone.
        kinds.append(next(kind for kind in (_FLOAT, _BOOL, _INTEGER, _BYTE) if kind in taken))
    if row.name == "DequantizeLinear":
        kinds[0] = _BYTE
    if row.name == "BitShift":
        kinds = [_BYTE] * 2
    return kinds


def _random(kind: str, shape: tuple[int, ...], seed: int) -> NDArray[Any]:
    rng = np.random.default_rng(seed)
    if kind == _FLOAT:
        return rng.uniform(-3, 3, shape).astype(np.float32)
    if kind == _BOOL:
        return rng.random(shape) < 0.5
    return rng.integers(0, 7, shape).astype(np.int32 if kind == _INTEGER else np.uint8)


def _run(row: Operator, operands: list[NDArray[Any]]) -> NDArray[Any]:
    """The first output of a node of the operator."""
    values = [*operands, *_SETTINGS.get(row.name, [])]
    schema = onnx.defs.get_schema(row.name)
    names = [f"x{k}" for k in range(len(values))]
    count = schema.min_output if row.name != "Unique" else 1
    node = helper.make_node(row.name, names, [f"y{k}" for k in range(max(1, count))], **_ATTRIBUTES.get(row.name, {}))
    graph = helper.make_graph(
        [node],
        "g",
        [
            helper.make_tensor_value_info(
                name, helper.np_dtype_to_tensor_dtype(np.asarray(v).dtype), np.asarray(v).shape
            )
            for name, v in zip(names, values, strict=True)
        ],
        [helper.make_empty_tensor_value_info("y0")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", onnx.defs.onnx_opset_version())])
    with np.errstate(all="ignore"):
        made = ReferenceEvaluator(model).run(["y0"], dict(zip(names, map(np.asarray, values), strict=True)))
    return np.asarray(made[0])


ELEMENTWISE = [row for row in STANDARD if row.elementwise]


@pytest.mark.parametrize("row", ELEMENTWISE, ids=lambda row: row.name)
def test_elementwise(row: Operator) -> None:
    """The shape stays, and where the elements are put in another order, so is the output. Channels stay in theirs
    where the settings differ between them."""
    operands = [_random(kind, SHAPE, seed) for seed, kind in enumerate(_kinds(row))]
    before = _run(row, operands)
    assert before.shape == SHAPE
    order = np.random.default_rng(9).permutation(4)
    moved = [operand[::-1][:, :, order][..., ::-1] for operand in operands]
    if not row.per_channel:
        moved = [operand[:, ::-1] for operand in moved]
    after = before[::-1][:, :, order][..., ::-1]
    after = after if row.per_channel else after[:, ::-1]
    np.testing.assert_array_equal(_run(row, moved), after)


@pytest.mark.parametrize("row", [r for r in ELEMENTWISE if r.affine and not r.requantizes], ids=lambda row: row.name)
def test_affine(row: Operator) -> None:
    """f(a) + f(b) is f(a + b) + f(0); what rounds to integers is affine but for that."""
    first, *others = (_random(kind, SHAPE, seed) for seed, kind in enumerate(_kinds(row)))
    other = _random(_FLOAT, SHAPE, 7)
    left = _run(row, [first, *others]) + _run(row, [other, *others])
    right = _run(row, [first + other, *others]) + _run(row, [0 * first, *others])
    np.testing.assert_allclose(left, right, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("row", [r for r in ELEMENTWISE if r.operands in (0, 2)], ids=lambda row: row.name)
def test_ordered(row: Operator) -> None:
    """Operands that change places give the same, unless the row says that their order matters."""
    operands = [_random(kind, SHAPE, seed) for seed, kind in enumerate(_kinds(row))]
    assert np.array_equal(_run(row, operands), _run(row, operands[::-1]), equal_nan=True) != row.ordered


@pytest.mark.parametrize(
    "row",
    # The reference evaluator has no GlobalLpPool.
    [r for r in STANDARD if r.bounds != Operator("", "").bounds and r.name != "GlobalLpPool"],
    ids=lambda row: row.name,
)
def test_bounds(row: Operator) -> None:
    """No output lies beyond them, of small inputs and large; outside of a function's domain it has no value."""
    kinds = _kinds(row)
    for factor in (1, 20) if kinds[0] == _FLOAT else (1,):
        values = _run(row, [_random(kind, SHAPE, seed) * factor for seed, kind in enumerate(kinds)])
        values = values.astype(np.float64)
        values = values[~np.isnan(values)]
        low, high = row.bounds
        assert values.size
        assert values.min() >= low - 1e-6
        assert values.max() <= high + 1e-6


@pytest.mark.parametrize("row", [r for r in STANDARD if r.moves], ids=lambda row: row.name)
def test_moves(row: Operator) -> None:
    """Nothing but values of the inputs comes out."""
    shape = (1, *SHAPE[1:]) if row.name == "Squeeze" else _DEPTH_FIRST.get(row.name, SHAPE)
    operands = [_random(kind, shape, seed) for seed, kind in enumerate(_kinds(row))]
    given = np.concatenate([operand.ravel() for operand in operands])
    assert np.isin(_run(row, operands), given).all()


@pytest.mark.parametrize("row", [r for r in STANDARD if r.passes], ids=lambda row: row.name)
def test_passes(row: Operator) -> None:
    """The elements keep their order, whatever the shape and the type become."""
    shape = (1, *SHAPE[1:]) if row.name == "Squeeze" else SHAPE
    (operand,) = (np.arange(60 if shape[0] == 1 else 120).reshape(shape),)
    operand = operand.astype(np.uint8 if row.name == "DequantizeLinear" else np.float32)
    made = _run(row, [operand]).ravel()
    assert made.size == operand.size
    assert (np.diff(made.astype(np.float64)) >= 0).all()


@pytest.mark.parametrize("name", ["Shape", "Size", "EyeLike"])
def test_reads_only_the_shape(name: str) -> None:
    """Other values of the same shape make no difference."""
    row = find_operator(name)
    assert row.shape_inputs == (0,)
    shape = (4, 5) if name == "EyeLike" else SHAPE
    made = [_run(row, [_random(_FLOAT, shape, seed)]) for seed in (0, 1)]
    np.testing.assert_array_equal(*made)


# --- the same of onnxruntime's own -----------------------------------------------------------------------------------

_SCALE, _ZERO = np.float32(0.05), np.uint8(100)
_CONTRIBUTED: dict[str, list[Any]] = {
    "Gelu": [],
    "QuickGelu": [],
    "FastGelu": [],
    "QuantizeLinear": [_SCALE, _ZERO],
    "DequantizeLinear": [_SCALE, _ZERO],
    "QLinearLeakyRelu": [_SCALE, _ZERO, _SCALE, _ZERO],
    "QLinearSigmoid": [_SCALE, _ZERO, np.float32(1 / 256), np.uint8(0)],
    "QLinearAdd": [_SCALE, _ZERO, "other", _SCALE, _ZERO, _SCALE, _ZERO],
    "QLinearMul": [_SCALE, _ZERO, "other", _SCALE, _ZERO, _SCALE, _ZERO],
}


@pytest.mark.parametrize("name", _CONTRIBUTED)
def test_elementwise_in_onnxruntime(name: str) -> None:
    import onnxruntime

    row = find_operator(name, "com.microsoft")
    assert row.elementwise
    byte = row.integer != row.requantizes or name == "DequantizeLinear"
    first, second = (_random(_BYTE if byte else _FLOAT, SHAPE, seed) for seed in (0, 1))

    def run(first: NDArray[Any], second: NDArray[Any]) -> NDArray[Any]:
        values = [first, *(second if isinstance(v, str) else v for v in _CONTRIBUTED[name])]
        names = [f"x{k}" for k in range(len(values))]
        feeds = {n: np.ascontiguousarray(v).reshape(np.shape(v)) for n, v in zip(names, values, strict=True)}
        node = helper.make_node(name, names, ["y"], domain="com.microsoft")
        given = [
            helper.make_tensor_value_info(n, helper.np_dtype_to_tensor_dtype(v.dtype), v.shape)
            for n, v in feeds.items()
        ]
        graph = helper.make_graph([node], "g", given, [helper.make_empty_tensor_value_info("y")])
        graph.initializer.extend(onnx.numpy_helper.from_array(v, n) for n, v in feeds.items() if not v.shape)
        sets = [helper.make_opsetid("", 21), helper.make_opsetid("com.microsoft", 1)]
        model = helper.make_model(graph, opset_imports=sets, ir_version=10)
        session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
        made = session.run(None, {n: v for n, v in feeds.items() if v.shape})[0]
        return np.asarray(made)

    before = run(first, second)
    assert before.shape == SHAPE
    mirrored = run(first[::-1, ::-1, ::-1, ::-1], second[::-1, ::-1, ::-1, ::-1])
    np.testing.assert_allclose(mirrored.astype(np.float64), before[::-1, ::-1, ::-1, ::-1], rtol=1e-5, atol=1e-6)
