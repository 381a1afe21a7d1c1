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


@pytest.mark.parametrize(
    ("build", "words"),
    [
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


@pytest.mark.parametrize("build", [leaky, small, labelled])
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
