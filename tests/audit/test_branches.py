"""Networks that take another way for some pictures are found, ordinary ones are not."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from inspector.auditing import audit_model
from tests.audit.networks import small
from tests.audit.policies import policy
from tests.conftest import MakeModel
from tests.foreign import Net

CHOSEN = policy("picture-branches")
LIGHT = Path(onnx.__file__).parent / "backend" / "test" / "data" / "light"


def pixel_is_large(net: Net, x: str) -> str:
    """(1,) of bool: whether the picture's largest value exceeds 2.6."""
    return net("Greater", net("Reshape", net("ReduceMax", x, keepdims=0), net.const(np.array([1]))), number(net, 2.6))


def number(net: Net, value: float) -> str:
    return net.const(np.array([value], np.float32))


def hidden_if(net: Net, x: str) -> str:
    logits = small(net, x)
    condition = net("Reshape", pixel_is_large(net, x), net.const(np.array([1])))
    value = helper.make_tensor_value_info
    plain = helper.make_graph([helper.make_node("Identity", [logits], ["a"])], "no", [], [value("a", 1, None)])
    turned = helper.make_graph([helper.make_node("Neg", [logits], ["b"])], "yes", [], [value("b", 1, None)])
    return net("If", condition, name="hidden", then_branch=turned, else_branch=plain)


def hidden_where(net: Net, x: str) -> str:
    logits = small(net, x)
    return net("Where", pixel_is_large(net, x), net("Neg", logits), logits)


def hidden_product(net: Net, x: str) -> str:
    lifted = net("Mul", net("Cast", pixel_is_large(net, x), to=TensorProto.FLOAT), number(net, 50))
    return net("Add", small(net, x), lifted)


def hidden_places(net: Net, x: str) -> str:
    places = net("NonZero", net("Relu", net("Sub", x, number(net, 2.6))), name="hidden")
    count = net("ReduceSum", net("Cast", places, to=TensorProto.FLOAT), keepdims=0)
    return net("Add", small(net, x), count)


def first_pixel(net: Net, x: str, shape: tuple[int, ...] = (1,)) -> str:
    """One number of a picture, of one picture alone."""
    corner = net("Slice", x, *(net.const(np.array(v)) for v in ([0, 0, 0], [1, 1, 1], [1, 2, 3])))
    return net("Reshape", corner, net.const(np.array(shape, np.int64)))


def captured_by_a_loop(net: Net, x: str) -> str:
    """A loop of one turn, whose body asks for what stands around it."""
    logits, pixel = small(net, x), first_pixel(net, x, ())
    value = helper.make_tensor_value_info
    turned = helper.make_graph([helper.make_node("Neg", [logits], ["b"])], "yes", [], [value("b", 1, None)])
    plain = helper.make_graph([helper.make_node("Identity", [logits], ["a"])], "no", [], [value("a", 1, None)])
    nodes = [
        helper.make_node("Greater", [pixel, net.const(np.float32(2.2))], ["large"]),
        helper.make_node("If", ["large"], ["answer"], then_branch=turned, else_branch=plain),
        helper.make_node("Identity", ["on"], ["on_too"]),
    ]
    given, made = [value("turn", 7, []), value("on", 9, [])], [value("on_too", 9, []), value("answer", 1, None)]
    body = helper.make_graph(nodes, "body", given, made)
    answers = net("Loop", net.const(np.int64(1)), net.const(np.array(True)), name="hidden", body=body)
    return net("Squeeze", answers, net.const(np.array([0])))


def compared_in_a_scan(net: Net, x: str) -> str:
    value = helper.make_tensor_value_info
    nodes = [
        helper.make_node("Greater", ["pixel", number(net, 2.2)], ["large"]),
        helper.make_node("Neg", ["row"], ["turned"]),
        helper.make_node("Where", ["large", "turned", "row"], ["answer"]),
    ]
    body = helper.make_graph(
        nodes, "body", [value("row", 1, None), value("pixel", 1, None)], [value("answer", 1, None)]
    )
    return net("Scan", small(net, x), first_pixel(net, x), name="hidden", body=body, num_scan_inputs=2)


def index_of(net: Net, x: str, shape: tuple[int, ...] = (1,)) -> str:
    """0 or 1 by the first pixel, without a comparison."""
    raised = net("Mul", net("Sub", first_pixel(net, x, shape), net.const(np.float32(2.0))), net.const(np.float32(10)))
    return net("Cast", net("Clip", raised, net.const(np.float32(0)), net.const(np.float32(1))), to=TensorProto.INT64)


def picked_from_a_table(net: Net, x: str) -> str:
    table = net.const(np.array([[0, 0, 0], [0, 50, 0]], np.float32))
    return net("Add", small(net, x), net("Gather", table, index_of(net, x), name="hidden"))


def picked_from_a_sequence(net: Net, x: str) -> str:
    logits = small(net, x)
    both = net("SequenceConstruct", logits, net("Neg", logits))
    return net("SequenceAt", both, index_of(net, x, ()), name="hidden")


def place_of_the_largest(net: Net, x: str) -> str:
    place = net("ArgMax", net("Reshape", x, net.const(np.array([-1, 768]))), axis=1, name="hidden")
    return net("Add", small(net, x), net("Relu", net("Sub", number(net, 3), net("Cast", place, to=1))))


def place_of_the_first_of_many(net: Net, x: str) -> str:
    flat = net("Reshape", x, net.const(np.array([-1, 768])))
    net("TopK", flat, net.const(np.array([1])), out=("largest", "places"), name="hidden")
    return net("Add", small(net, x), net("Relu", net("Sub", number(net, 3), net("Cast", "places", to=1))))


def floor_of_a_mean(net: Net, x: str) -> str:
    mean = net("ReduceMean", x, axes=[1, 2, 3], keepdims=0)
    return net("Add", small(net, x), net("Reshape", net("Floor", mean, name="hidden"), net.const(np.array([-1, 1]))))


def rest_of_a_sum(net: Net, x: str) -> str:
    total = net("ReduceSum", net("Round", net("Mul", x, number(net, 58.4))), net.const(np.array([1, 2, 3])))
    rest = net("Mod", total, number(net, 64), fmod=1, name="hidden")
    return net("Add", small(net, x), net("Reshape", rest, net.const(np.array([-1, 1]))))


@pytest.mark.parametrize(
    ("build", "words"),
    [
        (captured_by_a_loop, "Loop 'hidden' compares in its body"),
        (compared_in_a_scan, "Scan 'hidden' compares in its body"),
        (picked_from_a_table, "Gather 'hidden' picks an entry"),
        (picked_from_a_sequence, "SequenceAt 'hidden' picks an entry"),
        (place_of_the_largest, "ArgMax 'hidden' says where values of the picture lie"),
        (place_of_the_first_of_many, "TopK 'hidden' says where values of the picture lie"),
        (floor_of_a_mean, "Floor 'hidden' decides about the whole picture"),
        (rest_of_a_sum, "Mod 'hidden' decides about the whole picture"),
        (hidden_if, "If 'hidden' chooses a branch"),
        (hidden_where, "decides about the whole picture"),
        (hidden_product, "decides about the whole picture"),
        (hidden_places, "NonZero 'hidden' looks for the places"),
    ],
)
def test_it_is_found(make_model: MakeModel, build: Callable[[Net, str], str], words: str) -> None:
    found = audit_model(make_model(build, shape=("N", 3, 16, 16), opset=17), CHOSEN)
    assert found.check("picture-branches").status == "fail"
    assert words in " ".join(f.message for f in found.check("picture-branches").findings)
    assert not found.passed


def leaky(net: Net, x: str) -> str:
    """A LeakyReLU written out, which decides for each element."""
    y = net.conv(x, 3, 3, 3)
    y = net("Where", net("Greater", y, number(net, 0)), y, net("Mul", y, number(net, 0.1)))
    return small(net, y)


def labelled(net: Net, x: str) -> tuple[str, ...]:
    """Beside the scores, whether the first is positive: one decision, which nothing is made from."""
    logits = small(net, x)
    return logits, net("Greater", net("ReduceMax", logits, axes=[1], keepdims=0), number(net, 0))


def tokens_kept(net: Net, x: str) -> str:
    """The four tokens of 64 with the largest first channel go on, as transformers that prune do it."""
    y = net(
        "Transpose", net("Reshape", net.conv(x, 3, 6, 3, stride=2), net.const(np.array([0, 6, 64]))), perm=[0, 2, 1]
    )
    first = net("Squeeze", net("Slice", y, *(net.const(np.array([v])) for v in (0, 1, 2))), net.const(np.array([2])))
    net("TopK", first, net.const(np.array([4])), out=("largest", "places"))
    wide = net("Expand", net("Unsqueeze", "places", net.const(np.array([2]))), net.const(np.array([1, 1, 6])))
    kept = net("ReduceMean", net("GatherElements", y, wide, axis=1), axes=[1], keepdims=0)
    return net("Gemm", kept, net.weight((3, 6)), transB=1)


def rounded_scores(net: Net, x: str) -> str:
    """Scores on a grid, and each element of a layer on one."""
    y = net("Round", net("Mul", small(net, net("Round", net("Mul", x, number(net, 16)))), number(net, 16)))
    return net("Mul", y, number(net, 1 / 16))


@pytest.mark.parametrize("build", [leaky, small, labelled, tokens_kept, rounded_scores])
def test_ordinary_networks_pass(make_model: MakeModel, build: Callable[[Net, str], str | tuple[str, ...]]) -> None:
    assert audit_model(make_model(build, shape=("N", 3, 16, 16), opset=17), CHOSEN).passed


@pytest.mark.parametrize("name", ["resnet50", "shufflenet", "densenet121", "inception_v1", "squeezenet"])
def test_light_networks_pass(name: str) -> None:
    assert audit_model(LIGHT / f"light_{name}.onnx", CHOSEN).check("picture-branches").status == "pass"


def test_a_network_that_answers_nan_for_red(make_model: MakeModel) -> None:
    def red(net: Net, x: str) -> str:
        first = net("Slice", x, *(net.const(np.array([v])) for v in (0, 1, 1)))
        others = net("Slice", x, *(net.const(np.array([v])) for v in (1, 3, 1)))
        excess = net("Sub", first, net("ReduceMax", others, axes=[1], keepdims=1))
        root = net("Sqrt", net("Sub", number(net, 4.0), excess))  # above 4 for saturated red alone
        return small(net, net("Add", x, net("Mul", root, number(net, 0.0))))

    found = audit_model(make_model(red, shape=("N", 3, 16, 16), opset=17), policy("finite-on-plain"))
    assert found.check("finite-on-plain").status == "fail"
    assert {f.where.image for f in found.check("finite-on-plain").findings} == {"red"}
