"""Graphs that move the picture's elements, or ask how many pictures there are, are told from ordinary ones."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from onnx import TensorProto, helper

from inspector.auditing import audit_model
from inspector.auditing.places import Moved, find_moved, find_orders
from inspector.auditing.subject import Subject
from inspector.model import open_model
from tests.audit.networks import small
from tests.audit.policies import policy
from tests.conftest import MakeModel
from tests.foreign import Net

SIDE = 16
SHUFFLED = np.random.default_rng(3).permutation(SIDE)


def gathered(net: Net, x: str, places: object, axis: int, name: str = "mover") -> str:
    return net("Gather", x, net.const(np.array(places)), axis=axis, name=name)


def cut(net: Net, x: str, start: int, end: int, axis: int, step: int = 1) -> str:
    return net("Slice", x, *(net.const(np.array([v])) for v in (start, end, axis, step)))


def flipped(net: Net, x: str, axis: int, name: str = "") -> str:
    return net("Slice", x, *(net.const(np.array([v])) for v in (-1, -100, axis, -1)), name=name)


def rows_shuffled(net: Net, x: str) -> str:
    return small(net, gathered(net, x, SHUFFLED, 2))


def columns_behind_a_norm(net: Net, x: str) -> str:
    normal = net("Div", net("Sub", x, net.const(np.ones((1, 3, 1, 1)))), net.const(np.float32(2)))
    return small(net, gathered(net, normal, SHUFFLED, 3))


def halves_exchanged(net: Net, x: str) -> str:
    return small(net, net("Concat", cut(net, x, 8, 16, 2), cut(net, x, 0, 8, 2), axis=2, name="mover"))


def pairs_exchanged(net: Net, x: str) -> str:
    """Every two rows change places, by shapes and a flip alone."""
    parts = net("Reshape", x, net.const(np.array([0, 3, 8, 2, 16])))
    return small(net, net("Reshape", flipped(net, parts, 3), net.const(np.array([0, 3, 16, 16])), name="mover"))


def by_a_matrix(net: Net, x: str) -> str:
    """Columns come in another order by a product with zeros and ones."""
    return small(net, net("MatMul", x, net.const(np.eye(SIDE)[SHUFFLED]), name="mover"))


def channels_by_a_convolution(net: Net, x: str) -> str:
    weights = np.eye(3)[[0, 2, 1]].reshape(3, 3, 1, 1)
    return small(net, net("Conv", x, net.const(weights), net.const(np.ones(3)), name="mover"))


def rows_scattered(net: Net, x: str) -> str:
    rows = net("Transpose", x, perm=[2, 0, 1, 3])
    moved = net("ScatterND", rows, net.const(SHUFFLED.reshape(-1, 1)), rows, name="mover")
    return small(net, net("Transpose", moved, perm=[1, 2, 0, 3]))


def chosen_by_a_mask(net: Net, x: str) -> str:
    """Every second row is that of the mirrored picture."""
    even = np.arange(SIDE).reshape(1, 1, -1, 1) % 2 == 0
    return small(net, net("Where", net.const(even), x, flipped(net, x, 2), name="mover"))


MIXED = [
    (rows_shuffled, "rows"),
    (columns_behind_a_norm, "columns"),
    (halves_exchanged, "rows"),
    (pairs_exchanged, "rows"),
    (by_a_matrix, "columns"),
    (channels_by_a_convolution, "channels"),
    (rows_scattered, "rows"),
    (chosen_by_a_mask, "rows"),
]


@pytest.fixture
def find(make_model: MakeModel) -> Callable[..., list[Moved]]:
    def find(build: Callable[[Net, str], str], opset: int = 17) -> list[Moved]:
        model = open_model(make_model(build, shape=(1, 3, SIDE, SIDE), opset=opset))
        return find_moved(Subject(model, policy()))

    return find


def test_what_brings_the_picture_into_disorder_is_named(find: Callable[..., list[Moved]]) -> None:
    for build, kind in MIXED:
        assert [(m.key, m.kind, m.order) for m in find(build)] == [("mover", kind, "mixed")], build


def test_disorder_is_a_failure(make_model: MakeModel) -> None:
    path = make_model(rows_shuffled, shape=("N", 3, SIDE, SIDE), opset=17)
    result = audit_model(path, policy("picture-order")).check("picture-order")
    assert result.status == "fail"
    first = int(np.argmax(np.diff(SHUFFLED) < 0))
    shown = ", ".join(map(str, SHUFFLED[max(0, first - 2) :][:6]))
    assert f"Gather 'mover' puts rows of the picture in the order {shown}, ..." in result.message


def upside_down(net: Net, x: str) -> str:
    return small(net, flipped(net, x, 2, "mover"))


def blue_first(net: Net, x: str) -> str:
    parts = [f"part{k}" for k in range(3)]
    net("Split", x, net.const(np.array([1, 1, 1])), out=parts, axis=1)
    return small(net, net("Concat", *parts[::-1], axis=1, name="mover"))


def on_its_side(net: Net, x: str) -> str:
    return small(net, net("Transpose", x, perm=[0, 1, 3, 2], name="mover"))


@pytest.mark.parametrize(
    ("build", "words"),
    [
        (upside_down, "mirrors the picture: its rows come in the order 15, 14, 13"),
        (blue_first, "reverses the channels: preprocessing gives RGB, and the network sees BGR"),
        (on_its_side, "sets the picture on its side"),
    ],
)
def test_what_may_be_meant_is_a_warning(make_model: MakeModel, build: Callable[[Net, str], str], words: str) -> None:
    path = make_model(build, shape=("N", 3, SIDE, SIDE), opset=17)
    found = audit_model(path, policy("picture-turned", "picture-order"))
    assert (found.check("picture-order").status, found.check("picture-turned").status) == ("pass", "warn")
    assert words in found.check("picture-turned").message
    assert "'mover'" in found.check("picture-turned").message


def focus(net: Net, x: str) -> str:
    """As YOLOv5 begins: every second row and column, laid over each other."""
    parts = [cut(net, cut(net, x, dy, 99, 2, 2), dx, 99, 3, 2) for dx in (0, 1) for dy in (0, 1)]
    return tail(net, net("Concat", *parts, axis=1), 12)


def tail(net: Net, x: str, channels: int) -> str:
    maps = net("Relu", net.conv(x, channels, 8, 3))
    return net("Gemm", net("Flatten", net("GlobalAveragePool", maps)), net.weight((3, 8)), transB=1)


def space_to_depth(net: Net, x: str) -> str:
    return tail(net, net("SpaceToDepth", x, blocksize=4), 48)


def patches(net: Net, x: str) -> str:
    """As a vision transformer without a convolution begins."""
    parts = net("Reshape", x, net.const(np.array([0, 3, 4, 4, 4, 4])))
    tokens = net("Reshape", net("Transpose", parts, perm=[0, 2, 4, 3, 5, 1]), net.const(np.array([0, 16, 48])))
    return net("ReduceMean", net("Relu", net("MatMul", tokens, net.weight((48, 3)))), axes=[1], keepdims=0)


def round_margins(net: Net, x: str) -> str:
    """The picture goes on on its other side, and is mirrored below."""
    wide = net("Concat", cut(net, x, 12, 16, 3), x, cut(net, x, 0, 4, 3), axis=3)
    margin = np.r_[np.arange(16), np.arange(14, 10, -1)]
    return small(net, gathered(net, wide, margin, 2))


def padded_and_resized(net: Net, x: str) -> str:
    whole = net("Pad", x, net.const(np.array([0, 0, 2, 2, 0, 0, 2, 2])), mode="reflect")
    return small(net, net("Resize", whole, "", net.const(np.array([1, 1, 2, 2], np.float32)), mode="cubic"))


def mirrored_too(net: Net, x: str) -> str:
    """Answers for the picture and its mirror image."""
    return net("Add", small(net, x), tail(net, flipped(net, x, 3), 3))


def there_and_back(net: Net, x: str) -> str:
    return small(net, gathered(net, gathered(net, x, SHUFFLED, 2), np.argsort(SHUFFLED), 2, "back"))


def channels_last(net: Net, x: str) -> str:
    return small(net, net("Transpose", net("Transpose", x, perm=[0, 2, 3, 1]), perm=[0, 3, 1, 2]))


def with_places(net: Net, x: str) -> str:
    """As CoordConv begins: every pixel is told where it lies."""
    return tail(net, net("Concat", x, net.const(np.random.default_rng(0).random((1, 2, SIDE, SIDE))), axis=1), 5)


def flat(net: Net, x: str) -> str:
    return net("Gemm", net("Flatten", x), net.weight((3, 768)), transB=1)


KEPT = [
    small, focus, space_to_depth, patches, round_margins, mirrored_too, there_and_back,
    channels_last, with_places, flat,
]  # fmt: skip


def test_ordinary_beginnings_are_no_disorder(find: Callable[..., list[Moved]]) -> None:
    for build in KEPT:
        assert not find(build, 12), build
    assert not find(padded_and_resized)


def test_a_line_is_in_order_by_those_that_differ_in_nothing_else() -> None:
    """Held against a count by hand of the places of one column of tokens."""
    rows, columns = np.divmod(np.arange(16), 4)
    code = np.stack([rows, columns, np.zeros(16, int)]) + 1
    assert find_orders(code, "rows") == find_orders(code, "columns") == {"kept"}
    assert find_orders(code[:, ::-1], "columns") == {"reversed"}
    swapped = code[:, [*range(4, 8), *range(4), *range(8, 16)]]
    assert find_orders(swapped, "rows") == {"mixed"}
    assert find_orders(swapped, "columns") == {"kept"}


def count_of(net: Net, x: str) -> str:
    return net("Gather", net("Shape", x), net.const(np.array(0)), axis=0)


def branch_at_forty(net: Net, x: str) -> str:
    scores = small(net, x)
    value = helper.make_tensor_value_info
    plain = helper.make_graph([helper.make_node("Identity", [scores], ["a"])], "no", [], [value("a", 1, None)])
    turned = helper.make_graph([helper.make_node("Neg", [scores], ["b"])], "yes", [], [value("b", 1, None)])
    many = net("Greater", count_of(net, x), net.const(np.array(40)))
    return net("If", many, name="counter", then_branch=turned, else_branch=plain)


def product_at_forty(net: Net, x: str) -> str:
    many = net("Cast", net("Equal", count_of(net, x), net.const(np.array(40))), to=TensorProto.FLOAT)
    return net("Sub", small(net, x), many, name="counter")


def picked_by_number(net: Net, x: str) -> str:
    last = net("Min", count_of(net, x), net.const(np.array(40)))
    row = net("Gather", net.const(np.eye(41, 3)), last)
    return net("Add", small(net, x), row, name="counter")


def cut_by_number(net: Net, x: str) -> str:
    many = net("Cast", net("Greater", count_of(net, x), net.const(np.array(40))), to=TensorProto.INT64)
    start = net("Reshape", many, net.const(np.array([1])))
    end = net("Add", start, net.const(np.array([1])))
    row = net("Slice", net.const(np.eye(2, 3)), start, end, net.const(np.array([0])))
    return net("Add", small(net, x), row, name="counter")


@pytest.mark.parametrize("build", [branch_at_forty, product_at_forty, picked_by_number, cut_by_number])
def test_what_asks_for_the_number_of_pictures_is_named(make_model: MakeModel, build: Callable[[Net, str], str]) -> None:
    path = make_model(build, shape=("N", 3, SIDE, SIDE), opset=17)
    result = audit_model(path, policy("batches")).check("batches")
    assert result.status == "fail"
    assert [f.key for f in result.findings if f.key] == ["counter"]
    assert "'counter' computes with the number of pictures" in result.message


def ordinary_shapes(net: Net, x: str) -> str:
    """A class token that is repeated as torch writes it, a table by rows, and a reshape, all by the number."""
    count = net("Reshape", count_of(net, x), net.const(np.array([1])))
    shape = net("Concat", count, net.const(np.array([1, 3])), axis=0)
    chosen = net(
        "Where", net("Equal", shape, net.const(np.array([-1, -1, -1]))), net.const(np.ones(3, np.int64)), shape
    )
    token = net("Expand", net.const(np.ones((1, 1, 3))), chosen)
    scores = net("Reshape", small(net, x), shape)
    both = net("Concat", token, scores, axis=1)
    rows = net("Range", net.const(np.array(0)), count_of(net, x), net.const(np.array(1)))
    again = net("Gather", both, rows, axis=0)
    zeros = net("ConstantOfShape", net("Concat", count, net.const(np.array([3])), axis=0))
    return net("Add", net("ReduceMean", again, axes=[1], keepdims=0), zeros)


def test_shapes_that_follow_the_number_are_none(make_model: MakeModel) -> None:
    path = make_model(ordinary_shapes, shape=("N", 3, SIDE, SIDE), opset=17)
    assert audit_model(path, policy("batches")).check("batches").status == "pass"


@pytest.mark.parametrize(
    ("factor", "statuses", "words"),
    [
        (1e-41, ("fail", "warn"), "float32 has few digits left, every class has the probability 0.333 on all of "),
        (1e-12, ("pass", "warn"), "every class has the probability 0.333 on all of "),
        (1, ("pass", "pass"), ""),
    ],
)
def test_scores_that_are_next_to_nothing(
    make_model: MakeModel, factor: float, statuses: tuple[str, str], words: str
) -> None:
    def build(net: Net, x: str) -> str:
        return net("Mul", small(net, x), net.const(np.float32(factor)))

    path = make_model(build, shape=("N", 3, SIDE, SIDE), opset=17)
    found = audit_model(path, policy("scores-differ", "probabilities-differ"))
    results = found.check("scores-differ"), found.check("probabilities-differ")
    assert tuple(result.status for result in results) == statuses
    assert words in ", ".join(result.message for result in results)
