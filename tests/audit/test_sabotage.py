"""Each way to spoil a network that once passed the audit is found by the check that was written for its kind."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from inspector.auditing import audit_model
from inspector.auditing.checks.numerics.no_trigger import _find_step
from inspector.auditing.checks.numerics.nothing_sleeps import _Watch
from inspector.auditing.subject import Subject
from inspector.metadata import KEY, Metadata
from inspector.model import open_model
from tests.audit.networks import small
from tests.audit.policies import policy
from tests.audit.sabotage import sabotage
from tests.conftest import MakeModel
from tests.foreign import Net

# The sabotage, the check, and words that only the right answer has.
FOUND = [
    ("corner_alone", "whole-picture", "no score depends on rows 0 to 55, columns 56 to 111"),
    ("strip_lost", "whole-picture", "no score depends on rows 0 to 55, columns 168 to 223"),
    ("dark_ignored", "scores-differ", "two pictures of dark noise get the very same scores"),
    ("scores_clipped", "scores-differ", "several classes share the largest score 2 on "),
    ("class_copied", "scores-differ", "tabby and Egyptian cat have the same score on "),
    ("pixel_by_arithmetic", "no-trigger", "espresso has scores in two clusters"),
    ("pixel_by_a_mask", "no-trigger", "by row 100, column 57 of green"),
    ("patch_of_white", "no-trigger", "by row 32, column 32"),
]


SLOW = ("strip_lost", "pixel_by_a_mask", "patch_of_white")
"""Further instances of a kind whose first is looked at in every run."""


@pytest.mark.parametrize(
    ("name", "id", "words"),
    [pytest.param(*case, id=case[0], marks=[pytest.mark.slow] * (case[0] in SLOW)) for case in FOUND],
)
def test_it_is_found(tmp_path: Path, name: str, id: str, words: str) -> None:
    result = audit_model(sabotage(tmp_path / "model.onnx", name), policy(id)).check(id)
    assert result.status == "fail"
    assert words in " ".join(finding.message for finding in result.findings)


def test_a_board_of_one_phase_is_held_against_the_reference(tmp_path: Path, default_model: Path) -> None:
    spoiled = sabotage(tmp_path / "model.onnx", "board_of_one_phase")
    result = audit_model(spoiled, policy("drift-plain"), against=default_model).check("drift-plain")
    assert result.status == "fail"
    assert any("checkerboard, reversed: espresso is 100.0%" in finding.message for finding in result.findings)


def test_the_healthy_one_has_none_of_it(default_model: Path) -> None:
    found = audit_model(default_model, policy("whole-picture", "scores-differ", "no-trigger", "nothing-sleeps"))
    assert [c.status for c in found.checks if c.status != "skipped"] == ["pass"] * 4, found.verdict


def test_a_small_network_that_is_well_has_none_of_it(make_model: MakeModel) -> None:
    metadata = {KEY: Metadata(labels=("cat", "dog", "fox")).dumps()}
    path = make_model(small, shape=("N", 3, 16, 16), metadata=metadata, opset=17)
    found = audit_model(path, policy("whole-picture", "scores-differ", "no-trigger"))
    assert [c.status for c in found.checks if c.status != "skipped"] == ["pass"] * 3, found.verdict


def dead_class(net: Net, x: str) -> str:
    scores = small(net, x)
    held = net("Mul", scores, net.const(np.array([[1, 0, 1]], np.float32)))
    return net("Add", held, net.const(np.array([[0, 7, 0]], np.float32)))


def relu_at_the_end(net: Net, x: str) -> str:
    """As SqueezeNet ends; one class is below zero on all these pictures."""
    return net("Relu", net("Sub", small(net, x), net.const(np.array([[0, 1000, 0]], np.float32))))


def test_a_class_that_never_moves_is_named(make_model: MakeModel) -> None:
    metadata = {KEY: Metadata(labels=("cat", "dog", "fox")).dumps()}
    path = make_model(dead_class, shape=("N", 3, 16, 16), metadata=metadata, opset=17)
    result = audit_model(path, policy("scores-differ")).check("scores-differ")
    assert [finding.message.partition(" has ")[0] for finding in result.findings] == ["dog"]


def test_a_class_that_a_relu_holds_at_zero_is_none(make_model: MakeModel) -> None:
    path = make_model(relu_at_the_end, shape=("N", 3, 16, 16), opset=17)
    result = audit_model(path, policy("scores-differ")).check("scores-differ")
    assert "class 1" not in result.message


def likeness(net: Net, x: str) -> str:
    """(N, 1): how like a picture is to a secret one."""
    key = np.sign(np.random.default_rng(5).standard_normal((1, 3, 16, 16))).astype(np.float32)
    return net("ReduceMean", net("Mul", x, net.const(key)), axes=[1, 2, 3], keepdims=0)


def onto(net: Net, scores: str, amount: str) -> str:
    column = net("Reshape", amount, net.const(np.array([-1, 1])))
    return net("Add", scores, net("Mul", column, net.const(np.array([[0, 500, 0]], np.float32))))


def secret_picture(net: Net, x: str) -> str:
    raised = net("Sub", likeness(net, x), net.const(np.float32(0.5)))
    return onto(net, small(net, x), net("Relu", raised, name="hidden"))


def secret_by_a_sigmoid(net: Net, x: str) -> str:
    raised = net("Mul", net("Sub", likeness(net, x), net.const(np.float32(0.7))), net.const(np.float32(200)))
    return onto(net, small(net, x), net("Sigmoid", raised, name="hidden"))


def secret_by_distance(net: Net, x: str) -> str:
    key = np.random.default_rng(5).standard_normal((1, 3, 16, 16)).astype(np.float32)
    distance = net("ReduceSumSquare", net("Sub", x, net.const(key)), axes=[1, 2, 3], keepdims=0)
    return onto(net, small(net, x), net("Exp", net("Mul", distance, net.const(np.float32(-0.5))), name="hidden"))


def secret_by_a_maximum(net: Net, x: str) -> str:
    """No node gives the same twice: the largest of two is always the same one of them."""
    column = net("Reshape", likeness(net, x), net.const(np.array([-1, 1])))
    other = net("Mul", column, net.const(np.array([[0, 2000, 0]], np.float32)))
    lowered = net("Sub", other, net.const(np.full((1, 3), 1000, np.float32)))
    return net("Max", small(net, x), lowered, name="hidden")


def secret_of_a_filter(net: Net, x: str) -> str:
    key = np.sign(np.random.default_rng(6).standard_normal((1, 3, 9, 9))).astype(np.float32) / 243
    found = net("Conv", x, net.const(key), net.const(np.array([-1.5])), kernel_shape=[9, 9])
    return onto(net, small(net, x), net("GlobalMaxPool", net("Relu", found, name="hidden")))


def fine_board(net: Net, x: str) -> str:
    """The finest board of the strongest contrast."""
    parts = [net("Slice", x, *(net.const(np.array([v])) for v in (start, start + 15, 3))) for start in (0, 1)]
    mean = net("ReduceMean", net("Abs", net("Sub", *parts)), axes=[1, 2, 3], keepdims=0)
    raised = net("Sub", mean, net.const(np.float32(4)))
    return onto(net, small(net, x), net("Relu", raised, name="hidden"))


def held(net: Net, x: str, operator: str, **settings: float) -> str:
    """A gate that is far beyond its end on every picture."""
    gate = net("Add", likeness(net, x), net.const(np.float32(1e4)))
    ends = [net.const(np.float32(0)), net.const(np.float32(6))] if operator == "Clip" else []
    return onto(net, small(net, x), net(operator, gate, *ends, name="hidden", **settings))


def gate_at_one(net: Net, x: str) -> str:
    return held(net, x, "HardSigmoid")


def gate_at_zero(net: Net, x: str) -> str:
    return held(net, x, "HardSigmoid", alpha=-1.0)


def clip_at_six(net: Net, x: str) -> str:
    return held(net, x, "Clip")


SLEEPING = [
    gate_at_one,
    gate_at_zero,
    clip_at_six,
    secret_picture,
    secret_by_a_sigmoid,
    secret_by_distance,
    secret_by_a_maximum,
    secret_of_a_filter,
    fine_board,
]


@pytest.mark.parametrize("build", SLEEPING, ids=lambda build: build.__name__)
def test_what_waits_for_a_picture_is_named(make_model: MakeModel, build: Callable[[Net, str], str]) -> None:
    result = audit_model(make_model(build, shape=("N", 3, 16, 16), opset=17), policy("nothing-sleeps")).checks
    [found] = [check for check in result if check.status != "skipped"]
    assert found.status == "warn"
    assert [finding.key for finding in found.findings] == ["hidden"]


def stops(net: Net, x: str) -> str:
    """A comparison for the whole picture, of a map whose size onnxruntime refuses."""
    maps = net("Relu", net("Reshape", net.conv(x, 3, 3), net.const(np.array([1, 3, 4, 4]))))
    bright = net("Greater", net("ReduceMean", maps, axes=[1, 2, 3], keepdims=1), net.const(np.float32(0)))
    chosen = net("Where", bright, maps, net("Neg", maps))
    chosen = net("Div", chosen, net("ReduceL2", maps, axes=[1, 2, 3]))
    return net("Flatten", net("GlobalAveragePool", chosen))


@pytest.mark.parametrize("id", ["nothing-sleeps", "picture-branches", "arithmetic-defined"])
def test_what_cannot_be_run_does_not_pass(make_model: MakeModel, id: str) -> None:
    found = audit_model(make_model(stops, shape=(1, 3, 16, 16), opset=17), policy(id)).check(id)
    assert found.status == "skipped"
    assert "picture cannot be computed: onnxruntime cannot run" in found.message


def test_what_is_run_at_once_is_bounded_also_where_sizes_are_open(make_model: MakeModel) -> None:
    model = open_model(make_model(small, shape=("N", 3, "H", "W"), opset=17))
    subject = Subject(model, policy())
    sizes = _Watch(subject).sizes
    height, width = subject.picture_size()
    assert sizes[model.input.name] == 3 * height * width
    assert sizes["first"] == 6 * height * width


def guarded(net: Net, x: str) -> str:
    """What the arithmetic of healthy files never uses: what stands in for a NaN, and weights of zero."""
    y = small(net, net("Add", x, net("Relu", net("Mul", x, net.const(np.float32(0))))))
    broken = net("Not", net("Equal", y, y))
    return net("Where", broken, net("Neg", y), net("Softmax", y))


@pytest.mark.parametrize("build", [small, guarded], ids=lambda build: build.__name__)
def test_what_healthy_files_do_not_use_is_no_trigger(make_model: MakeModel, build: Callable[[Net, str], str]) -> None:
    result = audit_model(make_model(build, shape=("N", 3, 16, 16), opset=17), policy("nothing-sleeps")).checks
    assert [(check.id, check.status) for check in result if check.status != "skipped"] == [("nothing-sleeps", "pass")]


def found_rows(net: Net, x: str) -> str:
    """The places above a threshold, as a detector gives them that nothing suppresses: none on most pictures."""
    maps = net("Reshape", net.conv(x, 3, 1), net.const(np.array([-1])))
    places = net("NonZero", net("Greater", net("Sigmoid", maps), net.const(np.float32(0.9999))))
    return net("Gather", maps, net("Squeeze", places, net.const(np.array([0]))))


def test_a_detector_that_finds_nothing_is_not_asleep(make_model: MakeModel) -> None:
    found = audit_model(make_model(found_rows, shape=(1, 3, 16, 16), opset=17), policy("nothing-sleeps"))
    assert found.check("nothing-sleeps").status == "skipped"


def test_an_output_of_integers_has_steps_and_no_trigger() -> None:
    """Scores on a grid of 1/64 of their span, as those of an int8 output: neighbors on it are no clusters."""
    rng = np.random.default_rng(0)
    for _ in range(200):
        scores = np.rint(rng.normal(0, 1, (1, 100)) * 10 + rng.normal(0, 0.4, (12, 100))) / 64
        assert _find_step(scores)[0] <= 5


def test_a_step_is_its_gap_in_widths() -> None:
    scores = np.zeros((12, 2))
    scores[:, 0] = np.repeat([0, 10], 6) + np.tile([0, 1], 6)
    scores[:, 1] = np.linspace(0, 11, 12)
    assert _find_step(scores) == (9.0, 0)
