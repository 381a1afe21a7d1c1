"""Probabilities in percent, in whole numbers and in other logarithms are told as what they are."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest

from inspector.model import open_model
from tests.audit.networks import small
from tests.foreign import FLOAT, INT8, UINT8, Net

PICTURE = np.random.default_rng(1).integers(0, 256, (16, 16, 3), dtype=np.uint8)


def softmax(n: Net, x: str) -> str:
    return n("Softmax", small(n, x), axis=-1)


def number(n: Net, value: float) -> str:
    return n.const(np.float32(value))


def percent(n: Net, x: str) -> str:
    return n("Mul", softmax(n, x), number(n, 100))


def percent_clipped(n: Net, x: str) -> str:
    return n("Clip", n("Div", softmax(n, x), number(n, 0.01)), number(n, 0), number(n, 100))


def percent_ranked(n: Net, x: str) -> str:
    n("TopK", percent(n, x), n.const(np.array([3])), out=("values", "places"))
    return "values"


def bytes_cut_off(n: Net, x: str) -> str:
    return n("Cast", n("Mul", softmax(n, x), number(n, 255)), to=UINT8)


def bytes_rounded(n: Net, x: str) -> str:
    return n("Cast", n("Add", n("Mul", softmax(n, x), number(n, 255)), number(n, 0.5)), to=UINT8)


def signed_bytes(n: Net, x: str) -> str:
    whole = n("Round", n("Mul", softmax(n, x), number(n, 255)))
    return n("Cast", n("Sub", whole, number(n, 128)), to=INT8)


def two_digits(n: Net, x: str) -> str:
    return n("Div", n("Round", n("Mul", softmax(n, x), number(n, 100))), number(n, 100))


def rounded_logarithms(n: Net, x: str) -> str:
    logarithms = n("LogSoftmax", small(n, x), axis=-1)
    return n("Div", n("Round", n("Mul", logarithms, number(n, 100))), number(n, 100))


def decimal_logarithms(n: Net, x: str) -> str:
    return n("Div", n("LogSoftmax", small(n, x), axis=-1), number(n, np.log(10)))


# The network, the type of its output, probabilities of what it gives, how far they may be apart, what is said.
CASES = [
    (percent, FLOAT, lambda y: y / 100, 1e-6, "holds probabilities times 100:"),
    (percent_clipped, FLOAT, lambda y: y / 100, 1e-6, "holds probabilities times 100:"),
    (percent_ranked, FLOAT, lambda y: y / 100, 1e-6, "holds probabilities times 100:"),
    (bytes_cut_off, UINT8, lambda y: y / 255, 1 / 255, "holds probabilities times 255, rounded:"),
    (bytes_rounded, UINT8, lambda y: y / 255, 0.501 / 255, "holds probabilities times 255, rounded:"),
    (signed_bytes, INT8, lambda y: (y + 128) / 255, 0.501 / 255, "times 255 minus 128, rounded:"),
    (two_digits, FLOAT, lambda y: y, 1e-6, ""),
    (rounded_logarithms, FLOAT, np.exp, 0.006, ""),
    (decimal_logarithms, FLOAT, lambda y: 10**y, 1e-6, "holds a log-softmax times 0.434294:"),
]


@pytest.mark.parametrize(("build", "type", "read", "apart", "words"), CASES, ids=[case[0].__name__ for case in CASES])
def test_probabilities_are_those_of_the_file(
    tmp_path: Path,
    build: Callable[[Net, str], str],
    type: int,
    read: Callable[[np.ndarray], np.ndarray],
    apart: float,
    words: str,
) -> None:
    net = Net()
    made = net.model(build(net, net.input("x", ("N", 3, 16, 16))), dtype=type)
    onnx.save(made, tmp_path / "model.onnx")
    model = open_model(tmp_path / "model.onnx")
    [given] = onnxruntime.InferenceSession(made.SerializeToString()).run(None, {"x": model.tensor(PICTURE)})
    expected = np.sort(read(given[0].astype(np.float64)))[::-1]
    found = model.predict(PICTURE)
    assert [one.probability for one in found] == pytest.approx(expected, abs=apart)
    assert not np.allclose(expected, 1 / 3, atol=0.05)
    said = [line for line in model.assumed if "holds" in line]
    assert len(said) == bool(words)
    assert words in "".join(said)
    assert not any("softmax over" in line for line in model.assumed)


def box_of_a_sigmoid(n: Net, x: str) -> str:
    return n("Mul", n("Sigmoid", small(n, x)), number(n, 416))


def one_less(n: Net, x: str) -> str:
    return n("Add", n("Mul", softmax(n, x), number(n, -100)), number(n, 100))


@pytest.mark.parametrize("build", [box_of_a_sigmoid, one_less])
def test_other_numbers_are_not_taken_for_probabilities(tmp_path: Path, build: Callable[[Net, str], str]) -> None:
    net = Net()
    onnx.save(net.model(build(net, net.input("x", ("N", 3, 16, 16)))), tmp_path / "model.onnx")
    model = open_model(tmp_path / "model.onnx")
    assert model.classifier is not None
    assert model.classifier.guessed
    assert not any("holds" in line for line in model.assumed)
